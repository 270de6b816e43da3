"""What people say and do, and what is kept of it."""

from datetime import datetime
from typing import Literal, TypeAlias

from msgspec import Struct

from acore_bot.messages.models import FinishReason, Host, Image, Role, Usage


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


class Place(Struct, frozen=True):
    """Where something is said, by ids of the front end: a guild, empty in private, and a channel,
    which for a thread is the one that it belongs to."""

    guild: str = ""
    channel: str = ""


NOWHERE = Place()


class IncomingMessage(Struct, frozen=True, kw_only=True):
    """What a front end hears: a message that may deserve an answer.

    `reply_to` is the id of the message that it replies to, if it does so explicitly, and
    `replies_to_bot` says whose that is. `is_private` says that one person alone speaks with the bot
    in this conversation, `is_thread` that the conversation is about one thing, to which the bot may
    belong. `addresses_others` says that it mentions, or replies to, somebody who is not the bot.
    `is_late` says that it was said while the bot was away, so it may have been answered before.
    `is_asked` says that it came by a command, so there is nothing to decide; `is_stateless` that it
    is a question outside of any conversation, of which nothing is stored in one. `roles` are those
    of the author in the guild.
    """

    id: int
    conversation: str
    author: Author
    text: str
    created_at: datetime  # in UTC
    place: Place = NOWHERE
    roles: tuple[str, ...] = ()
    is_asked: bool = False
    is_stateless: bool = False
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
    """What a front end hears: a command such as `/reset`, without its slash. `may_manage` says that
    the person has the say in this place: as the owner at the terminal, in a private conversation,
    or by Discord's right to manage the server."""

    conversation: str
    author: Author
    name: str
    argument: str = ""
    place: Place = NOWHERE
    roles: tuple[str, ...] = ()
    is_private: bool = False
    may_manage: bool = False


Control: TypeAlias = Literal["stop", "regenerate", "continue", "details", "a", "b", "tie"]
"""What one can do with an answer by a button under it. The last three are votes."""


class Press(Struct, frozen=True, kw_only=True):
    """Somebody used a button. `message_id` is the message under which it stands, whatever the
    button itself says; `is_moderator` says that they may manage others' messages there."""

    message_id: int
    control: Control
    conversation: str
    author: Author
    place: Place = NOWHERE
    roles: tuple[str, ...] = ()
    is_moderator: bool = False


class FileContent(Struct, frozen=True, kw_only=True):
    """What a file holds, as far as it was read. `note` says in a sentence what was left out and
    why, if anything was."""

    text: str = ""
    image: Image | None = None
    note: str = ""


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


class Receipt(Struct, frozen=True, kw_only=True):
    """What went into an answer. Models are written `provider/model`; `host` is where `model`
    computes. `files` were used; `remarks` name what was left out, and why."""

    model: str
    persona: str
    host: Host
    finish_reason: FinishReason
    total_seconds: float
    first_delta_seconds: float | None = None
    usage: Usage | None = None
    is_shared: bool = False
    is_cached: bool = False
    fell_back_from: str = ""
    messages_used: int = 0
    messages_dropped: int = 0
    files: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


class AnswerRecord(Struct, frozen=True, kw_only=True):
    """What the bot knows of an answer that it showed, so that its buttons work later. `id` is its
    first message, `part_ids` are the others. `question` is kept of a stateless one only; all else
    the history knows. What was `is_local_only` once may not leave for a cloud later either."""

    id: int
    asker: str
    question_id: int
    conversation: str
    place: Place
    created_at: datetime  # in UTC
    receipt: Receipt
    part_ids: tuple[int, ...] = ()
    question: IncomingMessage | None = None
    is_local_only: bool = False
