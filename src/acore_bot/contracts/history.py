"""What was said: the promise of whoever keeps it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from acore_bot.messages import (
    ConversationSummary,
    Message,
)


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

    async def replace(self, message: Message) -> bool:
        """Put a message in the place of the one with its id, all of it. False if there is none."""
        ...

    async def clear(self, conversation: str) -> int:
        """Remove a whole conversation. Return how many messages it had."""
        ...

    async def said_by(self, author_id: str) -> tuple[Message, ...]:
        """Return all that a person said, oldest first, wherever it was."""
        ...

    async def holding(self, words: str) -> tuple[Message, ...]:
        """Return all messages whose text holds these words, oldest first, wherever it was."""
        ...

    async def erase(self, author_id: str) -> int:
        """Remove all that a person said, and the answers to it, leaving no trace of either in the
        files. Return how many messages that were."""
        ...

    async def expire(self, conversation: str, before: datetime) -> int:
        """Remove what was said in a conversation before a moment. Return how many that were."""
        ...

    async def leave_no_trace(self) -> None:
        """Rid the files of what is left in them of anything that was removed or edited, if it can
        be that something is."""
        ...

    async def conversations(self) -> tuple[ConversationSummary, ...]:
        """List the conversations, the most recently used first."""
        ...
