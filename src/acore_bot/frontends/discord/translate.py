"""From a message of Discord to a message as the core hears it: pure, and cheap for plain texts.

Whatever a stranger may have named (a nick, a role, a channel, a file) is one line without brackets
or invisible characters before it enters a text, so that it cannot pass for anything but a name.
"""

import re
import unicodedata
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import discord
from discord.abc import User
from msgspec import structs

from acore_bot.messages import (
    UNSEEN_LETTERS,
    Attachment,
    Author,
    IncomingMessage,
    Place,
    Quote,
    SnowflakeSequence,
    printable,
    tidy_file_name,
)

CONVERSATION_PREFIX = "discord:"
MAX_NAME_CHARACTERS = 32
MAX_REMEMBERED_NAMES = 4096  # every message has one, and people say more than one
MAX_REMEMBERED_PLACES = 4096
# What somebody said: joins, pins and the like are no messages.
HEARD_TYPES = frozenset({discord.MessageType.default, discord.MessageType.reply})

# The five shapes that Discord shows as something else than they are written.
_MARKUP = re.compile(
    r"<(?:(?P<kind>@[!&]?|\#)(?P<id>\d{15,20})"
    r"|a?:(?P<emoji>\w{2,32}):\d{15,20}"
    r"|t:(?P<time>-?\d{1,13})(?::[tTdDfFsSR])?"
    r"|/(?P<command>[^:<>\n]{1,100}):\d{15,20})>"
)
DISCORD_EPOCH = SnowflakeSequence.EPOCH_MILLISECONDS
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The marks of a label and of mentions, and letters that nobody sees.
_FORBIDDEN_IN_NAMES = frozenset("[]<>:|#@`") | UNSEEN_LETTERS


def conversation_name(channel_id: int) -> str:
    """Name the conversation that is held in a channel, a thread or a private chat."""
    return f"{CONVERSATION_PREFIX}{channel_id}"


@lru_cache(MAX_REMEMBERED_PLACES)
def whereabouts(guild_id: int, channel_id: int, parent_id: int) -> tuple[str, Place]:
    """Return the conversation of a channel and its place. In private the guild is 0; for a thread
    the parent is another channel."""
    return conversation_name(channel_id), Place(str(guild_id or ""), str(parent_id))


def roles_of(user: User | discord.Member) -> tuple[str, ...]:
    """Return the ids of a person's roles in a guild, but for the one that all have."""
    # To ask for the roles themselves would cost ten times as much, for every message.
    roles = getattr(user, "_roles", None)
    return _as_texts(tuple(roles)) if roles else ()


