"""Character cards of other programs: what becomes of them, whatever is in them."""

import base64
import json
import re
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acore_bot.chat.cards import (
    MAX_CHUNKS,
    MAX_JSON_BYTES,
    MAX_PICTURE_BYTES,
    MAX_TEXT_BYTES,
    PNG_SIGNATURE,
    Card,
    CardFault,
    open_png,
    parse_card,
)

FIELDS = {
    "name": "Ada",
    "description": "{{char}} is a mathematician.",
    "personality": "curious",
    "scenario": "{{user}} visits {{char}}.",
    "first_mes": "Good day, {{user}}. I am <BOT>.",
    "mes_example": "<START>\n{{user}}: Hi\n{{char}}: Hello.\n<START>\n{{user}}: Bye",
    "creator_notes": "An old friend.  Made in a day.",
    "system_prompt": "{{original}} Be brief.",
    "post_history_instructions": "Never lie.{{original}}",
}
TEXT = """\
You are Ada, and speak as Ada would. Be brief.

Ada is a mathematician.

Ada's personality:
curious

The situation:
the user visits Ada.

How Ada speaks, for example:
the user: Hi
Ada: Hello.

the user: Bye

Never lie."""


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


IHDR = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
IDAT = chunk(b"IDAT", zlib.compress(b"\0\0"))
IEND = chunk(b"IEND", b"")
PICTURE = PNG_SIGNATURE + IHDR + IDAT + IEND


def png(*chunks: bytes) -> bytes:
    """A picture of one pixel, with these chunks in it."""
    return PNG_SIGNATURE + IHDR + b"".join(chunks) + IDAT + IEND


def text_chunk(keyword: str, card: object) -> bytes:
    """A chunk that holds a card."""
    coded = base64.b64encode(json.dumps(card).encode())
    return chunk(b"tEXt", keyword.encode() + b"\0" + coded)


def card_of(fields: Mapping[str, object], spec: str = "chara_card_v2") -> Card:
    """Read a card with these fields."""
    return parse_card(json.dumps({"spec": spec, "data": fields}).encode(), "Nobody")


def fault_of(source: bytes) -> str:
    """What an owner is told about a card."""
    with pytest.raises(CardFault) as caught:
        parse_card(source, "Nobody")
    return f"{caught.value.why}. {caught.value.remedy}"


def png_fault(data: bytes) -> str:
    """What an owner is told about a picture."""
    with pytest.raises(CardFault) as caught:
        open_png(data)
    return caught.value.why


@pytest.mark.parametrize(
    "card",
    [
        {"spec": "chara_card_v3", "spec_version": "3.0", "data": FIELDS},
        {"spec": "chara_card_v2", "spec_version": "2.0", "data": FIELDS, "name": 7},
        FIELDS,
        FIELDS | {"data": None},
    ],
)
def test_each_version_says_the_same(card: object) -> None:
    """The fields are found in V1, V2 and V3, become one text in a fixed order, and name nobody who
    happens to speak."""
    assert parse_card(json.dumps(card).encode(), "Nobody") == Card(
        name="Ada",
        text=TEXT,
        description="An old friend.",
        greeting="Good day, the user. I am Ada.",
    )


def test_what_is_missing_leaves_no_trace() -> None:
    """A card that says one thing becomes that and who speaks; null is as good as absent."""
    card = card_of({"description": "A cat.", "personality": None, "scenario": " "})
    assert card == Card(
        name="Nobody",
        text="You are Nobody, and speak as Nobody would.\n\nA cat.",
        description="",
        greeting="",
    )


def test_a_cards_own_system_prompt_replaces_ours() -> None:
    """Only where it asks for the original does ours stay."""
    assert card_of({"name": "Ada", "system_prompt": "Speak as {{CHAR}}."}).text == "Speak as Ada."


def test_macros() -> None:
    """Macros are found in any case and with spaces, comments go, a nickname stands for the name,
    and what a name contains is filled in no further."""
    card = card_of(
        {
            "name": "Ada {{user}}",
            "nickname": "A{{user}}",
            "description": "{{ char }} <Char> {{USER}} <user>{{// note}} {{random:a,b}} {{}} <b>",
        },
        "chara_card_v3",
    )
    assert card.name == "Ada {{user}}"
    assert card.text.endswith("\n\nA{{user}} A{{user}} the user the user {{random:a,b}} {{}} <b>")


def test_texts_are_tidied() -> None:
    """Line ends are one kind, and nothing in a text can move a terminal's cursor."""
    card = card_of({"system_prompt": "\r\nOne.\r\n\tTwo.\x1b[2J\x07 ", "first_mes": "\x1bHi"})
    assert card.text == "One.\n\tTwo.[2J"
    assert card.greeting == "Hi"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (" Miss\n Marple\t", "Miss Marple"),
        ("\u202eA\u200bd\x07a\u3164", "Ada"),
        ("x" * 200, "x" * 80),
        ("\n", "Nobody"),
        ("\u200b", "Nobody"),
    ],
)
def test_a_name_is_one_tidy_line(name: str, shown: str) -> None:
    """Nothing invisible is in it, and it is at most 80 characters long."""
    assert card_of({"name": name, "description": "A cat."}).name == shown


