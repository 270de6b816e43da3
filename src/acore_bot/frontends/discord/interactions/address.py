"""Where an interaction is answered: by its token, which Discord accepts for a quarter of an hour.

Nonces are unknown here. An edit may be repeated whatever became of it, so the first answer is one:
of the response that was promised by deferring. A new message may not, as it might stand there twice
then: if it was neither refused nor never left, it is looked for in the channel before it is sent
again, and given up where the bot cannot look. So it is with what one person alone sees: Discord
lists such messages for nobody, and shows one only to who knows its id, which was in the answer that
did not come.
"""

import json
from collections.abc import Sequence
from typing import Any, cast

import aiohttp
import discord
from discord.http import MultipartParameters, Route

from acore_bot.frontends.discord.addresses import (
    Payload,
    body_of,
    request_with,
    unknown_fate,
)

TOKEN_SECONDS = 14 * 60.0  # Discord's limit is fifteen minutes
RECENT_MESSAGES = 50
_EPHEMERAL = 1 << 6


class InteractionAddress:
    """Follow-ups to an interaction, by its token. `key` is the interaction's id; `channel_id` is
    where the bot can look for them, and None if it cannot; `under_id` is the message under which a
    button was used, which can be changed as if it were the response."""

    __slots__ = (
        "_application_id",
        "_channel_id",
        "_posted",
        "_token",
        "_under_id",
        "_unsure",
        "key",
    )
    takes_replies = False

    def __init__(
        self,
        application_id: int,
        token: str,
        key: int,
        *,
        channel_id: int | None = None,
        under_id: int | None = None,
    ) -> None:
        self._application_id = application_id
        self._token = token
        self._channel_id = channel_id
        self._under_id = under_id
        self._posted: set[int] = set()
        self._unsure: set[str] = set()
        self.key = key

    async def post(self, client: discord.Client, params: MultipartParameters) -> Payload:
        """Post a follow-up and return it as Discord does, or find it where an earlier try left it.
        Raises `TargetGone` if it may be there already and nobody can look."""
        params, nonce = _without_nonce(params)
        data = await self._find(client, params) if nonce in self._unsure else None
        if data is None:
            try:
                data = await self._ask(client, "POST", "", params)
            except BaseException as error:
                if not _never_arrived(error):
                    self._unsure.add(nonce)
                raise
        self._posted.add(int(data["id"]))
        return data

    async def patch(
        self, client: discord.Client, message_id: int, params: MultipartParameters
    ) -> None:
        """Change a message that answers the interaction."""
        await self._ask(client, "PATCH", self._path(message_id), params)

    async def delete(self, client: discord.Client, message_id: int) -> None:
        """Take a message away that answers the interaction."""
        await client.http.request(self._route("DELETE", self._path(message_id)))

    async def _find(self, client: discord.Client, params: MultipartParameters) -> Payload | None:
        """Return the follow-up that says this and that we do not know to have posted, or None."""
        body = body_of(params)
        if self._channel_id is None or body.get("flags", 0) & _EPHEMERAL:
            raise unknown_fate()
        try:
            there = await client.http.logs_from(self._channel_id, RECENT_MESSAGES)
        except (discord.Forbidden, discord.NotFound) as error:
            raise unknown_fate() from error
        text = str(body.get("content", "")).strip()
        for data in cast("Sequence[Payload]", there):
            asked = data.get("interaction_metadata") or {}
            is_of_this = int(asked.get("id", 0)) == self.key
            if is_of_this and data["content"] == text and int(data["id"]) not in self._posted:
                return data
        return None

    async def _ask(
        self, client: discord.Client, method: str, path: str, params: MultipartParameters
    ) -> Payload:
        return await request_with(client, self._route(method, path), params)

    def _path(self, message_id: int) -> str:
        return f"/messages/{'@original' if message_id == self._under_id else message_id}"

    def _route(self, method: str, path: str) -> Route:
        # By these names discord.py knows that each token has limits of its own.
        return Route(
            method,
            "/webhooks/{webhook_id}/{webhook_token}" + path,
            webhook_id=self._application_id,
            webhook_token=self._token,
        )


class OriginalAddress(InteractionAddress):
    """The response that was promised: to post there is to fill it in."""

    __slots__ = ()

    async def post(self, client: discord.Client, params: MultipartParameters) -> Payload:
        """Fill in the response and return it as Discord does."""
        params, _ = _without_nonce(params)
        return await self._ask(client, "PATCH", "/messages/@original", params)

    async def delete(self, client: discord.Client, message_id: int) -> None:  # noqa: ARG002
        """Take the response away, whatever its id."""
        await client.http.request(self._route("DELETE", "/messages/@original"))


def _never_arrived(error: BaseException) -> bool:
    """Whether Discord certainly made no message of a request."""
    if isinstance(error, discord.HTTPException):
        return error.status < 500
    return isinstance(error, discord.RateLimited | aiohttp.ClientConnectorError)


def _without_nonce(params: MultipartParameters) -> tuple[MultipartParameters, str]:
    """Take a message's nonce out of what is sent."""
    if params.payload is not None:
        payload, nonce = _split(params.payload)
        return params._replace(payload=payload), nonce
    head, *files = params.multipart or [{"value": "{}"}]
    payload, nonce = _split(json.loads(head["value"]))
    head = {**head, "value": json.dumps(payload)}
    return params._replace(multipart=[head, *files]), nonce


def _split(payload: dict[str, Any]) -> tuple[dict[str, Any], str]:
    rest = {key: value for key, value in payload.items() if key not in {"nonce", "enforce_nonce"}}
    return rest, str(payload.get("nonce", ""))
