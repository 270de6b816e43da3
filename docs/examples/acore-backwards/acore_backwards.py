"""A provider that says everything backwards: the least that one of your own takes."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from acore_bot.messages import ChatRequest, Delta, End, ModelInfo, Piece, Usage
from acore_bot.providers.performance import Measurement, PerformanceLog


class Backwards:
    """Serves one model, `plain`. With `shout`, it speaks in capitals."""

    def __init__(self, *, name: str, shout: bool = False) -> None:
        self._name, self._shout = name, shout
        performance = PerformanceLog()
        self._measured = performance.measured
        self.get_performance_stats = performance.stats
        self.reset_metrics = performance.reset

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[Piece]]:
        """Open the answer."""
        with self._measured(request.model) as measurement:
            async with aclosing(self._say(request, measurement)) as pieces:
                yield pieces

    async def _say(self, request: ChatRequest, measurement: Measurement) -> AsyncGenerator[Piece]:
        words = [message.text.split() for message in request.messages]
        for word in reversed(words[-1]):
            yield Delta(f"{word.upper() if self._shout else word} ")
        usage = Usage(prompt_tokens=sum(map(len, words)), completion_tokens=len(words[-1]))
        end = End(finish_reason="stop", usage=usage, provider=self._name, model=request.model)
        measurement.note_end(end)
        yield end

    async def describe(self, model: str, *, local_only: bool = False) -> ModelInfo:  # noqa: ARG002
        """Tell its window."""
        return ModelInfo(context_tokens=8192)

    async def list_models(self) -> tuple[str, ...]:
        """Name its models."""
        return ("plain",)

    async def aclose(self) -> None:
        """Do nothing, for nothing was opened."""
