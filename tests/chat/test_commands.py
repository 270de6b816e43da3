"""What a person can tell the bot to do, other than answer."""

import json
from collections.abc import AsyncIterator, Mapping
from operator import attrgetter
from pathlib import Path

import pytest
from msgspec import structs
from tests.fakes.clock import SettableClock
from tests.fakes.talk import ADA, BEN, asked, line

import acore_bot
from acore_bot.chat.commands import (
    MAX_COUNTED_MESSAGES,
    MAX_LISTED_MODELS,
    MAX_SUGGESTIONS,
    REMEMBERED_SECONDS,
    Commands,
    Figures,
    Report,
)
from acore_bot.chat.conversation import Conversations
from acore_bot.chat.persona import PersonaLibrary
from acore_bot.chat.policy import Policies, Policy
from acore_bot.chat.privacy import Facts, Privacy
from acore_bot.contracts import PerformanceStats
from acore_bot.errors import CloudForbidden, ConfigurationError, NotAllowed, NotFound
from acore_bot.history.sqlite import SQLiteHistory
from acore_bot.llm.route import RoutedModel
from acore_bot.messages import NOWHERE, Author, Finding, Host, IncomingCommand, Place
from acore_bot.providers.scripted import Scripted
from acore_bot.records.sqlite import SQLiteRecords

SHIPPED = Path(acore_bot.__file__).parent / "personas"
HERE = Place("home", "tea")
POLICY = Policy(persona="acore", model="scripted/script")
LOCAL, CLOUD = Host("this machine", is_local=True), Host("models.invalid", is_local=False)


class ManyModels(Scripted):
    """A scripted provider with more models than fit on a list. `lists` counts how often it was
    asked for them."""

    lists = 0

    async def list_models(self) -> tuple[str, ...]:
        """Name two more than are shown."""
        self.lists += 1
        return tuple(f"model-{number}" for number in range(MAX_LISTED_MODELS + 2))


class House:
    """Commands with all that they need, put together as the app does it."""

    def __init__(self, history: SQLiteHistory, records: SQLiteRecords, personas: Path) -> None:
        self.history = history
        self.records = records
        self.clock = SettableClock()
        self.many = ManyModels()
        self.personas = PersonaLibrary([personas, SHIPPED])
        self.conversations = Conversations(history, history_messages=200)
        self.findings: list[Finding] = []
        self.stats: dict[str, PerformanceStats] = {}
        self.cache_stats: dict[str, Mapping[str, object]] = {}
        providers = {"scripted": Scripted(), "many": self.many, "cloud": Scripted()}
        hosts = {"scripted": LOCAL, "many": LOCAL, "cloud": CLOUD}
        self.model = RoutedModel(tuple(providers), providers.__getitem__, hosts=hosts)
        self.privacy = Privacy(
            Facts(host_of=lambda model: self.model.host(model.partition("/")[0])),
            history=history,
            answers=records.answers,
            consents=records.consents,
            ledger=records.ledger,
            votes=records.votes,
            withdrawing=self.conversations.withdrawing,
            account_key=b"a secret",
        )
        self.policies = self.open_policies()
        self.commands = self.open_commands()

    def open_policies(self, **changes: object) -> Policies:
        """Make policies that differ so from the default."""
        return Policies(
            self.records.preferences,
            structs.replace(POLICY, **changes),
            personas=lambda: [(slug, slug) for slug in self.personas.names()],
            knows_model=str,
        )

    def open_commands(self, *, is_public: bool = False) -> Commands:
        """Make the commands; in public, errors are worded for strangers."""
        return Commands(
            history=self.history,
            conversations=self.conversations,
            personas=self.personas,
            policies=self.policies,
            privacy=self.privacy,
            model=self.model,
            list_models=self.model.list_models,
            examine=self._examine,
            figures=Figures(lambda: self.cache_stats, lambda: self.stats, self._budget_lines),
            also=[("ask", "ask a question")],
            tell=attrgetter("public") if is_public else str,
            clock=self.clock,
        )

    def decide(self, **changes: object) -> None:
        """Let another policy hold everywhere."""
        self.policies = self.open_policies(**changes)
        self.commands = self.open_commands()

    def of(self, place: Place = HERE) -> Policy:
        """Return what holds in a place."""
        return self.policies.of(place)

    async def run(
        self,
        name: str,
        argument: str = "",
        *,
        conversation: str = "tea",
        author: Author = ADA,
        place: Place = HERE,
        roles: tuple[str, ...] = (),
        is_private: bool = False,
        may_manage: bool = True,
    ) -> str:
        """Run a command of which a text comes back."""
        result = await self.commands.run(
            IncomingCommand(
                conversation=conversation,
                author=author,
                name=name,
                argument=argument,
                place=place,
                roles=roles,
                is_private=is_private,
                may_manage=may_manage,
            )
        )
        assert isinstance(result, str)
        return result

    async def _examine(self) -> list[Finding]:
        return self.findings

    async def _budget_lines(self, incoming: IncomingCommand) -> str:
        return f"{incoming.author.name} used nothing."


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """All that commands need, empty, with a folder for personas of one's own."""
    personas = tmp_path / "personas"
    personas.mkdir()
    async with (
        SQLiteHistory.open(tmp_path / "history.db") as history,
        SQLiteRecords.open(tmp_path / "records.db") as records,
    ):
        yield House(history, records, personas)


