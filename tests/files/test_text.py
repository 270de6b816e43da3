"""Text and code."""

import gzip
import io
import tarfile
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.files.samples import attachment

from acore_bot.errors import FileUnreadable
from acore_bot.files import Reader, ReadLimits
from acore_bot.messages import FileContent, well_formed


def zip_of(content: bytes) -> bytes:
    """Return a zip archive, such as office documents are."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", content)
    return buffer.getvalue()


def tar_of(content: bytes) -> bytes:
    """Return an archive whose content is plain."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("plain.txt")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


async def read(content: bytes, limits: ReadLimits | None = None) -> FileContent:
    """Read a file."""
    return await Reader(limits or ReadLimits()).read(attachment("it.txt"), content)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
async def test_text_is_read_in_each_encoding(encoding: str) -> None:
    """UTF-8 and UTF-16 are known by their marks, or by holding true."""
    text = "def grüße(): pass  # 猫 🐈\n\tend"
    assert await read(text.encode(encoding)) == FileContent(text=text)


async def test_big_endian_text_is_read() -> None:
    """The other order of bytes has another mark."""
    assert (await read("\ufeffcat".encode("utf-16-be"))).text == "cat"


async def test_line_ends_become_one_kind_and_control_characters_leave() -> None:
    """A text can neither move a terminal's cursor nor hide by carriage returns."""
    assert (await read(b"one\r\ntwo\rthree\n\x1b[2Jfour\x07")).text == "one\ntwo\nthree\n[2Jfour"


async def test_text_beyond_the_limit_is_cut_and_the_note_says_so() -> None:
    """What was left out is told; a text that just fits is whole."""
    limits = ReadLimits(max_characters=1000)
    assert await read(b"a" * 1000, limits) == FileContent(text="a" * 1000)
    cut = FileContent(text="a" * 1000, note="Only the first 1,000 characters were read.")
    assert await read(b"a" * 1001, limits) == cut


async def test_s21_one_line_of_ten_megabytes_is_cut() -> None:
    """A line may be of any length; only the head of the file is looked at."""
    content = await read(b"x" * 10_000_000)
    assert len(content.text) == 40_000
    assert content.note == "Only the first 40,000 characters were read."


@pytest.mark.parametrize("character", ["ж", "猫", "🐈"])
async def test_cut_never_splits_a_character(character: str) -> None:
    """The limit counts characters, however many bytes each of them takes."""
    for encoding in ("utf-8", "utf-16"):
        content = await read((character * 50).encode(encoding), ReadLimits(max_characters=7))
        assert content.text == character * 7


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(b"0" * 10_000_000),
        zip_of(zip_of(b"0" * 1_000_000)),
        tar_of(b"plain"),
        b"\x7fELF\x02\x01\x01\0\0\0",
        b"II*\0" + b"\0" * 100,  # TIFF
        b"SIMPLE  =" + b" " * 100 + b"\0",  # FITS
        b"BM" + b"\0" * 60,
        b"\xff\xfb\x90\x44" * 40,  # MP3
        "Grüße".encode("latin-1"),
        "cat".encode("utf-16-le"),  # without its mark
        "cat".encode("utf-32"),
        b"half a character: \xe7\x8c",
        b"\xff\xfea",
    ],
)
async def test_s21_what_is_no_text_is_refused_unopened(content: bytes) -> None:
    """Archives, programs and other encodings are of a kind that is not read: no bomb is opened."""
    with pytest.raises(FileUnreadable) as told:
        await read(content)
    assert told.value.sentence == 'The file "it.txt" is of a kind that I cannot read.'
    assert "UTF-8" in told.value.remedy


async def test_empty_file_is_refused() -> None:
    """There is nothing to say about nothing."""
    with pytest.raises(FileUnreadable, match="is empty"):
        await read(b"")


@given(st.binary(max_size=300), st.sampled_from([b"", b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf"]))
async def test_any_bytes_are_text_or_refused(content: bytes, mark: bytes) -> None:
    """Nothing but text comes out, and nothing but `FileUnreadable` is raised."""
    try:
        text = (await read(mark + content)).text
    except FileUnreadable:
        return
    assert text == well_formed(text)
    assert not set(text) & set(map(chr, {*range(0x20), *range(0x7F, 0xA0)} - {0x09, 0x0A}))
