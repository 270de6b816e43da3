"""The first word to Discord, which has to be there within three seconds: that we heard.

It is the one word that all share: commands, forms, buttons and panels. Nothing in it is a text of
somebody's that did not go through `disarm`, so it need not go through the outbox.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

import aiohttp
import discord
from discord.http import Route

from acore_bot.frontends.discord.addresses import Payload
from acore_bot.frontends.discord.interactions.tree import ASK_ABOUT, MAX_NAME, MAX_TEXT
from acore_bot.frontends.discord.rest import told

log = logging.getLogger(__name__)

MAX_SECONDS = 10.0  # by then Discord has told the person that nobody answered
MAX_TRIES = 3
MAX_CHOICES = 25
QUESTION: Final = "question"

_DEFERRED_MESSAGE, _DEFERRED_UPDATE, _CHOICES, _FORM = 5, 6, 8, 9
_EPHEMERAL = 1 << 6
_ANSWERED_ALREADY = 40060


async def promise(interaction: discord.Interaction, *, is_private: bool) -> bool:
    """Promise an answer, which others see unless it is private. Whether that was accepted: it is
    not if it comes too late, or somebody else did it."""
    flags = _EPHEMERAL if is_private else 0
    return await respond(interaction, {"type": _DEFERRED_MESSAGE, "data": {"flags": flags}})


async def suggest(interaction: discord.Interaction, names: Sequence[str]) -> None:
    """Offer what could be typed. Too long a name is left out, as part of it would name nothing."""
    choices = [{"name": one, "value": one} for one in names if 0 < len(one) <= MAX_NAME]
    await respond(interaction, {"type": _CHOICES, "data": {"choices": choices[:MAX_CHOICES]}})


async def open_form(interaction: discord.Interaction, custom_id: str) -> None:
    """Ask what the person would like to know of a message."""
    field = {"type": 4, "custom_id": QUESTION, "style": 2, "required": True}
    bounds = {"min_length": 1, "max_length": MAX_TEXT}
    label = {"type": 18, "label": "Your question", "component": {**field, **bounds}}
    form = {"title": ASK_ABOUT, "custom_id": custom_id, "components": [label]}
    await respond(interaction, {"type": _FORM, "data": form})


async def acknowledge(interaction: discord.Interaction) -> bool:
    """Say that a click, or a form that a click opened, was heard. Whether that was accepted: it is
    not if it comes too late, or if the same one was answered before."""
    return await respond(interaction, {"type": _DEFERRED_UPDATE})


async def respond(interaction: discord.Interaction, body: Payload) -> bool:
    """Give Discord the first word. Whether it was accepted; what went wrong is logged."""
    # Under these names each interaction has a limit of its own, and none waits for another.
    route = Route(
        "POST",
        "/interactions/{webhook_id}/{webhook_token}/callback",
        webhook_id=interaction.id,
        webhook_token=interaction.token,
    )
    return await _ask(interaction, route, body)


async def change(interaction: discord.Interaction, body: Payload) -> bool:
    """Change the message under which a click was acknowledged. Whether it was accepted; what went
    wrong is logged."""
    route = Route(
        "PATCH",
        "/webhooks/{webhook_id}/{webhook_token}/messages/@original",
        webhook_id=interaction.application_id,
        webhook_token=interaction.token,
    )
    return await _ask(interaction, route, body)


async def _ask(interaction: discord.Interaction, route: Route, body: Payload) -> bool:
    try:
        async with asyncio.timeout(MAX_SECONDS):
            return await _insist(interaction.client, route, body)
    except (discord.DiscordException, aiohttp.ClientError, OSError, RuntimeError) as error:
        # A closed client raises the last; a time limit is an OSError.
        log.warning("interaction %d could not be answered: %s", interaction.id, told(error))
        return False


async def _insist(client: discord.Client, route: Route, body: Payload) -> bool:
    """Try again at once when a connection breaks or Discord fails, as it waits for three seconds
    only: it takes the same response but once, and the same change as often as it comes."""
    for tries in range(MAX_TRIES):
        try:
            await client.http.request(route, json=body)
        except (aiohttp.ClientError, OSError, discord.DiscordServerError):
            if tries == MAX_TRIES - 1:
                raise
        except discord.HTTPException as error:
            if error.code != _ANSWERED_ALREADY or not tries:
                raise
            # What we hear of a second try may be about the first one.
            return True
        else:
            return True
    return False
