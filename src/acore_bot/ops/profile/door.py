"""The door at which a running bot is asked for a profile: a socket in its data folder, for its
owner alone."""

import asyncio
import logging
import os
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from acore_bot.errors import AcoreError
from acore_bot.ops.profile.protocol import (
    ANY_SOCKET_FILE,
    OTHER_SOCKET_FILE,
    Peer,
    Ready,
    Refused,
    Reply,
    Request,
    Seen,
    Written,
    peer_of,
    short_path,
)
from acore_bot.ops.profile.tasks import OWN_TASKS, waiting

_STRANGER = Refused("Only root and the bot's own user may profile it.", "Run it as that user.")
_NONSENSE = Refused("The bot did not understand this.", "Ask with the `acore` that it runs on.")

log = logging.getLogger(__name__)


class ProfileDoor:
    """Answers at a Unix socket, on the loop that enters it, until it is left.

    Only root and the user of this process are heard, and one recording is made at a time. An asker
    who leaves ends theirs. If `path` is another living process's door, this one stands beside it.
    A bot without a door is well otherwise, so what prevents one is logged and not raised.
    """

    def __init__(
        self, path: Path, *, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    ) -> None:
        self._path = path
        self._sleep = sleep
        self._open = ExitStack()
        self._visits: set[asyncio.Task[None]] = set()
        self._is_recording = False

    async def __aenter__(self) -> Self:
        try:
            listener = _listen(self._path, self._open)
            server = await asyncio.start_unix_server(self._greet, sock=listener)
        except OSError as error:
            log.warning("`acore profile` cannot reach this bot by %s: %s", self._path, error)
        else:
            self._open.callback(server.close)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.close()
        await _cancel(*self._visits)

    def _greet(self, reader: StreamReader, writer: StreamWriter) -> None:
        visit = asyncio.create_task(self._receive(reader, writer), name=OWN_TASKS)
        self._visits.add(visit)
        visit.add_done_callback(self._visits.discard)

    async def _receive(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            await self._answer(reader, writer, peer_of(writer.get_extra_info("socket")))
        except Exception:
            # Whatever goes wrong with a profile, the bot goes on.
            log.exception("A profile failed.")
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: StreamReader, writer: StreamWriter, peer: Peer) -> None:
        if peer.user not in (0, os.geteuid()):
            await _say(writer, _STRANGER)
            return
        try:
            request = msgspec.json.decode(await reader.readline(), type=Request)
        except (ValueError, OSError):
            await _say(writer, _NONSENSE)
            return
        await _work_until_left(self._serve(request, writer, peer), reader)

    async def _serve(self, request: Request, writer: StreamWriter, peer: Peer) -> None:
        try:
            if request.mode == "tasks":
                await _say(writer, Seen(waiting(_tasks_of_the_bot())))
                return
            with self._sole_recording():
                await self._record(request, writer, peer)
            await _say(writer, Written())
        except AcoreError as error:
            await _say(writer, Refused(error.sentence, error.remedy))

    async def _record(self, request: Request, writer: StreamWriter, peer: Peer) -> None:
        from acore_bot.ops.profile import inside  # noqa: PLC0415 -- few bots are ever profiled

        file, seconds = Path(request.file), request.seconds
        match request.mode:
            case "cprofile":
                await inside.record_calls(file, seconds, self._sleep)
            case "memory":
                await inside.record_allocations(
                    file, seconds, self._sleep, with_objects=request.with_objects
                )
            case _:
                with inside.open_to(peer.pid):
                    await _say(writer, Ready(os.getpid()))
                    await asyncio.Event().wait()  # until the asker leaves

    @contextmanager
    def _sole_recording(self) -> Iterator[None]:
        if self._is_recording:
            msg = "The bot is being profiled already."
            raise AcoreError(msg, remedy="Ask again when that profile is done.")
        self._is_recording = True
        try:
            yield
        finally:
            self._is_recording = False


def _listen(wanted: Path, stack: ExitStack) -> socket.socket:
    """Bind a socket at a path, or beside it if another process answers there. The stack closes it
    and removes its file. Raises `OSError`."""
    wanted.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove_stale(wanted.parent)
    other = wanted.with_name(OTHER_SOCKET_FILE.format(os.getpid()))
    path = other if _is_answered(wanted) else wanted
    stack.callback(path.unlink, missing_ok=True)
    # To the end, since asyncio may look at the path once more when it closes.
    short = stack.enter_context(short_path(path))
    listener = stack.enter_context(socket.socket(socket.AF_UNIX))
    os.fchmod(listener.fileno(), 0o600)  # before the file is there for anyone to open
    listener.bind(short)
    listener.listen()  # at once, so that nobody takes it for a dead one's
    return listener


def _remove_stale(folder: Path) -> None:
    """Remove the doors of processes that were killed."""
    for path in folder.glob(ANY_SOCKET_FILE):
        if not _is_answered(path):
            path.unlink(missing_ok=True)


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as caller, short_path(path) as short:
        caller.setblocking(False)  # one whose queue is full is alive, too
        try:
            caller.connect(short)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except BlockingIOError:
            return True
    return True


def _tasks_of_the_bot() -> list[asyncio.Task[object]]:
    return [task for task in asyncio.all_tasks() if task.get_name() != OWN_TASKS]


async def _say(writer: StreamWriter, reply: Reply) -> None:
    with suppress(OSError):  # nobody listens any more
        writer.write(msgspec.json.encode(reply) + b"\n")
        await writer.drain()


async def _work_until_left(work: Coroutine[object, object, None], reader: StreamReader) -> None:
    working = asyncio.create_task(work, name=OWN_TASKS)
    leaving = asyncio.create_task(reader.read(), name=OWN_TASKS)
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _cancel(working, leaving)
    if not working.cancelled():
        working.result()


async def _cancel(*tasks: "asyncio.Task[None] | asyncio.Task[bytes]") -> None:
    for task in tasks:
        task.cancel()
    # Also if cancelled meanwhile, this ends only when all of them have.
    await asyncio.gather(*tasks, return_exceptions=True)
