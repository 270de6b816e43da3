"""What is pasted into a bug report: enough to help, and nothing that is somebody's."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

Invoke = Callable[..., Result]


def test_the_version_tells_what_matters(invoke: Invoke) -> None:
    """The first line is the bot's own version; those of what it stands on follow."""
    lines = invoke("--version").stdout.splitlines()
    assert lines[0].startswith("acore-bot ")
    names = [line.split()[0] for line in lines]
    assert {"discord.py", "aiohttp", "xllamacpp", "Python", "SQLite", "system"} <= {*names}


def test_a_report_tells_settings_and_no_secret(
    invoke: Invoke, write_settings: Callable[[str], Path], home: Path
) -> None:
    """Versions, findings, and the keys that differ; no key's secret, no name, no path of a home."""
    write_settings(
        '[chat]\nmodel = "demo/script"\nmax_tokens = 99\n[discord]\nnames = ["Zebedee"]\n'
        '[providers.demo]\nkind = "scripted"\n[providers.lab]\nkind = "openai"\n'
        'base_url = "http://127.0.0.1:1/v1"\napi_key = "sk-canary"\n'
    )
    told = invoke("doctor", "--report").stdout
    assert told.startswith("### acore doctor --report")
    assert "| acore-bot | " in told
    assert "- `chat.model`: demo/script\n" in told
    assert "- `chat.max_tokens`: 99\n" in told
    assert "- `discord.names`: set\n" in told
    assert "- `providers.lab.api_key`: set\n" in told
    for hidden in ("sk-canary", "Zebedee", str(home)):
        assert hidden not in told


@pytest.mark.parametrize("fault", ["[chat\n", "[chat]\nmodle = 3\n"])
def test_a_report_is_made_when_the_settings_are_broken(
    invoke: Invoke, write_settings: Callable[[str], Path], fault: str
) -> None:
    """That they are is what it tells, with the versions."""
    write_settings(fault)
    done = invoke("doctor", "--report")
    assert done.exit_code == 2
    assert "| Python | " in done.stdout
    assert "The settings cannot be used: " in done.stdout
