"""The child that opens files: bounded, reaped, believed as little as the file."""

import asyncio
import json
import logging
import os
import signal
import sys
import textwrap
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.files.samples import animation, attachment, empty_png, pdf, picture, saying

from acore_bot.errors import FileUnreadable
from acore_bot.files import Reader, ReadLimits
from acore_bot.files.child import Job, Picture, Refusal
from acore_bot.files.process import MAX_REPLY_BYTES, end, open_in_child

JOB = Job(
    kind="png",
    seconds=5,
    memory_bytes=640 * 1024 * 1024,
    max_characters=100,
    max_pages=2,
    max_pixels=100_000,
    max_side=64,
)
SLOW = empty_png(5000, 5000)  # a quarter of a second

Misbehave = Callable[..., Awaitable[tuple[object, bytes]]]


def children() -> set[int]:
    """Return the ids of our child processes, zombies too."""
    lists = Path("/proc/self/task").glob("*/children")
    return {int(pid) for pids in lists for pid in pids.read_text().split()}


@pytest.fixture(autouse=True)
def no_process_left() -> object:
    """Fail a test that leaves a process behind, a dead one too."""
    before = children()
    yield
    assert children() <= before


@pytest.fixture
def misbehave(tmp_path: Path) -> Misbehave:
    """Run a child that does as the test says instead."""

    async def run(code: str, content: bytes = b"x", seconds: float = 5) -> tuple[object, bytes]:
        script = tmp_path / "script.py"
        script.write_text("import os, sys, time\n" + textwrap.dedent(code))
        return await open_in_child(JOB, content, seconds=seconds, script=str(script))

    return run


def reason(outcome: object) -> str:
    """Return why a file was refused."""
    assert isinstance(outcome, Refusal)
    return outcome.reason


async def test_child_that_hangs_is_killed(misbehave: Misbehave) -> None:
    """When its time is over it is ended, whatever it does, and the person hears why."""
    outcome, _ = await misbehave("sys.stdin.buffer.read(); time.sleep(60)", seconds=0.2)
    assert reason(outcome) == "too_slow"


@pytest.mark.parametrize("code", ["time.sleep(60)", "while True: os.write(1, b'x' * 65536)"])
async def test_child_that_reads_nothing_is_killed(misbehave: Misbehave, code: str) -> None:
    """A full pipe does not hold us up for longer than that, be it theirs or ours."""
    outcome, _ = await misbehave(code, b"x" * 1_000_000, seconds=0.2)
    assert reason(outcome) == "too_slow"


def reply(**fields: object) -> str:
    """Write a reply that is right but for some fields, as code."""
    right = {"outcome": {"type": "Refusal", "reason": "damaged"}, "size": 0}
    return f"sys.stdin.buffer.read(); print({json.dumps(right | fields)!r}, flush=True)"


@pytest.mark.parametrize(
    "code",
    [
        "sys.exit(0)",
        "sys.stdin.buffer.read(); os.kill(os.getpid(), 11)",
        "sys.stdin.buffer.read(); print('what?')",
        "sys.stdin.buffer.read(); print('[1, 2]')",
        "sys.stdin.buffer.read(); print('x' * 1_000_000)",
        reply(outcome={"type": "Pages", "pages": 1, "pages_read": 1}),
        reply(outcome={"type": "Refusal", "reason": "no such reason"}),
        reply(size=9) + "; print('1234')",
        reply(size=-1),
        reply(size=MAX_REPLY_BYTES + 1) + "\nwhile True: os.write(1, b'x' * 65536)",
        "while True: os.write(1, b'x' * 65536)",
    ],
)
async def test_child_that_talks_nonsense_is_not_believed(misbehave: Misbehave, code: str) -> None:
    """A death, a wrong reply, half of one and an endless one are all a file that did not open."""
    outcome, data = await misbehave(code, b"x" * 100_000)
    assert (reason(outcome), data) == ("crashed", b"")


async def test_script_that_cannot_start_is_no_crash_of_ours(tmp_path: Path) -> None:
    """A child that is not there is a file that did not open."""
    outcome, _ = await open_in_child(JOB, b"x", seconds=5, script=str(tmp_path / "none.py"))
    assert reason(outcome) == "crashed"


async def test_process_that_cannot_be_made_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no process left, the person hears that the file was not opened."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(FileUnreadable, match="could not be opened"):
        await Reader().read(attachment(), picture())


