"""How every command ends: its exit code, and what is said of faults."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from tests.fakes.command import Command
from typer.testing import Result

from acore_bot.cli.logs import without_tokens
from acore_bot.cli.running import Context, run
from acore_bot.config import Settings
from acore_bot.errors import AuthFailed, ConfigurationError, NotFound, Unavailable

PLAIN = Context(config=None, debug=False)
DEBUG = Context(config=None, debug=True)

UNEXPECTED = (
    "acore: something unexpected went wrong: ZeroDivisionError: by zero\n"
    "  Run the same command as `acore --debug …` to see where.\n"
)

Invoke = Callable[..., Result]
WriteSettings = Callable[[str], Path]


def exit_code_of(fault: BaseException | None, code: int | None = None) -> int:
    """Run a command that raises this, or returns that, and tell how it ended."""

    async def command(_: Settings) -> int | None:
        if fault:
            raise fault
        return code

    with pytest.raises(typer.Exit) as left:
        run(PLAIN, command)
    return left.value.exit_code


@pytest.mark.parametrize(("code", "expected"), [(None, 0), (0, 0), (1, 1), (3, 3)])
def test_a_command_decides_its_exit_code(code: int | None, expected: int) -> None:
    """What a command returns is what the shell gets; nothing means well."""
    assert exit_code_of(None, code) == expected


@pytest.mark.parametrize(
    ("fault", "code", "told"),
    [
        (
            NotFound("There is no such thing.", remedy="Look."),
            1,
            "There is no such thing.\n  Look.",
        ),
        (ConfigurationError("A key is odd."), 2, "A key is odd."),
        (AuthFailed(provider="p", remedy="Mend."), 1, "p does not accept our key.\n  Mend."),
        (
            Unavailable(provider="p", detail="ECONNREFUSED"),
            1,
            "p cannot be reached.\n  `acore --debug` shows what the server said.",
        ),
        (NotFound("No \x1b[31mcolour."), 1, "No [31mcolour."),
    ],
    ids=["plain", "settings", "model", "detail", "hostile"],
)
def test_an_error_is_a_line_and_a_remedy(
    fault: Exception, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Errors are told on standard error, in words, without anything that steers a terminal."""
    assert exit_code_of(fault) == code
    assert capsys.readouterr() == ("", f"acore: {told}\n")


def test_an_unexpected_exception_gives_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """A fault of ours ends with 1, names itself, and says how to see where."""
    assert exit_code_of(ZeroDivisionError("by\x1b zero")) == 1
    assert capsys.readouterr() == (
        "",
        UNEXPECTED,
    )


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), typer.Abort()], ids=["loop", "question"])
def test_being_interrupted_is_no_fault(
    stop: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C ends with 130 and says nothing."""
    assert exit_code_of(stop) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("fault", [NotFound("No."), ZeroDivisionError("by zero")])
def test_debug_lets_every_fault_through(fault: Exception) -> None:
    """With `--debug` the traceback is what is wanted."""

    async def command(_: Settings) -> None:
        raise fault

    with pytest.raises(type(fault)):
        run(DEBUG, command)


def test_s10_no_log_tells_a_token_that_anybody_could_use() -> None:
    """Addresses, limits and what was heard are logged without it, tracebacks as well."""
    try:
        raise OSError("POST https://d.com/api/webhooks/12/WEBSECRET?wait=true")
    except OSError:
        fault = sys.exc_info()
    said = "%s /interactions/34/ASKSECRET/callback 123456789012345678+LIMSECRET {'token': 'SEEN'}"
    record = logging.LogRecord("discord.http", logging.DEBUG, "", 1, said, ("POST",), fault)
    assert without_tokens(record)
    told = logging.Formatter().format(record)
    assert "POST /interactions/…/…/callback …" in told
    assert "/webhooks/…/…?wait=true" in told
    assert not any(one in told for one in ("SECRET", "SEEN"))


def test_flags_are_the_strongest_settings() -> None:
    """What the command line says is in force; what it leaves out is not."""
    seen: list[Settings] = []

    async def command(settings: Settings) -> None:
        seen.append(settings)

    with pytest.raises(typer.Exit):
        run(PLAIN, command, {"chat.max_tokens": 7, "chat.persona": None})
    assert (seen[0].chat.max_tokens, seen[0].chat.persona) == (7, "acore")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[chat\n", ": line 1, column 6: this is not valid TOML."),
        ("[chat]\nmodle = 1\n", ": chat.modle is not a setting. Did you mean chat.model?"),
        ("[chat]\nmax_tokens = 0\n", ": chat.max_tokens is 0 but must be a whole number from 1"),
    ],
    ids=["syntax", "key", "value"],
)
def test_a_fault_in_the_settings_is_told_before_anything_is_done(
    text: str, told: str, invoke: Invoke, write_settings: WriteSettings
) -> None:
    """A line names the file, the key, the value and the remedy; whatever was asked ends with 2."""
    file = write_settings(text)
    for arguments in (("ask", "Hello?"), ("doctor",), ("history", "list")):
        result = invoke(*arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith(f"acore: {file}{told}")
        _, *more = result.stderr.splitlines()
        assert all(line.startswith("  ") for line in more)


async def test_a_wrong_variable_is_named(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is answered for as the file is, in the real process, with no traceback."""
    monkeypatch.setenv("ACORE_CHAT__MAX_TOKENS", "many")
    done = await command.run("chat", typed="Hello?\n")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith('acore: ACORE_CHAT__MAX_TOKENS: chat.max_tokens is "many" but must')
    assert done.err.count("\n") == 1


def test_a_settings_file_that_is_named_must_exist(invoke: Invoke, home: Path) -> None:
    """`--config` never falls back to another file in silence."""
    result = invoke("--config", "absent.toml", "doctor")
    assert result.exit_code == 2
    assert result.stderr == (
        f"acore: {home}/absent.toml: there is no such file.\n"
        "  Check the path that was given as --config.\n"
    )


@pytest.mark.parametrize(
    "content",
    [
        b"[chat\n",
        b"[chat]\nmodel = 3\n",
        b"[chat]\nmodle = 'a/b'\n",
        b"[chat]\nmax_tokens = -1\n",
        b"\xff\xfe[chat]\n",
        b"[providers.lab]\nkind = 'openai'\napi_key = ['sk-canary']\n",
        b"[discord]\ntoken = ['sk-canary']\n",
    ],
)
async def test_r23_a_bad_file_ends_a_command_with_a_sentence(
    command: Command, home: Path, content: bytes
) -> None:
    """As a process: exit code 2, what is wrong and where, no traceback and no secret."""
    (home / "acore.toml").write_bytes(content)
    done = await command.run("run")
    assert done.code == 2
    assert "acore.toml" in done.err
    assert "Traceback" not in done.err
    assert "canary" not in done.err
