"""Puts the bot's unit on a machine and takes it away again, by systemd's own commands."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from acore_bot.errors import ConfigurationError
from acore_bot.ops import service
from acore_bot.ops.service import NAME, USER, Plan

SYSTEMCTL, JOURNALCTL = "systemctl", "journalctl"
HOMES = ("/home/", "/root/")
NO_SYSTEMD = "This machine has no systemd: there is no `systemctl`."
NO_ROOT = "A service of the whole machine can only be changed by root."
OTHER_WAYS = (
    "Let whatever starts things here run `acore run`; exit codes 2 and 3 want no new start. In a "
    "container, see docs/service.md."
)

Call = Callable[[Sequence[str]], int]


def call(command: Sequence[str]) -> int:
    """Run a command whose output people see, and return its exit code."""
    return subprocess.run(command, check=False).returncode  # noqa: S603 - words of ours, no shell


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where the unit stands: the machine itself, or what is below `root`."""

    is_system: bool
    root: Path = Path("/")
    home: Path = field(default_factory=Path.home)
    is_root: bool = field(default_factory=lambda: os.geteuid() == 0)
    call: Call = call

    @property
    def unit_file(self) -> Path:
        """Where the unit is written."""
        if self.is_system:
            return self.below(service.SYSTEM_FOLDER) / f"{NAME}.service"
        return self.home / ".config/systemd/user" / f"{NAME}.service"

    @property
    def environment_file(self) -> Path:
        """Where the service finds variables that hold secrets."""
        if self.is_system:
            return self.below(service.SYSTEM_ENVIRONMENT)
        return self.home / ".config/acore/environment"

    def below(self, path: Path) -> Path:
        """Return a path of this machine."""
        return self.root / path.relative_to("/")

    def systemctl(self, *words: str) -> int:
        """Ask systemd for something."""
        return self.call([self._systemctl(), *self._whose(), *words])

    def journal(self, *words: str) -> int:
        """Show what the bot logged."""
        path = shutil.which(JOURNALCTL)
        if path is None:
            msg = f"This machine has no `{JOURNALCTL}`."
            raise ConfigurationError(msg, remedy=OTHER_WAYS)
        unit = "--unit" if self.is_system else "--user-unit"
        return self.call([path, f"{unit}={NAME}", *words])

    def version(self) -> int:
        """Return systemd's version, 0 if it does not say."""
        told = subprocess.run(  # noqa: S603 - words of ours, no shell
            [self._systemctl(), "--version"], check=False, capture_output=True, text=True
        ).stdout.split()
        return int(told[1]) if len(told) > 1 and told[1].isdigit() else 0

    def check_rights(self) -> None:
        """Raises `ConfigurationError` if who asks may not change it."""
        self._systemctl()
        if self.is_system and not self.is_root:
            remedy = "Put `sudo` before it, or give --user for a service of your own."
            raise ConfigurationError(NO_ROOT, remedy=remedy)

    def _systemctl(self) -> str:
        path = shutil.which(SYSTEMCTL)
        if path is None:
            raise ConfigurationError(NO_SYSTEMD, remedy=OTHER_WAYS)
        return path

    def _whose(self) -> tuple[str, ...]:
        return () if self.is_system else ("--user",)


def install(machine: Machine, plan: Plan, secrets: Mapping[str, str], *, starts: bool) -> list[str]:
    """Write the unit, let systemd know of it, and start it if wanted. Returns what was done, a line
    each. `secrets` are variables that the service needs and that stand in no file yet.

    Raises `ConfigurationError`.
    """
    machine.check_rights()
    done = []
    if plan.is_system:
        check_readable(plan.program)
        done += _make_user(machine)
        settings = _take_settings(machine, plan.settings)
        done += [f"Settings: {settings}"] if settings else []
        plan = Plan(program=plan.program, settings=settings, is_system=True, systemd=plan.systemd)
    done += _write_secrets(machine, secrets)
    _write(machine.unit_file, service.unit(plan), 0o644)
    done.append(f"Unit: {machine.unit_file}")
    _must(machine.systemctl("daemon-reload"), "read the unit")
    _must(machine.systemctl("enable", NAME), "enable the service")
    done.append("It starts when the machine does.")
    if starts:
        _must(machine.systemctl("restart", NAME), "start the service")
        done.append("It runs.")
    return done