def test_commands_are_described(house: House) -> None:
    """Each command has one line that says what it does."""
    described = dict(house.commands.described())
    assert list(described) == [
        "reset",
        "persona",
        "model",
        "history",
        "privacy",
        "stats",
        "doctor",
    ]
    assert all(described.values())


async def test_help_lists_what_one_can_do(house: House) -> None:
    """Everyone sees the commands, those of others too, and who has the say sees theirs as well."""
    told = await house.run("help", may_manage=False)
    assert told.splitlines()[0].startswith("Mention me")
    assert "- `/ask`: ask a question" in told
    assert "- `/reset`: forget this conversation and start afresh" in told
    assert "/doctor" not in told
    assert "- `/doctor`: look whether all is well with me" in await house.run("help")


async def test_an_unknown_command_is_named(house: House) -> None:
    """The complaint repeats the name, not more of it than is needed, and says where to look."""
    with pytest.raises(NotFound) as caught:
        await house.run("dance" * 100)
    assert str(caught.value) == f"There is no command /{'dance' * 8}. /help lists them."


async def test_reset_forgets_one_conversation(house: House) -> None:
    """What was said here is gone; what was said elsewhere stays."""
    await house.history.append(line(2))
    assert await house.run("reset", conversation="milk") == (
        "Forgotten: 0 messages. We start afresh."
    )
    assert await house.run("reset") == "Forgotten: 4 messages. We start afresh."
    assert await house.history.recent("tea", 10) == ()


async def test_reset_counts_in_words(house: House) -> None:
    """One message is one message."""
    await house.history.append(line(1)[:1])
    assert await house.run("reset") == "Forgotten: 1 message. We start afresh."


async def test_persona_shows_the_personas(house: House) -> None:
    """Without an argument, all are listed with what they are, and the present one is marked."""
    await house.policies.choose(HERE, "persona", "tutor")
    lines = (await house.run("persona")).splitlines()
    assert lines[0].startswith("- **acore**: A")
    assert lines[2].startswith("- **tutor** (now): A")
    assert lines[-1] == "Change with `/persona NAME`."


async def test_persona_changes_the_persona(house: House) -> None:
    """With a name, that persona answers here from now on."""
    assert await house.run("persona", "tutor") == "Tutor answers from now on."
    assert house.of().persona == "tutor"
    assert house.of(Place("home", "milk")).persona == "acore"


async def test_an_unknown_persona_changes_nothing(house: House) -> None:
    """A name that leads nowhere leaves the persona as it was."""
    with pytest.raises(NotFound):
        await house.run("persona", "../secret")
    assert house.of().persona == "acore"


async def test_model_shows_the_models(house: House) -> None:
    """Without an argument, the present model and those that can be chosen are listed, so many of
    each provider."""
    lines = (await house.run("model")).splitlines()
    assert lines[:3] == ["Now answering: **scripted/script**", "", "- scripted/script"]
    assert lines[3] == "- many/model-0"
    assert lines[-4:-2] == ["- … and 2 more of many", "- cloud/script"]
    assert lines[-2:] == ["", "Change with `/model PROVIDER/MODEL`."]
    assert len(lines) == 3 + MAX_LISTED_MODELS + 4
    assert await house.run("model", "list") == await house.run("model")
    assert await house.run("model", "show") == "Now answering: **scripted/script**"


async def test_model_changes_the_model(house: House) -> None:
    """With a name, that model answers here from now on; its window is told if it is known."""
    told_back = await house.run("model", "many/model-3")
    assert told_back == "many/model-3 answers from now on. It reads 8,192 tokens."
    assert house.of().model == "many/model-3"


