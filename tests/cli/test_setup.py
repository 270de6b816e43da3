"""`acore setup`: from nothing to a settings file, by flags and by questions."""

import stat
import sys
import tomllib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fakes.command import Command
from tests.fakes.discord.server import FakeDiscord
from typer.testing import CliRunner, Result

from acore_bot.app import setting_up
from acore_bot.app.setting_up import Answers, odd_token, text_of, write
from acore_bot.cli import acore
from acore_bot.errors import ConfigurationError

Invoke = Callable[..., Result]
TOKEN = "MTA.Gx.canary-token"


@pytest.fixture
async def discord(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeDiscord]:
    """Open a Discord that knows the bot."""
    async with FakeDiscord() as fake:
        monkeypatch.setenv("ACORE_DISCORD__API_URL", fake.api_url)
        yield fake


def test_flags_write_the_file(invoke: Invoke, home: Path) -> None:
    """Model, persona and token by flags: a file for its owner's eyes only, with comments, that can
    be read; the token is in no output."""
    (home / "token").write_text(f"{TOKEN}\n")
    done = invoke(
        *("setup", "--no-check", "--model", "ollama/llama3.2", "--persona", "tutor"),
        *("--token-file", "token", "--read-along"),
    )
    assert done.exit_code == 0, done.output
    file = home / "acore.toml"
    read = tomllib.loads(file.read_text())
    assert read == {
        "chat": {"model": "ollama/llama3.2", "persona": "tutor"},
        "discord": {"token": TOKEN, "message_content": True},
    }
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "# Who answers" in file.read_text()
    assert "Next:    acore run" in done.stdout
    assert "canary" not in done.output


def test_nobody_to_ask_is_told_of_the_flags(invoke: Invoke, home: Path) -> None:
    """Without a terminal and without flags nothing is written, and the flags are named."""
    done = invoke("setup")
    assert done.exit_code == 2
    assert "--model" in done.stderr
    assert not (home / "acore.toml").exists()


def test_a_file_that_is_there_stays(invoke: Invoke, home: Path) -> None:
    """Without --force nothing is replaced; with it, the one before is kept beside."""
    (home / "acore.toml").write_text("# mine\n")
    refused = invoke("setup", "--no-check", "--model", "embedded/smollm2")
    assert refused.exit_code == 2
    assert (home / "acore.toml").read_text() == "# mine\n"
    done = invoke("setup", "--no-check", "--model", "embedded/smollm2", "--force")
    assert done.exit_code == 0
    assert (home / "acore.toml.old").read_text() == "# mine\n"
    assert "embedded/smollm2" in (home / "acore.toml").read_text()


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--model", "nobody/x"), "nobody"),
        (("--model", "embedded/smollm2", "--persona", "nobody"), "no persona named 'nobody'"),
    ],
)
def test_what_does_not_work_is_not_written(
    invoke: Invoke, home: Path, flags: tuple[str, ...], told: str
) -> None:
    """A wrong name is told at once, with exit code 2, and there is no file."""
    done = invoke("setup", "--no-check", *flags)
    assert done.exit_code == 2
    assert told in done.stderr
    assert not (home / "acore.toml").exists()


def test_a_token_that_can_be_none_is_told(invoke: Invoke, home: Path) -> None:
    """Another secret in its place is seen without asking Discord, and not repeated."""
    (home / "token").write_text("client-secret-canary")
    done = invoke("setup", "--no-check", "--model", "embedded/smollm2", "--token-file", "token")
    assert done.exit_code == 2
    assert "three parts" in done.stderr
    assert "canary" not in done.output


@pytest.mark.embedded
async def test_everything_is_tried(command: Command, discord: FakeDiscord, home: Path) -> None:
    """The real model says a word, Discord is asked about the token, and the link is shown."""
    discord.world.token = TOKEN
    (home / "token").write_text(TOKEN)
    done = await command.run(
        *("setup", "--model", "embedded/smollm2", "--token-file", "token", "--mentions-only")
    )
    assert (done.code, done.err) == (0, "")
    assert "✓ embedded/smollm2 answers" in done.out
    assert "Invite it with: https://" in done.out
    assert TOKEN not in done.out
    assert (home / "acore.toml").exists()


