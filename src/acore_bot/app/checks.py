"""Everything that the main job needs, looked at one by one."""

from acore_bot.app.findings import examine_persona, examine_providers
from acore_bot.app.serving import WHERE_TOKENS_ARE_MADE, open_discord
from acore_bot.app.towers import open_history, open_model, open_personas, open_records
from acore_bot.config import Settings
from acore_bot.errors import AcoreError
from acore_bot.messages import Finding
from acore_bot.ops import health
from acore_bot.telemetry.events import Emit, ignore


async def examine(settings: Settings, emit: Emit = ignore) -> health.Report:
    """Look at everything that the main job needs, and say what is wrong with it."""
    findings = [_examine_settings(settings), *_warnings(settings)]
    findings += [
        await _examine_data(settings),
        await _examine_records(settings),
        examine_persona(settings, open_personas(settings)),
    ]
    async with open_model(settings, emit) as model:
        of_providers, models = await examine_providers(settings, model)
    findings += of_providers
    findings += await _examine_discord(settings)
    return health.report(findings, models)


async def _examine_discord(settings: Settings) -> tuple[Finding, ...]:
    if settings.discord.token is None:
        return (
            Finding(
                "discord", "note", "no token, so `acore run` cannot run", WHERE_TOKENS_ARE_MADE
            ),
        )
    findings = await open_discord(settings).examine()
    if settings.discord.names and not settings.discord.message_content:
        sentence = "discord.names is set, but without the right to read along no name is ever heard"
        remedy = "Set discord.message_content = true, and switch the intent on in the portal."
        findings += (Finding("discord", "note", sentence, remedy),)
    return findings


def _examine_settings(settings: Settings) -> Finding:
    where = str(settings.file) if settings.file else "no file, so all defaults are in force"
    return Finding("settings", "ok", where)


def _warnings(settings: Settings) -> list[Finding]:
    return [Finding("settings", "note", warning) for warning in settings.warnings]


async def _examine_data(settings: Settings) -> Finding:
    try:
        async with open_history(settings) as history:
            await history.check()
            count = len(await history.conversations())
    except AcoreError as error:
        return Finding("data", "fault", error.sentence, error.remedy)
    noun = "conversation" if count == 1 else "conversations"
    return Finding("data", "ok", f"{settings.data.directory}: {count} {noun}, intact")


async def _examine_records(settings: Settings) -> Finding:
    try:
        async with open_records(settings) as records:
            await records.check()
    except AcoreError as error:
        return Finding("records", "fault", error.sentence, error.remedy)
    return Finding("records", "ok", f"{records.path}: intact")
