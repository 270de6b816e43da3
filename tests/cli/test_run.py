"""`acore run`: a process that serves people on a Discord of ours, over the wire."""

import asyncio
import json
import os
import pty
import signal
import socket
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from tests.fakes.command import Command, children_of, finish
from tests.fakes.discord.server import FakeDiscord
from tests.fakes.discord.things import Channel, User

TOKEN_SHOWN = "test-token-nobody-may-read"
WORDS = [f"word{number} " for number in range(60)]

Start = Callable[..., Awaitable[Process]]


@pytest.fixture
async def discord() -> AsyncIterator[FakeDiscord]:
    """Open a Discord with its usual limits."""
    async with FakeDiscord() as fake:
        fake.gateway.heartbeat_seconds = 1.0
        yield fake


@pytest.fixture
async def start(discord: FakeDiscord, command: Command, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Return a function that starts the bot and returns once it is there."""
    monkeypatch.setenv("DISCORD_TOKEN", discord.token)
    monkeypatch.setenv("ACORE_DISCORD__API_URL", discord.api_url)
    monkeypatch.setenv("ACORE_DISCORD__GATEWAY_URL", discord.gateway_url)
    monkeypatch.setenv("ACORE_DISCORD__GATHER_SECONDS", "0.05")

    async def run(*arguments: str) -> Process:
        before = len(discord.identifies)
        process = await command.start(*arguments, "run")
        await discord.until(lambda: len(discord.identifies) > before, seconds=30)
        return process

    return run


def home_of(discord: FakeDiscord) -> tuple[Channel, User]:
    """Furnish a guild with a channel and a person."""
    guild = discord.add_guild("home")
    channel, ada = guild.add_text_channel("talk"), discord.add_user("Ada")
    guild.add_member(ada)
    return channel, ada


async def test_a_mention_is_answered_as_the_model_speaks(
    discord: FakeDiscord, start: Start, write_settings: Callable[[str], object]
) -> None:
    """Typing comes first, then text, which grows by edits and ends as what the model said; and the
    process ends well when it is told to stop."""
    said = "".join(WORDS).strip()
    write_settings(
        '[chat]\nmodel = "demo/script"\n'
        f'[providers.demo]\nkind = "scripted"\nanswers = ["{said}"]\ndelay_seconds = 0.05\n'
    )
    channel, ada = home_of(discord)
    process = await start()
    await discord.say(ada, channel, f"{discord.bot_user.mention} tell me")
    await discord.until(lambda: bool(discord.answers(channel)))
    assert discord.typing
    await discord.until(lambda: discord.answers(channel) == [said], seconds=30)
    (answer,) = discord.messages_of_bot()
    texts = [revision.text for revision in discord.history(answer)]
    assert len(texts) > 2
    assert all(text.endswith("▌") and said.startswith(text[:-2]) for text in texts[:-1])
    assert not discord.pings()
    assert not discord.violations
    process.send_signal(signal.SIGTERM)
    done = await finish(process)
    assert done.code == 0
    assert "Traceback" not in done.err
    assert discord.token not in done.err
    assert said not in done.err
    assert "Connecting to Discord, with demo/script." in done.err
    assert "shard 0, 1 server." in done.err
    assert "voice" not in done.err


@pytest.mark.embedded
async def test_the_embedded_model_answers_on_discord(discord: FakeDiscord, start: Start) -> None:
    """With no settings but a token, the model inside the package answers, and what it said is the
    text of its last edit."""
    channel, ada = home_of(discord)
    process = await start()
    await discord.say(ada, channel, f"{discord.bot_user.mention} What is the capital of France?")

    def is_answered() -> bool:
        return any(not answer.endswith("▌") for answer in discord.answers(channel))

    await discord.until(is_answered, seconds=50)
    (answer,) = discord.answers(channel)
    assert "Paris" in answer
    process.send_signal(signal.SIGINT)
    assert (await finish(process)).code == 0


async def test_a_wrong_token_ends_it_with_a_sentence(
    discord: FakeDiscord, command: Command, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Discord's refusal is one line and a remedy, with an exit code of its own, and tells nobody
    the token."""
    monkeypatch.setenv("DISCORD_TOKEN", TOKEN_SHOWN)
    done = await command.run("run")
    assert done.code == 3
    assert "Traceback" not in done.err
    assert TOKEN_SHOWN not in done.err
    assert "token" in done.err


@pytest.mark.parametrize("code", [4004, 4010, 4011, 4012, 4013, 4014])
async def test_r7_a_fatal_close_ends_the_process(
    code: int, discord: FakeDiscord, start: Start, scripted: None
) -> None:
    """What Discord closes for good is not tried again: one new session, one sentence, code 3."""
    discord.gateway.refuse_identifies(code, 5)
    process = await start()
    done = await finish(process)
    assert done.code == 3
    assert len(discord.identifies) == 1
    assert "Traceback" not in done.err
    assert discord.token not in done.err
    (line,) = [line for line in done.err.splitlines() if line.startswith("acore: ")]
    assert line.endswith(".")


async def test_without_a_token_it_says_where_to_get_one(command: Command, scripted: None) -> None:
    """There is nothing to serve without an account, and the remedy is a place to go to."""
    done = await command.run("run")
    assert done.code == 2
    assert "There is no Discord token." in done.err
    assert "https://discord.com/developers/applications" in done.err


async def test_a_second_process_does_not_answer_the_same_messages(
    discord: FakeDiscord, command: Command, start: Start, scripted: None
) -> None:
    """Who starts the bot twice by mistake is told so, and people get one answer."""
    await start()
    done = await command.run("run")
    assert done.code == 2
    assert "Another `acore run` serves with the data in" in done.err
    assert len(discord.identifies) == 1


async def test_shards_without_their_number_are_a_wrong_setting(
    discord: FakeDiscord, command: Command, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which shards are ours says nothing without how many there are."""
    monkeypatch.setenv("ACORE_DISCORD__SHARD_IDS", "0")
    done = await command.run("run")
    assert done.code == 2
    assert "discord.shard_count" in done.err
    monkeypatch.setenv("ACORE_DISCORD__SHARD_COUNT", "1")
    process = await start()
    process.send_signal(signal.SIGTERM)
    assert (await finish(process)).code == 0


async def test_a_gateway_that_is_away_is_a_line_in_the_log(
    discord: FakeDiscord, start: Start, scripted: None
) -> None:
    """A library's troubles reach the owner as a line, without its inner life."""
    discord.gateway.refuse_connections(1)
    process = await start()
    process.send_signal(signal.SIGTERM)
    done = await finish(process)
    assert done.code == 0
    assert "Failed to connect" in done.err
    assert "Traceback" not in done.err


async def test_a_hangup_reads_the_settings_anew(
    discord: FakeDiscord, start: Start, write_settings: Callable[[str], Path]
) -> None:
    """At SIGHUP an open answer ends whole by the old settings, and the next is by the new, over the
    same session; a broken file is named in the log, and changes nothing."""
    script = '[chat]\nmodel = "demo/script"\n[providers.demo]\nkind = "scripted"\n'
    said = "".join(WORDS).strip()
    write_settings(f'{script}answers = ["{said}"]\ndelay_seconds = 0.03\n')
    channel, ada = home_of(discord)
    process = await start()
    await discord.say(ada, channel, f"{discord.bot_user.mention} tell me")
    await discord.until(lambda: bool(discord.answers(channel)))
    write_settings(f'{script}answers = ["I am new."]\n')
    process.send_signal(signal.SIGHUP)
    await discord.until(lambda: discord.answers(channel) == [said], seconds=30)
    await discord.say(ada, channel, f"{discord.bot_user.mention} And now?")
    await discord.until(lambda: discord.answers(channel) == [said, "I am new."], seconds=30)
    write_settings("[chat\n")
    process.send_signal(signal.SIGHUP)
    await discord.say(ada, channel, f"{discord.bot_user.mention} And now?")
    await discord.until(lambda: discord.answers(channel) == [said, "I am new.", "I am new."])
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    done = await finish(process)
    assert done.code == 0
    assert "In force now: providers.demo.answers, providers.demo.delay_seconds." in done.err
    assert "The settings stay as they are: " in done.err
    assert "Traceback" not in done.err
    assert len(discord.identifies) == 1


async def test_a_hangup_while_it_starts_does_not_end_it(
    discord: FakeDiscord,
    start: Start,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SIGHUP asks for the settings that are just being read, so there is nothing more to do."""
    pipe = home / "slow.toml"
    os.mkfifo(pipe)
    monkeypatch.setenv("ACORE_CONFIG", str(pipe))
    started = asyncio.ensure_future(start())
    # It is open as soon as somebody reads there.
    file = await asyncio.to_thread(pipe.open, "w")
    (pid,) = children_of(os.getpid())
    os.kill(pid, signal.SIGHUP)
    with file:
        file.write('[chat]\nmodel = "demo/script"\n[providers.demo]\nkind = "scripted"\n')
    process = await started
    process.send_signal(signal.SIGTERM)
    assert (await finish(process)).code == 0


async def test_a_terminal_that_is_closed_stops_it(
    discord: FakeDiscord, start: Start, command: Command, scripted: None
) -> None:
    """Who closes the window in which it serves does not find it serving on without one."""
    ours, theirs = pty.openpty()
    process = await command.start("run", stdin=theirs, own_terminal=True)
    os.close(theirs)
    await discord.until(lambda: bool(discord.identifies), seconds=30)
    os.close(ours)
    done = await finish(process)
    assert done.code == 0
    assert "Stopping; open answers get a few seconds to end." in done.err


async def test_a_supervisor_is_told(
    discord: FakeDiscord,
    start: Start,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A supervisor hears that it is ready once it is connected, that it lives, and that it ends."""
    heard: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(home / "notify"))
        supervisor.setblocking(False)
        asyncio.get_running_loop().add_reader(
            supervisor, lambda: heard.append(supervisor.recv(4096).decode())
        )
        monkeypatch.setenv("NOTIFY_SOCKET", str(home / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "400000")
        process = await start()
        await discord.until(lambda: any("READY=1" in one for one in heard))
        await discord.until(lambda: sum("WATCHDOG=1" in one for one in heard) > 3)
        process.send_signal(signal.SIGTERM)
        assert (await finish(process)).code == 0
        await discord.until(lambda: heard[-1].startswith("STOPPING=1"))
        asyncio.get_running_loop().remove_reader(supervisor)
    ready = next(one for one in heard if "READY=1" in one)
    assert "STATUS=Connected to Discord." in ready


async def test_what_it_did_is_known_after_a_kill(
    discord: FakeDiscord,
    start: Start,
    command: Command,
    write_settings: Callable[[str], object],
) -> None:
    """A turn of a bot that was killed a moment later is in `acore stats`, once, also after the next
    start has taken the events over."""
    write_settings(
        '[chat]\nmodel = "demo/script"\n[providers.demo]\nkind = "scripted"\nanswers = ["Yes."]\n'
        "[events]\nbatch_seconds = 600\n"
    )
    channel, ada = home_of(discord)
    process = await start()
    await discord.say(ada, channel, f"{discord.bot_user.mention} Hello?")
    await discord.until(lambda: discord.answers(channel) == ["Yes."])
    # The event follows the answer: a second question is only taken up after it.
    await discord.say(ada, channel, f"{discord.bot_user.mention} And now?")
    await discord.until(lambda: discord.answers(channel) == ["Yes.", "Yes."])
    process.kill()
    await finish(process)
    killed = json.loads((await command.run("stats", "--json")).out)
    again = await start()
    again.send_signal(signal.SIGTERM)
    assert (await finish(again)).code == 0
    restarted = json.loads((await command.run("stats", "--json")).out)
    assert 1 <= killed["turns"] <= 2
    assert restarted["turns"] == killed["turns"]


@pytest.mark.parametrize("mode", ["cpu", "memory", "tasks"])
async def test_a_bot_under_load_is_profiled(
    mode: str,
    discord: FakeDiscord,
    start: Start,
    command: Command,
    home: Path,
    write_settings: Callable[[str], object],
) -> None:
    """`acore profile` reaches the running bot, names our functions, and writes files that name them
    too; people are answered meanwhile."""
    write_settings(
        '[chat]\nmodel = "demo/script"\n[providers.demo]\nkind = "scripted"\n'
        f'answers = ["{"".join(WORDS * 5).strip()}"]\ndelay_seconds = 0.002\n'
    )
    channel, ada = home_of(discord)
    process = await start()

    async def talk() -> None:
        while True:
            before = len(discord.answers(channel))
            await discord.say(ada, channel, f"{discord.bot_user.mention} tell me")
            await discord.until(lambda: len(discord.answers(channel)) > before, seconds=30)  # noqa: B023

    talking = asyncio.create_task(talk())
    done = await command.run("profile", "--mode", mode, "--duration", "3")
    talking.cancel()
    await asyncio.gather(talking, return_exceptions=True)
    process.send_signal(signal.SIGTERM)
    assert (await finish(process)).code == 0
    assert (done.code, done.err) == (0, "")
    assert "tell me" not in done.out
    files = sorted((home / "data" / "profiles").glob("*"))
    whole = "".join(file.read_text(errors="replace") for file in files)
    endings = {file.suffix for file in files}
    if mode == "cpu":
        assert endings == {".svg"}
    elif mode == "memory":
        assert ".html" in endings
    assert mode == "tasks" or "acore_bot" in whole
