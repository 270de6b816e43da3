"""The settings file: where it is found, and what keeps it from being read."""

import contextlib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from acore_bot.config.masking import printable
from acore_bot.config.settings import own_folder
from acore_bot.errors import ConfigurationError

_MAX_FILE_BYTES = 1_048_576  # /dev/zero would never end


def find_file(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Path | None:
    """Return the settings file: `path`, ACORE_CONFIG, ./acore.toml, or the one in the user's
    configuration folder. None if there is none of the latter two.

    Raises `ConfigurationError` if `path` or ACORE_CONFIG names a file that does not exist.
    """
    environ = os.environ if environ is None else environ
    if path:
        return _existing(path, "Check the path that was given as --config.")
    if text := environ.get("ACORE_CONFIG", "").strip():
        return _existing(Path(text), "Correct the variable ACORE_CONFIG, or unset it.")
    folders = (Path.cwd(), own_folder())
    return next(filter(_exists, (folder / "acore.toml" for folder in folders)), None)


def _existing(path: Path, remedy: str) -> Path:
    with contextlib.suppress(RuntimeError):  # "~someone" whom nobody knows has no file either
        path = path.expanduser()
    path = path.absolute()
    if not _exists(path):
        raise ConfigurationError(f"{printable(str(path))}: there is no such file.", remedy=remedy)
    return path


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError:
        return True  # reading it will say what is wrong
    return True


def read_file(file: Path) -> Mapping[str, object]:
    """Read a TOML file. Raises `ConfigurationError` that says where and what to do."""
    text = _decoded(file, _content(file))
    try:
        table = tomllib.loads(text)
        if not _is_deep(table):
            return table
        fault = "lists or tables are nested too deeply."
    except RecursionError:
        fault = "lists or tables are nested too deeply."
    except ValueError as error:
        fault = _syntax_fault(text, str(error))
    raise _unreadable(file, fault, "acore.example.toml shows how to write it.")


def _unreadable(file: Path, fault: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(f"{printable(str(file))}: {fault}", remedy=remedy)


def _is_deep(table: Mapping[str, object]) -> bool:
    """Tell whether a table is deeper than any sense, so that what follows may recurse."""
    level: list[object] = [table]
    for _ in range(32):
        tables = (node.values() for node in level if isinstance(node, dict))
        lists = (node for node in level if isinstance(node, list))
        level = [inner for nodes in (*tables, *lists) for inner in nodes]
    return bool(level)


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            content = stream.read(_MAX_FILE_BYTES + 1)
    except IsADirectoryError:
        fault, remedy = "this is a folder, not a file.", "Name the file inside it."
    except PermissionError:
        fault, remedy = "this user may not read it.", f"Run: chmod u+r {printable(str(file))}"
    except OSError as error:
        fault, remedy = f"it cannot be read ({error.strerror}).", "Check the path and the disk."
    else:
        if len(content) <= _MAX_FILE_BYTES:
            return content
        fault, remedy = "it is larger than 1 MiB.", "Is this the right file?"
    raise _unreadable(file, fault, remedy)


def _decoded(file: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
    raise _unreadable(file, f"line {line} is not UTF-8.", "Save the file with the encoding UTF-8.")


def _syntax_fault(text: str, reason: str) -> str:
    """Word what the TOML reader says, without any of the text, which may be a secret."""
    found = re.search(r"\(at line ([0-9]+), column ([0-9]+)\)", reason)
    line = int(found[1]) if found else text.rstrip().count("\n") + 1
    where = f"line {line}, column {found[2]}" if found else f"line {line}, at the end of the file"
    if "Cannot" in reason:
        return f"{where}: a section or key is written twice. Keep one of them."
    return (
        f"{where}: this is not valid TOML. Texts stand in quotes, "
        "each key has one = and one value, each section one name in brackets."
    )


def permission_warning(file: Path, secrets: Iterable[tuple[str, ...]]) -> str:
    """Return a sentence if others may read the secrets of a file, else an empty text."""
    names = printable(", ".join(".".join(path) for path in secrets))
    try:
        is_open = file.stat().st_mode & 0o077
    except OSError:
        return ""
    if not names or not is_open:
        return ""
    name = printable(str(file))
    return f"{name} holds secrets ({names}) and others may read it. Run: chmod 600 {name}"
