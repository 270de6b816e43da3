"""What there is on Discord: users, guilds with their roles and channels, and messages.

A thing tells its world what becomes of it, so a guild's `add_text_channel` also reaches the
gateway. Things are compared by identity; their ids are snowflakes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeAlias

from tests.fakes.discord.mentions import Pings

TEXT_CHANNEL, DIRECT_CHANNEL, GROUP_CHANNEL, PUBLIC_THREAD, PRIVATE_THREAD = 0, 1, 3, 11, 12

# The permissions that the fake knows, by their bits.
PERMISSIONS = {
    "view_channel": 1 << 10,
    "send_messages": 1 << 11,
    "embed_links": 1 << 14,
    "attach_files": 1 << 15,
    "read_message_history": 1 << 16,
    "mention_everyone": 1 << 17,
    "send_messages_in_threads": 1 << 38,
}


class Home(Protocol):
    """Where things live: what a thing needs of its world."""

    bot: "User"

    def next_id(self) -> int:
        """Return an id that nothing has yet."""
        ...

    def adopt(self, channel: "Channel") -> None:
        """Let a new channel be found by its id."""
        ...

    def tell(self, event: str, subject: "Subject") -> None:
        """Say what happened, as the gateway's event is called."""
        ...


@dataclass(eq=False)
class User:
    """Somebody: a person, a bot, or the face of a webhook."""

    id: int
    name: str
    is_bot: bool = False
    application_id: int | None = None  # of whose webhook it is the face

    @property
    def mention(self) -> str:
        """What a text says to mention the user."""
        return f"<@{self.id}>"


@dataclass(eq=False)
class Role:
    """A role of a guild."""

    id: int
    name: str
    permissions: int = 0

    @property
    def mention(self) -> str:
        """What a text says to mention the role."""
        return f"<@&{self.id}>"


@dataclass(eq=False)
class Member:
    """A user in a guild."""

    user: User
    nick: str | None = None
    roles: list[Role] = field(default_factory=list)


@dataclass(frozen=True)
class File:
    """A file that somebody sends along."""

    name: str
    content: bytes
    media_type: str = "application/octet-stream"


@dataclass(frozen=True)
class Attachment:
    """A file as it hangs on a message."""

    id: int
    file: File
    url: str


@dataclass(frozen=True)
class Revision:
    """What a message said from a time of the fake's clock on."""

    time: float
    text: str


@dataclass(eq=False)
class Message:
    """A message. `pings` are all that it would have caused, in any of its `revisions`;
    `interaction_id` is what it answers, if anybody asked by an interaction."""

    id: int
    channel: "Channel"
    author: User
    text: str
    created_at: datetime
    kind: int = 0
    reply_to: "Message | None" = None
    forward_of: "Message | None" = None
    is_from_webhook: bool = False
    attachments: tuple[Attachment, ...] = ()
    embeds: tuple[dict[str, object], ...] = ()
    flags: int = 0
    nonce: str | int | None = None
    mentions: tuple[User, ...] = ()
    role_mentions: tuple[int, ...] = ()
    mentions_everyone: bool = False
    pings: Pings = field(default_factory=Pings)
    revisions: list[Revision] = field(default_factory=list)
    edited_at: datetime | None = None
    is_deleted: bool = False
    interaction_id: int | None = None


