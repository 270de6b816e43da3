"""The door of a running bot: who is heard, what is recorded, and what becomes of it."""

import asyncio
import ctypes
import os
import socket
import stat
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import memray
import msgspec
import pytest

from acore_bot.errors import AcoreError, NotFound
from acore_bot.ops.profile import caller, door
from acore_bot.ops.profile.caller import reach
from acore_bot.ops.profile.door import ProfileDoor
from acore_bot.ops.profile.protocol import Peer, Ready, Request, Seen, Written, short_path
from acore_bot.ops.profile.reading import read
from acore_bot.ops.profile.tasks import OWN_TASKS

pytestmark = pytest.mark.usefixtures("no_task_left")

kept: list[bytearray] = []


def keep_memory() -> None:
    """Allocate what is found again."""
    kept.append(bytearray(300_000))


class Sleep:
    """Sleeps until it is woken, and knows for how long it was to be."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.begun = asyncio.Event()
        self.woken = asyncio.Event()
        self.was_cancelled = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        """Sleep."""
        self.seconds.append(seconds)
        self.begun.set()
        try:
            await self.woken.wait()
        except asyncio.CancelledError:
            self.was_cancelled.set()
            raise


@pytest.fixture
async def sleep() -> Sleep:
    """Return the sleep of the bot's door."""
    return Sleep()


@pytest.fixture
async def data(tmp_path: Path, sleep: Sleep) -> AsyncIterator[Path]:
    """Open a door in a data folder."""
    folder = tmp_path / "data"
    async with ProfileDoor(folder / "profile.sock", sleep=sleep):
        yield folder
    kept.clear()


async def ask(data: Path, request: Request) -> object:
    """Ask once and leave."""
    async with reach(data) as bot:
        return await bot.ask(request)


async def say(data: Path, line: bytes) -> bytes:
    """Say something at the door, whatever it is."""
    reader, writer = await asyncio.open_unix_connection(data / "profile.sock")
    writer.write(line)
    answer = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return answer


async def record(
    data: Path, request: Request, sleep: Sleep, work: Callable[[], object] = lambda: None
) -> object:
    """Do some work while it is recorded."""
    async with asyncio.TaskGroup() as group:
        asked = group.create_task(ask(data, request))
        await sleep.begun.wait()
        work()
        sleep.woken.set()
    return asked.result()


async def test_only_its_user_may_open_it(data: Path) -> None:
    """The socket is closed to all others, and so is the folder, if it is new."""
    assert rights_of(data / "profile.sock") == 0o600
    assert rights_of(data) == 0o700


