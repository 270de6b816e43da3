"""Personas: who the bot is, read from Markdown files with a TOML head.

    +++
    name = "Tutor"
    description = "Explains until it is clear."
    temperature = 0.4
    +++
    You are a patient tutor. …

Character cards of other programs are personas too, as JSON or inside of a PNG (see `cards`). Beside
a file of another kind, a PNG of the same name is just its picture.

A persona is named by its file: `tutor.md` is `tutor`. Folders are searched in order, so an owner's
file replaces one of ours with the same name. A name is a slug, so it cannot leave the folders; a
link inside a folder that points out of it is refused too.
"""

import logging
import re
import stat
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec

from acore_bot.chat import cards
from acore_bot.errors import ConfigurationError, NotFound

log = logging.getLogger(__name__)

SLUG = re.compile(r"[a-z0-9_-]{1,40}")
MAX_FILE_BYTES = 64 * 1024
MAX_REMEMBERED = 64  # each may hold a picture
FENCE = "+++"
# The first of them that is there says who to be.
SUFFIXES = (".md", ".json", ".png")


class Persona(msgspec.Struct, frozen=True, kw_only=True):
    """Who the bot is in a conversation. `text` is the system prompt, byte for byte; `picture` is a
    PNG or JPEG, or empty; `greeting` is what it says first, if anything."""

    slug: str
    name: str
    text: str
    description: str = ""
    temperature: float | None = None
    picture: bytes = b""
    greeting: str = ""


class _Head(msgspec.Struct, forbid_unknown_fields=True):
    """What the TOML head of a persona file may hold."""

    name: str = ""
    description: str = ""
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None


_Stamp = tuple[int, ...]


class _Found(NamedTuple):
    """The files of a persona, with what changes when they do."""

    folder: Path
    file: Path
    picture: Path | None
    stamps: tuple[_Stamp, ...]


class PersonaLibrary:
    """Finds personas by name. `folders` are searched in order; one that is absent is empty.

    A file is looked at for every message, and read when it has changed.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = tuple(folders)
        self._remembered: dict[str, tuple[_Found, Persona]] = {}

    def names(self) -> tuple[str, ...]:
        """Name all personas, sorted."""
        files = (file for folder in self._folders for file in folder.glob("*"))
        stems = {file.stem for file in files if file.suffix in SUFFIXES}
        return tuple(sorted(filter(SLUG.fullmatch, stems)))

    def load(self, slug: str) -> Persona:
        """Read a persona. Raises `NotFound`, or `ConfigurationError` if a file of it is wrong."""
        found = self._find(slug)
        known = self._remembered.get(slug)
        if known is not None and known[0] == found:
            return known[1]
        self._remembered.pop(slug, None)
        if len(self._remembered) >= MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        persona = _read_persona(slug, found)
        self._remembered[slug] = found, persona
        return persona

    def _find(self, slug: str) -> _Found:
        for folder in self._folders if SLUG.fullmatch(slug) else ():
            files = (folder / f"{slug}{suffix}" for suffix in SUFFIXES)
            stamped = [(file, stamp) for file in files if (stamp := _stamp(file))]
            if stamped:
                file, picture = stamped[0][0], stamped[-1][0]
                is_besides = len(stamped) > 1 and picture.suffix == ".png"
                stamps = tuple(stamp for _, stamp in stamped)
                return _Found(folder, file, picture if is_besides else None, stamps)
        known = ", ".join(self.names()) or "none"
        msg = f"There is no persona named {slug[:40]!r}."
        raise NotFound(msg, remedy=f"Known personas: {known}.")


def _stamp(file: Path) -> _Stamp:
    """Return what changes when a file does; nothing if it is no file."""
    try:
        found = file.stat()
    except OSError:
        return ()
    if not stat.S_ISREG(found.st_mode):
        return ()
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _read_persona(slug: str, found: _Found) -> Persona:
    """Make a persona of its files. Raises `ConfigurationError`."""
    file, folder = found.file, found.folder
    if file.suffix == ".png":
        portrait = _open_picture(file, folder)
        return _parse_card(slug, portrait.card, portrait.picture, file)
    picture = _open_picture(found.picture, folder).picture if found.picture else b""
    if file.suffix == ".json":
        source = read_bounded(file, folder, cards.MAX_JSON_BYTES)
        return _parse_card(slug, source, picture, file)
    persona = parse_persona(slug, _decode(read_bounded(file, folder, MAX_FILE_BYTES), file), file)
    return msgspec.structs.replace(persona, picture=picture)


def _open_picture(file: Path, folder: Path) -> cards.Portrait:
    data = read_bounded(file, folder, cards.MAX_CARD_BYTES)
    with _faults_of(file):
        portrait = cards.open_png(data)
    if not portrait.picture:
        log.warning(
            "The picture %s is not shown, for it is larger than %d MiB.",
            file,
            cards.MAX_PICTURE_BYTES // 2**20,
        )
    return portrait


def _parse_card(slug: str, source: bytes, picture: bytes, file: Path) -> Persona:
    if not source:
        remedy = f"Write into a {slug}.md beside it who to be."
        raise _wrong(file, "it is a picture without a character card", remedy)
    with _faults_of(file):
        card = cards.parse_card(source, _name_of(slug))
    return Persona(
        slug=slug,
        name=card.name,
        text=card.text,
        description=card.description,
        picture=picture,
        greeting=card.greeting,
    )


@contextmanager
def _faults_of(file: Path) -> Iterator[None]:
    try:
        yield
    except cards.CardFault as fault:
        raise _wrong(file, fault.why, fault.remedy) from None


def read_bounded(file: Path, folder: Path, max_bytes: int) -> bytes:
    """Read a file that must lie inside a folder. Raises `ConfigurationError`."""
    if not file.resolve().is_relative_to(folder.resolve()):
        raise _wrong(file, "it is a link that leads out of its folder", "Copy the file instead.")
    try:
        with file.open("rb") as stream:
            data = stream.read(max_bytes + 1)
    except OSError as error:
        raise _wrong(file, str(error.strerror), "Check its permissions.") from None
    if len(data) > max_bytes:
        raise _wrong(file, f"it is larger than {max_bytes // 1024} KiB", "Shorten it.")
    return data


def _decode(data: bytes, file: Path) -> str:
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise _wrong(file, "it is not UTF-8 text", "Save it as UTF-8.") from None


def parse_persona(slug: str, source: str, file: Path) -> Persona:
    """Make a persona of a file's text. Raises `ConfigurationError`, which names the file."""
    head, text = split_head(source, lambda why, remedy: _wrong(file, why, remedy))
    try:
        fields = msgspec.convert(tomllib.loads(head), _Head)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise _wrong(file, f"its head is wrong: {error}", "See docs/personas.md.") from None
    if not text.strip():
        raise _wrong(file, "it says nothing about who to be", "Write so below its head.")
    return Persona(
        slug=slug,
        name=fields.name or _name_of(slug),
        text=text.strip(),
        description=fields.description,
        temperature=fields.temperature,
    )


def _name_of(slug: str) -> str:
    return slug.replace("-", " ").replace("_", " ").title()


def split_head(source: str, wrong: Callable[[str, str], Exception]) -> tuple[str, str]:
    """Part a file into its TOML head, which may be absent, and its text."""
    if not source.startswith(FENCE + "\n"):
        return "", source
    head, fence, text = source[len(FENCE) :].partition(f"\n{FENCE}\n")
    if not fence:
        raise wrong("its head does not end", f"Close it with a line of {FENCE}.")
    return head, text


def _wrong(file: Path, why: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(f"The persona file {file} cannot be used: {why}.", remedy=remedy)