@dataclass(eq=False)
class Channel:
    """A text channel, a thread (which has a `parent` and an `owner`) or a private chat (which has
    a `recipient` and no guild) or a group's chat, in which no bot is."""

    id: int
    name: str
    world: Home = field(repr=False)
    kind: int = TEXT_CHANNEL
    guild: "Guild | None" = field(default=None, repr=False)
    parent: "Channel | None" = field(default=None, repr=False)
    owner: User | None = None
    recipient: User | None = None
    topic: str | None = None
    messages: dict[int, Message] = field(default_factory=dict, repr=False)
    denied: set[str] = field(default_factory=set)
    is_archived: bool = False
    is_deleted: bool = False
    last_message_id: int | None = None

    @property
    def is_thread(self) -> bool:
        """Whether it is a thread."""
        return self.kind in {PUBLIC_THREAD, PRIVATE_THREAD}

    @property
    def mention(self) -> str:
        """What a text says to mention the channel."""
        return f"<#{self.id}>"

    def deny(self, *permissions: str) -> None:
        """Take permissions (see `PERMISSIONS`) from the bot."""
        self._check(permissions)
        self.denied |= set(permissions)
        self._tell_update()

    def allow(self, *permissions: str) -> None:
        """Give permissions back to the bot."""
        self._check(permissions)
        self.denied -= set(permissions)
        self._tell_update()

    def may(self, permission: str) -> bool:
        """Tell whether the bot has a permission here; a thread inherits from its channel."""
        if permission == "send_messages" and self.parent is not None:
            inherited = self.parent.may("send_messages_in_threads")
        else:
            inherited = self.parent is None or self.parent.may(permission)
        return inherited and permission not in self.denied

    def delete(self) -> None:
        """Remove the channel, and its threads with it."""
        self.is_deleted = True
        self.world.tell("THREAD_DELETE" if self.is_thread else "CHANNEL_DELETE", self)
        for thread in self.guild.threads_of(self) if self.guild else ():
            thread.delete()

    def _check(self, permissions: Iterable[str]) -> None:
        if unknown := set(permissions) - PERMISSIONS.keys():
            msg = f"The fake knows no permission {sorted(unknown)}; it knows {list(PERMISSIONS)}."
            raise ValueError(msg)

    def _tell_update(self) -> None:
        if self.kind == TEXT_CHANNEL:
            self.world.tell("CHANNEL_UPDATE", self)


@dataclass(eq=False)
class Guild:
    """A server, as people call it. It `has_commands` if it installed the bot's commands without the
    bot."""

    id: int
    name: str
    owner: User
    world: Home = field(repr=False)
    channels: list[Channel] = field(default_factory=list, repr=False)
    roles: list[Role] = field(default_factory=list, repr=False)
    members: dict[int, Member] = field(default_factory=dict, repr=False)
    bot_is_member: bool = True
    has_commands: bool = False

    def add_text_channel(self, name: str, *, topic: str | None = None) -> Channel:
        """Add a text channel."""
        channel = Channel(self.world.next_id(), name, self.world, guild=self, topic=topic)
        self._open("CHANNEL_CREATE", channel)
        return channel

    def add_thread(
        self,
        channel: Channel,
        name: str,
        owner: User | None = None,
        *,
        is_private: bool = False,
        thread_id: int | None = None,
    ) -> Channel:
        """Add a thread to a channel; the bot owns it if nobody else does. One that begins under a
        message has its id."""
        thread = Channel(
            thread_id or self.world.next_id(),
            name,
            self.world,
            kind=PRIVATE_THREAD if is_private else PUBLIC_THREAD,
            guild=self,
            parent=channel,
            owner=owner or self.world.bot,
        )
        self._open("THREAD_CREATE", thread)
        return thread

    def add_role(self, name: str, *, permissions: int = 0) -> Role:
        """Add a role, which nobody has yet. Clients hear of it with the guild."""
        role = Role(self.world.next_id(), name, permissions)
        self.roles.append(role)
        return role

    def add_member(
        self, user: User, *, nick: str | None = None, roles: Iterable[Role] = ()
    ) -> Member:
        """Let a user in. Who speaks in a guild is let in by that."""
        member = Member(user, nick, list(roles))
        self.members[user.id] = member
        return member

    def remove_bot(self) -> None:
        """Throw the bot out."""
        self.bot_is_member = False
        self.world.tell("GUILD_DELETE", self)

    def threads_of(self, channel: Channel) -> Iterator[Channel]:
        """Return the threads of a channel that are not deleted."""
        return (one for one in self.channels if one.parent is channel and not one.is_deleted)

    def _open(self, event: str, channel: Channel) -> None:
        self.channels.append(channel)
        self.world.adopt(channel)
        self.world.tell(event, channel)


Subject: TypeAlias = Guild | Channel | Message
