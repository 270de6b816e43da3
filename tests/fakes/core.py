"""The core put together as the application does it, over a real history, real records and a
scripted model, with all that can be seen of it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes.clock import SettableClock
from tests.fakes.recording_target import RecordingTarget
from tests.fakes.talk import NOON

import acore_bot
from acore_bot.chat.asking import Asker
from acore_bot.chat.budgets import Budgets
from acore_bot.chat.changes import Changes
from acore_bot.chat.commands import Commands, Figures
from acore_bot.chat.compare import Comparisons
from acore_bot.chat.conversation import Conversations
from acore_bot.chat.core import ChatCore
from acore_bot.chat.keeping import Keeper
from acore_bot.chat.material import MaterialReader
from acore_bot.chat.persona import PersonaLibrary
from acore_bot.chat.policy import Policies, Policy
from acore_bot.chat.presses import Presses
from acore_bot.chat.privacy import Facts, Privacy
from acore_bot.chat.prompt import PromptBuilder, PromptOptions
from acore_bot.chat.tokens import TokenEstimator
from acore_bot.chat.turn import TurnTaker
from acore_bot.contracts import ChatModel, History
from acore_bot.history.sqlite import SQLiteHistory
from acore_bot.messages import Finding, Host, IncomingCommand, IncomingMessage
from acore_bot.providers.scripted import Answer, Scripted
from acore_bot.records.sqlite import SQLiteRecords
from acore_bot.telemetry.events import Event

SHIPPED = Path(acore_bot.__file__).parent / "personas"
MODEL = "scripted/script"
ACCOUNT_KEY = b"a secret of these tests"
HERE = Host("this machine", is_local=True)


@dataclass
class CoreAtHand:
    """A core, and what it is made of. `around` is the model as the core has it, if that is another
    than the scripted one; `clouds` are the providers that are not local."""

    history: SQLiteHistory
    records: SQLiteRecords
    policy: Policy = field(default_factory=lambda: Policy(persona="acore", model=MODEL))
    model: Scripted = field(default_factory=Scripted)
    around: ChatModel | None = None
    target: RecordingTarget = field(default_factory=RecordingTarget)
    events: list[Event] = field(default_factory=list)
    clock: SettableClock = field(default_factory=SettableClock)
    materials: MaterialReader = field(default_factory=MaterialReader)
    prompt_options: PromptOptions = field(default_factory=PromptOptions)
    clouds: Sequence[str] = ()
    local_models: Sequence[str] = ()
    last_resort: str | None = None
    past: History | None = None

    def __post_init__(self) -> None:
        """Put the core together."""
        history = self.past or self.history
        records, estimator = self.records, TokenEstimator()
        personas = PersonaLibrary([SHIPPED])
        self.conversations = Conversations(history, history_messages=200, answers=records.answers)
        self.policies = Policies(
            records.preferences,
            self.policy,
            personas=lambda: [(name, name.title()) for name in personas.names()],
            knows_model=str,
        )
        self.privacy = Privacy(
            Facts(host_of=self.host_of),
            history=history,
            answers=records.answers,
            consents=records.consents,
            ledger=records.ledger,
            votes=records.votes,
            withdrawing=self.conversations.withdrawing,
            account_key=ACCOUNT_KEY,
        )
        self.budgets = Budgets(records.ledger, estimator, self.host_of, account_key=ACCOUNT_KEY)
        self.turns = TurnTaker(
            asker=Asker(
                model=self.around or self.model,
                prompts=PromptBuilder(self.prompt_options, estimator),
                budgets=self.budgets,
                host_of=self.host_of,
                local_models=self.local_models,
                last_resort=self.last_resort,
                materials=self.materials,
                is_paused=self.privacy.is_paused,
                emit=self.events.append,
                clock=self.clock,
            ),
            conversations=self.conversations,
            personas=personas,
            policies=self.policies,
            keeper=Keeper(answers=records.answers, now=lambda: NOON),
            is_paused=self.privacy.is_paused,
            emit=self.events.append,
            clock=self.clock,
        )
        self.commands = Commands(
            history=history,
            conversations=self.conversations,
            personas=personas,
            policies=self.policies,
            privacy=self.privacy,
            model=self.model,
            list_models=self.list_models,
            examine=self.examine,
            figures=Figures(dict, dict, self.budget_lines),
        )
        self.left: list[str] = []
        comparisons = Comparisons(records.votes)
        presses = Presses(
            turns=self.turns,
            conversations=self.conversations,
            history=history,
            answers=records.answers,
            policies=self.policies,
            comparisons=comparisons,
            context_messages=201,
            now=lambda: NOON,
        )
        changes = Changes(
            conversations=self.conversations,
            history=history,
            answers=records.answers,
            context_messages=201,
            is_paused=self.privacy.is_paused,
            on_left=self.note_left,
        )
        self.core = ChatCore(
            turns=self.turns,
            presses=presses,
            changes=changes,
            conversations=self.conversations,
            history=history,
            policies=self.policies,
            commands=self.commands,
            comparisons=comparisons,
            list_models=self.list_models,
            context_messages=201,
            now=lambda: NOON,
        )

    def host_of(self, model: str) -> Host:
        """Tell where a model computes."""
        provider = model.partition("/")[0]
        return Host(f"{provider}.example", is_local=False) if provider in self.clouds else HERE

    async def list_models(self, *, local_only: bool = False) -> dict[str, tuple[str, ...]]:
        """Name what the one provider has."""
        return {"scripted": await self.model.list_models()} if not local_only else {}

    async def examine(self) -> Sequence[Finding]:
        """Find nothing wrong."""
        return (Finding("data", "ok", "all there"),)

    async def budget_lines(self, command: IncomingCommand) -> str:
        """Say what somebody used."""
        policy = self.policies.of(command.place, command.roles)
        return await self.budgets.describe(policy, command.place, command.author)

    async def note_left(self, guild: str) -> None:
        """Keep which guild is gone."""
        self.left.append(guild)

    async def asked(self) -> None:
        """Wait until the model is asked something."""
        async with asyncio.timeout(10):
            while not self.model.requests:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0)

    def will_say(self, *answers: Answer) -> None:
        """Give the model a new script, and keep what it was asked before."""
        self.model._answers.clear()
        self.model._answers.extend(answers)

    async def hear(self, incoming: IncomingMessage | IncomingCommand) -> None:
        """Let the core do all that one message calls for."""
        await self.core(incoming, self.target)

    async def stored(self, conversation: str = "tea") -> list[tuple[str, str, str | None]]:
        """Role, text and finish reason of what is stored."""
        said = await self.history.recent(conversation, 100)
        return [(message.role, message.text, message.finish_reason) for message in said]

    @property
    def prompts(self) -> list[list[str]]:
        """The texts of each prompt, without the persona."""
        return [[said.text for said in request.messages[1:]] for request in self.model.requests]


@asynccontextmanager
async def open_core(folder: Path, **parts: object) -> AsyncIterator[CoreAtHand]:
    """Open a core in which nothing was said yet; afterwards, nothing goes on."""
    async with (
        SQLiteHistory.open(folder / "history.db") as history,
        SQLiteRecords.open(folder / "records.db") as records,
    ):
        core = CoreAtHand(history, records, **parts)  # type: ignore[arg-type]
        yield core
        assert core.model.open_streams == 0
        assert core.conversations._people._locks == {}
        assert core.conversations._open_answers._finished == {}
        assert asyncio.all_tasks() == {asyncio.current_task()}
