"""Bots that answer each other never end by themselves, so a bot gets one answer.

Where the owner lets bots be answered at all, the first bot that speaks in a conversation is, and
then none until a person has spoken there.
"""

from collections import OrderedDict

from acore_bot.messages import IncomingMessage

MAX_CONVERSATIONS = 10_000


class LoopGuard:
    """Remembers in which conversations a bot was answered, the latest if they are many."""

    def __init__(self) -> None:
        self._answered: OrderedDict[str, None] = OrderedDict()

    def hear(self, message: IncomingMessage) -> None:
        """Take note of what a person says: that ends any loop."""
        if self._answered and not message.author_is_bot:
            self._answered.pop(message.conversation, None)

    def allows(self, message: IncomingMessage) -> bool:
        """Tell whether a message may be answered, and take it as answered."""
        if not message.author_is_bot:
            return True
        if message.conversation in self._answered:
            return False
        self._answered[message.conversation] = None
        if len(self._answered) > MAX_CONVERSATIONS:
            self._answered.popitem(last=False)
        return True
