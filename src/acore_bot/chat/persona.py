"""Personas: who the bot is, read from Markdown files with a TOML head.

    +++
    name = "Tutor"
    description = "Explains until it is clear."
    temperature = 0.4
    +++
    You are a patient tutor. …

A persona is named by its file: `tutor.md` is `tutor`. Folders are searched in order, so an owner's
file replaces one of ours with the same name. A name is a slug, so it cannot leave the folders; a
link inside a folder that points out of it is refused too.
"""

import re
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import msgspec

from acore_bot.errors import ConfigurationError, NotFound

SLUG = re.compile(r"[a-z0-9_-]{1,40}")
MAX_FILE_BYTES = 64 * 1024
FENCE = "+++"


class Persona(msgspec.Struct, frozen=True, kw_only=True):
    """Who the bot is in a conversation. `text` is the system prompt, byte for byte."""

    slug: str
    name: str
    text: str
    description: str = ""
    temperature: float | None = None


class _Head(msgspec.Struct, forbid_unknown_fields=True):
    """What the TOML head of a persona file may hold."""

    name: str = ""
    description: str = ""
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None


class PersonaLibrary:
    """Finds personas by name. `folders` are searched in order; one that is absent is empty."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = tuple(folders)

    def names(self) -> tuple[str, ...]:
        """Name all personas, sorted."""
        files = (file for folder in self._folders for file in folder.glob("*.md"))
        return tuple(sorted({file.stem for file in files if SLUG.fullmatch(file.stem)}))

    def load(self, slug: str) -> Persona:
        """Read a persona. Raises `NotFound`, or `ConfigurationError` if its file is wrong."""
        return parse_persona(slug, *self._read(slug))

    def _read(self, slug: str) -> tuple[str, Path]:
        if SLUG.fullmatch(slug):
            for folder in self._folders:
                if (file := folder / f"{slug}.md").is_file():
                    return read_bounded(file, folder), file
        known = ", ".join(self.names()) or "none"
        msg = f"There is no persona named {slug[:40]!r}."
        raise NotFound(msg, remedy=f"Known personas: {known}.")


def read_bounded(file: Path, folder: Path) -> str:
    """Read a text file that must lie inside a folder. Raises `ConfigurationError`."""
    if not file.resolve().is_relative_to(folder.resolve()):
        raise _wrong(file, "it is a link that leads out of its folder", "Copy the file instead.")
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise _wrong(file, f"it is larger than {MAX_FILE_BYTES // 1024} KiB", "Shorten it.")
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise _wrong(file, "it is not UTF-8 text", "Save it as UTF-8.") from None
    except OSError as error:
        raise _wrong(file, str(error.strerror), "Check its permissions.") from None


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
        name=fields.name or slug.replace("-", " ").replace("_", " ").title(),
        text=text.strip(),
        description=fields.description,
        temperature=fields.temperature,
    )


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
