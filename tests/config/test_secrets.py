"""Secrets never appear unless asked for."""

import json
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from acore_bot.config import PluginSettings, Settings, load, masked_url
from acore_bot.errors import ConfigurationError

CANARY = "c4n4ry"

WITH_SECRETS = f"""
[discord]
token = "{CANARY}"
[providers.openai]
api_key = "{CANARY}"
base_url = "https://user:{CANARY}@host/v1"
headers = {{ X-Anything = "{CANARY}" }}
options = {{ user_key = "{CANARY}", list = [{{ password = "{CANARY}" }}] }}
[providers.moon]
kind = "lunar"
moon_token = "{CANARY}"
address = "http://me:{CANARY}@moon"
nested = {{ secrets = ["{CANARY}"], headers = {{ a = "{CANARY}" }} }}
"""


def test_secrets_are_in_nothing_printed(settings: Callable[..., Settings]) -> None:
    """Text, representation and dumps of the settings hold no secret."""
    loaded = settings(WITH_SECRETS)
    printed = [
        *(
            f(part)
            for part in (loaded, loaded.discord, dict(loaded.providers))
            for f in (str, repr)
        ),
        str(loaded.model_dump()),
        str(loaded.model_dump(mode="json")),
        loaded.model_dump_json(),
    ]
    assert not [text for text in printed if CANARY in text]
    assert "host/v1" in repr(loaded)
    assert json.loads(loaded.model_dump_json())["chat"]["max_tokens"] == 800


def test_secrets_are_there_for_who_asks(settings: Callable[..., Settings]) -> None:
    """The wiring can read every secret as it was written."""
    loaded = settings(WITH_SECRETS)
    openai, moon = loaded.providers["openai"], loaded.providers["moon"]
    assert loaded.discord.token == SecretStr(CANARY)
    assert getattr(openai, "base_url", "") == f"https://user:{CANARY}@host/v1"
    assert getattr(openai, "options", {})["user_key"] == CANARY
    assert isinstance(moon, PluginSettings)
    assert moon.table["moon_token"] == CANARY


@pytest.mark.parametrize(
    "text",
    [
        f'[discord]\ntoken = ["{CANARY}"]',
        f'[discord]\ntokn = "{CANARY}"',
        f'[discord]\ntoken = {{ is = "{CANARY}" }}',
        f'[providers.openai]\napi_key = ["{CANARY}"]',
        f'[providers.openai]\napikey = "{CANARY}"',
        f'[providers.openai]\nheaders = ["{CANARY}"]',
        f'[providers.openai]\nheaders = {{ a = ["{CANARY}"] }}',
        f'[providers.openai]\nbase_url = "ftp://u:{CANARY}@host"',
        f'[providers.openai]\nbase_url = "https://u:{CANARY}/a@b@host?q"',
        f'[providers.lab]\nkey = "{CANARY}"',
        f'[discord]\ntoken = "{CANARY}',
        f"[discord]\ntoken = {CANARY}",
        f'[discord]\ntoken = "{CANARY}"\ntoken = "{CANARY}"',
    ],
)
def test_secrets_are_in_no_error(write: Callable[[str], Path], text: str) -> None:
    """Neither the sentence nor the traceback of a fault holds the secret that is wrong."""
    file = write(text)
    with pytest.raises(ConfigurationError) as raised:
        load(file, environ={})
    assert CANARY not in str(raised.value)
    shown = traceback.TracebackException.from_exception(raised.value)
    assert CANARY not in "".join(shown.format())
    assert raised.value.__context__ is None


def test_secret_in_a_variable_is_in_no_error() -> None:
    """A wrong URL of a variable is masked as one of a file is."""
    with pytest.raises(ConfigurationError) as raised:
        load(environ={"OLLAMA_HOST": f"ftp://u:{CANARY}@host"})
    assert "ftp://**********@host" in str(raised.value)
    assert CANARY not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://host:1/v1", "http://host:1/v1"),
        ("http://u:p@host:1/v1", "http://**********@host:1/v1"),
        ("http://u@host", "http://**********@host"),
        ("http://u:p/p@p@host", "http://**********@host"),
        ("see http://a:b@c and http://d:e@f", "see http://**********@c and http://**********@f"),
        ("http://host/v1?key=a", "http://host/v1?**********"),
        ("http://u:a?b@host/v1", "http://**********@host/v1"),
        ("", ""),
    ],
)
def test_masked_url(url: str, shown: str) -> None:
    """User, password and query go, everything else stays."""
    assert masked_url(url) == shown


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_open_file_with_a_secret_is_warned_of(write: Callable[[str], Path], mode: int) -> None:
    """A file with secrets that others may read is no error, but is told."""
    file = write('[discord]\ntoken = "x"\n[chat]\nmax_tokens = 9\n')
    file.chmod(mode)
    assert load(file, environ={}).warnings == (
        f"{file} holds secrets (discord.token) and others may read it. Run: chmod 600 {file}",
    )


def test_closed_file_or_no_secret_is_not_warned_of(write: Callable[[str], Path]) -> None:
    """Who keeps the file closed, or secrets out of it, hears nothing."""
    assert load(write('[discord]\ntoken = "x"\n'), environ={}).warnings == ()
    file = write('[chat]\nmax_tokens = 9\n[discord]\ntoken = ""\n')
    file.chmod(0o644)
    assert load(file, environ={"OPENAI_API_KEY": "x"}).warnings == ()


def test_password_in_a_url_counts_as_a_secret(write: Callable[[str], Path]) -> None:
    """A URL with a password makes the file one that holds secrets."""
    file = write('[providers.ollama]\nbase_url = "http://u:p@host"\n')
    file.chmod(0o644)
    (warning,) = load(file, environ={}).warnings
    assert "providers.ollama.base_url" in warning


def test_overruled_secret_in_a_file_is_warned_of(write: Callable[[str], Path]) -> None:
    """A secret lies open in the file even where a stronger source overrules it."""
    file = write(
        '[discord]\ntoken = "x"\n[providers.lab]\nkind = "ollama"\nheaders = { A = "1" }\n'
    )
    file.chmod(0o644)
    (warning,) = load(file, environ={"ACORE_DISCORD__TOKEN": "y"}).warnings
    assert "(discord.token, providers.lab.headers.A)" in warning
