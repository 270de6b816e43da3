"""`acore backup` and `acore restore`: all that the bot keeps, in one file."""

import sys
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acore_bot.cli.running import run
from acore_bot.messages import printable

if TYPE_CHECKING:
    from acore_bot.app.archives import Manifest
    from acore_bot.app.backing_up import Wanted
    from acore_bot.app.restoring import Prepared
    from acore_bot.config import Settings

TO_STDOUT = Path("-")
KIB = 1024
SETTINGS_WITHIN = "Your settings are in it, with every key and token: whoever has it is the bot."
WORDS_WITHIN = "It holds what people said. Let nobody else have it."
PAUSES_UNKNOWN = (
    "Who has paused since the backup was made cannot be read any more: they are listened to again."
)


def backup(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="The new file, or a folder for it; by default this one. - is standard output.",
        ),
    ] = None,
    with_settings: Annotated[
        bool,
        typer.Option("--with-settings", help="Put in the settings file, with its secrets."),
    ] = False,
    with_events: Annotated[
        bool, typer.Option("--with-events", help="Put in the log of events, for `acore stats`.")
    ] = False,
    keep: Annotated[
        int | None,
        typer.Option(
            "--keep", min=1, help="Then keep so many of the folder's backups, the newest."
        ),
    ] = None,
) -> None:
    """Write all that the bot keeps into one file, also while it runs."""
    if file == TO_STDOUT and keep is not None:
        raise typer.BadParameter("Nothing is kept where - is written to.", param_hint="--keep")

    def write(settings: "Settings") -> Awaitable[int]:
        from acore_bot.app.backing_up import Wanted

        wanted = Wanted(settings=with_settings, events=with_events, keep=keep)
        return _done(_backup(settings, file or Path(), wanted))

    run(context.obj, write)


def restore(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE", help="The backup; none goes on with a restore that was broken off."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask again.")] = False,
) -> None:
    """Put back what a backup holds, in the place of what is there."""
    run(context.obj, lambda settings: _done(_restore(settings, file, is_confirmed=yes)))


async def _done(code: int) -> int:
    # The work was done before the loop runs, which would keep Ctrl-C from ending it.
    return code


def _backup(settings: "Settings", file: Path, wanted: "Wanted") -> int:
    from acore_bot.app.backing_up import back_up

    if file == TO_STDOUT:
        return _backup_to_stdout(settings, wanted)
    written = back_up(settings, file.expanduser(), wanted)
    held = _described(written.manifest)
    typer.echo(f"Written: {printable(str(written.file))}, {_size(written.size)}: {held}.")
    _warn(wanted)
    for old in written.removed:
        typer.echo(f"Removed, for its age: {printable(str(old))}")
    return 0


def _backup_to_stdout(settings: "Settings", wanted: "Wanted") -> int:
    from datetime import UTC, datetime

    from acore_bot.app.backing_up import write_backup

    if sys.stdout.isatty():
        typer.echo("A backup is not for the screen: send it into a file or a pipe.", err=True)
        return 2
    manifest = write_backup(settings, sys.stdout.buffer, wanted, datetime.now(UTC))
    sys.stdout.buffer.flush()
    typer.echo(f"Written: {_described(manifest)}.", err=True)
    _warn(wanted)
    return 0


def _warn(wanted: "Wanted") -> None:
    typer.echo(SETTINGS_WITHIN if wanted.settings else WORDS_WITHIN, err=True)


def _restore(settings: "Settings", file: Path | None, *, is_confirmed: bool) -> int:
    from acore_bot.app import restoring
    from acore_bot.errors import NotFound

    with restoring.sole_restore(settings):
        is_broken_off = restoring.is_broken_off(settings)
        if is_broken_off:
            restoring.go_on(settings)
            typer.echo("The restore that was broken off is done.")
        if file is None:
            if not is_broken_off:
                msg = "No restore was broken off, and no backup is named."
                raise NotFound(msg, remedy="Run: acore restore FILE")
            return 0
        with restoring.prepared(settings, file.expanduser()) as prepared:
            _tell(settings, file, prepared)
            if not (is_confirmed or _is_confirmed()):
                typer.echo("Nothing was touched. With --yes it is, without a question.", err=True)
                return 1
            restoring.put_in_place(settings)
    typer.echo(f"Restored: {_described(prepared.manifest)}.")
    if "settings.toml" in prepared.manifest.files:
        place = settings.data.directory / restoring.RESTORED_SETTINGS_FILE
        typer.echo(f"Its settings are in {printable(str(place))}, and not in force: have a look.")
    return 0


def _tell(settings: "Settings", file: Path, prepared: "Prepared") -> None:
    manifest = prepared.manifest
    made_at = manifest.made_at.astimezone().strftime("%Y-%m-%d %H:%M")
    typer.echo(f"{printable(str(file))} was made at {made_at}: {_described(manifest)}.")
    typer.echo(f"It takes the place of what is in {printable(str(settings.data.directory))}.")
    if not prepared.are_pauses_known:
        typer.echo(PAUSES_UNKNOWN, err=True)


def _is_confirmed() -> bool:
    # Without a person to ask, nothing is replaced by accident.
    question = "What is there now is removed for good. Go on?"
    return sys.stdin.isatty() and typer.confirm(question)


def _described(manifest: "Manifest") -> str:
    """Name what is in a backup: files by name, those of folders by number."""
    plain = [name for name in manifest.files if "/" not in name]
    personas = sum(name.startswith("personas/") for name in manifest.files)
    events = sum(name.startswith("events/") for name in manifest.files)
    counted = {"file of personas": personas, "file of events": events}
    return ", ".join((*plain, *_counts(counted)))


def _counts(counted: Mapping[str, int]) -> list[str]:
    return [
        f"{count:,} {noun if count == 1 else noun.replace('file', 'files', 1)}"
        for noun, count in counted.items()
        if count
    ]


def _size(count: int) -> str:
    if count < KIB * KIB:
        return f"{max(count // KIB, 1):,} KiB"
    return f"{count / KIB / KIB:,.1f} MiB"
