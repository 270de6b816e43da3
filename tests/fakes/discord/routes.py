"""What each REST route does, and what Discord refuses, with its own error codes."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from tests.fakes.discord import payloads
from tests.fakes.discord.gateway import Gateway
from tests.fakes.discord.intents import MESSAGE_CONTENT, application_flags, readability
from tests.fakes.discord.mentions import Pings, fault_of, pings_of
from tests.fakes.discord.payloads import JSON
from tests.fakes.discord.records import Request
from tests.fakes.discord.things import DIRECT_CHANNEL, GROUP_CHANNEL, Channel, Guild, Message
from tests.fakes.discord.world import World

MAX_CONTENT = 2_000
MAX_NONCE = 25
MAX_THREAD_NAME = 100
NONCE_SECONDS = 300.0
MAX_FILE_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True)
class Reply:
    """An answer. A body of None is no body."""

    status: int
    body: JSON | list[JSON] | None = None


@dataclass(eq=False)
class Refused(Exception):
    """Discord's no."""

    status: int
    code: int
    message: str
    errors: JSON = field(default_factory=dict)

    def body(self) -> JSON:
        """Return the JSON of an error."""
        body: JSON = {"message": self.message, "code": self.code}
        return body | {"errors": self.errors} if self.errors else body


class Routes:
    """Performs requests on the world.

    `violations` says, of each request that broke a rule for the form of a message, which one.
    `typing` are the ids of the channels in which the bot seemed to type, with the times.
    """

    def __init__(self, world: World, gateway: Gateway, clock: Callable[[], float]) -> None:
        self.violations: list[str] = []
        self.typing: list[tuple[int, float]] = []
        self._world = world
        self._gateway = gateway
        self._clock = clock
        self._nonces: dict[str, tuple[float, Message]] = {}
        self._performers = {
            "create_message": self._create_message,
            "edit_message": self._edit_message,
            "typing": self._type,
            "delete_message": self._delete_message,
            "start_thread": self._start_thread,
            "get_message": self._get_message,
            "get_messages": self._get_messages,
            "get_channel": self._get_channel,
            "create_dm": self._create_dm,
            "get_me": self._get_me,
            "get_user": self._get_user,
            "get_application": self._get_application,
            "get_gateway": self._get_gateway,
            "get_guild": self._get_guild,
            "get_guild_channels": self._get_guild_channels,
            "get_active_threads": self._get_active_threads,
            "get_member": self._get_member,
            "put_commands": self._put_commands,
        }

    def add(self, performers: Mapping[str, Callable[[Request], Reply]]) -> None:
        """Let others perform routes of theirs."""
        self._performers |= performers

    def perform(self, request: Request) -> Reply:
        """Do what a request asks. Raises `Refused`."""
        return self._performers[request.route](request)

    # Messages.

    def _create_message(self, request: Request) -> Reply:
        channel = self._channel(request)
        self._check_permission(channel, "send_messages")
        body = request.body
        text = body.get("content") or ""
        self._check_text(request, text)
        nonce = self._checked_nonce(request)
        known = self._sent_before(nonce) if body.get("enforce_nonce") else None
        if known is not None:
            return Reply(200, self._message_json(known))
        self._check_files(request, channel)
        reply_to = self._referenced(channel, body.get("message_reference"))
        if not (text.strip() or request.files or body.get("embeds") or body.get("components")):
            self._refuse_form(request, 50006, "Cannot send an empty message")
        message = self._world.post(
            self._world.bot,
            channel,
            text.strip(),
            reply_to=reply_to,
            files=request.files,
            embeds=body.get("embeds") or (),
            flags=body.get("flags") or 0,
            nonce=nonce,
            pings=self._pings(request, text, reply_to),
        )
        if nonce is not None:
            self._nonces[str(nonce)] = (self._clock(), message)
        return Reply(200, self._message_json(message))

    def _edit_message(self, request: Request) -> Reply:
        message = self._message(request)
        if message.author is not self._world.bot:
            raise Refused(403, 50005, "Cannot edit a message authored by another user")
        body = request.body
        text = body.get("content", message.text) or ""
        self._check_text(request, text)
        message.embeds = tuple(body.get("embeds") or ()) if "embeds" in body else message.embeds
        message.flags = body.get("flags", message.flags)
        if not (text.strip() or message.attachments or message.embeds):
            self._refuse_form(request, 50006, "Cannot send an empty message")
        self._world.edit(message, text.strip(), pings=self._pings(request, text, message.reply_to))
        return Reply(200, self._message_json(message))

    def _delete_message(self, request: Request) -> Reply:
        message = self._message(request)
        if message.author is not self._world.bot:
            raise Refused(403, 50013, "Missing Permissions")
        self._world.delete(message)
        return Reply(204)

    def _start_thread(self, request: Request) -> Reply:
        message = self._message(request)
        channel, guild = message.channel, message.channel.guild
        if guild is None or channel.is_thread:
            raise Refused(400, 50024, "Cannot execute action on this channel type")
        if message.id in self._world.channels:
            raise Refused(400, 160004, "A thread has already been created for this message")
        name = request.body["name"]
        if not 1 <= len(name) <= MAX_THREAD_NAME:
            self._refuse_form(request, 50035, "Invalid Form Body", "name")
        thread = guild.add_thread(channel, name, thread_id=message.id)
        return Reply(201, payloads.channel_json(thread))

    def _get_message(self, request: Request) -> Reply:
        self._check_permission(self._channel(request), "read_message_history")
        return Reply(200, self._message_json(self._message(request)))

    def _get_messages(self, request: Request) -> Reply:
        channel = self._channel(request)
        self._check_permission(channel, "read_message_history")
        limit = int(request.query.get("limit", 50))
        if not 1 <= limit <= 100:
            self._refuse_form(request, 50035, "Invalid Form Body", "limit")
        there = [one for one in channel.messages.values() if not one.is_deleted]
        chosen = self._slice(sorted(there, key=lambda one: one.id), request.query, limit)
        return Reply(200, [self._message_json(one) for one in reversed(chosen)])

    def _slice(self, there: list[Message], query: dict[str, str], limit: int) -> Sequence[Message]:
        if "after" in query:
            return [one for one in there if one.id > int(query["after"])][:limit]
        if "around" in query:
            older = [one for one in there if one.id <= int(query["around"])][-limit // 2 :]
            newer = [one for one in there if one.id > int(query["around"])][: limit // 2]
            return older + newer
        before = int(query.get("before", 1 << 63))
        return [one for one in there if one.id < before][-limit:]

    def _type(self, request: Request) -> Reply:
        channel = self._channel(request)
        self._check_permission(channel, "send_messages")
        self.typing.append((channel.id, self._clock()))
        return Reply(204)

    # Places and people.

    def _get_channel(self, request: Request) -> Reply:
        return Reply(200, payloads.channel_json(self._channel(request)))

    def _create_dm(self, request: Request) -> Reply:
        user = self._world.users.get(int(request.body["recipient_id"]))
        if user is None:
            raise Refused(400, 50033, "Invalid Recipient(s)")
        return Reply(200, payloads.channel_json(self._world.open_dm(user)))

    def _get_me(self, request: Request) -> Reply:
        return Reply(200, payloads.user_json(self._world.bot))

    def _get_user(self, request: Request) -> Reply:
        user = self._world.users.get(request.ids[0])
        if user is None:
            raise Refused(404, 10013, "Unknown User")
        return Reply(200, payloads.user_json(user))

    def _get_application(self, request: Request) -> Reply:
        bot = payloads.user_json(self._world.bot)
        application = {
            "id": bot["id"],
            "name": self._world.bot.name,
            "icon": None,
            "description": "",
            "summary": "",
            "bot_public": True,
            "bot_require_code_grant": False,
            "verify_key": "",
            "flags": application_flags(self._gateway.granted_intents),
            "owner": bot | {"bot": False},
            "bot": bot,
            "team": None,
        }
        return Reply(200, application)

    def _get_gateway(self, request: Request) -> Reply:
        used = len(self._gateway.identifies)
        session_start_limit = {
            "total": 1_000,
            "remaining": max(0, 1_000 - used),
            "reset_after": 86_400_000,
            "max_concurrency": 1,
        }
        address = {"url": self._gateway.url, "shards": self._gateway.shards}
        return Reply(200, address | {"session_start_limit": session_start_limit})

    def _get_guild(self, request: Request) -> Reply:
        return Reply(200, payloads.guild_json(self._guild(request)))

    def _get_guild_channels(self, request: Request) -> Reply:
        guild = payloads.guild_json(self._guild(request))
        return Reply(200, guild["channels"])

    def _get_active_threads(self, request: Request) -> Reply:
        guild = payloads.guild_json(self._guild(request))
        return Reply(200, {"threads": guild["threads"], "members": []})

    def _get_member(self, request: Request) -> Reply:
        member = self._guild(request).members.get(request.ids[1])
        if member is None:
            raise Refused(404, 10007, "Unknown Member")
        return Reply(200, payloads.full_member_json(member))

    def _put_commands(self, request: Request) -> Reply:
        application = {"application_id": str(self._world.bot.id), "version": "1"}
        commands: list[JSON] = request.body.get("list", [])
        return Reply(
            200, [one | application | {"id": str(self._world.next_id())} for one in commands]
        )

    # What is looked up, and what is refused.

    def _message_json(self, message: Message) -> JSON:
        has_content = bool(self._gateway.granted_intents & MESSAGE_CONTENT)
        return payloads.message_json(message, readability(self._world, has_content=has_content))

    def _guild(self, request: Request) -> Guild:
        guild = self._world.guilds.get(request.ids[0])
        if guild is None or not guild.bot_is_member:
            raise Refused(404, 10004, "Unknown Guild")
        return guild

    def _channel(self, request: Request) -> Channel:
        channel = self._world.channels.get(request.ids[0])
        if channel is None or channel.is_deleted:
            raise Refused(404, 10003, "Unknown Channel")
        is_member = channel.guild is None or channel.guild.bot_is_member
        if channel.kind == GROUP_CHANNEL or not (is_member and channel.may("view_channel")):
            raise Refused(403, 50001, "Missing Access")
        return channel

    def _message(self, request: Request) -> Message:
        message = self._channel(request).messages.get(request.ids[1])
        if message is None or message.is_deleted:
            raise Refused(404, 10008, "Unknown Message")
        return message

    def _referenced(self, channel: Channel, reference: JSON | None) -> Message | None:
        if reference is None:
            return None
        self._check_permission(channel, "read_message_history", code=160002)
        message = channel.messages.get(int(reference["message_id"]))
        if message is not None and not message.is_deleted:
            return message
        if not reference.get("fail_if_not_exists", True):
            return None
        errors = _form_errors("message_reference", "MESSAGE_REFERENCE_UNKNOWN_MESSAGE")
        raise Refused(400, 50035, "Invalid Form Body", errors)

    def _check_permission(self, channel: Channel, permission: str, code: int = 50013) -> None:
        if channel.may(permission):
            return
        if channel.kind == DIRECT_CHANNEL:
            raise Refused(403, 50007, "Cannot send messages to this user")
        raise Refused(403, code, "Missing Permissions")

    def _check_text(self, request: Request, text: str) -> None:
        """Refuse what has too many characters; of UTF-16 units, too many are but noted."""
        units = len(text.encode("utf-16-le", "surrogatepass")) // 2
        if len(text) > MAX_CONTENT:
            self._refuse_form(request, 50035, "Invalid Form Body", "content")
        if units > MAX_CONTENT:
            self._note(request, f"content of {units} UTF-16 units")

    def _checked_nonce(self, request: Request) -> str | int | None:
        nonce: str | int | None = request.body.get("nonce")
        if nonce is not None and len(str(nonce)) > MAX_NONCE:
            self._refuse_form(request, 50035, "Invalid Form Body", "nonce")
        return nonce

    def _sent_before(self, nonce: str | int | None) -> Message | None:
        sent_at, message = self._nonces.get(str(nonce), (0.0, None))
        return message if message and self._clock() - sent_at < NONCE_SECONDS else None

    def _check_files(self, request: Request, channel: Channel) -> None:
        if request.files:
            self._check_permission(channel, "attach_files")
        if any(len(file.content) > MAX_FILE_BYTES for file in request.files):
            raise Refused(413, 40005, "Request entity too large")

    def _pings(self, request: Request, text: str, reply_to: Message | None) -> Pings:
        allowed = request.body.get("allowed_mentions")
        if allowed is not None and fault_of(allowed):
            self._refuse_form(request, 50035, "Invalid Form Body", "allowed_mentions")
        return pings_of(text, allowed, reply_to.author.id if reply_to else None)

    def _refuse_form(self, request: Request, code: int, sentence: str, key: str = "") -> NoReturn:
        self._note(request, f"{sentence} {key}".strip())
        raise Refused(400, code, sentence, _form_errors(key, "INVALID") if key else {})

    def _note(self, request: Request, fault: str) -> None:
        self.violations.append(f"{request.method} {request.path}: {fault}")


def _form_errors(key: str, code: str) -> JSON:
    return {key: {"_errors": [{"code": code, "message": f"{key} is not acceptable"}]}}


def _route(method: str, path: str, name: str) -> tuple[str, re.Pattern[str], str]:
    pattern = path.replace("TOKEN", r"[\w-]+").replace("ID", r"(\d+)")
    return method, re.compile(pattern), name


_ROUTES: Iterable[tuple[str, re.Pattern[str], str]] = (
    _route("PATCH", "/channels/ID/messages/ID", "edit_message"),
    _route("POST", "/channels/ID/messages", "create_message"),
    _route("POST", "/channels/ID/typing", "typing"),
    _route("DELETE", "/channels/ID/messages/ID", "delete_message"),
    _route("POST", "/channels/ID/messages/ID/threads", "start_thread"),
    _route("GET", "/channels/ID/messages/ID", "get_message"),
    _route("GET", "/channels/ID/messages", "get_messages"),
    _route("GET", "/channels/ID", "get_channel"),
    _route("GET", "/users/@me", "get_me"),
    _route("GET", "/users/ID", "get_user"),
    _route("POST", "/users/@me/channels", "create_dm"),
    _route("GET", "(?:/oauth2)?/applications/@me", "get_application"),
    _route("GET", "/gateway/bot", "get_gateway"),
    _route("GET", "/guilds/ID", "get_guild"),
    _route("GET", "/guilds/ID/channels", "get_guild_channels"),
    _route("GET", "/guilds/ID/threads/active", "get_active_threads"),
    _route("GET", "/guilds/ID/members/ID", "get_member"),
    _route("PUT", "/applications/ID(?:/guilds/ID)?/commands", "put_commands"),
    _route("POST", "/interactions/ID/TOKEN/callback", "respond"),
    _route("GET", "/channels/ID/webhooks", "get_webhooks"),
    _route("POST", "/channels/ID/webhooks", "create_webhook"),
    _route("PATCH", "/webhooks/ID", "edit_webhook"),
    _route("POST", "/webhooks/ID/webhook-TOKEN", "execute_webhook"),
    _route("PATCH", "/webhooks/ID/webhook-TOKEN/messages/ID", "edit_webhook_message"),
    _route("DELETE", "/webhooks/ID/webhook-TOKEN/messages/ID", "delete_webhook_message"),
    _route("POST", "/webhooks/ID/TOKEN", "follow_up"),
    _route("PATCH", "/webhooks/ID/TOKEN/messages/@original", "edit_original"),
    _route("DELETE", "/webhooks/ID/TOKEN/messages/@original", "delete_original"),
    _route("PATCH", "/webhooks/ID/TOKEN/messages/ID", "edit_follow_up"),
    _route("DELETE", "/webhooks/ID/TOKEN/messages/ID", "delete_follow_up"),
)


def find_route(method: str, path: str) -> tuple[str, tuple[int, ...]] | None:
    """Return a route's name and the ids in the path, or None if the fake has no such route."""
    for known, pattern, name in _ROUTES:
        if known == method and (found := pattern.fullmatch(path)):
            return name, tuple(int(one) for one in found.groups() if one)
    return None
