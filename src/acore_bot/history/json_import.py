"""The way in for conversations that were kept as a JSON file per channel, `<channel id>.json`.

Such a file is a list of objects with `role`, `content` and sometimes `username` and `user_id`. It
carries no times and no ids, so both are made: the file's own time is that of its last message, and
those before it follow each other by a second. The lower half of an id is a mark of the channel, the
place in the file and what was said; by mark and text a message is known again, even if the file got
another time. So an import that was broken off can be run again. Run it when nothing writes to these
files any more: in a list that has moved on, every message stands at another place.
"""

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import TypeAlias

import msgspec
from msgspec import Raw, Struct

from acore_bot.contracts import History
from acore_bot.errors import DuplicateMessage, NotFound
from acore_bot.history.kept import as_kept
from acore_bot.messages import Author, Message, Role, SnowflakeSequence

# Far more than any list that was rewritten whole for each message.
MAX_FILE_BYTES = 4 * 2**20
MAX_CHANNEL_ID = 2**64
ALL = 2**31
ATTEMPTS = 8
MARK_BITS = 22

NAME = re.compile(r"([0-9]{1,20})\.json", re.ASCII)
STEP_MILLISECONDS = 1000
EARLIEST_MILLISECONDS = SnowflakeSequence.EPOCH_MILLISECONDS

OnProgress: TypeAlias = Callable[[int, int], None]


def unwatched(_done: int, _total: int) -> None:
    """Hear of progress and tell nobody."""


class SetAside(Struct, frozen=True):
    """What did not go in: a whole file, or the element of its list at `index`, and the reason."""

    file: str
    index: int | None
    reason: str


class ImportReport(Struct, frozen=True, kw_only=True):
    """What became of a folder. `messages` are new; `already` were there before; `system` counts the
    prompts of the role `system`, which are left out because the persona says them now."""

    files: int
    conversations: int
    messages: int
    already: int
    system: int
    set_aside: tuple[SetAside, ...]


class _Saved(Struct, frozen=True):
    """An element of a file."""

    role: Role
    content: str
    username: str | None = None
    user_id: int | str | None = None


class _File(Struct, frozen=True, kw_only=True):
    """A file that was read: its good elements with their places, and the time of the last."""

    channel: str
    saved: tuple[tuple[int, _Saved], ...] = ()
    last_milliseconds: int = 0
    set_aside: tuple[SetAside, ...] = ()


class _Outcome(Struct, frozen=True, kw_only=True):
    """What became of one file."""

    messages: int = 0
    already: int = 0
    system: int = 0
    set_aside: tuple[SetAside, ...] = ()


async def import_folder(
    history: History,
    folder: Path,
    on_progress: OnProgress = unwatched,
    *,
    clock: Callable[[], float] = time.time,
) -> ImportReport:
    """Store what the files of a folder hold, each file all or not at all; change nothing in them.

    Damaged files and elements are set aside in the report and keep nothing else from going in.
    `on_progress` hears how many files are done, of how many; `clock` returns seconds since 1970.
    Raises `NotFound` for what is no readable folder, and `HistoryError`; what went in before stays.
    """
    paths = await asyncio.to_thread(_list_files, folder)
    outcomes: list[_Outcome] = []
    for path in paths:
        on_progress(len(outcomes), len(paths))
        outcomes.append(await _import_file(history, path, int(clock() * 1000)))
    on_progress(len(paths), len(paths))
    return ImportReport(
        files=len(paths),
        conversations=sum(outcome.messages + outcome.already > 0 for outcome in outcomes),
        messages=sum(outcome.messages for outcome in outcomes),
        already=sum(outcome.already for outcome in outcomes),
        system=sum(outcome.system for outcome in outcomes),
        set_aside=tuple(item for outcome in outcomes for item in outcome.set_aside),
    )


def _list_files(folder: Path) -> list[Path]:
    try:
        paths = [path for path in folder.iterdir() if path.suffix == ".json"]
    except OSError as error:
        msg = f"The folder {folder} cannot be read ({error.strerror})."
        raise NotFound(msg, remedy="Name the folder that holds the files <channel>.json.") from None
    return sorted(paths)


