"""The promises between rooms. Whoever keeps one can stand wherever it is asked for.

Each has one suite in `tests/contracts/`, run against every implementation.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypedDict

from acore_bot.messages import (
    Attachment,
    ChatRequest,
    ConversationSummary,
    FileContent,
    Finding,
    IncomingCommand,
    IncomingMessage,
    Message,
    ModelInfo,
    Piece,
)
from acore_bot.telemetry.events import Event


class ChatModel(Protocol):
    """Answers a request as a stream."""

    def stream(self, request: ChatRequest) -> AbstractAsyncContextManager[AsyncIterator[Piece]]:
        """Open a stream of deltas that closes with exactly one `End`. While the request waits for
        its turn, its place in the queue may come before them.

        Leaving the block, for whatever reason, stops the work upstream. A stream that ends without
        a finish reason ends as `truncated`. Raises `ModelError`, on entry or while iterating.
        """
        ...

    async def describe(self, model: str) -> ModelInfo:
        """Tell what is known of a model, asking its server if need be. Raises `ModelError`."""
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


class History(Protocol):
    """Keeps what was said. It is a tree: each message knows its parent."""

    async def recent(self, conversation: str, limit: int) -> tuple[Message, ...]:
        """Return the newest `limit` messages of a conversation, oldest first."""
        ...

    async def chain(self, message_id: int, limit: int) -> tuple[Message, ...]:
        """Return a message and what it continues, along the parents, at most `limit`, oldest first.

        A part's id stands for the answer that it is a part of. Empty if there is no such message.
        """
        ...

    async def append(self, messages: Sequence[Message]) -> None:
        """Store messages, all or none; return when they would survive `kill -9`.

        Raises `DuplicateMessage` if one of the ids is stored already.
        """
        ...

    async def edit(self, message_id: int, text: str) -> bool:
        """Replace a message's text. False if there is no such message."""
        ...

    async def delete(self, message_id: int) -> bool:
        """Remove a message, or the answer that a part belongs to; what continued it continues its
        parent. False if there is none."""
        ...

    async def clear(self, conversation: str) -> int:
        """Remove a whole conversation. Return how many messages it had."""
        ...

    async def conversations(self) -> tuple[ConversationSummary, ...]:
        """List the conversations, the most recently used first."""
        ...


class ReplyTarget(Protocol):
    """Where a message came from and its answer becomes visible. Raises `TargetGone` if that is no
    more, and nothing else, unless it says so."""

    @property
    def max_length(self) -> int | None:
        """How long one message may be, in UTF-16 code units; None if that does not matter."""
        ...

    def typing(self) -> AbstractAsyncContextManager[None]:
        """Show that an answer is being prepared, until the block is left."""
        ...

    async def post(self, text: str, *, final: bool = False) -> int:
        """Show a new message and return its id. `final` promises that no edit follows."""
        ...

    async def ready(self, message_id: int, *, final: bool = False) -> None:
        """Return when a message may be edited, which has to follow at once: so what is shown is the
        newest there is by then. Those that are final come first."""
        ...

    async def edit(self, message_id: int, text: str, *, final: bool = False) -> None:
        """Show other text in a message."""
        ...

    async def attach(self, text: str, file_name: str, content: str) -> int:
        """Show a new message with a text file and return its id."""
        ...

    async def fetch(self, attachment: Attachment) -> bytes:
        """Return what a file holds that came with the message. Raises `FileUnreadable`."""
        ...


class FileReader(Protocol):
    """Makes sense of files that strangers sent."""

    async def read(self, attachment: Attachment, content: bytes) -> FileContent:
        """Return what a file says or shows, within limits. Raises `FileUnreadable`."""
        ...


class Handler(Protocol):
    """What a front end hands its messages to: the core, seen from outside."""

    async def __call__(
        self, incoming: IncomingMessage | IncomingCommand, target: ReplyTarget
    ) -> None:
        """Do everything that one message calls for. Cancelling stops its answer, keeps what was
        said and marks it. Errors are told to the person through `target`, not raised."""
        ...


class Frontend(Protocol):
    """Where people are."""

    def on_event(self, event: Event) -> None:
        """Hear what happens elsewhere, to show it or to ignore it."""
        ...

    async def run(self, handler: Handler) -> None:
        """Serve until told to stop; let no message vanish in silence."""
        ...

    async def examine(self) -> tuple[Finding, ...]:
        """Look at all that it needs, without serving anybody, and say what is wrong with it."""
        ...