@pytest.mark.parametrize("name", ["nowhere/model", "model", "/", "many/"])
async def test_an_unknown_model_changes_nothing(house: House, name: str) -> None:
    """A name that leads nowhere leaves the model as it was."""
    with pytest.raises(ConfigurationError):
        await house.run("model", name)
    assert house.of().model == "scripted/script"


async def test_history_shows_the_last_messages(house: House) -> None:
    """Without an argument, the last ten are shown, oldest first, each with its speaker."""
    await house.history.append(line(8))
    shown = (await house.run("history")).split("\n\n")
    assert len(shown) == 10
    assert shown[0].startswith("**Ada** 2026-")
    assert shown[0].endswith("\nHello?")
    assert shown[-1].startswith("**Acore** 2026-")


async def test_history_shows_as_many_as_told(house: House) -> None:
    """With a number, so many are shown."""
    await house.history.append(line(8))
    assert len((await house.run("history", "3")).split("\n\n")) == 3
    assert len((await house.run("history", "100")).split("\n\n")) == 16


async def test_an_empty_history_is_admitted(house: House) -> None:
    """Where nothing was said, that is said."""
    assert await house.run("history") == "Nothing was said yet."


@pytest.mark.parametrize("argument", ["0", "101", "-1", "ten", "1.5", "²", "9" * 5_000])
async def test_a_number_out_of_bounds_is_explained(house: House, argument: str) -> None:
    """What is no number from 1 to 100 is named as such, shortly."""
    with pytest.raises(NotFound) as caught:
        await house.run("history", argument)
    assert caught.value.sentence == f"{argument[:40]!r} is not a number of messages."
    assert caught.value.remedy == "Use a number from 1 to 100."


async def test_persona_show_tells_of_the_present_one(house: House) -> None:
    """`show` is one line, of who answers now; `list` is the list."""
    assert (await house.run("persona", "show")).startswith("- **acore** (now): A")
    assert await house.run("persona", "list") == await house.run("persona")


async def test_what_was_chosen_outlives_a_restart(house: House) -> None:
    """Persona and model of a place are stored, and hold when the bot comes back."""
    await house.run("persona", "tutor")
    await house.run("model", "many/model-3")
    house.decide()
    assert house.of().persona == "acore"
    await house.policies.load()
    assert (house.of().persona, house.of().model) == ("tutor", "many/model-3")


async def test_a_conversation_without_a_place_is_its_own(house: House) -> None:
    """As at the terminal: what one conversation chooses is not chosen for another."""
    await house.run("persona", "tutor", place=Place())
    assert house.of(Place("", "tea")).persona == "tutor"
    assert house.of(Place("", "milk")).persona == "acore"


CHANGES = [("persona", "tutor"), ("model", "many/model-3"), ("reset", "")]


@pytest.mark.parametrize(("name", "argument"), CHANGES)
async def test_not_everyone_may_change_what_all_share(
    house: House, name: str, argument: str
) -> None:
    """Persona, model and the shared conversation are for those with the say, and for the roles that
    they chose; others are told so."""
    await house.history.append(line(1))
    house.decide(choosers=("7",))
    with pytest.raises(NotAllowed, match="Only those who manage this server"):
        await house.run(name, argument, roles=("8",), may_manage=False)
    assert house.of() == structs.replace(POLICY, choosers=("7",))
    assert len(await house.history.recent("tea", 10)) == 2
    await house.run(name, argument, roles=("8", "7"), may_manage=False)
    await house.run(name, argument)


@pytest.mark.parametrize("argument", ["", "list", "show"])
@pytest.mark.parametrize("name", ["persona", "model"])
async def test_everyone_may_look(house: House, name: str, argument: str) -> None:
    """To see what there is, nobody needs a role."""
    present = {"persona": "**acore**", "model": "**scripted/script**"}
    assert present[name] in await house.run(name, argument, may_manage=False)


async def test_everyone_may_reset_a_conversation_of_their_own(house: House) -> None:
    """Where each person has one, theirs is forgotten, and nobody else's."""
    house.decide(memory="person")
    await house.history.append([asked(1, conversation="tea/17"), asked(2, conversation="tea/18")])
    await house.history.append([asked(3)])
    assert await house.run("reset", may_manage=False) == "Forgotten: 1 message. We start afresh."
    assert await house.history.recent("tea/17", 9) == ()
    assert len(await house.history.recent("tea/18", 9)) == 1
    assert len(await house.history.recent("tea", 9)) == 1


