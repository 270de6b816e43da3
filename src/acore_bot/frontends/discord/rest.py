"""Discord's REST interface as discord.py speaks it, but for five things.

It may be at another address, for one client and not for all. An answer is given out when it is
there, instead of after the limit that it used up has been renewed: whoever asks next waits, and
nobody else. What the answers say about limits is told to those who pace us. The first word to an
interaction neither waits for the global limit nor counts in it. And a post by a token, which has no
nonce, is not repeated beneath us when Discord failed to say what became of it.
"""

import asyncio
import copy
import logging
import math
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import aiohttp
import discord
from discord.http import HTTPClient, Ratelimit, Route

from acore_bot.errors import AcoreError
from acore_bot.frontends.discord.pace import EditPace
from acore_bot.telemetry.events import Emit, RateLimited, ignore

log = logging.getLogger(__name__)

INVALID_WINDOW_SECONDS = 600.0
MAX_INVALID_REQUESTS = 2_000  # Discord bans an address at 10,000
_INTERACTIONS = "/interactions/"
_WORD = re.compile(r"[a-z-]{1,20}|@me|@original")  # no id and no token is so plain


def told(error: BaseException) -> str:
    """Say for the log what went wrong. The error's own text may hold what was sent, and so a token
    that nobody may read."""
    name = type(error).__name__
    if isinstance(error, AcoreError):
        return str(error)  # which are made to be read
    if isinstance(error, discord.HTTPException):
        return f"{name} {error.status} (code {error.code})"
    return name


class PromptRatelimit(Ratelimit):
    """A limit that is waited for by whoever needs it, in the order of their coming."""

    __slots__ = ("_changed", "_unused")

    def __init__(self, max_ratelimit_timeout: float | None) -> None:
        super().__init__(max_ratelimit_timeout)
        self._changed = asyncio.Event()
        self._unused = 0

    async def acquire(self) -> None:
        """Return when a request may be sent. Raises `discord.RateLimited` if that is far off."""
        self._last_request = self._loop.time()
        async with self._sleeping:
            while not self._has_place():
                self._changed.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(self.expires):
                        await self._changed.wait()
            self.remaining -= 1
            self.outgoing += 1

    def update(self, response: aiohttp.ClientResponse, *, use_clock: bool = False) -> None:
        """Believe an answer, which may not have counted yet what else is under way."""
        left = int(response.headers["X-RateLimit-Remaining"])
        # Answers may overtake each other; `dirty` says that one of this window came already.
        self._unused = min(self._unused, left) if self.dirty else left
        super().update(response, use_clock=use_clock)
        self.remaining = max(self._unused - self.outgoing, 0)

    def _renew(self) -> None:
        self.reset()  # type: ignore[no-untyped-call]  # discord.py's own

    def _has_place(self) -> bool:
        if self.is_expired():
            self._renew()
        wait = (self.expires or 0.0) - self._loop.time()
        if self.remaining <= 0 and wait > (self._max_ratelimit_timeout or math.inf):
            raise discord.RateLimited(wait)
        return self.remaining > 0

    async def __aexit__(self, *_: object) -> None:
        self.outgoing -= 1
        if self.expires is None:
            self._renew()  # the answer, if there was one, told of no limit
        elif self.dirty:
            self.remaining = max(self._unused - self.outgoing, 0)
        self._changed.set()


class RestClient(HTTPClient):
    """discord.py's own, to be made in its place. `api_url` is without a slash at its end."""

    api_url: str | None = None

    def get_ratelimit(self, key: str) -> Ratelimit:
        """Return the limit of a bucket."""
        if key not in self._buckets:
            self._buckets[key] = PromptRatelimit(self.max_ratelimit_timeout)
            self._try_clear_expired_ratelimits()
        return self._buckets[key]

    async def request(
        self,
        route: Route,
        *,
        files: Sequence[discord.File] | None = None,
        form: Iterable[dict[str, Any]] | None = None,
        **kwargs: Any,  # noqa: ANN401  # as discord.py has it
    ) -> Any:  # noqa: ANN401
        """Send a request. Raises what discord.py raises."""
        if self.api_url is not None:
            # Whoever asks may ask again by the same route.
            route, asked = copy.copy(route), route
            route.url = self.api_url + asked.url.removeprefix(asked.BASE)
        by = self._ungated() if route.path.startswith(_INTERACTIONS) else self
        return await HTTPClient.request(by, route, files=files, form=form, **kwargs)

    def _ungated(self) -> "RestClient":
        """Return a twin, of the same session and limits, that waits for no global limit."""
        twin = copy.copy(self)
        twin._global_over = asyncio.Event()  # noqa: SLF001
        twin._global_over.set()  # noqa: SLF001
        return twin


