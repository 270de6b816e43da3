"""Names that strangers chose, made fit to stand before their words."""

import unicodedata
from collections.abc import Iterable

from acore_bot.messages import UNSEEN_LETTERS, Author

MAX_NAME_CHARACTERS = 32
MAX_MARKS = 2  # accents and vowel signs on one letter, as living scripts use them
# The marks of a label, and letters that nobody sees.
FORBIDDEN_IN_NAMES = frozenset("[]<>:|#") | UNSEEN_LETTERS


def speaker_name(author: Author) -> str:
    """Make a display name that cannot pass for anything else: one line, no brackets, no invisible
    or direction-changing characters, no towers of accents, at most 32 characters."""
    visible = "".join(_visible(unicodedata.normalize("NFKC", author.name)))
    return " ".join(visible.split())[:MAX_NAME_CHARACTERS].strip() or "someone"


def _visible(name: str) -> Iterable[str]:
    room_for_marks = 0
    for character in name:
        kind = unicodedata.category(character)[0]
        # A mark stands on a letter; alone it would stand on whatever comes before the name.
        room_for_marks = MAX_MARKS if kind == "L" else room_for_marks - 1 if kind == "M" else 0
        if kind != "C" and room_for_marks >= 0 and character not in FORBIDDEN_IN_NAMES:
            yield character
