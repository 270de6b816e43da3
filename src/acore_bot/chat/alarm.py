"""A complaint that is made once to each conversation, and not again until the trouble is over."""

MAX_CONVERSATIONS = 10_000


class Alarm:
    """Remembers who was told. Beyond its bound nobody more is told: the owner's log says enough."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    @property
    def is_on(self) -> bool:
        """Whether there is trouble that somebody was told of."""
        return bool(self._told)

    def is_news(self, conversation: str) -> bool:
        """Tell whether a conversation has still to be told, and take it as told."""
        if conversation in self._told or len(self._told) >= MAX_CONVERSATIONS:
            return False
        self._told.add(conversation)
        return True

    def end(self) -> None:
        """Note that the trouble is over."""
        self._told.clear()
