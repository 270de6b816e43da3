"""The parts of a text that grows."""

import re
from bisect import bisect_right
from typing import NamedTuple

from acore_bot.chat.markdown.places import NOTHING, Open, Place, Rank, Scan, joins

# A cut is decided only when this much of what follows is known: the end of a link, a closing fence.
# It makes a cut depend on the text alone, and not on how the text arrived.
LOOKAHEAD = 64
_BLANKS = re.compile(r"\s*")


def length(text: str) -> int:
    """Return how long a text is in UTF-16 code units, the strictest way that anybody counts."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


class Part(NamedTuple):
    """A finished part: its slice of the text, how it looks, and what it leaves open."""

    text: str
    shown: str
    left_open: Open


class Pages:
    """The parts of one growing text, of at most `limit` UTF-16 units each, 200 at the least.

    Each call takes the text as long as it is by then; what is before the current part must not have
    changed. White space at the end of a text counts for nothing.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._start = 0
        self._open = NOTHING
        self._scan = Scan(NOTHING)

    def cut(self, text: str, *, is_final: bool = False) -> Part | None:
        """Return the current part if the text has outgrown it, else None: it may grow, or, of a
        final text, it is the last. `turn` goes on to the next."""
        begin, room = self._measure(text)
        window = text[begin : begin + room + LOOKAHEAD]
        is_beyond = len(text.rstrip()) > begin + len(window)
        if not is_beyond and not (is_final and length(self.rest(text)) > self.limit):
            return None
        place = self._choose(window, room)
        return Part(text[self._start : begin + place.end], self._show(window, place), place.open)

    def turn(self, part: Part) -> None:
        """Go on behind a part. It never changes again."""
        self._start += len(part.text)
        self._open = part.left_open
        self._scan = Scan(self._open)

    def preview(self, text: str, cursor: str = "") -> str:
        """Return how the current part looks while it grows, with a cursor at its end; empty if
        there is nothing to show yet. What may turn out to be half of something is held back."""
        begin, room = self._measure(text)
        window = text[begin : begin + room + LOOKAHEAD]
        for place in reversed(self._scan.read(window).places):
            shown = self._show(window, place, cursor)
            if length(shown) <= self.limit:
                return shown
        return ""

    def rest(self, text: str) -> str:
        """Return how the last part looks, of which `cut` found that it fits; empty if it is blank.

        What the text itself never closed stays as it is, code blocks excepted.
        """
        begin, room = self._measure(text)
        window = text[begin : begin + room + LOOKAHEAD].rstrip()
        left = self._open_after(window)
        both = zip(self._open.marks, left.marks, strict=False)
        marks = tuple(mark for mark, still in both if mark == still)
        code = left.code if left.code == self._open.code else ""
        inherited = Open(left.fence, marks=marks, code=code)
        return self._open.opening + window + inherited.closing(window) if window else ""

    def _measure(self, text: str) -> tuple[int, int]:
        """Return where the body of the current part begins, and how many characters fit in it."""
        begin = self._start + _blank_length(text, self._start, self._open)
        room = self.limit - length(self._open.opening)
        chunk = text[begin : begin + room]
        if length(chunk) > room:
            ends = range(len(chunk) + 1)
            return begin, bisect_right(ends, room, key=lambda end: length(chunk[:end])) - 1
        return begin, room

    def _choose(self, window: str, room: int) -> Place:
        def goodness(place: Place) -> tuple[bool, int, int]:
            # Half a part is not given away for a better place, but rather than inside a word.
            is_full = place.end >= room // 2
            return place.rank > Rank.ANYWHERE, place.rank if is_full else 0, place.end

        places = [place for place in self._scan.read(window).places if place.rank > Rank.PREVIEW]
        for place in sorted(places, key=goodness, reverse=True):
            if length(self._show(window, place)) <= self.limit:
                return place
        return self._force(window, room)

    def _force(self, window: str, room: int) -> Place:
        """Return a place in what should not be cut at all, such as a link longer than a message."""
        end = min(room, len(window))
        while True:
            place = Place(end, Rank.ANYWHERE, self._open_after(window[:end]))
            excess = length(self._show(window, place)) - self.limit
            if excess <= 0:
                break
            end -= excess
        for closer in range(end, max(end - LOOKAHEAD, 1), -1):
            if not joins(window[closer - 1], window[closer]):
                return Place(closer, Rank.ANYWHERE, self._open_after(window[:closer]))
        return place

    def _open_after(self, window: str) -> Open:
        return Scan(self._open).read(window).open

    def _show(self, window: str, place: Place, cursor: str = "") -> str:
        body = window[: place.end].rstrip()
        if body.endswith(("```", "~~~")) and not place.open.fence:
            cursor = cursor.replace(" ", "\n")  # behind a fence it would keep it from closing
        closing = place.open.closing(body)
        end = cursor + closing if place.open.fence else closing + cursor
        return self._open.opening + body + end


def _blank_length(text: str, start: int, opened: Open) -> int:
    blank = _BLANKS.match(text, start)
    assert blank
    end = text.rfind("\n", start, blank.end()) + 1 if opened.is_block_of_code else blank.end()
    return max(end - start, 0)
