"""How the log is written, for people, programs and the journal."""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from acore_bot.cli.logs import JournalFormatter, JsonFormatter, log_to_stderr
from acore_bot.cli.running import LogFormat
from acore_bot.cli.serve import log_event
from acore_bot.telemetry.events import Stages, TurnFinished

TURN = TurnFinished(
    model="demo/script",
    finish_reason="stop",
    first_delta_seconds=0.25,
    total_seconds=1.5,
    stages=Stages(stream=1.25),
    prompt_tokens=12,
)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Leave logging as it was."""
    root, ours = logging.getLogger(), logging.getLogger("acore_bot")
    before = (root.level, list(root.handlers), ours.level)
    yield
    root.handlers[:] = before[1]
    root.setLevel(before[0])
    ours.setLevel(before[2])
    for name in ("discord.client", "discord.gateway"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def start(log_format: LogFormat, *, is_watched: bool = True) -> None:
    """Log as a process of its own would, in which nobody logs yet."""
    logging.getLogger().handlers.clear()
    log_to_stderr(debug=False, is_watched=is_watched, log_format=log_format)


def logged(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the lines that were logged."""
    return capsys.readouterr().err.splitlines()


def test_an_event_is_fields_for_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON, an event is an object a line: when, how grave, and every field as what it is."""
    start(LogFormat.JSON)
    log_event(TURN)
    (line,) = map(json.loads, logged(capsys))
    assert line["time"].endswith("Z")
    assert (line["level"], line["logger"]) == ("info", "acore_bot.cli.serve")
    assert (line["event"], line["model"], line["prompt_tokens"]) == (
        "TurnFinished",
        "demo/script",
        12,
    )
    assert (line["total_seconds"], line["stream"]) == (1.5, 1.25)


def test_an_event_is_words_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """As text, it is a line with its time."""
    start(LogFormat.TEXT)
    log_event(TURN)
    (line,) = logged(capsys)
    assert "INFO acore_bot.cli.serve: TurnFinished model=demo/script" in line
    assert "stream=1.250" in line


def test_where_nobody_watches_nothing_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    """A command that answers a person at a terminal does not log."""
    start(LogFormat.TEXT, is_watched=False)
    logging.getLogger("acore_bot").setLevel(logging.NOTSET)  # as it comes
    logging.getLogger("acore_bot").error("something")
    assert not logged(capsys)


@pytest.mark.parametrize("log_format", LogFormat)
def test_s16_no_format_tells_a_token(
    log_format: LogFormat, capsys: pytest.CaptureFixture[str]
) -> None:
    """What anybody could post in the bot's name is cut out of messages and of tracebacks."""
    start(log_format)
    try:
        raise ValueError("https://host/webhooks/123456789012345678/canary-token-x")
    except ValueError:
        logging.getLogger("acore_bot.x").exception("at /interactions/1/canary-token-y/callback")
    logging.getLogger("discord.x").warning("'token': 'canary-token-z'")
    text = "\n".join(logged(capsys))
    assert "ValueError" in text
    assert "canary" not in text


def test_the_journal_is_told_how_grave_a_line_is() -> None:
    """Each line bears its priority, so that `journalctl --priority` finds it, and no time."""
    formatter = JournalFormatter()
    levels = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, 50: 2}
    for level, priority in levels.items():
        record = logging.LogRecord("x", level, "", 0, "one\ntwo", None, None)
        assert formatter.format(record) == f"<{priority}>x: one\n<{priority}>two"


def test_the_journal_is_known(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Only where standard error is the stream that systemd names, lines are written for it."""
    file = (tmp_path / "stderr").open("w")
    monkeypatch.setattr("sys.stderr", file)
    stat = os.fstat(file.fileno())
    monkeypatch.setenv("JOURNAL_STREAM", f"{stat.st_dev}:{stat.st_ino}")
    start(LogFormat.TEXT)
    logging.getLogger("acore_bot").warning("hello")
    file.close()
    assert (tmp_path / "stderr").read_text() == "<4>acore_bot: hello\n"


def test_a_field_never_hides_what_a_line_is() -> None:
    """A field that is named as one of the line's own does not take its place."""
    record = logging.LogRecord("x", logging.INFO, "", 0, "said", None, None)
    record.fields = {"level": "high", "message": "other", "seconds": 0.5}
    line = json.loads(JsonFormatter().format(record))
    assert (line["level"], line["message"], line["seconds"]) == ("info", "said", 0.5)
