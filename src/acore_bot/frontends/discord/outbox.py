"""The one place from which anything is sent to Discord.

How the parts that send are put together, all but the client without a running loop:

    pace, invalid = EditPace(), InvalidRequests()          # pace.py, rest.py
    client = …(make_http=…, trace=trace(pace, invalid))    # a client whose `http` is a RestClient
    outbox = Outbox(client, pace, invalid)
    typing = TypingKeeper(outbox)                          # typing.py; `await typing.aclose()`
    means = Means(outbox, pace, typing, fetch)             # reply.py
    target = DiscordReply(means, channel_id, trigger_id)   # one for each message heard
    outbox.is_muted(channel_id)                            # then do not even ask a model
    address = ChannelAddress(channel_id)                   # addresses.py: where something goes
    await outbox.mend(address, message_id, text)           # an edit that belongs to no answer

`RestClient.api_url` is set after the client is made. Everything works without a RestClient too.

Every request says that nobody is to be notified and no link to be previewed, and its text went
through `disarm`. A send has a nonce, by which Discord knows one that comes twice: so it may be
repeated when we do not know what became of it; addresses that know no nonces look first. discord.py
repeats what is refused with 429, 500, 502, 504 or 524, but posts by a token; here the rest is
repeated: 503, broken connections and longer limits. What is
refused for a part that it can do without is sent without it; in place of a text that Discord does
not take there stands a sentence that says so. An address that refuses us is left alone, for a
minute at first and then for twice as long each time, as every refusal counts towards a ban.
"""

import asyncio
import logging
import math
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

import aiohttp
import discord

from acore_bot.errors import TargetGone
from acore_bot.frontends.discord.addresses import Address, ChannelAddress
from acore_bot.frontends.discord.drafts import (
    NOT_ACCEPTED,
    NOTHING,
    Component,
    Draft,
    PartRefused,
    parameters,
)
from acore_bot.frontends.discord.pace import EditPace
from acore_bot.frontends.discord.rest import InvalidRequests, told

log = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE_SECONDS = 300.0  # as long as an answer may take; Discord knows nonces for a few minutes
TRY_SECONDS = 75.0  # of which discord.py may rest for 55
MAX_TRIES = 12
FIRST_PAUSE_SECONDS = 0.5
MAX_PAUSE_SECONDS = 15.0
FIRST_MUTE_SECONDS = 60.0
MAX_MUTE_SECONDS = 3600.0
MAX_THREAD_NAME = 100
THREAD_MINUTES: Final = 1440
MAX_REMEMBERED_REMOVALS = 1000
# When we stop, an answer that cannot begin within this time had better begin after the restart.
BEGINNING_SECONDS = 0.5

UNKNOWN_MESSAGE = 10008
FOREIGN_MESSAGE = 50005
INVALID_FORM = 50035
NO_REPLY_WITHOUT_HISTORY = 160002
HAS_A_THREAD = 160004
_OF_A_REPLY = {UNKNOWN_MESSAGE, INVALID_FORM, NO_REPLY_WITHOUT_HISTORY}
_BROKEN = (discord.DiscordServerError, aiohttp.ClientError, OSError, TimeoutError)


