# ruff: noqa: RUF001 - letters that look alike are what some of the names are made of
"""Names that people give, wherever one could become a path: none leads out of its folder."""

import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from acore_bot.app import archives, forget_typed_lines
from acore_bot.app.sessions import typed_lines_file
from acore_bot.chat.persona import SLUG, PersonaLibrary
from acore_bot.cli.history import export
from acore_bot.config import Settings, load
from acore_bot.errors import AcoreError, ConfigurationError, NotFound
from acore_bot.files import Reader, ReadLimits
from acore_bot.messages import Attachment, tidy_file_name

SECRET = "nobody may read or remove this"
UP = ("..", "../", "../..", "..\\", "../secret", "./../secret", "a/../../secret", "..//secret")
NAMES = [
    *UP,
    *(f"{up}secret.md" for up in ("../", "../../", "..\\", "....//", "..;/", ".%2e/", "%2e%2e/")),
    *("/etc/passwd", "//etc/passwd", "/", "~", "~root", "~/secret", "file:///etc/passwd"),
    *("C:\\secret", "C:/secret", "c:secret", "\\\\host\\share", "\\\\?\\C:\\secret", "\\secret"),
    *("secret\0", "secret\0.md", "\0", "a\0/../../secret", "..\0/secret"),
    *("%2e%2e%2fsecret", "%2e%2e/secret", "..%2fsecret", "..%5csecret", "%252e%252e%252fsecret"),
    *("%00", "..%c0%afsecret", "%uff0e%uff0e/secret", "..%00/secret"),
    *("CON", "con.txt", "PRN", "AUX", "NUL", "NUL.md", "COM1", "LPT1", "CLOCK$", "CONIN$"),
    *("a" * 300, "a" * 41, "../" * 100, "é" * 200, "𝒂" * 64, "a/" * 200, "." * 300, " " * 300),
    *("．．/secret", "․․/secret", "‥/secret", "…/secret", "..／secret", "..∕secret", "..⁄secret"),
    *("..＼secret", "。。/secret", "аcore", "acоre", "pirаte", "ⓟⓘⓡⓐⓣⓔ", "ｐｉｒａｔｅ"),
    "pirate\u200b",
    *("\u202e../secret", "pir\u00adate", "ﬁle", "\ufeff../secret", "pirate\u0301"),
    *("", ".", " ", "...", ". .", ".. ", " ..", "..\n", "pirate\n", "\npirate", "pirate\r", "\t"),
    *("pirate.md", "pirate.md/..", "pirate/", "pirate/.", "./pirate", "-rf", "*", "?", "[a-z]"),
    *("$(id)", "`id`", "${HOME}", "|id", ";id", "&", "secret:stream", "link", "link/secret"),
]  # fmt: skip
NAMES = list(dict.fromkeys(NAMES))


class House:
    """A folder with secrets around the places where names lead to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data, self.personas = folder / "in" / "data", folder / "in" / "personas"
        for place in (self.data / "typed_lines", self.personas):
            place.mkdir(parents=True)
        for place in (folder, folder / "in", self.data):
            for name in ("secret", "secret.md", "passwd", "pirate.md"):
                (place / name).write_text(SECRET)
        for place in (self.data / "typed_lines", self.personas):
            (place / "link").symlink_to(folder)
            (place / "link.md").symlink_to(folder / "secret.md")
        (self.personas / "pirate.md").write_text("Arr.")
        self.file = folder / "acore.toml"
        self.file.write_text(
            f'[data]\ndirectory = "{self.data}"\n[chat]\npersonas_directory = "{self.personas}"\n'
        )
        self.settings: Settings = load(self.file, environ={})

    def tree(self) -> dict[str, str]:
        """Return every file and what is in it."""
        return {
            str(it.relative_to(self.folder)): it.read_text()
            for it in self.folder.rglob("*")
            if it.is_file()
        }


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Return a house with secrets."""
    return House(tmp_path)


def test_s22_the_catalogue_is_long_enough() -> None:
    """There are a hundred cases and more; what looks alike is none of our letters."""
    assert len(NAMES) >= 100
    assert any(unicodedata.normalize("NFKC", name) == "pirate" for name in NAMES)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_s22_no_name_of_a_persona_leads_out(house: House, name: str) -> None:
    """Whatever `/persona` or the settings name: only a slug is looked for, and a link that leads
    out of the folder is not followed."""
    library = PersonaLibrary((house.personas,))
    with pytest.raises((NotFound, ConfigurationError)) as refused:
        library.load(name)
    assert SECRET not in str(refused.value)
    assert isinstance(refused.value, NotFound) or SLUG.fullmatch(name)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_s22_no_persona_of_the_settings_is_a_path(house: House, name: str) -> None:
    """Only a slug is taken, wherever it is set."""
    if SLUG.fullmatch(name):
        assert load(house.file, {"chat.persona": name}, environ={}).chat.persona == name
        return
    with pytest.raises(ConfigurationError):
        load(house.file, {"chat.persona": name}, environ={})


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_s22_no_name_of_a_conversation_leads_out(house: House, name: str) -> None:
    """What was typed in it is kept in a file of its folder, or nowhere; to forget it removes
    nothing else."""
    file = typed_lines_file(house.settings, name)
    root = house.data / "typed_lines"
    assert file is None or (file.parent == root and file.name == name and len(name.encode()) < 256)
    before = house.tree()
    forget_typed_lines(house.settings, name)
    assert house.tree() == before


async def test_s22_no_name_of_an_export_leads_out(house: House) -> None:
    """`acore history export` looks a name up and prints: no file of that name is made."""
    with pytest.raises(NotFound):
        await export(house.settings, "tea")  # which makes the database
    before = sorted(house.folder.rglob("*"))
    for name in NAMES:
        with pytest.raises(NotFound):
            await export(house.settings, name)
    assert sorted(house.folder.rglob("*")) == before


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_s22_no_member_of_a_backup_leads_out(name: str) -> None:
    """Only names of a short list are unpacked, whatever folder they pretend to be in."""
    assert archives.max_bytes_of(name) is None
    for frame in ("personas/{}", "personas/{}.md", "events/{}", "events/acore/{}", "events/{}/a"):
        framed = frame.format(name)
        if archives.max_bytes_of(framed) is not None:
            assert framed.count("/") == 1
            assert SLUG.fullmatch(framed.removeprefix("personas/").removesuffix(".md"))


async def unread(name: str, content: bytes) -> str:
    """Read a file that somebody sent under this name."""
    attachment = Attachment(
        id=1, name=name, media_type="text/plain", size=3, url="https://a.invalid"
    )
    try:
        return (await Reader(ReadLimits()).read(attachment, content)).text
    except AcoreError as error:
        return str(error)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
async def test_s22_no_name_of_an_attachment_becomes_a_path(
    house: House, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It is read from memory, by what is in it: no file is opened or made under its name; what is
    shown of it is a name without a folder."""
    monkeypatch.chdir(house.personas)
    opened: list[object] = []
    monkeypatch.setattr(Path, "open", noting(opened))
    monkeypatch.setattr("builtins.open", noting(opened))
    monkeypatch.setattr("os.open", noting(opened))
    assert await unread(name, b"Hi.") == "Hi."
    monkeypatch.undo()
    assert not opened
    assert "\0" not in tidy_file_name(name)


def noting(opened: list[object]) -> Callable[..., None]:
    """Make a way of opening that only notes what was wanted."""

    def note(*arguments: object, **_: object) -> None:
        opened.append(arguments)

    return note
