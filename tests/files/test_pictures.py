"""Pictures, opened in a child and made anew."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from PIL import Image as Pictures
from PIL import PngImagePlugin
from tests.files.samples import animation, attachment, empty_png, encoded, picture

from acore_bot.errors import FileUnreadable
from acore_bot.files import Reader, ReadLimits
from acore_bot.files.child import Job, Picture, Refusal
from acore_bot.files.child import read as read_as_the_child
from acore_bot.frontends.discord import attachments
from acore_bot.messages import FileContent, Image

CANARY = b"CANARY-48.8584N"


@pytest.fixture(autouse=True)
def pillows_own_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore what the child sets for its process, which here is ours."""
    monkeypatch.setattr(Pictures, "MAX_IMAGE_PIXELS", Pictures.MAX_IMAGE_PIXELS)


async def read(content: bytes, limits: ReadLimits | None = None, name: str = "it") -> FileContent:
    """Read a file."""
    return await Reader(limits or ReadLimits()).read(attachment(name), content)


async def see(content: bytes, limits: ReadLimits | None = None) -> Pictures.Image:
    """Read a picture and look at it."""
    return opened((await read(content, limits)).image)


def opened(image: Image | None) -> Pictures.Image:
    """Look at a picture, which is what it says."""
    assert image is not None
    made = Pictures.open(io.BytesIO(image.data))
    assert made.get_format_mimetype() == image.media_type
    return made


def is_near(seen: object, colour: tuple[int, ...]) -> bool:
    """Tell whether a pixel has a colour, as far as JPEG can keep it."""
    assert isinstance(seen, tuple)
    return all(abs(one - other) <= 8 for one, other in zip(seen, colour, strict=True))


@pytest.mark.parametrize("file_format", ["png", "jpeg", "gif", "webp"])
async def test_picture_is_read_by_its_bytes(file_format: str) -> None:
    """Each of the four formats is seen for what it is, under whatever name it comes."""
    content = await read(picture(file_format), name="claims.txt")
    made = opened(content.image)
    assert made.size == (40, 20)
    assert is_near(made.getpixel((5, 5)), (200, 30, 30))
    assert content.note == content.text == ""


async def test_picture_that_lies_about_its_kind_is_read_as_what_it_is() -> None:
    """A PNG that calls itself a JPEG is a PNG."""
    lying = attachment("photo.jpg", "image/jpeg")
    content = await Reader().read(lying, picture("png", mode="RGBA", colour=(0, 0, 255, 128)))
    assert opened(content.image).format == "PNG"


@pytest.mark.parametrize("file_format", ["bmp", "tiff", "ppm", "ico"])
async def test_other_pictures_are_refused(file_format: str) -> None:
    """No other decoder is ever reached."""
    with pytest.raises(FileUnreadable, match="of a kind that I cannot read"):
        await read(picture(file_format))


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((3136, 1000), (1568, 500)),
        ((1000, 3136), (500, 1568)),
        ((1568, 10), (1568, 10)),
        ((8, 4), (8, 4)),
        ((20_000, 2), (1568, 1)),
    ],
)
@pytest.mark.parametrize("file_format", ["png", "jpeg"])
async def test_large_picture_is_scaled_down_and_no_other(
    file_format: str, size: tuple[int, int], shown: tuple[int, int]
) -> None:
    """The longer side is 1,568 pixels at the most, its shape stays, and nothing is blown up."""
    assert (await see(picture(file_format, size))).size == shown


async def test_transparency_stays_and_only_then_is_it_a_png() -> None:
    """What shines through does so afterwards; a channel that hides nothing is not kept."""
    clear = await see(picture(mode="RGBA", colour=(10, 20, 30, 99)))
    assert (clear.format, clear.getpixel((0, 0))) == ("PNG", (10, 20, 30, 99))
    assert (await see(picture(mode="RGBA", colour=(10, 20, 30, 255)))).format == "JPEG"
    keyed = Pictures.new("P", (4, 4))
    assert (await see(encoded(keyed, "gif", transparency=0))).getpixel((0, 0)) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("file_format", "mode", "colour", "seen"),
    [
        ("png", "L", 128, (128, 128, 128)),
        ("png", "1", 1, (255, 255, 255)),
        ("png", "I;16", 0x4000, (64, 64, 64)),
        ("png", "LA", (50, 255), (50, 50, 50)),
        ("jpeg", "L", 128, (128, 128, 128)),
        ("jpeg", "CMYK", (0, 255, 255, 0), (255, 0, 0)),
        ("png", "P", 0, (0, 0, 0)),
    ],
)
async def test_every_mode_becomes_colour(
    file_format: str, mode: str, colour: tuple[int, ...] | int, seen: tuple[int, ...]
) -> None:
    """Grey, print and deep pictures look as they did."""
    made = await see(picture(file_format, mode=mode, colour=colour))
    assert is_near(made.getpixel((0, 0)), seen)


@pytest.mark.parametrize("file_format", ["png", "jpeg", "webp"])
async def test_photograph_stands_upright(file_format: str) -> None:
    """A camera notes how it was held; what the model sees is turned accordingly."""
    exif = Pictures.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    lying = Pictures.new("RGB", (40, 20), (255, 0, 0))
    lying.paste((0, 0, 255), (0, 0, 20, 20))
    made = await see(encoded(lying, file_format, exif=exif, quality=95))
    assert made.size == (20, 40)
    assert is_near(made.getpixel((10, 5)), (0, 0, 255))


