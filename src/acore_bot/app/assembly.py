"""The core, put together over the open towers."""

import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple
from weakref import WeakSet

from acore_bot.app import options
from acore_bot.app.findings import examine_open_bot
from acore_bot.app.opening import pseudonym, user_salt
from acore_bot.chat.asking import Asker
from acore_bot.chat.attention import DEFAULT_RULES, Rules
from acore_bot.chat.budgets import Budgets
from acore_bot.chat.changes import Changes
from acore_bot.chat.commands import Commands, Figures
from acore_bot.chat.compare import Comparisons
from acore_bot.chat.conversation import Conversations
from acore_bot.chat.core import ChatCore
from acore_bot.chat.gathering import NO_PATIENCE, Patience
from acore_bot.chat.keeping import Keeper
from acore_bot.chat.loops import LoopGuard
from acore_bot.chat.material import MaterialReader
from acore_bot.chat.persona import PersonaLibrary
from acore_bot.chat.policy import Policies
from acore_bot.chat.presses import Presses
from acore_bot.chat.privacy import Privacy
from acore_bot.chat.sights import Sights
from acore_bot.chat.tokens import TokenEstimator
from acore_bot.chat.turn import Refusals, TurnTaker
from acore_bot.config import Settings
from acore_bot.contracts import FileReader, PerformanceStats
from acore_bot.errors import AcoreError, ConfigurationError, NotFound
from acore_bot.history.cache import CachedHistory
from acore_bot.llm.deduplicate import DeduplicatedModel
from acore_bot.llm.failover import FailoverOptions
from acore_bot.llm.limit import LimitedModel
from acore_bot.llm.respond_from_cache import CachedResponses
from acore_bot.llm.route import RoutedModel
from acore_bot.messages import Host, IncomingCommand
from acore_bot.records.sqlite import SQLiteRecords
from acore_bot.telemetry.events import Emit

OTHER_COMMANDS = (
    ("summary", "sum up what was said here lately"),
    ("compare", "let two models answer blindly, and vote"),
)


@dataclass(frozen=True, kw_only=True)
class Towers:
    """What is open below the core."""

    routed: RoutedModel
    failover: FailoverOptions
    responses: CachedResponses
    model: DeduplicatedModel
    history: CachedHistory
    records: SQLiteRecords
    personas: PersonaLibrary

    def host_of(self, model: str) -> Host:
        """Tell where a model, written `provider/model`, computes."""
        return self.routed.host(model.partition("/")[0])

    def lines(self) -> dict[str, LimitedModel]:
        """Return the line before each provider that was asked."""
        opened = self.routed.opened()
        return {name: line for name, line in opened.items() if isinstance(line, LimitedModel)}

    def get_cache_stats(self) -> dict[str, Mapping[str, object]]:
        """Tell what was saved: under `deduplication`, `responses` and `history`."""
        parts = (self.model, self.responses, self.history)
        return {name: stats for part in parts for name, stats in part.get_cache_stats().items()}

    def get_performance_stats(self) -> dict[str, PerformanceStats]:
        """Tell how fast each provider was that was asked, by its name."""
        opened = self.routed.opened()
        return {name: provider.get_performance_stats() for name, provider in opened.items()}

    def reset_metrics(self) -> None:
        """Let every provider's figures begin anew."""
        for provider in self.routed.opened().values():
            provider.reset_metrics()


@dataclass(frozen=True, kw_only=True)
class Manners:
    """How a front end wants the core to behave: what deserves an answer, how long a message waits
    for the next one of the same person, who reads the files that people send along, how errors are
    worded for those who read along, which commands are its own, for the help, and how the bot did
    lately, in words."""

    rules: Rules = DEFAULT_RULES
    patience: Patience = NO_PATIENCE
    files: FileReader | None = None
    tell: Callable[[AcoreError], str] = str
    commands: tuple[tuple[str, str], ...] = OTHER_COMMANDS
    lately: Callable[[], str] = str


