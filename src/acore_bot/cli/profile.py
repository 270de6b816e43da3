"""`acore profile`: where the time and the memory go, in the running bot or in a command."""

from collections.abc import Callable, Coroutine
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acore_bot.cli.running import Context, run
from acore_bot.messages import printable

if TYPE_CHECKING:
    from acore_bot.config import Settings
    from acore_bot.ops.profile.session import Profile, Wanted

FOLDER = "profiles"


class Mode(StrEnum):
    """What to look at."""

    CPU = "cpu"
    CPROFILE = "cprofile"
    MEMORY = "memory"
    TASKS = "tasks"
    ANALYZE = "analyze"
    GUIDE = "guide"


def profile(  # noqa: PLR0917 -- typer names them, nobody passes them by position
    context: typer.Context,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE | -- COMMAND...]",
            help="The recording to analyze, or what to start instead of the running bot.",
        ),
    ] = None,
    mode: Annotated[Mode, typer.Option("--mode", help="What to look at.")] = Mode.GUIDE,
    duration: Annotated[
        int, typer.Option("--duration", min=1, metavar="SECONDS", help="How long to record.")
    ] = 30,
    pid: Annotated[
        int | None, typer.Option("--pid", min=1, help="Which process, if there are several bots.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="The folder of the files, else `profiles` in the data's."),
    ] = None,
    growth: Annotated[
        bool, typer.Option("--growth", help="Of memory: what was not given back, not the peak.")
    ] = False,
    file: Annotated[Path | None, typer.Option("--profile-file", hidden=True)] = None,
) -> None:
    """See where time and memory go, in the running bot or in a command."""
    rest = [str(file), *(arguments or ())] if file else (arguments or [])
    _check(mode, rest, growth=growth)

    async def print_profile(settings: "Settings") -> None:
        from acore_bot.ops.profile.session import Wanted

        data = settings.data.directory
        wanted = Wanted(
            data=data,
            output=(output or data / FOLDER).absolute(),
            seconds=duration,
            pid=pid,
            command=rest,
            growth=growth,
        )
        _print(await _look(mode, wanted))

    run(context.obj or Context(config=None, debug=False), print_profile)


def _check(mode: Mode, arguments: list[str], *, growth: bool) -> None:
    """Refuse what the mode makes no use of, so that nobody waits for what does not come."""
    if mode is Mode.ANALYZE and len(arguments) != 1:
        msg = "analyze takes one FILE."
        raise typer.BadParameter(msg)
    if mode in {Mode.TASKS, Mode.GUIDE} and arguments:
        msg = f"{mode} takes no command. Say what to look at, for example --mode cpu."
        raise typer.BadParameter(msg)
    if growth and mode not in {Mode.MEMORY, Mode.ANALYZE}:
        msg = "--growth belongs to --mode memory."
        raise typer.BadParameter(msg)


async def _look(mode: Mode, wanted: "Wanted") -> "Profile":
    from acore_bot.ops.profile import guide, session

    looks: dict[Mode, Callable[[Wanted], Coroutine[object, object, Profile]]] = {
        Mode.CPU: session.profile_cpu,
        Mode.CPROFILE: session.profile_calls,
        Mode.MEMORY: session.profile_memory,
        Mode.TASKS: session.profile_tasks,
    }
    if mode is Mode.GUIDE:
        return session.Profile(guide.GUIDE)
    if mode is Mode.ANALYZE:
        return session.analyze(Path(wanted.command[0]), growth=wanted.growth)
    return await looks[mode](wanted)


def _print(found: "Profile") -> None:
    typer.echo(printable(found.text), nl=False)
    for file in found.files:
        typer.echo(f"{file}")
