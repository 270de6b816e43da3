"""An outbox as the app puts it together, in front of a fake Discord without limits."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import discord
from tests.fakes.clock import SettableClock
from tests.fakes.discord.limits import Limit
from tests.fakes.discord.server import FakeDiscord

from acore_bot.frontends.discord.addresses import ChannelAddress
from acore_bot.frontends.discord.outbox import Outbox
from acore_bot.frontends.discord.pace import EditPace
from acore_bot.frontends.discord.rest import InvalidRequests, RestClient, trace
from acore_bot.telemetry.events import Emit, Event, ignore

NO_LIMIT = Limit(1_000_000, 1.0)


class Client(discord.Client):
    """A client whose requests go out as ours do."""

    def __init__(
        self, pace: EditPace, invalid: InvalidRequests, api_url: str, emit: Emit = ignore
    ) -> None:
        super().__init__(intents=discord.Intents.none(), allowed_mentions=discord.AllowedMentions())
        self.http = self._connection.http = RestClient(
            self.loop, http_trace=trace(pace, invalid, emit), max_ratelimit_timeout=30.0
        )
        self.http.api_url = api_url


class Desk:
    """An outbox, the Discord that it sends to, and the time by which it waits."""

    def __init__(self, fake: FakeDiscord, most_invalid: int, requests_per_second: int) -> None:
        self.fake = fake
        self.clock = SettableClock()
        self.pauses: list[float] = []
        self.events: list[Event] = []
        self.is_timeless = False
        self.pace = EditPace(requests_per_second=requests_per_second)
        self.invalid = InvalidRequests(most=most_invalid, clock=self.clock)
        self.client = Client(self.pace, self.invalid, fake.api_url, self.events.append)
        self.channel = fake.add_guild("home").add_text_channel("talk")
        self.address = ChannelAddress(self.channel.id)
        self.outbox = Outbox(
            self.client,
            self.pace,
            self.invalid,
            clock=self.clock,
            sleep=self.sleep,
            random=random.Random(1).random,
        )

    async def sleep(self, seconds: float) -> None:
        """Remember for how long, and let it pass."""
        self.pauses.append(seconds)
        await self.clock.sleep(0 if self.is_timeless else seconds)

    async def send(self, text: str, nonce: str = "1-0", *, reply_to: int | None = None) -> int:
        """Send something to the channel."""
        return await self.outbox.send(self.address, text, nonce=nonce, reply_to=reply_to)

    async def edit(self, message_id: int, text: str) -> None:
        """Edit something in the channel."""
        await self.pace.ready(self.channel.id, message_id, final=True)
        await self.outbox.edit(self.address, message_id, text)


@asynccontextmanager
async def opened(
    *, most_invalid: int = 2000, requests_per_second: int = 1_000_000
) -> AsyncIterator[Desk]:
    """Open a desk, whose Discord has no limits, and log in."""
    async with FakeDiscord() as fake:
        fake.limits.everything = NO_LIMIT
        fake.limits.by_route.clear()
        desk = Desk(fake, most_invalid, requests_per_second)
        async with desk.client:
            await desk.client.login(fake.token)
            yield desk
