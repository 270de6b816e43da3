"""What a restore leaves when it is broken off, and that nobody uses the data until it is done."""

from pathlib import Path

from acore_bot.errors import HistoryUnusable

READY_FOLDER = "restore.ready"  # whole and checked; what was there before is still in its place
MOVING_FOLDER = "restore.moving"  # what was there before is aside


def is_half_restored(folder: Path) -> bool:
    """Tell whether a restore into this folder of data was broken off."""
    return (folder / READY_FOLDER).exists() or (folder / MOVING_FOLDER).exists()


def refuse_half_restored(folder: Path) -> None:
    """Raise `HistoryUnusable` if a restore into this folder of data was broken off."""
    if is_half_restored(folder):
        msg = f"A restore into {folder} was broken off, so the data is not whole."
        raise HistoryUnusable(msg, remedy="Run `acore restore` without a file: it goes on there.")
