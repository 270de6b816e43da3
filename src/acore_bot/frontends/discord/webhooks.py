"""Webhooks by which the bot speaks under other names: found, made, and used again.

A webhook belongs to a channel and bears one name and one picture, which its threads share. Ours are
those that our application made. Which picture one bears cannot be read from Discord, so one that
was made before the process began gets its picture anew when it is first needed.
"""

import asyncio
import base64
import logging
import re
import time
import unicodedata
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Generic, NamedTuple, TypeVar, cast

import aiohttp
import discord
from discord.http import MultipartParameters, Route

from acore_bot.frontends.discord.addresses import (
    Payload,
    body_of,
    request_with,
    unknown_fate,
)
from acore_bot.frontends.discord.rest import told
from acore_bot.messages import UNSEEN_LETTERS

log = logging.getLogger(__name__)

K = TypeVar("K")
V = TypeVar("V")

MOST_IN_A_CHANNEL = 15  # whoever made them: Discord's limit
MAX_NAME_CHARACTERS = 80
REFUSED_SECONDS = 600.0
MAKING_SECONDS = 10.0  # an answer had better begin under the bot's own name than late
MAX_CHANNELS = 1024
MAX_MESSAGES = 4096
RECENT_MESSAGES = 25
INCOMING = 1
_REFUSALS = (discord.HTTPException, discord.RateLimited, aiohttp.ClientError, OSError, TimeoutError)
_MEDIA_TYPES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg"}
# Discord refuses names that contain these, so they get a hyphen.
_FORBIDDEN = re.compile(r"(dis)(cord)|(cl)(yde)", re.IGNORECASE)


def webhook_name(name: str) -> str:
    """Make a name that Discord takes: one line of visible characters, 1 to 80 of them."""
    line = " ".join(unicodedata.normalize("NFKC", name).split())
    visible = " ".join("".join(filter(_is_visible, line)).split())
    allowed = _FORBIDDEN.sub(lambda found: "-".join(filter(None, found.groups())), visible)
    return allowed[:MAX_NAME_CHARACTERS].strip() or "someone"


def _is_visible(character: str) -> bool:
    return unicodedata.category(character)[0] != "C" and character not in UNSEEN_LETTERS


class _Recent(OrderedDict[K, V], Generic[K, V]):
    """Keeps what was used last, and no more than `most`."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def keep(self, key: K, value: V) -> None:
        """Add something, or use it again."""
        self[key] = value
        self.move_to_end(key)
        if len(self) > self._most:
            self.popitem(last=False)


class _Face(NamedTuple):
    """What people see. Bytes remember their hash, so a large picture costs nothing to compare. The
    hash is None for a picture that we did not choose."""

    name: str
    picture: int | None


class _Webhook(NamedTuple):
    """What posts. Its token is as good as a password."""

    id: int
    token: str
    face: _Face

    def __repr__(self) -> str:
        return f"<webhook {self.id}>"


class _Channel:
    """What is known of a channel's webhooks: ours by their ids, the last used one last, and how
    many others there are. `ours` is None while we do not know."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.ours: OrderedDict[int, _Webhook] | None = None
        self.others = 0
        self.refused_until = 0.0

    def worn_by(self, face: _Face) -> _Webhook | None:
        """Return the webhook of that face, if there is one."""
        ours = self.ours or OrderedDict()
        found = next((webhook for webhook in ours.values() if webhook.face == face), None)
        if found is not None:
            ours.move_to_end(found.id)
        return found


class _Place(NamedTuple):
    """A channel that may have webhooks, the thread of it that is meant, if any, and the newest
    message there that we know of."""

    channel: discord.abc.GuildChannel
    thread_id: int | None
    newest_id: int


