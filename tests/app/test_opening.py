"""From the settings to providers: where they compute, and what they get beside their table."""

import stat
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import pytest
from tests.fakes.model_server import ModelServer

from acore_bot import config, plugins
from acore_bot.app.opening import SALT_BYTES, SALT_FILE, host_of, open_provider, user_salt
from acore_bot.errors import ConfigurationError
from acore_bot.messages import Host, Prices, StreamLimits
from acore_bot.providers.scripted import Scripted


def settings_of(
    folder: Path, kind: str, table: str = "", environ: Mapping[str, str] = {}
) -> config.Settings:
    """Read settings in which `mine` is a provider of a kind."""
    file = folder / "acore.toml"
    file.write_text(f'[providers.mine]\nkind = "{kind}"\n{table}')
    return config.load(file, {"data.directory": str(folder / "data")}, environ)


HERE = Host("this machine", is_local=True)
OURS = Host("a server of the owner", is_local=True)
NOBODY_KNOWS = Host("an unknown host", is_local=False)


@pytest.mark.parametrize(
    ("kind", "table", "host"),
    [
        ("embedded", "", HERE),
        ("scripted", "", HERE),
        ("ollama", "", HERE),
        ("ollama", 'base_url = "http://[::1]:11434"', HERE),
        ("openai", 'base_url = "http://localhost:8000/v1"', HERE),
        ("openrouter", "", Host("openrouter.ai", is_local=False)),
        ("openai", 'base_url = "https://u:p@api.openai.com/v1"', Host("api.openai.com", False)),
        ("ollama", 'base_url = "http://192.168.1.5:11434"', Host("192.168.1.5", is_local=False)),
        ("ollama", 'base_url = "http://192.168.1.5:11434"\nlocal = true', OURS),
        ("openai", 'base_url = "http://lab.lan/v1"\nlocal = true', OURS),
        ("openai", 'base_url = "http://127.0.0.1:4000/v1"\nlocal = false', NOBODY_KNOWS),
        ("lunar", "", NOBODY_KNOWS),
        ("lunar", 'base_url = "http://127.0.0.1:1"', NOBODY_KNOWS),
        ("lunar", "local = true", OURS),
    ],
)
def test_what_is_local_is_this_machine_and_what_the_owner_says(
    tmp_path: Path, kind: str, table: str, host: Host
) -> None:
    """A loopback address is this machine, unless its owner knows that it hands on; all else is not,
    unless it is theirs. Strangers are told no more of the owner's own network than that."""
    assert host_of(settings_of(tmp_path, kind, table), "mine") == host


def test_an_address_of_the_environment_counts_as_well(tmp_path: Path) -> None:
    """Whoever moves Ollama elsewhere by OLLAMA_HOST has moved what is said."""
    settings = settings_of(tmp_path, "scripted", environ={"OLLAMA_HOST": "gpu.example"})
    assert host_of(settings, "ollama") == Host("gpu.example", is_local=False)
    here = settings_of(tmp_path, "scripted", environ={"OLLAMA_HOST": "0.0.0.0"})
    assert host_of(here, "ollama") == HERE


class Given(Scripted):
    """Keeps what it was given."""

    def __init__(
        self, *, name: str, local: bool, user_salt: bytes, limits: StreamLimits, top: int = 0
    ) -> None:
        super().__init__(name=name)
        self.local = local
        self.user_salt = user_salt


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let that one be made for every kind."""
    monkeypatch.setattr(plugins, "load_provider", lambda kind: Given)


@pytest.mark.usefixtures("given")
@pytest.mark.parametrize(("table", "local"), [("", False), ("local = true", True)])
def test_a_provider_is_told_whether_it_is_local(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, *, local: bool
) -> None:
    """What was decided for its host is handed to it, for it to hold as well."""
    monkeypatch.setattr("acore_bot.app.opening._arguments", lambda _: {})
    provider = open_provider(settings_of(tmp_path, "openrouter", table), "mine")
    assert isinstance(provider, Given)
    assert provider.local is local


async def test_our_own_providers_hold_to_it(tmp_path: Path) -> None:
    """Each of those over HTTP takes the owner's word in place of its own guess."""
    for kind, address in (
        ("ollama", "http://192.168.1.5"),
        ("openai", "http://192.168.1.5/v1"),
        ("openrouter", "http://192.168.1.5/v1"),
    ):
        for word in ("true", "false"):
            table = f'base_url = "{address}"\nlocal = {word}'
            provider = open_provider(settings_of(tmp_path, kind, table), "mine")
            assert provider._client.local is (word == "true")  # type: ignore[attr-defined]
            await provider.aclose()


def test_a_wrong_price_is_told(tmp_path: Path) -> None:
    """A price is a number from nothing on."""
    with pytest.raises(ConfigurationError, match="prompt_dollars_per_million"):
        settings_of(tmp_path, "openrouter", "prompt_dollars_per_million = -1")


async def test_prices_of_the_settings_reach_the_provider(tmp_path: Path) -> None:
    """Both clouds take them."""
    prices = "prompt_dollars_per_million = 3\ncompletion_dollars_per_million = 15\n"
    async with ModelServer() as server:
        for kind, path in (("openai", "/v1"), ("openrouter", "/api/v1")):
            table = f'{prices}base_url = "{server.url}{path}"'
            provider = open_provider(settings_of(tmp_path, kind, table), "mine")
            told = (await provider.describe("tiny")).prices
            assert told == Prices(Decimal("0.000003"), Decimal("0.000015"))
            await provider.aclose()


async def test_the_salt_is_made_once_and_for_the_owner_s_eyes(tmp_path: Path) -> None:
    """It is random, stays the same for an installation, and nobody else may read it; only a
    provider that wants it has it made."""
    await open_provider(settings_of(tmp_path, "ollama"), "mine").aclose()
    assert not (tmp_path / "data").exists()
    await open_provider(settings_of(tmp_path, "openrouter"), "mine").aclose()
    file = tmp_path / "data" / SALT_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    salt = user_salt(tmp_path / "data")
    assert salt == file.read_bytes() == user_salt(tmp_path / "data")
    assert len(salt) == SALT_BYTES
    assert user_salt(tmp_path / "other") != salt


@pytest.mark.usefixtures("given")
def test_the_salt_is_given_to_whoever_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is handed over like the time limits."""
    monkeypatch.setattr("acore_bot.app.opening._arguments", lambda _: {})
    provider = open_provider(settings_of(tmp_path, "openrouter"), "mine")
    assert isinstance(provider, Given)
    assert provider.user_salt == user_salt(tmp_path / "data")


def test_half_a_salt_is_made_anew(tmp_path: Path) -> None:
    """A crash in the midst of writing it leaves nothing that could be guessed."""
    (tmp_path / SALT_FILE).write_bytes(b"abc")
    salt = user_salt(tmp_path)
    assert len(salt) == SALT_BYTES
    assert user_salt(tmp_path) == salt


def test_what_cannot_be_kept_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where no file can be, there is no salt, so that nobody is told of; the log says so."""
    (tmp_path / "data").write_text("not a folder")
    assert user_salt(tmp_path / "data") == b""
    assert "no user is told" in caplog.text
