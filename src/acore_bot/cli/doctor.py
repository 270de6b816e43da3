"""`acore doctor`: everything that was looked at, a line each, and the remedy for each fault."""

import msgspec
import typer

from acore_bot import app
from acore_bot.cli.status import Status
from acore_bot.config import Settings
from acore_bot.messages import Finding, printable
from acore_bot.ops.health import ModelFinding, Report

MARKS = {"ok": ("✓", "green"), "note": ("·", "yellow"), "fault": ("✗", "red")}


async def doctor(settings: Settings, *, as_json: bool) -> int:
    """Print what was found. Return 0 only if the main job can run."""
    with Status("looking at everything…") as status:
        report = await app.examine(settings, status.on_event)
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
    else:
        _print(report)
    return 0 if report.ok else 1


def _print(report: Report) -> None:
    for finding in report.findings:
        _print_finding(finding)
    if report.models:
        typer.echo("\nmodels")
    for model in report.models:
        typer.echo(f"  {printable(_described(model))}")
    typer.echo(f"\n{_verdict(report)}")


def _verdict(report: Report) -> str:
    if not report.ok:
        return "What is marked ✗ does not work as it is set up now."
    has_notes = any(finding.state == "note" for finding in report.findings)
    return "All is well; · is worth a look." if has_notes else "All is well."


def _print_finding(finding: Finding) -> None:
    mark, colour = MARKS[finding.state]
    first, *more = printable(finding.sentence).splitlines() or [""]
    typer.echo(f"{typer.style(mark, fg=colour)} {finding.subject:<12} {first}")
    for line in (*more, *printable(finding.remedy).splitlines()):
        typer.echo(f"  {'':<12} {line}")


def _described(model: ModelFinding) -> str:
    window = f"{model.context_tokens:,} tokens" if model.context_tokens else "window not told"
    return f"{model.model}: {', '.join((window, *(model.abilities or ('text only',))))}"
