"""`acore setup`: from nothing to a settings file, each answer tried as it is given."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acore_bot.cli.running import Context, run

if TYPE_CHECKING:
    from acore_bot.app.setting_up import Answers
    from acore_bot.config import Settings
    from acore_bot.messages import Finding

FILE = "acore.toml"
TRIES = 5
EMBEDDED = "embedded/smollm2"
NOBODY_THERE = "Nobody can be asked here: standard input is no terminal."
BY_FLAGS = (
    "Give at least --model, for example: acore setup --model embedded/smollm2 --token-file FILE. "
    "`acore setup --help` shows all."
)


class _Tired(Exception):
    """An answer did not do, again and again."""


def setup(  # noqa: PLR0917 -- typer names them, nobody passes them by position
    context: typer.Context,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The model, as provider/model.")
    ] = None,
    persona: Annotated[
        str | None, typer.Option("--persona", "-p", help="A persona's name.")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", help="A file with the Discord token; else DISCORD_TOKEN."),
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option("--api-key-file", help="A file with the key of the model's cloud."),
    ] = None,
    read_along: Annotated[
        bool | None,
        typer.Option(
            "--read-along/--mentions-only", help="Whether it reads what does not mention it."
        ),
    ] = None,
    check: Annotated[bool, typer.Option(help="Try the token and the model now.")] = True,
    force: Annotated[bool, typer.Option("--force", help="Replace a settings file.")] = False,
) -> None:
    """Ask what is needed, try it, and write the settings file."""
    shared: Context = context.obj
    file = shared.config or Path(FILE)
    given = {
        "model": model,
        "persona": persona,
        "token": _secret_in(token_file),
        "api_key": _secret_in(api_key_file),
        "reads_along": read_along,
    }

    async def work(_: "Settings") -> int:
        return await _Setup(given, file, is_checking=check, is_forced=force).run()

    # What stands in a file that is about to be replaced does not matter.
    run(Context(config=Path("/dev/null"), debug=shared.debug), work)


def _secret_in(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        return file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        typer.echo(f"acore: {file} cannot be read.", err=True)
        raise typer.Exit(2) from None


class _Setup:
    def __init__(
        self, given: Mapping[str, object], file: Path, *, is_checking: bool, is_forced: bool
    ) -> None:
        self._given = {name: value for name, value in given.items() if value is not None}
        self._file = file
        self._is_checking, self._is_forced = is_checking, is_forced
        self._asks = _is_terminal() and "model" not in self._given

    async def run(self) -> int:
        """Ask, try and write. Raises `AcoreError`."""
        from acore_bot.app import setting_up
        from acore_bot.errors import ConfigurationError

        if not self._asks and "model" not in self._given:
            raise ConfigurationError(NOBODY_THERE, remedy=BY_FLAGS)
        self._may_replace()
        try:
            answers = await (self._ask() if self._asks else self._take())
        except _Tired:
            typer.echo("Nothing was written. Begin again with: acore setup", err=True)
            return 1
        old = setting_up.write(answers, self._file)
        typer.echo(f"\nWritten: {self._file}" + (f" (the one before: {old})" if old else ""))
        self._tell_what_next(answers)
        return 0

    def _may_replace(self) -> None:
        from acore_bot.errors import ConfigurationError

        if not self._file.exists() or self._is_forced:
            return
        if self._asks and typer.confirm(f"{self._file} is there already. Replace it?"):
            return
        msg = f"{self._file} is there already, and stays as it is."
        raise ConfigurationError(msg, remedy="--force replaces it and keeps it as acore.toml.old.")

    async def _take(self) -> "Answers":
        """Go by the flags. Raises `ConfigurationError` for what does not work."""
        import os

        from acore_bot.app import setting_up
        from acore_bot.errors import ConfigurationError

        given = {"token": os.environ.get("DISCORD_TOKEN", ""), **self._given}
        answers = setting_up.Answers(**given)  # type: ignore[arg-type]  # typer checked them
        findings = [setting_up.look_at_persona(answers)]
        if answers.token and (odd := setting_up.odd_token(answers.token)):
            raise ConfigurationError(odd, remedy=f"See {setting_up.WHERE_TOKENS_ARE_MADE}, Bot.")
        if self._is_checking:
            findings.append(await setting_up.examine_model(answers))
            findings += await setting_up.examine_token(answers) if answers.token else ()
        for finding in findings:
            if finding.state == "fault":
                remedy = finding.remedy or "--no-check writes the settings without trying them."
                raise ConfigurationError(finding.sentence, remedy=remedy)
            _show(finding)
        return answers

    async def _ask(self) -> "Answers":
        from acore_bot.app import setting_up

        typer.echo("A few questions; Ctrl-C leaves everything as it is.\n")
        answers = await self._ask_model(setting_up.Answers())
        answers = self._ask_persona(answers)
        return await self._ask_token(answers)

    async def _ask_model(self, answers: "Answers") -> "Answers":
        from msgspec import structs

        from acore_bot.app import setting_up
        from acore_bot.cli.status import Status

        with Status("looking for models on this machine…"):
            found = await setting_up.models_here()
        names = list(found)
        typer.echo("Which model shall answer? Found here:")
        for number, name in enumerate(names, 1):
            hint = "  (very small: shows that all works)" if name == EMBEDDED else ""
            typer.echo(f"  {number}  {name}{hint}")
        typer.echo("  or one in a cloud, such as openrouter/openai/gpt-5-mini")
        for _ in range(TRIES):
            typed = typer.prompt("Model", default=names[0] if names else EMBEDDED).strip()
            is_number = typed.isdigit() and 0 < int(typed) <= len(names)
            name = names[int(typed) - 1] if is_number else typed
            choice = found.get(name) or setting_up.Answers(model=name)
            answers = setting_up.with_choice(answers, choice)
            if setting_up.needs_key(name):
                typer.echo("It computes in a cloud: what people say there leaves this machine.")
                key = typer.prompt("Its key (not shown)", hide_input=True).strip()
                answers = structs.replace(answers, api_key=key)
            with Status("asking it for a word…"):
                finding = await setting_up.examine_model(answers)
            _show(finding)
            if finding.state != "fault":
                return answers
        raise _Tired

    def _ask_persona(self, answers: "Answers") -> "Answers":
        from msgspec import structs

        from acore_bot.app import setting_up

        typer.echo("\nWho shall it be?")
        known = dict(setting_up.personas())
        for slug, description in known.items():
            typer.echo(f"  {slug:<12} {description}")
        for _ in range(TRIES):
            slug = typer.prompt("Persona", default="acore").strip()
            answers = structs.replace(answers, persona=slug)
            finding = setting_up.look_at_persona(answers)
            if finding.state != "fault":
                return answers
            _show(finding)
        raise _Tired

    async def _ask_token(self, answers: "Answers") -> "Answers":
        from msgspec import structs

        from acore_bot.app import setting_up
        from acore_bot.cli.status import Status

        typer.echo("\nShall it be on Discord too? Its token is made at")
        typer.echo(f"  {setting_up.WHERE_TOKENS_ARE_MADE}, under Bot.")
        for _ in range(TRIES):
            token = typer.prompt(
                "Token (not shown; Enter skips)", default="", hide_input=True, show_default=False
            ).strip()
            if not token:
                return answers
            if odd := setting_up.odd_token(token):
                typer.echo(odd)
                continue
            answers = structs.replace(answers, token=token)
            with Status("asking Discord…"):
                findings = await setting_up.examine_token(answers)
            for finding in findings:
                _show(finding)
            if all(finding.state != "fault" for finding in findings):
                return self._ask_where(answers)
        raise _Tired

    def _ask_where(self, answers: "Answers") -> "Answers":
        from msgspec import structs

        typer.echo(
            "\nIt answers who mentions it or replies to it. With Discord's leave it can also"
        )
        typer.echo("read along: answer in its threads without a mention, and hear its names.")
        reads_along = typer.confirm("Shall it read along?", default=False)
        return structs.replace(answers, reads_along=reads_along)

    def _tell_what_next(self, answers: "Answers") -> None:
        command = "run" if answers.token else "chat"
        where = "" if self._file == Path(FILE) else f"--config {self._file} "
        typer.echo(f"Next:    acore {where}{command}")
        if answers.token:
            typer.echo(f"At boot: acore {where}service install")


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _show(finding: "Finding") -> None:
    from acore_bot.messages import printable

    mark = {"ok": "✓", "note": "·", "fault": "✗"}[finding.state]
    typer.echo(f"{mark} {printable(finding.sentence)}")
    if finding.remedy and finding.state != "ok":
        typer.echo(f"  {printable(finding.remedy)}")
