"""What SQLite and the system say, translated at one border into sentences with a way out."""

import sqlite3
from pathlib import Path

import msgspec

from acore_bot.errors import HistoryError, HistoryUnusable


def explain(error: Exception, noun: str, path: Path) -> Exception:
    """Translate what SQLite or the system says; anything else is a fault of ours and stays.

    `noun` is what the file is, as in "The {noun} {path} is damaged".
    """
    match error:
        case sqlite3.Error():
            explained: Exception = _explain_sqlite(error, noun, path)
        case OSError():
            explained = _unusable(noun, path, error.strerror or "it cannot be opened")
        case OverflowError():
            explained = HistoryError(f"An id or a time is beyond what the {noun} can hold.")
        case msgspec.DecodeError():
            explained = damaged(noun, path, str(error))
        case _:
            return error
    explained.__cause__ = error
    return explained


def _explain_sqlite(error: sqlite3.Error, noun: str, path: Path) -> HistoryError:
    # The lower byte is the kind of the error. Text that is no UTF-8 comes without a code.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    match code:
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return damaged(noun, path, str(error))
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return _unusable(noun, path, str(error))
        case sqlite3.SQLITE_FULL:
            return HistoryError(
                f"There is no room left for the {noun} {path}; nothing of this was stored.",
                remedy="Free some space on its disk: no restart is needed.",
            )
        case sqlite3.SQLITE_BUSY:
            return HistoryError(
                f"Another process keeps the {noun} {path} locked; nothing of this was done.",
                remedy="Stop the process that uses the file, or try again.",
            )
        case _:
            return HistoryError(f"The {noun} {path} could not do this: {error}.")


def damaged(noun: str, path: Path, finding: str) -> HistoryUnusable:
    """Make the error for a file whose content is wrong."""
    return HistoryUnusable(
        f"The {noun} {path} is damaged or is no SQLite database ({finding}).",
        remedy="It was left as it is. Move it away and restore a copy, or choose another file.",
    )


def still_read(noun: str, path: Path) -> HistoryError:
    """Make the error for what was removed, but stays on the disk while others read."""
    return HistoryError(
        f"What was removed still stands in the log of the {noun} {path}, because another process "
        "is reading the file.",
        remedy="Stop the process that uses the file, and ask again.",
    )


def _unusable(noun: str, path: Path, reason: str) -> HistoryUnusable:
    return HistoryUnusable(
        f"The {noun} {path} cannot be opened for writing ({reason}).",
        remedy="It must be a file that the bot may write, in a folder that the bot may write.",
    )
