"""Makes sense of files that strangers sent: text, PDF and pictures, all else is refused kindly."""

import asyncio
import logging

from msgspec import Struct

from acore_bot.errors import FileUnreadable
from acore_bot.files.child import Job, Pages, Picture, Refusal
from acore_bot.files.kinds import kind_of
from acore_bot.files.process import open_in_child
from acore_bot.files.text import cut_note, read_text, readable
from acore_bot.messages import Attachment, FileContent, Image, tidy_file_name

log = logging.getLogger(__name__)

_KNOWN_KINDS = "Send text in UTF-8, a PDF, or a PNG, JPEG, GIF or WebP picture."
_SENTENCES: dict[str, tuple[str, str]] = {
    "unknown": ("is of a kind that I cannot read.", _KNOWN_KINDS),
    "empty": ("is empty.", ""),
    "too_large": ("has more than {megabytes:.0f} MB.", "Send a smaller one."),
    "too_many_pixels": ("has more than {megapixels:.0f} million pixels.", "Send a smaller one."),
    "too_much_memory": ("takes too much memory to open.", "Send a smaller one."),
    "too_slow": ("takes too long to open.", "Send a smaller one."),
    "encrypted": ("is encrypted.", "Send it without a password."),
    "no_text": ("holds no text that I can read.", "Send its pages as pictures."),
    "damaged": ("is damaged or incomplete.", "Send it again."),
    "crashed": ("could not be opened.", "Send it in another form."),
}


class ReadLimits(Struct, frozen=True, kw_only=True):
    """How much of a file is read, and what opening one may take.

    Of texts and PDFs the first `max_characters` are read, of a PDF the first `max_pages`. PDFs and
    pictures of more than `max_bytes`, and pictures of more than `max_pixels`, are refused. Each is
    opened in a child of its own, `at_once` at the most, which may take `seconds` of time and
    `memory_bytes` of address space.
    """

    max_characters: int = 40_000
    max_pages: int = 50
    # As many as the front ends fetch: each file is held whole while it is fetched and read.
    max_bytes: int = 8 * 1024 * 1024
    max_pixels: int = 25_000_000
    # The longer side of a picture. It is what vision models use at most: their servers scale down
    # what is larger, after it was sent and often paid for.
    max_side: int = 1568
    seconds: float = 5.0
    memory_bytes: int = 640 * 1024 * 1024  # a WebP of that many pixels takes 500
    at_once: int = 2


class Reader:
    """A `FileReader`."""

    def __init__(self, limits: ReadLimits = ReadLimits()) -> None:  # noqa: B008 - it is frozen
        self._limits = limits
        self._places = asyncio.Semaphore(limits.at_once)

    async def read(self, attachment: Attachment, content: bytes) -> FileContent:
        """Return what a file says or shows, within the limits. Raises `FileUnreadable`."""
        made = await self._read(content)
        if isinstance(made, FileContent):
            return made
        log.debug("file %d is not read: %s %r", attachment.id, made.reason, made.detail)
        sentence, remedy = _SENTENCES[made.reason]
        why = sentence.format(
            megabytes=self._limits.max_bytes / 1024**2, megapixels=self._limits.max_pixels / 1e6
        )
        raise FileUnreadable(f'The file "{tidy_file_name(attachment.name)}" {why}', remedy=remedy)

    async def _read(self, content: bytes) -> FileContent | Refusal:
        if not content:
            return Refusal("empty")
        kind = kind_of(content)
        if kind == "text":
            return read_text(content, self._limits.max_characters) or Refusal("unknown")
        if len(content) > self._limits.max_bytes:
            return Refusal("too_large")
        job = Job(
            kind=kind,
            seconds=self._limits.seconds,
            memory_bytes=self._limits.memory_bytes,
            max_characters=self._limits.max_characters,
            max_pages=self._limits.max_pages,
            max_pixels=self._limits.max_pixels,
            max_side=self._limits.max_side,
        )
        return await self._open(job, content)

    async def _open(self, job: Job, content: bytes) -> FileContent | Refusal:
        async with self._places:
            outcome, data = await open_in_child(job, content, seconds=job.seconds)
        match outcome:
            case Refusal():
                return outcome
            case Pages():
                return self._text_of(outcome, data)
            case Picture():
                return _image_of(outcome, data)

    def _text_of(self, outcome: Pages, data: bytes) -> FileContent:
        notes = [cut_note(self._limits.max_characters, outcome.is_cut)]
        if outcome.pages_read < outcome.pages:
            notes.append(f"Only {outcome.pages_read:,} of {outcome.pages:,} pages were read.")
        text = readable(data.decode(errors="replace"))
        return FileContent(text=text, note=" ".join(filter(None, notes)))


def _image_of(outcome: Picture, data: bytes) -> FileContent | Refusal:
    if outcome.media_type != f"image/{kind_of(data)}":
        return Refusal("crashed", "the child sent something else than it said")
    note = "Only the first frame of the animation was taken." if outcome.is_animated else ""
    return FileContent(image=Image(outcome.media_type, data), note=note)
