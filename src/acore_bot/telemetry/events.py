"""The records of what happened. The core emits them and never asks who listens.

They hold no message text, no names and no secrets; who or where is said by a salted hash, if at
all. Durations are seconds of a monotonic clock. Models are written `provider/model`.
"""

from collections.abc import Callable
from typing import Literal, TypeAlias

from msgspec import Struct


class ModelLoading(Struct, frozen=True):
    """A model is being loaded into memory; the first answer has to wait for it."""

    model: str


class ModelLoaded(Struct, frozen=True):
    """A model is ready to answer."""

    model: str
    seconds: float


class Stages(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the time of a turn went, in seconds, in the order in which it passes. None was not
    reached.

    `admitted`: from being heard until it was the turn's turn; `context`: reading what was said and
    sent, and building the request; `queued`: in the line before a model; `first_delta`: from there
    to its first piece; `stream`: to its last; `edits`: until all of it was shown; `commit`: until
    it was kept.
    """

    admitted: float | None = None
    context: float | None = None
    queued: float | None = None
    first_delta: float | None = None
    stream: float | None = None
    edits: float | None = None
    commit: float | None = None


STAGES = Stages.__struct_fields__


class TurnFinished(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message was answered, wholly or in part. `first_delta_seconds` is None if nothing came;
    `cost` is in US dollars, None where it is unknown; `place` is a salted hash."""

    model: str
    finish_reason: str
    first_delta_seconds: float | None
    total_seconds: float
    stages: Stages = Stages()
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    cost: float | None = None
    is_shared: bool = False
    is_cached: bool = False
    fell_back_from: str = ""
    place: str = ""


class TurnFailed(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message found no answer. `kind` is the error's stable word."""

    model: str
    kind: str
    total_seconds: float
    stages: Stages = Stages()
    place: str = ""


class TurnRefused(Struct, frozen=True):
    """A message was not to be answered, and its author was told so. `kind` is the stable word of
    the reason."""

    kind: str


class FlightJoined(Struct, frozen=True):
    """Somebody joined a request that was in the air already, so no further call was made.
    `readers` is how many share it now."""

    model: str
    readers: int


class CachedAnswer(Struct, frozen=True):
    """A question was answered from answers given before; so many tokens were saved."""

    model: str
    saved_tokens: int


class HistoryRead(Struct, frozen=True):
    """A conversation was wanted, and its newest messages were in memory (`is_hit`) or not."""

    is_hit: bool


class HistoryEvicted(Struct, frozen=True):
    """Conversations left the memory, though not the store."""

    conversations: int


class PromptTrimmed(Struct, frozen=True, kw_only=True):
    """The oldest messages left the prompt, in one block."""

    dropped_messages: int
    kept_messages: int


BreakerState: TypeAlias = Literal["closed", "open", "half_open"]


class BreakerChanged(Struct, frozen=True):
    """A model that failed too often is left alone (`open`), is tried by one request (`half_open`),
    or answers again (`closed`)."""

    model: str
    state: BreakerState


class FellBack(Struct, frozen=True):
    """Another model answers than the one that was asked. `kind` is the stable word of the error
    that kept the asked one from it."""

    asked: str
    answered_by: str
    kind: str


class CommandUsed(Struct, frozen=True):
    """A command was carried out, or failed with an error of that stable word. `name` is a command's
    as the bot knows it, never what a person typed."""

    name: str
    seconds: float
    kind: str = ""


class RateLimited(Struct, frozen=True):
    """Discord wanted us to wait. `route` is the kind of request, without ids."""

    route: str
    seconds: float
    is_global: bool = False


class GatewayChanged(Struct, frozen=True):
    """A shard's connection to Discord is up (`ready`, `resumed`) or lost."""

    shard: int
    state: Literal["ready", "resumed", "lost"]


class LoopLagged(Struct, frozen=True):
    """The event loop was late, because something kept it busy. `function` is what ran then, as
    `module.function:line`, where it was caught at it."""

    seconds: float
    function: str = ""


class HourEnded(Struct, frozen=True, kw_only=True):
    """The sums of an hour, also of one in which nothing happened. Tokens and dollars are totals;
    `error_rate` is of all requests, from 0 to 1."""

    turns: int
    failed: int
    refused: int
    error_rate: float
    p50_seconds: float | None
    p95_seconds: float | None
    prompt_tokens: int
    completion_tokens: int
    cost: float
    shared: int
    cached: int


Event: TypeAlias = (
    ModelLoading
    | ModelLoaded
    | TurnFinished
    | TurnFailed
    | TurnRefused
    | FlightJoined
    | CachedAnswer
    | HistoryRead
    | HistoryEvicted
    | PromptTrimmed
    | BreakerChanged
    | FellBack
    | CommandUsed
    | RateLimited
    | GatewayChanged
    | LoopLagged
    | HourEnded
)
Emit: TypeAlias = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Listen to nothing."""
