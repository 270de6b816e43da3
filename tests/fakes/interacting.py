"""A bot that answers interactions on a fake Discord, of which the minutes are the test's."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import count
from typing import Any, TypeAlias

import discord
from tests.fakes.clock import SettableClock
from tests.fakes.desk import NO_LIMIT
from tests.fakes.discord.interactions import AUTOCOMPLETE, FORM, Interaction
from tests.fakes.discord.payloads import JSON, message_json
from tests.fakes.discord.server import FakeDiscord
from tests.fakes.discord.things import Message, User

from acore_bot.contracts import Core, Knob, ReplyTarget, Scope
from acore_bot.frontends.discord.attachments import AttachmentFetcher
from acore_bot.frontends.discord.client import DiscordClient
from acore_bot.frontends.discord.interactions.router import Router
from acore_bot.frontends.discord.outbox import Outbox
from acore_bot.frontends.discord.pace import EditPace
from acore_bot.frontends.discord.reply import Means
from acore_bot.frontends.discord.rest import InvalidRequests, trace
from acore_bot.frontends.discord.typing import TypingKeeper
from acore_bot.messages import Control, IncomingCommand, IncomingMessage, Place, Press

Heard: TypeAlias = IncomingMessage | IncomingCommand
Script: TypeAlias = Callable[[Heard, ReplyTarget], Coroutine[Any, Any, None]]


class Minutes(SettableClock):
    """A clock whose sleepers wake when a test says that time has passed."""

    def __init__(self) -> None:
        super().__init__()
        self._passed = asyncio.Event()

    def pass_(self, seconds: float) -> None:
        """Let time pass, and wake whose time has come."""
        self.advance(seconds)
        self._passed.set()
        self._passed = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Sleep until so much time has passed."""
        until = self.now + seconds
        while self.now < until:
            await self._passed.wait()


class Advisor(Core):
    """A core that explains and suggests as it is told, and does nothing else."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Place]] = []
        self.explained: list[IncomingMessage] = []
        self.names: tuple[str, ...] = ()
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def explain(self, message: IncomingMessage) -> str:
        """Explain, when the gate is open."""
        self.explained.append(message)
        await self.gate.wait()
        if self.failure:
            raise self.failure
        return "You mentioned me."

    async def suggest(self, command: str, typed: str, place: Place) -> tuple[str, ...]:
        """Suggest, when the gate is open."""
        self.asked.append((command, typed, place))
        await self.gate.wait()
        if self.failure:
            raise self.failure
        return self.names

    async def press(self, press: Press, target: ReplyTarget) -> None:
        """Do nothing."""

    async def edited(self, message_id: int, text: str) -> tuple[int, tuple[Control, ...]] | None:
        """Know no answer."""
        return None

    async def deleted(self, message_ids: Sequence[int]) -> tuple[int, ...]:
        """Know no message."""
        return ()

    async def left(self, place: Place) -> None:
        """Do nothing."""

    def knobs(self, place: Place, scope: Scope, target: str) -> tuple[Knob, ...]:
        """Have a single setting."""
        return (Knob(name="model", label="Model", description="Who answers.", value="a/b"),)

    async def turn_knob(
        self, guild: str, scope: Scope, target: str, name: str, value: str | None
    ) -> None:
        """Do nothing."""


class Listener:
    """Hands interactions to a router, and what they ask to the script of the test."""

    def __init__(self, script: Script, note: Callable[[], None]) -> None:
        self.script = script
        self._note = note
        self.heard: list[Heard] = []
        self.router: Router | None = None
        self.is_stopping = False
        self.cancelled = 0
        self.tasks: set[asyncio.Task[Any]] = set()
        self.sessions = asyncio.Event()

    async def hear(self, message: discord.Message) -> None:
        """Ignore messages."""

    async def interact(self, interaction: discord.Interaction) -> None:
        """Answer."""
        assert self.router is not None
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            await self.router.answer(interaction, self.handle, is_stopping=self.is_stopping)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self._note()

    async def catch_up(self, shard_id: int, lost_at: datetime | None) -> None:
        """Note that a session began."""
        self.sessions.set()

    async def handle(self, incoming: Heard, target: ReplyTarget) -> None:
        """Do what the test wants done."""
        self.heard.append(incoming)
        self._note()
        await self.script(incoming, target)


class InteractingBot:
    """The bot, its Discord, a channel and somebody in it. `minutes` is the time of all but the
    outbox's own pauses."""

    def __init__(self, fake: FakeDiscord, minutes: Minutes, script: Script) -> None:
        self.fake = fake
        self.minutes = minutes
        self.core = Advisor()
        self.listener = Listener(script, fake._changes.note)
        self.pace, self.invalid = EditPace(requests_per_second=1_000_000), InvalidRequests()
        self.client = DiscordClient(
            self.listener,
            api_url=fake.api_url,
            gateway_url=fake.gateway_url,
            trace=trace(self.pace, self.invalid),
        )
        self.client._connection.guild_ready_timeout = 0.02
        self.outbox = Outbox(self.client, self.pace, self.invalid, sleep=_hurry)
        self.means = Means(
            self.outbox, self.pace, TypingKeeper(self.outbox), AttachmentFetcher(), has_core=True
        )
        self.listener.router = Router(self.means, self.core, clock=minutes, sleep=minutes.wait)
        self.guild = fake.add_guild("home")
        self.channel = self.guild.add_text_channel("talk")
        self.ada = fake.add_user("Ada")

    @property
    def heard(self) -> list[Heard]:
        """What the core was handed."""
        return self.listener.heard

    async def slash(self, path: str, **more: Any) -> Interaction:  # noqa: ANN401
        """Let somebody use a slash command. Of `more`, `channel` says where, `permissions` with
        which rights, and the rest is filled in."""
        channel = more.pop("channel", self.channel)
        permissions = more.pop("permissions", 0)
        data = slash_data(path, **more)
        return await self.fake.interact(self.ada, channel, data, permissions=permissions)

    async def type(self, path: str, option: str, typed: str) -> Interaction:
        """Let somebody type what is suggested for an option."""
        data = slash_data(path, **{option: typed})
        subcommand = data["options"][0]
        subcommand["options"][0]["focused"] = True
        return await self.fake.interact(self.ada, self.channel, data, kind=AUTOCOMPLETE)

    async def open_menu(self, name: str, message: Message) -> Interaction:
        """Let somebody use a message's menu."""
        return await self.fake.interact(self.ada, self.channel, menu_data(name, message))

    async def submit(
        self, shown: Interaction, text: str, *, user: User | None = None
    ) -> Interaction:
        """Let somebody fill in the form that an interaction showed."""
        assert shown.response is not None
        form = shown.response["data"]
        field = form["components"][0]["component"]
        filled = {"type": 4, "custom_id": field["custom_id"], "value": text}
        data = {"custom_id": form["custom_id"], "components": [{"type": 18, "component": filled}]}
        return await self.fake.interact(user or self.ada, self.channel, data, kind=FORM)

    async def until(self, predicate: Callable[[], object]) -> None:
        """Wait until something is so on Discord."""
        await self.fake.until(predicate)

    async def done(self) -> None:
        """Wait until every interaction so far is dealt with."""
        while waiting := [task for task in self.listener.tasks if not task.done()]:
            await asyncio.wait(waiting, timeout=10)
            assert any(task.done() for task in waiting)


