"""A fake Discord of which time stands still, with a channel and a client that asks it plainly."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from tests.fakes.clock import SettableClock
from tests.fakes.discord.plain_client import Api
from tests.fakes.discord.server import FakeDiscord
from tests.fakes.discord.things import Channel


@pytest.fixture
def clock() -> SettableClock:
    """A clock that stands still."""
    return SettableClock()


@pytest.fixture
async def fake(clock: SettableClock) -> AsyncIterator[FakeDiscord]:
    """A fake Discord of which time is the test's."""
    async with FakeDiscord(clock=clock, sleep=clock.sleep) as fake:
        yield fake


@pytest.fixture
def channel(fake: FakeDiscord) -> Channel:
    """A channel in a guild."""
    return fake.add_guild("home").add_text_channel("talk")


@pytest.fixture
async def api(fake: FakeDiscord) -> AsyncIterator[Api]:
    """A plain client of the fake."""
    async with aiohttp.ClientSession() as session:
        yield Api(fake, session)
