"""A provider that says what it is told: for tests, demos, and a first look without a model."""

import asyncio
import re
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Final, TypeAlias

from msgspec import Struct

from acore_bot.contracts import PerformanceStats
from acore_bot.messages import (
    ChatRequest,
    Delta,
    End,
    FinishReason,
    ModelInfo,
    Piece,
    Usage,
    Waiting,
)
from acore_bot.providers.performance import Measurement, PerformanceLog


class _Cut(Struct, frozen=True):
    """The type of `CUT`."""


CUT: Final = _Cut()
"""In an answer: the stream breaks off here, as a lost connection does."""

Item: TypeAlias = str | Piece | BaseException | asyncio.Event | _Cut
Answer: TypeAlias = str | Sequence[Item]


class Scripted:
    """A `Provider` with its answers written beforehand.

    An answer is a text, said word by word, or a sequence: texts and deltas to say, an event to wait
    for, and at the end an exception to raise, an `End`, or `CUT`; without those it ends as `stop`.
    Answers are given in order and the last one for ever; without any, it echoes the last user.
    `requests` are those that were asked, in order; `open_streams` counts those not left yet.
    """

    def __init__(
        self,
        *,
        name: str = "scripted",
        answers: Sequence[Answer] = (),
        delay_seconds: float = 0.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        context_tokens: int = 8192,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.requests: list[ChatRequest] = []
        self.open_streams = 0
        self.max_open_streams = 0
        self._name = name
        self._answers = deque(answers)
        self._delay_seconds = delay_seconds
        self._sleep = sleep
        self._context_tokens = context_tokens
        self._performance = PerformanceLog(clock)

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[Piece]]:
        """Open the next answer."""
        self.requests.append(request)
        answer = self._next_answer(request)
        self.open_streams += 1
        self.max_open_streams = max(self.max_open_streams, self.open_streams)
        try:
            with self._performance.measured(request.model) as measurement:
                said = self._say(request, answer)
                async with aclosing(_observed(said, measurement)) as pieces:
                    measurement.note_open()
                    yield pieces
        finally:
            self.open_streams -= 1

    async def describe(
        self,
        model: str,  # noqa: ARG002 - the promise has it
        *,
        local_only: bool = False,  # noqa: ARG002 - it connects to nobody
    ) -> ModelInfo:
        """Tell the context that was given."""
        return ModelInfo(context_tokens=self._context_tokens)

    async def list_models(self) -> tuple[str, ...]:
        """Name the one model there is; any other name is served as well."""
        return ("script",)

    def get_performance_stats(self) -> PerformanceStats:
        """Tell how it has done since it was made or its metrics were reset."""
        return self._performance.stats()

    def reset_metrics(self) -> None:
        """Begin to measure anew."""
        self._performance.reset()

    async def aclose(self) -> None:
        """Do nothing: it holds nothing."""

    def _next_answer(self, request: ChatRequest) -> Answer:
        if len(self._answers) > 1:
            return self._answers.popleft()
        if self._answers:
            return self._answers[0]
        return next((said.text for said in reversed(request.messages) if said.role == "user"), "")

    async def _say(self, request: ChatRequest, answer: Answer) -> AsyncGenerator[Piece]:
        said = ""
        for item in _words(answer) if isinstance(answer, str) else answer:
            await self._sleep(self._delay_seconds)
            match item:
                case str() | Delta():
                    delta = Delta(item) if isinstance(item, str) else item
                    said += delta.text
                    yield delta
                case Waiting():
                    yield item
                case asyncio.Event():
                    await item.wait()
                case BaseException():
                    raise item
                case End():
                    yield item
                    return
                case _Cut():
                    yield self._end(request, said, "truncated")
                    return
        yield self._end(request, said, "stop")

    def _end(self, request: ChatRequest, said: str, finish_reason: FinishReason) -> End:
        asked = sum(len(message.text.split()) for message in request.messages)
        return End(
            finish_reason=finish_reason,
            usage=Usage(prompt_tokens=asked, completion_tokens=len(said.split())),
            provider=self._name,
            model=request.model,
        )


async def _observed(said: AsyncGenerator[Piece], measurement: Measurement) -> AsyncGenerator[Piece]:
    async with aclosing(said):
        try:
            async for piece in said:
                if isinstance(piece, End):
                    measurement.note_end(piece)
                elif isinstance(piece, Delta) and measurement.first_delta_seconds is None:
                    measurement.note_first_delta()
                yield piece
        except Exception as error:
            measurement.note_error(error)
            raise


def _words(text: str) -> list[str]:
    """Cut a text before each word, so that the pieces joined are the text."""
    return re.findall(r"^\s+|\S+\s*", text)