async def test_a_private_conversation_is_ones_own_as_it_is(house: House) -> None:
    """In private there is nobody to share it with, so it has no second name."""
    house.decide(memory="person")
    await house.history.append(line(1))
    assert "Hello?" in await house.run("history", is_private=True)
    assert "2 messages" in await house.run("reset", is_private=True)


async def test_history_shows_ones_own_where_each_has_one(house: House) -> None:
    """Nobody sees what another said to the bot alone."""
    house.decide(memory="person")
    own = asked(2, "Ben's own", author=BEN, conversation="tea/18")
    await house.history.append([asked(1, "Ada's own", conversation="tea/17"), own])
    assert (await house.run("history", may_manage=False)).endswith("Ada's own")
    assert (await house.run("history", author=BEN)).endswith("Ben's own")


async def test_a_broken_persona_tells_strangers_no_path(
    house: House, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The owner at the terminal, and the log, learn which file it is; strangers that one is."""
    (tmp_path / "personas" / "broken.md").write_text("+++\nnothing")
    assert str(tmp_path) in await house.run("persona")
    caplog.clear()
    house.commands = house.open_commands(is_public=True)
    lines = (await house.run("persona")).splitlines()
    (broken,) = [line for line in lines if "broken" in line]
    assert broken == "- **broken**: Something is wrong in my settings; my owner's log says what."
    assert len(lines) == 6
    assert str(tmp_path) in caplog.text


async def test_a_place_without_clouds_takes_no_model_of_one(house: House) -> None:
    """Where nothing may leave, no cloud is listed, suggested, described or chosen."""
    house.decide(is_local_only=True)
    assert "cloud" not in await house.run("model")
    assert await house.commands.suggest("model", "cloud", HERE) == ()
    with pytest.raises(CloudForbidden):
        await house.run("model", "cloud/script")
    assert house.of().model == "scripted/script"
    house.decide()
    assert await house.commands.suggest("model", "cloud", HERE) == ("cloud/script",)


async def test_suggestions_fit_what_was_typed(house: House) -> None:
    """Those that begin so come before those that only hold it, whatever the case; of too many,
    the first."""
    assert await house.commands.suggest("persona", "TO", HERE) == ("storyteller", "tutor")
    assert await house.commands.suggest("persona", "t", HERE) == ("tutor", "storyteller")
    assert await house.commands.suggest("persona", "x", HERE) == ()
    assert await house.commands.suggest("model", "l-3", HERE) == ("many/model-3",)
    assert await house.commands.suggest("reset", "", HERE) == ()
    house.many.list_models = long_list  # type: ignore[method-assign]
    house.clock.advance(REMEMBERED_SECONDS)
    names = await house.commands.suggest("model", "long", HERE)
    assert len(names) == MAX_SUGGESTIONS
    assert max(map(len, names)) == 100


async def long_list() -> tuple[str, ...]:
    """Name many models, one of them with too long a name."""
    return ("long-" + "x" * 91, *("long-" + "x" * 88 + f"{n:02}" for n in range(40)))


async def test_models_are_remembered_for_a_minute(house: House) -> None:
    """While somebody types, servers are asked once; a list that is asked for is fresh."""
    for typed in ("m", "mo", "mod"):
        await house.commands.suggest("model", typed, HERE)
    assert house.many.lists == 1
    await house.run("model")
    assert house.many.lists == 2
    house.clock.advance(REMEMBERED_SECONDS - 1)
    await house.commands.suggest("model", "m", HERE)
    assert house.many.lists == 2
    house.clock.advance(1)
    await house.commands.suggest("model", "m", HERE)
    assert house.many.lists == 3


async def test_privacy_does_what_it_is_told(house: House) -> None:
    """Show, pause, resume and forget answer in words; what they do holds."""
    await house.history.append(line(1))
    shown = await house.run("privacy", may_manage=False)
    assert shown == await house.run("privacy", "show")
    assert "scripted/script" in shown
    await house.run("privacy", "pause", may_manage=False)
    assert house.privacy.is_paused(ADA.id)
    await house.run("privacy", "resume", may_manage=False)
    assert not house.privacy.is_paused(ADA.id)
    assert "2 messages" in await house.run("privacy", "forget", may_manage=False)
    assert await house.history.recent("tea", 10) == ()


async def test_privacy_export_is_a_file(house: House) -> None:
    """It comes as a text to show and a file that goes with it."""
    await house.history.append(line(1))
    report = await house.commands.run(
        IncomingCommand(conversation="tea", author=ADA, name="privacy", argument="export")
    )
    assert isinstance(report, Report)
    assert report.file_name == "my-data.json"
    assert report.text.startswith("Here is all")
    assert json.loads(report.content)["messages"][0]["text"] == "Hello?"


async def test_privacy_knows_no_other_words(house: House) -> None:
    """The complaint says what it could be, and nothing is done."""
    with pytest.raises(NotFound) as caught:
        await house.run("privacy", "destroy" * 100)
    assert caught.value.sentence == f"I do not know what to do about {('destroy' * 100)[:40]!r}."
    assert caught.value.remedy == "It could be: show, export, forget, pause, resume."


async def test_stats_show_everyone_their_own(house: House) -> None:
    """Who answers here, how much of the conversation is remembered, and what one used of the budget
    is for oneself; how the machine does is for who has the say."""
    await house.history.append(line(3))
    told = await house.run("stats", may_manage=False)
    assert told.splitlines() == [
        "Now answering: **scripted/script**, as acore",
        "Remembered of this conversation: 6 messages",
        "Ada used nothing.",
    ]
    assert "Ben used nothing." in await house.run("stats", author=BEN, may_manage=False)
    await house.history.append(line(MAX_COUNTED_MESSAGES // 2, first_id=7))
    told = await house.run("stats", may_manage=False)
    assert "Remembered of this conversation: at least 100 messages" in told
    house.decide(memory="person")
    assert "conversation: 0 messages" in await house.run("stats", may_manage=False)


@pytest.mark.parametrize("name", ["stats", "doctor"])
async def test_a_stranger_in_private_does_not_look_into_the_machine(
    house: House, name: str
) -> None:
    """There everyone has the say over the chat, and over nothing else; at the terminal, whose place
    is the conversation itself or none, one has it over the machine."""
    private = Place(channel="5")
    house.stats = {"secret-server": Scripted().get_performance_stats()}
    house.findings = [Finding("secret-server", "ok", "is there")]
    assert "/doctor" not in await house.run("help", place=private, is_private=True)
    try:
        told = await house.run(name, place=private, is_private=True)
    except NotAllowed as error:
        told = error.public
    assert "secret-server" not in told
    for terminal in (NOWHERE, Place(channel="tea")):
        assert "secret-server" in await house.run(name, place=terminal, is_private=True)
    assert "secret-server" in await house.run(name)


async def test_stats_show_how_the_machine_does(house: House) -> None:
    """A table of each provider and what did not have to be asked, with aligned columns."""
    house.stats = {"scripted": Scripted().get_performance_stats()}
    house.stats["quick"] = {
        **house.stats["scripted"],
        "total_requests": 1234,
        "errors": {"timeout": 2, "busy": 1},
        "first_delta_seconds": {"p50": 0.4142, "p95": None},
        "tokens_per_second": {"p50": 31.5, "p95": None},
    }
    house.cache_stats = {
        "deduplication": {"joined": 3, "saved_percent": 1.5},
        "responses": {"hits": 12, "hit_rate_percent": 25.0},
        "history": {"hits": 100, "hit_rate": 99.9},
    }
    assert (await house.run("stats")).splitlines()[2:] == [
        "Ada used nothing.",
        "```",
        "model server  answers  failed  first word  tokens/s",
        "scripted            0       0           -         -",
        "quick           1,234       3      0.41 s     31.50",
        "",
        "did not have to be asked   times  of all",
        "the same at the same time      3   1.5 %",
        "the same once more            12  25.0 %",
        "what was said before         100  99.9 %",
        "```",
    ]


async def test_doctor_tells_what_was_found(house: House) -> None:
    """Each finding is a line with its mark and what would help; only who has the say is told."""
    house.findings = [
        Finding("data", "ok", "intact"),
        Finding("discord", "note", "no names", "Set some."),
        Finding("model", "fault", "does not answer", "Start it."),
    ]
    with pytest.raises(NotAllowed):
        await house.run("doctor", may_manage=False)
    assert (await house.run("doctor")).splitlines() == [
        "✓ **data**: intact",
        "! **discord**: no names Set some.",
        "✗ **model**: does not answer Start it.",
    ]


async def test_a_persona_says_its_first_words(house: House) -> None:
    """One that has a greeting says it when it is chosen."""
    (folder, *_) = house.personas._folders
    card = {"name": "Cat", "description": "A cat.", "first_mes": "Meow. Who are you?"}
    (folder / "cat.json").write_text(json.dumps(card))
    told = await house.run("persona", "cat")
    assert told == "Cat answers from now on.\n\nMeow. Who are you?"
