"""From an interaction of Discord to what the core hears: pure."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import discord
import msgspec
from msgspec import Struct

from acore_bot.frontends.discord.interactions.tree import ASK, CHAT, COMPARE, Path
from acore_bot.frontends.discord.translate import (
    conversation_name,
    embedded,
    readable_name,
    roles_of,
    to_incoming,
    whereabouts,
)
from acore_bot.messages import (
    Attachment,
    Author,
    IncomingCommand,
    IncomingMessage,
    Place,
    Quote,
    printable,
    tidy_file_name,
)

_SUBCOMMANDS = frozenset({1, 2})
_QUESTION = {ASK: "question", CHAT: "message"}


class Option(Struct, frozen=True):
    """What was filled in, or the subcommand that was chosen."""

    name: str
    type: int
    value: str = ""
    options: tuple["Option", ...] = ()
    focused: bool = False


class RawAttachment(Struct, frozen=True):
    """A file that came with a command."""

    id: str
    filename: str
    size: int
    url: str
    content_type: str | None = None


class Resolved(Struct, frozen=True):
    """What the ids in a command stand for."""

    attachments: Mapping[str, RawAttachment] = {}
    messages: Mapping[str, dict[str, Any]] = {}


class Command(Struct, frozen=True):
    """A command that was used, or is being typed."""

    name: str
    type: int = 1
    options: tuple[Option, ...] = ()
    resolved: Resolved = Resolved()
    target_id: str = ""

    @property
    def path(self) -> Path:
        """Return its name with that of the subcommand."""
        return (self.name, *(one.name for one in self.options if one.type in _SUBCOMMANDS))

    @property
    def filled_in(self) -> Mapping[str, Option]:
        """Return its options by their names."""
        below = next((one.options for one in self.options if one.type in _SUBCOMMANDS), None)
        return {one.name: one for one in (self.options if below is None else below)}

    def text(self, name: str) -> str:
        """Return what was filled in, or nothing."""
        option = self.filled_in.get(name)
        return option.value if option else ""


class _Field(Struct, frozen=True):
    custom_id: str
    value: str


class _Label(Struct, frozen=True):
    component: _Field


class Form(Struct, frozen=True):
    """A form of ours that was filled in."""

    custom_id: str
    components: tuple[_Label, ...]

    def text(self, name: str) -> str:
        """Return what was filled in, or nothing."""
        fields = (label.component for label in self.components)
        return next((field.value for field in fields if field.custom_id == name), "")


def command_of(interaction: discord.Interaction) -> Command:
    """Read a command. Raises `msgspec.ValidationError` if it is no command of ours."""
    return msgspec.convert(interaction.data, Command)


def custom_id_of(interaction: discord.Interaction) -> str:
    """Return the name that a form or a button was given by whoever made it."""
    data: Mapping[str, object] = cast("Mapping[str, object]", interaction.data or {})
    return str(data.get("custom_id", ""))


def form_of(interaction: discord.Interaction) -> Form:
    """Read a form. Raises `msgspec.ValidationError` if it is no form of ours."""
    return msgspec.convert(interaction.data, Form)


def where(interaction: discord.Interaction) -> tuple[str, Place]:
    """Return the conversation and the place: a thread is in its channel. Where a person brought the
    bot along, they have a conversation alone; and all such places are one, without a guild."""
    channel, channel_id = interaction.channel, interaction.channel_id or 0
    if _is_brought_along(interaction):
        owner = str(interaction.user.id)
        return f"{conversation_name(channel_id)}/{owner}", Place("", owner)
    parent_id = channel.parent_id if isinstance(channel, discord.Thread) else channel_id
    return whereabouts(interaction.guild_id or 0, channel_id, parent_id)


def author_of(user: discord.User | discord.Member) -> Author:
    """Say who somebody is."""
    return Author(str(user.id), readable_name(user.display_name) or "someone")


def is_private(interaction: discord.Interaction) -> bool:
    """Whether one person alone speaks with the bot there, though others may see it."""
    return interaction.guild_id is None or _is_brought_along(interaction)


def rights_of(interaction: discord.Interaction) -> tuple[tuple[str, ...], discord.Permissions]:
    """Return a person's roles, and what they may do to others' messages and settings: nothing by
    what a server gave them that has nothing to do with the bot."""
    if is_private(interaction):
        return (), discord.Permissions.none()
    return roles_of(interaction.user), interaction.permissions


def bot_is_there(interaction: discord.Interaction) -> bool:
    """Whether the bot is in that channel itself: one that was installed for a user need not be."""
    guild_id = interaction.guild_id
    if guild_id is None:
        return interaction.context.dm_channel
    return interaction.client.get_guild(guild_id) is not None


def bot_may_write(interaction: discord.Interaction) -> bool:
    """Whether the bot may write in that channel by itself, too: answers it may give anywhere."""
    if interaction.guild_id is None or not bot_is_there(interaction):
        return bot_is_there(interaction)
    may = interaction.app_permissions
    is_thread = isinstance(interaction.channel, discord.Thread)
    may_send = may.send_messages_in_threads if is_thread else may.send_messages
    return may.administrator or (may.view_channel and may_send)


def _is_brought_along(interaction: discord.Interaction) -> bool:
    """Whether a person has the bot there and not the place: a server that did not install it, or a
    chat of others."""
    return not (bot_is_there(interaction) or interaction.is_guild_integration())


def to_question(
    interaction: discord.Interaction,
    text: str,
    *,
    quotes: Sequence[Quote] = (),
    attachments: Sequence[Attachment] = (),
    is_stateless: bool = False,
) -> IncomingMessage:
    """Say what was asked."""
    conversation, place = where(interaction)
    return IncomingMessage(
        id=interaction.id,
        conversation=conversation,
        author=author_of(interaction.user),
        text=text,
        created_at=interaction.created_at,
        place=place,
        roles=rights_of(interaction)[0],
        is_asked=True,
        is_stateless=is_stateless,
        is_private=is_private(interaction),
        is_thread=isinstance(interaction.channel, discord.Thread),
        quotes=tuple(quotes),
        attachments=tuple(attachments),
    )


def asked_by(interaction: discord.Interaction, command: Command) -> IncomingMessage:
    """Say what was asked by `/ask` or `/chat`."""
    return to_question(
        interaction,
        command.text(_QUESTION[command.path]),
        attachments=[_attachment(one) for one in command.resolved.attachments.values()],
        is_stateless=command.path == ASK,
    )


def told_by(interaction: discord.Interaction, command: Command) -> IncomingCommand:
    """Say what the bot was told to do."""
    in_private = is_private(interaction)
    conversation, place = where(interaction)
    roles, rights = rights_of(interaction)
    return IncomingCommand(
        conversation=conversation,
        author=author_of(interaction.user),
        name=command.name,
        argument=_argument(command),
        place=place,
        roles=roles,
        is_private=in_private,
        may_manage=in_private or rights.manage_guild,
    )


def _argument(command: Command) -> str:
    if command.path == COMPARE:
        names = ("question", "first", "second")
        return msgspec.json.encode({name: command.text(name) for name in names}).decode()
    match command.path:
        case (_, "set"):
            return command.text("name")
        case (_, "list"):
            return ""
        case (_, subcommand):
            return subcommand
    return ""


def chosen_message(interaction: discord.Interaction, command: Command) -> discord.Message:
    """Return the message whose menu was used."""
    client = interaction.client
    state = client._connection  # noqa: SLF001  # as discord.py itself makes messages
    channel = interaction.channel or client.get_partial_messageable(interaction.channel_id or 0)
    raw: Any = command.resolved.messages[command.target_id]
    return discord.Message(state=state, channel=channel, data=raw)  # type: ignore[arg-type]


def as_quote(
    message: discord.Message, bot: discord.abc.User, application_id: int
) -> tuple[Quote, IncomingMessage]:
    """Quote a message, and say what it was when it was heard."""
    incoming = to_incoming(message, bot, application_id=application_id)
    forwarded = (quote.text for quote in incoming.quotes if quote.kind == "forward")
    text = "\n".join(filter(None, (incoming.text, *embedded(message), *forwarded)))
    return Quote(kind="reply", text=text.strip(), author=incoming.author), incoming


def _attachment(raw: RawAttachment) -> Attachment:
    return Attachment(
        id=int(raw.id),
        name=tidy_file_name(raw.filename),
        media_type=printable(raw.content_type or ""),
        size=raw.size,
        url=raw.url,
    )
