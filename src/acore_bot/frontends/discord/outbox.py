"""The one place from which anything is sent to Discord.

How the parts that send are put together, all but the client without a running loop:

    pace, invalid = EditPace(), InvalidRequests()          # pace.py, rest.py
    client = …(make_http=…, trace=trace(pace, invalid))    # a client whose `http` is a RestClient
    outbox = Outbox(client, pace, invalid)
    typing = TypingKeeper(outbox)                          # typing.py; `await typing.aclose()`
    means = Means(outbox, pace, typing, fetch)             # reply.py
    target = DiscordReply(means, channel_id, trigger_id)   # one for each message heard
    outbox.is_muted(channel_id)                            # then do not even ask a model
    await outbox.mend(channel_id, message_id, text)        # an edit that belongs to no answer

`RestClient.api_url` is set after the client is made. Everything works without a RestClient too.

Every request says that nobody is to be notified and no link to be previewed, and its text went
through `disarm`. A send has a nonce, by which Discord knows one that comes twice: so it may be
repeated when we do not know what became of it. discord.py repeats what is refused with 429, 500,
502, 504 or 524; here the rest is repeated: 503, broken connections and longer limits. What is
refused for a part that it can do without is sent without it; in place of a text that Discord does
not take there stands a sentence that says so. A channel that refuses us is left alone, for a minute
at first and then for twice as long each time, as every refusal counts towards a ban.
"""

import asyncio
import io
import logging
import math
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import aiohttp
import discord
from discord.http import MultipartParameters, handle_message_parameters
from discord.utils import MISSING

from acore_bot.errors import TargetGone
from acore_bot.frontends.discord.links import disarm
from acore_bot.frontends.discord.pace import EditPace
from acore_bot.frontends.discord.rest import InvalidRequests

log = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE_SECONDS = 300.0  # as long as an answer may take; Discord knows nonces for a few minutes
TRY_SECONDS = 75.0  # of which discord.py may rest for 55
MAX_TRIES = 12
FIRST_PAUSE_SECONDS = 0.5
MAX_PAUSE_SECONDS = 15.0
FIRST_MUTE_SECONDS = 60.0
MAX_MUTE_SECONDS = 3600.0
MAX_FILE_NAME = 60
# When we stop, an answer that cannot begin within this time had better begin after the restart.
BEGINNING_SECONDS = 0.5
NOTHING = "…"  # Discord refuses a message that says nothing
NOT_ACCEPTED = "Discord did not accept my answer here."
NO_FILE = "The answer is too long to show here, and I may not attach files."

