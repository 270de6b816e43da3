"""From the settings to the plain options of each part: no settings type goes further down."""

from collections.abc import Mapping
from decimal import Decimal

from acore_bot.app.opening import host_of
from acore_bot.chat.attention import Rules
from acore_bot.chat.policy import Limits, Policy
from acore_bot.chat.privacy import Facts
from acore_bot.chat.prompt import PromptBuilder, PromptOptions
from acore_bot.chat.tokens import TokenEstimator
from acore_bot.config import EmbeddedSettings, OpenRouterSettings, Settings
from acore_bot.errors import AcoreError
from acore_bot.history import cache as history_cache
from acore_bot.llm import respond_from_cache
from acore_bot.llm.deduplicate import DeduplicationOptions
from acore_bot.llm.failover import FailoverOptions
from acore_bot.llm.route import RoutedModel
from acore_bot.messages import Host

EMBEDDED = "embedded"
MIB = 2**20


def default_policy(settings: Settings, rules: Rules) -> Policy:
    """Say what holds where nobody set anything else."""
    chat, discord, budgets = settings.chat, settings.discord, settings.budgets
    return Policy(
        persona=chat.persona,
        model=chat.model,
        rules=rules,
        memory=discord.memory,
        retention_days=settings.privacy.retention_days,
        is_local_only=chat.local_only,
        shows_host=chat.show_host,
        shows_persona=discord.show_personas,
        limits=Limits(
            person_tokens=budgets.person_tokens,
            person_dollars=_exactly(budgets.person_dollars),
            guild_tokens=budgets.guild_tokens,
            guild_dollars=_exactly(budgets.guild_dollars),
            when_spent=budgets.when_spent,
        ),
    )


def _exactly(dollars: float | None) -> Decimal | None:
    # As it was written, not as the machine has it in binary.
    return None if dollars is None else Decimal(str(dollars))


def assumed_price(settings: Settings) -> Decimal:
    """Say what a million tokens are taken to cost in US dollars where nobody tells."""
    return Decimal(str(settings.budgets.assumed_dollars_per_million))


def make_prompts(settings: Settings, estimator: TokenEstimator) -> PromptBuilder:
    """Make the builder of prompts."""
    chat = settings.chat
    options = PromptOptions(
        context_tokens=chat.context_tokens,
        max_tokens=chat.max_tokens,
        history_messages=chat.history_messages,
        temperature=chat.temperature,
        labels=chat.message_labels,
        shares_across_guilds=settings.deduplication.across_guilds,
    )
    return PromptBuilder(options, estimator)


def hosts(settings: Settings) -> Mapping[str, Host]:
    """Tell where each provider computes."""
    return {name: host_of(settings, name) for name in settings.providers}


def facts(settings: Settings, routed: RoutedModel, failover: FailoverOptions) -> Facts:
    """Tell what people should know of where their words go."""
    cache = settings.response_cache
    routers = [it for it in settings.providers.values() if isinstance(it, OpenRouterSettings)]
    denied = [it.provider.get("data_collection") == "deny" for it in routers if it.api_key]
    return Facts(
        host_of=lambda model: routed.host(model.partition("/")[0]),
        fallbacks=fallbacks(failover),
        local_models=local_models(routed, failover),
        cached_seconds=cache.ttl_seconds if cache.enabled else 0.0,
        denies_collection=all(denied) if denied else None,
    )


def fallbacks(failover: FailoverOptions) -> tuple[str, ...]:
    """Name who may answer in another's place, in order."""
    last = failover.last_resort
    return (*failover.fallbacks, *((last,) if last else ()))


def local_models(routed: RoutedModel, failover: FailoverOptions) -> tuple[str, ...]:
    """Name those of them that are local."""
    names = fallbacks(failover)
    return tuple(name for name in names if routed.host(name.partition("/")[0]).is_local)


async def failover_options(settings: Settings, routed: RoutedModel) -> FailoverOptions:
    """Say who answers in whose place."""
    is_ours = isinstance(settings.providers.get(EMBEDDED), EmbeddedSettings)
    wanted = settings.failover.embedded and is_ours
    return FailoverOptions(
        fallbacks=settings.failover.models,
        last_resort=await _embedded_model(routed) if wanted else None,
        total_seconds=settings.failover.total_seconds,
    )


async def _embedded_model(routed: RoutedModel) -> str | None:
    """Name the model inside the package, which is not loaded for it; None if it is not there."""
    try:
        (name,) = await routed.provider(EMBEDDED).list_models()
    except AcoreError:
        return None
    return f"{EMBEDDED}/{name}"


def response_options(settings: Settings) -> respond_from_cache.CacheOptions:
    """Say which answers are remembered."""
    knobs = settings.response_cache
    return respond_from_cache.CacheOptions(
        is_enabled=knobs.enabled,
        max_entries=knobs.max_entries,
        max_bytes=knobs.max_mib * MIB,
        ttl_seconds=knobs.ttl_seconds,
    )


def history_options(settings: Settings) -> history_cache.CacheOptions:
    """Say how much of the history is kept in memory."""
    knobs = settings.history_cache
    return history_cache.CacheOptions(
        max_entries=knobs.max_conversations,
        max_bytes=knobs.max_mib * MIB,
        # One more than a prompt ever takes, as `Conversations` asks for it.
        messages_per_conversation=settings.chat.history_messages + 1,
    )


def sharing(settings: Settings) -> DeduplicationOptions:
    """Say who may share an answer that is being written."""
    knobs = settings.deduplication
    return DeduplicationOptions(public=knobs.public, guilds=knobs.guilds, private=knobs.private)
