"""What a person can tell the bot to do, other than answer."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.fakes.talk import ADA, line

import acore_bot
from acore_bot.chat.commands import MAX_LISTED_MODELS, Commands
from acore_bot.chat.conversation import Choice, Choices, Conversations
from acore_bot.chat.persona import PersonaLibrary
from acore_bot.errors import ConfigurationError, NotFound
from acore_bot.history.sqlite import SQLiteHistory
from acore_bot.llm.route import RoutedModel
from acore_bot.messages import IncomingCommand
from acore_bot.providers.scripted import Scripted

SHIPPED = Path(acore_bot.__file__).parent / "personas"


class ManyModels(Scripted):
    """A scripted provider with more models than fit on a list."""

    async def list_models(self) -> tuple[str, ...]:
        """Name two more than are shown."""
        return tuple(f"model-{number}" for number in range(MAX_LISTED_MODELS + 2))


@pytest.fixture
async def history(tmp_path: Path) -> AsyncIterator[SQLiteHistory]:
    """A real history, empty."""
    async with SQLiteHistory.open(tmp_path / "history.db") as opened:
        yield opened


@pytest.fixture
def choices() -> Choices:
    """The owner's choice, and nobody else's yet."""
    return Choices(Choice("acore", "scripted/script"))


@pytest.fixture
def commands(history: SQLiteHistory, choices: Choices) -> Commands:
    """The commands of the core over two scripted providers."""
    providers = {"scripted": Scripted(), "many": ManyModels()}
    model = RoutedModel(tuple(providers), providers.__getitem__)
    return Commands(
        history=history,
        conversations=Conversations(history, history_messages=200),
        personas=PersonaLibrary([SHIPPED]),
        choices=choices,
        model=model,
        list_models=model.list_models,
    )


def told(name: str, argument: str = "", conversation: str = "tea") -> IncomingCommand:
    """Make a command as a front end hears it."""
    return IncomingCommand(conversation=conversation, author=ADA, name=name, argument=argument)


def test_commands_are_described(commands: Commands) -> None:
    """Each command has one line that says what it does."""
    described = dict(commands.described())
    assert list(described) == ["reset", "persona", "model", "history"]
    assert all(described.values())


async def test_an_unknown_command_is_named(commands: Commands) -> None:
    """The complaint repeats the name, not more of it than is needed, and says where to look."""
    with pytest.raises(NotFound) as caught:
        await commands.run(told("dance" * 100))
    assert str(caught.value) == f"There is no command /{'dance' * 8}. /help lists them."


async def test_reset_forgets_one_conversation(history: SQLiteHistory, commands: Commands) -> None:
    """What was said here is gone; what was said elsewhere stays."""
    await history.append(line(2))
    assert await commands.run(told("reset", conversation="milk")) == (
        "Forgotten: 0 messages. We start afresh."
    )
    assert await commands.run(told("reset")) == "Forgotten: 4 messages. We start afresh."
    assert await history.recent("tea", 10) == ()


async def test_reset_counts_in_words(history: SQLiteHistory, commands: Commands) -> None:
    """One message is one message."""
    await history.append(line(1)[:1])
    assert await commands.run(told("reset")) == "Forgotten: 1 message. We start afresh."


async def test_persona_shows_the_personas(commands: Commands, choices: Choices) -> None:
    """Without an argument, all are listed with what they are, and the present one is marked."""
    choices.choose("tea", persona="tutor")
    lines = (await commands.run(told("persona"))).splitlines()
    assert lines[0].startswith("- **acore**: A")
    assert lines[2].startswith("- **tutor** (now): A")
    assert lines[-1] == "Change with `/persona NAME`."


async def test_persona_changes_the_persona(commands: Commands, choices: Choices) -> None:
    """With a name, that persona answers here from now on."""
    assert await commands.run(told("persona", "tutor")) == "Tutor answers from now on."
    assert choices.of("tea").persona == "tutor"
    assert choices.of("milk").persona == "acore"


async def test_an_unknown_persona_changes_nothing(commands: Commands, choices: Choices) -> None:
    """A name that leads nowhere leaves the persona as it was."""
    with pytest.raises(NotFound):
        await commands.run(told("persona", "../secret"))
    assert choices.of("tea").persona == "acore"


async def test_model_shows_the_models(commands: Commands) -> None:
    """Without an argument, the present model and those that can be chosen are listed, so many of
    each provider."""
    lines = (await commands.run(told("model"))).splitlines()
    assert lines[:3] == ["Now answering: **scripted/script**", "", "- scripted/script"]
    assert lines[3] == "- many/model-0"
    assert lines[-3:] == ["- … and 2 more of many", "", "Change with `/model PROVIDER/MODEL`."]
    assert len(lines) == 3 + MAX_LISTED_MODELS + 3


async def test_model_changes_the_model(commands: Commands, choices: Choices) -> None:
    """With a name, that model answers here from now on; its window is told if it is known."""
    told_back = await commands.run(told("model", "many/model-3"))
    assert told_back == "many/model-3 answers from now on. It reads 8,192 tokens."
    assert choices.of("tea").model == "many/model-3"


@pytest.mark.parametrize("name", ["nowhere/model", "model", "/", "many/"])
async def test_an_unknown_model_changes_nothing(
    commands: Commands, choices: Choices, name: str
) -> None:
    """A name that leads nowhere leaves the model as it was."""
    with pytest.raises(ConfigurationError):
        await commands.run(told("model", name))
    assert choices.of("tea").model == "scripted/script"


async def test_history_shows_the_last_messages(history: SQLiteHistory, commands: Commands) -> None:
    """Without an argument, the last ten are shown, oldest first, each with its speaker."""
    await history.append(line(8))
    shown = (await commands.run(told("history"))).split("\n\n")
    assert len(shown) == 10
    assert shown[0].startswith("**Ada** 2026-")
    assert shown[0].endswith("\nHello?")
    assert shown[-1].startswith("**Acore** 2026-")


async def test_history_shows_as_many_as_told(history: SQLiteHistory, commands: Commands) -> None:
    """With a number, so many are shown."""
    await history.append(line(8))
    assert len((await commands.run(told("history", "3"))).split("\n\n")) == 3
    assert len((await commands.run(told("history", "100"))).split("\n\n")) == 16


async def test_an_empty_history_is_admitted(commands: Commands) -> None:
    """Where nothing was said, that is said."""
    assert await commands.run(told("history")) == "Nothing was said yet."


@pytest.mark.parametrize("argument", ["0", "101", "-1", "ten", "1.5", "²", "9" * 5_000])
async def test_a_number_out_of_bounds_is_explained(commands: Commands, argument: str) -> None:
    """What is no number from 1 to 100 is named as such, shortly."""
    with pytest.raises(NotFound) as caught:
        await commands.run(told("history", argument))
    assert caught.value.sentence == f"{argument[:40]!r} is not a number of messages."
    assert caught.value.remedy == "Use a number from 1 to 100."
