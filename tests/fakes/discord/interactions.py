"""Interactions: what people ask by commands, menus, forms and buttons, and how a bot answers.

Discord waits for three seconds for a first response, and takes more by the interaction's token for
a quarter of an hour. What only one person sees is kept here, and not in the channel.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tests.fakes.discord import payloads
from tests.fakes.discord.payloads import JSON
from tests.fakes.discord.records import Request
from tests.fakes.discord.routes import Refused, Reply, Routes
from tests.fakes.discord.things import DIRECT_CHANNEL, PERMISSIONS, Channel, Message, User
from tests.fakes.discord.world import World

COMMAND, COMPONENT, AUTOCOMPLETE, FORM = 2, 3, 4, 5
DEFERRED_MESSAGE, DEFERRED_UPDATE = 5, 6
EPHEMERAL = 1 << 6
ACKNOWLEDGE_SECONDS = 3.0
TOKEN_SECONDS = 900.0


@dataclass(eq=False)
class Interaction:
    """What somebody asked, and what became of it.

    `response` is the body of the first response. `original` is the message that it promised or
    made, once there is one, or the one that it is `under` if it was acknowledged there; `whispers`
    are the messages that only the person sees.
    """

    id: int
    token: str = field(repr=False)
    channel: Channel
    user: User
    created_at: float
    response: JSON | None = None
    acknowledged_at: float | None = None
    original: Message | None = None
    under: Message | None = None
    is_thinking: bool = False
    is_removed: bool = False
    messages: dict[int, Message] = field(default_factory=dict)

    @property
    def is_private(self) -> bool:
        """Whether only the person sees the response."""
        data = (self.response or {}).get("data") or {}
        return bool(data.get("flags", 0) & EPHEMERAL)

    @property
    def texts(self) -> list[str]:
        """What answers it now, oldest first."""
        return [one.text for one in self.messages.values() if not one.is_deleted]

    @property
    def whispers(self) -> list[str]:
        """What only the person sees of that."""
        seen = self.messages.values()
        return [one.text for one in seen if one.flags & EPHEMERAL and not one.is_deleted]


class Interactions:
    """Keeps them by their tokens, and serves the routes by which a bot answers. `push` tells the
    bot of one."""

    def __init__(
        self,
        world: World,
        routes: Routes,
        clock: Callable[[], float],
        push: Callable[[Channel, JSON], None],
    ) -> None:
        self.by_token: dict[str, Interaction] = {}
        self._world = world
        self._routes = routes
        self._clock = clock
        self._push = push
        self._numbers = itertools.count(1)
        routes.add(
            {
                "respond": self._respond,
                "follow_up": self._follow_up,
                "edit_original": self._fill_in,
                "delete_original": self._take_back,
                "edit_follow_up": self._edit,
                "delete_follow_up": self._delete,
            }
        )

    def begin(
        self,
        user: User,
        channel: Channel,
        data: JSON,
        *,
        kind: int,
        permissions: int,
        message: Message | None = None,
    ) -> Interaction:
        """Let somebody ask something."""
        token = f"interaction-token-{next(self._numbers)}"
        interaction = Interaction(
            self._world.next_message_id(), token, channel, user, self._clock()
        )
        interaction.under = message
        self.by_token[token] = interaction
        body = self._json(interaction, kind, data, permissions)
        if message is not None:
            body["message"] = payloads.message_json(message, lambda _: True)
        self._push(channel, body)
        return interaction

    def _json(self, interaction: Interaction, kind: int, data: JSON, permissions: int) -> JSON:
        channel, user = interaction.channel, interaction.user
        body: JSON = {
            "id": str(interaction.id),
            "application_id": str(self._world.bot.id),
            "type": kind,
            "token": interaction.token,
            "version": 1,
            "data": data,
            "channel_id": str(channel.id),
            "channel": payloads.channel_json(channel),
            "locale": "en-US",
            "entitlements": [],
            "authorizing_integration_owners": _owners(channel, user),
            "attachment_size_limit": 10 * 2**20,
            "app_permissions": str(_permissions(channel)),
        }
        if channel.guild is None:
            is_with_bot = channel.kind == DIRECT_CHANNEL
            return body | {"user": payloads.user_json(user), "context": 1 if is_with_bot else 2}
        member = channel.guild.members.get(user.id) or channel.guild.add_member(user)
        guild_id = str(channel.guild.id)
        return body | {
            "context": 0,
            "guild_id": guild_id,
            "guild": {"id": guild_id, "features": [], "locale": "en-US"},
            "member": payloads.full_member_json(member) | {"permissions": str(permissions)},
        }

    # How a bot answers.

    def _respond(self, request: Request) -> Reply:
        interaction = self._find(request)
        if self._clock() - interaction.created_at > ACKNOWLEDGE_SECONDS:
            raise Refused(404, 10062, "Unknown interaction")
        if interaction.response is not None:
            raise Refused(400, 40060, "Interaction has already been acknowledged.")
        interaction.response = request.body
        interaction.acknowledged_at = self._clock()
        interaction.is_thinking = request.body["type"] == DEFERRED_MESSAGE
        if request.body["type"] == DEFERRED_UPDATE:
            interaction.original = interaction.under
        told = {"interaction": {"id": str(interaction.id), "type": 2}}
        return Reply(200, told) if "with_response" in request.query else Reply(204)

    def _follow_up(self, request: Request) -> Reply:
        interaction = self._living(request)
        if interaction.is_thinking:
            return self._fill_in(request)
        return self._add(interaction, request, request.body.get("flags", 0))

    def _fill_in(self, request: Request) -> Reply:
        interaction = self._living(request)
        if interaction.original is not None:
            return self._change(interaction.original, request)
        if not interaction.is_thinking:
            raise Refused(404, 10008, "Unknown Message")
        reply = self._add(interaction, request, EPHEMERAL if interaction.is_private else 0)
        interaction.is_thinking = False
        interaction.original = next(iter(interaction.messages.values()))
        return reply

    def _take_back(self, request: Request) -> Reply:
        interaction = self._living(request)
        if interaction.original is not None:
            interaction.original.is_deleted = True
        elif not interaction.is_thinking:
            raise Refused(404, 10008, "Unknown Message")
        interaction.is_thinking, interaction.is_removed = False, True
        return Reply(204)

    def _edit(self, request: Request) -> Reply:
        return self._change(self._message(request), request)

    def _delete(self, request: Request) -> Reply:
        message = self._message(request)
        if message.flags & EPHEMERAL:
            message.is_deleted = True
        else:
            self._world.delete(message)
        return Reply(204)

    def _find(self, request: Request) -> Interaction:
        token = request.path.split("/")[3]
        if token not in self.by_token:
            raise Refused(404, 10015, "Unknown Webhook")
        return self.by_token[token]

    def _living(self, request: Request) -> Interaction:
        interaction = self._find(request)
        if interaction.response is None:
            raise Refused(404, 10015, "Unknown Webhook")
        if self._clock() - interaction.created_at > TOKEN_SECONDS:
            raise Refused(401, 50027, "Invalid Webhook Token")
        return interaction

    def _message(self, request: Request) -> Message:
        message = self._living(request).messages.get(request.ids[1])
        if message is None or message.is_deleted:
            raise Refused(404, 10008, "Unknown Message")
        return message

    def _add(self, interaction: Interaction, request: Request, flags: int) -> Reply:
        text = request.body.get("content") or ""
        self._routes._check_text(request, text)
        pings = self._routes._pings(request, text, None)
        channel, bot = interaction.channel, self._world.bot
        if flags & EPHEMERAL:
            message_id = self._world.next_message_id()
            message = Message(message_id, channel, bot, text, datetime.now(UTC), flags=flags)
            message.pings = pings
        else:
            files = request.files
            message = self._world.post(bot, channel, text, files=files, flags=flags, pings=pings)
            message.interaction_id = interaction.id
        interaction.messages[message.id] = message
        return Reply(200, self._routes._message_json(message))

    def _change(self, message: Message, request: Request) -> Reply:
        text = request.body.get("content", message.text)
        self._routes._check_text(request, text)
        if message.flags & EPHEMERAL:
            message.text = text
        else:
            self._world.edit(message, text, pings=self._routes._pings(request, text, None))
        return Reply(200, self._routes._message_json(message))


def _owners(channel: Channel, user: User) -> JSON:
    """Say who installed the bot: the server, or else the person who uses it there."""
    guild = channel.guild
    if guild is not None and (guild.bot_is_member or guild.has_commands):
        return {"0": str(guild.id)}
    return {"0": "0"} if channel.kind == DIRECT_CHANNEL else {"1": str(user.id)}


def _permissions(channel: Channel) -> int:
    """Return what the bot may do in a channel."""
    if channel.guild is None or not channel.guild.bot_is_member:
        return 0
    # Those of a thread are its channel's.
    place = channel.parent or channel
    return sum(bit for name, bit in PERMISSIONS.items() if place.may(name))
