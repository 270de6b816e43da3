"""Where an answer to one Discord message becomes visible."""

import copy
import itertools
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol, Self

from acore_bot.errors import TargetGone
from acore_bot.frontends.discord.addresses import Address, ChannelAddress
from acore_bot.frontends.discord.buttons import components
from acore_bot.frontends.discord.drafts import MAX_LENGTH, Component
from acore_bot.frontends.discord.outbox import Outbox
from acore_bot.frontends.discord.pace import EditPace
from acore_bot.frontends.discord.typing import TypingKeeper
from acore_bot.messages import Attachment, Control

log = logging.getLogger(__name__)


class MaskedAddress(Address, Protocol):
    """Where a message bears another name."""

    @property
    def may_have_posted(self) -> bool:
        """Whether nobody knows what became of the latest message."""
        ...


class Masks(Protocol):
    """Lets the bot speak under other names."""

    async def address_for(self, channel_id: int, name: str, picture: bytes) -> MaskedAddress | None:
        """Return where to post under a name and a picture in a channel, if that can be."""
        ...

    async def address_of_message(self, channel_id: int, message_id: int) -> Address | None:
        """Return where a message of the bot's can be changed that bears another name; None if it
        bears the bot's own."""
        ...


class Means(NamedTuple):
    """What all replies share. `fetch` returns what a file holds; `has_core` says that somebody
    hears of the buttons."""

    outbox: Outbox
    pace: EditPace
    typing: TypingKeeper
    fetch: Callable[[Attachment], Awaitable[bytes]]
    has_core: bool = False
    masks: Masks | None = None

    async def address_of(self, channel_id: int, message_id: int) -> Address:
        """Say where a message of the bot's can be changed, whoever posted it and when."""
        found = None
        if self.masks is not None:
            found = await self.masks.address_of_message(channel_id, message_id)
        return found or ChannelAddress(channel_id)

    def rows(self, controls: Sequence[Control], *, final: bool) -> list[Component]:
        """Return the buttons of a message."""
        return components(controls, is_growing=not final) if self.has_core or final else []


