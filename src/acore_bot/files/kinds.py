"""What a file is, by its bytes: names and claimed types are its sender's word."""

from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["png", "jpeg", "gif", "webp", "pdf", "text"]

_STARTS: tuple[tuple[bytes, Kind], ...] = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"%PDF-", "pdf"),
)


def kind_of(content: bytes) -> Kind:
    """Return what a file claims to be by its first bytes. What has no mark may be text."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "webp"
    # Some programs put a byte order mark or an empty line before a PDF.
    start = content[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    return next((kind for mark, kind in _STARTS if start.startswith(mark)), "text")
