"""Where the answer to an interaction becomes visible.

Discord lets us answer by the interaction itself for a quarter of an hour. What is shown or changed
after that goes to the channel, as an ordinary message; if the bot may not write there, or if others
were not to see it, there is no place any more.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, TypeVar

import discord

from acore_bot.errors import TargetGone
from acore_bot.frontends.discord.addresses import Address, ChannelAddress
from acore_bot.frontends.discord.drafts import MAX_LENGTH, Component
from acore_bot.frontends.discord.interactions.address import (
    TOKEN_SECONDS,
    InteractionAddress,
    OriginalAddress,
)
from acore_bot.frontends.discord.interactions.heard import bot_is_there, bot_may_write
from acore_bot.frontends.discord.reply import Means
from acore_bot.messages import Attachment, Control

log = logging.getLogger(__name__)

T = TypeVar("T")

LATER: Final = "This takes longer than usual; my answer will follow below."
TOO_LATE: Final = "This takes longer than I may answer here. Please ask again."


class Response:
    """What Discord was promised, and what is sent in fulfilment of it.

    `is_private`: only the person sees it. The time in which the interaction itself may be used
    begins now; `clock` is monotonic seconds. One that stands `beside` another is shown in a
    channel, by its id, and leaves the promise to the other; both take `numbers` for their nonces
    from one row.
    """

    def __init__(
        self,
        means: Means,
        interaction: discord.Interaction,
        *,
        is_private: bool,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        beside: "Response | None" = None,
        channel_id: int | None = None,
    ) -> None:
        key = (interaction.application_id, interaction.token, interaction.id)
        self.means = means
        self._interaction = interaction
        self._is_private = is_private
        self._original = OriginalAddress(*key)
        # What only the person sees is never among a channel's messages.
        is_listed = bot_is_there(interaction) and not is_private
        self._follow_ups = InteractionAddress(
            *key, channel_id=interaction.channel_id if is_listed else None
        )
        self._clock = clock
        self._sleep = sleep
        self._beside = beside
        self._channel_id = channel_id or interaction.channel_id or 0
        self._ends_at = clock() + (0.0 if beside else TOKEN_SECONDS)
        self._is_open = True
        self._filling = asyncio.Lock()
        self.numbers: Iterator[int] = beside.numbers if beside else itertools.count()
        self._shown: list[int] = []
        self._whispers: list[str] = []

    @property
    def is_open(self) -> bool:
        """Whether nothing was shown yet."""
        return self._is_open

    async def address_of(self, message_id: int) -> Address:
        """Say where a message can be changed. Raises `TargetGone`."""
        if message_id in self._shown:
            return self._follow_ups if self._has_time() else self._channel()
        return await self.means.address_of(self._channel_id, message_id)

    async def send(
        self, text: str, *, rows: Sequence[Component] = (), file: tuple[str, str] | None = None
    ) -> int:
        """Show a new message and return its id. Raises `TargetGone`."""
        first = self._shown[0] if self._shown else None
        message_id = await self._send_next(text, reply_to=first, file=file, components=rows)
        self._shown.append(message_id)
        await self._whisper_all()
        return message_id

    async def whisper(self, text: str) -> None:
        """Tell the person alone, if there is a way."""
        if self._beside is not None:
            return await self._beside.whisper(text)
        self._whispers.append(text)
        # What fills in a response that all were promised is seen by all.
        if self._is_private or not self._is_open:
            await self._whisper_all()
        return None

    async def finish(self) -> None:
        """Leave no promise open, and nothing unsaid."""
        if self._is_open and self._has_time():
            self._is_open = False
            await _if_possible(self.means.outbox.remove(self._original, 0))
        await self._whisper_all()

    def waiting(self) -> AbstractAsyncContextManager[None]:
        """Wait with the person, to whom Discord shows by itself that an answer is prepared."""
        if self._beside is not None:
            return self.means.typing.typing(self._channel_id)
        return self._excusing()

    def in_the_open(self) -> "Response":
        """Return one whose messages stand where all can see them."""
        return self._in_channel(self._channel_id) if self._is_private else self

    async def in_thread(self, name: str) -> "Response":
        """Return one whose messages stand in a new thread, if there can be one; what it is under
        says its name. Raises `TargetGone`."""
        is_possible = isinstance(self._interaction.channel, discord.TextChannel)
        if self._is_private or not is_possible or not bot_is_there(self._interaction):
            return self
        message_id = self._shown[0] if self._shown else await self.send(name)
        thread_id = await self.means.outbox.open_thread(self._channel_id, message_id, name)
        return self._in_channel(thread_id) if thread_id else self

    def _in_channel(self, channel_id: int) -> "Response":
        return Response(
            self.means,
            self._interaction,
            is_private=False,
            clock=self._clock,
            sleep=self._sleep,
            beside=self,
            channel_id=channel_id,
        )

    def _has_time(self) -> bool:
        return self._clock() < self._ends_at

    def _next_address(self) -> Address:
        if not self._has_time():
            return self._channel()
        if self._is_open:
            self._is_open = False
            return self._original
        return self._follow_ups

    def _channel(self) -> Address:
        if self._is_private or not bot_may_write(self._interaction):
            msg = "The time that Discord allows for an answer is over."
            raise TargetGone(msg)
        return ChannelAddress(self._channel_id)

    async def _send_next(
        self,
        text: str,
        *,
        reply_to: int | None = None,
        file: tuple[str, str] | None = None,
        components: Sequence[Component] = (),
    ) -> int:
        async def send() -> int:
            return await self._send(
                self._next_address(), text, reply_to=reply_to, file=file, components=components
            )

        # Discord takes whatever comes first for the promised response, also if it overtook that.
        async with self._filling:
            if self._is_open:
                return await send()
        return await send()

    async def _send(
        self,
        address: Address,
        text: str,
        *,
        reply_to: int | None = None,
        file: tuple[str, str] | None = None,
        components: Sequence[Component] = (),
        is_whisper: bool = False,
    ) -> int:
        return await self.means.outbox.send(
            address,
            text,
            nonce=f"{self._interaction.id}-{next(self.numbers)}",
            reply_to=reply_to,
            file=file,
            components=components,
            # The promised response is what it was promised to be.
            is_private=(is_whisper or self._is_private) and address is self._follow_ups,
        )

    async def _whisper_all(self) -> None:
        while self._whispers and self._has_time():
            text = self._whispers.pop(0)
            if self._is_private:
                await _if_possible(self._send_next(text))
            else:
                await _if_possible(self._send(self._follow_ups, text, is_whisper=True))

    @asynccontextmanager
    async def _excusing(self) -> AsyncIterator[None]:
        """Say so if the time is over before anything was shown: otherwise Discord would tell the
        person that the bot does not respond."""
        excuse = asyncio.create_task(self._excuse_in_time())
        try:
            yield
        finally:
            excuse.cancel()
            await asyncio.wait([excuse])

    async def _excuse_in_time(self) -> None:
        await self._sleep(self._ends_at - self._clock())
        if self._is_open:
            self._is_open = False
            goes_on = bot_may_write(self._interaction) and not self._is_private
            sending = self._send(self._original, LATER if goes_on else TOO_LATE)
            if message_id := await _if_possible(sending):
                self._shown.append(message_id)


async def _if_possible(doing: Awaitable[T]) -> T | None:
    try:
        return await doing
    except TargetGone as error:
        log.debug("an interaction could not be told something: %s", error)
        return None


class InteractionReply:
    """Keeps the promise of a reply target for an interaction.

    `places` are messages that the next ones take the place of.
    """

    __slots__ = ("_places", "_response")

    def __init__(self, response: Response, places: Sequence[int] = ()) -> None:
        self._response = response
        self._places = list(places)

    @property
    def max_length(self) -> int | None:
        """How long one message may be, in UTF-16 code units."""
        return MAX_LENGTH

    def typing(self) -> AbstractAsyncContextManager[None]:
        """Wait with the person, to whom Discord shows by itself that an answer is prepared."""
        return self._response.waiting()

    async def post(
        self, text: str, *, final: bool = False, controls: Sequence[Control] = ()
    ) -> int:
        """Show a new message and return its id. Raises `TargetGone`."""
        if not self._places:
            rows = self._response.means.rows(controls, final=final)
            return await self._response.send(text, rows=rows)
        message_id = self._places.pop(0)
        await self.ready(message_id, final=final)
        await self.edit(message_id, text, final=final, controls=controls)
        return message_id

    async def ready(self, message_id: int, *, final: bool = False) -> None:
        """Return when a message may be edited. Raises `TargetGone`."""
        address = await self._response.address_of(message_id)
        await self._response.means.pace.ready(address.key, message_id, final=final)

    async def edit(
        self,
        message_id: int,
        text: str,
        *,
        final: bool = False,
        controls: Sequence[Control] = (),
    ) -> None:
        """Show other text in a message. Raises `TargetGone`."""
        address = await self._response.address_of(message_id)
        rows = self._response.means.rows(controls, final=final)
        outbox = self._response.means.outbox
        await outbox.edit(address, message_id, text, final=final, components=rows)

    async def attach(
        self, text: str, file_name: str, content: str, *, controls: Sequence[Control] = ()
    ) -> int:
        """Show a new message with a text file and return its id. Raises `TargetGone`."""
        rows = self._response.means.rows(controls, final=True)
        return await self._response.send(text, rows=rows, file=(file_name, content))

    async def whisper(self, text: str) -> None:
        """Tell something only to the person whose interaction it is."""
        await self._response.whisper(text)

    def in_place_of(self, message_ids: Sequence[int]) -> "InteractionReply":
        """Return a target whose messages replace these, and follow them."""
        response = self._response if message_ids else self._response.in_the_open()
        return InteractionReply(response, message_ids)

    def speaking_as(self, name: str, picture: bytes) -> "InteractionReply":  # noqa: ARG002
        """Return itself: what answers an interaction bears the bot's own name."""
        return self

    async def thread(self, name: str) -> "InteractionReply":
        """Return a target in a new thread under the answer, or this one. Raises `TargetGone`."""
        response = await self._response.in_thread(name)
        return self if response is self._response else InteractionReply(response)

    async def remove(self, message_ids: Sequence[int]) -> None:
        """Take messages of the bot away. Raises `TargetGone`."""
        for message_id in message_ids:
            address = await self._response.address_of(message_id)
            await self._response.means.outbox.remove(address, message_id)

    async def fetch(self, attachment: Attachment) -> bytes:
        """Return what a file holds that came along. Raises `FileUnreadable`."""
        return await self._response.means.fetch(attachment)
