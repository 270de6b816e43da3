"""The token that opens the page: compared without haste, and changed into a cookie."""

import asyncio
import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable

COOKIE = "acore_operator"
COOKIE_SECONDS = 7 * 24 * 3600
MAX_WAITING = 8
MAX_PAUSE_SECONDS = 2.0


class TooManyTries(Exception):
    """More wait already for their token to be compared than may."""


class Token:
    """Knows the token and tells nobody. `clock` is monotonic and `wall` Unix time, in seconds.

    Making one takes some 50 ms, so do it in a thread.
    """

    def __init__(
        self,
        token: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._token = token.encode()
        # Made of the token alone, cookies outlive a restart; a slow hash keeps a stolen one from
        # telling what the token is.
        self._key = hashlib.scrypt(self._token, salt=b"acore operator", n=2**14, r=8, p=1)
        self._clock, self._wall, self._sleep = clock, wall, sleep
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._wrong = 0
        self._opens_at = clock()

    async def is_right(self, given: str) -> bool:
        """Compare a token with the right one.

        After wrong ones, everybody waits for their turn, up to two seconds each: who guesses in
        parallel is no faster. Raises `TooManyTries` if too many wait.
        """
        if self._waiting >= MAX_WAITING:
            raise TooManyTries
        self._waiting += 1
        try:
            async with self._turn:
                return await self._compare(given)
        finally:
            self._waiting -= 1

    async def _compare(self, given: str) -> bool:
        if (pause := self._opens_at - self._clock()) > 0:
            await self._sleep(pause)
        is_right = hmac.compare_digest(self._token, given.encode(errors="surrogateescape"))
        self._wrong = 0 if is_right else self._wrong + 1
        # A moment, not a sleep after the answer: who hangs up early would escape that.
        pause = 0.0 if is_right else min(MAX_PAUSE_SECONDS, 0.1 * 2 ** min(self._wrong, 10))
        self._opens_at = self._clock() + pause
        return is_right

    def cookie(self) -> str:
        """Make the value of a cookie that opens the page for a week."""
        until = str(int(self._wall()) + COOKIE_SECONDS)
        return f"{until}.{self._seal(until)}"

    def opens(self, cookie: str) -> bool:
        """Say whether a cookie is one of ours, and still good."""
        until, _, seal = cookie.partition(".")
        is_ours = hmac.compare_digest(
            self._seal(until).encode(), seal.encode(errors="surrogateescape")
        )
        return is_ours and int(until) > self._wall()

    def _seal(self, until: str) -> str:
        data = until.encode(errors="surrogateescape")
        return hmac.new(self._key, data, hashlib.sha256).hexdigest()
