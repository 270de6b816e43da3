"""Counts lines of the log of events as they come.

A line is `{"timestamp":"2026-11-23T22:36:44.123456Z","type":"turn_finished","data":{…}}`. All begin
alike, so time and type are cut out where they must stand, and only what counts is decoded. Nothing
is kept of the log but words: whatever else stands where one is expected is called "other".
"""

import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from heapq import heappush, heapreplace
from typing import Annotated, Generic, TypeAlias, TypeVar

from msgspec import Meta, Raw, Struct, json, structs

from acore_bot.ops.log_figures import SlowestTurn
from acore_bot.telemetry import events
from acore_bot.telemetry.events import STAGES
from acore_bot.telemetry.lag import ARROW
from acore_bot.telemetry.metrics import EVENT_NAMES

SLOWEST = 10
OTHER = "other"
MAX_WORDS = 1000
# A word, or a kind of request: `POST /channels/{channel}/messages`.
WORD = re.compile(r"(?:[A-Z]{3,7} /)?[\w./:@+~#<>{}-]{1,120}", re.ASCII)

STAMP, BETWEEN, TYPE_START = slice(14, 41), slice(40, 51), 51
AFTER_ALL = b"~"
SHARED_FOR = timedelta(seconds=60)
MAX_SHARED = 64

T = TypeVar("T")
Time: TypeAlias = Annotated[datetime, Meta(tz=True)]
Read: TypeAlias = Callable[[bytes], object]
# What a line that says no event of its type raises; a person may have written anything there.
NO_EVENT = (ValueError, RecursionError)


def stamp_of(time: datetime) -> bytes:
    """Tell a time as lines do: as wide for all, so that they sort by it. It has to know its zone;
    raises `OverflowError` if there is no such time in UTC."""
    return (
        f"{time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z".encode()
    )


class _Head(Struct):
    """A line of which nothing is known yet."""

    timestamp: Time
    type: str
    data: Raw


class _Line(Struct, Generic[T]):
    """A line of a known type."""

    timestamp: Time
    data: T


class _Words(dict[str, str]):
    """Maps words to themselves, and to "other" what is none or one too many."""

    def __missing__(self, text: str) -> str:
        if len(self) >= MAX_WORDS or not WORD.fullmatch(text):
            return OTHER
        self[text] = text
        return text


class ModelSums:
    """The sums of one model."""

    def __init__(self) -> None:
        self.turns = self.failed = 0
        self.prompt_tokens: int | None = None
        self.completion_tokens: int | None = None
        self.cached_tokens: int | None = None
        self.told_tokens = 0  # the prompt tokens of which it is known how many were cached
        self.cost: float | None = None

    def add(self, turn: events.TurnFinished) -> None:
        """Count what a turn took."""
        prompt, cached = turn.prompt_tokens, turn.cached_tokens
        if prompt is not None:
            self.prompt_tokens = (self.prompt_tokens or 0) + prompt
        if turn.completion_tokens is not None:
            self.completion_tokens = (self.completion_tokens or 0) + turn.completion_tokens
        if cached is not None:
            self.cached_tokens = (self.cached_tokens or 0) + cached
            self.told_tokens += prompt or 0
        if turn.cost is not None:
            self.cost = (self.cost or 0.0) + turn.cost


