"""How Discord is told which commands there are."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.fakes.desk import Desk, opened
from tests.fakes.discord.faults import Fail, Reset

from acore_bot.errors import HistoryError
from acore_bot.frontends.discord.addresses import Payload
from acore_bot.frontends.discord.interactions.sync import CommandSync
from acore_bot.frontends.discord.interactions.tree import payloads


class Digests:
    """What is kept across restarts."""

    def __init__(self) -> None:
        self.kept = ""
        self.failure: Exception | None = None

    async def load(self) -> str:
        """Return what was kept."""
        await asyncio.sleep(0)
        if self.failure:
            raise self.failure
        return self.kept

    async def save(self, digest: str) -> None:
        """Keep something else."""
        self.kept = digest


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """A desk, whose client is logged in."""
    async with opened() as desk:
        yield desk


def sync_of(desk: Desk, digests: Digests, commands: list[Payload] | None = None) -> CommandSync:
    """Make what syncs, as each start of the bot does."""
    return CommandSync(
        desk.client,
        payloads() if commands is None else commands,
        load_digest=digests.load,
        save_digest=digests.save,
    )


def told(desk: Desk) -> list[list[Payload]]:
    """Return the commands that Discord was told of, each time."""
    return [one.body["list"] for one in desk.fake.requests_to("put_commands")]


async def test_the_first_start_tells_all(desk: Desk) -> None:
    """Discord gets the commands as they are described."""
    await sync_of(desk, Digests()).run()
    assert told(desk) == [payloads()]


async def test_another_start_tells_nothing(desk: Desk) -> None:
    """What Discord knows is not told again."""
    digests = Digests()
    await sync_of(desk, digests).run()
    await sync_of(desk, digests).run()
    assert len(told(desk)) == 1


async def test_a_change_is_told(desk: Desk) -> None:
    """When any word of the commands changed, they are told anew."""
    digests = Digests()
    await sync_of(desk, digests).run()
    first, *others = payloads()
    changed = [{**first, "description": "Something else"}, *others]
    await sync_of(desk, digests, changed).run()
    assert told(desk) == [payloads(), changed]


async def test_another_bot_has_to_be_told(desk: Desk) -> None:
    """The digest is of one application: under another token all are told again."""
    digests = Digests()
    await sync_of(desk, digests).run()
    desk.client._connection.application_id = 5
    await sync_of(desk, digests).run()
    assert [one.ids[0] for one in desk.fake.requests_to("put_commands")] == [
        desk.fake.bot_user.id,
        5,
    ]


async def test_two_sessions_sync_once(desk: Desk) -> None:
    """However often the bot becomes ready, also at once, it syncs a single time."""
    sync = sync_of(desk, Digests())
    await asyncio.gather(sync.run(), sync.run())
    await sync.run()
    assert len(told(desk)) == 1


@pytest.mark.parametrize("fault", [Fail(400, 50035), Fail(403, 50001), Reset()])
async def test_a_failure_is_tried_again_at_the_next_start(
    desk: Desk, fault: Fail | Reset, caplog: pytest.LogCaptureFixture
) -> None:
    """What Discord did not take is told in the log and not remembered as done."""
    digests = Digests()
    desk.fake.fault("put_commands", lambda _: fault)
    sync = sync_of(desk, digests)
    await sync.run()
    assert "could not be registered" in caplog.text
    assert not digests.kept
    desk.fake.faults.clear()
    desk.fake.requests.clear()
    await sync.run()
    assert told(desk) == []
    await sync_of(desk, digests).run()
    assert told(desk) == [payloads()]
    assert digests.kept


async def test_a_broken_store_stops_nobody(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """When it is not known what Discord knows, that is told in the log, and the bot goes on."""
    digests = Digests()
    digests.failure = HistoryError("The file is not readable.")
    await sync_of(desk, digests).run()
    assert told(desk) == []
    assert "The file is not readable." in caplog.text
