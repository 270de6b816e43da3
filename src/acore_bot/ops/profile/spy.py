"""Recording from outside by py-spy, which costs a process almost nothing."""

from collections.abc import Sequence
from pathlib import Path

from acore_bot.errors import AcoreError, MissingExtra, NotAllowed
from acore_bot.ops.profile.command import installed, run_to_end, under_runner
from acore_bot.ops.profile.output import created
from acore_bot.ops.profile.runner import GRACE_SECONDS

PATIENCE_SECONDS = 60.0
MISSING = "Recording the CPU needs py-spy, which is not installed."
INSTALL = "Install it: pip install 'acore-bot[profile]'"
FORBIDDEN = "The system forbids py-spy to look into process {}."
WAYS_IN = (
    "Run this as the bot's user or as root. If that is so: `sudo sysctl "
    "kernel.yama.ptrace_scope=0`, and for a container `--cap-add SYS_PTRACE`. "
    "Or take --mode cprofile, which needs no permission."
)
_REFUSALS = ("permission denied", "operation not permitted")


async def spy_on(pid: int, seconds: int, file: Path) -> None:
    """Record a running process into a new SVG. Raises `AcoreError`."""
    spy = find_spy()
    arguments = [*_record(spy, file, seconds), "--pid", str(pid)]
    with created(file):
        try:
            patience = seconds + PATIENCE_SECONDS
            ended = await run_to_end(arguments, patience_seconds=patience, is_heard=True)
        except TimeoutError as error:
            msg = f"py-spy did not end in time over process {pid}."
            raise AcoreError(msg, remedy="Take --mode cprofile.") from error
        if ended.code:
            raise _worded(ended.said, pid)


async def spy_on_command(command: Sequence[str], seconds: int, file: Path) -> None:
    """Start a command and record it into a new SVG. Raises `AcoreError` if nothing was recorded."""
    spy = find_spy()
    runner = under_runner("cpu", file, seconds, command)
    # The runner asks the command to end in time; py-spy would kill it, so it waits a little longer.
    longest = seconds + 2 * int(GRACE_SECONDS)
    with created(file):
        await run_to_end([*_record(spy, file, longest), "--", *runner])


def find_spy() -> str:
    """Return the path of py-spy. Raises `MissingExtra`."""
    if (found := installed("py-spy")) is None:
        raise MissingExtra(MISSING, remedy=INSTALL)
    return found


def _record(spy: str, file: Path, seconds: int) -> list[str]:
    recorded = ("--format", "flamegraph", "--output", str(file))
    return [spy, "record", *recorded, "--duration", str(seconds)]


def _worded(said: str, pid: int) -> AcoreError:
    if any(refusal in said.lower() for refusal in _REFUSALS):
        return NotAllowed(FORBIDDEN.format(pid), remedy=WAYS_IN)
    first = next((line for line in said.splitlines() if line.startswith("Error")), "no reason told")
    msg = f"py-spy recorded nothing of process {pid}: {first.removeprefix('Error: ')}"
    return AcoreError(msg, remedy="It has to be a running Python process, and to do something.")
