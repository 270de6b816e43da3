"""Everything that the main job needs, looked at one by one."""

from acore_bot.app.serving import WHERE_TOKENS_ARE_MADE, open_discord
from acore_bot.app.towers import open_history, open_model, open_personas
from acore_bot.config import Settings, lacks_key
from acore_bot.errors import AcoreError
from acore_bot.llm.route import RoutedModel
from acore_bot.messages import Finding
from acore_bot.ops import health
from acore_bot.telemetry.events import Emit, ignore

KEYS_OF_CLOUDS = {"openrouter": "OPENROUTER_API_KEY", "openai": "OPENAI_API_KEY"}


async def examine(settings: Settings, emit: Emit = ignore) -> health.Report:
    """Look at everything that the main job needs, and say what is wrong with it."""
    findings = [_examine_settings(settings), *_warnings(settings)]
    models: list[health.ModelFinding] = []
    findings += [await _examine_data(settings), _examine_persona(settings)]
    async with open_model(settings, emit) as model:
        findings.append(await health.probe(model, settings.chat.model))
        for name in model.names:
            finding, described = await _examine_provider(settings, model, name)
            findings.append(finding)
            models += described
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


def _examine_persona(settings: Settings) -> Finding:
    try:
        persona = open_personas(settings).load(settings.chat.persona)
    except AcoreError as error:
        return Finding("persona", "fault", error.sentence, error.remedy)
    return Finding("persona", "ok", f"{persona.slug}: {persona.description}")


async def _examine_provider(
    settings: Settings, model: RoutedModel, name: str
) -> tuple[Finding, tuple[health.ModelFinding, ...]]:
    needed_provider, _, needed_model = settings.chat.model.partition("/")
    is_needed = name == needed_provider
    if lacks_key(settings.providers[name]) and not is_needed:
        variable = KEYS_OF_CLOUDS.get(name)
        remedy = f"Set {variable + ' or ' if variable else ''}providers.{name}.api_key to use it."
        return Finding(name, "note", "no key, so not asked", remedy), ()
    try:
        provider = model.provider(name)
    except AcoreError as error:
        state: health.State = "fault" if is_needed else "note"
        return Finding(name, state, error.sentence, error.remedy), ()
    return await health.examine_provider(
        name, provider, needed_model=needed_model if is_needed else None
    )