def with_metadata(file_format: str) -> bytes:
    """Make a picture that carries the canary everywhere a format allows."""
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", CANARY.decode())
    exif = Pictures.Exif()
    exif[0x010E] = CANARY.decode()
    image = Pictures.new("RGBA" if file_format == "png" else "RGB", (8, 8))
    options: dict[str, object] = {"exif": exif, "icc_profile": CANARY, "xmp": CANARY}
    if file_format == "png":
        options["pnginfo"] = text
    else:
        options["comment"] = CANARY
    return encoded(image, file_format, **options)


@pytest.mark.parametrize("file_format", ["png", "jpeg", "webp", "gif"])
async def test_metadata_does_not_survive(file_format: str) -> None:
    """Where a photograph was taken, and whatever else came along unseen, stays behind."""
    original = with_metadata(file_format)
    assert CANARY in original
    content = await read(original)
    made = opened(content.image)
    assert CANARY not in (content.image.data if content.image else CANARY)
    assert not {"comment", "Comment", "icc_profile", "exif", "xmp"} & made.info.keys()


@pytest.mark.parametrize("file_format", ["gif", "webp", "png"])
async def test_first_frame_stands_for_an_animation(file_format: str) -> None:
    """Models look at one picture: the first, and the note says that there were more."""
    content = await read(animation(file_format, 3))
    assert is_near(opened(content.image).getpixel((0, 0)), (255, 0, 0))
    assert content.note == "Only the first frame of the animation was taken."


async def test_photograph_with_a_second_picture_inside_is_no_animation() -> None:
    """Phones put a preview beside the photograph, which nobody would miss."""
    second = Pictures.new("RGB", (8, 8))
    pair = encoded(Pictures.new("RGB", (8, 8)), "mpo", save_all=True, append_images=[second])
    assert (await read(pair)).note == ""


async def test_s21_animation_of_ten_thousand_frames_costs_one() -> None:
    """Frames that nobody sees are not decoded."""
    content = await read(animation("gif", 10_000))
    assert is_near(opened(content.image).getpixel((0, 0)), (255, 0, 0))


@pytest.mark.parametrize("size", [(30_000, 30_000), (5001, 5000), (25_000_001, 1)])
async def test_s21_too_many_pixels_are_refused(size: tuple[int, int]) -> None:
    """A few kilobytes may claim gigabytes of pixels: the head alone is believed to say so."""
    with pytest.raises(FileUnreadable) as told:
        await read(empty_png(*size))
    assert "more than 25 million pixels" in told.value.sentence


async def test_s21_frame_larger_than_its_picture_is_refused() -> None:
    """A GIF says how large it is, and each frame says so again."""
    content = bytearray(picture("gif", (8, 8), "L", 0))
    place = content.index(b",\0\0\0\0\x08\0\x08\0")
    content[place + 5 : place + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(FileUnreadable, match="million pixels"):
        await read(bytes(content))


async def test_twenty_five_million_pixels_are_read() -> None:
    """The limit is where it says, and all of it fits into the child's memory."""
    assert (await see(picture("png", (5000, 5000), "RGBA", (1, 2, 3, 4)))).size == (1568, 1568)
    assert (await see(picture("webp", (5000, 5000), method=0))).size == (1568, 1568)


async def test_too_many_bytes_are_refused() -> None:
    """A file beyond the limit is not even handed over."""
    content = picture()
    assert (await read(content, ReadLimits(max_bytes=len(content)))).image
    with pytest.raises(FileUnreadable, match="has more than 8 MB"):
        await read(content + b"\0" * 8 * 1024 * 1024)


def test_whatever_is_fetched_may_be_read() -> None:
    """One limit holds for the bytes of a file, whether it is fetched or read."""
    assert ReadLimits().max_bytes == attachments.MAX_BYTES


@pytest.mark.parametrize("file_format", ["png", "jpeg", "gif", "webp"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
async def test_truncated_picture_is_told(file_format: str, share: float) -> None:
    """Half a picture is no picture, wherever it was cut."""
    noise = Pictures.effect_noise((64, 64), 60).convert("RGB")
    whole = encoded(noise, file_format)
    with pytest.raises(FileUnreadable) as told:
        await read(whole[: max(16, int(len(whole) * share))], name="cat.png")
    assert told.value.sentence == 'The file "cat.png" is damaged or incomplete.'


async def test_memory_beyond_the_limit_is_refused() -> None:
    """The kernel keeps the child to its memory, and the person hears the reason."""
    limits = ReadLimits(memory_bytes=130 * 1024 * 1024)
    with pytest.raises(FileUnreadable, match="too much memory"):
        await read(picture("png", (5000, 5000)), limits)


JOB = Job(
    kind="png",
    seconds=5,
    memory_bytes=1,
    max_characters=100,
    max_pages=2,
    max_pixels=100_000,
    max_side=64,
)
WHOLE = {kind: picture(kind, (30, 20)) for kind in ("png", "jpeg", "gif", "webp")}


@settings(max_examples=300)
@given(
    kind=st.sampled_from(["png", "jpeg", "gif", "webp"]),
    changes=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=12),
)
def test_damaged_picture_is_shown_or_refused(kind: str, changes: list[tuple[int, int]]) -> None:
    """Whatever bytes differ, there is a picture within the limits or a reason."""
    content = bytearray(WHOLE[kind])
    for place, value in changes:
        content[place % len(content)] = value
    job = structs.replace(JOB, kind=kind)
    outcome, data = read_as_the_child(job, bytes(content))
    if isinstance(outcome, Picture):
        assert max(Pictures.open(io.BytesIO(data)).size) <= JOB.max_side
    else:
        assert isinstance(outcome, Refusal)