class WebhookAddress:
    """A channel or a thread, under another name, for one message or for changes. `key` is the
    webhook's id."""

    __slots__ = ("_masks", "_place", "_token", "_unsure", "key")
    takes_replies = False

    def __init__(self, masks: "Masks", webhook: _Webhook, place: _Place) -> None:
        self.key = webhook.id
        self._token = webhook.token
        self._masks = masks
        self._place = place
        self._unsure = ""  # the nonce of a message of which nobody knows what became

    @property
    def may_have_posted(self) -> bool:
        """Whether nobody knows what became of the latest message."""
        return bool(self._unsure)

    async def post(self, client: discord.Client, params: MultipartParameters) -> Payload:
        """Post a message and return it as Discord does; if the last try may have done so, look
        there first, since webhooks know no nonces. Raises `TargetGone` if nobody can look."""
        nonce = str(body_of(params).get("nonce", ""))
        data = await self._find(client, params) if nonce and nonce == self._unsure else None
        if data is None:
            self._unsure = nonce
            try:
                data = await self._ask(client, "POST", "", params)
            except discord.HTTPException as error:
                self._unsure = nonce if error.status >= 500 else ""
                if error.status in {401, 403, 404}:
                    self._masks.lose(self._place.channel.id, error)
                raise
        self._unsure = ""
        self._masks.posted.keep(int(data["id"]), self)
        return data

    async def patch(
        self, client: discord.Client, message_id: int, params: MultipartParameters
    ) -> None:
        """Change a message."""
        await self._ask(client, "PATCH", f"/messages/{message_id}", params)

    async def delete(self, client: discord.Client, message_id: int) -> None:
        """Take a message away."""
        route = self._route("DELETE", f"/messages/{message_id}")
        await client.http.request(route, params=self._query())

    async def _ask(
        self, client: discord.Client, method: str, path: str, params: MultipartParameters
    ) -> Payload:
        query = self._query()
        if method == "POST":
            query["wait"] = "true"
        return await request_with(client, self._route(method, path), params, query)

    def _route(self, method: str, path: str) -> Route:
        # By these names discord.py knows that each webhook has limits of its own.
        return Route(
            method,
            "/webhooks/{webhook_id}/{webhook_token}" + path,
            webhook_id=self.key,
            webhook_token=self._token,
        )

    def _query(self) -> dict[str, str]:
        thread_id = self._place.thread_id
        return {} if thread_id is None else {"thread_id": str(thread_id)}

    async def _find(self, client: discord.Client, params: MultipartParameters) -> Payload | None:
        """Return a message that says this and that nobody here knows to have posted."""
        place = self._place.thread_id or self._place.channel.id
        try:
            there = await client.http.logs_from(place, RECENT_MESSAGES)
        except (discord.Forbidden, discord.NotFound) as error:
            raise unknown_fate() from error
        text = str(body_of(params).get("content", "")).strip()
        for data in cast("Sequence[Payload]", there):
            # What is older was said before, perhaps by a process that is gone.
            is_new = int(data["id"]) > self._place.newest_id
            is_by_this = is_new and int(data.get("webhook_id") or 0) == self.key
            # Who may not read what people write is not told what webhooks say, either.
            says_this = data["content"] in {"", text}
            if is_by_this and says_this and int(data["id"]) not in self._masks.posted:
                return data
        return None


