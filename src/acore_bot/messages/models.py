"""What a model is asked, and what it answers."""

from decimal import Decimal
from typing import Literal, TypeAlias

from msgspec import Struct

Role: TypeAlias = Literal["system", "user", "assistant"]

FinishReason: TypeAlias = Literal[
    "stop",  # the model had said all it wanted
    "length",  # the token limit was reached
    "tool_calls",  # the model asks for tools to be run
    "filtered",  # the provider's content filter cut the answer
    "truncated",  # the stream ended without saying why: never a complete answer
    "cancelled",  # we left before the end
]

Ability: TypeAlias = Literal["vision", "tools", "thinking"]


class Image(Struct, frozen=True):
    """A picture that a model may look at, encoded as its media type says."""

    media_type: Literal["image/png", "image/jpeg"]
    data: bytes


class ChatMessage(Struct, frozen=True):
    """One message as the model sees it. Images are only sent to a model that has `vision`."""

    role: Role
    text: str
    images: tuple[Image, ...] = ()


class ChatRequest(Struct, frozen=True, kw_only=True):
    """Everything that decides an answer, and how it may be served.

    `model` is written `provider/model` until a provider receives it, which sees its own part only.
    `max_tokens` bounds the answer, always. `scope` says who may share the answer: `public`,
    `guild:ID` or `private:CONVERSATION`; what `is_personal` is never shared. `has_history` tells a
    chat turn from a stateless question. With `is_local_only` no connection may leave this machine
    and what its owner counts to it. `asker` is who waits for it, and `deadline` the moment of a
    monotonic clock by which the whole answer has to be over; neither shapes the answer.
    """

    model: str
    messages: tuple[ChatMessage, ...]
    max_tokens: int
    temperature: float | None = None
    seed: int | None = None
    scope: str = "public"
    is_personal: bool = False
    is_local_only: bool = False
    has_history: bool = False
    asker: str = ""
    deadline: float | None = None


class Waiting(Struct, frozen=True):
    """A place in the queue, told before the first delta: `position` 1 is next; `seconds` is how
    long others have waited from there lately, or None if nobody has yet."""

    position: int
    seconds: float | None = None


class Delta(Struct, frozen=True):
    """A piece of a streamed answer: text, or the reasoning that led to it, never empty."""

    text: str = ""
    reasoning: str = ""


class Usage(Struct, frozen=True, kw_only=True):
    """What an answer took. `prompt_tokens` includes `cached_tokens`, which the server did not have
    to read anew; `cost` is in US dollars where the provider tells it."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None = None
    cost: Decimal | None = None


class End(Struct, frozen=True, kw_only=True):
    """The last piece of every stream. `model` is who really answered, which may differ from who was
    asked; `response_id` is the provider's name for this answer, if it has one. `is_shared`: it was
    streamed to several askers at once; `is_cached`: it was given before; `fell_back_from` names the
    model that was asked, if another had to answer. It stood in line for
    `queued_seconds`."""

    finish_reason: FinishReason
    usage: Usage | None = None
    provider: str = ""
    model: str = ""
    response_id: str = ""
    is_shared: bool = False
    is_cached: bool = False
    fell_back_from: str = ""
    queued_seconds: float = 0.0


Piece: TypeAlias = Waiting | Delta | End


class Prices(Struct, frozen=True):
    """What a token costs in US dollars."""

    prompt: Decimal
    completion: Decimal


class ModelInfo(Struct, frozen=True, kw_only=True):
    """What a provider knows of a model. `context_tokens` is the window in force for one request,
    prompt and answer together; it and `prices` are None where the server does not tell."""

    context_tokens: int | None = None
    abilities: frozenset[Ability] = frozenset()
    prices: Prices | None = None


class StreamLimits(Struct, frozen=True, kw_only=True):
    """How long an answer may keep us waiting, and how much of it we take.

    `first_byte_seconds` counts from the request on and covers a queue and the loading of a model.
    Any byte ends a gap, a comment too; only text or reasoning is progress. `linger_seconds` is how
    long we wait for the usage after the answer's last word. Beyond `max_characters` the answer
    ends as `length`.
    """

    connect_seconds: float = 5.0
    first_byte_seconds: float = 30.0
    gap_seconds: float = 30.0
    progress_seconds: float = 90.0
    total_seconds: float = 300.0
    linger_seconds: float = 5.0
    max_characters: int = 1_000_000


class Host(Struct, frozen=True):
    """Where a provider computes. `name` is fit for strangers: a company's host, or `this machine`;
    `is_local` says that what is said stays with the owner."""

    name: str
    is_local: bool
