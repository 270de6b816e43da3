"""What is said at the door of a running bot: one line of JSON each way."""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeAlias

from msgspec import Struct

from acore_bot.ops.profile.tasks import Waiting

SOCKET_FILE = "profile.sock"
OTHER_SOCKET_FILE = "profile-{}.sock"  # of processes that share the data with the first
ANY_SOCKET_FILE = "profile*.sock"


class Request(Struct, frozen=True, kw_only=True):
    """What is asked of the bot.

    `cpu` waits beside py-spy, which records from outside, until the asker leaves. `cprofile` and
    `memory` record for `seconds` into a new file. `with_objects` records small objects one by one,
    too. `tasks` looks once.
    """

    mode: Literal["cpu", "cprofile", "memory", "tasks"]
    seconds: float = 0
    file: str = ""
    with_objects: bool = False


class Ready(Struct, frozen=True, tag=True):
    """The bot is this process, and awaits to be recorded from outside."""

    pid: int


class Written(Struct, frozen=True, tag=True):
    """The recording is over, and its file whole."""


class Seen(Struct, frozen=True, tag=True):
    """What the tasks wait for."""

    tasks: tuple[Waiting, ...]


class Refused(Struct, frozen=True, tag=True):
    """Nothing was recorded: the sentence says why, the remedy what would help."""

    sentence: str
    remedy: str


Reply: TypeAlias = Ready | Written | Seen | Refused


class Peer(Struct, frozen=True):
    """The process at the other end of a socket."""

    pid: int
    user: int


def peer_of(connection: socket.socket) -> Peer:
    """Ask the kernel who is at the other end; nobody can lie about it."""
    fields = struct.Struct("3i")
    told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, fields.size)
    pid, user, _ = fields.unpack(told)
    return Peer(pid, user)


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Give a socket's path as one that fits into the 108 bytes which the kernel allows. It holds
    within the block only. Raises `OSError` if there is no such folder."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
