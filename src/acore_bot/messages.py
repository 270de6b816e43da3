"""Values that cross rooms: what people say, what a model is asked, and what it answers.

All are frozen, compare by content and know nobody. They are msgspec structs rather than
dataclasses because a streamed answer makes hundreds of them: a frozen struct costs about a
quarter of a frozen dataclass to create, and encodes to JSON as it is.
"""

import itertools
import re
import secrets
import unicodedata
from collections.abc import Callable
from datetime import datetime
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


# All of C0 and C1 and DEL but newline and tab: nobody's text may move a terminal's cursor, set its
# title or fill a clipboard.
_CONTROL_CHARACTERS = dict.fromkeys({*range(0x20), *range(0x7F, 0xA0)} - {0x09, 0x0A})


def printable(text: str) -> str:
    """Return a text without control characters, newline and tab excepted."""
    return text.translate(_CONTROL_CHARACTERS)


MAX_FILE_NAME_CHARACTERS = 60
_MAX_EXTENSION_CHARACTERS = 10
# Control, format (what turns the direction among them), surrogate, private and unassigned
# characters, and the two that separate lines.
_UNSEEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# What Unicode counts among letters and marks though nobody sees it: fillers, the grapheme joiner
# and the variation selectors.
UNSEEN_LETTERS = frozenset("\u034f\u115f\u1160\u2800\u3164\uffa0") | {
    chr(code) for code in (*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))
}
# A name stands in brackets and in emphasis, and must neither close them nor mention anyone.
_MARKS = frozenset("*`~|[]<>:@\\")


def tidy_file_name(name: str) -> str:
    """Return the last part of a path, fit to stand in a prompt and in Markdown: one line of visible
    characters without marks, 1 to 60 of them.

    A long one loses its middle, so that the extension stays to be seen.
    """
    # Underscores would emphasize; for most senders' programs they stand for spaces anyhow.
    last = re.split(r"[/\\]", name)[-1].replace("_", " ")
    tidy = " ".join("".join(filter(_is_plain, last)).split()).lstrip(". ")
    return _without_middle(tidy) or "unnamed"


def _is_plain(character: str) -> bool:
    return (
        unicodedata.category(character) not in _UNSEEN_CATEGORIES
        and character not in UNSEEN_LETTERS
        and character not in _MARKS
    )


def _without_middle(name: str) -> str:
    if len(name) <= MAX_FILE_NAME_CHARACTERS:
        return name
    _, dot, extension = name.rpartition(".")
    ending = f"…{dot}{extension}" if len(extension) <= _MAX_EXTENSION_CHARACTERS else "…"
    return name[: MAX_FILE_NAME_CHARACTERS - len(ending)] + ending


