"""The systemd unit: it is right, it is tight, and it says what an owner expects."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from acore_bot.ops.service import Plan, unit

PYTHON = Path("/usr/bin/python3")  # systemd looks whether what it starts is there
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(
    ANALYZE is None,
    reason="NO systemd-analyze HERE: the unit was not verified. Install the package `systemd`.",
)


def plan(**changes: object) -> Plan:
    """Return a plan for the whole machine, with these changes."""
    settings = Path("/etc/acore/acore.toml")
    values = {"program": PYTHON, "settings": settings, "is_system": True, "systemd": 252}
    return Plan(**{**values, **changes})  # type: ignore[arg-type]  # a test's own values


def analyzed(folder: Path, text: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Let systemd look at a unit."""
    file = folder / "discordbot.service"
    file.write_text(text)
    return subprocess.run(
        [str(ANALYZE), *words, str(file)],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(folder), "HOME": str(folder)},
    )


@needs_systemd
@pytest.mark.parametrize("is_system", [True, False])
def test_systemd_finds_nothing_wrong(tmp_path: Path, *, is_system: bool) -> None:
    """`systemd-analyze verify` is content and silent, for the machine and for a user."""
    manager = "--system" if is_system else "--user"
    done = analyzed(tmp_path, unit(plan(is_system=is_system)), "verify", manager)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd
def test_the_bot_is_fenced_in(tmp_path: Path) -> None:
    """`systemd-analyze security` gives an exposure below 3 of 10."""
    done = analyzed(tmp_path, unit(plan()), "security", "--offline=true")
    found = re.search(r"Overall exposure level for .*?: ([\d.]+)", done.stdout + done.stderr)
    assert found
    assert float(found[1]) < 3.0


def test_what_no_start_mends_is_not_started_again() -> None:
    """Wrong settings (2) and Discord's refusal (3) end it; all else starts it anew, a hundred times
    a day at most."""
    lines = unit(plan()).splitlines()
    assert "Restart=on-failure" in lines
    assert "RestartPreventExitStatus=2 3" in lines
    assert "StartLimitIntervalSec=1d" in lines
    assert "StartLimitBurst=100" in lines


def test_open_answers_get_their_seconds() -> None:
    """At a stop only the bot itself is told, and it has 15 seconds; its model's process is not
    ended before."""
    lines = unit(plan()).splitlines()
    assert "KillMode=mixed" in lines
    assert "TimeoutStopSec=15" in lines


@pytest.mark.parametrize(("version", "is_there"), [(252, False), (254, True)])
def test_only_a_systemd_that_knows_it_is_told_of_longer_pauses(
    version: int, *, is_there: bool
) -> None:
    """`RestartSteps=` came with version 254; older ones would warn."""
    assert ("RestartSteps=6" in unit(plan(systemd=version)).splitlines()) is is_there


def test_wild_paths_are_meant_as_they_are() -> None:
    """Blanks, quotes, per cents and dollars in a path are no words of systemd's own."""
    text = unit(plan(program=Path('/opt/my "bot"/50%/$HOME/acore')))
    assert 'ExecStart="/opt/my \\"bot\\"/50%%/$$HOME/acore" --config=/etc/acore' in text


def test_no_secret_is_in_it() -> None:
    """The unit, which everybody may read, names the file of secrets and holds none."""
    assert "EnvironmentFile=-/etc/acore/environment" in unit(plan())
    assert "TOKEN=" not in unit(plan())
