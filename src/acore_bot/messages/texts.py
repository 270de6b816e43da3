"""Texts of strangers: what of them may be shown, and where."""

import re
import unicodedata

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
