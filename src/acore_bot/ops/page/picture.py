"""What the page shows, as JSON: the whole of it once, and from then on only what changed."""

import msgspec
from msgspec import Raw

from acore_bot.ops.page.options import Sources
from acore_bot.telemetry.events import STAGES
from acore_bot.telemetry.figures import Minute, Span

SPANS: tuple[Span, ...] = ("hour", "day", "start")
RECONNECT_MILLISECONDS = 2000


class Picture:
    """Remembers what was shown last. `version` lets an open page see that it is outdated."""

    def __init__(self, sources: Sources, version: str) -> None:
        self._sources = sources
        self._version = version
        self._values: dict[str, object] = {}
        self._rows: dict[int, tuple[Minute, Raw]] = {}

    def refresh(self) -> bytes:
        """Ask for everything, and return the event that tells what is new since the last time."""
        values = self._ask()
        change = {key: value for key, value in values.items() if self._values.get(key) != value}
        self._values = values
        if rows := self._new_rows():
            change["minutes"] = rows
        return _event("change", change)

    def whole(self) -> bytes:
        """Return the event that tells all there is, as of the last refresh."""
        rows = [row for _, row in self._rows.values()]
        whole = {"version": self._version, **self._values, "minutes": rows}
        return b"retry: %d\n%s" % (RECONNECT_MILLISECONDS, _event("picture", whole))

    def _ask(self) -> dict[str, object]:
        return {
            "now": self._sources.now(),
            "slow_turns": self._sources.slow_turns(),
            "batch": self._sources.batch(),
            **{span: self._sources.figures(span) for span in SPANS},
        }

    def _new_rows(self) -> list[Raw]:
        rows, new = {}, []
        for minute in self._sources.minutes():
            known = self._rows.get(minute.at)
            if known is None or known[0] != minute:
                known = minute, _row(minute)
                new.append(known[1])
            rows[minute.at] = known
        self._rows = rows
        return new


def _row(minute: Minute) -> Raw:
    # Arrays and short numbers: a day of minutes is sent to every browser that opens the page.
    return Raw(
        msgspec.json.encode(
            (
                minute.at,
                minute.turns,
                minute.failed,
                _short(minute.p50),
                _short(minute.p95),
                _short(minute.first_delta_p50),
                minute.tokens,
                _short(minute.tokens_per_second),
                round(minute.cost, 6),
                minute.shared,
                minute.cached,
                [_short(minute.stages.get(stage)) for stage in STAGES] if minute.stages else [],
            )
        )
    )


def _short(number: float | None) -> float | None:
    return None if number is None else round(number, 4)


def _event(name: str, data: dict[str, object]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(data))
