"""What a bot subscribes to, and what it may see by that."""

from collections.abc import Callable

from tests.fakes.discord.things import DIRECT_CHANNEL, Message
from tests.fakes.discord.world import World

GUILDS, GUILD_MEMBERS, GUILD_PRESENCES, GUILD_MESSAGES = 1 << 0, 1 << 1, 1 << 8, 1 << 9
DIRECT_MESSAGES, MESSAGE_CONTENT = 1 << 12, 1 << 15
PRIVILEGED = GUILD_MEMBERS | GUILD_PRESENCES | MESSAGE_CONTENT


def readability(world: World, *, has_content: bool) -> Callable[[Message], bool]:
    """Return what tells whether the bot sees the content of a message: it always does in private,
    where it is mentioned, and of its own."""

    def is_readable(message: Message) -> bool:
        return (
            has_content
            or message.channel.kind == DIRECT_CHANNEL
            or message.author is world.bot
            or world.bot in message.mentions
        )

    return is_readable


def application_flags(granted_intents: int) -> int:
    """Return an application's flags that say which privileged intents it has, as a small one."""
    flags = {GUILD_PRESENCES: 1 << 13, GUILD_MEMBERS: 1 << 15, MESSAGE_CONTENT: 1 << 19}
    return sum(flag for intent, flag in flags.items() if granted_intents & intent)
