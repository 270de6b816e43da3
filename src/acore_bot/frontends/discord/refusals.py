"""What Discord refuses for good, said in one sentence each, with what its owner can do about it.

The gateway closes with one of these codes, or a login answers 401. Connecting again would only use
up the day's allowance of sessions, after which Discord resets the token.
"""

import discord

from acore_bot.errors import FrontendRefused

PORTAL = "https://discord.com/developers/applications"
TOKEN_REMEDY = f"Copy the bot's token anew from its page at {PORTAL}, and set DISCORD_TOKEN to it."
INTENTS_REMEDY = (
    f"Switch on Message Content Intent on the bot's page at {PORTAL}, or set "
    "discord.message_content = false."
)
LACKING = "Discord needs a token, and there is none."
_UNKNOWN = "Discord does not accept the bot's token."
_INTENTS = "Discord does not let this bot read the content of messages."
_SHARDS = "Discord does not accept the shards that this process was told to serve."

_CLOSES = {
    4004: (_UNKNOWN, TOKEN_REMEDY),
    4010: (_SHARDS, "Give each process its own discord.shard_ids below discord.shard_count."),
    4011: (
        "The bot is in too many servers for one connection.",
        "Remove discord.shard_count, so that Discord says how many it takes, or raise it.",
    ),
    4012: ("Discord no longer speaks this version of its gateway.", "Update acore-bot."),
    4013: ("Discord does not know the intents that we asked for.", "Update acore-bot."),
    4014: (_INTENTS, INTENTS_REMEDY),
}


def refusal(error: BaseException) -> FrontendRefused | None:
    """Say what an error of discord.py means, if asking again cannot help."""
    match error:
        case discord.LoginFailure():
            told = (_UNKNOWN, TOKEN_REMEDY)
        case discord.PrivilegedIntentsRequired():
            told = _CLOSES[4014]
        case discord.ConnectionClosed(code=code) if code in _CLOSES:
            told = _CLOSES[code]
        case discord.HTTPException(status=401):
            told = (_UNKNOWN, TOKEN_REMEDY)
        case _:
            return None
    return FrontendRefused(told[0], remedy=told[1])
