"""The bot's unit comes to a machine and leaves it, by a systemd that only takes note."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest

from acore_bot.errors import ConfigurationError
from acore_bot.ops.installing import Machine, install, uninstall
from acore_bot.ops.service import Plan

PROGRAM = Path("/opt/acore-bot/bin/acore")
SECRETS = {"DISCORD_TOKEN": 'secret"token'}


class Systemd:
    """Takes note of what it is told, and does `code`."""

    def __init__(self, code: int = 0) -> None:
        self.heard: list[str] = []
        self.code = code

    def __call__(self, command: Sequence[str]) -> int:
        """Take a command."""
        self.heard.append(" ".join([Path(command[0]).name, *command[1:]]))
        return self.code


@pytest.fixture(autouse=True)
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be a `systemctl` and a `journalctl`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("systemctl", "journalctl"):
        (folder / name).write_text("#!/bin/sh\necho systemd 252\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


@pytest.fixture
def systemd() -> Systemd:
    """Return one that can do everything."""
    return Systemd()


def machine(
    root: Path, systemd: Systemd, *, is_system: bool = True, is_root: bool = True
) -> Machine:
    """Return a machine below a folder."""
    return Machine(is_system=is_system, root=root, home=root / "ada", is_root=is_root, call=systemd)


def plan(settings: Path | None, *, is_system: bool = True) -> Plan:
    """Return a plan."""
    return Plan(program=PROGRAM, settings=settings, is_system=is_system)


def test_a_service_of_the_machine_has_a_user_settings_and_a_start(
    tmp_path: Path, systemd: Systemd
) -> None:
    """A user of its own is made, settings and keys are copied so that only it can read them, and
    systemd enables and starts the unit."""
    mine = tmp_path / "mine.toml"
    mine.write_text("[chat]\n")
    before = os.umask(0o077)
    install(machine(tmp_path, systemd), plan(mine), SECRETS, starts=True)
    os.umask(before)
    assert systemd.heard[0].startswith("useradd --system --user-group")
    assert systemd.heard[1:] == [
        "systemctl daemon-reload",
        "systemctl enable discordbot",
        "systemctl restart discordbot",
    ]
    settings, keys = tmp_path / "etc/acore/acore.toml", tmp_path / "etc/acore/environment"
    assert settings.read_text() == "[chat]\n"
    assert keys.read_text() == 'DISCORD_TOKEN="secret\\"token"\n'
    assert {stat.S_IMODE(file.stat().st_mode) for file in (settings, keys)} == {0o600}
    unit = (tmp_path / "etc/systemd/system/discordbot.service").read_text()
    assert f"ExecStart={PROGRAM} --config=/etc/acore/acore.toml run" in unit
    assert "secret" not in unit
    shown = (tmp_path / "etc/acore", tmp_path / "etc/systemd/system/discordbot.service")
    assert [stat.S_IMODE(it.stat().st_mode) for it in shown] == [0o755, 0o644]


def test_what_the_machine_has_is_kept(tmp_path: Path, systemd: Systemd) -> None:
    """Installed once more, settings and keys that stand in /etc stay as they are."""
    mine = tmp_path / "mine.toml"
    mine.write_text("[chat]\n")
    kept = tmp_path / "etc/acore"
    kept.mkdir(parents=True)
    (kept / "acore.toml").write_text("# the owner's\n")
    (kept / "environment").write_text("DISCORD_TOKEN=older\n")
    install(machine(tmp_path, systemd), plan(mine), SECRETS, starts=False)
    assert (kept / "acore.toml").read_text() == "# the owner's\n"
    assert (kept / "environment").read_text() == "DISCORD_TOKEN=older\n"
    assert "systemctl restart discordbot" not in systemd.heard


def test_a_service_of_a_user_needs_no_root(tmp_path: Path, systemd: Systemd) -> None:
    """It stands in that user's home, with the settings where they are."""
    mine = tmp_path / "mine.toml"
    home = machine(tmp_path, systemd, is_system=False, is_root=False)
    install(home, plan(mine, is_system=False), SECRETS, starts=True)
    assert systemd.heard[0] == "systemctl --user daemon-reload"
    unit = (tmp_path / "ada/.config/systemd/user/discordbot.service").read_text()
    assert f"--config={mine} run" in unit
    assert "User=" not in unit
    assert (tmp_path / "ada/.config/acore/environment").exists()


def test_without_root_nothing_is_written(tmp_path: Path, systemd: Systemd) -> None:
    """Who is not root reads what to do, and nothing is changed."""
    with pytest.raises(ConfigurationError, match="only be changed by root"):
        install(machine(tmp_path, systemd, is_root=False), plan(None), {}, starts=True)
    assert not (tmp_path / "etc").exists()
    assert not systemd.heard


def test_without_systemd_the_sentence_says_what_else_there_is(
    tmp_path: Path, systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without systemd is told of `acore run` and its exit codes."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match="has no systemd") as caught:
        install(machine(tmp_path, systemd), plan(None), {}, starts=True)
    assert "acore run" in caught.value.remedy


def test_a_program_in_a_home_cannot_be_a_service_of_the_machine(
    tmp_path: Path, systemd: Systemd
) -> None:
    """Where the service's user may not look, nothing is installed, and the remedy names a place."""
    hidden = Plan(program=Path("/home/ada/bot/bin/acore"), settings=None, is_system=True)
    with pytest.raises(ConfigurationError, match="may not read") as caught:
        install(machine(tmp_path, systemd), hidden, {}, starts=True)
    assert "/opt/acore-bot" in caught.value.remedy
    assert not systemd.heard


def test_what_systemd_refuses_is_said(tmp_path: Path) -> None:
    """A command of systemd's that fails ends it with a sentence."""
    with pytest.raises(ConfigurationError, match=r"exit code 4"):
        install(
            machine(tmp_path, Systemd(4), is_system=False),
            plan(None, is_system=False),
            {},
            starts=True,
        )


def test_uninstalled_the_data_stays(tmp_path: Path, systemd: Systemd) -> None:
    """The unit is stopped and gone; settings and keys stay."""
    here = machine(tmp_path, systemd)
    install(here, plan(None), SECRETS, starts=True)
    told = uninstall(here)
    assert systemd.heard[-2:] == ["systemctl disable --now discordbot", "systemctl daemon-reload"]
    assert not here.unit_file.exists()
    assert (tmp_path / "etc/acore/environment").exists()
    assert "Kept: /var/lib/acore" in told[1]


def test_what_is_not_there_is_not_removed(tmp_path: Path, systemd: Systemd) -> None:
    """Who removes twice reads that nothing is installed."""
    with pytest.raises(ConfigurationError, match="There is no"):
        uninstall(machine(tmp_path, systemd))


def test_status_and_log_are_asked_of_the_right_systemd(tmp_path: Path, systemd: Systemd) -> None:
    """Of the machine or of the user, under the bot's name."""
    machine(tmp_path, systemd).journal("--follow")
    machine(tmp_path, systemd, is_system=False).journal("--no-pager")
    machine(tmp_path, systemd, is_system=False).systemctl("status", "discordbot")
    assert systemd.heard == [
        "journalctl --unit=discordbot --follow",
        "journalctl --user-unit=discordbot --no-pager",
        "systemctl --user status discordbot",
    ]
