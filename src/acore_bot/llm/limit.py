"""Lets a provider write a few answers at once, and the others wait in a line that is fair.

The line takes one request of each person in turn, and those of one person in their order: whoever
asks a hundred things at once delays the others by one each round. When it is full, a newcomer may
still take the last place of whoever holds the most. Each who waits is told the place and how long
it may take, measured from how long the answers before took; who cannot be served in time is refused
at once, so that another model can be asked.

Entering, leaving and serving take constant time; telling everybody a new place takes as many steps
as there are places, which are few.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from itertools import chain, zip_longest
from typing import Final, Literal, TypeAlias

from msgspec import Struct, structs

from acore_bot.contracts import PerformanceStats, Provider
from acore_bot.errors import QueueFull
from acore_bot.messages import ChatRequest, End, ModelInfo, Piece, Waiting

WEIGHT_OF_NEWEST: Final = 0.2  # in the moving average of how long a slot is held

_State: TypeAlias = Literal["waiting", "serving", "refused", "left"]


class LimitOptions(Struct, frozen=True, kw_only=True):
    """How many streams may be open at once, how many may wait, and for how long at the most."""

    max_streams: int
    max_waiting: int = 32
    max_wait_seconds: float = 30.0


class LimitedModel:
    """A `Provider` around one: at most `max_streams` of its streams are open at once.

    `name` is the provider's, for the error. Raises `QueueFull` on entering the block if the line is
    full or too slow, and while waiting if the time is up or the place is given to somebody else.
    """

    def __init__(
        self,
        model: Provider,
        options: LimitOptions,
        *,
        name: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model = model
        self._options = options
        self._name = name
        self._clock = clock
        self._line = _Line()
        self._streams = 0
        self._held_seconds: float | None = None
        self._refused = 0
        self._served = 0

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[Piece]]:
        """Take a slot or a place in the line. The waiting itself is done by whoever iterates."""
        place = self._enter(request)
        try:
            async with aclosing(self._pieces(request, place)) as pieces:
                yield pieces
        finally:
            self._leave(place)

    async def describe(self, model: str, *, local_only: bool = False) -> ModelInfo:
        """Ask the provider, whoever waits."""
        return await self._model.describe(model, local_only=local_only)

    async def list_models(self) -> tuple[str, ...]:
        """Ask the provider, whoever waits."""
        return await self._model.list_models()

    def get_performance_stats(self) -> PerformanceStats:
        """Tell how the provider has done; the time in the line is no part of it."""
        return self._model.get_performance_stats()

    def reset_metrics(self) -> None:
        """Let the provider begin to measure anew."""
        self._model.reset_metrics()

    async def aclose(self) -> None:
        """Close the provider. May be called more than once."""
        await self._model.aclose()

    def stats(self) -> dict[str, float]:
        """Tell how many stream and wait now, how many were refused and served so far, and the
        moving average of how long a slot is held, 0 before the first was."""
        return {
            "streams": self._streams,
            "waiting": len(self._line),
            "refused": self._refused,
            "served": self._served,
            "held_seconds": self._held_seconds or 0.0,
        }

    async def _pieces(self, request: ChatRequest, place: "_Place") -> AsyncGenerator[Piece]:
        told, entered_at = 0, self._clock()
        while place.state == "waiting":
            if place.position != told:
                told = place.position
                yield Waiting(told, self._wait_from(told))
            else:
                await self._news_of(place)
        if place.state == "refused":
            raise self._refusal(request, place)
        queued_seconds = place.granted_at - entered_at if told else 0.0
        try:
            async with self._model.stream(request) as pieces:
                async for piece in pieces:
                    if told and isinstance(piece, End):
                        yield structs.replace(piece, queued_seconds=queued_seconds)
                    else:
                        yield piece
        finally:
            self._leave(place)  # at once, however long the reader stays in the block

    async def _news_of(self, place: "_Place") -> None:
        place.news.clear()
        try:
            async with asyncio.timeout(place.until - self._clock()):
                await place.news.wait()
        except TimeoutError:
            self._refuse(place)

    def _enter(self, request: ChatRequest) -> "_Place":
        latest = self._clock() + self._options.max_wait_seconds
        until = latest if request.deadline is None else min(latest, request.deadline)
        place = _Place(request.asker, until)
        if self._streams < self._options.max_streams:
            self._grant(place)
            return place
        self._join_line(place)
        if place.state == "refused":
            raise self._refusal(request, place)
        return place

    def _join_line(self, place: "_Place") -> None:
        displaced = None
        if len(self._line) >= self._options.max_waiting:
            displaced = self._line.last_to_make_way_for(place.asker)
            if displaced is None:
                self._turn_away(place)
                return
        self._line.add(place)
        self._tell_places()
        wait = self._wait_from(place.position)
        if wait is not None and self._clock() + wait > place.until:
            self._refuse(place)
        elif displaced:
            self._refuse(displaced)

    def _turn_away(self, place: "_Place") -> None:
        place.position = len(self._line) + 1
        self._refused += 1
        place.change("refused")

    def _grant(self, place: "_Place") -> None:
        self._streams += 1
        place.granted_at = self._clock()
        place.change("serving")

    def _leave(self, place: "_Place") -> None:
        if place.state == "waiting":
            self._line.remove(place)
            self._tell_places()
        elif place.state == "serving":
            self._free_slot(self._clock() - place.granted_at)
        place.change("left")

    def _free_slot(self, held_seconds: float) -> None:
        self._streams -= 1
        self._served += 1
        average = held_seconds if self._held_seconds is None else self._held_seconds
        self._held_seconds = average + WEIGHT_OF_NEWEST * (held_seconds - average)
        if self._line:
            self._grant(self._line.take_next())
            self._tell_places()

    def _refuse(self, place: "_Place") -> None:
        if place.state == "waiting":  # else a slot came in the moment in which the time was up
            self._line.remove(place)
            self._refused += 1
            place.change("refused")
            self._tell_places()

    def _tell_places(self) -> None:
        for position, place in enumerate(self._line, start=1):
            place.move(position)

    def _wait_from(self, position: int) -> float | None:
        if self._held_seconds is None:
            return None
        return position * self._held_seconds / self._options.max_streams

    def _refusal(self, request: ChatRequest, place: "_Place") -> QueueFull:
        return QueueFull(
            provider=self._name,
            model=request.model,
            remedy="Please ask again a little later.",
            retry_after_seconds=self._wait_from(place.position),
        )


class _Place:
    """A request on its way through: in the line until the moment `until`, at `position` of it, then
    with a slot. `news` is set when any of this changes."""

    def __init__(self, asker: str, until: float) -> None:
        self.asker = asker
        self.until = until
        self.state: _State = "waiting"
        self.position = 0
        self.granted_at = 0.0
        self.news = asyncio.Event()

    def change(self, state: _State) -> None:
        """Enter a state."""
        self.state = state
        self.news.set()

    def move(self, position: int) -> None:
        """Take another position in the line."""
        if position != self.position:
            self.position = position
            self.news.set()


class _Line:
    """Those who wait, in the order in which they will be served."""

    def __init__(self) -> None:
        self._by_asker: OrderedDict[str, OrderedDict[_Place, None]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[_Place]:
        rounds = zip_longest(*self._by_asker.values())
        return (place for place in chain.from_iterable(rounds) if place is not None)

    def add(self, place: _Place) -> None:
        """Put a request at the end of those of its asker."""
        self._by_asker.setdefault(place.asker, OrderedDict())[place] = None
        self._count += 1

    def remove(self, place: _Place) -> None:
        """Take a request out, wherever it stands."""
        requests = self._by_asker[place.asker]
        del requests[place]
        self._count -= 1
        if not requests:
            del self._by_asker[place.asker]

    def take_next(self) -> _Place:
        """Take out the first request of whose turn it is, and pass the turn on."""
        requests = next(iter(self._by_asker.values()))
        place = next(iter(requests))
        self._by_asker.move_to_end(place.asker)
        self.remove(place)
        return place

    def last_to_make_way_for(self, asker: str) -> _Place | None:
        """Return the last request of whoever has the most, if that is more than this asker would
        have with one more."""
        longest = max(self._by_asker.values(), key=len, default=())
        if len(longest) <= len(self._by_asker.get(asker, ())) + 1:
            return None
        return next(reversed(longest))
