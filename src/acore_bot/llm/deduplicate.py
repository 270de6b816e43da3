"""A coat for a chat model under which identical requests share one stream while it is in the air.

A flight is one growing list. Its task reads upstream and appends; each reader keeps its own place
in the list and, when it is behind, gets all that came since as one delta. So a late reader replays
what was said, a slow one holds nobody up, and the text is held once however many read it.

A flight belongs to no reader. Whoever leaves, the first one too, harms nobody; the last to leave
stops the work upstream. An error reaches each reader as an exception of its own. What is over is
out of the table at once: to remember answers is the response cache's matter.
"""

import asyncio
import copy
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final, Self, TypeAlias

import msgspec
from msgspec import Struct, structs

from acore_bot.contracts import ChatModel
from acore_bot.errors import ModelError, TimedOut, Unavailable, Unexpected
from acore_bot.messages import ChatMessage, ChatRequest, Delta, End, ModelInfo, Piece
from acore_bot.telemetry.events import Emit, FlightJoined, ignore

log = logging.getLogger(__name__)

Stream: TypeAlias = AbstractAsyncContextManager[AsyncIterator[Piece]]
OpenStream: TypeAlias = Callable[[ChatRequest], Stream]
Stats: TypeAlias = dict[str, int | float]
Shape: TypeAlias = tuple[str, bool, str, tuple[ChatMessage, ...], int, float | None, int | None]

_ENCODER: Final = msgspec.msgpack.Encoder()
_NOTHING: Final = Delta()


class DeduplicationOptions(Struct, frozen=True, kw_only=True):
    """In which scopes equal requests share an answer. What is personal is never shared."""

    public: bool = True
    guilds: bool = True
    private: bool = True

    def allow(self, request: ChatRequest) -> bool:
        """Tell whether a request may share. A scope of no known kind never does."""
        match request.scope.partition(":")[0]:
            case "public":
                is_open = self.public
            case "guild":
                is_open = self.guilds
            case "private":
                is_open = self.private
            case _:
                is_open = False
        return is_open and not request.is_personal