@pytest.mark.parametrize(
    ("notes", "description"),
    [
        ("One. Two.", "One."),
        ("Version 1.5 is here! New.", "Version 1.5 is here!"),
        ("No end", "No end"),
        ("x" * 100, "x" * 100),
        ("x" * 101, "x" * 99 + "…"),
        ("\n \n", ""),
        ("x\n" * 200_000, "x " * 49 + "x…"),
    ],
)
def test_the_description_is_the_notes_first_sentence(notes: str, description: str) -> None:
    """It is one line of at most 100 characters."""
    assert card_of({"description": "A cat.", "creator_notes": notes}).description == description


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        (b"", r"its card is wrong: .*"),
        (b"[]", r"its card is wrong: Expected `object`, got `array`\. .*"),
        (b'{"name": 7}', r"its card is wrong: Expected `str \| null`, got `int` - at `\$\.name`.*"),
        (b'{"data": 7, "name": "Ada"}', r"its card is wrong: Expected `object`, got `int`.*"),
        (b'{"spec": 2}', r"its card is wrong: .* at `\$\.spec`.*"),
        (b'{"name": "\xff"}', r"its card is wrong: .*"),
        (b'{"name": "\\ud800"}', r"its card is wrong: .*"),
        (b"[" * 100_000, r"its card is wrong: .*"),
        (b'{"x":' * 100_000, r"its card is wrong: .*"),
        (
            b'{"spec": "chara_card_v9"}',
            r"its spec is none that I know\. Known are chara_card_v2 and chara_card_v3\.",
        ),
        (
            b'{"spec": "chara_card_v2", "data": {"name": "Ada", "first_mes": "Hi"}}',
            r"it says nothing about who to be\. Write a description into it\.",
        ),
        (b" " * (MAX_JSON_BYTES + 1), r"its card is larger than 1 MiB\. Remove its lorebook.*"),
    ],
)
def test_a_card_that_cannot_be_used_is_explained(source: bytes, fault: str) -> None:
    """It is said what is wrong, where, and what helps."""
    assert re.fullmatch(fault, fault_of(source))


def test_a_byte_order_mark_changes_nothing() -> None:
    """Files of other systems are read alike."""
    assert parse_card(b'\xef\xbb\xbf{"description": "A cat."}', "Nobody").name == "Nobody"


def test_the_largest_text() -> None:
    """The bound itself is allowed for all that is read for each message; one more byte is told."""
    lead = "You are Ada, and speak as Ada would.\n\n"
    longest = "x" * (MAX_TEXT_BYTES - len(lead))
    assert len(card_of({"name": "Ada", "description": longest}).text) == MAX_TEXT_BYTES
    with pytest.raises(CardFault, match="its texts have 65 KiB, and 64 are the most"):
        card_of({"name": "Ada", "description": longest + "x"})


def test_a_long_name_cannot_make_a_text_without_end() -> None:
    """What grows beyond the bound when names are filled in is refused too."""
    with pytest.raises(CardFault, match="are the most"):
        card_of({"name": "\U0001f600" * 80, "description": "<bot>" * 200_000})
    with pytest.raises(CardFault, match="are the most"):
        card_of({"name": "\U0001f600" * 80, "description": "<bot>" * 12_000})