PLAIN_MANNERS = Manners()


class Parts(NamedTuple):
    """What several parts of the core share, and what a core that takes over goes on with."""

    conversations: Conversations
    policies: Policies
    privacy: Privacy
    budgets: Budgets
    estimator: TokenEstimator
    sights: Sights
    account_key: bytes
    caches: WeakSet[CachedResponses]
    loops: LoopGuard
    refusals: Refusals


async def make_parts(
    settings: Settings, towers: Towers, manners: Manners, before: Parts | None = None
) -> Parts:
    """Make what the parts of the core share, and read what owners and members decided; or go on
    with what the core `before` had, by these settings. Raises `HistoryError`."""
    if before is None:
        return await _make_first_parts(settings, towers, manners)
    before.caches.add(towers.responses)
    return before._replace(
        policies=before.policies.over(
            options.default_policy(settings, manners.rules),
            personas=partial(_personas, towers.personas),
            knows_model=partial(_known_model, towers.routed),
        ),
        privacy=before.privacy.over(options.facts(settings, towers.routed, towers.failover)),
        budgets=_make_budgets(settings, towers, before.estimator, before.account_key),
    )


def make_core(
    settings: Settings, towers: Towers, manners: Manners, parts: Parts, emit: Emit
) -> ChatCore:
    """Put the core together."""
    records, history = towers.records, towers.history
    conversations, policies = parts.conversations, parts.policies
    turns = _make_turns(settings, towers, manners, parts, emit)
    comparisons = Comparisons(records.votes)
    context_messages = settings.chat.history_messages + 1
    presses = Presses(
        turns=turns,
        conversations=conversations,
        history=history,
        answers=records.answers,
        policies=policies,
        comparisons=comparisons,
        context_messages=context_messages,
    )
    changes = Changes(
        conversations=conversations,
        history=history,
        answers=records.answers,
        context_messages=context_messages,
        is_paused=parts.privacy.is_paused,
        on_left=partial(_forget_guild, policies, records),
    )
    return ChatCore(
        turns=turns,
        presses=presses,
        changes=changes,
        conversations=conversations,
        history=history,
        policies=policies,
        commands=_make_commands(settings, towers, manners, parts),
        comparisons=comparisons,
        list_models=towers.routed.list_models,
        context_messages=context_messages,
        offered_models=options.fallbacks(towers.failover),
    )


async def _make_first_parts(settings: Settings, towers: Towers, manners: Manners) -> Parts:
    sights, estimator, caches = Sights(), TokenEstimator(), WeakSet((towers.responses,))
    forget_copies = partial(_forget_copies, caches, sights)
    conversations = Conversations(
        towers.history,
        history_messages=settings.chat.history_messages,
        answers=towers.records.answers,
        on_forget=forget_copies,
        patience=manners.patience,
    )
    # Where no secret can be kept, today's accounts last as long as the process.
    account_key = user_salt(settings.data.directory) or secrets.token_bytes()
    return Parts(
        conversations,
        await _read_policies(settings, towers, manners),
        await _read_privacy(settings, towers, conversations, account_key, forget_copies),
        _make_budgets(settings, towers, estimator, account_key),
        estimator,
        sights,
        account_key,
        caches,
        LoopGuard(),
        Refusals(),
    )


def _forget_copies(caches: WeakSet[CachedResponses], sights: Sights) -> None:
    # Of all settings: what goes by those of before may still answer somebody.
    for responses in caches:
        responses.clear()
    sights.clear()


