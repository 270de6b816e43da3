"""Leaves out what people said who do not want to be taken in, where others quoted it too."""

from collections.abc import Callable, Sequence

from msgspec import structs

from acore_bot.chat.material import CODE, MARK_CHARACTERS, quote_mark, without_quotes
from acore_bot.messages import IncomingMessage, Message, Quote

MARKED = "quoted "  # stands before the mark of a person's quotes where that stands for their id

IsPaused = Callable[[str], bool]
"""Tells whether a person has paused, by their id, or by `MARKED` and the mark of their quotes."""


def visible(said: Sequence[Message], is_paused: IsPaused) -> tuple[Message, ...]:
    """Leave out what paused people said, where it was quoted too, and the answers to it. A tuple
    without any is returned as it is.

    Where a message is left out, so is an answer whose question is out of sight: it may have been
    theirs.
    """
    hidden = {message.id for message in said if is_paused(message.author.id)}
    quoting = {message.id: left for message in said if (left := _unquoted(message, is_paused))}
    if not (hidden or quoting):
        return tuple(said)
    shown: dict[int, Message] = {}
    for message in said:
        is_orphan = message.parent_id is not None and message.parent_id not in shown
        is_answer_to_hidden = bool(hidden) and message.role == "assistant" and is_orphan
        if message.id not in hidden and not is_answer_to_hidden:
            shown[message.id] = quoting.get(message.id, message)
    return tuple(shown.values())


def _unquoted(message: Message, is_paused: IsPaused) -> Message | None:
    """Make what a message quotes of paused people unreadable; None if it quotes none."""
    if CODE not in message.text:
        return None
    left = without_quotes(message.text, lambda code: is_paused(f"{MARKED}{code[:MARK_CHARACTERS]}"))
    return None if left == message.text else structs.replace(message, text=left)


def without_words_of(message: IncomingMessage, is_meant: Callable[[str], bool]) -> IncomingMessage:
    """Make unreadable what a message quotes of those who are meant, by their ids. One without such
    is returned as it is."""
    quotes = tuple(_readable(quote, is_meant) for quote in message.quotes)
    return message if quotes == message.quotes else structs.replace(message, quotes=quotes)


def _readable(quote: Quote, is_meant: Callable[[str], bool]) -> Quote:
    is_theirs = quote.author is not None and is_meant(quote.author.id)
    return Quote(kind=quote.kind, text="") if is_theirs else quote


def names_of(author_id: str) -> set[str]:
    """Return by what it is asked whether a person has paused."""
    return {author_id, f"{MARKED}{quote_mark(author_id)}"}
