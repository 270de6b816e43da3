"""What can be found out about a bot that is open, one thing after the other."""

import logging
from collections.abc import Callable
from typing import TypeAlias

from msgspec import structs

from acore_bot.app.opening import how_to_set_key
from acore_bot.chat.persona import PersonaLibrary
from acore_bot.config import Settings, lacks_key
from acore_bot.contracts import History
from acore_bot.errors import AcoreError
from acore_bot.llm.route import RoutedModel
from acore_bot.messages import Finding
from acore_bot.ops import health

log = logging.getLogger(__name__)

Word: TypeAlias = Callable[[AcoreError], tuple[str, str]]
"""Puts an error into a sentence and a remedy."""


def in_full(error: AcoreError) -> tuple[str, str]:
    """Tell the owner all."""
    return error.sentence, error.remedy


def in_public(error: AcoreError) -> tuple[str, str]:
    """Tell strangers what is fit for them, and the log the rest."""
    log.warning("an examination found: %s", error)
    return error.public, ""


async def examine_open_bot(
    settings: Settings, routed: RoutedModel, history: History, personas: PersonaLibrary
) -> tuple[Finding, ...]:
    """Look at all that a bot needs that is open, in words fit for those who manage a server: no
    path, and no work that only the machine's owner can do."""
    findings = [
        await _examine_open_history(history),
        examine_persona(settings, personas, in_public),
    ]
    providers, _ = await examine_providers(settings, routed, in_public)
    return (*findings, *(structs.replace(finding, remedy="") for finding in providers))


async def _examine_open_history(history: History) -> Finding:
    try:
        count = len(await history.conversations())
    except AcoreError as error:
        return Finding("data", "fault", *in_public(error))
    noun = "conversation" if count == 1 else "conversations"
    return Finding("data", "ok", f"{count} {noun}")


async def examine_providers(
    settings: Settings, routed: RoutedModel, word: Word = in_full
) -> tuple[tuple[Finding, ...], tuple[health.ModelFinding, ...]]:
    """Ask the model that answers, and see what each provider has."""
    findings = [await _probe(settings, routed, word)]
    models: list[health.ModelFinding] = []
    for name in routed.names:
        finding, described = await _examine_provider(settings, routed, name, word)
        findings.append(finding)
        models += described
    return tuple(findings), tuple(models)


async def _probe(settings: Settings, routed: RoutedModel, word: Word) -> Finding:
    try:
        routed.provider(settings.chat.model.partition("/")[0])
    except AcoreError as error:  # what keeps it from being opened may name what is the owner's
        return Finding("model", "fault", *word(error))
    chat = settings.chat
    return await health.probe(routed, chat.model, local_only=chat.local_only)


def examine_persona(settings: Settings, personas: PersonaLibrary, word: Word = in_full) -> Finding:
    """See whether the persona can be read."""
    try:
        persona = personas.load(settings.chat.persona)
    except AcoreError as error:
        return Finding("persona", "fault", *word(error))
    return Finding("persona", "ok", f"{persona.slug}: {persona.description}")


async def _examine_provider(
    settings: Settings, model: RoutedModel, name: str, word: Word
) -> tuple[Finding, tuple[health.ModelFinding, ...]]:
    needed_provider, _, needed_model = settings.chat.model.partition("/")
    is_needed = name == needed_provider
    if lacks_key(settings.providers[name]) and not is_needed:
        return Finding(name, "note", "no key, so not asked", how_to_set_key(name)), ()
    if settings.chat.local_only and not model.host(name).is_local:
        return Finding(name, "note", "in a cloud, so not asked: chat.local_only is on"), ()
    try:
        provider = model.provider(name)
    except AcoreError as error:
        state: health.State = "fault" if is_needed else "note"
        return Finding(name, state, *word(error)), ()
    return await health.examine_provider(
        name, provider, needed_model=needed_model if is_needed else None
    )
