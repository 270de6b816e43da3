"""Asks another model where the first one gives no answer.

Each request has its candidates, in order: the model that was asked, the fallbacks, the last resort.
What an error calls for stands on its class in `errors.py`: ask the same model again, go on to the
next candidate, leave the model alone for a while (see `breaker`). All of it happens before the
first delta. After it nobody is changed under the reader's eyes, and errors pass through.

A local-only request is never taken to a cloud: the model below refuses it there with an error that
goes on to the next candidate, and whoever is described on the way is described under the same rule.

If nobody answers, the error is that of the model which was asked: it is the one that the person
knows of.
"""

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from msgspec import Struct, structs

from acore_bot.contracts import ChatModel
from acore_bot.errors import (
    AcoreError,
    BrokenStream,
    CloudForbidden,
    ConfigurationError,
    ModelError,
    QueueFull,
    RateLimited,
    TimedOut,
    TooLong,
)
from acore_bot.llm.breaker import Attempt, Breaker, RetryBudget
from acore_bot.messages import ChatRequest, Delta, End, ModelInfo, Piece, Waiting
from acore_bot.telemetry.events import BreakerChanged, BreakerState, Emit, FellBack, ignore

MAX_BREAKERS: Final = 1000


class FailoverOptions(Struct, frozen=True, kw_only=True):
    """Whom to ask in whose place, and for how long in all.

    Models are written `provider/model`. `patience_seconds` is the longest that a server may make
    us wait before it is asked again; `retry_share` how many retries there are for each request.
    """

    fallbacks: tuple[str, ...] = ()
    last_resort: str | None = None
    total_seconds: float = 300.0
    patience_seconds: float = 5.0
    retry_share: float = 0.2


class Failover:
    """A `ChatModel` over one that knows all models by their whole names.

    `clock` is monotonic; `random` returns numbers from 0 to 1.
    """

    def __init__(
        self,
        model: ChatModel,
        options: FailoverOptions,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = random.random,
        emit: Emit = ignore,
    ) -> None:
        self._model = model
        self._options = options
        self._clock = clock
        self._sleep = sleep
        self._random = random
        self._emit = emit
        self._budget = RetryBudget(share=options.retry_share, clock=clock)
        self._breakers: OrderedDict[str, Breaker] = OrderedDict()

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[Piece]]:
        """Stream the answer of the first candidate that gives one.

        Raises the `ModelError` of the model that was asked if none does, `TooLong` of another if
        that alone kept it from answering, and `ConfigurationError` if there is no such model.
        """
        deadline = request.deadline
        if deadline is None:
            deadline = self._clock() + self._options.total_seconds
        async with aclosing(self._pieces(request, deadline)) as pieces:
            yield pieces

    async def describe(self, model: str, *, local_only: bool = False) -> ModelInfo:
        """Tell what is known of the model; while its breaker refuses it, or if it may not be asked
        for being in a cloud, of who answers instead.

        A catalogue that fails tells nothing: whether the model answers is found out by asking it.
        Raises `ConfigurationError` if there is no such model, and the `ModelError` of that model if
        nobody can be asked.
        """
        journey = self._set_out(model, local_only=local_only)
        for candidate in journey.ahead:
            if attempt := self._enter(journey, candidate):
                attempt.abandon()  # a description may be an old one, so it proves nothing
                try:
                    return await self._model.describe(candidate, local_only=local_only)
                except (CloudForbidden, ConfigurationError) as error:
                    journey.note(error)
                except ModelError as error:
                    if candidate == model:
                        return ModelInfo()
                    journey.note(error)
            if journey.is_over:
                break
        raise journey.failure()

    async def _pieces(self, request: ChatRequest, deadline: float) -> AsyncGenerator[Piece]:
        journey = self._set_out(request.model, local_only=request.is_local_only)
        while attempt := await self._next_attempt(journey, deadline):
            if not journey.has_tried:
                self._budget.count_first_try()
                journey.has_tried = True
            asked = structs.replace(request, model=journey.model, deadline=deadline)
            if journey.model != journey.asked:
                asked = await self._without_what_is_not_seen(asked)
            try:
                async with self._model.stream(asked) as pieces:
                    async for piece in pieces:
                        yield self._seen(piece, attempt, journey)
                return
            except (ModelError, ConfigurationError) as error:
                journey.note(error)
                if isinstance(error, ModelError):
                    attempt.fail(error)
                if journey.has_begun:
                    raise
            finally:
                attempt.abandon()
        raise journey.refusal_of_another() or journey.failure()

    async def _next_attempt(self, journey: "_Journey", deadline: float) -> Attempt | None:
        """Ask again, or go on to the next candidate that may be asked. None if there is none."""
        pause = self._pause_before_retry(journey, deadline)
        if pause is not None:
            await self._sleep(pause)
            journey.retries += 1
            if attempt := self._enter(journey, journey.model):
                return attempt
        while not journey.is_over and self._clock() < deadline:
            if (model := next(journey.ahead, None)) is None:
                break
            # A long line is no outage: better to be told so than to hear a much smaller model.
            if model == self._options.last_resort and journey.is_only_busy:
                break
            is_large_enough = await self._is_large_enough(journey, model)
            if is_large_enough and (attempt := self._enter(journey, model)):
                return attempt
        return None

    def _pause_before_retry(self, journey: "_Journey", deadline: float) -> float | None:
        """Return how many seconds to wait before asking the same model again, None for never."""
        error = journey.error
        if error is None or journey.retries >= error.retries:
            return None
        told = error.retry_after_seconds
        if told is None and isinstance(error, RateLimited):
            return None
        wait = max(0.0, told or 0.0)
        pause = wait + self._random() * error.pause_seconds
        is_soon = wait <= self._options.patience_seconds and self._clock() + pause < deadline
        is_alive = self._breaker(journey.model).state == "closed"
        return pause if is_soon and is_alive and self._budget.take() else None

    def _seen(self, piece: Piece, attempt: Attempt, journey: "_Journey") -> Piece:
        """Report what a piece tells, and return it as the reader is to have it."""
        match piece:
            case Waiting():
                if attempt.breaker.state == "open":  # it died while others were being served
                    raise attempt.breaker.refusal()
            case Delta():
                self._begin(attempt, journey)
            case End():
                return self._ended(piece, attempt, journey)
        return piece

    def _ended(self, end: End, attempt: Attempt, journey: "_Journey") -> End:
        if end.finish_reason == "truncated":
            error = _named(BrokenStream, journey.model, "it ended without a finish reason")
            if not journey.has_begun:
                raise error
            attempt.fail(error)
        self._begin(attempt, journey)
        attempt.succeed()
        if journey.model == journey.asked:
            return end
        return structs.replace(end, fell_back_from=journey.asked)

    def _begin(self, attempt: Attempt, journey: "_Journey") -> None:
        if journey.has_begun:
            return
        journey.has_begun = True
        attempt.begin_answer()
        if journey.model != journey.asked:
            kind = journey.failure().kind
            self._emit(FellBack(asked=journey.asked, answered_by=journey.model, kind=kind))

    async def _is_large_enough(self, journey: "_Journey", model: str) -> bool:
        """Tell whether a candidate has a larger window than those which refused the prompt."""
        if journey.too_long is None:
            return True
        refused = journey.too_long.context_tokens
        refused = refused or await self._window(journey.too_long_for, journey)
        offered = await self._window(model, journey)
        return refused is not None and offered is not None and offered > refused

    async def _without_what_is_not_seen(self, request: ChatRequest) -> ChatRequest:
        """Leave pictures out for a model that cannot see them: it would refuse the request."""
        if not any(message.images for message in request.messages):
            return request
        try:
            info = await self._model.describe(request.model, local_only=request.is_local_only)
        except (ModelError, ConfigurationError):
            return request  # asking it will tell what is wrong
        if "vision" in info.abilities:
            return request
        blind = tuple(structs.replace(message, images=()) for message in request.messages)
        return structs.replace(request, messages=blind)

    async def _window(self, model: str, journey: "_Journey") -> int | None:
        if (attempt := self._breaker(model).enter()) is None:
            return None
        attempt.abandon()
        try:
            info = await self._model.describe(model, local_only=journey.local_only)
        except (ModelError, ConfigurationError):
            return None
        return info.context_tokens

    def _set_out(self, asked: str, *, local_only: bool) -> "_Journey":
        last = self._options.last_resort
        names = (asked, *self._options.fallbacks, *((last,) if last else ()))
        return _Journey(asked=asked, ahead=iter(dict.fromkeys(names)), local_only=local_only)

    def _enter(self, journey: "_Journey", model: str) -> Attempt | None:
        journey.move_to(model)
        breaker = self._breaker(model)
        if (attempt := breaker.enter()) is None:
            journey.note(breaker.refusal())
        return attempt

    def _breaker(self, model: str) -> Breaker:
        if model not in self._breakers:
            self._breakers[model] = self._make_breaker(model)
        self._breakers.move_to_end(model)
        if len(self._breakers) > MAX_BREAKERS:
            self._breakers.popitem(last=False)
        return self._breakers[model]

    def _make_breaker(self, model: str) -> Breaker:
        def tell(state: BreakerState) -> None:
            self._emit(BreakerChanged(model, state))

        return Breaker(clock=self._clock, random=self._random, on_change=tell)


