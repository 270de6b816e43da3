"""The fake's webhooks, as discord.py's own means see them."""

import discord
import pytest
from tests.fakes.discord.bare_bot import BareBot, running
from tests.fakes.discord.server import FakeDiscord
from tests.fakes.discord.things import Channel
from tests.fakes.discord.webhooks import MANAGE_WEBHOOKS


def let_make(fake: FakeDiscord, channel: Channel) -> None:
    """Let the bot make webhooks."""
    assert channel.guild is not None
    role = channel.guild.add_role("maker", permissions=MANAGE_WEBHOOKS)
    channel.guild.add_member(fake.bot_user, roles=[role])


async def test_a_webhook_speaks_under_its_own_name(fake: FakeDiscord, channel: Channel) -> None:
    """It posts in its channel and in a thread of it, and changes and removes what it said."""
    let_make(fake, channel)
    assert channel.guild is not None
    thread = channel.guild.add_thread(channel, "plans")
    async with running(fake, BareBot()) as bot:
        found = bot.get_channel(channel.id)
        assert isinstance(found, discord.TextChannel)
        webhook = await found.create_webhook(name="Zoe")
        assert [one.id for one in await found.webhooks()] == [webhook.id]
        one = await webhook.send("one", wait=True)
        await one.edit(content="one!")
        two = await webhook.send("two", wait=True, thread=discord.Object(thread.id))
        await webhook.send("three")
        await two.delete()
        await (await webhook.edit(name="Zoe II")).send("four")
        seen = await found.fetch_message(one.id)
    assert (one.webhook_id, seen.application_id) == (webhook.id, fake.bot_user.id)
    assert [text for _, _, text in fake.visible(channel)] == ["one!", "three", "four"]
    assert fake.visible(thread) == []


async def test_what_a_webhook_may_not(fake: FakeDiscord, channel: Channel) -> None:
    """Nobody makes one without the permission; by a wrong token, or what others said, nothing can
    be done."""
    async with running(fake, BareBot()) as bot:
        found = bot.get_channel(channel.id)
        assert isinstance(found, discord.TextChannel)
        with pytest.raises(discord.Forbidden):
            await found.create_webhook(name="Zoe")
        let_make(fake, channel)
        webhook = await found.create_webhook(name="Zoe")
        said = await fake.say(fake.add_user("Ada"), channel, "hello")
        with pytest.raises(discord.NotFound):
            await webhook.edit_message(said.id, content="x")
        wrong = discord.Webhook.partial(webhook.id, "webhook-token-0", client=bot)
        with pytest.raises(discord.NotFound):
            await wrong.send("x", wait=True)
