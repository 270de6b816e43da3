"""Personas: found by name, in folders that no name can leave."""

import base64
import json
import os
import re
import struct
import zlib
from pathlib import Path
from typing import IO, cast

import pytest
from msgspec import structs

import acore_bot
from acore_bot.chat import cards
from acore_bot.chat.persona import (
    MAX_FILE_BYTES,
    MAX_REMEMBERED,
    SUFFIXES,
    Persona,
    PersonaLibrary,
)
from acore_bot.errors import ConfigurationError, NotFound

SHIPPED = Path(acore_bot.__file__).parent / "personas"
HEAD = '+++\nname = "Miss Marple"\ndescription = "Knits."\ntemperature = 0.4\n+++\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder inside another, which holds a secret."""
    (tmp_path / "secret.md").write_text("The key is 12345.")
    inside = tmp_path / "personas"
    inside.mkdir()
    return inside


@pytest.fixture
def library(folder: Path) -> PersonaLibrary:
    """The personas of that folder."""
    return PersonaLibrary([folder])


@pytest.mark.parametrize("slug", ["acore", "storyteller", "tutor"])
def test_our_own_personas_load(slug: str) -> None:
    """Each shipped persona has a name, a description and something to be."""
    persona = PersonaLibrary([SHIPPED]).load(slug)
    assert persona.slug == slug
    assert persona.name == slug.title()
    assert persona.description.endswith(".")
    assert persona.name in persona.text


def test_our_own_personas_are_named() -> None:
    """The shipped folder holds exactly these."""
    assert PersonaLibrary([SHIPPED]).names() == ("acore", "storyteller", "tutor")


def test_a_head_is_read(folder: Path, library: PersonaLibrary) -> None:
    """The head gives name, description and temperature; the text below is the prompt."""
    (folder / "marple.md").write_text(f"{HEAD}You are Miss Marple.\n\nYou knit.\n")
    assert library.load("marple") == Persona(
        slug="marple",
        name="Miss Marple",
        text="You are Miss Marple.\n\nYou knit.",
        description="Knits.",
        temperature=0.4,
    )


def test_a_head_may_be_absent(folder: Path, library: PersonaLibrary) -> None:
    """A file that is text alone is a persona, named after its file."""
    (folder / "miss-marple_2.md").write_text("You are Miss Marple.")
    persona = library.load("miss-marple_2")
    assert persona.name == "Miss Marple 2"
    assert persona.text == "You are Miss Marple."
    assert persona.temperature is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_files_of_other_systems_are_read_alike(
    folder: Path, library: PersonaLibrary, encoding: str
) -> None:
    """Carriage returns and a byte order mark change nothing."""
    source = f"{HEAD}You are Miss Marple.\nYou knit.".replace("\n", "\r\n")
    (folder / "marple.md").write_bytes(source.encode(encoding))
    persona = library.load("marple")
    assert persona.name == "Miss Marple"
    assert persona.text == "You are Miss Marple.\nYou knit."


def test_the_owners_folder_comes_first(folder: Path) -> None:
    """A persona of the owner replaces ours of the same name; the others stay."""
    (folder / "tutor.md").write_text("You are strict.")
    (folder / "aunt.md").write_text("You are an aunt.")
    library = PersonaLibrary([folder, SHIPPED])
    assert library.load("tutor").text == "You are strict."
    assert library.load("acore").name == "Acore"
    assert library.names() == ("acore", "aunt", "storyteller", "tutor")


def test_an_absent_folder_is_empty(tmp_path: Path) -> None:
    """An owner who has no folder of personas has just ours."""
    assert PersonaLibrary([tmp_path / "absent", SHIPPED]).load("acore").name == "Acore"
    assert PersonaLibrary([tmp_path / "absent"]).names() == ()


def test_an_unknown_persona_is_not_found(folder: Path) -> None:
    """The complaint names what was asked for and what there is."""
    with pytest.raises(NotFound) as caught:
        PersonaLibrary([SHIPPED]).load("aunt")
    assert str(caught.value) == (
        "There is no persona named 'aunt'. Known personas: acore, storyteller, tutor."
    )
    with pytest.raises(NotFound, match=r"Known personas: none\."):
        PersonaLibrary([folder]).load("aunt")


HOSTILE = [
    "",
    ".",
    "..",
    "../secret",
    "..\\secret",
    "personas/../../secret",
    "/etc/passwd",
    "//secret",
    "~/secret",
    "%2e%2e%2fsecret",
    "%2e%2e/secret",
    "\uff0e\uff0e/secret",
    "tutor\0",
    "../secret.md\0",
    "tutor\n",
    "tutor.md",
    " tutor",
    "Tutor",
    "tut\u043er",
    "\uff54utor",
    "tutor\u200b",
    "x" * 41,
    "x" * 300,
    "$HOME",
    "*",
]