class InvalidRequests:
    """Counts requests that Discord counts against us, lest it ban the machine's address.

    `clock` is monotonic seconds.
    """

    def __init__(
        self,
        *,
        most: int = MAX_INVALID_REQUESTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = most
        self._clock = clock
        self._at: deque[float] = deque()
        self._resumes_at = -math.inf

    def observe(self, status: int, scope: str | None) -> None:
        """Count an answer, if it is of that kind."""
        if status not in {401, 403, 429} or (status == 429 and scope == "shared"):
            return
        now = self._clock()
        self._at.append(now)
        while self._at[0] <= now - INVALID_WINDOW_SECONDS:
            self._at.popleft()
        if len(self._at) >= self._most and now >= self._resumes_at:
            self._resumes_at = now + INVALID_WINDOW_SECONDS
            log.error(
                "Discord refused %d requests within ten minutes, and bans who goes on like that. "
                "Nothing is sent for the next ten. See which channels the bot may not write to.",
                len(self._at),
            )
            self._at.clear()

    def pause_seconds(self) -> float:
        """How long nothing may be sent; 0 if all is well."""
        if self._resumes_at == -math.inf:  # as it nearly always is
            return 0.0
        return max(self._resumes_at - self._clock(), 0.0)


def trace(pace: EditPace, invalid: InvalidRequests, emit: Emit = ignore) -> aiohttp.TraceConfig:
    """Make what discord.py takes as `http_trace`."""
    config = aiohttp.TraceConfig()

    async def on_start(
        _: aiohttp.ClientSession, __: SimpleNamespace, params: aiohttp.TraceRequestStartParams
    ) -> None:
        if _is_counted(params.method, params.url.path):
            pace.note()

    async def on_end(
        _: aiohttp.ClientSession, __: SimpleNamespace, params: aiohttp.TraceRequestEndParams
    ) -> None:
        status, headers = params.response.status, params.response.headers
        invalid.observe(status, headers.get("X-RateLimit-Scope"))
        pace.observe(params.method, params.url.path, status, headers)
        if status == 429:
            emit(_limited(params.method, params.url.path, headers))
        if status >= 500 and _has_no_nonce(params.method, params.url.path):
            # discord.py would post it once more; those who sent it know better.
            params.response.close()
            raise discord.DiscordServerError(params.response, "")

    config.on_request_start.append(on_start)
    config.on_request_end.append(on_end)
    return config


def _limited(method: str, path: str, headers: Mapping[str, str]) -> RateLimited:
    try:
        seconds = float(headers.get("Retry-After", 0))
    except ValueError:
        seconds = 0.0
    is_global = headers.get("X-RateLimit-Scope") == "global"
    return RateLimited(f"{method} {kind_of(path)}", seconds, is_global)


def kind_of(path: str) -> str:
    """Tell what sort of thing a path names, without ids, tokens and emoji."""
    parts = path.removeprefix("/").split("/")
    return "/".join(part if _WORD.fullmatch(part) else "…" for part in parts)[:100]


def _has_no_nonce(method: str, path: str) -> bool:
    return method == "POST" and ("/webhooks/" in path or _INTERACTIONS in path)


def _is_counted(method: str, path: str) -> bool:
    """Whether a request is part of the global limit, and nobody let it in."""
    # What goes by a token was let in by the outbox already.
    is_post = method == "POST" and path.endswith(("/messages", "/typing"))
    is_edit = method == "PATCH" and "/messages/" in path
    return not (is_post or is_edit or "/webhooks/" in path or _INTERACTIONS in path)
