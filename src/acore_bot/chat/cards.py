"""Character cards, V1 to V3: personas that other programs wrote, as JSON or inside of a PNG.

A card is data from strangers, though the owner put it there: nothing in it is decompressed or
drawn, every length is checked, and whatever it is, it becomes a card or a `CardFault`.
"""

import binascii
import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from acore_bot.messages import UNSEEN_LETTERS, printable

MAX_CARD_BYTES = 8 * 2**20
MAX_JSON_BYTES = 2**20
MAX_TEXT_BYTES = 64 * 2**10
MAX_PICTURE_BYTES = 2 * 2**20
MAX_CHUNKS = 2**14
MAX_NAME_CHARACTERS = 80
MAX_DESCRIPTION_CHARACTERS = 100

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
SPECS = ("chara_card_v2", "chara_card_v3")
# Where a card is in a PNG: that of V3 wins over that of V2, which also held V1.
_KEYWORDS = (b"ccv3", b"chara")
_TEXT_CHUNKS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_CHUNK_FRAME_BYTES = 12  # length, kind and checksum

_MACRO = re.compile(
    r"\{\{\s*+(?:(?P<word>char|user|original)\s*+|//[^{}]*+)\}\}|<(?P<old>bot|char|user)>",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s")
_EXAMPLE_START = re.compile(r"<START>", re.IGNORECASE)


class CardFault(Exception):
    """A file is no card that can be used. Both texts are parts of a sentence for its owner."""

    def __init__(self, why: str, remedy: str) -> None:
        super().__init__(why)
        self.why = why
        self.remedy = remedy


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What a card says, with all its names filled in."""

    name: str
    text: str
    description: str
    greeting: str


class Portrait(NamedTuple):
    """A PNG in two parts: the JSON of the card in it, empty if there is none, and the picture
    without any texts, empty if it is too large to be shown."""

    card: bytes
    picture: bytes


class _Spec(msgspec.Struct):
    """What tells the versions apart."""

    spec: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"")


class _Fields(msgspec.Struct):
    """What we use of a card. Programs write null for what is missing."""

    name: str | None = None
    nickname: str | None = None
    description: str | None = None
    personality: str | None = None
    scenario: str | None = None
    first_mes: str | None = None
    mes_example: str | None = None
    creator_notes: str | None = None
    system_prompt: str | None = None
    post_history_instructions: str | None = None


def parse_card(source: bytes, name: str) -> Card:
    """Make a card of its JSON; `name` is for one that has none. Raises `CardFault`."""
    if len(source) > MAX_JSON_BYTES:
        raise _too_large()
    fields = _fields_of(source.removeprefix(b"\xef\xbb\xbf"))
    # A short word may stand for a long name, so first of all what is written must have an end.
    _check_size(*msgspec.structs.astuple(msgspec.structs.replace(fields, creator_notes=None)))
    name = _one_line(fields.name or "", MAX_NAME_CHARACTERS) or name
    called = _one_line(fields.nickname or "", MAX_NAME_CHARACTERS) or name
    card = Card(
        name=name,
        text=_text_of(fields, called),
        description=_first_sentence(fields.creator_notes or ""),
        greeting=_filled(fields.first_mes, called),
    )
    _check_size(card.text, card.greeting)
    return card


def open_png(data: bytes) -> Portrait:
    """Take a PNG apart. Raises `CardFault` if it is none, or not whole."""
    found: dict[bytes, bytes] = {}
    picture = [PNG_SIGNATURE]
    for kind, chunk in _chunks(data):
        keyword, _, text = bytes(chunk[8:-4]).partition(b"\0") if kind == b"tEXt" else (b"",) * 3
        if keyword in _KEYWORDS:
            found.setdefault(keyword, text)
        if kind not in _TEXT_CHUNKS:
            picture.append(chunk)
    card = next((found[keyword] for keyword in _KEYWORDS if keyword in found), b"")
    is_showable = sum(map(len, picture)) <= MAX_PICTURE_BYTES
    return Portrait(_decoded(card), b"".join(picture) if is_showable else b"")


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kind and the whole of each chunk, from the header to the end."""
    view, at = memoryview(data), len(PNG_SIGNATURE)
    if not data.startswith(PNG_SIGNATURE):
        raise CardFault("it is no PNG picture", "Convert it to one, with its card inside.")
    for number in range(MAX_CHUNKS):
        length, kind = int.from_bytes(view[at : at + 4]), bytes(view[at + 4 : at + 8])
        end = at + _CHUNK_FRAME_BYTES + length
        if end > len(data) or (number == 0) != (kind == b"IHDR"):
            break
        yield kind, bytes(view[at:end])
        if kind == b"IEND":
            return
        at = end
    raise CardFault("it is not a whole PNG picture", "Save it again.")


def _decoded(text: bytes) -> bytes:
    if len(text) > MAX_JSON_BYTES * 4 // 3 + 4:
        raise _too_large()
    try:
        return binascii.a2b_base64(text + b"==")  # some leave the padding out
    except binascii.Error:
        raise CardFault("the card in it is not base64", "Export it again.") from None


def _too_large() -> CardFault:
    why = f"its card is larger than {MAX_JSON_BYTES // 2**20} MiB"
    return CardFault(why, "Remove its lorebook, which is not used here.")


def _check_size(*texts: str | None) -> None:
    size = sum(len((text or "").encode()) for text in texts)
    if size > MAX_TEXT_BYTES:
        why = f"its texts have {-(-size // 2**10)} KiB, and {MAX_TEXT_BYTES // 2**10} are the most"
        raise CardFault(why, "Shorten them: they are read anew for every message.")


def _fields_of(source: bytes) -> _Fields:
    try:
        head = msgspec.json.decode(source, type=_Spec)
        if head.spec not in {None, *SPECS}:
            raise CardFault("its spec is none that I know", f"Known are {' and '.join(SPECS)}.")
        data = bytes(head.data)
        return msgspec.json.decode(source if data in {b"", b"null"} else data, type=_Fields)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CardFault(f"its card is wrong: {error}", "Export it again.") from None


def _text_of(fields: _Fields, name: str) -> str:
    """Put the parts into the order in which most programs send them."""
    role = f"You are {name}, and speak as {name} would."
    examples = (one.strip() for one in _EXAMPLE_START.split(fields.mes_example or ""))
    parts = (
        ("", fields.description),
        (f"{name}'s personality:\n", fields.personality),
        ("The situation:\n", fields.scenario),
        (f"How {name} speaks, for example:\n", "\n\n".join(filter(None, examples))),
        ("", fields.post_history_instructions),
    )
    filled = [(lead, _filled(text, name)) for lead, text in parts]
    system = _filled(fields.system_prompt, name, original=role)
    if not system and not any(text for _, text in filled):
        raise CardFault("it says nothing about who to be", "Write a description into it.")
    return "\n\n".join([system or role, *(lead + text for lead, text in filled if text)])


def _filled(text: str | None, name: str, original: str = "") -> str:
    """Fill in who speaks. The person stays unnamed: the head of a prompt is the same for all."""
    words = {"char": name, "bot": name, "user": "the user", "original": original}

    def word(match: re.Match[str]) -> str:
        return words.get((match["word"] or match["old"] or "").lower(), "")

    return printable(_MACRO.sub(word, text or "")).strip()


def _first_sentence(text: str) -> str:
    # The rest of a long text cannot matter, and need not be tidied.
    line = _one_line(text[: 20 * MAX_DESCRIPTION_CHARACTERS], 20 * MAX_DESCRIPTION_CHARACTERS)
    sentence = _SENTENCE_END.split(line, maxsplit=1)[0]
    if len(sentence) <= MAX_DESCRIPTION_CHARACTERS:
        return sentence
    return sentence[: MAX_DESCRIPTION_CHARACTERS - 1].rstrip() + "…"


def _one_line(text: str, max_characters: int) -> str:
    visible = (one for one in " ".join(text.split()) if _is_visible(one))
    return " ".join("".join(visible).split())[:max_characters].strip()


def _is_visible(character: str) -> bool:
    return unicodedata.category(character)[0] != "C" and character not in UNSEEN_LETTERS
