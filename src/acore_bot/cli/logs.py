"""What is logged, and how it is written: for people, for programs, or for the journal of systemd.

Where nobody watches, nothing is logged: what a person has to know is said as an answer or an error.
"""

import logging
import os
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from acore_bot.cli.running import LogFormat

# As discord.py logs them: in addresses, in the names of limits, and in what it heard.
_TOKENS = (
    (re.compile(r"/(webhooks|interactions)/\d+/[^/ ?'\"\s]+"), r"/\1/…/…"),
    (re.compile(r"\b\d{15,}\+[^ '\"\s]+"), "…"),
    (re.compile(r"([\"']token[\"']: ?[\"'])[^\"']+"), r"\1…"),
)
# As sd-daemon(3) has them: `journalctl --priority=warning` shows what is at most 4.
_PRIORITIES = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
    (logging.NOTSET, 7),
)
TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class JsonFormatter(logging.Formatter):
    """Writes an object a line: `time` (UTC, RFC 3339), `level`, `logger`, `message`, `error` if
    there is one, and of an event its name and its fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields = getattr(record, "fields", None)
        if isinstance(fields, Mapping):
            line |= {name: value for name, value in fields.items() if name not in line}
        if record.exc_text or record.exc_info:
            line["error"] = record.exc_text or self.formatException(record.exc_info)  # type: ignore[arg-type]  # one of both is there
        return msgspec.json.encode(line).decode()


class JournalFormatter(logging.Formatter):
    """Writes for systemd's journal, which knows the time, and wants a priority at each line."""

    def __init__(self) -> None:
        super().__init__("%(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        priority = next(number for level, number in _PRIORITIES if record.levelno >= level)
        lines = super().format(record).splitlines()
        return "\n".join(f"<{priority}>{line}" for line in lines)


def log_to_stderr(*, debug: bool, is_watched: bool, log_format: LogFormat) -> None:
    """Log to standard error: everything if wanted, what matters where somebody watches, nothing
    else. No token is in it, whatever a library says."""
    quiet = logging.WARNING if is_watched else logging.CRITICAL + 1
    handler = logging.StreamHandler()
    handler.setFormatter(_formatter(log_format))
    logging.basicConfig(level=logging.DEBUG if debug else quiet, handlers=[handler])
    if is_watched and not debug:
        logging.getLogger("acore_bot").setLevel(logging.INFO)
        # That it has no voice, and that it thinks itself late: neither is for an owner to mend.
        for name in ("discord.client", "discord.gateway"):
            logging.getLogger(name).setLevel(logging.ERROR)
        handler.addFilter(_without_foreign_traceback)
    handler.addFilter(without_tokens)


def _formatter(log_format: LogFormat) -> logging.Formatter:
    if log_format is LogFormat.JSON:
        return JsonFormatter()
    return JournalFormatter() if _is_journal() else logging.Formatter(TEXT)


def _is_journal() -> bool:
    """Whether standard error leads to the journal, as JOURNAL_STREAM says (systemd.exec(5))."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        stat = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return (device, inode) == (str(stat.st_dev), str(stat.st_ino))


def _without_foreign_traceback(record: logging.LogRecord) -> bool:
    """Let a library's fault be a line: its inner life says nothing to an owner."""
    if not record.name.startswith("acore_bot") and record.exc_info:
        error = record.exc_info[1]
        record.msg = f"{record.getMessage()} ({type(error).__name__}: {error})"
        record.args, record.exc_info, record.exc_text = None, None, None
    return True


def without_tokens(record: logging.LogRecord) -> bool:
    """Cut out by what anybody could post in the bot's name."""
    record.msg, record.args = _cut(record.getMessage()), None
    if record.exc_info:
        told = record.exc_text or logging.Formatter().formatException(record.exc_info)
        record.exc_text = _cut(told)
    return True


def _cut(text: str) -> str:
    for token, remainder in _TOKENS:
        text = token.sub(remainder, text)
    return text