class Masks:
    """Finds and makes the webhooks of names. `clock` is monotonic seconds; `posted` are the latest
    messages of all of them."""

    def __init__(
        self, client: discord.Client, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._clock = clock
        self._channels: _Recent[int, _Channel] = _Recent(MAX_CHANNELS)
        self.posted: _Recent[int, WebhookAddress] = _Recent(MAX_MESSAGES)

    async def address_for(
        self, channel_id: int, name: str, picture: bytes
    ) -> WebhookAddress | None:
        """Return where to post under a name and a picture (PNG or JPEG; empty for none) in a
        channel; None where that cannot be, which is asked again after some minutes."""
        place = self._place(channel_id)
        if place is None:
            return None
        channel = self._channel(place)
        picture = picture if _media_type(picture) else b""
        face = _Face(webhook_name(name), hash(picture))
        webhook = channel.worn_by(face)
        if webhook is None:
            async with channel.lock:
                webhook = await self._try(place, channel, face, picture)
        return self._address(place, webhook) if webhook else None

    async def address_of_message(self, channel_id: int, message_id: int) -> WebhookAddress | None:
        """Return where a message can be changed that a webhook of ours posted; None if none did.

        What this process did not post is looked up on Discord, in channels that have any of ours.
        """
        place = self._place(channel_id)
        if message_id in self.posted or place is None:
            return self.posted.get(message_id)
        channel = self._channel(place)
        try:
            async with self._asking():
                async with channel.lock:
                    ours = await self._list(place, channel)
                if not ours:
                    return None
                data = await self._client.http.get_message(channel_id, message_id)
        except _REFUSALS as error:
            log.debug("Who posted message %d is not known: %s", message_id, told(error))
            return None
        webhook = ours.get(int(data.get("webhook_id") or 0))
        return self._address(place, webhook) if webhook else None

    def lose(self, channel_id: int, error: discord.HTTPException) -> None:
        """Take note that a webhook of a channel cannot post: one that is gone is made anew when it
        is needed next, and who may not is left alone for a while."""
        channel = self._channels.get(channel_id)
        if channel is not None:
            channel.ours = None
            if error.status != 404:
                self._refuse(channel_id, channel, error)

    def _place(self, channel_id: int) -> _Place | None:
        channel = self._client.get_channel(channel_id)
        newest_id = getattr(channel, "last_message_id", None) or 0
        thread_id = None
        if isinstance(channel, discord.Thread):
            thread_id, channel = channel.id, channel.parent
        if not isinstance(channel, discord.abc.GuildChannel):
            return None
        return _Place(channel, thread_id, newest_id)

    def _channel(self, place: _Place) -> _Channel:
        channel = self._channels.get(place.channel.id) or _Channel()
        self._channels.keep(place.channel.id, channel)
        return channel

    def _address(self, place: _Place, webhook: _Webhook) -> WebhookAddress:
        return WebhookAddress(self, webhook, place)

    async def _try(
        self, place: _Place, channel: _Channel, face: _Face, picture: bytes
    ) -> _Webhook | None:
        """Let a webhook have a face, unless that was refused lately."""
        if self._clock() < channel.refused_until:
            return None
        try:
            async with self._asking():
                return await self._dress(place, channel, face, picture)
        except _REFUSALS as error:
            self._refuse(place.channel.id, channel, error)
            return None

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        """Ask Discord, but not for long. Raises one of `_REFUSALS`."""
        try:
            async with asyncio.timeout(MAKING_SECONDS):
                yield
        except RuntimeError as error:
            # aiohttp has no better word for a session that was closed meanwhile.
            if not self._client.is_closed():
                raise
            raise ConnectionError(str(error)) from error

    async def _list(self, place: _Place, channel: _Channel) -> OrderedDict[int, _Webhook]:
        """Return our webhooks in a channel. Raises `PermissionError` without asking Discord, which
        counts its refusals."""
        may = place.channel.permissions_for(place.channel.guild.me)
        # Who may not read what was said cannot find out what became of a post.
        if not (may.manage_webhooks and may.read_message_history):
            lacks = "Read Message History" if may.manage_webhooks else "Manage Webhooks"
            msg = f"the permission {lacks} is missing"
            raise PermissionError(msg)
        if channel.ours is None:
            found = await self._client.http.channel_webhooks(place.channel.id)
            ours = [_webhook(data) for data in found if self._made(data)]
            channel.others = len(found) - len(ours)
            channel.ours = OrderedDict((webhook.id, webhook) for webhook in ours)
        return channel.ours

    async def _dress(
        self, place: _Place, channel: _Channel, face: _Face, picture: bytes
    ) -> _Webhook:
        """Return a webhook with a face: one that has it, or may have, or a new one, or else the one
        used longest ago."""
        ours = await self._list(place, channel)
        if (webhook := channel.worn_by(face)) is not None:
            return webhook
        # Until Discord has answered, nobody knows what became of them.
        channel.ours = None
        old = next((one for one in ours.values() if one.face == _Face(face.name, None)), None)
        if old is None and len(ours) + channel.others >= MOST_IN_A_CHANNEL:
            if not ours:
                msg = f"there are {MOST_IN_A_CHANNEL} webhooks of others"
                raise PermissionError(msg)
            old = next(iter(ours.values()))
        webhook = await self._put_on(place, old, face, picture)
        ours[webhook.id] = webhook
        ours.move_to_end(webhook.id)
        channel.ours = ours
        return webhook

    async def _put_on(
        self, place: _Place, old: _Webhook | None, face: _Face, picture: bytes
    ) -> _Webhook:
        body = {"name": face.name, "avatar": _data_uri(picture)}
        if old is not None:
            route = Route("PATCH", "/webhooks/{webhook_id}", webhook_id=old.id)
            await self._client.http.request(route, json=body)
            return old._replace(face=face)
        route = Route("POST", "/channels/{channel_id}/webhooks", channel_id=place.channel.id)
        data = await self._client.http.request(route, json=body)
        return _webhook(data)._replace(face=face)

    def _made(self, data: Mapping[str, Any]) -> bool:
        """Whether a webhook is ours, and may post."""
        maker = data.get("application_id") or (data.get("user") or {}).get("id")
        user = self._client.user
        is_by_us = maker and int(maker) in {self._client.application_id, user and user.id}
        return bool(is_by_us and data.get("type") == INCOMING and data.get("token"))

    def _refuse(self, channel_id: int, channel: _Channel, error: Exception) -> None:
        channel.refused_until = self._clock() + REFUSED_SECONDS
        channel.ours = None
        minutes = REFUSED_SECONDS / 60
        why = str(error) if isinstance(error, PermissionError) else told(error)
        msg = "In channel %d everybody speaks under the bot's own name for %.0f min: %s"
        log.warning(msg, channel_id, minutes, why)


def _webhook(data: Mapping[str, Any]) -> _Webhook:
    picture = None if data.get("avatar") else hash(b"")
    return _Webhook(int(data["id"]), data["token"], _Face(data.get("name") or "", picture))


def _media_type(picture: bytes) -> str:
    found = (kind for beginning, kind in _MEDIA_TYPES.items() if picture.startswith(beginning))
    return next(found, "")


def _data_uri(picture: bytes) -> str | None:
    if not picture:
        return None
    return f"data:{_media_type(picture)};base64,{base64.b64encode(picture).decode()}"
