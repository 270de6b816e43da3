"""`acore stats`: what the log says, for people and for programs."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.fakes.log_folder import line, turn

from acore_bot import config
from acore_bot.cli.stats import parse_since, stats
from acore_bot.errors import AcoreError, ConfigurationError, NotFound
from acore_bot.telemetry.events import (
    BreakerChanged,
    CommandUsed,
    Event,
    FellBack,
    GatewayChanged,
    LoopLagged,
    RateLimited,
    Stages,
    TurnFailed,
    TurnRefused,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LONG = "openrouter/" + "a-very-long-name-of-a-model/" * 3 + "large"
SOME: tuple[Event, ...] = (
    turn(
        2.5,
        first_delta_seconds=0.5,
        stages=Stages(first_delta=0.5, stream=2.0),
        prompt_tokens=1_000_000,
        completion_tokens=50,
        cached_tokens=900_000,
        cost=0.0123,
    ),
    turn(250, model=LONG),
    TurnFailed(model=LONG, kind="timeout", total_seconds=60),
    TurnRefused("not_allowed"),
    FellBack(LONG, "a/b", "unavailable"),
    BreakerChanged(LONG, "open"),
    GatewayChanged(0, "lost"),
    GatewayChanged(0, "resumed"),
    RateLimited("PATCH /channels/{channel}/messages/{message}", 1.5),
    LoopLagged(0.31, "acore_bot.files.reader._read:88"),
    CommandUsed("ask", 0.2),
)

Log = Callable[..., None]


@pytest.fixture
def log(home: Path) -> Log:
    """Return a function that logs events, now or some time ago."""

    def write(*events: Event, ago: timedelta = timedelta()) -> None:
        at = datetime.now(UTC) - ago
        file = home / "data" / "events" / "acore" / f"{at.date()}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as lines:
            lines.writelines(line(at, event) for event in events)

    return write


async def run(since: str | None = None, *, as_json: bool = False) -> None:
    """Run the command with the settings of the test."""
    await stats(config.load(None, {}), since, as_json=as_json)


@pytest.mark.parametrize(
    ("text", "begins_at"),
    [
        (None, NOW - timedelta(days=1)),
        ("24h", NOW - timedelta(days=1)),
        ("90m", NOW - timedelta(minutes=90)),
        ("7d", NOW - timedelta(days=7)),
        ("0h", NOW),
        ("all", None),
    ],
)
def test_a_span_is_told_in_minutes_hours_or_days(
    text: str | None, begins_at: datetime | None
) -> None:
    """Without one it is the last day; `all` has no beginning."""
    assert parse_since(text, NOW) == begins_at


def test_a_date_begins_where_its_reader_lives() -> None:
    """A date is meant as a person's calendar tells it."""
    begins_at = parse_since("2026-11-20", NOW)
    assert begins_at is not None
    assert begins_at.tzinfo is not None
    assert begins_at.astimezone().strftime("%Y-%m-%d %H:%M:%S") == "2026-11-20 00:00:00"


@pytest.mark.parametrize(
    "text", ["", "yesterday", "24", "h", "-5h", "5 h", "1.5h", "7w", "2026-13-01", "999999d", "٣h"]
)
def test_what_is_no_time_is_told_with_examples(text: str) -> None:
    """Neither a wrong word nor a span before all calendars is guessed at."""
    with pytest.raises(ConfigurationError) as caught:
        parse_since(text, NOW)
    assert caught.value.sentence == f"{text!r} is no time since when."
    assert "90m, 24h or 7d" in caught.value.remedy


