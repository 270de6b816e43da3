"""The text of PDFs."""

import itertools
import zlib

import pytest
from tests.files.samples import Packed, attachment, encrypted_pdf, pdf, saying

from acore_bot.errors import FileUnreadable
from acore_bot.files import Reader, ReadLimits
from acore_bot.files.child import Job, Pages, read_pdf
from acore_bot.messages import FileContent

INFLATING = Packed(zlib.compress(b" " * 100_000_000))


async def read(content: bytes, limits: ReadLimits | None = None) -> FileContent:
    """Read a file."""
    return await Reader(limits or ReadLimits()).read(attachment("paper.pdf"), content)


async def told(content: bytes, limits: ReadLimits | None = None) -> str:
    """Return what a person hears about a file that is not read."""
    with pytest.raises(FileUnreadable) as refusal:
        await read(content, limits)
    return str(refusal.value)


async def test_text_of_the_pages_is_read_in_order() -> None:
    """All pages stand below each other, and nothing is noted where nothing is missing."""
    pages = pdf([saying("First page"), saying("Second page")])
    assert await read(pages) == FileContent(text="First page\n\nSecond page")


async def test_pdf_behind_an_empty_line_is_read() -> None:
    """Some programs write something before the mark."""
    assert (await read(b"\xef\xbb\xbf\r\n" + pdf([saying("Hello")]))).text == "Hello"


async def test_s21_ten_thousand_pages_are_cut() -> None:
    """The first pages are read, and the note tells of how many."""
    content = await read(pdf([saying(f"Page {number}") for number in range(10_000)]))
    assert content.text.endswith("Page 49")
    assert content.note == "Only 50 of 10,000 pages were read."


async def test_long_text_is_cut() -> None:
    """A PDF is bounded as any text is, and what stands behind the bound is not looked for."""
    pages = pdf([saying("a" * 60), saying("b" * 60), saying("c")])
    content = await read(pages, ReadLimits(max_characters=100))
    assert content.text == "a" * 60 + "\n\n" + "b" * 38
    assert content.note == ("Only the first 100 characters were read. Only 2 of 3 pages were read.")


async def test_s21_page_that_inflates_does_not_spoil_the_others() -> None:
    """A page of kilobytes that would become gigabytes is left out, and the note counts it so."""
    bomb = pdf([INFLATING, saying("Two")])
    assert len(bomb) < 1_000_000
    assert await read(bomb) == FileContent(text="Two", note="Only 1 of 2 pages were read.")


async def test_s21_pdf_that_only_inflates_is_refused() -> None:
    """Where no page can be read, the file is called damaged."""
    assert "is damaged or incomplete" in await told(pdf([INFLATING]))


def test_time_that_runs_out_leaves_the_pages_that_were_read() -> None:
    """Pages are begun in the first half of the time only: the last one may take the other."""
    job = Job(
        kind="pdf",
        seconds=5,
        memory_bytes=0,
        max_characters=1000,
        max_pages=50,
        max_pixels=0,
        max_side=0,
    )
    second_by_second = itertools.count()
    outcome, data = read_pdf(job, pdf([saying("Slow")] * 9), lambda: next(second_by_second))
    assert outcome == Pages(pages=9, pages_read=2, is_cut=False)
    assert data == b"Slow\n\nSlow"


async def test_control_characters_leave() -> None:
    """The text of a PDF is as free of them as any other."""
    assert (await read(pdf([saying("a\\033[2Jb")]))).text == "a[2Jb"


async def test_password_is_needed() -> None:
    """What is locked is not guessed at, and the remedy is told."""
    assert await told(encrypted_pdf("open sesame")) == (
        'The file "paper.pdf" is encrypted. Send it without a password.'
    )


async def test_lock_without_a_password_is_none() -> None:
    """Many papers are encrypted, with an empty password, only so that nobody changes them."""
    assert (await read(encrypted_pdf(""))).text == "secret"


async def test_scanned_pages_are_told_apart_from_damage() -> None:
    """Pages without text are whole; their pictures would be readable."""
    assert "holds no text that I can read. Send its pages as pictures." in await told(pdf([b""]))


@pytest.mark.parametrize(
    "content", [b"%PDF-1.7\n", b"%PDF-1.7\n" + b"\xff" * 1000, pdf([saying("Hello")])[:150]]
)
async def test_truncated_pdf_is_told(content: bytes) -> None:
    """Without its pages a PDF is damaged."""
    assert 'The file "paper.pdf" is damaged or incomplete.' in await told(content)
