"""A process that stores messages and says so, made to be killed.

It forks one writer for each line of its input, so many lives cost one start of Python.
It writes: the writer's process id; one line for each batch that `append` has returned for; and
`ended` with the exit code when the writer is dead. A writer goes on after the newest message of
the file.
"""

import asyncio
import hashlib
import os
import sys
import traceback
from datetime import UTC, datetime
from typing import NoReturn

from acore_bot.history.sqlite import SQLiteHistory
from acore_bot.messages import Author, Message


def make_message(id_: int) -> Message:
    """Make a message whose text checks itself, of a length that differs from id to id."""
    body = f"{id_}:" + "é🙂x" * (id_ * 7919 % 400)
    return Message(
        id=id_,
        conversation=f"channel {id_ // 2 % 3}",
        role="user",
        author=Author("17", "Ada"),
        text=f"{hashlib.sha256(body.encode()).hexdigest()} {body}",
        created_at=datetime(2026, 3, 1, tzinfo=UTC),
        parent_id=id_ - 1,
    )


async def write_until_killed(path: str, batches: int) -> None:
    """Append pairs of messages and print the even id of each pair once it is acknowledged."""
    async with SQLiteHistory.open(path) as history:
        newest = [await history.recent(f"channel {n}", 1) for n in range(3)]
        start = 2 + max((message.id for found in newest for message in found), default=-1) // 2 * 2
        for id_ in range(start, start + 2 * batches, 2):
            await history.append([make_message(id_), make_message(id_ + 1)])
            say(id_)


def live_once(path: str, batches: int) -> NoReturn:
    """Be the writer, and never return to the loop of lines."""
    try:
        asyncio.run(write_until_killed(path, batches))
    except Exception:  # noqa: BLE001 - printed, and told by the exit code
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def say(what: object) -> None:
    """Write one line at once, whole."""
    os.write(1, f"{what}\n".encode())


def main() -> None:
    """Live and die once for each line of the input: how many batches at most, then the file."""
    for line in sys.stdin:
        batches, path = line.rstrip("\n").split(" ", 1)
        writer = os.fork()
        if writer == 0:
            live_once(path, int(batches))
        say(writer)
        _, status = os.waitpid(writer, 0)
        say(f"ended {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    main()
