"""Where recordings go: new files that only their owner can read."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from acore_bot.errors import AcoreError


def new_file(folder: Path, mode: str, ending: str, now: datetime | None = None) -> Path:
    """Name a file after what it holds and when, in UTC."""
    moment = (now or datetime.now(UTC)).strftime("%Y%m%d-%H%M%S-%f")[:-3]
    return folder / f"{mode}-{moment}{ending}"


@contextmanager
def created(file: Path) -> Iterator[None]:
    """Create an empty file, and its folder, for the block to write. It is removed again if the
    block fails. Raises `AcoreError` if it cannot be created, or if the block left it empty."""
    _create(file)
    try:
        yield
        if not file.exists() or not file.stat().st_size:
            msg = "Nothing was recorded."
            raise AcoreError(msg, remedy="It has to run, and to do something, for long enough.")
    except BaseException:
        file.unlink(missing_ok=True)
        raise


def _create(file: Path) -> None:
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Before anything is written to it: tools that write it later keep its rights.
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except OSError as error:
        msg = f"The profile {file} cannot be written: {error.strerror}."
        raise AcoreError(msg, remedy="Choose another folder with --output.") from error
