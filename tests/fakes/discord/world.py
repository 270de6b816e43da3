"""All there is on one fake Discord, what people do there, and who is told."""

import itertools
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from tests.fakes.discord.mentions import (
    Pings,
    mentioned_roles,
    mentioned_users,
    mentions_everyone,
)
from tests.fakes.discord.things import (
    DIRECT_CHANNEL,
    GROUP_CHANNEL,
    PERMISSIONS,
    Attachment,
    Channel,
    File,
    Guild,
    Message,
    Revision,
    Role,
    Subject,
    User,
)

from acore_bot.messages import SnowflakeSequence

# Divisible by 1 to 16, so that the n-th guild (from 0) belongs to shard n modulo their count.
_FIRST_GUILD = 144_144_000_000
_EVERYTHING_A_MEMBER_MAY = sum(PERMISSIONS.values())

REPLY = 19


class World:
    """Users, guilds, channels and messages, found by their ids.

    `clock` dates revisions; `wall_clock` makes the messages' ids and dates.
    """

    def __init__(self, clock: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        self.token = "fake-token-of-the-bot"
        self.cdn_url = "https://cdn.discordapp.com"
        self.users: dict[int, User] = {}
        self.guilds: dict[int, Guild] = {}
        self.channels: dict[int, Channel] = {}
        self._webhooks: dict[int, User] = {}
        self.listeners: list[Callable[[str, Subject], None]] = []
        self._clock = clock
        self._wall_clock = wall_clock
        self._message_ids = SnowflakeSequence(wall_clock)
        self._ids = itertools.count((_FIRST_GUILD + 1_000_000) << 22)
        self._guild_ids = itertools.count(_FIRST_GUILD)
        self.bot = self.add_user("acore", is_bot=True)

    def next_id(self) -> int:
        """Return an id that nothing has yet."""
        return next(self._ids)

    def next_message_id(self) -> int:
        """Return an id for a message, or for an interaction, as it is made of the time."""
        return self._message_ids.next()

    def adopt(self, channel: Channel) -> None:
        """Let a new channel be found by its id."""
        self.channels[channel.id] = channel

    def tell(self, event: str, subject: Subject) -> None:
        """Say what happened, as the gateway's event is called."""
        for listener in self.listeners:
            listener(event, subject)

    def add_user(self, name: str, *, is_bot: bool = False) -> User:
        """Add somebody."""
        user = User(self.next_id(), name, is_bot)
        self.users[user.id] = user
        return user

    def webhook_of(self, user: User) -> User:
        """Return the face of the webhook that speaks under a user's name."""
        return self._webhooks.setdefault(user.id, User(self.next_id(), user.name))

    def add_guild(self, name: str, *, owner: User | None = None) -> Guild:
        """Add a guild of which the bot is a member. Without an owner, it gets one of its own."""
        guild = Guild(
            next(self._guild_ids) << 22, name, owner or self.add_user(f"owner of {name}"), self
        )
        guild.roles.append(Role(guild.id, "@everyone", _EVERYTHING_A_MEMBER_MAY))
        guild.add_member(guild.owner)
        guild.add_member(self.bot)
        self.guilds[guild.id] = guild
        self.tell("GUILD_CREATE", guild)
        return guild

    def open_dm(self, user: User) -> Channel:
        """Return the private chat of a user and the bot."""
        for channel in self.channels.values():
            if channel.recipient is user:
                return channel
        channel = Channel(self.next_id(), "", self, kind=DIRECT_CHANNEL, recipient=user)
        self.adopt(channel)
        return channel

    def add_group(self, name: str) -> Channel:
        """Add the chat of a group of people, who can bring the bot along."""
        channel = Channel(self.next_id(), name, self, kind=GROUP_CHANNEL)
        self.adopt(channel)
        return channel

    def post(
        self,
        author: User,
        channel: Channel,
        text: str,
        *,
        reply_to: Message | None = None,
        forward_of: Message | None = None,
        files: Sequence[File] = (),
        embeds: Sequence[dict[str, object]] = (),
        flags: int = 0,
        nonce: str | int | None = None,
        pings: Pings | None = None,
        is_from_webhook: bool = False,
    ) -> Message:
        """Put a message into a channel. `pings` of None are all that the text mentions."""
        now = self._wall_clock()
        message = Message(
            self._message_ids.next(),
            channel,
            author,
            text,
            datetime.fromtimestamp(now, UTC),
            kind=REPLY if reply_to else 0,
            reply_to=reply_to,
            forward_of=forward_of,
            is_from_webhook=is_from_webhook,
            attachments=tuple(self._attach(channel, file) for file in files),
            embeds=tuple(embeds),
            flags=flags,
            nonce=nonce,
        )
        channel.messages[message.id] = message
        channel.last_message_id = message.id
        self._let_in(message)
        self._show(message, text, pings or Pings())
        self.tell("MESSAGE_CREATE", message)
        return message

    def edit(self, message: Message, text: str, *, pings: Pings | None = None) -> None:
        """Let a message say something else."""
        message.edited_at = datetime.fromtimestamp(self._wall_clock(), UTC)
        self._show(message, text, pings or Pings())
        self.tell("MESSAGE_UPDATE", message)

    def delete(self, message: Message) -> None:
        """Remove a message."""
        message.is_deleted = True
        self.tell("MESSAGE_DELETE", message)

    def _show(self, message: Message, text: str, pings: Pings) -> None:
        message.text = text
        message.revisions.append(Revision(self._clock(), text))
        message.pings |= pings
        mentioned = {*mentioned_users(text), *message.pings.users}
        message.mentions = tuple(self.users[one] for one in sorted(mentioned & self.users.keys()))
        message.role_mentions = mentioned_roles(text)
        message.mentions_everyone = mentions_everyone(text) and message.pings.everyone

    def _let_in(self, message: Message) -> None:
        guild = message.channel.guild
        if guild and not message.is_from_webhook and message.author.id not in guild.members:
            guild.add_member(message.author)

    def _attach(self, channel: Channel, file: File) -> Attachment:
        attachment_id = self.next_id()
        path = f"attachments/{channel.id}/{attachment_id}/{file.name}"
        return Attachment(attachment_id, file, f"{self.cdn_url}/{path}?ex=1&is=1&hm=1")
