"""Whatever is said goes to the stores that its people can empty, and to no other file."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import acore_bot

SOURCE = Path(acore_bot.__file__).parent

# The files that write anything at all, each with its reason. None makes a set for training.
WRITERS = {
    "app/archives.py": "backups that the owner asked for, in a file or a stream of theirs",
    "app/backing_up.py": "the same, with copies that are gone once it is written",
    "app/opening.py": "the salt under which askers are hashed: random bytes",
    "app/restoring.py": "puts a backup back in its place, of which there is one then",
    "app/serving.py": "the lock that keeps a second bot away: an empty file",
    "cli/running.py": "sends the output of a closed terminal to /dev/null",
    "database/opening.py": "opens our SQLite files: what can be erased there is all that is kept",
    "database/snapshot.py": "the copies for a backup, without what was removed",
    "files/child.py": "makes a picture smaller, in memory",
    "ops/profile/output.py": "recordings that the owner asked for: readable by them alone",
    "ops/profile/protocol.py": "opens a folder, to shorten the path of a socket",
    "app/setting_up.py": "the settings file of `acore setup`, for its owner alone",
    "ops/installing.py": "the unit of the service, and the settings and keys that it needs",
    "telemetry/journal.py": "events on their way to the log: figures and stable words",
    "telemetry/log_files.py": "the log of events: figures and stable words",
    "records/carry_over.py": "who has paused stays so when a backup is restored",
    "frontends/terminal/piped.py": "sends the output of a closed pipe to /dev/null",
    "frontends/terminal/prompt.py": "the lines that its owner typed, which forgetting removes",
}
# By the last part of what is called: whoever is called so can bring a file into being.
CALLS = {
    *("write_text", "write_bytes", "touch", "fdopen", "mkstemp", "mkdtemp", "NamedTemporaryFile"),
    *("TemporaryFile", "SpooledTemporaryFile", "copyfile", "copyfileobj", "copytree", "symlink_to"),
    *("hardlink_to", "FileHistory", "FileHandler", "RotatingFileHandler", "WatchedFileHandler"),
    *("TimedRotatingFileHandler", "mmap", "save"),
}
WHOLE_NAMES = {"sqlite3.connect", "os.open", "os.write", "json.dump", "marshal.dump"}
MODULES = {"shelve", "dbm", "pickle", "csv", "zipfile", "tarfile", "gzip", "aiofiles", "tempfile"}


def writes(tree: ast.AST) -> Iterator[str]:
    """Name what in a module may write a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (name := _name(node.func)) and _may_write(name, node):
            yield f"{name} in line {node.lineno}"
        elif isinstance(node, ast.Import | ast.ImportFrom) and MODULES & _imported(node):
            yield f"an import in line {node.lineno}"


def _name(called: ast.expr) -> str:
    match called:
        case ast.Name(name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def _may_write(name: str, call: ast.Call) -> bool:
    if ast.unparse(call.func) in WHOLE_NAMES:
        return True
    if name != "open":
        return name in CALLS
    modes = [*call.args, *(one.value for one in call.keywords if one.arg in (None, "mode"))]
    texts = [one.value for one in modes if isinstance(one, ast.Constant)]
    return any(set(str(text)) & set("wax+") for text in texts if _is_mode(text))


def _is_mode(text: object) -> bool:
    return isinstance(text, str) and 0 < len(text) <= 4 and set(text) <= set("rwaxbt+")


def _imported(node: ast.Import | ast.ImportFrom) -> set[str]:
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module]
    return {(name or "").partition(".")[0] for name in names}


def test_p10_no_code_path_writes_training_sets() -> None:
    """Only the files of the list write anything, each for its reason; a new one has to be thought
    about, and one that writes no more leaves the list."""
    found = {
        file.relative_to(SOURCE).as_posix(): list(writes(ast.parse(file.read_text("utf-8"))))
        for file in SOURCE.rglob("*.py")
    }
    assert {file: ways for file, ways in found.items() if ways}.keys() == WRITERS.keys(), found


@pytest.mark.parametrize(
    "code",
    [
        'open("set.jsonl", "a")',
        'open("set.jsonl", mode="w")',
        'Path("set.jsonl").open("x")',
        'Path("set.jsonl").open(mode="r+b")',
        'Path("set.jsonl").write_text(said)',
        'os.open("set.jsonl", os.O_WRONLY)',
        'sqlite3.connect("set.db")',
        "json.dump(said, file)",
        "import pickle",
        "from tempfile import mkstemp as make",
    ],
)
def test_each_way_of_writing_is_seen(code: str) -> None:
    """The search finds what it looks for."""
    assert list(writes(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        'open("note.txt")',
        'Path("a").open("rb")',
        "SQLiteHistory.open(path)",
        "Image.open(data)",
        "f(a)",
    ],
)
def test_reading_is_not_writing(code: str) -> None:
    """Nor does it take fright at what only reads."""
    assert not list(writes(ast.parse(code)))