class RequestDeduplicator:
    """The table of flights: what is in the air now, by key, and the tasks that fly it.

    `open_stream` is how a flight takes off; `clock` is the one that deadlines are told by.
    """

    def __init__(
        self,
        open_stream: OpenStream,
        *,
        clock: Callable[[], float] = time.monotonic,
        emit: Emit = ignore,
    ) -> None:
        self._emit = emit
        self.clock = clock
        self._open_stream = open_stream
        self._flights: dict[Shape, _Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self._requests = 0
        self._upstream_calls = 0

    @staticmethod
    def create_request_key(request: ChatRequest) -> str:
        """Return the digest, in hex, of who may share the answer and of all that shapes it."""
        # In this encoding every part is preceded by its length: no two requests run together.
        # SHA-256, because processors have instructions for it: BLAKE2 took half as long again.
        return hashlib.sha256(_ENCODER.encode(_shape_of(request))).hexdigest()

    def board(self, request: ChatRequest) -> "_Flight":
        """Join the flight of a request, or start it. Whoever boards has to `leave`. Raises
        `Unavailable` if all was closed."""
        self._admit(request)
        # Not the digest: that is shorter to keep, but a flight is brief, and to compare what is
        # equal takes half the time.
        shape = _shape_of(request)
        if flight := self._flights.get(shape):
            flight.is_shared = True
            flight.readers += 1
            self._emit(FlightJoined(request.model, flight.readers))
            return flight
        flight = self._take_off(shape, request)
        flight.readers += 1
        return flight

    def leave(self, flight: "_Flight") -> asyncio.Task[None] | None:
        """Leave a flight. Return its task if it is still under way and nobody is left to read it:
        it was told to stop, and is to be waited for."""
        flight.readers -= 1
        if flight.readers:
            return None
        self._forget(flight)
        if flight.task.done():
            return None
        if not flight.is_over:
            flight.task.cancel()
        return flight.task

    def count_unshared(self, request: ChatRequest) -> None:
        """Count a request that goes upstream by itself. Raises `Unavailable` if all was closed."""
        self._admit(request)
        self._upstream_calls += 1

    def get_stats(self) -> Stats:
        """Count the flights in the air, those with several readers, and since the start the
        requests, those that went upstream, those that joined, and these in percent of all."""
        joined = self._requests - self._upstream_calls
        return {
            "active_deduplication": sum(flight.readers > 1 for flight in self._flights.values()),
            "pending_requests": len(self._flights),
            "requests": self._requests,
            "upstream_calls": self._upstream_calls,
            "joined": joined,
            "saved_percent": round(100 * joined / max(1, self._requests), 1),
        }

    async def aclose(self) -> None:
        """Stop all flights, and start no more; those who still read one get `Unavailable`."""
        self._is_closed = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _admit(self, request: ChatRequest) -> None:
        if self._is_closed:
            raise _named(Unavailable, request, "closed")
        self._requests += 1

    def _take_off(self, shape: Shape, request: ChatRequest) -> "_Flight":
        flight = self._flights[shape] = _Flight(shape)
        self._upstream_calls += 1
        flight.task = asyncio.create_task(self._fly(flight, request))
        self._tasks.add(flight.task)
        # Not at the end of `_fly`: a task that is cancelled before its first step never runs.
        flight.task.add_done_callback(partial(self._land, flight))
        return flight

    async def _fly(self, flight: "_Flight", request: ChatRequest) -> None:
        # A deadline is its reader's own matter: with the first one's, others would be cut short.
        async with self._open_stream(structs.replace(request, deadline=None)) as pieces:
            async for piece in pieces:
                flight.append(piece)
                if flight.is_over:
                    self._forget(flight)

    def _land(self, flight: "_Flight", task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._forget(flight)
        if task.cancelled():
            flight.finish(Unavailable(detail="the flight was cancelled"))
        else:
            flight.finish(task.exception())

    def _forget(self, flight: "_Flight") -> None:
        # A newer flight may have the same shape by now.
        if self._flights.get(flight.shape) is flight:
            del self._flights[flight.shape]


class _Flight:
    """What one stream upstream has said so far, and those who wait for more."""

    task: asyncio.Task[None]

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.pieces: list[Piece] = []
        self.readers = 0
        self.is_shared = False
        self.is_over = False
        self._error: BaseException | None = None
        self._loop = asyncio.get_running_loop()
        self._waiting: list[asyncio.Future[None]] = []
        # What the pieces say, index for index: a slice of these is joined at no cost to speak of.
        self._texts: list[str] = []
        self._reasonings: list[str] = []

    def append(self, piece: Piece) -> None:
        """Add a piece and wake those who wait. An `End` is the last one."""
        if isinstance(piece, End):
            # Whoever joined did so before: all its readers are told the same.
            piece = structs.replace(piece, is_shared=self.is_shared)
            self.is_over = True
        said = piece if isinstance(piece, Delta) else _NOTHING
        self.pieces.append(piece)
        self._texts.append(said.text)
        self._reasonings.append(said.reasoning)
        self._wake()

    def finish(self, error: BaseException | None) -> None:
        """Note that nothing follows, and why, unless an `End` has said so."""
        if not self.is_over:
            self.is_over = True
            self._error = error
            self._wake()
        elif error:
            log.warning("a stream failed to close after its end", exc_info=error)

    def add_waiter(self) -> asyncio.Future[None]:
        """Return a future that is done as soon as something was appended or nothing follows.

        It is the reader's own: were it shared, cancelling one reader would cancel it for all.
        """
        waiter = self._loop.create_future()
        self._waiting.append(waiter)
        return waiter

    def since(self, index: int) -> tuple[Piece, int]:
        """Return what came from an index on as one piece, and the index after it.

        Of places in the queue only the newest matters, and none once there is text. An `End` stays
        by itself.
        """
        stop = len(self.pieces)
        if index < stop - 1 and isinstance(self.pieces[-1], End):
            stop -= 1
        if stop == index + 1:
            return self.pieces[index], stop
        text = "".join(self._texts[index:stop])
        reasoning = "".join(self._reasonings[index:stop])
        return (Delta(text, reasoning) if text or reasoning else self.pieces[stop - 1]), stop

    def parting(self) -> Exception:
        """Return what a reader who has read all is to raise: an error of its own, or just the end
        of the iteration."""
        if self._error is None:
            return StopAsyncIteration()
        error = _own_copy(self._error)
        error.__cause__ = self._error
        return error

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():  # it is, if its reader was cancelled
                waiter.set_result(None)


class _Reader:
    """One request's view of a flight: the stream that its asker gets."""

    __slots__ = ("_flight", "_index", "_request", "_table")

    _flight: _Flight

    def __init__(self, table: RequestDeduplicator, request: ChatRequest) -> None:
        self._table = table
        self._request = request
        self._index = 0

    async def __aenter__(self) -> Self:
        self._flight = self._table.board(self._request)
        return self

    async def __aexit__(self, *_: object) -> None:
        if stopping := self._table.leave(self._flight):
            # Not the task itself: who is cancelled while waiting must not disturb its closing.
            await asyncio.wait([stopping])

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Piece:
        flight = self._flight
        while self._index == len(flight.pieces):
            if flight.is_over:
                raise flight.parting()
            waiter = flight.add_waiter()
            await (waiter if self._request.deadline is None else self._in_time(waiter))
        piece, self._index = flight.since(self._index)
        return piece

    async def _in_time(self, waiter: asyncio.Future[None]) -> None:
        """Wait until the request's own deadline. Raises `TimedOut`."""
        deadline = self._request.deadline or 0.0
        try:
            async with asyncio.timeout(deadline - self._table.clock()):
                await waiter
        except TimeoutError:
            raise _named(TimedOut, self._request) from None


class DeduplicatedModel:
    """Answers requests that are equal, and in the air together, by one stream upstream."""

    def __init__(
        self,
        model: ChatModel,
        *,
        options: DeduplicationOptions = DeduplicationOptions(),  # noqa: B008 - it is frozen
        clock: Callable[[], float] = time.monotonic,
        emit: Emit = ignore,
    ) -> None:
        self._model = model
        self._options = options
        self._table = RequestDeduplicator(model.stream, clock=clock, emit=emit)

    def stream(self, request: ChatRequest) -> Stream:
        """Join the stream of an equal request if one is in the air, or else open one.

        After `aclose` it raises `Unavailable`, at once or on entry.
        """
        if self._options.allow(request):
            return _Reader(self._table, request)
        self._table.count_unshared(request)
        return self._model.stream(request)

    async def describe(self, model: str, *, local_only: bool = False) -> ModelInfo:
        """Ask the model that is covered."""
        return await self._model.describe(model, local_only=local_only)

    def get_cache_stats(self) -> dict[str, Stats]:
        """Return the counts of the table of flights, under `deduplication`."""
        return {"deduplication": self._table.get_stats()}

    async def aclose(self) -> None:
        """Stop all that is in the air, and take no more. May be called more than once."""
        await self._table.aclose()


def _shape_of(request: ChatRequest) -> Shape:
    """Return who may share the answer and all that shapes it, and nothing else."""
    return (
        request.scope,
        request.is_local_only,
        request.model,
        request.messages,
        request.max_tokens,
        request.temperature,
        request.seed,
    )


def _named(kind: type[ModelError], request: ChatRequest, detail: str = "") -> ModelError:
    provider, _, model = request.model.partition("/")
    return kind(provider=provider, model=model, detail=detail)


def _own_copy(error: BaseException) -> Exception:
    """Copy an exception with all its fields, without its traceback."""
    try:
        twin = copy.copy(error)
    except TypeError:  # a foreign class that wants other arguments than its `args`
        return Unexpected()
    return twin if isinstance(twin, Exception) else Unexpected()