def well_formed(text: str) -> str:
    """Return a text in which lone surrogates, which UTF-8 cannot hold, became U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        # By way of UTF-16 two halves that belong together become the character that they spell.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


class Author(Struct, frozen=True):
    """Who said something. `id` is unique within a front end; `name` is for display only."""

    id: str
    name: str


class Message(Struct, frozen=True, kw_only=True):
    """Something that was said and stored.

    `id` is a snowflake (see `SnowflakeSequence`), so ids order messages by time. `parent_id` is
    the message that this one continues or answers. `finish_reason` and `model` (written
    `provider/model`) are set for answers only. An answer that took several messages to show has the
    first one's id; the others are its `part_ids`, by which it is found as well.
    """

    id: int
    conversation: str
    role: Role
    author: Author
    text: str
    created_at: datetime  # in UTC
    parent_id: int | None = None
    finish_reason: FinishReason | None = None
    model: str | None = None
    part_ids: tuple[int, ...] = ()


class Attachment(Struct, frozen=True, kw_only=True):
    """A file that came with a message, not yet fetched. `media_type` is what its sender claims;
    `size` is in bytes."""

    id: int
    name: str
    media_type: str
    size: int
    url: str


class Quote(Struct, frozen=True, kw_only=True):
    """What a message carries of somebody else's words: the one it replies to, or one that it
    forwards, whose author is then unknown. Without a text, there is one that may not be read."""

    kind: Literal["reply", "forward"]
    text: str
    author: Author | None = None


class IncomingMessage(Struct, frozen=True, kw_only=True):
    """What a front end hears: a message that may deserve an answer.

    `reply_to` is the id of the message that it replies to, if it does so explicitly, and
    `replies_to_bot` says whose that is. `is_private` says that one person alone speaks with the bot
    in this conversation, `is_thread` that the conversation is about one thing, to which the bot may
    belong. `addresses_others` says that it mentions, or replies to, somebody who is not the bot.
    `is_late` says that it was said while the bot was away, so it may have been answered before.
    """

    id: int
    conversation: str
    author: Author
    text: str
    created_at: datetime  # in UTC
    reply_to: int | None = None
    is_private: bool = False
    is_thread: bool = False
    is_late: bool = False
    mentions_bot: bool = False
    replies_to_bot: bool = False
    addresses_others: bool = False
    author_is_bot: bool = False
    quotes: tuple[Quote, ...] = ()
    attachments: tuple[Attachment, ...] = ()


class IncomingCommand(Struct, frozen=True, kw_only=True):
    """What a front end hears: a command such as `/reset`, without its slash."""

    conversation: str
    author: Author
    name: str
    argument: str = ""


class Image(Struct, frozen=True):
    """A picture that a model may look at, encoded as its media type says."""

    media_type: Literal["image/png", "image/jpeg"]
    data: bytes


class FileContent(Struct, frozen=True, kw_only=True):
    """What a file holds, as far as it was read. `note` says in a sentence what was left out and
    why, if anything was."""

    text: str = ""
    image: Image | None = None
    note: str = ""


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
    chat turn from a stateless question. `asker` is who waits for it, and `deadline` the moment of a
    monotonic clock by which the whole answer has to be over; neither shapes the answer.
    """

    model: str
    messages: tuple[ChatMessage, ...]
    max_tokens: int
    temperature: float | None = None
    seed: int | None = None
    scope: str = "public"
    is_personal: bool = False
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
    model that was asked, if another had to answer."""

    finish_reason: FinishReason
    usage: Usage | None = None
    provider: str = ""
    model: str = ""
    response_id: str = ""
    is_shared: bool = False
    is_cached: bool = False
    fell_back_from: str = ""


Piece: TypeAlias = Waiting | Delta | End


class ModelInfo(Struct, frozen=True, kw_only=True):
    """What a provider knows of a model. `context_tokens` is the window in force for one request,
    prompt and answer together, or None where the server does not tell."""

    context_tokens: int | None = None
    abilities: frozenset[Ability] = frozenset()


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


class Finding(Struct, frozen=True):
    """One thing that was looked at. Only a fault keeps the main job from running."""

    subject: str
    state: Literal["ok", "note", "fault"]
    sentence: str
    remedy: str = ""


class ConversationSummary(Struct, frozen=True, kw_only=True):
    """A line of the list of conversations. `last_at` is in UTC."""

    conversation: str
    messages: int
    last_at: datetime


class SnowflakeSequence:
    """Makes ids that order by time, shaped as Discord's are: 42 bits of milliseconds since 2015,
    then 22 bits that differ.

    So ids made here and ids that Discord made sort together. `clock` returns seconds since 1970.
    """

    EPOCH_MILLISECONDS = 1_420_070_400_000  # Discord's, in its developer reference

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last = 0
        # Two processes that write to one store must not meet: each starts at a random place.
        self._salt = itertools.count(secrets.randbits(22))

    def next(self) -> int:
        """Return an id greater than each one before it."""
        milliseconds = int(self._clock() * 1000) - self.EPOCH_MILLISECONDS
        candidate = (milliseconds << 22) | (next(self._salt) & 0x3FFFFF)
        self._last = max(candidate, self._last + 1)
        return self._last
