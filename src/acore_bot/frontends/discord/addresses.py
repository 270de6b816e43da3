"""Where a message goes: to a channel, or back to whoever used a command or a button.

An address knows the routes of Discord's REST and nothing of limits, retries or texts: those are the
outbox's. All of them go through the client's own HTTP, so through its limits and its trace.
"""

import json
from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias, cast

import discord
from discord.http import MultipartParameters, Route

from acore_bot.errors import TargetGone

Payload: TypeAlias = Mapping[str, Any]
"""What is asked or told, as Discord's API has it."""


class Address(Protocol):
    """A place that takes messages. `key` tells apart what is limited apart: a channel's id, or that
    of an interaction or a webhook. `takes_replies`: a message there may reply to another one."""

    @property
    def key(self) -> int:
        """What is limited apart has its own."""
        ...

    @property
    def takes_replies(self) -> bool:
        """Whether a message there may reply to another one."""
        ...

    async def post(self, client: discord.Client, params: MultipartParameters) -> Payload:
        """Post a message and return it as Discord does."""
        ...

    async def patch(
        self, client: discord.Client, message_id: int, params: MultipartParameters
    ) -> None:
        """Change a message."""
        ...

    async def delete(self, client: discord.Client, message_id: int) -> None:
        """Take a message away."""
        ...


class ChannelAddress:
    """A channel, a thread or a private chat, by its id."""

    __slots__ = ("key",)
    takes_replies = True

    def __init__(self, channel_id: int) -> None:
        self.key = channel_id

    async def post(self, client: discord.Client, params: MultipartParameters) -> Payload:
        """Post a message and return it as Discord does."""
        return await client.http.send_message(self.key, params=params)

    async def patch(
        self, client: discord.Client, message_id: int, params: MultipartParameters
    ) -> None:
        """Change a message."""
        await client.http.edit_message(self.key, message_id, params=params)

    async def delete(self, client: discord.Client, message_id: int) -> None:
        """Take a message away."""
        await client.http.delete_message(self.key, message_id)


async def request_with(
    client: discord.Client, route: Route, params: MultipartParameters, query: Payload | None = None
) -> Payload:
    """Ask by a route that discord.py has no method for."""
    body: dict[str, Any] = {"json": params.payload}
    if params.files:
        body = {"files": params.files, "form": params.multipart}
    return cast("Payload", await client.http.request(route, params=query, **body))


def body_of(params: MultipartParameters) -> Payload:
    """Return what a message says, without its files."""
    if params.payload is not None:
        return params.payload
    head, *_ = params.multipart or [{"value": "{}"}]
    return cast("Payload", json.loads(head["value"]))


def unknown_fate() -> TargetGone:
    """Say why a message is given up that may stand there already."""
    return TargetGone("What became of a message is not known, so it is not sent a second time.")
