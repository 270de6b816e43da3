"""Where a message goes: to a channel, or back to whoever used a command or a button.

An address knows the routes of Discord's REST and nothing of limits, retries or texts: those are the
outbox's. All of them go through the client's own HTTP, so through its limits and its trace.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import discord
from discord.http import MultipartParameters

Payload = Mapping[str, Any]


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
