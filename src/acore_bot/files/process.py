"""The parent's side of the child that opens files: one child a file, so its memory is given back.

It is started anew each time, which takes about a tenth of a second, and is killed when its time is
over or its asker left. What it says is believed as little as the file itself.
"""

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process

import msgspec

from acore_bot.files import child
from acore_bot.files.child import Job, Outcome, Refusal, Reply

MAX_REPLY_BYTES = 16 * 1024 * 1024  # more than any picture of 1,568 by 1,568 pixels takes
_CHUNK_BYTES = 256 * 1024
# All that Python may need to find its libraries. The rest of the environment may hold secrets.
_KEPT_VARIABLES = ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")


async def open_in_child(
    job: Job, content: bytes, *, seconds: float, script: str = child.__file__
) -> tuple[Outcome, bytes]:
    """Return what the child made of a file, or a refusal if it did not do so within `seconds`."""
    try:
        return await _open(job, content, seconds, script)
    except TimeoutError:
        return Refusal("too_slow"), b""
    except (OSError, EOFError, ValueError) as error:
        # It was not started, or did not end its reply, or it was none.
        return Refusal("crashed", f"{type(error).__name__}: {error}"[:200]), b""


async def _open(job: Job, content: bytes, seconds: float, script: str) -> tuple[Outcome, bytes]:
    process = await asyncio.create_subprocess_exec(
        # By its path and with -P: no file of the working directory, nor one beside it, can pose as
        # a module that it imports.
        *(sys.executable, "-P", script),
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
        start_new_session=True,  # Ctrl-C in a terminal is for us to hear
    )
    try:
        async with asyncio.timeout(seconds):
            await _send(process, job, content)
            return await _receive(process)
    finally:
        await end(process)


async def _send(process: Process, job: Job, content: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(job) + b"\n")
    # In chunks: the whole at once would be held, and copied, a second time.
    for start in range(0, len(content), _CHUNK_BYTES):
        process.stdin.write(content[start : start + _CHUNK_BYTES])
        await process.stdin.drain()
    process.stdin.close()


async def _receive(process: Process) -> tuple[Outcome, bytes]:
    assert process.stdout is not None
    reply = msgspec.json.decode(await process.stdout.readline(), type=Reply)
    if not 0 <= reply.size <= MAX_REPLY_BYTES:
        msg = f"a reply of {reply.size} bytes"
        raise ValueError(msg)
    return reply.outcome, await process.stdout.readexactly(reply.size)


async def end(process: Process) -> None:
    """Kill a process if it still runs, and see it gone, also if cancelled meanwhile."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    leaving = asyncio.create_task(_leave(process))
    try:
        await asyncio.shield(leaving)
    finally:
        await asyncio.wait([leaving])


async def _leave(process: Process) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    # First what it said and nobody read: asyncio sees a process as gone only when its pipes are.
    while await process.stdout.read(_CHUNK_BYTES):
        pass
    await process.wait()
