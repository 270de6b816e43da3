"""A file's name, fit to be shown: its sender chose it, and may have chosen it to deceive."""

import re
import unicodedata
from typing import Final

MAX_CHARACTERS: Final = 60
_MAX_EXTENSION: Final = 10
# Control, format (bidirectional and zero-width among them), surrogate, private and unassigned
# characters, and the two that separate lines: what is not seen, or moves what is.
_UNSEEN: Final = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def shown_name(name: str) -> str:
    """Return the last part of a name, with visible characters only, at most 60 of them.

    A long one loses its middle, so that the extension stays to be seen.
    """
    last = re.split(r"[/\\]", name)[-1]
    visible = "".join(one for one in last if unicodedata.category(one) not in _UNSEEN)
    tidy = " ".join(visible.split()).lstrip(".")
    return _shortened(tidy) or "file"


def _shortened(name: str) -> str:
    if len(name) <= MAX_CHARACTERS:
        return name
    _, dot, extension = name.rpartition(".")
    ending = f"…{dot}{extension}" if len(extension) <= _MAX_EXTENSION else "…"
    return name[: MAX_CHARACTERS - len(ending)] + ending
