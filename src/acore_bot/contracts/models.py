"""Who answers: the promises of chat models and of those who serve them."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypedDict

from acore_bot.messages import (
    ChatRequest,
    ModelInfo,
    Piece,
)


class ChatModel(Protocol):
    """Answers a request as a stream."""

    def stream(self, request: ChatRequest) -> AbstractAsyncContextManager[AsyncIterator[Piece]]:
        """Open a stream of deltas that closes with exactly one `End`. While the request waits for
        its turn, its place in the queue may come before them.

        Leaving the block, for whatever reason, stops the work upstream. A stream that ends without
        a finish reason ends as `truncated`. Raises `ModelError`, on entry or while iterating.
        """
        ...

    async def describe(self, model: str, *, local_only: bool = False) -> ModelInfo:
        """Tell what is known of a model, asking its server if need be. Raises `ModelError`; with
        `local_only`, `CloudForbidden` rather than connecting to anything that is not local."""
        ...


class Percentiles(TypedDict):
    """The middle of lately, and what one in twenty exceeds. None where nothing was measured."""

    p50: float | None
    p95: float | None


class PerformanceStats(TypedDict):
    """How a provider has done since it was made or its metrics were reset.

    `total_requests` are those that are over, `errors` (by the error's `kind`, and `truncated`) and
    `cancelled_requests` among them. `first_delta_seconds` is of all that said something, all else
    of answers that came to a proper end. Percentiles are of the latest 512. Speed is in tokens that
    the server counted, a second of the whole answer.
    """

    last_response_time_seconds: float
    last_response_time_ms: float
    last_tps: float
    average_response_time_seconds: float
    average_response_time_ms: float
    total_requests: int
    total_tokens_generated: int
    model: str  # the one asked last
    first_delta_seconds: Percentiles
    tokens_per_second: Percentiles
    response_time_seconds: Percentiles
    errors: dict[str, int]
    cancelled_requests: int
    uptime_seconds: float


class Provider(ChatModel, Protocol):
    """Who serves models. It names them without the provider's own name in front."""

    async def list_models(self) -> tuple[str, ...]:
        """Name the models that can be asked, reaching the server. Raises `ModelError`."""
        ...

    def get_performance_stats(self) -> PerformanceStats:
        """Tell how it has done since it was made or its metrics were reset."""
        ...

    def reset_metrics(self) -> None:
        """Begin to measure anew."""
        ...

    async def aclose(self) -> None:
        """Let go of connections and processes. May be called more than once."""
        ...