async def test_the_kernel_says_who_asks(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user who got at the socket is refused; root is not."""
    wanted = Request(mode="tasks")
    monkeypatch.setattr(door, "peer_of", lambda connection: Peer(1, os.geteuid() + 1))
    with pytest.raises(AcoreError, match="Only root and the bot's own user"):
        await ask(data, wanted)
    monkeypatch.setattr(door, "peer_of", lambda connection: Peer(1, 0))
    assert isinstance(await ask(data, wanted), Seen)


@pytest.mark.parametrize("line", [b"\n", b"{}\n", b'{"mode": "sing"}\n', b"\xff\n", b"x" * 100_000])
async def test_nonsense_is_refused(data: Path, line: bytes) -> None:
    """Whatever is said, the door answers with a sentence and stays open."""
    assert b"did not understand" in await say(data, line)
    assert isinstance(await ask(data, Request(mode="tasks")), Seen)


async def test_the_tasks_of_the_bot_are_seen(data: Path) -> None:
    """All tasks are told but those of the door."""
    async with asyncio.TaskGroup() as group:
        event = asyncio.Event()
        group.create_task(event.wait(), name="waiting")
        reply = await ask(data, Request(mode="tasks"))
        event.set()
    assert isinstance(reply, Seen)
    names = {task.name for task in reply.tasks}
    assert "waiting" in names
    assert OWN_TASKS not in names


async def test_calls_are_recorded_for_as_long_as_was_asked(data: Path, sleep: Sleep) -> None:
    """What the loop's thread did meanwhile stands in the file, which nobody else can read."""
    file = data / "profiles" / "a.prof"
    request = Request(mode="cprofile", seconds=7, file=str(file))
    assert await record(data, request, sleep, keep_memory) == Written()
    assert sleep.seconds == [7]
    assert any(row.function.startswith("keep_memory ") for row in read(file).rows)
    assert rights_of(file) == 0o600
    assert rights_of(file.parent) == 0o700
    assert sys.getprofile() is None


@pytest.mark.parametrize("with_objects", [False, True])
async def test_allocations_are_recorded_with_their_callers(
    data: Path, sleep: Sleep, with_objects: bool
) -> None:
    """Whoever allocated meanwhile is found with what called it, down to the loop itself; at the end
    nothing records any more."""
    file = data / "a.bin"
    request = Request(mode="memory", seconds=9, file=str(file), with_objects=with_objects)
    assert await record(data, request, sleep, keep_memory) == Written()
    assert sleep.seconds == [9]
    rows = {row.function.partition(" ")[0]: row for row in read(file, growth=with_objects).rows}
    assert rows["keep_memory"].own >= 300_000
    assert rows["_run_once"].total >= 300_000
    with closing(memray.FileReader(file)) as reader:
        assert reader.metadata.trace_python_allocators == with_objects
    assert rights_of(file) == 0o600
    with memray.Tracker(data / "b.bin"):
        pass  # which two at once would not let


async def test_one_at_a_time(data: Path, sleep: Sleep) -> None:
    """A second recording is refused while one is made; tasks can be looked at all the same."""
    async with asyncio.TaskGroup() as group:
        first = Request(mode="cprofile", seconds=1, file=str(data / "a"))
        group.create_task(ask(data, first))
        await sleep.begun.wait()
        with pytest.raises(AcoreError, match="is being profiled already"):
            await ask(data, Request(mode="memory", seconds=1, file=str(data / "b")))
        assert isinstance(await ask(data, Request(mode="tasks")), Seen)
        sleep.woken.set()
    assert not (data / "b").exists()
    again = Request(mode="memory", seconds=1, file=str(data / "b"))
    assert await ask(data, again) == Written()


@pytest.mark.parametrize("mode", ["cprofile", "memory"])
async def test_who_leaves_ends_the_recording(data: Path, sleep: Sleep, mode: str) -> None:
    """The bot stops recording at once, keeps no file, and is free for the next."""
    request = msgspec.convert({"mode": mode, "seconds": 5, "file": str(data / "a")}, Request)
    asking = asyncio.create_task(ask(data, request))
    await sleep.begun.wait()
    asking.cancel()
    await asyncio.wait([asking])
    await sleep.was_cancelled.wait()
    sleep.woken.set()
    await asyncio.wait(tasks_of_the_door())
    assert names_in(data) == {"profile.sock"}
    assert await ask(data, Request(mode="cprofile", file=str(data / "next"))) == Written()


def tasks_of_the_door() -> list[asyncio.Task[object]]:
    """Name those that still work for an asker."""
    return [task for task in asyncio.all_tasks() if task.get_name() == OWN_TASKS]


def names_in(folder: Path) -> set[str]:
    """Name the files of a folder."""
    return {file.name for file in folder.iterdir()}


def rights_of(path: Path) -> int:
    """Return who may do what with a file."""
    return stat.S_IMODE(path.stat().st_mode)


async def test_a_bot_that_ends_ends_its_profile(tmp_path: Path, sleep: Sleep) -> None:
    """Leaving the door stops what is recorded, tells the asker by hanging up, and leaves neither
    socket nor file."""
    path = tmp_path / "profile.sock"
    async with ProfileDoor(path, sleep=sleep):
        request = Request(mode="memory", seconds=5, file=str(tmp_path / "a"))
        asking = asyncio.create_task(ask(tmp_path, request))
        await sleep.begun.wait()
    with pytest.raises(AcoreError, match="left without an answer"):
        await asking
    assert not names_in(tmp_path)


async def test_py_spy_is_let_in_while_the_asker_stays(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The asker may look into the bot's process from outside, as long as they are connected."""
    calls: list[tuple[int, ...]] = []
    closed = asyncio.Event()

    def prctl(*arguments: int) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            closed.set()

    library = type("Library", (), {"prctl": staticmethod(prctl)})
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    assert await ask(data, Request(mode="cpu")) == Ready(os.getpid())
    await closed.wait()
    assert calls == [(0x59616D61, os.getpid(), 0, 0, 0), (0x59616D61, 0, 0, 0, 0)]


async def test_a_missing_package_is_named(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without memray beside the bot, the asker learns how to install it."""
    monkeypatch.setitem(sys.modules, "memray", None)
    with pytest.raises(AcoreError, match="memray, which is not installed") as caught:
        await ask(data, Request(mode="memory", seconds=1, file=str(data / "a")))
    assert "pip install 'acore-bot[profile]'" in caught.value.remedy


async def test_a_foreign_profiler_is_left_alone(data: Path, sleep: Sleep) -> None:
    """If somebody traces the bot's memory already, that goes on and the asker is told."""
    with memray.Tracker(data / "foreign.bin"):
        with pytest.raises(AcoreError, match="Another profiler is at work"):
            await ask(data, Request(mode="memory", seconds=1, file=str(data / "a")))
        keep_memory()
    assert any(row.function.startswith("keep_memory ") for row in read(data / "foreign.bin").rows)
    assert not (data / "a").exists()


async def test_a_file_is_never_overwritten(data: Path) -> None:
    """What is there already, or in a folder that cannot be written, is refused with a sentence."""
    file = data / "mine"
    file.write_text("precious")
    for path, reason in ((file, "File exists"), (file / "below" / "it", "Not a directory")):
        with pytest.raises(AcoreError, match=f"cannot be written: {reason}"):
            await ask(data, Request(mode="cprofile", seconds=1, file=str(path)))
    assert file.read_text() == "precious"


async def test_a_fault_of_ours_does_not_end_the_bot(
    data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever goes wrong is logged, and the bot and its door go on."""
    monkeypatch.setattr(door, "waiting", lambda tasks: 1 / 0)
    with pytest.raises(AcoreError, match="left without an answer"):
        await ask(data, Request(mode="tasks"))
    assert "A profile failed." in caplog.text
    monkeypatch.undo()
    assert isinstance(await ask(data, Request(mode="tasks")), Seen)


async def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    """What a killed process left behind keeps nobody out, and misleads nobody."""
    path = tmp_path / "profile.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(NotFound, match="No bot runs with the data in"):
        await ask(tmp_path, Request(mode="tasks"))
    async with ProfileDoor(path):
        assert isinstance(await ask(tmp_path, Request(mode="tasks")), Seen)
    assert not path.exists()


async def test_stale_sockets_of_others_are_removed(tmp_path: Path) -> None:
    """What other processes of the same data left when they were killed goes, too; what is no
    socket, or is answered, stays."""
    (tmp_path / "profiles").mkdir()
    for name in ("profile-1.sock", "profile-2.sock"):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(tmp_path / name))
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(tmp_path / "profile-3.sock"))
        living.listen()
        async with ProfileDoor(tmp_path / "profile.sock"):
            assert names_in(tmp_path) == {"profiles", "profile.sock", "profile-3.sock"}


async def test_a_living_door_is_not_taken_away(tmp_path: Path) -> None:
    """A second process with the same data stands beside the first, and its owner chooses by pid."""
    path = tmp_path / "profile.sock"
    with socket.socket(socket.AF_UNIX) as first:
        first.bind(str(path))
        first.listen()
        async with ProfileDoor(path):
            assert names_in(tmp_path) == {
                "profile.sock",
                f"profile-{os.getpid()}.sock",
            }
    assert path.exists()


async def test_several_bots_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are several, one has to be chosen, and a wrong choice is said to be one."""
    pids = iter((7, 8) * 3)
    monkeypatch.setattr(caller, "peer_of", lambda connection: Peer(next(pids), 0))
    async with ProfileDoor(tmp_path / "profile.sock"), ProfileDoor(tmp_path / "profile-x.sock"):
        with pytest.raises(AcoreError, match=r"Several bots run with the data in .*: 7, 8"):
            await ask(tmp_path, Request(mode="tasks"))
        with pytest.raises(NotFound, match="No bot of pid 9"):
            async with reach(tmp_path, 9):
                pass
        async with reach(tmp_path, 8) as bot:
            assert isinstance(await bot.ask(Request(mode="tasks")), Seen)


async def test_a_long_path_is_no_hindrance(tmp_path: Path) -> None:
    """Folders deeper than a socket's address can say are reached all the same."""
    deep = tmp_path / ("x" * 100) / ("y" * 100)
    async with ProfileDoor(deep / "profile.sock"):
        assert isinstance(await ask(deep, Request(mode="tasks")), Seen)
        with short_path(deep / "profile.sock") as short:
            assert len(short) < 108
    assert not names_in(deep)


async def test_a_bot_without_a_door_is_well(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where no socket can be, the bot runs, and its log says what is missing."""
    (tmp_path / "file").touch()
    async with ProfileDoor(tmp_path / "file" / "profile.sock"):
        assert "cannot reach this bot" in caplog.text


async def test_a_bot_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    """An asker whose patience ends is told so by a `TimeoutError`."""
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(tmp_path / "profile.sock"))
        hung.listen()
        async with reach(tmp_path) as bot:
            assert bot.pid == os.getpid()
            with pytest.raises(TimeoutError):
                await bot.ask(Request(mode="tasks"), patience_seconds=0)