def uninstall(machine: Machine) -> list[str]:
    """Stop the bot and take the unit away; what it keeps stays. Raises `ConfigurationError`."""
    machine.check_rights()
    if not machine.unit_file.exists():
        msg = f"There is no {machine.unit_file}."
        raise ConfigurationError(msg, remedy="Nothing is installed, so nothing has to be removed.")
    machine.systemctl("disable", "--now", NAME)
    machine.unit_file.unlink()
    _must(machine.systemctl("daemon-reload"), "forget the unit")
    kept = f"{service.SYSTEM_DATA} and {service.SYSTEM_SETTINGS.parent}"
    where = kept if machine.is_system else "your folder of data and your settings"
    return [f"Removed: {machine.unit_file}", f"Kept: {where}."]


def check_readable(program: Path) -> None:
    """Raises `ConfigurationError` if the program lies where the service's user may not look."""
    if str(program).startswith(HOMES):
        msg = f"{program} lies in a home, which the service's user {USER!r} may not read."
        remedy = (
            "Install it where all may read it, for example: python3 -m venv /opt/acore-bot && "
            "/opt/acore-bot/bin/pip install acore-bot; or give --user for a service of your own."
        )
        raise ConfigurationError(msg, remedy=remedy)


def _make_user(machine: Machine) -> list[str]:
    with suppress(KeyError):
        pwd.getpwnam(USER)
        return []
    words = ["--system", "--user-group", "--no-create-home", "--shell=/usr/sbin/nologin"]
    _must(
        machine.call(["useradd", *words, f"--home-dir={service.SYSTEM_DATA}", USER]), "add a user"
    )
    return [f"User: {USER}"]


def _take_settings(machine: Machine, found: Path | None) -> Path | None:
    """Copy the settings to where the service reads them, unless there are some already."""
    kept = machine.below(service.SYSTEM_SETTINGS)
    if not kept.exists():
        if found is None:
            return None
        _write_secret(machine, kept, found.read_text("utf-8"))
    return service.SYSTEM_SETTINGS


def _write_secrets(machine: Machine, secrets: Mapping[str, str]) -> list[str]:
    file = machine.environment_file
    if not secrets or file.exists():
        return []
    quoted = {
        name: value.replace("\\", "\\\\").replace('"', '\\"') for name, value in secrets.items()
    }
    _write_secret(machine, file, "".join(f'{name}="{text}"\n' for name, text in quoted.items()))
    return [f"From your environment, now in {file}: {', '.join(secrets)}"]


def _write_secret(machine: Machine, file: Path, text: str) -> None:
    _write(file, text, 0o600)
    if machine.is_system and machine.is_root:
        with suppress(LookupError):  # below another root there may be no such user
            shutil.chown(file, USER, USER)


def _write(file: Path, text: str, mode: int) -> None:
    """Write a file so that it is there wholly or not at all."""
    _make_folder(file.parent)
    new = file.with_name(f".{file.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as written:
        os.fchmod(written.fileno(), mode)  # whatever the umask is
        written.write(text)
        written.flush()
        os.fsync(written.fileno())
    new.replace(file)


def _make_folder(folder: Path) -> None:
    """Make a folder that others may look into, as those of the machine are."""
    for missing in [it for it in (folder, *folder.parents) if not it.exists()][::-1]:
        missing.mkdir()
        missing.chmod(0o755)


def _must(code: int, deed: str) -> None:
    if code:
        msg = f"systemd could not {deed} (exit code {code})."
        remedy = f"What it said stands above; see also: systemctl status {NAME}"
        raise ConfigurationError(msg, remedy=remedy)