async def _import_file(history: History, path: Path, now_milliseconds: int) -> _Outcome:
    file = await asyncio.to_thread(_read, path, now_milliseconds)
    if not file.saved:
        return _Outcome(set_aside=file.set_aside)
    conversation = f"discord:{file.channel}"
    there = {_mark_of(said): said.id for said in await history.recent(conversation, ALL)}
    for attempt in range(ATTEMPTS):
        messages = [*_new_messages(file, conversation, there, attempt)]
        try:
            await history.append(messages)
        except DuplicateMessage:
            # Another channel's message has this very id: the next attempt makes other ones.
            continue
        system = sum(saved.role == "system" for _, saved in file.saved)
        return _Outcome(
            messages=len(messages),
            already=len(file.saved) - system - len(messages),
            system=system,
            set_aside=file.set_aside,
        )
    no_ids = SetAside(path.name, None, "no ids are free at its time")
    return _Outcome(set_aside=(*file.set_aside, no_ids))


def _new_messages(
    file: _File, conversation: str, there: dict[tuple[int, str], int], attempt: int
) -> Iterator[Message]:
    previous: int | None = None
    for index, saved in file.saved:
        if saved.role == "system":
            continue
        places_from_end = file.saved[-1][0] - index
        milliseconds = file.last_milliseconds - places_from_end * STEP_MILLISECONDS
        mark, shift = _digest(file.channel, index, saved, attempt)
        since_epoch = milliseconds + shift - SnowflakeSequence.EPOCH_MILLISECONDS
        if previous is not None:  # it may be one of another time of the file
            since_epoch = max(since_epoch, (previous >> MARK_BITS) + 1)
        message = as_kept(
            Message(
                id=since_epoch << MARK_BITS | mark,
                conversation=conversation,
                role=saved.role,
                author=_author(saved),
                text=saved.content,
                created_at=datetime.fromtimestamp(milliseconds / 1000, UTC),
                parent_id=previous,
            )
        )
        known = there.get(_mark_of(message))
        if known is None:
            yield message
        previous = message.id if known is None else known


def _digest(channel: str, index: int, saved: _Saved, attempt: int) -> tuple[int, int]:
    """Return the mark of a message, and a shift of less than a second that keeps ids of many files
    with one time apart."""
    content = msgspec.json.encode((channel, index, saved))
    mark = blake2b(content, digest_size=8).digest()
    shift = blake2b(content, digest_size=8, person=b"shift", salt=bytes([attempt])).digest()
    return _number(mark, 1 << MARK_BITS), _number(shift, STEP_MILLISECONDS)


def _number(digest: bytes, below: int) -> int:
    return int.from_bytes(digest) % below


def _mark_of(message: Message) -> tuple[int, str]:
    return message.id & ((1 << MARK_BITS) - 1), message.text


def _author(saved: _Saved) -> Author:
    if saved.role == "assistant":
        return Author("bot", saved.username or "bot")
    name = saved.username or "someone"
    return Author(name if saved.user_id is None else str(saved.user_id), name)


def _read(path: Path, now_milliseconds: int) -> _File:
    try:
        channel = _channel_of(path)
        content, modified_seconds = _content(path)
        elements = _elements(content)
    except _Unfit as unfit:
        return _File(channel="", set_aside=(SetAside(path.name, None, str(unfit)),))
    saved: list[tuple[int, _Saved]] = []
    set_aside: list[SetAside] = []
    for index, element in enumerate(elements):
        try:
            saved.append((index, msgspec.json.decode(element, type=_Saved)))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            set_aside.append(SetAside(path.name, index, str(error)))
    # A clock that was wrong must not put what is long past behind, or before, all that can be.
    earliest = EARLIEST_MILLISECONDS + len(elements) * STEP_MILLISECONDS
    last_milliseconds = max(min(int(modified_seconds * 1000), now_milliseconds - 1000), earliest)
    return _File(
        channel=channel,
        saved=tuple(saved),
        last_milliseconds=last_milliseconds,
        set_aside=tuple(set_aside),
    )


class _Unfit(Exception):
    """A whole file cannot go in; says why."""


def _channel_of(path: Path) -> str:
    matched = NAME.fullmatch(path.name)
    if matched is None or int(matched[1]) >= MAX_CHANNEL_ID:
        raise _Unfit("its name is no channel's number")
    return str(int(matched[1]))


def _content(path: Path) -> tuple[bytes, float]:
    try:
        if not path.is_file():  # to open a pipe would wait for somebody to write to it
            raise _Unfit("it is no file")
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
            modified_seconds = path.stat().st_mtime
    except OSError as error:
        raise _Unfit(f"it cannot be read ({error.strerror})") from None
    if len(content) > MAX_FILE_BYTES:
        raise _Unfit(f"it is larger than {MAX_FILE_BYTES // 2**20} MiB")
    return content, modified_seconds


def _elements(content: bytes) -> list[Raw]:
    if not content.strip():
        raise _Unfit("it is empty")
    try:
        return msgspec.json.decode(content, type=list[Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _Unfit(f"it is no list of messages in JSON: {error}") from None
