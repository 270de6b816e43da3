"""Requests fail as a script tells, and only so."""

import aiohttp
import pytest
from tests.fakes.clock import SettableClock
from tests.fakes.discord.faults import (
    MISSING_PERMISSIONS,
    UNKNOWN_CHANNEL,
    UNKNOWN_MESSAGE,
    Delay,
    DropReply,
    Fail,
    Fault,
    Reset,
    TooMany,
)
from tests.fakes.discord.plain_client import Api
from tests.fakes.discord.server import FakeDiscord
from tests.fakes.discord.things import Channel


@pytest.mark.parametrize(
    ("fault", "status", "is_json"),
    [
        (Fail(500), 500, True),
        (Fail(502), 502, False),
        (Fail(503), 503, False),
        (Fail(504), 504, False),
        (Fail(524), 524, False),
        (MISSING_PERMISSIONS, 403, True),
        (UNKNOWN_CHANNEL, 404, True),
        (UNKNOWN_MESSAGE, 404, True),
        (TooMany(90.0), 429, True),
        (TooMany(90.0, "global"), 429, True),
        (TooMany(90.0, code=30046), 429, True),
    ],
)
async def test_a_request_fails_as_told(
    api: Api, fake: FakeDiscord, channel: Channel, fault: Fault, status: int, *, is_json: bool
) -> None:
    """The n-th request meets its fault without being performed, and all is well afterwards."""
    fake.fault("create_message", [None, fault])
    assert (await api.send(channel, "first"))[0] == 200
    answered, body = await api.send(channel, "second")
    assert (answered, isinstance(body, dict)) == (status, is_json)
    assert (await api.send(channel, "third"))[0] == 200
    assert fake.answers(channel) == ["first", "third"]
    assert [request.status for request in fake.requests] == [200, status, 200]


async def test_a_connection_breaks_before_or_after(
    api: Api, fake: FakeDiscord, channel: Channel
) -> None:
    """A reset leaves nothing done; a dropped reply belongs to what was done."""
    fake.fault("create_message", [Reset(), DropReply()])
    for text in ("lost", "done"):
        with pytest.raises(aiohttp.ClientError):
            await api.send(channel, text)
    await fake.until(lambda: all(one.finished_at is not None for one in fake.requests))
    assert fake.answers(channel) == ["done"]
    assert [request.status for request in fake.requests] == [None, None]


async def test_a_script_may_look_at_the_request(
    api: Api, fake: FakeDiscord, channel: Channel
) -> None:
    """A callable decides by what is asked; one for all routes serves those without their own; and
    scripts can be taken away."""
    assert channel.guild is not None
    other = channel.guild.add_text_channel("other")
    fake.fault("*", lambda one: UNKNOWN_CHANNEL if one.channel_id == channel.id else None)
    assert [(await api.send(one))[0] for one in (channel, other)] == [404, 200]
    fake.fault("create_message", lambda one: Fail(500) if one.turn % 2 else None)
    assert [(await api.send(channel))[0] for _ in range(2)] == [500, 200]
    fake.faults.clear()
    assert (await api.send(channel))[0] == 200


async def test_answers_take_their_time(
    api: Api, fake: FakeDiscord, channel: Channel, clock: SettableClock
) -> None:
    """Latency and a delay let the fake's time pass before a request is performed."""
    fake.latency_seconds = 0.2
    fake.fault("create_message", [Delay(3.0)])
    await api.send(channel)
    [request] = fake.requests
    assert (request.time, request.finished_at) == (0.0, 3.2)
    assert [one.time for one in fake.history(fake.messages_of_bot()[0])] == [3.2]
