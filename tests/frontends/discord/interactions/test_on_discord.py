"""Commands as the whole front end serves them: on a simulated Discord, and over the wire."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import discord
import pytest
import simcord
from tests.fakes.discord.gateway import INVALID_SEQUENCE
from tests.fakes.discord.server import FakeDiscord
from tests.fakes.interacting import Advisor, Heard, slash_data

from acore_bot.contracts import Handler, ReplyTarget
from acore_bot.frontends.discord import Discord
from acore_bot.frontends.discord.interactions.router import STOPPED
from acore_bot.messages import IncomingCommand, IncomingMessage


class Kind:
    """A handler that answers in two steps, and remembers what it heard."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.has_begun = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, incoming: Heard, target: ReplyTarget) -> None:
        """Answer, when the gate is open."""
        self.heard.append(incoming)
        self.has_begun.set()
        async with target.typing():
            await self.gate.wait()
        message_id = await target.post("You s")
        await target.ready(message_id, final=True)
        text = incoming.text if isinstance(incoming, IncomingMessage) else incoming.argument
        await target.edit(message_id, f"You said: {text}", final=True, controls=["details"])


@pytest.fixture
def kind() -> Kind:
    """Who answers."""
    return Kind()


# What people see.


@asynccontextmanager
async def simulated(handler: Handler, core: Advisor) -> AsyncIterator[simcord.Env]:
    """Run the bot on a simulated Discord."""
    frontend = Discord(token="none", core=core)
    frontend.attach(handler)
    async with simcord.run(frontend.client, shard_count=1) as env:
        yield env


async def test_people_find_and_use_commands(kind: Kind) -> None:
    """They are registered when the bot is ready; a public one is answered for all to see."""
    async with simulated(kind, Advisor()) as env:
        guild = env.create_guild()
        talk = guild.create_text_channel("talk")
        ada = guild.add_member(env.create_user("Ada"))
        assert {"ask", "chat", "persona set", "privacy forget"} <= {*ada.available_commands(talk)}
        assert not {"settings show", "settings reload", "doctor"} & {*ada.available_commands(talk)}
        used = await ada.slash(talk, "ask", question="What is tea?")
        assert used.response is not None
        assert used.response.content == "You said: What is tea?"
        assert not used.response.ephemeral
        (row,) = used.response.components
        assert [button["label"] for button in row["components"]] == ["Details"]
        used = await ada.slash(talk, "model show")
        assert used.response is not None
        assert (used.response.content, used.response.ephemeral) == ("You said: show", True)
    assert [type(one) for one in kind.heard] == [IncomingMessage, IncomingCommand]


async def test_people_use_menus_and_suggestions(kind: Kind) -> None:
    """A message's menu opens a form, whose answer is a public one; names are suggested."""
    core = Advisor()
    core.names = ("pirate",)
    async with simulated(kind, core) as env:
        guild = env.create_guild()
        talk = guild.create_text_channel("talk")
        ada = guild.add_member(env.create_user("Ada"))
        said = await ada.send(talk, "Tea is a drink.")
        kind.heard.clear()
        shown = await ada.context_menu(talk, "Ask about this", said)
        assert shown.modal is not None
        used = await ada.submit_modal(shown, {"question": "Is it?"})
        assert used.response is not None
        assert used.response.content == "You said: Is it?"
        (asked,) = kind.heard
        assert isinstance(asked, IncomingMessage)
        assert [quote.text for quote in asked.quotes] == ["Tea is a drink."]
        used = await ada.context_menu(talk, "Why?", said)
        assert used.response is not None
        assert (used.response.content, used.response.ephemeral) == ("You mentioned me.", True)
        found = await ada.autocomplete(talk, "persona set", "name", "pi")
        assert found == [{"name": "pirate", "value": "pirate"}]


async def test_managers_find_more(kind: Kind) -> None:
    """Those who manage the server are offered its settings, and see them."""
    async with simulated(kind, Advisor()) as env:
        guild = env.create_guild()
        talk = guild.create_text_channel("talk")
        managers = guild.create_role("managers", permissions=discord.Permissions(manage_guild=True))
        owner = guild.add_member(env.create_user("Olga"), roles=[managers])
        assert {"settings show", "doctor", "reset"} <= {*owner.available_commands(talk)}
        used = await owner.slash(talk, "settings show")
        assert used.response is not None
        assert used.response.ephemeral


# What goes over the wire.


@pytest.fixture
async def fake() -> AsyncIterator[FakeDiscord]:
    """A fake Discord."""
    async with FakeDiscord() as discord:
        yield discord


def has_identified(fake: FakeDiscord, times: int) -> bool:
    """Tell whether so many sessions were begun."""
    return len(fake.identifies) == times


@asynccontextmanager
async def serving(
    fake: FakeDiscord,
    handler: Handler,
    **more: Any,  # noqa: ANN401
) -> AsyncIterator[asyncio.Task[None]]:
    """Serve until the block is left."""
    frontend = Discord(
        token=fake.token,
        api_url=fake.api_url,
        gateway_url=fake.gateway_url,
        grace_seconds=0.05,
        **more,
    )
    frontend.client._connection.guild_ready_timeout = 0.02
    task = asyncio.create_task(frontend.run(handler))
    try:
        await asyncio.sleep(0)  # it has a loop from then on
        await frontend.client.wait_for("shard_ready", timeout=10)
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_two_sessions_register_once(fake: FakeDiscord, kind: Kind) -> None:
    """What was registered is not registered again, neither by a new session nor a new start."""
    kept: list[str] = []
    is_kept = asyncio.Event()

    async def load() -> str:
        return "".join(kept)

    async def save(digest: str) -> None:
        kept.append(digest)
        is_kept.set()

    async def hurry(seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.01))

    kept_by = {"load_digest": load, "save_digest": save}
    for number in (1, 2):
        async with serving(fake, kind, core=Advisor(), sleep=hurry, **kept_by):
            await is_kept.wait()
            fake.gateway.close(INVALID_SEQUENCE)
            await fake.until(partial(has_identified, fake, 2 * number))
    assert len(fake.requests_to("put_commands")) == 1


async def test_without_a_core_there_are_no_commands(fake: FakeDiscord, kind: Kind) -> None:
    """Nothing is registered, and nothing that somebody remembers from before is answered."""
    ada, talk = fake.add_user("Ada"), fake.add_guild("home").add_text_channel("talk")
    async with serving(fake, kind):
        await fake.interact(ada, talk, slash_data("ask", question="x"))
        await fake.say(ada, talk, "hello", mentions=[fake.bot_user])
        await fake.until(lambda: "You said: hello" in fake.answers(talk))
    assert fake.requests_to("put_commands") == []
    assert fake.requests_to("respond") == []


async def test_a_stop_settles_what_was_asked(fake: FakeDiscord, kind: Kind) -> None:
    """Whoever waits for an answer when the bot is stopped hears of it before it goes."""
    kind.gate.clear()
    ada, talk = fake.add_user("Ada"), fake.add_guild("home").add_text_channel("talk")
    async with serving(fake, kind, core=Advisor()):
        asked = await fake.interact(ada, talk, slash_data("ask", question="x"))
        await kind.has_begun.wait()
    assert asked.whispers == [STOPPED]
