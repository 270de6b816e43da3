"""`acore service`: let the machine start the bot, watch it, and start it again."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acore_bot.cli.running import Context, run

if TYPE_CHECKING:
    from acore_bot.config import Settings
    from acore_bot.ops.installing import Machine
    from acore_bot.ops.service import Plan

service = typer.Typer(
    help="Let the machine run it: at boot, watched, restarted.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

UserOption = Annotated[
    bool, typer.Option("--user", help="A service of yours, not of the whole machine.")
]
NO_TOKEN = "There is no Discord token, so the service could not run."  # noqa: S105 - a sentence
SETUP = "Run `acore setup`, or set DISCORD_TOKEN for this command."
VARIABLES = ("DISCORD_TOKEN", "OPENROUTER_API_KEY", "OPENAI_API_KEY")


@service.command()
def install(
    context: typer.Context,
    user: UserOption = False,
    start: Annotated[bool, typer.Option(help="Start it at once.")] = True,
    only_print: Annotated[
        bool, typer.Option("--print", help="Print the unit, and change nothing.")
    ] = False,
) -> None:
    """Let systemd start the bot now and at every boot; needs root, or --user."""

    async def put(settings: "Settings") -> None:
        from acore_bot.errors import ConfigurationError
        from acore_bot.ops import installing
        from acore_bot.ops.service import SYSTEM_SETTINGS, unit

        if only_print:
            plan = _plan(settings, is_system=not user)
            if plan.is_system and plan.settings:  # `install` would copy them there
                plan = replace(plan, settings=SYSTEM_SETTINGS)
            typer.echo(unit(plan), nl=False)
            return
        if settings.discord.token is None:
            raise ConfigurationError(NO_TOKEN, remedy=SETUP)
        machine = _machine(is_system=not user)
        machine.check_rights()
        plan = _plan(settings, is_system=not user, systemd=machine.version())
        for line in installing.install(machine, plan, _secrets(), starts=start):
            typer.echo(line)
        _tell_what_next(is_system=not user, is_started=start)

    run(_of(context), put)


@service.command()
def uninstall(context: typer.Context, user: UserOption = False) -> None:
    """Stop the bot and remove the service; what the bot keeps stays."""

    async def remove(_: "Settings") -> None:
        from acore_bot.ops import installing

        for line in installing.uninstall(_machine(is_system=not user)):
            typer.echo(line)

    run(_of(context), remove)


@service.command()
def status(context: typer.Context, user: UserOption = False) -> None:
    """Show whether it runs, and its latest lines."""

    async def show(_: "Settings") -> int:
        return _machine(is_system=not user).systemctl("status", "--no-pager", "discordbot")

    run(_of(context), show)


@service.command()
def logs(
    context: typer.Context,
    user: UserOption = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it logs.")] = False,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="WHEN", help="As journalctl has it: today, '1 hour ago'."),
    ] = None,
) -> None:
    """Show what the bot logged as a service."""

    async def show(_: "Settings") -> int:
        wanted = [f"--since={since}"] if since else []
        wanted += ["--follow"] if follow else ["--no-pager"]
        return _machine(is_system=not user).journal(*wanted)

    run(_of(context), show)


def _of(context: typer.Context) -> Context:
    shared: Context = context.obj
    return shared


def _machine(*, is_system: bool) -> "Machine":
    from acore_bot.ops.installing import Machine

    return Machine(is_system=is_system)


def _plan(settings: "Settings", *, is_system: bool, systemd: int = 0) -> "Plan":
    from acore_bot.ops.service import Plan

    program = Path(sys.prefix) / "bin" / "acore"
    return Plan(program=program, settings=settings.file, is_system=is_system, systemd=systemd)


def _secrets() -> dict[str, str]:
    """Return the keys that stand in the environment of who installs, and which no service has."""
    import os

    return {name: os.environ[name] for name in VARIABLES if os.environ.get(name)}


def _tell_what_next(*, is_system: bool, is_started: bool) -> None:
    systemctl, sudo = ("systemctl", "sudo ") if is_system else ("systemctl --user", "")
    journal = "-u" if is_system else "--user-unit"
    typer.echo("")
    if not is_started:
        typer.echo(f"Start it:   {sudo}{systemctl} start discordbot")
    typer.echo(f"Watch it:   {sudo}journalctl {journal} discordbot -f")
    typer.echo(f"Stop it:    {sudo}{systemctl} stop discordbot")
    if not is_system:
        typer.echo("It ends when you log out, unless: loginctl enable-linger")
