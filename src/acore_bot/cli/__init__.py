"""What a person can ask of it: the commands of `acore`.

This module says what there is; the work is imported when a command runs, so that `acore --help`
answers at once.
"""

import os
import signal
from pathlib import Path
from typing import Annotated

import typer

from acore_bot.cli.backup import backup, restore
from acore_bot.cli.profile import profile
from acore_bot.cli.running import Context, LogFormat, run
from acore_bot.cli.service import service
from acore_bot.cli.setup import setup

acore = typer.Typer(
    name="acore",
    help="An AI chat bot, local first. Begin with: acore chat",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
history = typer.Typer(
    help="See, take along or remove what was said.", no_args_is_help=True, rich_markup_mode=None
)
acore.add_typer(history, name="history")

ModelOption = Annotated[
    str | None, typer.Option("--model", "-m", help="The model that answers, as provider/model.")
]
PersonaOption = Annotated[
    str | None, typer.Option("--persona", "-p", help="Who the bot is: a persona's name.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
NameArgument = Annotated[str, typer.Argument(help="The name of a conversation.")]


def main() -> None:
    """Run the command that the arguments name."""
    # Whatever it writes is for its owner's eyes only, unless somebody decides otherwise for a file.
    os.umask(0o077)
    acore()


def _show_version(wanted: bool) -> None:
    if wanted:
        from acore_bot.cli.reports import versions

        for name, version in versions().items():
            typer.echo(f"{name} {version}")
        raise typer.Exit


@acore.callback()
def options(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="The settings file.", metavar="FILE")
    ] = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="Log everything, and show tracebacks.")
    ] = False,
    log_format: Annotated[
        LogFormat, typer.Option("--log-format", help="How `acore run` logs.")
    ] = LogFormat.TEXT,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Take what all commands share."""
    context.obj = Context(config=config, debug=debug, log_format=log_format)


@acore.command()
def chat(
    context: typer.Context,
    conversation: Annotated[
        str, typer.Option("--conversation", help="Its name: a conversation is kept by its name.")
    ] = "default",
    persona: PersonaOption = None,
    model: ModelOption = None,
) -> None:
    """Talk with it here; from a pipe, one message a line."""
    from acore_bot.cli.chat import chat as run_chat

    flags = {"chat.persona": persona, "chat.model": model}
    run(context.obj, lambda settings: run_chat(settings, conversation), flags)


@acore.command()
def ask(  # noqa: PLR0917 -- typer names them, nobody passes them by position
    context: typer.Context,
    text: Annotated[str, typer.Argument(help="The question; - reads standard input.")],
    model: ModelOption = None,
    persona: PersonaOption = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", help="The longest answer, in tokens.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="How freely words are chosen, 0 to 2.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask one question that nothing was said before."""
    from acore_bot.cli.ask import ask as run_ask

    flags = {
        "chat.model": model,
        "chat.persona": persona,
        "chat.max_tokens": max_tokens,
        "chat.temperature": temperature,
    }
    run(
        context.obj,
        lambda settings: run_ask(settings, text, temperature=temperature, as_json=as_json),
        flags,
    )


@acore.command("run")
def serve(context: typer.Context, model: ModelOption = None, persona: PersonaOption = None) -> None:
    """Answer people on Discord, until it is stopped."""
    # It asks for settings that are read a moment later anyway, and would end the process.
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, lambda *_: None)
    from acore_bot import config
    from acore_bot.cli.serve import serve as run_serve

    flags = {"chat.model": model, "chat.persona": persona}
    shared: Context = context.obj

    def load() -> config.Settings:
        return config.load(shared.config, flags)

    run(shared, lambda settings: run_serve(settings, load), flags, is_watched=True)


@acore.command()
def doctor(
    context: typer.Context,
    as_json: JsonOption = False,
    report: Annotated[
        bool, typer.Option("--report", help="Print what a bug report needs, without secrets.")
    ] = False,
) -> None:
    """See whether everything is well, and what would help."""
    if report:
        from acore_bot.cli.reports import print_report

        print_report(context.obj)
        return
    from acore_bot.cli.doctor import doctor as run_doctor

    run(context.obj, lambda settings: run_doctor(settings, as_json=as_json))


@acore.command()
def stats(
    context: typer.Context,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="WHEN", help="24h, 90m, 7d, a date or all; else a day."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what the bot did, how fast it was and what it took."""
    from acore_bot.cli.stats import stats as run_stats

    run(context.obj, lambda settings: run_stats(settings, since, as_json=as_json))


acore.command("profile")(profile)
acore.command("setup")(setup)
acore.command("backup")(backup)
acore.command("restore")(restore)
acore.add_typer(service, name="service")


@history.command("list")
def list_conversations(context: typer.Context) -> None:
    """List the conversations, the latest first."""
    from acore_bot.cli.history import list_conversations as run_list

    run(context.obj, run_list)


@history.command()
def show(
    context: typer.Context,
    name: NameArgument,
    last: Annotated[int, typer.Option("--last", "-n", min=1, help="How many messages.")] = 50,
) -> None:
    """Show what was said in a conversation."""
    from acore_bot.cli.history import show as run_show

    run(context.obj, lambda settings: run_show(settings, name, last))


@history.command()
def export(context: typer.Context, name: NameArgument) -> None:
    """Print a whole conversation as JSON lines, a message a line."""
    from acore_bot.cli.history import export as run_export

    run(context.obj, lambda settings: run_export(settings, name))


@history.command()
def forget(
    context: typer.Context,
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask again.")] = False,
) -> None:
    """Remove a conversation for good."""
    from acore_bot.cli.history import forget as run_forget

    run(context.obj, lambda settings: run_forget(settings, name, is_confirmed=yes))


@history.command("import")
def import_files(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="The folder of the files <channel id>.json.")],
    as_json: JsonOption = False,
) -> None:
    """Take in what was kept as a JSON file per channel; its files stay as they are."""
    from acore_bot.cli.history import import_files as run_import

    run(context.obj, lambda settings: run_import(settings, folder, as_json=as_json))
