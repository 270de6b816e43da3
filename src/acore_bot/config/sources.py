"""Gathers what was given, from the weakest source to the strongest, and remembers who gave it.

    defaults  <  OLLAMA_HOST and its like  <  file  <  ACORE_SECTION__KEY  <  command line

Each given value is one leaf with its origin; placed into one tree in that order, the last one
wins. So a complaint about any key can name the very file, variable or flag to correct.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic_core import from_json

from acore_bot.config.files import read_file
from acore_bot.config.masking import is_secret, printable
from acore_bot.config.providers import KNOWN_PROVIDERS

KeyPath: TypeAlias = tuple[str, ...]
Tree: TypeAlias = dict[str, object]

_PREFIX = "ACORE_"

# Names of their own that people have set already, for these tools or for others.
OWN_NAMES: Mapping[str, KeyPath] = {
    "OLLAMA_HOST": ("providers", "ollama", "base_url"),
    "OPENROUTER_API_KEY": ("providers", "openrouter", "api_key"),
    "OPENAI_API_KEY": ("providers", "openai", "api_key"),
    "DISCORD_TOKEN": ("discord", "token"),
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Who gave a value: `name` is the file, the variable, or empty."""

    kind: Literal["default", "file", "environment", "command line"]
    name: str = ""

    def __str__(self) -> str:
        return printable(self.name) or f"the {self.kind}"


@dataclass(frozen=True, slots=True)
class Given:
    """One value and who gave it."""

    path: KeyPath
    value: object
    origin: Origin


@dataclass(slots=True)
class Gathered:
    """All values in one tree, who gave each of them, and which could not be placed."""

    tree: Tree = field(default_factory=dict)
    givers: dict[KeyPath, Given] = field(default_factory=dict)
    clashes: list[tuple[Given, KeyPath]] = field(default_factory=list)
    in_file: tuple[Given, ...] = ()

    def place(self, given: Given) -> None:
        """Put a value into the tree, over what was there."""
        node = self.tree
        for depth, part in enumerate(given.path[:-1], start=1):
            inner = node.setdefault(part, {})
            if not isinstance(inner, dict):
                self.clashes.append((given, given.path[:depth]))
                return
            node = inner
        if given.value == {}:
            if isinstance(node.get(given.path[-1]), dict):
                return  # an empty table adds nothing to a table
            node[given.path[-1]] = {}  # ours to fill, not the giver's
        else:
            node[given.path[-1]] = given.value
        self.givers.pop(given.path, None)  # the strongest comes last
        self.givers[given.path] = given

    def giver(self, path: KeyPath) -> Given | None:
        """Return who gave a key, or the last who gave anything inside it or above it."""
        for length in range(len(path), 0, -1):
            near = [given for key, given in self.givers.items() if key[:length] == path[:length]]
            if near:
                return near[-1]
        return None


def gather(
    file: Path | None, overrides: Mapping[str, object], environ: Mapping[str, str]
) -> Gathered:
    """Put all sources together. Raises `ConfigurationError` if the file cannot be read."""
    in_file = tuple(from_file(file, read_file(file))) if file else ()
    strong = [*in_file, *from_environment(environ), *from_overrides(overrides)]
    kinds = {given.path[1]: given.value for given in strong if _is_kind(given.path)}
    gathered = Gathered(in_file=in_file)
    for given in (*_known_providers(), *from_own_names(environ)):
        # A known name that is put to another use has nothing of its old defaults.
        name = given.path[1]
        known = KNOWN_PROVIDERS.get(name, {}).get("kind")
        if given.path[0] != "providers" or kinds.get(name, known) == known:
            gathered.place(given)
    for given in strong:
        gathered.place(given)
    return gathered


def _is_kind(path: KeyPath) -> bool:
    return len(path) == 3 and path[0] == "providers" and path[2] == "kind"


def _known_providers() -> Iterator[Given]:
    for name, table in KNOWN_PROVIDERS.items():
        for key, value in table.items():
            yield Given(("providers", name, key), value, Origin("default"))


def from_own_names(environ: Mapping[str, str]) -> Iterator[Given]:
    """Read OLLAMA_HOST, OPENROUTER_API_KEY and their like."""
    for name, path in OWN_NAMES.items():
        if text := environ.get(name, "").strip():
            value = ollama_url(text) if name == "OLLAMA_HOST" else text
            yield Given(path, value, Origin("environment", name))


def ollama_url(host: str) -> str:
    """Return the URL that OLLAMA_HOST means: host, port or both, with or without a scheme.

    The variable also tells a server where to listen: "everywhere" is reached on this machine.
    """
    scheme, separator, rest = host.rpartition("://")
    rest = rest.rstrip("/")
    place, slash, folder = rest.partition("/")
    if not separator and not re.search(r":[0-9]+$", place):
        place = f"{place.rstrip(':')}:11434"
    place = re.sub(r"^(0\.0\.0\.0)?(?=:[0-9]+$|$)", "127.0.0.1", place)
    place = place.replace("[::]", "[::1]")
    return f"{scheme or 'http'}://{place}{slash}{folder}"


def from_file(file: Path, table: Mapping[str, object]) -> Iterator[Given]:
    """Turn a file's tables into leaves; relative paths start at the file's folder."""
    origin = Origin("file", str(file))
    for key, inner in table.items():
        for path, value in _leaves((key,), inner):
            if _is_path(path) and isinstance(value, str) and not value.startswith("~"):
                yield Given(path, str(file.parent / value), origin)
            else:
                yield Given(path, value, origin)


def _is_path(path: KeyPath) -> bool:
    fixed = (("data", "directory"), ("chat", "personas_directory"))
    return path in fixed or (path[0] == "providers" and path[2:] == ("model_file",))


def from_environment(environ: Mapping[str, str]) -> Iterator[Given]:
    """Read ACORE_SECTION__KEY, in any case. An empty variable counts as not set."""
    for name in sorted(environ):
        if not name.upper().startswith(_PREFIX) or name.upper() == f"{_PREFIX}CONFIG":
            continue
        path = tuple(name[len(_PREFIX) :].lower().split("__"))
        if text := environ[name].strip():
            for leaf, value in _leaves(path, _from_text(path, text)):
                yield Given(leaf, value, Origin("environment", name))


def from_overrides(overrides: Mapping[str, object]) -> Iterator[Given]:
    """Read dotted keys; None is a flag that was left out."""
    for key, value in overrides.items():
        if value is not None:
            for path, leaf in _leaves(tuple(key.split(".")), value):
                yield Given(path, leaf, Origin("command line"))


def _from_text(path: KeyPath, text: str) -> object:
    """Understand tables anywhere, and numbers and lists in the free tables of a provider."""
    free = len(path) > 3 and not is_secret(".".join(path[2:]))
    if not free and not text.startswith("{"):
        return text
    try:
        return from_json(text)
    except ValueError:
        return text


def _leaves(path: KeyPath, value: object) -> Iterator[tuple[KeyPath, object]]:
    if not isinstance(value, Mapping) or not value:
        yield path, value
        return
    for key, inner in value.items():
        yield from _leaves((*path, str(key)), inner)
