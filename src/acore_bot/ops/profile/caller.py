"""The asker's side of a running bot's door."""

import asyncio
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import msgspec

from acore_bot.errors import AcoreError, NotAllowed, NotFound
from acore_bot.ops.profile.protocol import (
    ANY_SOCKET_FILE,
    Refused,
    Reply,
    Request,
    peer_of,
    short_path,
)

MAX_REPLY_BYTES = 64 * 1024 * 1024  # a hundred thousand tasks
PATIENCE_SECONDS = 30.0


class Bot:
    """A running bot that was reached. `pid` is told by the kernel, even if the bot hangs."""

    def __init__(self, pid: int, reader: StreamReader, writer: StreamWriter) -> None:
        self.pid = pid
        self._reader = reader
        self._writer = writer

    async def ask(self, request: Request, *, patience_seconds: float = PATIENCE_SECONDS) -> Reply:
        """Return the bot's answer, at the latest so long after the recording should have ended.
        Raises `AcoreError` if it refuses or leaves, and `TimeoutError`."""
        self._writer.write(msgspec.json.encode(request) + b"\n")
        try:
            async with asyncio.timeout(request.seconds + patience_seconds):
                reply: Reply = msgspec.json.decode(await self._reader.readline(), type=Reply)
        except TimeoutError:
            raise
        except (OSError, ValueError) as error:
            msg = "The bot left without an answer."
            raise AcoreError(msg, remedy="See its log.") from error
        if isinstance(reply, Refused):
            raise AcoreError(reply.sentence, remedy=reply.remedy)
        return reply


@asynccontextmanager
async def reach(folder: Path, pid: int | None = None) -> AsyncIterator[Bot]:
    """Reach the bot with that data folder, or the one of several with that pid; leaving the block
    ends what it records. Raises `NotFound` if there is none, `AcoreError` if there are several."""
    with ExitStack() as stack:
        found = {
            peer_of(connection).pid: connection
            for connection in map(stack.enter_context, _connections(folder))
        }
        chosen = _chosen(found, folder, pid)
        reader, writer = await asyncio.open_unix_connection(
            sock=found[chosen], limit=MAX_REPLY_BYTES
        )
        try:
            yield Bot(chosen, reader, writer)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


def _connections(folder: Path) -> Iterator[socket.socket]:
    for path in sorted(folder.glob(ANY_SOCKET_FILE)):
        connection = socket.socket(socket.AF_UNIX)
        try:
            with short_path(path) as short:
                connection.connect(short)
        except PermissionError as error:
            connection.close()
            msg = f"The bot at {path} belongs to another user."
            raise NotAllowed(msg, remedy="Run this as that user, or as root.") from error
        except OSError:  # its process was killed
            connection.close()
        else:
            yield connection


def _chosen(found: dict[int, socket.socket], folder: Path, pid: int | None) -> int:
    pids = sorted(found) if pid is None else [one for one in found if one == pid]
    if not pids:
        who = "No bot" if pid is None else f"No bot of pid {pid}"
        msg = f"{who} runs with the data in {folder}."
        remedy = (
            "Start it by `acore run`, or profile a command: `acore profile --mode … -- COMMAND`."
        )
        raise NotFound(msg, remedy=remedy)
    if len(pids) > 1:
        msg = f"Several bots run with the data in {folder}: {', '.join(map(str, pids))}."
        raise AcoreError(msg, remedy="Choose one with --pid.")
    return pids[0]
