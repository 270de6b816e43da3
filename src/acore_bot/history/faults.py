"""What SQLite and the system say, translated at one border into sentences with a way out."""

import sqlite3
from pathlib import Path

from acore_bot.errors import HistoryError, HistoryUnusable


def explain(error: Exception, path: Path) -> Exception:
    """Translate what SQLite or the system says; anything else is a fault of ours and stays."""
    match error:
        case sqlite3.Error():
            explained: Exception = _explain_sqlite(error, path)
        case OSError():
            explained = _unusable(path, error.strerror or "it cannot be opened")
        case OverflowError():
            explained = HistoryError("A message's id or time is beyond what the history can hold.")
        case _:
            return error
    explained.__cause__ = error
    return explained


def _explain_sqlite(error: sqlite3.Error, path: Path) -> HistoryError:
    # The lower byte is the kind of the error. Text that is no UTF-8 comes without a code.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    match code:
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return damaged(path, str(error))
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return _unusable(path, str(error))
        case sqlite3.SQLITE_FULL:
            return HistoryError(
                f"There is no room left for the history {path}; nothing of this was stored.",
                remedy="Free some space on its disk: no restart is needed.",
            )
        case sqlite3.SQLITE_BUSY:
            return HistoryError(
                f"Another process keeps the history {path} locked; nothing of this was done.",
                remedy="Stop the process that uses the file, or try again.",
            )
        case _:
            return HistoryError(f"The history {path} could not do this: {error}.")


def damaged(path: Path, finding: str) -> HistoryUnusable:
    """Make the error for a file whose content is wrong."""
    return HistoryUnusable(
        f"The history {path} is damaged or is no SQLite database ({finding}).",
        remedy="It was left as it is. Move it away and restore a copy, or choose another file.",
    )


def _unusable(path: Path, reason: str) -> HistoryUnusable:
    return HistoryUnusable(
        f"The history {path} cannot be opened for writing ({reason}).",
        remedy="It must be a file that the bot may write, in a folder that the bot may write.",
    )
