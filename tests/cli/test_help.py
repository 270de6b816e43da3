"""What `acore` says of itself, and how little it loads to say it."""

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version

import pytest
from typer.testing import Result

HEAVY = {
    "PIL", "aiohttp", "asyncio", "discord", "markdown_it", "prompt_toolkit", "pydantic", "pypdf",
    "rich", "sqlite3", "xllamacpp",
}  # fmt: skip
COMMANDS = [
    (),
    ("chat",),
    ("ask",),
    ("run",),
    ("doctor",),
    ("stats",),
    ("profile",),
    ("setup",),
    ("backup",),
    ("restore",),
    ("history",),
    ("history", "list"),
    ("history", "show"),
    ("history", "export"),
    ("history", "forget"),
    ("history", "import"),
    ("service",),
    ("service", "install"),
    ("service", "uninstall"),
    ("service", "status"),
    ("service", "logs"),
]

ASK_FOR_HELP = """
import json, sys
from acore_bot.__main__ import main
sys.argv = ["acore", "--help"]
try:
    main()
except SystemExit as left:
    print(json.dumps([left.code, *sys.modules]), file=sys.stderr)
"""


def test_help_loads_nothing_heavy() -> None:
    """`acore --help` answers at once, for it loads none of the large libraries."""
    done = subprocess.run(
        [sys.executable, "-c", ASK_FOR_HELP], capture_output=True, text=True, check=True
    )
    code, *loaded = json.loads(done.stderr)
    assert code == 0
    assert "Begin with: acore chat" in done.stdout
    assert HEAVY.isdisjoint(loaded)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_each_command_explains_itself(path: tuple[str, ...], invoke: Callable[..., Result]) -> None:
    """`--help` works everywhere, and each command and option has a sentence."""
    result = invoke(*path, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.stdout
    assert not result.stderr


def test_the_commands_are_listed(invoke: Callable[..., Result]) -> None:
    """The list of commands is whole, so that no command goes without its test here."""
    listed = {
        (*group, line.split()[0])
        for group in ((), ("history",), ("service",))
        for line in invoke(*group, "--help").stdout.partition("Commands:")[2].splitlines()
        if line.strip()
    }
    assert listed == {path for path in COMMANDS if path}


def test_the_version_is_told(invoke: Callable[..., Result]) -> None:
    """`--version` names the package and its version first, and does nothing else."""
    result = invoke("--version", "chat")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == f"acore-bot {version('acore-bot')}"


@pytest.mark.parametrize("arguments", [("sing",), ("ask",), ("chat", "--sing"), ("ask", "a", "b")])
def test_what_it_does_not_know_it_refuses(
    arguments: tuple[str, ...], invoke: Callable[..., Result]
) -> None:
    """A wrong command, option or number of arguments ends with 2 and points to the help."""
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert "--help" in result.stderr