@pytest.mark.parametrize("slug", HOSTILE)
def test_a_name_cannot_leave_the_folder(folder: Path, slug: str) -> None:
    """What is not a plain slug is not found, whatever it would lead to, and is echoed briefly."""
    (folder / "tutor.md").write_text("You are strict.")
    with pytest.raises(NotFound) as caught:
        PersonaLibrary([folder, SHIPPED]).load(slug)
    assert "12345" not in str(caught.value)
    assert len(caught.value.sentence) < 400


def test_an_absolute_path_is_not_a_name(tmp_path: Path, library: PersonaLibrary) -> None:
    """A whole path to a file that exists leads nowhere."""
    with pytest.raises(NotFound):
        library.load(str(tmp_path / "secret"))


def test_strange_files_are_not_named(folder: Path, library: PersonaLibrary) -> None:
    """Files whose names are no slugs are not on the list."""
    for name in ("tutor.md", "README.md", "notes.txt", "a b.md", ".md"):
        (folder / name).write_text("You are.")
    assert library.names() == ("tutor",)


def complaint(library: PersonaLibrary, slug: str) -> str:
    """What the owner reads about a file that cannot be used."""
    with pytest.raises(ConfigurationError) as caught:
        library.load(slug)
    return str(caught.value)


def test_a_link_out_of_the_folder_is_refused(folder: Path, library: PersonaLibrary) -> None:
    """A link to a file elsewhere is not followed; one within the folder is."""
    (folder / "spy.md").symlink_to(folder.parent / "secret.md")
    (folder / "tutor.md").write_text("You are strict.")
    (folder / "teacher.md").symlink_to(folder / "tutor.md")
    assert complaint(library, "spy") == (
        f"The persona file {folder / 'spy.md'} cannot be used: it is a link that leads out of its "
        "folder. Copy the file instead."
    )
    assert library.load("teacher").text == "You are strict."


def test_the_folder_itself_may_be_a_link(tmp_path: Path, folder: Path) -> None:
    """An owner may link the whole folder from where it really is."""
    (folder / "tutor.md").write_text("You are strict.")
    (tmp_path / "linked").symlink_to(folder)
    assert PersonaLibrary([tmp_path / "linked"]).load("tutor").text == "You are strict."


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (b"+++\nname = 'x'\nYou are.", "its head does not end. Close it with a line of +++."),
        (b"+++\nname = 'x'\n+++\n \n", "it says nothing about who to be. Write so below its head."),
        (b"", "it says nothing about who to be. Write so below its head."),
        (b"You are \xff.", "it is not UTF-8 text. Save it as UTF-8."),
        (b"x" * (MAX_FILE_BYTES + 1), "it is larger than 64 KiB. Shorten it."),
    ],
)
def test_a_file_that_cannot_be_used_is_explained(
    folder: Path, library: PersonaLibrary, source: bytes, why: str
) -> None:
    """The complaint names the file, the reason and the remedy."""
    (folder / "tutor.md").write_bytes(source)
    expected = f"The persona file {folder / 'tutor.md'} cannot be used: {why}"
    assert complaint(library, "tutor") == expected


def test_a_file_of_the_largest_size_is_read(folder: Path, library: PersonaLibrary) -> None:
    """The bound itself is allowed."""
    (folder / "tutor.md").write_bytes(b"x" * MAX_FILE_BYTES)
    assert len(library.load("tutor").text) == MAX_FILE_BYTES


@pytest.mark.parametrize(
    "head",
    [
        "name = ",
        "name = 7",
        "nmae = 'x'",
        "temperature = 'hot'",
        "temperature = -0.1",
        "temperature = 2.1",
        "temperature = nan",
    ],
)
def test_a_wrong_head_is_explained(folder: Path, library: PersonaLibrary, head: str) -> None:
    """A head that is no TOML, or has a key or value that means nothing, is named as such."""
    (folder / "tutor.md").write_text(f"+++\n{head}\n+++\nYou are.")
    assert re.search(
        r"tutor\.md cannot be used: its head is wrong: .+", complaint(library, "tutor")
    )


@pytest.mark.parametrize("temperature", ["0", "1", "2.0"])
def test_temperatures_that_models_know(
    folder: Path, library: PersonaLibrary, temperature: str
) -> None:
    """From 0 to 2, with or without a point."""
    (folder / "tutor.md").write_text(f"+++\ntemperature = {temperature}\n+++\nYou are.")
    assert library.load("tutor").temperature == float(temperature)