async def _hurry(_: float) -> None:
    await asyncio.sleep(0)


_ids = count(1)


def slash_data(path: str, **filled: Any) -> JSON:  # noqa: ANN401
    """Make what Discord sends of a slash command. A file is given as its attachment's JSON."""
    name, *below = path.split()
    files = {key: value for key, value in filled.items() if isinstance(value, dict)}
    options = [
        {
            "name": key,
            "type": 11 if key in files else 3,
            "value": files.get(key, {}).get("id", value),
        }
        for key, value in filled.items()
    ]
    for subcommand in below:
        options = [{"name": subcommand, "type": 1, "options": options}]
    data: JSON = {"id": str(next(_ids)), "name": name, "type": 1, "options": options}
    if files:
        data["resolved"] = {"attachments": {one["id"]: one for one in files.values()}}
    return data


def menu_data(name: str, message: Message) -> JSON:
    """Make what Discord sends of a message's menu, with all of the message."""
    target = str(message.id)
    resolved = {"messages": {target: message_json(message, lambda _: True)}}
    return {"id": "1", "name": name, "type": 3, "target_id": target, "resolved": resolved}


async def answer_plainly(incoming: Heard, target: ReplyTarget) -> None:
    """Answer everything with the same words."""
    await target.post("Yes.", final=True)


@asynccontextmanager
async def interacting(script: Script = answer_plainly) -> AsyncIterator[InteractingBot]:
    """Run a bot on a Discord without limits until the block is left."""
    minutes = Minutes()
    async with FakeDiscord(clock=minutes, sleep=minutes.sleep) as fake:
        fake.limits.everything = NO_LIMIT
        fake.limits.by_route.clear()
        bot = InteractingBot(fake, minutes, script)
        running = asyncio.create_task(bot.client.start(fake.token))
        try:
            async with asyncio.timeout(10):
                await bot.listener.sessions.wait()
            yield bot
        finally:
            await bot.client.close()
            running.cancel()
            await asyncio.wait([running])
