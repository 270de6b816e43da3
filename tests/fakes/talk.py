"""What people say in tests: messages heard, and messages stored, a second apart for each id."""

from datetime import UTC, datetime, timedelta

from acore_bot.messages import Attachment, Author, IncomingMessage, Message, Place, Quote

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ADA = Author("17", "Ada")
BEN = Author("18", "Ben")
CLEO = Author("19", "Cleo")
BOT = Author("bot", "Acore")


def heard(
    id_: int,
    text: str = "Hello?",
    *,
    author: Author = ADA,
    conversation: str = "tea",
    reply_to: int | None = None,
    is_private: bool = True,
    is_thread: bool = False,
    is_late: bool = False,
    mentions_bot: bool = False,
    replies_to_bot: bool = False,
    addresses_others: bool = False,
    author_is_bot: bool = False,
    quotes: tuple[Quote, ...] = (),
    attachments: tuple[Attachment, ...] = (),
    place: Place | None = None,
    roles: tuple[str, ...] = (),
    is_stateless: bool = False,
) -> IncomingMessage:
    """Make a message as a front end hears it."""
    return IncomingMessage(
        id=id_,
        conversation=conversation,
        author=author,
        text=text,
        created_at=NOON + timedelta(seconds=id_),
        place=place or Place(channel=conversation),
        roles=roles,
        is_asked=is_stateless,
        is_stateless=is_stateless,
        reply_to=reply_to,
        is_private=is_private,
        is_thread=is_thread,
        is_late=is_late,
        mentions_bot=mentions_bot,
        replies_to_bot=replies_to_bot,
        addresses_others=addresses_others,
        author_is_bot=author_is_bot,
        quotes=quotes,
        attachments=attachments,
    )


def a_file(id_: int = 1, name: str = "notes.txt") -> Attachment:
    """Make a file that came with a message."""
    url = f"https://files.invalid/{id_}"
    return Attachment(id=id_, name=name, media_type="text/plain", size=10, url=url)


def asked(
    id_: int,
    text: str = "Hello?",
    *,
    author: Author = ADA,
    conversation: str = "tea",
    parent_id: int | None = None,
) -> Message:
    """Make a stored message of a person."""
    return Message(
        id=id_,
        conversation=conversation,
        role="user",
        author=author,
        text=text,
        created_at=NOON + timedelta(seconds=id_),
        parent_id=parent_id,
    )


def answered(
    id_: int, text: str = "Hello!", *, conversation: str = "tea", parent_id: int | None = None
) -> Message:
    """Make a stored answer of the bot."""
    return Message(
        id=id_,
        conversation=conversation,
        role="assistant",
        author=BOT,
        text=text,
        created_at=NOON + timedelta(seconds=id_),
        parent_id=parent_id,
        finish_reason="stop",
        model="scripted/script",
    )


def line(turns: int, text: str = "Hello?", *, first_id: int = 1) -> tuple[Message, ...]:
    """Make a plain line of questions and answers, each continuing the one before."""
    said: list[Message] = []
    for id_ in range(first_id, first_id + 2 * turns, 2):
        parent_id = said[-1].id if said else None
        said += [asked(id_, text, parent_id=parent_id), answered(id_ + 1, text, parent_id=id_)]
    return tuple(said)