@lru_cache(MAX_REMEMBERED_PLACES)
def _as_texts(ids: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(map(str, ids))


def to_incoming(
    message: discord.Message,
    bot: User,
    *,
    application_id: int | None = None,
    is_late: bool = False,
) -> IncomingMessage:
    """Say what was heard. Only the message's own data and the guild's cache are asked. By the
    `application_id` the bot knows what it said under other names."""
    author, channel, content = message.author, message.channel, message.content
    parent_id = channel.parent_id if isinstance(channel, discord.Thread) else channel.id
    guild_id = message.guild.id if message.guild else 0
    conversation, place = whereabouts(guild_id, channel.id, parent_id)
    incoming = IncomingMessage(
        id=message.id,
        conversation=conversation,
        author=_author(author),
        text=_text_without_address(message, bot) if "<" in content else content,
        created_at=_time_of(message.id),
        place=place,
        roles=roles_of(author),
        is_private=isinstance(channel, discord.DMChannel),
        is_thread=parent_id != channel.id,
        is_late=is_late,
        author_is_bot=author.bot or message.webhook_id is not None,
    )
    # Most messages have none of these, and all messages of all channels come here.
    if message.mentions or message.reference or message.attachments:
        return _with_company(incoming, message, bot, application_id)
    return incoming


def _time_of(snowflake: int) -> datetime:
    # As discord.py has it, without the way there.
    return datetime.fromtimestamp(((snowflake >> 22) + DISCORD_EPOCH) / 1000, UTC)


def _with_company(
    incoming: IncomingMessage, message: discord.Message, bot: User, application_id: int | None
) -> IncomingMessage:
    """Add whom it addresses, and what it brings along."""
    replied_to = _replied_to(message)
    recipient = replied_to.author.id if replied_to else None
    if replied_to is not None and is_of_bot(replied_to, bot, application_id):
        recipient, replied_to = bot.id, None  # what the bot said itself is no quote
    named = {user.id for user in message.mentions if _is_named(message.content, user.id)}
    others = (named | {recipient}) - {bot.id, message.author.id, None}
    quoted = (*message.attachments, *_quoted_attachments(message, replied_to))
    return structs.replace(
        incoming,
        reply_to=_reply_to(message),
        mentions_bot=bot.id in named,
        replies_to_bot=recipient == bot.id,
        addresses_others=bool(others),
        quotes=tuple(_quotes(message, replied_to)),
        attachments=tuple(map(_attachment, quoted)),
    )


def is_of_bot(message: discord.Message, bot: User, application_id: int | None) -> bool:
    """Whether the bot said it, under its own name or another."""
    is_masked = message.webhook_id is not None and application_id is not None
    return message.author.id == bot.id or (is_masked and message.application_id == application_id)


def concerns_bot(message: discord.Message, bot: User, application_id: int | None) -> bool:
    """Whether it was said to the bot beyond doubt: in private, by a mention, or as a reply."""
    if isinstance(message.channel, discord.DMChannel):
        return True
    replied_to = _replied_to(message)
    if replied_to is not None and is_of_bot(replied_to, bot, application_id):
        return True
    return any(user.id == bot.id for user in message.mentions)


@lru_cache(MAX_REMEMBERED_NAMES)
def readable_name(name: str, max_characters: int = MAX_NAME_CHARACTERS) -> str:
    """Make a name of one line, without brackets, marks of mentions, or anything invisible."""
    if not name.isalnum() or not name.isascii():
        visible = "".join(_visible(unicodedata.normalize("NFKC", name[: 4 * max_characters])))
        name = " ".join(visible.split())
    return name[:max_characters].strip()


def _visible(name: str) -> Iterable[str]:
    for character in name:
        kind = unicodedata.category(character)
        # Towers of accents are cut where the chat names speakers; here no more than a line counts.
        if character == " " or (kind[0] not in "CZ" and character not in _FORBIDDEN_IN_NAMES):
            yield character
        elif kind[0] == "Z" or character in "\t\n\r":
            yield " "


def _author(user: User) -> Author:
    return _as_author(user.id, user.display_name)


@lru_cache(MAX_REMEMBERED_NAMES)
def _as_author(user_id: int, name: str) -> Author:
    return Author(str(user_id), readable_name(name) or "someone")


def _replied_to(message: discord.Message) -> discord.Message | None:
    resolved = message.reference.resolved if message.reference else None
    return resolved if isinstance(resolved, discord.Message) else None


def _reply_to(message: discord.Message) -> int | None:
    reference = message.reference
    if reference is None or message.type is not discord.MessageType.reply:
        return None
    return reference.message_id


def _is_named(content: str, user_id: int) -> bool:
    """Whether a text mentions somebody. A reply pings whom it replies to without that."""
    return f"<@{user_id}>" in content or f"<@!{user_id}>" in content


def _text_without_address(message: discord.Message, bot: User) -> str:
    content = message.content
    for address in (f"<@{bot.id}>", f"<@!{bot.id}>"):
        rest = content.lstrip().removeprefix(address).lstrip()
        if rest and content.lstrip().startswith(address):
            return _readable(rest, message)
    return _readable(content, message)


def _readable(content: str, message: discord.Message) -> str:
    """Resolve what Discord shows in another shape than it is written."""
    if "<" not in content:
        return content
    return _MARKUP.sub(lambda match: _resolve(match, message), content)


def _resolve(match: re.Match[str], message: discord.Message) -> str:
    if emoji := match["emoji"]:
        return f":{emoji}:"
    if command := match["command"]:
        return f"/{readable_name(command, 100)}"
    if time := match["time"]:
        return _readable_time(int(time)) or match[0]
    named = int(match["id"])
    match match["kind"]:
        case "#":
            channel = message.guild.get_channel_or_thread(named) if message.guild else None
            return f"#{readable_name(channel.name if channel else '') or 'unknown-channel'}"
        case "@&":
            role = message.guild.get_role(named) if message.guild else None
            return f"@{readable_name(role.name if role else '') or 'unknown-role'}"
        case _:
            return f"@{_user_name(named, message) or 'unknown-user'}"


def _user_name(user_id: int, message: discord.Message) -> str:
    for user in (*message.mentions, message.author):
        if user.id == user_id:
            return readable_name(user.display_name)
    return ""


def _readable_time(seconds: int) -> str:
    try:
        return f"{_EPOCH + timedelta(seconds=seconds):%Y-%m-%d %H:%M} UTC"
    except OverflowError:
        return ""


def _quotes(message: discord.Message, replied_to: discord.Message | None) -> Iterable[Quote]:
    if replied_to is not None:
        text = "\n".join([_readable(replied_to.content, replied_to), *embedded(replied_to)])
        # Without a text too: what we may not read, the model must not make up.
        if text.strip() or not replied_to.attachments:
            yield Quote(kind="reply", text=text.strip(), author=_author(replied_to.author))
    for snapshot in message.message_snapshots:
        if snapshot.content.strip():
            yield Quote(kind="forward", text=_readable(snapshot.content, message).strip())


def embedded(message: discord.Message) -> Iterable[str]:
    """Return what a bot said in embeds. Those of people are previews of links, said by nobody."""
    if message.author.bot:
        for embed in message.embeds:
            yield from filter(None, (embed.title, embed.description))


def _quoted_attachments(
    message: discord.Message, replied_to: discord.Message | None
) -> Iterable[discord.Attachment]:
    if replied_to is not None:
        yield from replied_to.attachments
    for snapshot in message.message_snapshots:
        yield from snapshot.attachments


def _attachment(attachment: discord.Attachment) -> Attachment:
    return Attachment(
        id=attachment.id,
        name=tidy_file_name(attachment.filename),
        media_type=printable(attachment.content_type or ""),
        size=attachment.size,
        url=attachment.url,
    )
