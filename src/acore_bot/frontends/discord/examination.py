"""What `acore doctor` says of Discord: whether the token works, and what the bot may read."""

import asyncio

import aiohttp
import discord

from acore_bot.frontends.discord.client import DiscordClient
from acore_bot.frontends.discord.refusals import INTENTS_REMEDY, LACKING, PORTAL, refusal
from acore_bot.messages import Finding

SUBJECT = "discord"
EXAMINATION_SECONDS = 20.0
# What answering takes, and nothing else. Embeds are not among it: we send none.
LEAST_PERMISSIONS = discord.Permissions(
    view_channel=True,
    send_messages=True,
    send_messages_in_threads=True,
    read_message_history=True,
    attach_files=True,
)


def lacks_token() -> Finding:
    """Say where to get a token."""
    remedy = f"Make a bot at {PORTAL}, and set DISCORD_TOKEN to its token."
    return Finding(SUBJECT, "note", LACKING, remedy)


def invite_link(application_id: int) -> str:
    """The page on which the owner of a server lets the bot in."""
    return discord.utils.oauth_url(
        application_id,
        permissions=LEAST_PERMISSIONS,
        scopes=("bot", "applications.commands"),
    )


async def examine(
    client: DiscordClient, token: str, *, degrades: bool = False
) -> tuple[Finding, ...]:
    """Ask Discord who we are and what we may, without the gateway. Closes the client. `degrades`:
    the bot is content with less than the settings ask for."""
    try:
        async with asyncio.timeout(EXAMINATION_SECONDS), client:
            user = await client.http.static_login(token)
            application = await client.application_info()
    except (discord.DiscordException, aiohttp.ClientError, OSError, TimeoutError) as error:
        return (_failure(error),)
    return (
        Finding(SUBJECT, "ok", f"{user['username']} is known to Discord."),
        _about_content(
            application.flags, is_asked=client.intents.message_content, degrades=degrades
        ),
        *_about_others(application.flags),
        Finding(SUBJECT, "ok", f"Invite it with: {invite_link(application.id)}"),
    )


def _failure(error: Exception) -> Finding:
    refused = refusal(error)
    if refused is not None:
        return Finding(SUBJECT, "fault", refused.sentence, refused.remedy)
    reason = "answered too late" if isinstance(error, TimeoutError) else type(error).__name__
    return Finding(
        SUBJECT,
        "fault",
        f"Discord cannot be reached: {reason}.",
        "Look at the network, and at https://discordstatus.com.",
    )


def _about_content(flags: discord.ApplicationFlags, *, is_asked: bool, degrades: bool) -> Finding:
    is_granted = flags.gateway_message_content or flags.gateway_message_content_limited
    match (is_asked, is_granted):
        case (True, True):
            told = "It reads messages that do not mention it, as the settings ask."
            return Finding(SUBJECT, "ok", told)
        case (True, False) if degrades:
            told = (
                "The settings ask for the content of all messages, which Discord does not grant; "
                "it will read only what is said to it, as they allow."
            )
            return Finding(SUBJECT, "note", told, INTENTS_REMEDY)
        case (True, False):
            told = "The settings ask for the content of all messages, which Discord does not grant."
            return Finding(SUBJECT, "fault", told, INTENTS_REMEDY)
        case _:
            remedy = (
                "With discord.message_content = true"
                + ("" if is_granted else " and Message Content Intent switched on")
                + " it also answers to its names, and in its threads without a mention, and sees "
                "what others quote."
            )
            return Finding(SUBJECT, "ok", "It reads only what is said to it.", remedy)


def _about_others(flags: discord.ApplicationFlags) -> tuple[Finding, ...]:
    granted = {
        "Server Members Intent": flags.gateway_guild_members or flags.gateway_guild_members_limited,
        "Presence Intent": flags.gateway_presence or flags.gateway_presence_limited,
    }
    names = [name for name, is_granted in granted.items() if is_granted]
    if not names:
        return ()
    verb = "is" if len(names) == 1 else "are"
    told = f"{' and '.join(names)} {verb} switched on, which adds nothing for this bot."
    return (Finding(SUBJECT, "note", told, f"Switch it off at {PORTAL}."),)
