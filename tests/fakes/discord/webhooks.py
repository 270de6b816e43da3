"""Webhooks of channels: a bot makes them, and posts by them under other names."""

from dataclasses import dataclass, field

from tests.fakes.discord.payloads import JSON
from tests.fakes.discord.records import Request
from tests.fakes.discord.routes import Refused, Reply, Routes
from tests.fakes.discord.things import Channel, Message, User
from tests.fakes.discord.world import World

MANAGE_WEBHOOKS = 1 << 29
INCOMING = 1


@dataclass(eq=False)
class Webhook:
    """What posts in a channel and its threads, by its `token`. `face` is who seems to speak."""

    face: User
    channel: Channel
    token: str = field(repr=False)
    has_picture: bool = False


class Webhooks:
    """Keeps those of the bot by their ids, and serves the routes by which it makes and uses
    them."""

    def __init__(self, world: World, routes: Routes) -> None:
        self.by_id: dict[int, Webhook] = {}
        self._world = world
        self._routes = routes
        routes.add(
            {
                "get_webhooks": self._list,
                "create_webhook": self._create,
                "edit_webhook": self._dress,
                "execute_webhook": self._post,
                "edit_webhook_message": self._edit,
                "delete_webhook_message": self._delete,
            }
        )

    def _list(self, request: Request) -> Reply:
        there = self._managed(request)
        return Reply(200, [self._json(one) for one in self.by_id.values() if one.channel is there])

    def _create(self, request: Request) -> Reply:
        channel, id_ = self._managed(request), self._world.next_id()
        face = User(id_, request.body["name"], application_id=self._world.bot.id)
        webhook = Webhook(face, channel, f"webhook-token-{id_}", bool(request.body.get("avatar")))
        self.by_id[id_] = webhook
        return Reply(200, self._json(webhook))

    def _dress(self, request: Request) -> Reply:
        webhook = self._find(request)
        webhook.face.name = request.body.get("name", webhook.face.name)
        webhook.has_picture = bool(request.body.get("avatar"))
        return Reply(200, self._json(webhook))

    def _post(self, request: Request) -> Reply:
        webhook, text = self._find(request), request.body.get("content") or ""
        self._routes._check_text(request, text)
        message = self._world.post(
            webhook.face,
            self._place(request, webhook),
            text.strip(),
            files=request.files,
            flags=request.body.get("flags") or 0,
            pings=self._routes._pings(request, text, None),
            is_from_webhook=True,
        )
        is_waited_for = request.query.get("wait", "").lower() in {"1", "true"}
        return Reply(200, self._routes._message_json(message)) if is_waited_for else Reply(204)

    def _edit(self, request: Request) -> Reply:
        message = self._message(request)
        text = request.body.get("content", message.text)
        self._routes._check_text(request, text)
        self._world.edit(message, text.strip(), pings=self._routes._pings(request, text, None))
        return Reply(200, self._routes._message_json(message))

    def _delete(self, request: Request) -> Reply:
        self._world.delete(self._message(request))
        return Reply(204)

    def _managed(self, request: Request) -> Channel:
        channel = self._routes._channel(request)
        assert channel.guild is not None
        bot = channel.guild.members[self._world.bot.id]
        if not any(role.permissions & MANAGE_WEBHOOKS for role in bot.roles):
            raise Refused(403, 50013, "Missing Permissions")
        return channel

    def _find(self, request: Request) -> Webhook:
        webhook = self.by_id.get(request.ids[0])
        _, _, _, *token = request.path.split("/")
        if webhook is None or (token and token[0] != webhook.token):
            raise Refused(404, 10015, "Unknown Webhook")
        return webhook

    def _place(self, request: Request, webhook: Webhook) -> Channel:
        """Return where it posts: in its channel, or in the thread of it that is meant."""
        place = self._world.channels[int(request.query.get("thread_id", webhook.channel.id))]
        if webhook.channel not in {place, place.parent}:
            raise Refused(400, 10003, "Unknown Channel")
        return place

    def _message(self, request: Request) -> Message:
        webhook = self._find(request)
        message = self._place(request, webhook).messages.get(request.ids[1])
        if message is None or message.is_deleted or message.author is not webhook.face:
            raise Refused(404, 10008, "Unknown Message")
        return message

    def _json(self, webhook: Webhook) -> JSON:
        return {
            "id": str(webhook.face.id),
            "type": INCOMING,
            "channel_id": str(webhook.channel.id),
            "name": webhook.face.name,
            "avatar": "0" * 32 if webhook.has_picture else None,
            "token": webhook.token,
            "application_id": str(self._world.bot.id),
        }