async def test_people_see_everything_in_80_columns(
    log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each figure is shown in plain lines that fit a narrow terminal, also with long names."""
    log(*SOME)
    await run()
    out, err = capsys.readouterr()
    assert err == ""
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 80
    rows = [re.split(r" {2,}", row.strip()) for row in out.splitlines()]
    assert out.startswith("3 turns since 20")
    assert ["1 failed (33.3%), 1 refused"] in rows
    assert ["Discord: 1 reconnect, 1 rate limit, 1.5 s waited"] in rows
    assert "late 1 time, at most 0.310 s, in acore_bot.files.reader._read:88" in out
    assert ["whole answer", "126", "238", "248", "126", "250", "2"] in rows
    assert ["first words", *["0.500"] * 5, "1"] in rows
    assert any(row[:3] == ["mean s by stage", "admitted", "context"] for row in rows)
    assert ["a/b", "1", "0", "1,000,000", "90.0%", "50", "$0.0123"] in rows
    assert ["all", "3", "1", "1,000,000", "90.0%", "50", "$0.0123"] in rows
    assert ["timeout", "failed", "1"] in rows
    assert ["not_allowed", "refused", "1"] in rows
    assert ["PATCH /channels/{channel}/messages/{message}", "1"] in rows
    assert ["ask", "1", "0", "0.200"] in rows
    assert any(row[1:4] == ["2.50", "0.500", "stream 2.00"] for row in rows)
    assert "Left out" not in out


async def test_what_did_not_happen_takes_no_room(
    log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tables without rows are not shown."""
    log(turn(1))
    await run()
    out = capsys.readouterr().out
    assert "event loop: never late" in out
    for heading in ("why", "asked", "left alone", "limited by", "command"):
        assert f"\n{heading}" not in out


async def test_json_has_the_same_keys_with_or_without_events(
    log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--json` prints one object for programs; what is unknown is null."""
    await run(as_json=True)
    empty = json.loads(capsys.readouterr().out)
    log(*SOME)
    await run("all", as_json=True)
    out = capsys.readouterr().out
    full = json.loads(out)
    assert out.count("\n") == 1
    assert empty.keys() == full.keys()
    for key in ("response", "first_delta", "stages", "savings", "discord", "lag"):
        assert empty[key].keys() == full[key].keys()
    assert (empty["turns"], empty["error_rate"], empty["response"]["p50"]) == (0, None, None)
    assert (full["turns"], full["since"], full["cost"]) == (3, None, 0.0123)
    assert full["slowest_turns"][0]["model"] == LONG
    assert full["slowest_turns"][0]["stages"].keys() == full["stages"].keys()


async def test_older_events_are_asked_for(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    """What is older than a day is shown on demand, and that there may be more is told."""
    log(turn(1), ago=timedelta(days=3))
    await run()
    out = capsys.readouterr().out
    assert out.startswith("Nothing was logged since 20")
    assert out.endswith("See everything: acore stats --since all\n")
    await run("4d")
    assert capsys.readouterr().out.startswith("1 turn since 20")


async def test_a_new_bot_is_told_what_will_be_here(capsys: pytest.CaptureFixture[str]) -> None:
    """Without any log there is a kind word, and nothing is made."""
    await run("all")
    assert capsys.readouterr().out == (
        "Nothing was logged yet. It will be while the bot runs: acore run\n"
    )


async def test_what_was_left_out_is_one_line(
    log: Log, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Broken and foreign lines and damaged files are counted and never shown."""
    log(turn(1))
    folder = home / "data" / "events" / "acore"
    strange = line(datetime.now(UTC), {"text": "My secret"}, "my_secret")
    (folder / "2026-11-01.1.jsonl").write_bytes(b"My secret\n" * 2 + strange)
    (folder / "2026-11-01.jsonl.gz").write_bytes(b"My secret")
    await run("all")
    out = capsys.readouterr().out
    assert "secret" not in out
    assert out.endswith(
        "\nLeft out, wholly or in part: 2 broken lines, 1 unknown event, 1 damaged file.\n"
    )


async def test_a_log_that_cannot_be_read_is_told(home: Path) -> None:
    """A fault of the file system is a sentence with its path and a remedy."""
    (home / "data").mkdir()
    (home / "data" / "events").touch()
    with pytest.raises(NotFound) as caught:
        await run()
    error: AcoreError = caught.value
    assert error.sentence == f"The log {home}/data/events cannot be read (Not a directory)."
    assert error.remedy
