"""Files to read, made as real programs and strangers make them."""

import io
import struct
import zlib
from collections.abc import Sequence

import pypdf
from PIL import Image

from acore_bot.messages import Attachment


def attachment(name: str = "it.bin", media_type: str = "application/octet-stream") -> Attachment:
    """Make what a front end tells of a file."""
    return Attachment(id=1, name=name, media_type=media_type, size=0, url="https://files.test/1")


def picture(
    file_format: str = "png",
    size: tuple[int, int] = (40, 20),
    mode: str = "RGB",
    colour: tuple[int, ...] | int = (200, 30, 30),
    **options: object,
) -> bytes:
    """Make a picture of one colour."""
    return encoded(Image.new(mode, size, colour), file_format, **options)


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    """Encode a picture."""
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def animation(file_format: str, frames: int) -> bytes:
    """Make a moving picture, red first."""
    rest = [Image.new("RGB", (8, 8), (0, n % 256, n // 256)) for n in range(1, frames)]
    first = Image.new("RGB", (8, 8), (255, 0, 0))
    return encoded(first, file_format, save_all=True, append_images=rest, duration=20)


def empty_png(width: int, height: int) -> bytes:
    """Make a PNG of few bytes that says it is of any size, and holds as many black pixels."""
    row = b"\0" + b"\0" * ((width + 7) // 8)
    packer = zlib.compressobj(9)
    body = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", body), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(kind, data) for kind, data in parts)


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum


class Packed(bytes):
    """A content stream that is compressed."""

    __slots__ = ()


def pdf(pages: Sequence[bytes]) -> bytes:
    """Make a PDF whose pages have these content streams."""
    kids = b" ".join(b"%d 0 R" % (4 + 2 * index) for index in range(len(pages)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count %d/Kids[%s]>>" % (len(pages), kids),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    page = b"<</Type/Page/Parent 2 0 R/Resources<</Font<</F 3 0 R>>>>/Contents %d 0 R>>"
    for index, stream in enumerate(pages):
        objects.append(page % (5 + 2 * index))
        how = b"/Filter/FlateDecode" if isinstance(stream, Packed) else b""
        objects.append(b"<</Length %d%s>>stream\n%s\nendstream" % (len(stream), how, stream))
    return _pdf_file(objects)


def _pdf_file(objects: Sequence[bytes]) -> bytes:
    made, places = bytearray(b"%PDF-1.7\n"), b""
    for number, body in enumerate(objects, 1):
        places += b"%010d 00000 n \n" % len(made)
        made += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    size = len(objects) + 1
    table = b"xref\n0 %d\n0000000000 65535 f \n%s" % (size, places)
    end = b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (size, len(made))
    return bytes(made) + table + end


def saying(text: str) -> bytes:
    """Make the content stream of a page that says something."""
    return f"BT /F 12 Tf 72 720 Td ({text}) Tj ET".encode("latin-1")


def encrypted_pdf(user_password: str) -> bytes:
    """Make a PDF that is opened with a password."""
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf([saying("secret")])))
    writer.encrypt(user_password, "owner", algorithm="RC4-128")
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()
