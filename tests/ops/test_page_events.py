"""How the page's listeners are told: the whole picture once, then changes, and nobody waits."""

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientError, ClientResponse, ClientSession
from msgspec.structs import replace
from tests.fakes.operator import AT, OperatorFigures, a_day_of_minutes, busy

from acore_bot.ops.page import OperatorPage, PageOptions
from acore_bot.ops.page.listeners import MAX_LISTENERS, MAX_UNREAD
from acore_bot.ops.page.picture import Picture
from acore_bot.telemetry.figures import Minute, ProviderState


class Beats:
    """Stands for the two seconds between refreshes: they pass when a test says so."""

    def __init__(self) -> None:
        self._due = asyncio.Semaphore(0)
        self._seen = asyncio.Semaphore(0)

    async def sleep(self, _: float) -> None:
        """Wait for the next beat, and say that the last one is done."""
        self._seen.release()
        await self._due.acquire()

    async def beat(self) -> None:
        """Let the page look once, and return when it has."""
        await self._seen.acquire()
        self._due.release()
        await self._seen.acquire()
        self._seen.release()


@asynccontextmanager
async def opened(figures: OperatorFigures) -> AsyncIterator[tuple[ClientSession, Beats]]:
    """Serve the page, with a client and its beats."""
    beats = Beats()
    page = OperatorPage(figures.sources(), PageOptions(port=0), sleep=beats.sleep)
    async with page, ClientSession(page.url) as client:
        yield client, beats


async def event(stream: ClientResponse) -> tuple[str, dict[str, Any]]:
    """Read one event."""
    lines: list[str] = []
    while (line := (await stream.content.readuntil(b"\n")).decode().rstrip()) or not lines:
        lines.append(line)
    fields = dict(line.split(": ", 1) for line in lines)
    return fields["event"], json.loads(fields["data"])


def data(message: bytes) -> dict[str, Any]:
    """Read the data of an event."""
    found: dict[str, Any] = json.loads(message.partition(b"data: ")[2])
    return found


async def test_a_listener_is_told_everything_at_once_and_then_what_changed() -> None:
    """The first event is whole; the next one holds what is new and nothing else."""
    figures = busy()
    async with opened(figures) as (client, beats), client.get("/events") as stream:
        name, whole = await event(stream)
        assert name == "picture"
        assert whole.keys() == {
            *("version", "now", "hour", "day", "start", "minutes", "slow_turns", "batch"),
        }
        assert len(whole["minutes"]) == 1440
        figures.advance(2)
        await beats.beat()
        name, change = await event(stream)
        assert name == "change"
        assert change.keys() == {"now"}
        assert change["now"]["at"] == AT + 2


async def test_who_comes_later_is_told_the_newest() -> None:
    """A second listener gets the same picture as the first had after its changes."""
    figures = busy()
    async with opened(figures) as (client, beats), client.get("/events") as first:
        await event(first)
        figures.set_now(open_answers=99)
        await beats.beat()
        async with client.get("/events") as second:
            _, whole = await event(second)
            assert whole["now"]["open_answers"] == 99


async def test_without_listeners_no_figures_are_gathered() -> None:
    """A page that nobody looks at costs one look at the shards every two seconds."""
    figures = busy()
    async with opened(figures) as (_, beats):
        for _ in range(5):
            await beats.beat()
        assert (figures.asked, figures.gathered) == (5, 0)


async def test_everybody_is_told_from_one_refresh() -> None:
    """The figures are gathered and encoded once, however many listen."""
    figures = busy()
    async with opened(figures) as (client, beats), AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(client.get("/events")) for _ in range(5)]
        for stream in streams:
            await event(stream)
        gathered = figures.gathered
        await beats.beat()
        changes = [await event(stream) for stream in streams]
        assert figures.gathered == gathered + 1
        assert changes == [changes[0]] * 5


async def test_the_number_of_listeners_is_bounded() -> None:
    """One too many is told so; a place that becomes free can be taken."""
    async with opened(OperatorFigures()) as (client, beats), AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(client.get("/events")) for _ in range(MAX_LISTENERS)
        ]
        async with client.get("/events") as refused:
            assert refused.status == 503
            assert "Close one" in await refused.text()
        streams[0].close()
        for _ in range(10):  # a lost connection shows when it is written to
            await beats.beat()
            async with client.get("/events") as answer:
                if answer.status == 200:
                    return
        pytest.fail("The place of a listener that left was not given on.")


async def test_a_listener_that_does_not_read_is_let_go() -> None:
    """What it leaves unread is never more than a few events, and the others are not held up."""
    figures = busy()
    async with opened(figures) as (client, beats), client.get("/events") as reader:
        await event(reader)
        async with client.get("/events") as sleeper:
            for number in range(400):
                figures.set_now(providers=(ProviderState(name=f"{number} {'x' * 100_000}"),))
                await beats.beat()
                name, _ = await event(reader)
                assert name == "change"
            async with asyncio.timeout(10):
                with pytest.raises((ClientError, ConnectionError)):
                    await sleeper.read()


async def test_a_fault_in_the_figures_is_logged_once_and_heals(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The page goes blind, says so once in the log, and sees again when it can."""
    figures = OperatorFigures()
    async with opened(figures) as (client, beats), client.get("/events") as stream:
        await event(stream)
        figures.fault = ValueError("no figures")
        with caplog.at_level(logging.ERROR):
            for _ in range(3):
                await beats.beat()
        assert caplog.text.count("The operator's page cannot be refreshed.") == 1
        figures.fault = None
        figures.advance(2)
        await beats.beat()
        assert (await event(stream))[1]["now"]["at"] == AT + 2


async def test_the_page_stops_while_it_is_listened_to() -> None:
    """Leaving ends all streams, read or not; within the time that the bot allows it."""
    beats = Beats()
    sources = busy().sources()
    async with AsyncExitStack() as serving, AsyncExitStack() as clients:
        page = OperatorPage(sources, PageOptions(port=0), sleep=beats.sleep)
        await serving.enter_async_context(page)
        client = await clients.enter_async_context(ClientSession(page.url))
        for _ in range(3):
            await clients.enter_async_context(client.get("/events"))
        async with asyncio.timeout(2):
            await serving.aclose()


def test_a_minute_is_sent_again_only_if_it_changed() -> None:
    """New and changed minutes are told, with short numbers, in the order that the page reads."""
    figures = OperatorFigures()
    figures.minutes = a_day_of_minutes(random.Random(1), count=60)
    picture = Picture(figures.sources(), "v")
    assert len(data(picture.refresh())["minutes"]) == 60
    assert data(picture.refresh()) == {}
    newest = Minute(
        at=int(AT) + 60,
        turns=2,
        failed=1,
        p50=1.23456789,
        p95=2.0,
        first_delta_p50=0.5,
        stages={"admitted": 0.25, "commit": 0.125},
        tokens=30,
        tokens_per_second=45.5,
        cost=0.00012345678,
        shared=4,
        cached=5,
    )
    changed = replace(figures.minutes[5], turns=77)
    figures.minutes = (*figures.minutes[1:5], changed, *figures.minutes[6:], newest)
    stages = [0.25, None, None, None, None, None, 0.125]
    first, last = data(picture.refresh())["minutes"]
    assert first[:2] == [changed.at, 77]
    assert last == [newest.at, 2, 1, 1.2346, 2.0, 0.5, 30, 45.5, 0.000123, 4, 5, stages]
    assert len(data(picture.whole())["minutes"]) == 60


def test_queues_are_short() -> None:
    """A listener can leave no more unread than a few seconds' worth."""
    assert MAX_UNREAD <= 8
