"""The records of what happened. The core emits them and never asks who listens.

They hold no message text, no names and no secrets. Durations are seconds of a monotonic clock.
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


class TurnFinished(Struct, frozen=True, kw_only=True):
    """A message was answered, wholly or in part. `first_delta_seconds` is None if nothing came."""

    model: str
    finish_reason: str
    first_delta_seconds: float | None
    total_seconds: float
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None


class TurnFailed(Struct, frozen=True, kw_only=True):
    """A message found no answer. `kind` is the error's stable word."""

    model: str
    kind: str
    total_seconds: float


class PromptTrimmed(Struct, frozen=True, kw_only=True):
    """The oldest messages left the prompt, in one block."""

    dropped_messages: int
    kept_messages: int


BreakerState: TypeAlias = Literal["closed", "open", "half_open"]


class BreakerChanged(Struct, frozen=True):
    """A model that failed too often is left alone (`open`), is tried by one request (`half_open`),
    or answers again (`closed`). `model` is written `provider/model`."""

    model: str
    state: BreakerState


class FellBack(Struct, frozen=True):
    """Another model answers than the one that was asked. `kind` is the stable word of the error
    that kept the asked one from it. Both models are written `provider/model`."""

    asked: str
    answered_by: str
    kind: str


Event: TypeAlias = (
    ModelLoading
    | ModelLoaded
    | TurnFinished
    | TurnFailed
    | PromptTrimmed
    | BreakerChanged
    | FellBack
)
Emit: TypeAlias = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Listen to nothing."""
