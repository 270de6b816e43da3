"""A home of its own for each test, so that no settings of this machine take part."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from acore_bot.config import Settings, load
from acore_bot.errors import ConfigurationError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the home folder; the working folder is `work` inside it."""
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


@pytest.fixture
def write(home: Path) -> Callable[[str], Path]:
    """Return a function that writes the settings file `acore.toml` in the working folder."""

    def write_file(text: str) -> Path:
        file = home / "work" / "acore.toml"
        file.write_text(text, encoding="utf-8")
        file.chmod(0o600)
        return file

    return write_file


@pytest.fixture
def complaint(write: Callable[[str], Path]) -> Callable[..., str]:
    """Return a function that gives the complaint about settings, the file written as FILE."""

    def complain(
        text: str = "",
        environ: Mapping[str, str] | None = None,
        overrides: Mapping[str, object] | None = None,
    ) -> str:
        file = write(text)
        with pytest.raises(ConfigurationError) as raised:
            load(file, overrides or {}, environ or {})
        assert raised.value.exit_code == 2
        return str(raised.value).replace(str(file), "FILE")

    return complain


@pytest.fixture
def settings(write: Callable[[str], Path]) -> Callable[..., Settings]:
    """Return a function that loads the settings of a file's text."""

    def load_text(
        text: str = "",
        environ: Mapping[str, str] | None = None,
        overrides: Mapping[str, object] | None = None,
    ) -> Settings:
        return load(write(text), overrides or {}, environ or {})

    return load_text