UNKNOWN_MESSAGE = 10008
FOREIGN_MESSAGE = 50005
INVALID_FORM = 50035
NO_REPLY_WITHOUT_HISTORY = 160002
_OF_A_REPLY = {UNKNOWN_MESSAGE, INVALID_FORM, NO_REPLY_WITHOUT_HISTORY}
_BROKEN = (discord.DiscordServerError, aiohttp.ClientError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class _Draft:
    """What a message is to be."""

    text: str
    nonce: str | None = None
    reply_to: int | None = None
    file: tuple[str, str] | None = None

    def without(self, part: Literal["reply", "file", "content"]) -> "_Draft":
        """Say the same without what was refused, or that it was."""
        match part:
            case "reply":
                return replace(self, reply_to=None)
            case "file":
                return replace(self, text=NO_FILE, file=None)
            case "content":
                nonce = self.nonce and f"{self.nonce}x"
                return replace(self, text=NOT_ACCEPTED, file=None, nonce=nonce)


class _PartRefused(Exception):
    """A message may be, but not with this part of it."""

    def __init__(self, part: Literal["reply", "file", "content"]) -> None:
        super().__init__(part)
        self.part = part


@dataclass(slots=True)
class _Mute:
    """Until when a channel is left alone, which is infinite while one request tries it."""

    until: float
    seconds: float


class Outbox:
    """Sends, edits and shows typing. `clock` is monotonic seconds; `random` is from 0 to 1."""

    def __init__(
        self,
        client: discord.Client,
        pace: EditPace,
        invalid: InvalidRequests,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._client = client
        self._pace = pace
        self._invalid = invalid
        self._clock = clock
        self._sleep = sleep
        self._random = random
        self._mutes: dict[int, _Mute] = {}
        self._is_stopping = False
        self._beginnings: set[asyncio.Timeout] = set()

    def stop_growing(self) -> None:
        """Send what ends an answer, and little else, from now on: no edit that is not final, and no
        beginning of an answer that would have to wait."""
        self._is_stopping = True
        self._pace.stop_ordinary()
        at = asyncio.get_running_loop().time() + BEGINNING_SECONDS
        for limit in self._beginnings:
            limit.reschedule(at)

    def is_muted(self, channel_id: int) -> bool:
        """Whether nothing can be shown in a channel for the time being."""
        mute = self._mutes.get(channel_id) if self._mutes else None
        is_left_alone = mute is not None and self._clock() < mute.until
        return is_left_alone or self._invalid.pause_seconds() > 0

    async def send(
        self,
        channel_id: int,
        text: str,
        *,
        nonce: str,
        reply_to: int | None = None,
        file: tuple[str, str] | None = None,
        is_beginning: bool = False,
    ) -> int:
        """Post a message and return its id. Raises `TargetGone`.

        `nonce` is at most 24 characters. Sends with the same one, within minutes, make one message.
        What it replies to may be gone; then it replies to nothing. `file` is a name and a text.
        Where files are not allowed, or the text is not, the message says so instead. `is_beginning`
        says that it begins an answer, which is not done any more when we stop and it would take
        long.
        """

        async def post(draft: _Draft) -> int:
            await self._pace.admit()
            with _parameters(channel_id, draft) as params:
                data = await self._client.http.send_message(channel_id, params=params)
            return int(data["id"])

        draft = _Draft(text, nonce, reply_to, file)
        with self._trying(channel_id):
            if not is_beginning:
                return await self._insist(channel_id, draft, post)
            async with self._beginning(channel_id):
                return await self._insist(channel_id, draft, post)

    async def edit(
        self, channel_id: int, message_id: int, text: str, *, final: bool = False
    ) -> None:
        """Show another text in a message, right after `EditPace.ready`, or say there that Discord
        does not take it. Raises `TargetGone`."""
        is_ready = True

        async def patch(draft: _Draft) -> None:
            nonlocal is_ready
            if not is_ready:
                await self._pace.ready(channel_id, message_id, final=True)
            is_ready = False
            async with self._pace.editing(channel_id, message_id, final=final):
                with _parameters(channel_id, draft) as params:
                    await self._client.http.edit_message(channel_id, message_id, params=params)

        self._refuse_if_muted(channel_id)
        await self._insist(channel_id, _Draft(text), patch)

    async def mend(self, channel_id: int, message_id: int, text: str) -> None:
        """Edit a message that belongs to no answer under way. Raises `TargetGone`."""
        await self._pace.ready(channel_id, message_id, final=True)
        await self.edit(channel_id, message_id, text, final=True)

    async def show_typing(self, channel_id: int) -> bool:
        """Show for about ten seconds that an answer is being prepared. Whether that was possible.

        A channel that refused us is not asked before it took a message again.
        """
        if channel_id in self._mutes or self.is_muted(channel_id) or self._client.is_closed():
            return False
        await self._pace.admit(urgent=False)
        try:
            async with asyncio.timeout(TRY_SECONDS):
                await self._client.http.send_typing(channel_id)
        except (discord.HTTPException, discord.RateLimited, *_BROKEN) as error:
            log.debug("Typing cannot be shown in channel %d: %s", channel_id, error)
            return False
        return True

    async def _insist(
        self, channel_id: int, draft: _Draft, attempt: Callable[[_Draft], Awaitable[T]]
    ) -> T:
        """Try with less and less, until something is accepted or all is refused."""
        while True:
            try:
                return await self._repeat(channel_id, draft, attempt)
            except _PartRefused as refused:
                draft = draft.without(refused.part)

    async def _repeat(
        self, channel_id: int, draft: _Draft, attempt: Callable[[_Draft], Awaitable[T]]
    ) -> T:
        """Try until it works, is refused for good, or takes too long."""
        deadline = self._clock() + PATIENCE_SECONDS
        for tries in range(MAX_TRIES):
            await self._rest(self._invalid.pause_seconds(), channel_id, deadline)
            try:
                async with asyncio.timeout(min(TRY_SECONDS, deadline - self._clock())):
                    return await attempt(draft)
            except discord.RateLimited as error:
                pause = error.retry_after
            except _BROKEN as error:
                log.info("A request for channel %d failed: %r", channel_id, error)
                pause = self._pause_after(tries)
            except discord.HTTPException as error:
                self._judge(channel_id, error, draft)
                pause = _retry_after(error) or self._pause_after(tries)
            except RuntimeError:
                if not self._client.is_closed():
                    raise
                break
            await self._rest(pause, channel_id, deadline)
        raise _gone(channel_id)

    def _judge(self, channel_id: int, error: discord.HTTPException, draft: _Draft) -> None:
        """Return if trying again may help. Raises otherwise."""
        if error.status == 429:
            return
        if draft.reply_to is not None and error.code in _OF_A_REPLY:
            raise _PartRefused("reply") from error
        log.warning("Discord refused a request for channel %d: %s", channel_id, error)
        # If it is not the file, the next try will tell.
        if draft.file is not None and error.status == 403:
            raise _PartRefused("file") from error
        if error.status not in {401, 403, 404} and draft.text != NOT_ACCEPTED:
            raise _PartRefused("content") from error
        of_channel = error.code not in {UNKNOWN_MESSAGE, FOREIGN_MESSAGE}
        if error.status in {403, 404} and of_channel:
            self._mute(channel_id)
        raise _gone(channel_id) from error

    def _pause_after(self, tries: int) -> float:
        longest = min(FIRST_PAUSE_SECONDS * 2.0**tries, MAX_PAUSE_SECONDS)
        return longest * (0.5 + self._random() / 2)

    async def _rest(self, seconds: float, channel_id: int, deadline: float) -> None:
        if self._clock() + seconds > deadline:
            raise _gone(channel_id)
        if seconds > 0:
            await self._sleep(seconds)

    @asynccontextmanager
    async def _beginning(self, channel_id: int) -> AsyncIterator[None]:
        seconds = BEGINNING_SECONDS if self._is_stopping else None
        try:
            async with asyncio.timeout(seconds) as limit:
                self._beginnings.add(limit)
                try:
                    yield
                finally:
                    self._beginnings.discard(limit)
        except TimeoutError:
            raise _gone(channel_id) from None

    def _refuse_if_muted(self, channel_id: int) -> None:
        mute = self._mutes.get(channel_id)
        if mute is not None and self._clock() < mute.until:
            raise _gone(channel_id)

    @contextmanager
    def _trying(self, channel_id: int) -> Iterator[None]:
        """Let one send after the other find out whether a channel takes messages again."""
        self._refuse_if_muted(channel_id)
        mute = self._mutes.get(channel_id)
        if mute is not None:
            mute.until = math.inf
        try:
            yield
            self._mutes.pop(channel_id, None)
        finally:
            if mute is not None:
                mute.until = min(mute.until, self._clock())  # it was not refused, at least

    def _mute(self, channel_id: int) -> None:
        now = self._clock()
        mute = self._mutes.get(channel_id)
        if mute is not None and now < mute.until < math.inf:
            return  # somebody else heard it at the same time
        seconds = min(mute.seconds * 2, MAX_MUTE_SECONDS) if mute else FIRST_MUTE_SECONDS
        self._mutes = {
            place: one for place, one in self._mutes.items() if now - one.until < MAX_MUTE_SECONDS
        }
        self._mutes[channel_id] = _Mute(now + seconds, seconds)
        log.warning("Channel %d is left alone for %.0f s.", channel_id, seconds)


def _parameters(channel_id: int, draft: _Draft) -> MultipartParameters:
    """What every request for a message consists of."""
    harmless = disarm(draft.text)
    reference: discord.types.message.MessageReference = {
        "channel_id": channel_id,
        "message_id": draft.reply_to or 0,
        "fail_if_not_exists": False,
    }
    return handle_message_parameters(
        harmless if harmless.strip() else NOTHING,
        nonce=draft.nonce,
        flags=discord.MessageFlags(suppress_embeds=True),
        allowed_mentions=discord.AllowedMentions.none(),
        mention_author=False,
        message_reference=reference if draft.reply_to else MISSING,
        file=_file(*draft.file) if draft.file else MISSING,
    )


def _file(name: str, content: str) -> discord.File:
    stem, dot, ending = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("._").rpartition(".")
    safe = f"{stem[:MAX_FILE_NAME]}{dot}{ending[:10]}" or "file"
    return discord.File(io.BytesIO(content.encode()), filename=safe)


def _retry_after(error: discord.HTTPException) -> float:
    return float(error.response.headers.get("Retry-After", 0.0))


def _gone(channel_id: int) -> TargetGone:
    return TargetGone(f"Nothing can be shown in Discord's channel {channel_id} now.")