async def test_a_token_that_discord_does_not_know(
    command: Command, discord: FakeDiscord, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told, nothing is written, and the way without trying is named."""
    monkeypatch.setenv("DISCORD_TOKEN", TOKEN)
    monkeypatch.setenv("ACORE_PROVIDERS__DEMO__KIND", "scripted")
    monkeypatch.setenv("ACORE_PROVIDERS__DEMO__ANSWERS", '["Yes."]')
    done = await command.run("setup", "--model", "demo/script")
    assert done.code == 2
    assert "token" in done.err
    assert TOKEN not in done.out + done.err
    assert not (home / "acore.toml").exists()


class Asked:
    """A person at a terminal who types these lines."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def types(self, *lines: str) -> Result:
        """Answer the questions."""
        module = sys.modules["acore_bot.cli.setup"]  # the package has a command of that name
        self._monkeypatch.setattr(module, "_is_terminal", lambda: True)
        return CliRunner().invoke(acore, ("setup",), input="".join(f"{line}\n" for line in lines))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Sit down at a machine on which a scripted model runs."""
    monkeypatch.setenv("ACORE_PROVIDERS__DEMO__KIND", "scripted")
    monkeypatch.setenv("ACORE_PROVIDERS__DEMO__ANSWERS", '["Yes."]')

    async def models_here() -> dict[str, Answers]:
        return {"demo/script": Answers(model="demo/script")}

    monkeypatch.setattr(setting_up, "models_here", models_here)
    return Asked(monkeypatch)


def test_questions_lead_to_a_terminal_bot(asked: Asked, home: Path) -> None:
    """A number chooses a model, Enter takes what is offered, and without a token the next command
    is the chat."""
    done = asked.types("1", "", "")
    assert done.exit_code == 0, done.output
    assert "1  demo/script" in done.stdout
    assert "✓ demo/script answers" in done.stdout
    assert "Next:    acore chat" in done.stdout
    assert tomllib.loads((home / "acore.toml").read_text())["chat"]["model"] == "demo/script"


def test_a_wrong_answer_is_asked_again(asked: Asked) -> None:
    """What does not work is told in a sentence, and asked again."""
    done = asked.types("nobody/x", "1", "nobody", "tutor", "")
    assert done.exit_code == 0, done.output
    assert done.stdout.count("✗") == 2
    assert "no persona named 'nobody'" in done.stdout


def test_it_does_not_ask_for_ever(asked: Asked, home: Path) -> None:
    """After five wrong answers it ends and writes nothing."""
    done = asked.types(*["nobody/x"] * 6)
    assert done.exit_code == 1
    assert "Nothing was written" in done.stderr
    assert not (home / "acore.toml").exists()


def test_leaving_writes_nothing(asked: Asked, home: Path) -> None:
    """Whoever stops in the middle leaves everything as it was."""
    done = asked.types("1")  # and then the input ends
    assert done.exit_code == 130
    assert not (home / "acore.toml").exists()


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=60))
def test_whatever_is_typed_is_written_so_that_it_is_read(text: str) -> None:
    """Quotes, line ends and unseen letters in a key or a token come back as they were."""
    made = text_of(Answers(model="openai/x", token=text, api_key=text))
    read = tomllib.loads(made.encode("utf-8", "replace").decode())
    clean = text.encode("utf-8", "replace").decode()
    assert read.get("discord", {}).get("token", "") == clean
    assert read.get("providers", {}).get("openai", {}).get("api_key", "") == clean


@pytest.mark.parametrize("token", ["x", "a.b", "a..c", "a b.c.d", "a.b.ć", "a.b.c\n.d"])
def test_what_can_be_no_token(token: str) -> None:
    """It is told why."""
    assert odd_token(token)


def test_a_link_is_left_alone(home: Path) -> None:
    """A settings file that leads elsewhere is not replaced, nor what it leads to."""
    (home / "target").write_text("# other\n")
    (home / "acore.toml").symlink_to(home / "target")
    with pytest.raises(ConfigurationError, match="left alone"):
        write(Answers(), home / "acore.toml")
    assert (home / "target").read_text() == "# other\n"


def test_a_folder_that_cannot_be_written_is_told(home: Path) -> None:
    """The sentence names the file and what to do."""
    with pytest.raises(ConfigurationError, match="cannot be written"):
        write(Answers(), home / "missing" / "acore.toml")
