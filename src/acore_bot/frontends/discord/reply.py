"""Where an answer to one Discord message becomes visible."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

from acore_bot.frontends.discord.outbox import Outbox
from acore_bot.frontends.discord.pace import EditPace
from acore_bot.frontends.discord.typing import TypingKeeper
from acore_bot.messages import Attachment

MAX_LENGTH = 2000


class Means(NamedTuple):
    """What all replies share. `fetch` returns what a file holds."""

    outbox: Outbox
    pace: EditPace
    typing: TypingKeeper
    fetch: Callable[[Attachment], Awaitable[bytes]]


class DiscordReply:
    """Keeps the promise of a reply target for the message `trigger_id`.

    The first part replies to it, so that people see whose question is answered; the others follow
    plainly, as a person's would. A part's nonce is made of the message and its own number.
    """

    # Made for every message that is heard, also for those that nobody answers.
    __slots__ = ("_channel_id", "_means", "_parts", "_trigger_id")

    def __init__(self, means: Means, channel_id: int, trigger_id: int) -> None:
        self._means = means
        self._channel_id = channel_id
        self._trigger_id = trigger_id
        self._parts = 0

    @property
    def max_length(self) -> int | None:
        """How long one message may be, in UTF-16 code units."""
        return MAX_LENGTH

    def typing(self) -> AbstractAsyncContextManager[None]:
        """Show that an answer is being prepared, until the block is left."""
        return self._means.typing.typing(self._channel_id)

    async def post(self, text: str, *, final: bool = False) -> int:
        """Show a new message and return its id. Raises `TargetGone`."""
        return await self._send(text, is_beginning=not (final or self._parts))

    async def ready(self, message_id: int, *, final: bool = False) -> None:
        """Return when a message may be edited, which has to follow at once."""
        await self._means.pace.ready(self._channel_id, message_id, final=final)

    async def edit(self, message_id: int, text: str, *, final: bool = False) -> None:
        """Show other text in a message. Raises `TargetGone`."""
        await self._means.outbox.edit(self._channel_id, message_id, text, final=final)

    async def attach(self, text: str, file_name: str, content: str) -> int:
        """Show a new message with a text file and return its id. Raises `TargetGone`."""
        return await self._send(text, file=(file_name, content))

    async def fetch(self, attachment: Attachment) -> bytes:
        """Return what a file holds that came with the message. Raises `FileUnreadable`."""
        return await self._means.fetch(attachment)

    async def _send(
        self, text: str, *, file: tuple[str, str] | None = None, is_beginning: bool = False
    ) -> int:
        part = self._parts
        self._parts += 1
        return await self._means.outbox.send(
            self._channel_id,
            text,
            nonce=f"{self._trigger_id}-{part}",
            reply_to=None if part else self._trigger_id,
            file=file,
            is_beginning=is_beginning,
        )
