"""The child process that opens one PDF or picture of a stranger's, and ends.

Run by its path, so it imports nothing else of this package. Reads from standard input one line of
JSON (`Job`) and then the file; writes to standard output one line of JSON (`Reply`) and then as
many bytes as that says: text in UTF-8, or the picture anew. It takes its limits upon itself before
it touches the file; beyond them the kernel refuses, or ends it.
"""

import io
import itertools
import logging
import math
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from PIL import Image
    from pypdf import PageObject

_JPEG_QUALITY = 90


class Job(Struct, frozen=True, kw_only=True):
    """What to make of the file. `seconds` are of CPU; `max_side` is in pixels."""

    kind: Literal["png", "jpeg", "gif", "webp", "pdf"]
    seconds: float
    memory_bytes: int
    max_characters: int
    max_pages: int
    max_pixels: int
    max_side: int


class Pages(Struct, frozen=True, tag=True):
    """The text of a PDF. `is_cut`: there was more on the pages that were read."""

    pages: int
    pages_read: int
    is_cut: bool


class Picture(Struct, frozen=True, tag=True):
    """A picture, of an animation the first frame."""

    media_type: Literal["image/png", "image/jpeg"]
    is_animated: bool


class Refusal(Struct, frozen=True, tag=True):
    """Why a file is not read. `detail` is for the log."""

    reason: Literal[
        "unknown",
        "empty",
        "too_large",
        "too_many_pixels",
        "too_much_memory",
        "too_slow",
        "encrypted",
        "no_text",
        "damaged",
        "crashed",
    ]
    detail: str = ""


Outcome: TypeAlias = Pages | Picture | Refusal


class Reply(Struct, frozen=True):
    """What became of the job, and how many bytes follow."""

    outcome: Outcome
    size: int


def main() -> None:
    """Do one job."""
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    limit_itself(job)
    logging.disable()  # pypdf complains of every oddity, and nobody listens
    outcome, data = read(job, sys.stdin.buffer.read())
    reply = msgspec.json.encode(Reply(outcome, len(data)))
    sys.stdout.buffer.write(reply + b"\n" + data)


def limit_itself(job: Job) -> None:
    """Take no more memory and CPU than the job allows, and write no file."""
    seconds = math.ceil(job.seconds)
    for kind, limit in (
        (resource.RLIMIT_AS, job.memory_bytes),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (limit, limit))
    os.nice(10)  # the bot answers people meanwhile


def read(job: Job, content: bytes) -> tuple[Outcome, bytes]:
    """Return what the file is, and its text or picture."""
    try:
        return read_pdf(job, content) if job.kind == "pdf" else read_picture(job, content)
    except MemoryError:
        return Refusal("too_much_memory"), b""
    except Exception as error:  # noqa: BLE001 -- the libraries raise whatever a broken file provokes
        return Refusal("damaged", f"{type(error).__name__}: {error}"[:200]), b""


def read_pdf(
    job: Job, content: bytes, clock: Callable[[], float] = time.monotonic
) -> tuple[Outcome, bytes]:
    """Return the text of the first pages: of fewer, if they take half of the time."""
    # Only half: the last page that was begun has to end in time, too.
    stop_at = clock() + job.seconds / 2
    import pypdf  # noqa: PLC0415 -- only this kind of file needs it
    from pypdf.errors import DependencyError, FileNotDecryptedError  # noqa: PLC0415

    try:
        pages = pypdf.PdfReader(io.BytesIO(content)).pages
        count = len(pages)
    except (FileNotDecryptedError, DependencyError) as error:
        return Refusal("encrypted", str(error)), b""
    texts: list[str] = []
    characters = unreadable = 0
    for page in itertools.islice(pages, job.max_pages):
        if characters > job.max_characters or clock() >= stop_at:
            break
        text = page_text(page)
        unreadable += text is None
        characters += len(text or "")
        texts.append(text or "")
    return _joined(texts, unreadable, count, job.max_characters)


def page_text(page: "PageObject") -> str | None:
    """Return what a page says, or None if it is damaged: the others may be well."""
    try:
        return page.extract_text().strip()
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 -- as above
        return None


def _joined(
    texts: list[str], unreadable: int, pages: int, max_characters: int
) -> tuple[Outcome, bytes]:
    text = "\n\n".join(texts).strip()
    pages_read = len(texts) - unreadable
    if not text:
        return Refusal("no_text" if pages_read else "damaged", f"{pages} pages"), b""
    outcome = Pages(pages, pages_read, len(text) > max_characters)
    return outcome, text[:max_characters].encode("utf-8", "replace")


def read_picture(job: Job, content: bytes) -> tuple[Outcome, bytes]:
    """Return a picture that fits, upright, and free of all that was not seen in it."""
    from PIL import Image, ImageOps, WebPImagePlugin  # noqa: F401, PLC0415 -- as above

    Image.MAX_IMAGE_PIXELS = job.max_pixels
    # Pillow only warns from there on, and refuses from twice as many.
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    try:
        image: Image.Image = Image.open(io.BytesIO(content), formats=[job.kind])
        # A JPEG can be decoded at a half or a quarter, for a fraction of the work.
        image.draft(None, (2 * job.max_side, 2 * job.max_side))
        image.load()
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        return Refusal("too_many_pixels", str(error)), b""
    # A photograph may carry other pictures beside it, but no frames.
    is_animated = job.kind != "jpeg" and getattr(image, "is_animated", False)
    image = _in_colour(image)
    image.thumbnail((job.max_side, job.max_side))
    ImageOps.exif_transpose(image, in_place=True)
    return _encoded(image, is_animated)


def _in_colour(image: "Image.Image") -> "Image.Image":
    if image.mode.startswith("I;16"):
        image = image.point(lambda level: level * (1 / 256))  # to convert it would cut, not scale
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _encoded(image: "Image.Image", is_animated: bool) -> tuple[Outcome, bytes]:
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255):
        image = image.convert("RGB")
    image.info = {}  # else comments and colour profiles would be written again
    buffer = io.BytesIO()
    if image.mode == "RGBA":
        image.save(buffer, "png")
        return Picture("image/png", is_animated), buffer.getvalue()
    # With full colour resolution: small coloured letters stay legible.
    image.save(buffer, "jpeg", quality=_JPEG_QUALITY, subsampling=0)
    return Picture("image/jpeg", is_animated), buffer.getvalue()


if __name__ == "__main__":
    main()