async def test_picture_that_is_none_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even the bytes of the reply are believed to be what they say."""

    async def lie(*_: object, **__: object) -> tuple[Picture, bytes]:
        return Picture("image/png", is_animated=False), b"<script>"

    monkeypatch.setattr("acore_bot.files.reader.open_in_child", lie)
    with pytest.raises(FileUnreadable, match="could not be opened"):
        await Reader().read(attachment(), picture())


async def test_secrets_of_the_environment_stay_here(
    misbehave: Misbehave, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child gets the few variables that Python needs, and no token."""
    monkeypatch.setenv("ACORE_DISCORD__TOKEN", "canary")
    monkeypatch.setenv("PYTHONPATH", "/kept")
    code = """
        import json
        said = json.dumps(dict(os.environ)).encode()
        head = '{"outcome": {"type": "Refusal", "reason": "damaged"}, "size": %d}' % len(said)
        os.write(1, head.encode() + b"\\n" + said)
    """
    _, data = await misbehave(code)
    environment = json.loads(data)
    assert environment["PYTHONPATH"] == "/kept"
    assert "canary" not in environment.values()


async def test_file_beside_the_script_cannot_pose_as_a_library(
    misbehave: Misbehave, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what lies there nor what lies where the bot was started is imported."""
    (tmp_path / "msgspec.py").write_text("raise SystemExit('no')")
    monkeypatch.chdir(tmp_path)
    outcome, _ = await misbehave("import msgspec\n" + reply())
    assert reason(outcome) == "damaged"
    assert (await Reader().read(attachment(), picture())).image


async def test_slow_file_is_told() -> None:
    """A file that takes too long to open is refused in time."""
    with pytest.raises(FileUnreadable, match="takes too long to open"):
        await Reader(ReadLimits(seconds=0.1)).read(attachment(), SLOW)


async def test_cancelling_ends_the_child() -> None:
    """Whoever leaves takes the child along, and the next file finds its place free."""
    reader = Reader(ReadLimits(at_once=1))
    before = children()
    reading = asyncio.create_task(reader.read(attachment(), SLOW))
    async with asyncio.timeout(5):
        while True:
            if not children() <= before:
                break
            # Another process has no event to wait for.
            await asyncio.sleep(0.001)
    reading.cancel()
    await asyncio.wait([reading])
    assert reading.cancelled()
    assert children() <= before
    assert (await reader.read(attachment(), picture())).image


async def test_cancelling_while_the_child_ends_leaves_none(tmp_path: Path) -> None:
    """It is seen gone even by who was told to leave in that moment."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "while True: print('x' * 1_000_000)"), stdin=PIPE, stdout=PIPE
    )
    assert process.stdout is not None
    await process.stdout.read(1)
    ending = asyncio.create_task(end(process))
    await asyncio.sleep(0)
    ending.cancel()
    await asyncio.wait([ending])
    assert ending.cancelled()
    assert process.returncode == -signal.SIGKILL


async def test_two_files_at_once_at_the_most() -> None:
    """However many people send files, two children run, and each file is read in its turn."""
    before, most, files = children(), 0, 6
    reader = Reader()

    async def count() -> None:
        nonlocal most
        while True:
            most = max(most, len(children() - before))
            await asyncio.sleep(0.001)

    counting = asyncio.create_task(count())
    try:
        contents = await asyncio.gather(
            *(reader.read(attachment(), picture()) for _ in range(files))
        )
    finally:
        counting.cancel()
        await asyncio.wait([counting])
    assert most == 2
    assert all(content.image for content in contents)


async def test_reason_stands_in_the_log_without_the_name(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The owner can find out why a file was refused; what it was called is its sender's matter."""
    with caplog.at_level(logging.DEBUG), pytest.raises(FileUnreadable):
        await Reader().read(attachment("private.pdf"), b"%PDF-1.7\n")
    assert "file 1 is not read: damaged" in caplog.text
    assert "private" not in caplog.text


PARENT = """
import asyncio, sys
from pathlib import Path
from acore_bot.errors import FileUnreadable
from acore_bot.files import Reader
from acore_bot.messages import Attachment

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024

async def main():
    contents = [Path(name).read_bytes() for name in sys.argv[1:]]
    before = peak()
    for content in contents:
        try:
            await Reader().read(Attachment(id=1, name="", media_type="", size=0, url=""), content)
        except FileUnreadable:
            pass
    print(peak() - before, *sorted({"PIL", "pypdf"} & sys.modules.keys()))

asyncio.run(main())
"""


async def test_s21_parent_decodes_nothing_and_stays_small(tmp_path: Path) -> None:
    """No bomb takes the bot's own memory, and no decoder is ever loaded into it."""
    bombs = (
        empty_png(30_000, 30_000),
        picture("png", (5000, 5000), "RGBA", (1, 2, 3, 4)),
        animation("gif", 10_000),
        pdf([saying("Hello")] * 10_000),
        b"x" * 10_000_000,
        pdf([os.urandom(5_000_000)]),
    )
    files = [tmp_path / str(index) for index in range(len(bombs))]
    for file, bomb in zip(files, bombs, strict=True):
        file.write_bytes(bomb)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, *map(str, files)), stdout=PIPE
    )
    said, _ = await process.communicate()
    growth, *decoders = said.decode().split()
    assert not decoders
    assert int(growth) < 64
