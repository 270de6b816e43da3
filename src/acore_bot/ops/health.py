"""Whether the bot can do its main job, fault by fault, each with its remedy."""

from collections.abc import Iterable
from typing import Literal, TypeAlias

from msgspec import Struct

from acore_bot.contracts import ChatModel, Provider
from acore_bot.errors import AcoreError
from acore_bot.messages import Ability, ChatMessage, ChatRequest, End, Finding

State: TypeAlias = Literal["ok", "note", "fault"]

MAX_DESCRIBED_MODELS = 12
PROBE = ChatMessage("user", "Say hello.")
PROBE_TOKENS = 16
WHERE_TO_LOOK = "`acore --debug ask Hello` shows what the server said."


class ModelFinding(Struct, frozen=True, kw_only=True):
    """What is known of a model, written `provider/model`."""

    model: str
    context_tokens: int | None
    abilities: tuple[Ability, ...]


class Report(Struct, frozen=True):
    """All findings. `ok` says that the main job can run."""

    ok: bool
    findings: tuple[Finding, ...]
    models: tuple[ModelFinding, ...]


def report(findings: Iterable[Finding], models: Iterable[ModelFinding]) -> Report:
    """Sum up: well if nothing is a fault."""
    findings = tuple(findings)
    is_well = all(finding.state != "fault" for finding in findings)
    return Report(is_well, findings, tuple(models))


async def probe(model: ChatModel, name: str, *, local_only: bool = False) -> Finding:
    """Ask a model for a few words, as the main job would."""
    request = ChatRequest(
        model=name, messages=(PROBE,), max_tokens=PROBE_TOKENS, is_local_only=local_only
    )
    try:
        async with model.stream(request) as pieces:
            ends = [piece async for piece in pieces if isinstance(piece, End)]
    except AcoreError as error:
        return _failed("model", "fault", error)
    if ends[-1].finish_reason == "truncated":
        return Finding(
            "model", "fault", f"The answer of {name} broke off.", "See its server's log."
        )
    return Finding("model", "ok", f"{name} answers.")


async def examine_provider(
    name: str, provider: Provider, *, needed_model: str | None
) -> tuple[Finding, tuple[ModelFinding, ...]]:
    """See whether a provider is reached and what its models can do. `needed_model` is the one that
    the main job uses, if it is of this provider; another's absence is no fault."""
    try:
        models = await provider.list_models()
        shown = (needed_model,) if needed_model else models[:MAX_DESCRIBED_MODELS]
        found = [await _describe(name, provider, model) for model in shown]
    except AcoreError as error:
        state: State = "fault" if needed_model else "note"
        return _failed(name, state, error), ()
    noun = "model" if len(models) == 1 else "models"
    return Finding(name, "ok", f"{len(models):,} {noun}"), tuple(found)


def _failed(subject: str, state: State, error: AcoreError) -> Finding:
    return Finding(subject, state, error.sentence, error.remedy or WHERE_TO_LOOK)


async def _describe(name: str, provider: Provider, model: str) -> ModelFinding:
    info = await provider.describe(model)
    return ModelFinding(
        model=f"{name}/{model}",
        context_tokens=info.context_tokens,
        abilities=tuple(sorted(info.abilities)),
    )