class DiscordReply:
    """Keeps the promise of a reply target for the message `trigger_id` of a person.

    The first part replies to it, so that people see whose question is answered; the others follow
    plainly, as a person's would. A part's nonce is made of the message and its own number.
    """

    # Made for every message that is heard, also for those that nobody answers.
    __slots__ = (
        "_addresses",
        "_author_id",
        "_channel_id",
        "_mask",
        "_means",
        "_nonce",
        "_numbers",
        "_places",
        "_reply_to",
        "_trigger_id",
    )

    def __init__(self, means: Means, channel_id: int, trigger_id: int, author_id: int) -> None:
        self._means = means
        self._channel_id = channel_id
        self._trigger_id = trigger_id
        self._author_id = author_id
        self._nonce = trigger_id
        self._reply_to: int | None = trigger_id
        self._numbers = itertools.count()  # which those that are derived from this one share
        self._addresses: dict[int, Address] = {}
        self._places: Sequence[int] = ()
        self._mask: tuple[str, bytes] | None = None

    @property
    def max_length(self) -> int | None:
        """How long one message may be, in UTF-16 code units."""
        return MAX_LENGTH

    def typing(self) -> AbstractAsyncContextManager[None]:
        """Show that an answer is being prepared, until the block is left."""
        return self._means.typing.typing(self._channel_id)

    async def post(
        self, text: str, *, final: bool = False, controls: Sequence[Control] = ()
    ) -> int:
        """Show a new message and return its id. Raises `TargetGone`."""
        if self._places:
            message_id, *self._places = self._places
            await self.ready(message_id, final=final)
            await self.edit(message_id, text, final=final, controls=controls)
            return message_id
        rows = self._means.rows(controls, final=final)
        return await self._send(text, rows, is_final=final)

    async def ready(self, message_id: int, *, final: bool = False) -> None:
        """Return when a message may be edited, which has to follow at once."""
        address = await self._address_of(message_id)
        await self._means.pace.ready(address.key, message_id, final=final)

    async def edit(
        self,
        message_id: int,
        text: str,
        *,
        final: bool = False,
        controls: Sequence[Control] = (),
    ) -> None:
        """Show other text in a message. Raises `TargetGone`."""
        address = await self._address_of(message_id)
        rows = self._means.rows(controls, final=final)
        await self._means.outbox.edit(address, message_id, text, final=final, components=rows)

    async def attach(
        self, text: str, file_name: str, content: str, *, controls: Sequence[Control] = ()
    ) -> int:
        """Show a new message with a text file and return its id. Raises `TargetGone`."""
        rows = self._means.rows(controls, final=True)
        return await self._send(text, rows, file=(file_name, content))

    async def whisper(self, text: str) -> None:
        """Tell something to the author alone, in private, if Discord lets us."""
        try:
            await self._means.outbox.whisper(self._author_id, text, nonce=self._next_nonce())
        except TargetGone as error:
            log.debug("nobody could be told in private: %s", error)

    def in_place_of(self, message_ids: Sequence[int]) -> Self:
        """Return a target whose messages replace these, and follow them; or, with none, stand
        below, as an answer of their own."""
        twin = copy.copy(self)
        twin._places = tuple(message_ids)  # noqa: SLF001
        twin._reply_to = None if message_ids else self._trigger_id  # noqa: SLF001
        return twin

    def speaking_as(self, name: str, picture: bytes) -> Self:
        """Return a target whose new messages bear another name and picture."""
        twin = copy.copy(self)
        twin._mask = (name, picture)  # noqa: SLF001
        return twin

    async def thread(self, name: str) -> Self:
        """Return a target in a new thread under the message, or this one. Raises `TargetGone`."""
        outbox = self._means.outbox
        thread_id = await outbox.open_thread(self._channel_id, self._trigger_id, name)
        if thread_id is None:
            return self
        twin = copy.copy(self)
        twin._channel_id, twin._reply_to = thread_id, None  # noqa: SLF001
        return twin

    async def remove(self, message_ids: Sequence[int]) -> None:
        """Take messages of the bot away. Raises `TargetGone`."""
        for message_id in message_ids:
            await self._means.outbox.remove(await self._address_of(message_id), message_id)

    async def fetch(self, attachment: Attachment) -> bytes:
        """Return what a file holds that came with the message. Raises `FileUnreadable`."""
        return await self._means.fetch(attachment)

    def _next_nonce(self) -> str:
        return f"{self._nonce}-{next(self._numbers)}"

    async def _address_of(self, message_id: int) -> Address:
        if message_id not in self._addresses:
            address = await self._means.address_of(self._channel_id, message_id)
            self._addresses[message_id] = address
        return self._addresses[message_id]

    async def _send(
        self,
        text: str,
        rows: Sequence[Component],
        *,
        file: tuple[str, str] | None = None,
        is_final: bool = True,
    ) -> int:
        """Post a message, under the other name if it can be."""
        reply_to, self._reply_to = self._reply_to, None
        nonce = self._next_nonce()

        async def send(address: Address) -> int:
            message_id = await self._means.outbox.send(
                address,
                text,
                nonce=nonce,
                reply_to=reply_to,
                file=file,
                components=rows,
                is_beginning=not is_final and reply_to is not None,
            )
            self._addresses[message_id] = address
            return message_id

        if (masked := await self._masked()) is not None:
            try:
                return await send(masked)
            except TargetGone as error:
                if masked.may_have_posted:
                    raise  # rather than to say it twice
                log.info("it is said under the bot's own name: %s", error)
        return await send(ChannelAddress(self._channel_id))

    async def _masked(self) -> MaskedAddress | None:
        """Return where to speak under another name, if that is wanted and can be."""
        if self._means.masks is None or self._mask is None:
            return None
        return await self._means.masks.address_for(self._channel_id, *self._mask)
