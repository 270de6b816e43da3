"""A home of its own for each test, a fake model server, and the command to run."""

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.fakes.command import Command
from tests.fakes.model_server import ModelServer
from typer.testing import CliRunner, Result

from acore_bot.cli import acore

OWN_NAMES = {"OLLAMA_HOST", "OPENAI_API_KEY", "OPENROUTER_API_KEY", "DISCORD_TOKEN"}

Invoke = Callable[..., Result]
WriteSettings = Callable[[str], Path]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the home and working folder, for this process and those that it starts."""
    for name in os.environ:
        if name in OWN_NAMES or name.startswith(("ACORE_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ACORE_DATA__DIRECTORY", str(tmp_path / "data"))
    # Nobody listens there: a process of its own has no guard that keeps it on this machine.
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:1")
    # Two threads that wait for each other crawl where other work shares the cores.
    monkeypatch.setenv("ACORE_PROVIDERS__EMBEDDED__THREADS", "1")
    monkeypatch.setenv("ACORE_OPERATOR__PORT", "0")
    monkeypatch.setenv("LOGNAME", "ada")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def write_settings(home: Path) -> WriteSettings:
    """Return a function that writes the settings file of the working folder."""

    def write(text: str) -> Path:
        file = home / "acore.toml"
        file.write_text(text)
        file.chmod(0o600)
        return file

    return write


@pytest.fixture
def scripted(write_settings: WriteSettings) -> None:
    """Let a scripted model answer, which echoes what it is told."""
    write_settings('[chat]\nmodel = "demo/script"\n[providers.demo]\nkind = "scripted"\n')


@pytest.fixture
def invoke() -> Invoke:
    """Return a function that runs the command within this process."""

    def run(*arguments: str, typed: str = "") -> Result:
        return CliRunner().invoke(acore, arguments, input=typed)

    return run


@pytest.fixture
async def command() -> AsyncIterator[Command]:
    """Return the command as a process."""
    async with Command() as started:
        yield started


@pytest.fixture
async def server(write_settings: WriteSettings) -> AsyncIterator[ModelServer]:
    """Run a model server and let the settings choose it as fake/tiny, with a key."""
    async with ModelServer() as running:
        write_settings(f"""
            [chat]
            model = "fake/tiny"
            [providers.fake]
            kind = "openai"
            base_url = "{running.url}/v1"
            api_key = "sk-very-secret"
        """)
        yield running