class Tally:
    """Counts lines that are not before `since`, as lines tell time."""

    def __init__(self, since: bytes) -> None:
        self._since = since
        self._expected: Counter[bytes] = Counter()
        self._expected_from = AFTER_ALL
        self._words = _Words()
        self.events = self.broken = self.foreign = self.damaged = 0
        self.models: defaultdict[str, ModelSums] = defaultdict(ModelSums)
        self.response, self.first_delta = array("d"), array("d")
        self.stage_sums, self.stage_counts = [0.0] * len(STAGES), [0] * len(STAGES)
        self.slowest: list[tuple[float, int, SlowestTurn]] = []
        self.shared = self.cached = self.joined = self.answers = self.saved_tokens = 0
        self.errors, self.refusals = Counter[str](), Counter[str]()
        self.fallbacks = Counter[tuple[str, str, str]]()
        self.openings = Counter[str]()
        self.reconnects, self.routes, self.limited_seconds = 0, Counter[str](), 0.0
        self.lags = 0
        self.longest_lag: events.LoopLagged | None = None
        self.used, self.failed_uses = Counter[str](), Counter[str]()
        self.used_seconds: defaultdict[str, float] = defaultdict(float)
        self._shared_at: dict[tuple[str, int | None, int | None], datetime] = {}
        self._lost: set[int] = set()
        self._readers = self._make_readers()

    def begin(self, lines: Sequence[bytes]) -> None:
        """Begin a series, of which these lines are not in the log yet, but may be soon."""
        self._lost.clear()
        self._expected = Counter(lines)
        self._expected_from = min((line[STAMP] for line in lines), default=AFTER_ALL)

    def finish(self) -> None:
        """End a series: count those lines that the log has not got."""
        lines = [*self._expected.elements()]
        if lines:
            self.add(b"\n".join(lines))

    def on_broken(self) -> None:
        """Count what is no whole line."""
        self.broken += 1

    def on_damaged(self) -> None:
        """Count a file that could not be read to its end."""
        self.damaged += 1

    def add(self, block: bytes) -> None:
        """Count the lines of a block."""
        since, readers, expected_from = self._since, self._readers, self._expected_from
        for line in block.split(b"\n"):
            if line[BETWEEN] != b'Z","type":"':
                self._add_strange(line)
                continue
            stamp = line[STAMP]
            if stamp < since:
                continue
            read = readers.get(line[TYPE_START : line.find(b'"', TYPE_START)])
            if read is None:
                self.foreign += 1
                continue
            if stamp >= expected_from:
                self._strike(line)
            try:
                read(line)
            except NO_EVENT:
                self.broken += 1
            else:
                self.events += 1

    def _strike(self, line: bytes) -> None:
        if self._expected[line] > 0:
            self._expected[line] -= 1

    def _add_strange(self, line: bytes) -> None:
        """Count a line that was not written by this version, if it can be written as this does."""
        try:
            head = json.decode(line, type=_Head)
            stamp, kind = stamp_of(head.timestamp), json.encode(head.type)
        except (*NO_EVENT, OverflowError):
            self.broken += 1
        else:
            self.add(b'{"timestamp":"%b","type":%b,"data":%b}' % (stamp, kind, head.data))

    def _make_readers(self) -> dict[bytes, Read]:
        # Of what is not counted, nothing but that it is there.
        readers: dict[bytes, Read] = dict.fromkeys(KNOWN, len)
        return readers | {
            b"turn_finished": _reader(events.TurnFinished, self._turn_finished),
            b"turn_failed": _reader(events.TurnFailed, self._turn_failed),
            b"turn_refused": _reader(events.TurnRefused, self._turn_refused),
            b"flight_joined": _reader(events.FlightJoined, self._flight_joined),
            b"cached_answer": _reader(events.CachedAnswer, self._cached_answer),
            b"breaker_changed": _reader(events.BreakerChanged, self._breaker_changed),
            b"fell_back": _reader(events.FellBack, self._fell_back),
            b"command_used": _reader(events.CommandUsed, self._command_used),
            b"rate_limited": _reader(events.RateLimited, self._rate_limited),
            b"gateway_changed": _reader(events.GatewayChanged, self._gateway_changed),
            b"loop_lagged": _reader(events.LoopLagged, self._loop_lagged),
        }

    def _turn_finished(self, at: datetime, turn: events.TurnFinished) -> None:
        self.response.append(turn.total_seconds)
        if turn.first_delta_seconds is not None:
            self.first_delta.append(turn.first_delta_seconds)
        self._add_stages(turn.stages)
        model = self.models[self._words[turn.model]]
        model.turns += 1
        if turn.is_shared and self._is_anothers(at, turn):
            self.saved_tokens += (turn.prompt_tokens or 0) + (turn.completion_tokens or 0)
        elif not turn.is_cached:
            model.add(turn)
        self.shared += turn.is_shared
        self.cached += turn.is_cached
        if self._is_slow(turn.total_seconds):
            self._keep_slow(at, turn, turn.first_delta_seconds, None)

    def _turn_failed(self, at: datetime, turn: events.TurnFailed) -> None:
        kind = self._words[turn.kind]
        self.errors[kind] += 1
        model = self.models[self._words[turn.model]]
        model.turns += 1
        model.failed += 1
        self._add_stages(turn.stages)
        if self._is_slow(turn.total_seconds):
            self._keep_slow(at, turn, None, kind)

    def _add_stages(self, stages: events.Stages) -> None:
        for place, seconds in enumerate(structs.astuple(stages)):
            if seconds is not None:
                self.stage_sums[place] += seconds
                self.stage_counts[place] += 1

    def _is_anothers(self, at: datetime, turn: events.TurnFinished) -> bool:
        """Tell whether the answer was asked for in another's turn, which has been counted: of those
        who shared one, each tells the same."""
        key = (turn.model, turn.prompt_tokens, turn.completion_tokens)
        counted_at = self._shared_at.pop(key, None)
        is_anothers = counted_at is not None and abs(at - counted_at) < SHARED_FOR
        self._shared_at[key] = counted_at if counted_at is not None and is_anothers else at
        if len(self._shared_at) > MAX_SHARED:
            del self._shared_at[next(iter(self._shared_at))]
        return is_anothers

    def _is_slow(self, seconds: float) -> bool:
        return len(self.slowest) < SLOWEST or seconds > self.slowest[0][0]

    def _keep_slow(
        self,
        at: datetime,
        turn: events.TurnFinished | events.TurnFailed,
        first_delta_seconds: float | None,
        kind: str | None,
    ) -> None:
        slow = SlowestTurn(
            ended_at=at,
            model=self._words[turn.model],
            total_seconds=turn.total_seconds,
            first_delta_seconds=first_delta_seconds,
            stages=structs.asdict(turn.stages),
            kind=kind,
        )
        put = heappush if len(self.slowest) < SLOWEST else heapreplace
        put(self.slowest, (turn.total_seconds, -self.events, slow))

    def _turn_refused(self, _: datetime, refused: events.TurnRefused) -> None:
        self.refusals[self._words[refused.kind]] += 1

    def _flight_joined(self, _: datetime, __: events.FlightJoined) -> None:
        self.joined += 1

    def _cached_answer(self, _: datetime, answer: events.CachedAnswer) -> None:
        self.answers += 1
        self.saved_tokens += answer.saved_tokens

    def _breaker_changed(self, _: datetime, breaker: events.BreakerChanged) -> None:
        if breaker.state == "open":
            self.openings[self._words[breaker.model]] += 1

    def _fell_back(self, _: datetime, fell: events.FellBack) -> None:
        words = self._words
        self.fallbacks[words[fell.asked], words[fell.answered_by], words[fell.kind]] += 1

    def _command_used(self, _: datetime, command: events.CommandUsed) -> None:
        name = self._words[command.name]
        self.used[name] += 1
        self.failed_uses[name] += bool(command.kind)
        self.used_seconds[name] += command.seconds

    def _rate_limited(self, _: datetime, limited: events.RateLimited) -> None:
        self.routes[self._words[limited.route]] += 1
        self.limited_seconds += limited.seconds

    def _gateway_changed(self, _: datetime, gateway: events.GatewayChanged) -> None:
        if gateway.state == "lost":
            self._lost.add(gateway.shard)
        elif gateway.shard in self._lost:
            self._lost.remove(gateway.shard)
            self.reconnects += 1

    def _loop_lagged(self, _: datetime, lag: events.LoopLagged) -> None:
        self.lags += 1
        longest = self.longest_lag
        if longest is None or lag.seconds > longest.seconds:
            places = lag.function.split(ARROW) if lag.function else []
            self.longest_lag = events.LoopLagged(
                lag.seconds, ARROW.join(self._words[place] for place in places[:2])
            )


def _reader(event: type[T], count: Callable[[datetime, T], None]) -> Read:
    decode = json.Decoder(_Line[event]).decode  # type: ignore[valid-type]

    def read(line: bytes) -> None:
        decoded = decode(line)
        count(decoded.timestamp, decoded.data)

    return read


# What this version logs; the last two are told by the log itself.
KNOWN = {name.encode() for name in EVENT_NAMES.values()}
KNOWN |= {b"unencodable_event", b"batch_log_recovered"}
