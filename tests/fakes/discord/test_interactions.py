"""The fake's interactions, as discord.py's own means see them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import discord
import pytest
from tests.fakes.clock import SettableClock
from tests.fakes.discord.bare_bot import BareBot, running
from tests.fakes.discord.interactions import COMPONENT, Interaction
from tests.fakes.discord.payloads import JSON
from tests.fakes.discord.plain_client import Api
from tests.fakes.discord.server import FakeDiscord
from tests.fakes.discord.things import Channel

Answer: TypeAlias = Callable[[discord.Interaction], Awaitable[None]]
COMMAND: JSON = {"id": "1", "name": "ask", "type": 1}


class AnsweringBot(BareBot):
    """A bot that answers interactions as a test wants."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer
        self.is_done = asyncio.Event()

    async def on_interaction(self, interaction: discord.Interaction) -> None:
        """Answer."""
        await self.answer(interaction)
        self.is_done.set()


async def answered(
    fake: FakeDiscord,
    channel: Channel,
    answer: Answer,
    data: JSON = COMMAND,
    **more: Any,  # noqa: ANN401
) -> Interaction:
    """Let somebody use a command, and a bot answer it."""
    bot = AnsweringBot(answer)
    async with running(fake, bot):
        interaction = await fake.interact(fake.add_user("Ada"), channel, data, **more)
        async with asyncio.timeout(10):
            await bot.is_done.wait()
    return interaction


async def test_a_promise_that_is_kept(fake: FakeDiscord, channel: Channel) -> None:
    """A deferred response is filled in, more follows, and all can be changed and taken away."""

    async def answer(interaction: discord.Interaction) -> None:
        await interaction.response.defer(thinking=True)
        await interaction.edit_original_response(content="one")
        two = await interaction.followup.send("two", wait=True)
        three = await interaction.followup.send("three", wait=True)
        await two.edit(content="two!")
        await three.delete()

    interaction = await answered(fake, channel, answer)
    assert interaction.texts == fake.answers(channel) == ["one", "two!"]
    assert not interaction.is_thinking


async def test_what_one_person_sees(fake: FakeDiscord, channel: Channel) -> None:
    """Neither a private promise nor a private follow-up is in the channel."""

    async def answer(interaction: discord.Interaction) -> None:
        await interaction.response.defer(thinking=True, ephemeral=True)
        await interaction.followup.send("one")  # fills the promise in, whatever it says
        await interaction.followup.send("two", ephemeral=True)
        await interaction.followup.send("three")

    interaction = await answered(fake, channel, answer)
    assert interaction.whispers == ["one", "two"]
    assert fake.answers(channel) == ["three"]


async def test_a_promise_that_is_taken_back(fake: FakeDiscord, channel: Channel) -> None:
    """What follows it is a message of its own."""

    async def answer(interaction: discord.Interaction) -> None:
        await interaction.response.defer(thinking=True)
        await interaction.delete_original_response()
        await interaction.followup.send("for you", ephemeral=True)

    interaction = await answered(fake, channel, answer)
    assert interaction.is_removed
    assert interaction.whispers == ["for you"]
    assert fake.answers(channel) == []


async def test_what_an_interaction_tells(fake: FakeDiscord, channel: Channel) -> None:
    """Who it was, where, with which rights, and under which message."""
    said = fake.world.post(fake.bot_user, channel, "Press me.")
    seen: list[discord.Interaction] = []

    async def answer(interaction: discord.Interaction) -> None:
        seen.append(interaction)

    pressed = {"custom_id": "go", "component_type": 2}
    await answered(
        fake, channel, answer, data=pressed, kind=COMPONENT, permissions=1 << 5, message=said
    )
    (interaction,) = seen
    assert interaction.user.name == "Ada"
    assert interaction.channel_id == channel.id
    assert interaction.permissions.manage_guild
    assert interaction.message is not None
    assert interaction.message.id == said.id


@pytest.fixture
async def asked(fake: FakeDiscord, channel: Channel) -> Interaction:
    """Something that somebody asked."""
    return await fake.interact(fake.add_user("Ada"), channel, COMMAND)


async def test_three_seconds(
    fake: FakeDiscord, api: Api, clock: SettableClock, asked: Interaction
) -> None:
    """A first response is taken once, and not too late."""
    path = f"/interactions/{asked.id}/{asked.token}/callback"
    clock.advance(3.5)
    status, body = await api.ask("POST", path, {"type": 5})
    assert (status, body["code"]) == (404, 10062)
    clock.advance(-1)
    assert (await api.ask("POST", path, {"type": 5}))[0] == 204
    status, body = await api.ask("POST", path, {"type": 5})
    assert (status, body["code"]) == (400, 40060)
    assert asked.acknowledged_at == 2.5


async def test_a_quarter_of_an_hour(
    fake: FakeDiscord, api: Api, clock: SettableClock, asked: Interaction
) -> None:
    """After that, and before a first response, the token is good for nothing."""
    path = f"/webhooks/{fake.bot_user.id}/{asked.token}"
    assert (await api.ask("POST", path, {"content": "x"}))[1]["code"] == 10015
    callback = f"/interactions/{asked.id}/{asked.token}/callback"
    await api.ask("POST", callback, {"type": 5})
    clock.advance(899)
    assert (await api.ask("POST", path, {"content": "x"}))[0] == 200
    clock.advance(2)
    status, body = await api.ask("POST", path, {"content": "x"})
    assert (status, body["code"]) == (401, 50027)
    unknown = f"/webhooks/{fake.bot_user.id}/other/messages/@original"
    assert (await api.ask("PATCH", unknown, {"content": "x"}))[1]["code"] == 10015
