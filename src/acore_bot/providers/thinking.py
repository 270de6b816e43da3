"""Takes the thinking that a model writes between tags at the start of its answer out of the text.

Only at the start, after optional white space: a `<think>` later on, in a block of code perhaps, is
what the person asked for. Tags may be split over pieces, so the filter holds back whatever could
still become one, and nothing else.
"""

_TAGS = {"<think>": "</think>", "<thinking>": "</thinking>"}
_MAX_LEADING_SPACE = 1000  # an endless run of blanks is no answer, and must not be held for ever


class ThinkingFilter:
    """Splits pieces of text into text and reasoning, the same however they are cut.

    Once `settled`, every further piece is text as it is, and need not be fed.
    """

    def __init__(self) -> None:
        self.settled = False
        self._held = ""
        self._closing_tag = ""  # known from the opening tag on
        self._closed = False

    def feed(self, piece: str) -> tuple[str, str]:
        """Return the text and the reasoning that are certain by now."""
        if self.settled:
            return piece, ""
        held, self._held = self._held + piece, ""
        if self._closed:
            return self._skip_space(held), ""
        if self._closing_tag:
            return self._think(held)
        return self._begin(held)

    def close(self) -> tuple[str, str]:
        """Return what was held back: the rest of thinking that never ended is reasoning."""
        self.settled = True
        held, self._held = self._held, ""
        return ("", held) if self._closing_tag else (held, "")

    def _begin(self, held: str) -> tuple[str, str]:
        start = held.lstrip()
        if len(held) - len(start) <= _MAX_LEADING_SPACE:
            for opening_tag, closing_tag in _TAGS.items():
                if start.startswith(opening_tag):
                    self._closing_tag = closing_tag
                    return self._think(start[len(opening_tag) :])
            if any(tag.startswith(start) for tag in _TAGS):
                self._held = held
                return "", ""
        self.settled = True
        return held, ""

    def _think(self, held: str) -> tuple[str, str]:
        reasoning, found, after = held.partition(self._closing_tag)
        if found:
            self._closed = True
            return self._skip_space(after), reasoning
        keep = _overlap(held, self._closing_tag)
        self._held = held[len(held) - keep :]
        return "", held[: len(held) - keep]

    def _skip_space(self, held: str) -> str:
        text = held.lstrip()
        self.settled = bool(text)
        return text


def _overlap(text: str, tag: str) -> int:
    """Return how many characters at the end of `text` could be the beginning of `tag`."""
    longest = min(len(text), len(tag) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(tag[:n])), 0)