@dataclass(slots=True)
class _Mute:
    """Until when an address is left alone, which is infinite while one request tries it."""

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
        self._removed: deque[int] = deque(maxlen=MAX_REMEMBERED_REMOVALS)

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
        address: Address,
        text: str,
        *,
        nonce: str,
        reply_to: int | None = None,
        file: tuple[str, str] | None = None,
        components: Sequence[Component] = (),
        is_beginning: bool = False,
        is_private: bool = False,
    ) -> int:
        """Post a message and return its id. Raises `TargetGone`.

        `nonce` is at most 24 characters. Sends with the same one, within minutes, make one message
        in a channel. What it replies to may be gone; then it replies to nothing, as it does where
        nothing takes replies. `file` is a name and a text. Where files are not allowed, or the text
        is not, the message says so instead. `is_beginning` says that it begins an answer, which is
        not done any more when we stop and it would take long. With `is_private` only the person
        whose interaction the address is sees it; no channel knows that.
        """

        async def post(draft: Draft) -> int:
            await self._pace.admit()
            with parameters(address, draft) as params:
                data = await address.post(self._client, params)
            return int(data["id"])

        reply_to = reply_to if address.takes_replies else None
        draft = Draft(text, nonce, reply_to, file, components or None, is_private)
        with self._trying(address.key):
            if not is_beginning:
                return await self._insist(address.key, draft, post)
            async with self._beginning(address.key):
                return await self._insist(address.key, draft, post)

    async def edit(
        self,
        address: Address,
        message_id: int,
        text: str,
        *,
        final: bool = False,
        components: Sequence[Component] = (),
    ) -> None:
        """Show another text in a message, and these components or none, right after
        `EditPace.ready`, or say there that Discord does not take it. Raises `TargetGone`."""
        draft = Draft(text, components=components)
        await self._patch(address, message_id, draft, final=final)

    async def mend(self, address: Address, message_id: int, text: str) -> None:
        """Edit a message that belongs to no answer under way. Raises `TargetGone`."""
        await self._pace.ready(address.key, message_id, final=True)
        await self.edit(address, message_id, text, final=True)

    async def show_components(
        self, address: Address, message_id: int, components: Sequence[Component]
    ) -> None:
        """Show other components in a message that says what it said. Raises `TargetGone`."""
        await self._pace.ready(address.key, message_id, final=True)
        await self._patch(address, message_id, Draft(components=components), final=True)

    async def remove(self, address: Address, message_id: int) -> None:
        """Take a message away, if it is there. Raises `TargetGone`."""

        async def delete(_: Draft) -> None:
            try:
                await address.delete(self._client, message_id)
            except discord.NotFound as error:
                if error.code != UNKNOWN_MESSAGE:
                    raise
            except discord.Forbidden as error:
                # That is about this message: it tells nothing of what else is taken there.
                raise _gone(address.key) from error

        self._refuse_if_muted(address.key)
        self._removed.append(message_id)
        await self._insist(address.key, Draft(), delete)

    async def whisper(self, user_id: int, text: str, *, nonce: str) -> None:
        """Send something to one person in private. Raises `TargetGone`."""

        async def open_chat(_: Draft) -> int:
            data = await self._client.http.start_private_message(user_id)
            return int(data["id"])

        self._refuse_if_muted(user_id)
        channel_id = await self._insist(user_id, Draft(), open_chat)
        await self.send(ChannelAddress(channel_id), text, nonce=nonce)

    async def open_thread(self, channel_id: int, message_id: int, name: str) -> int | None:
        """Begin a thread under a message and return its id; None if there can be none. Raises
        `TargetGone`."""

        async def begin(_: Draft) -> int | None:
            try:
                data = await self._client.http.start_thread_with_message(
                    channel_id, message_id, name=title, auto_archive_duration=THREAD_MINUTES
                )
            except discord.HTTPException as error:
                if error.code == HAS_A_THREAD:
                    return message_id  # which is its id, too: we came twice
                if error.status in {400, 403, 404}:
                    return None
                raise
            return int(data["id"])

        title = " ".join(name.split())[:MAX_THREAD_NAME] or NOTHING
        self._refuse_if_muted(channel_id)
        return await self._insist(channel_id, Draft(), begin)

    def has_removed(self, message_id: int) -> bool:
        """Whether it was us who took a message away lately."""
        return message_id in self._removed

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
            log.debug("Typing cannot be shown in channel %d: %s", channel_id, told(error))
            return False
        return True

    async def _patch(self, address: Address, message_id: int, draft: Draft, *, final: bool) -> None:
        """Edit a message, for which it was said just now that it may be edited."""
        is_ready = True

        async def patch(draft: Draft) -> None:
            nonlocal is_ready
            if not is_ready:
                await self._pace.ready(address.key, message_id, final=True)
            is_ready = False
            async with self._pace.editing(address.key, message_id, final=final):
                with parameters(address, draft) as params:
                    await address.patch(self._client, message_id, params)

        self._refuse_if_muted(address.key)
        await self._insist(address.key, draft, patch)

    async def _insist(self, key: int, draft: Draft, attempt: Callable[[Draft], Awaitable[T]]) -> T:
        """Try with less and less, until something is accepted or all is refused."""
        while True:
            try:
                return await self._repeat(key, draft, attempt)
            except PartRefused as refused:
                draft = draft.without(refused.part)

    async def _repeat(self, key: int, draft: Draft, attempt: Callable[[Draft], Awaitable[T]]) -> T:
        """Try until it works, is refused for good, or takes too long."""
        deadline = self._clock() + PATIENCE_SECONDS
        for tries in range(MAX_TRIES):
            await self._rest(self._invalid.pause_seconds(), key, deadline)
            try:
                async with asyncio.timeout(min(TRY_SECONDS, deadline - self._clock())):
                    return await attempt(draft)
            except discord.RateLimited as error:
                pause = error.retry_after
            except _BROKEN as error:
                log.info("A request for %d failed: %s", key, told(error))
                pause = self._pause_after(tries)
            except discord.HTTPException as error:
                self._judge(key, error, draft)
                pause = _retry_after(error) or self._pause_after(tries)
            except RuntimeError:
                if not self._client.is_closed():
                    raise
                break
            await self._rest(pause, key, deadline)
        raise _gone(key)

    def _judge(self, key: int, error: discord.HTTPException, draft: Draft) -> None:
        """Return if trying again may help. Raises otherwise."""
        if error.status == 429:
            return
        if draft.reply_to is not None and error.code in _OF_A_REPLY:
            raise PartRefused("reply") from error
        log.warning("Discord refused a request for %d: %s", key, told(error))
        # If it is not the file, the next try will tell.
        if draft.file is not None and error.status == 403:
            raise PartRefused("file") from error
        if error.status not in {401, 403, 404} and draft.text not in {None, NOT_ACCEPTED}:
            raise PartRefused("content") from error
        of_address = error.code not in {UNKNOWN_MESSAGE, FOREIGN_MESSAGE}
        if error.status in {403, 404} and of_address:
            self._mute(key)
        raise _gone(key) from error

    def _pause_after(self, tries: int) -> float:
        longest = min(FIRST_PAUSE_SECONDS * 2.0**tries, MAX_PAUSE_SECONDS)
        return longest * (0.5 + self._random() / 2)

    async def _rest(self, seconds: float, key: int, deadline: float) -> None:
        if self._clock() + seconds > deadline:
            raise _gone(key)
        if seconds > 0:
            await self._sleep(seconds)

    @asynccontextmanager
    async def _beginning(self, key: int) -> AsyncIterator[None]:
        seconds = BEGINNING_SECONDS if self._is_stopping else None
        try:
            async with asyncio.timeout(seconds) as limit:
                self._beginnings.add(limit)
                try:
                    yield
                finally:
                    self._beginnings.discard(limit)
        except TimeoutError:
            raise _gone(key) from None

    def _refuse_if_muted(self, key: int) -> None:
        mute = self._mutes.get(key)
        if mute is not None and self._clock() < mute.until:
            raise _gone(key)

    @contextmanager
    def _trying(self, key: int) -> Iterator[None]:
        """Let one send after the other find out whether an address takes messages again."""
        self._refuse_if_muted(key)
        mute = self._mutes.get(key)
        if mute is not None:
            mute.until = math.inf
        try:
            yield
            self._mutes.pop(key, None)
        finally:
            if mute is not None:
                mute.until = min(mute.until, self._clock())  # it was not refused, at least

    def _mute(self, key: int) -> None:
        now = self._clock()
        mute = self._mutes.get(key)
        if mute is not None and now < mute.until < math.inf:
            return  # somebody else heard it at the same time
        seconds = min(mute.seconds * 2, MAX_MUTE_SECONDS) if mute else FIRST_MUTE_SECONDS
        self._mutes = {
            place: one for place, one in self._mutes.items() if now - one.until < MAX_MUTE_SECONDS
        }
        self._mutes[key] = _Mute(now + seconds, seconds)
        log.warning("%d is left alone for %.0f s.", key, seconds)


def _retry_after(error: discord.HTTPException) -> float:
    return float(error.response.headers.get("Retry-After", 0.0))


def _gone(key: int) -> TargetGone:
    return TargetGone(f"Nothing can be shown on Discord at {key} now.")