def test_an_unreadable_file_is_explained(
    folder: Path, library: PersonaLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that the system does not let us read is named, with what to check."""
    file = folder / "tutor.md"
    file.write_text("You are strict.")

    def refuse(*_: object) -> None:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(Path, "open", refuse)
    assert complaint(library, "tutor") == (
        f"The persona file {file} cannot be used: Permission denied. Check its permissions."
    )


# Cards, pictures, and how often files are read.

CARD = {
    "spec": "chara_card_v2",
    "data": {"name": "Ada", "description": "A cat.", "first_mes": "Hi"},
}
ADA = Persona(
    slug="ada", name="Ada", text="You are Ada, and speak as Ada would.\n\nA cat.", greeting="Hi"
)


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*chunks: bytes) -> bytes:
    """A picture with these chunks in it."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"\0\0"))
    return b"".join((cards.PNG_SIGNATURE, header, *chunks, body, chunk(b"IEND", b"")))


def png_card(card: object) -> bytes:
    """A picture with a card in it."""
    coded = base64.b64encode(json.dumps(card).encode())
    return png(chunk(b"tEXt", b"chara\0" + coded))


def test_a_card_is_a_persona(folder: Path, library: PersonaLibrary) -> None:
    """As JSON, and as a picture, which is then what it looks like."""
    (folder / "ada.json").write_text(json.dumps(CARD))
    (folder / "ben.png").write_bytes(png_card(CARD))
    assert library.load("ada") == ADA
    assert library.load("ben") == structs.replace(ADA, slug="ben", picture=png())
    assert library.names() == ("ada", "ben")


def test_a_card_without_a_name_is_named_after_its_file(
    folder: Path, library: PersonaLibrary
) -> None:
    """As a Markdown file is."""
    (folder / "miss-marple.json").write_text('{"description": "Knits."}')
    assert library.load("miss-marple").name == "Miss Marple"


def test_a_picture_beside_another_file_is_its_picture(
    folder: Path, library: PersonaLibrary
) -> None:
    """Whether there is a card in it or not; of the other kinds, Markdown comes first."""
    (folder / "ada.json").write_text(json.dumps(CARD))
    (folder / "ada.md").write_text("You are Ada.")
    assert library.load("ada") == Persona(slug="ada", name="Ada", text="You are Ada.")
    (folder / "ada.md").unlink()
    (folder / "ada.png").write_bytes(png_card({"description": "Another."}))
    assert library.load("ada") == structs.replace(ADA, picture=png())
    (folder / "ada.md").write_text("You are Ada.")
    assert library.load("ada") == Persona(
        slug="ada", name="Ada", text="You are Ada.", picture=png()
    )
    assert library.names() == ("ada",)


def test_the_owners_card_replaces_our_file(folder: Path) -> None:
    """The folder counts before the kind, and a picture of one folder is none of another's."""
    library = PersonaLibrary([folder, SHIPPED])
    (folder / "tutor.png").write_bytes(png_card(CARD))
    assert library.load("tutor").greeting == "Hi"
    other = PersonaLibrary([SHIPPED, folder])
    assert other.load("tutor").picture == b""


def test_a_picture_that_is_too_large_is_told_once(
    folder: Path, library: PersonaLibrary, caplog: pytest.LogCaptureFixture
) -> None:
    """The persona works without it, and the log says why it is not seen."""
    (folder / "ada.md").write_text("You are Ada.")
    (folder / "ada.png").write_bytes(png())
    assert library.load("ada").picture == png()
    assert not caplog.records
    large = png(chunk(b"IDAT", bytes(cards.MAX_PICTURE_BYTES)))
    (folder / "ada.png").write_bytes(large)
    assert library.load("ada").picture == b""
    assert library.load("ada").picture == b""
    assert [record.getMessage() for record in caplog.records] == [
        f"The picture {folder / 'ada.png'} is not shown, for it is larger than 2 MiB."
    ]


@pytest.mark.parametrize(
    ("name", "source", "why"),
    [
        ("ada.json", b'{"name": 7}', "its card is wrong: Expected `str | null`, got `int`"),
        ("ada.json", b" " * (cards.MAX_JSON_BYTES + 1), "it is larger than 1024 KiB"),
        ("ada.png", png_card({"name": "Ada"}), "it says nothing about who to be"),
        ("ada.png", png()[:-1], "it is not a whole PNG picture"),
        ("ada.png", b"x" * (cards.MAX_CARD_BYTES + 1), "it is larger than 8192 KiB"),
        (
            "ada.png",
            png(),
            "it is a picture without a character card. Write into a ada.md beside it who to be.",
        ),
    ],
)
def test_a_card_that_cannot_be_used_is_explained(
    folder: Path, library: PersonaLibrary, name: str, source: bytes, why: str
) -> None:
    """The complaint names the file, the reason and the remedy."""
    (folder / name).write_bytes(source)
    expected = f"The persona file {folder / name} cannot be used: {why}"
    assert complaint(library, "ada").startswith(expected)


def test_a_picture_that_is_none_is_explained(folder: Path, library: PersonaLibrary) -> None:
    """Beside a good file too, and by its own name."""
    (folder / "ada.md").write_text("You are Ada.")
    (folder / "ada.png").write_bytes(b"\xff\xd8\xff")
    assert f"{folder / 'ada.png'} cannot be used: it is no PNG" in complaint(library, "ada")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_s22_no_kind_of_file_leaves_the_folder(
    tmp_path: Path, folder: Path, library: PersonaLibrary, suffix: str
) -> None:
    """A link out of it is refused for each kind, and no name leads to what lies outside."""
    (tmp_path / f"secret{suffix}").write_bytes(png_card(CARD) if suffix == ".png" else b"{}")
    (folder / f"spy{suffix}").symlink_to(tmp_path / f"secret{suffix}")
    assert "it is a link that leads out of its folder" in complaint(library, "spy")
    for slug in HOSTILE:
        with pytest.raises(NotFound):
            library.load(slug)


def test_s22_a_picture_beside_it_is_no_way_out(folder: Path, library: PersonaLibrary) -> None:
    """What a persona looks like must lie in its folder as well."""
    (folder.parent / "secret.png").write_bytes(png())
    (folder / "spy.md").write_text("You are a spy.")
    (folder / "spy.png").symlink_to(folder.parent / "secret.png")
    assert "it is a link that leads out of its folder" in complaint(library, "spy")


def test_what_is_no_file_is_not_found(folder: Path, library: PersonaLibrary) -> None:
    """A folder, a pipe and a link that leads in circles are no personas."""
    (folder / "ada.md").mkdir()
    os.mkfifo(folder / "ada.json")
    (folder / "ada.png").symlink_to(folder / "ada.png")
    with pytest.raises(NotFound):
        library.load("ada")


def test_a_file_is_read_when_it_has_changed(
    folder: Path, library: PersonaLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it is only looked at; a change of its time, its size or its picture is seen, and so
    is another file that comes before it or that is gone."""
    opened: list[str] = []
    plain_open = Path.open

    def count(path: Path, mode: str) -> IO[bytes]:
        if mode == "rb":
            opened.append(path.name)
        return cast("IO[bytes]", plain_open(path, mode))

    monkeypatch.setattr(Path, "open", count)
    file = folder / "ada.json"
    file.write_bytes(b'{"description": "A cat."}')
    first = library.load("ada")
    assert library.load("ada") is first
    assert opened == ["ada.json"]
    file.write_bytes(b'{"description": "A dog."}')
    os.utime(file, ns=(1, 1))
    assert library.load("ada").text.endswith("A dog.")
    file.write_bytes(b'{"description": "A horse."}')
    os.utime(file, ns=(1, 1))
    assert library.load("ada").text.endswith("A horse.")
    other = folder / "other.json"
    other.write_bytes(b'{"description": "A mouse."}')
    os.utime(other, ns=(1, 1))
    other.replace(file)
    assert library.load("ada").text.endswith("A mouse.")
    (folder / "ada.png").write_bytes(png())
    assert library.load("ada").picture == png()
    picture = png(chunk(b"IDAT", b""))
    (folder / "ada.png").write_bytes(picture)
    assert library.load("ada").picture == picture
    (folder / "ada.md").write_bytes(b"You are Ada.")
    assert library.load("ada").text == "You are Ada."
    (folder / "ada.md").unlink()
    (folder / "ada.png").unlink()
    assert library.load("ada").text.endswith("A mouse.")
    assert library.load("ada").picture == b""


def test_a_link_that_turns_outward_is_refused(folder: Path, library: PersonaLibrary) -> None:
    """What was read once is not believed for ever."""
    (folder / "inner.md").write_text("You are Ada.")
    (folder / "ada.md").symlink_to(folder / "inner.md")
    assert library.load("ada").text == "You are Ada."
    (folder / "ada.md").unlink()
    (folder / "ada.md").symlink_to(folder.parent / "secret.md")
    assert "leads out of its folder" in complaint(library, "ada")


def test_many_personas_are_not_all_remembered(folder: Path, library: PersonaLibrary) -> None:
    """Those that were read first are read again; all stay right."""
    slugs = [f"p{number}" for number in range(MAX_REMEMBERED + 1)]
    for slug in slugs:
        (folder / f"{slug}.md").write_text(f"You are {slug}.")
    first = library.load(slugs[0])
    assert [library.load(slug).text for slug in slugs] == [f"You are {slug}." for slug in slugs]
    assert library.load(slugs[0]) is not first
    assert library.load(slugs[0]) == first
