"""A client of the fake's REST without discord.py: what it asks and gets is all in the open."""

from typing import Any

import aiohttp
from tests.fakes.discord.server import FakeDiscord
from tests.fakes.discord.things import Channel


class Api:
    """A client with the bot's token. `headers` are the latest answer's."""

    def __init__(self, fake: FakeDiscord, session: aiohttp.ClientSession) -> None:
        self.fake = fake
        self.session = session
        self.headers: dict[str, str] = {}
        self.token = fake.token

    async def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Return the status and the JSON of an answer, and keep its headers."""
        async with self.session.request(
            method,
            f"{self.fake.api_url}{path}",
            json=body,
            headers={"Authorization": f"Bot {self.token}"},
        ) as response:
            self.headers = dict(response.headers)
            is_json = response.content_type == "application/json"
            return response.status, await (response.json() if is_json else response.text())

    async def send(self, channel: Channel, text: str = "x", **body: object) -> tuple[int, Any]:
        """Send a message."""
        path = f"/channels/{channel.id}/messages"
        return await self.ask("POST", path, {"content": text, **body})

    async def edit(self, channel: Channel, message_id: object, text: str) -> tuple[int, Any]:
        """Edit a message."""
        path = f"/channels/{channel.id}/messages/{message_id}"
        return await self.ask("PATCH", path, {"content": text})

    async def sent(self, channel: Channel, text: str = "x", **body: object) -> int:
        """Send a message that is accepted; return its id."""
        status, message = await self.send(channel, text, **body)
        assert status == 200
        return int(message["id"])
