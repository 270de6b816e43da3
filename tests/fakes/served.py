"""The front end for Discord, as it serves a core that only remembers, on a fake Discord."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

from tests.fakes.desk import NO_LIMIT
from tests.fakes.discord.interactions import COMPONENT, Interaction
from tests.fakes.discord.server import FakeDiscord
from tests.fakes.discord.things import Channel, Message, User
from tests.fakes.interacting import Advisor

from acore_bot.contracts import Core, Handler, ReplyTarget
from acore_bot.frontends.discord import Discord
from acore_bot.messages import Control, IncomingCommand, IncomingMessage, Place, Press

Deed = Callable[[Press, ReplyTarget], Awaitable[None]]


class Witness(Advisor):
    """A core that remembers what it was told. `deed` is what a button does; `orphans` are the
    messages that should go with a deleted one, and `offers` what is offered after an edit."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[IncomingMessage] = []
        self.pressed: list[Press] = []
        self.obeyed: list[Press] = []
        self.edits: list[tuple[int, str]] = []
        self.deletions: list[tuple[int, ...]] = []
        self.places: list[Place] = []
        self.left_failure: Exception | None = None
        self.deed: Deed | None = None
        self.orphans: dict[int, tuple[int, ...]] = {}
        self.offers: dict[int, tuple[int, tuple[Control, ...]]] = {}
        self._changed = asyncio.Event()

    async def __call__(
        self, incoming: IncomingMessage | IncomingCommand, target: ReplyTarget
    ) -> None:
        """Remember a message, and answer one that mentions the bot."""
        assert isinstance(incoming, IncomingMessage)
        if incoming.mentions_bot or incoming.is_private:
            await target.post("Yes.", final=True, controls=("regenerate", "details"))
        self._note(self.heard, incoming)

    async def press(self, press: Press, target: ReplyTarget) -> None:
        """Remember a button, and do what it does."""
        self._note(self.pressed, press)
        if self.deed is not None:
            await self.deed(press, target)
        self._note(self.obeyed, press)

    async def edited(self, message_id: int, text: str) -> tuple[int, tuple[Control, ...]] | None:
        """Remember an edit."""
        self._note(self.edits, (message_id, text))
        if self.failure:
            raise self.failure
        return self.offers.get(message_id)

    async def deleted(self, message_ids: Sequence[int]) -> tuple[int, ...]:
        """Remember what is gone."""
        self._note(self.deletions, tuple(message_ids))
        if self.failure:
            raise self.failure
        return tuple(one for gone in message_ids for one in self.orphans.get(gone, ()))

    async def left(self, place: Place) -> None:
        """Remember a place that is gone."""
        self._note(self.places, place)
        if self.left_failure:
            raise self.left_failure

    async def until(self, predicate: Callable[[], object]) -> None:
        """Wait until something was told that makes this true."""
        async with asyncio.timeout(10):
            while not predicate():
                self._changed.clear()
                await self._changed.wait()

    def _note(self, kept: list[Any], what: object) -> None:
        kept.append(what)
        self._changed.set()


class Serving(Core, Handler, Protocol):
    """Who answers, and hears of everything else."""


@asynccontextmanager
async def served(
    fake: FakeDiscord,
    core: "Serving",
    **options: Any,  # noqa: ANN401
) -> AsyncIterator[Discord]:
    """Serve the core on a Discord without limits until the block is left."""
    fake.limits.everything = NO_LIMIT
    fake.limits.by_route.clear()
    options = {"token": fake.token, "message_content": True, "grace_seconds": 0.05, **options}
    frontend = Discord(api_url=fake.api_url, gateway_url=fake.gateway_url, core=core, **options)
    frontend.client._connection.guild_ready_timeout = 0.02
    running = asyncio.create_task(frontend.run(core))
    try:
        await asyncio.sleep(0)  # it has a loop from then on
        await frontend.client.wait_for("shard_ready", timeout=10)
        yield frontend
    finally:
        running.cancel()
        await asyncio.wait([running])
    if not running.cancelled():
        running.result()


async def click(
    fake: FakeDiscord,
    user: User,
    message: Message,
    custom_id: str,
    *,
    permissions: int = 0,
    channel: Channel | None = None,
) -> Interaction:
    """Let somebody use a button under a message."""
    return await fake.interact(
        user,
        channel or message.channel,
        {"custom_id": custom_id, "component_type": 2},
        kind=COMPONENT,
        permissions=permissions,
        message=message,
    )