@pytest.mark.parametrize("piece", ["{{", "{{//", "{{ ", "{{// ", "<START>", "{{char", " \n"])
def test_no_text_takes_long_to_fill_in(piece: str) -> None:
    """What looks like the beginning of something, again and again, is read in one go: otherwise
    this would take minutes."""
    pieces = piece * (60_000 // len(piece))
    for _ in range(30):
        card_of({"name": "Ada", "description": f"A.{pieces}."})
        card_of({"name": "Ada", "description": "A.", "mes_example": f"A.{pieces}."})


# Pictures.


def test_a_card_in_a_picture() -> None:
    """It is found, and the picture is shown without it."""
    assert open_png(png(text_chunk("chara", FIELDS))) == (json.dumps(FIELDS).encode(), PICTURE)


def test_v3_wins_in_a_picture() -> None:
    """Of two cards the newer kind counts, wherever it is; of one kind, the first does."""
    old, new = text_chunk("chara", {"name": "old"}), text_chunk("ccv3", {"name": "new"})
    again = text_chunk("ccv3", {"name": "again"})
    for order in ((old, new, again), (new, old, again), (new, again, old)):
        assert open_png(png(*order)).card == b'{"name": "new"}'


def test_no_other_text_is_read_or_shown() -> None:
    """Compressed texts are not opened, and all texts leave the picture."""
    bomb = zlib.compress(bytes(10_000_000))
    texts = (
        chunk(b"zTXt", b"chara\0\0" + bomb),
        chunk(b"iTXt", b"ccv3\0\1\0\0\0" + bomb),
        chunk(b"tEXt", b"Comment\0home address"),
        chunk(b"tEXt", b"no separator"),
        chunk(b"tEXt", b""),
    )
    assert open_png(png(*texts)) == (b"", PICTURE)


def test_what_follows_the_end_is_dropped() -> None:
    """Nothing rides along behind a picture."""
    assert open_png(PICTURE + b"secret").picture == PICTURE


def test_a_large_picture_is_not_shown() -> None:
    """The bound itself is allowed; beyond it the card still counts."""
    room = MAX_PICTURE_BYTES - len(PICTURE) - 12
    card = text_chunk("chara", FIELDS)
    assert len(open_png(png(card, chunk(b"IDAT", bytes(room)))).picture) == MAX_PICTURE_BYTES
    large = open_png(png(card, chunk(b"IDAT", bytes(room + 1))))
    assert large.picture == b""
    assert large.card


def test_padding_may_be_missing() -> None:
    """Cards whose base64 lacks its end or has line breaks are read."""
    for size in range(6):
        source = b"x" * size
        coded = base64.encodebytes(source).rstrip(b"=\n")
        assert open_png(png(chunk(b"tEXt", b"chara\0" + coded))).card == source


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "it is no PNG picture"),
        (b"\xff\xd8\xff\xe0JFIF", "it is no PNG picture"),
        (PNG_SIGNATURE, "it is not a whole PNG picture"),
        (PNG_SIGNATURE + IEND, "it is not a whole PNG picture"),
        (PNG_SIGNATURE + IHDR + IHDR + IEND, "it is not a whole PNG picture"),
        (PNG_SIGNATURE + IHDR + b"\xff\xff\xff\xfftEXtchara\0", "it is not a whole PNG picture"),
        (
            PNG_SIGNATURE + IHDR + chunk(b"IDAT", b"") * MAX_CHUNKS + IEND,
            "it is not a whole PNG picture",
        ),
        (png(chunk(b"tEXt", b"chara\0x")), "the card in it is not base64"),
        (
            png(chunk(b"tEXt", b"chara\0" + b"A" * (MAX_JSON_BYTES * 4 // 3 + 5))),
            "its card is larger than 1 MiB",
        ),
    ],
)
def test_a_picture_that_cannot_be_used_is_explained(data: bytes, fault: str) -> None:
    """It is said what is wrong with it."""
    assert png_fault(data) == fault


@pytest.mark.parametrize("end", range(len(PICTURE)))
def test_a_cut_picture_is_told(end: int) -> None:
    """However much of the end is missing, that is seen."""
    assert png_fault(PICTURE[:end])


# Whatever it is.

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
TEXTS = st.text() | st.sampled_from(["{{char}}", "<user>{{original}}", "<START>", "{{//", "x. y"])
WILD = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, TEXTS | VALUES))
CARDS = st.one_of(
    VALUES,
    WILD,
    st.fixed_dictionaries({"spec": VALUES | st.just("chara_card_v2"), "data": WILD | VALUES}),
)


def use(source: bytes) -> None:
    """Read a card, which is good or told to be wrong."""
    try:
        card = parse_card(source, "Nobody")
    except CardFault:
        return
    assert 1 <= len(card.name) <= 80
    assert card.name.splitlines() == [card.name]
    assert len(card.description) <= 100
    assert card.text
    assert len(card.text.encode()) <= MAX_TEXT_BYTES
    assert len(card.greeting.encode()) <= MAX_TEXT_BYTES


@given(CARDS)
def test_any_json_is_a_card_or_a_fault(value: Any) -> None:  # noqa: ANN401
    """Whatever JSON says, a good card comes of it or a fault that is explained."""
    use(json.dumps(value).encode())


@given(st.binary())
def test_any_bytes_are_a_card_or_a_fault(source: bytes) -> None:
    """What is no JSON is a fault that is explained."""
    use(source)


CHUNKS = st.one_of(
    st.binary(max_size=40),
    st.builds(chunk, st.sampled_from([b"tEXt", b"zTXt", b"IDAT", b"IEND"]), st.binary(max_size=40)),
    st.builds(text_chunk, st.sampled_from(["chara", "ccv3"]), CARDS),
    st.builds(
        lambda length, data: struct.pack(">I", length) + b"tEXtchara\0" + data,
        st.integers(0, 2**32 - 1),
        st.binary(max_size=40),
    ),
)


@settings(max_examples=300)
@given(st.lists(CHUNKS, max_size=5), st.integers(0, 400))
def test_any_picture_is_a_card_or_a_fault(chunks: list[bytes], cut: int) -> None:
    """Random chunks, lengths and ends make a portrait or a fault; what is shown has no texts."""
    data = png(*chunks)
    try:
        portrait = open_png(data[: max(0, len(data) - cut)])
    except CardFault:
        return
    assert portrait.picture.startswith(PNG_SIGNATURE)
    assert open_png(portrait.picture) == (b"", portrait.picture)
    if portrait.card:
        use(portrait.card)
