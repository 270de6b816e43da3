"""Text and code, in UTF-8, or in UTF-16 with its mark. Only the head is decoded, so the length of
a file, or of its lines, costs nothing."""

import codecs

from acore_bot.messages import FileContent, printable

_UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_MAX_BYTES = 4  # of one character, in either encoding


def read_text(content: bytes, max_characters: int) -> FileContent | None:
    """Return the first characters of a text, or None if the content is no text."""
    head = content[: (max_characters + 1) * _MAX_BYTES]
    encoding = "utf-16" if content.startswith(_UTF_16_MARKS) else "utf-8-sig"
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head, len(head) == len(content))
    except UnicodeDecodeError:
        return None
    if "\0" in text:  # which no text has, and nearly everything else
        return None
    is_cut = len(text) > max_characters
    return FileContent(text=readable(text[:max_characters]), note=cut_note(max_characters, is_cut))


def readable(text: str) -> str:
    """Return a text with one kind of line end and no other control characters but tabs."""
    return printable(text.replace("\r\n", "\n").replace("\r", "\n"))


def cut_note(max_characters: int, is_cut: bool) -> str:
    """Say that a text was cut, if it was."""
    return f"Only the first {max_characters:,} characters were read." if is_cut else ""