def _make_turns(
    settings: Settings, towers: Towers, manners: Manners, parts: Parts, emit: Emit
) -> TurnTaker:
    asker = Asker(
        model=towers.model,
        prompts=options.make_prompts(settings, parts.estimator),
        budgets=parts.budgets,
        host_of=towers.host_of,
        local_models=options.local_models(towers.routed, towers.failover),
        last_resort=towers.failover.last_resort,
        materials=MaterialReader(manners.files, max_files=settings.files.max_files),
        sights=parts.sights,
        is_paused=parts.privacy.is_paused,
        emit=emit,
    )
    return TurnTaker(
        asker=asker,
        conversations=parts.conversations,
        personas=towers.personas,
        policies=parts.policies,
        keeper=Keeper(answers=towers.records.answers, tell=manners.tell),
        is_paused=parts.privacy.is_paused,
        loops=parts.loops,
        refusals=parts.refusals,
        tell=manners.tell,
        emit=emit,
        pseudonym=partial(pseudonym, user_salt(settings.data.directory)),
    )


def _make_commands(settings: Settings, towers: Towers, manners: Manners, parts: Parts) -> Commands:
    async def budget_lines(command: IncomingCommand) -> str:
        policy = parts.policies.of(command.place, command.roles)
        return await parts.budgets.describe(policy, command.place, command.author)

    routed, history, personas = towers.routed, towers.history, towers.personas
    return Commands(
        history=history,
        conversations=parts.conversations,
        personas=personas,
        policies=parts.policies,
        privacy=parts.privacy,
        model=routed,
        list_models=routed.list_models,
        examine=partial(examine_open_bot, settings, routed, history, personas),
        figures=Figures(
            towers.get_cache_stats, towers.get_performance_stats, budget_lines, manners.lately
        ),
        also=manners.commands,
        tell=manners.tell,
    )


async def _read_policies(settings: Settings, towers: Towers, manners: Manners) -> Policies:
    policies = Policies(
        towers.records.preferences,
        options.default_policy(settings, manners.rules),
        personas=partial(_personas, towers.personas),
        knows_model=partial(_known_model, towers.routed),
    )
    await policies.load()
    return policies


async def _read_privacy(
    settings: Settings,
    towers: Towers,
    conversations: Conversations,
    account_key: bytes,
    forget_copies: Callable[[], None],
) -> Privacy:
    records = towers.records
    privacy = Privacy(
        options.facts(settings, towers.routed, towers.failover),
        history=towers.history,
        answers=records.answers,
        consents=records.consents,
        ledger=records.ledger,
        votes=records.votes,
        withdrawing=conversations.withdrawing,
        account_key=account_key,
        on_forget=forget_copies,
    )
    await privacy.load()
    return privacy


def _make_budgets(
    settings: Settings, towers: Towers, estimator: TokenEstimator, account_key: bytes
) -> Budgets:
    return Budgets(
        towers.records.ledger,
        estimator,
        towers.host_of,
        account_key=account_key,
        fallbacks=options.fallbacks(towers.failover),
        assumed_dollars_per_million=options.assumed_price(settings),
    )


async def _forget_guild(policies: Policies, records: SQLiteRecords, guild: str) -> None:
    await policies.forget_guild(guild)
    await records.votes.forget_guild(guild)
    # Today's sums stay: else whoever manages a server could renew its budget by inviting us anew.
    await records.ledger.forget(f"guild:{guild}", datetime.now(UTC).date())


def _personas(library: PersonaLibrary) -> list[tuple[str, str]]:
    """List the personas that can be chosen, with their names."""
    found = []
    for slug in library.names():
        with suppress(ConfigurationError):  # whoever chooses wants one that works
            found.append((slug, library.load(slug).name))
    return found


def _known_model(routed: RoutedModel, name: str) -> str:
    """Return a model's whole name, if there is a provider for it. Raises `NotFound`."""
    provider, _, model = name.strip().partition("/")
    if provider in routed.names and model:
        return f"{provider}/{model}"
    msg = f"There is no model named {name[:80]!r}."
    known = ", ".join(f"{it}/…" for it in routed.names)
    raise NotFound(msg, remedy=f"Write provider/model; there are: {known}.")