@dataclass
class _Journey:
    """How far a request has come. `error` is the last one of `model`, which is asked now;
    `too_long` is the last refusal of the prompt's length."""

    asked: str
    ahead: Iterator[str]
    local_only: bool
    model: str = ""
    retries: int = 0
    error: ModelError | None = None
    too_long: TooLong | None = None
    too_long_for: str = ""
    has_tried: bool = False
    has_begun: bool = False
    is_over: bool = False
    _first_error: AcoreError | None = None

    def move_to(self, model: str) -> None:
        """Take up a candidate, or the same once more."""
        if model != self.model:
            self.model, self.retries = model, 0
        self.error = None

    def note(self, error: ModelError | ConfigurationError) -> None:
        """Take in why this candidate gives no answer."""
        self._first_error = self._first_error or error  # the asked model comes first
        if isinstance(error, ConfigurationError):
            # A fallback that is not set up is no fallback; a wrong name must be told.
            self.is_over = self.model == self.asked
            return
        self.error = error
        self.is_over = not error.falls_over
        if isinstance(error, TooLong):
            self.too_long, self.too_long_for = error, self.model

    @property
    def is_only_busy(self) -> bool:
        """Whether the model that was asked is well, and too many others want it."""
        return isinstance(self._first_error, QueueFull)

    def refusal_of_another(self) -> TooLong | None:
        """Return why who could have answered instead did not, if a shorter prompt would do."""
        is_own = isinstance(self._first_error, TooLong)
        return None if is_own else self.too_long

    def failure(self) -> AcoreError:
        """Return the error of the model that was asked."""
        return self._first_error or _named(TimedOut, self.asked, "no time was left to ask it")


def _named(kind: type[ModelError], name: str, detail: str) -> ModelError:
    provider, _, model = name.partition("/")
    return kind(provider=provider, model=model, detail=detail)
