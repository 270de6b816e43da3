"""Whether the bot stays as it is while it works for long, and its model's process is killed.

`acore run` serves people in 20 channels of a fake Discord, on the embedded model. Each person asks,
waits for the whole answer, pauses and asks again. After a warm-up all fall silent, and what the bot
holds then (asyncio tasks, sockets, other open files) is its base. From then on the model's process
is killed with SIGKILL every now and then, at random. At the end all fall silent once more.

Wanted: what the bot holds is back at the base, its memory does not grow, nobody is left without an
answer, and its log tells of no exception that nobody caught. The growth is the slope of a straight
line through the resident memory since the warm-up.

    uv run python benchmarks/soak.py [--minutes 30] [--kill-seconds 120] [--json FILE]
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from statistics import linear_regression
from tempfile import TemporaryDirectory

import msgspec
from msgspec import Struct

# Run by its path, a script sees its own folder only.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.fakes.command import children_of
from tests.fakes.discord.server import FakeDiscord
from tests.fakes.discord.things import Channel, User

from acore_bot.ops.log_stats import read_log
from acore_bot.ops.profile.caller import reach
from acore_bot.ops.profile.protocol import Request, Seen

# Answers are short and windows small, so that windows fill and are trimmed within minutes.
SETTINGS = """\
[chat]
max_tokens = 24
[providers.embedded]
context_tokens = 1024
[discord]
gather_seconds = 0.05
[operator]
port = 0
"""
QUESTIONS = (
    "What is the capital of France?",
    "Name a colour.",
    "What do bees make?",
    "Count to five.",
    "Say something kind.",
    "What is two plus three?",
)
UNHANDLED = ("Traceback", "never retrieved", "never awaited", "Unclosed", "Unhandled")
STILL_WRITTEN = "▌"  # the cursor at the end of an answer that grows
SAMPLE_SECONDS = 2.0
LOOK_SECONDS = 0.5
BACK_SECONDS = 90.0  # that the bot may take to let go of what it used


class Plan(Struct, frozen=True, kw_only=True):
    """How long, how many and how often. `settle_seconds` is how long nothing may change before the
    bot counts as at rest, `patience_seconds` how long a person waits for an answer."""

    warm_up_seconds: float
    seconds: float
    kill_seconds: float
    channels: int = 20
    pause_seconds: float = 2.0
    settle_seconds: float = 20.0
    patience_seconds: float = 330.0  # the bot itself gives up after 300


class Holdings(Struct, frozen=True):
    """What the bot holds at a moment."""

    tasks: int
    sockets: int
    files: int

    def is_within(self, base: "Holdings") -> bool:
        """Say whether there is no more of anything."""
        return (
            self.tasks <= base.tasks and self.sockets <= base.sockets and self.files <= base.files
        )


class Tally(Struct):
    """What happened: `unanswered` is what those saw last who waited in vain."""

    asked: int = 0
    kills: int = 0
    unanswered: list[str] = msgspec.field(default_factory=list)


class Report(Struct, frozen=True, kw_only=True):
    """What was seen. Memory is in MiB, its slope in MiB an hour. `unanswered` is what those saw
    last who waited in vain; `failed` counts the turns that were answered by an apology, by the
    class of the fault; `unhandled` are lines of the bot's log, `violations` rules of Discord's."""

    asked: int
    unanswered: tuple[str, ...]
    failed: dict[str, int]
    kills: int
    base: Holdings
    end: Holdings
    memory_at_base: float
    memory_at_end: float
    slope_per_hour: float
    unhandled: tuple[str, ...]
    violations: tuple[str, ...]
    exit_code: int


class Bot:
    """The running bot, seen from outside. `folder` holds its data."""

    def __init__(self, process: Process, folder: Path) -> None:
        self.process = process
        self.folder = folder

    def memory_mib(self) -> float:
        """Return how much of it is in memory."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    async def holdings(self) -> Holdings:
        """Count what it holds."""
        kinds = _open_files(self.process.pid)
        sockets = sum(kind.startswith("socket:") for kind in kinds)
        async with reach(self.folder, self.process.pid) as door:
            seen = await door.ask(Request(mode="tasks"))
        assert isinstance(seen, Seen)
        return Holdings(len(seen.tasks), sockets, len(kinds) - sockets)

    def kill_model(self) -> bool:
        """Kill the model's process, and say whether there was one."""
        killed = False
        for pid in filter(_is_model, children_of(self.process.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed = True
        return killed


def _open_files(pid: int) -> list[str]:
    return [_target(link) for link in Path(f"/proc/{pid}/fd").iterdir()]


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:  # closed since it was listed
        return ""


def _is_model(pid: int) -> bool:
    try:
        return b"llama_cpp_server" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


async def soak(plan: Plan, folder: Path, draw: random.Random) -> Report:
    """Run the bot with its data in an empty folder, and tell what was seen."""
    tally = Tally()
    log = folder / "log"
    async with FakeDiscord() as discord:
        async with _running(discord, folder) as bot:
            homes = _furnish(discord, plan.channels)
            await _talk(plan, plan.warm_up_seconds, discord, homes, tally, draw)
            base = await _at_rest(bot, plan.settle_seconds)
            samples = await _under_fire(plan, bot, discord, homes, tally, draw)
            end = await _back_at(bot, base)
            memory_at_end = bot.memory_mib()
        violations = tuple(discord.violations)
    return Report(
        asked=tally.asked,
        unanswered=tuple(tally.unanswered),
        failed=read_log(folder / "data" / "events").errors,
        kills=tally.kills,
        base=base,
        end=end,
        memory_at_base=samples[0][1],
        memory_at_end=memory_at_end,
        slope_per_hour=linear_regression(*zip(*samples, strict=True)).slope * 3600,
        unhandled=tuple(unhandled_in(log.read_text(errors="replace"))),
        violations=violations,
        exit_code=bot.process.returncode or 0,
    )


def unhandled_in(log: str) -> list[str]:
    """Return the lines of a log that tell of an exception which nobody caught."""
    return [line for line in log.splitlines() if any(sign in line for sign in UNHANDLED)]


@asynccontextmanager
async def _running(discord: FakeDiscord, folder: Path) -> AsyncIterator[Bot]:
    """Run the bot until the block is left; then tell it to stop, and wait until it has."""
    (folder / "acore.toml").write_text(SETTINGS)
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "acore_bot", "--config", folder / "acore.toml", "run"),
            cwd=folder,
            env=_environment(discord, folder),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        await discord.until(lambda: bool(discord.identifies), seconds=60)
        yield Bot(process, folder / "data")
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _environment(discord: FakeDiscord, folder: Path) -> dict[str, str]:
    return os.environ | {
        "HOME": str(folder),
        "ACORE_DATA__DIRECTORY": str(folder / "data"),
        "ACORE_DISCORD__API_URL": discord.api_url,
        "ACORE_DISCORD__GATEWAY_URL": discord.gateway_url,
        "DISCORD_TOKEN": discord.token,
        "OLLAMA_HOST": "127.0.0.1:1",  # nobody listens there
    }


def _furnish(discord: FakeDiscord, channels: int) -> list[tuple[Channel, User]]:
    guild = discord.add_guild("home")
    homes = []
    for number in range(channels):
        person = discord.add_user(f"Person {number}")
        guild.add_member(person)
        homes.append((guild.add_text_channel(f"talk-{number}"), person))
    return homes


async def _talk(
    plan: Plan,
    seconds: float,
    discord: FakeDiscord,
    homes: list[tuple[Channel, User]],
    tally: Tally,
    draw: random.Random,
) -> None:
    """Let everyone ask, again and again; return when all have their last answer."""
    ends_at = time.monotonic() + seconds

    async def ask_on(channel: Channel, person: User) -> None:
        while True:
            await _ask(plan, discord, channel, person, tally, draw)
            pause = draw.uniform(0, 2 * plan.pause_seconds)
            if time.monotonic() + pause >= ends_at:
                return
            await asyncio.sleep(pause)

    async with asyncio.TaskGroup() as group:
        for channel, person in homes:
            group.create_task(ask_on(channel, person))


async def _ask(
    plan: Plan,
    discord: FakeDiscord,
    channel: Channel,
    person: User,
    tally: Tally,
    draw: random.Random,
) -> None:
    text = f"{discord.bot_user.mention} {draw.choice(QUESTIONS)}"
    question = await discord.say(person, channel, text)
    tally.asked += 1

    def is_answered() -> bool:
        newest = next(reversed(channel.messages.values()))
        return newest.id > question.id and STILL_WRITTEN not in newest.text

    try:
        await discord.until(is_answered, seconds=plan.patience_seconds)
    except AssertionError:
        tally.unanswered.append(next(reversed(channel.messages.values())).text)


async def _under_fire(
    plan: Plan,
    bot: Bot,
    discord: FakeDiscord,
    homes: list[tuple[Channel, User]],
    tally: Tally,
    draw: random.Random,
) -> list[tuple[float, float]]:
    """Let everyone talk while the model is killed; return times and the memory at them."""
    samples = [(time.monotonic(), bot.memory_mib())]

    async def kill() -> None:
        while True:
            await asyncio.sleep(plan.kill_seconds * draw.uniform(0.5, 1.5))
            tally.kills += bot.kill_model()

    async def sample() -> None:
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            samples.append((time.monotonic(), bot.memory_mib()))

    async with asyncio.TaskGroup() as group:
        watchers = [group.create_task(kill()), group.create_task(sample())]
        await _talk(plan, plan.seconds, discord, homes, tally, draw)
        for watcher in watchers:
            watcher.cancel()
    samples.append((time.monotonic(), bot.memory_mib()))
    return samples


async def _at_rest(bot: Bot, settle_seconds: float) -> Holdings:
    """Return what the bot holds once that has not changed for so long, or after a while anyway."""
    began_at = changed_at = time.monotonic()
    held = await bot.holdings()
    while (now := time.monotonic()) < began_at + BACK_SECONDS:
        if now - changed_at >= settle_seconds:
            break
        await asyncio.sleep(LOOK_SECONDS)
        if (found := await bot.holdings()) != held:
            held, changed_at = found, now
    return held


async def _back_at(bot: Bot, base: Holdings) -> Holdings:
    """Return what the bot holds once that is no more than the base, or after a while anyway."""
    ends_at = time.monotonic() + BACK_SECONDS
    while not (held := await bot.holdings()).is_within(base):
        if time.monotonic() > ends_at:
            break
        await asyncio.sleep(LOOK_SECONDS)
    return held


def main() -> None:
    """Soak it, and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=30, help="how long, with the warm-up")
    parser.add_argument("--kill-seconds", type=float, default=120, help="between two kills")
    parser.add_argument("--channels", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write what was seen to this file too")
    chosen = parser.parse_args()
    seconds = chosen.minutes * 60
    warm_up = min(300.0, seconds / 4)
    plan = Plan(
        warm_up_seconds=warm_up,
        seconds=seconds - warm_up,
        kill_seconds=chosen.kill_seconds,
        channels=chosen.channels,
    )
    with TemporaryDirectory() as folder:
        report = asyncio.run(soak(plan, Path(folder), random.Random(chosen.seed)))
    for name, value in msgspec.structs.asdict(report).items():
        print(f"{name:16} {value:.2f}" if isinstance(value, float) else f"{name:16} {value}")
    if chosen.json:
        chosen.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")


if __name__ == "__main__":
    main()
