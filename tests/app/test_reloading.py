"""Settings are taken over anew while people are answered."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from tests.fakes.recording_target import Edited, Posted, RecordingTarget
from tests.fakes.talk import ADA, heard

from acore_bot import config
from acore_bot.app.assembly import Manners
from acore_bot.app.reloading import Bot, Reloaded, changes, open_bot
from acore_bot.chat.attention import DEFAULT_RULES, Rules
from acore_bot.config import Settings
from acore_bot.errors import AcoreError
from acore_bot.messages import Author, IncomingCommand, Place
from acore_bot.providers.scripted import Scripted
from acore_bot.telemetry.events import ignore

PLACE = Place(guild="g", channel="tea")


class House:
    """A settings file, and the bot that goes by it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "acore.toml"
        self.data = folder / "data"
        self.write("old")

    def write(self, name: str, more: str = "", chat: str = "") -> None:
        """Let a model of this name answer, which says so."""
        self.file.write_text(
            f'[data]\ndirectory = "{self.data}"\n'
            f'[chat]\nmodel = "{name}/script"\n{chat}\n'
            f'[providers.{name}]\nkind = "scripted"\nanswers = ["I am {name}."]\n{more}\n'
        )

    def load(self) -> Settings:
        """Read the settings."""
        return config.load(self.file, environ={})

    @asynccontextmanager
    async def bot(self, rules: Rules = DEFAULT_RULES) -> AsyncIterator[Bot]:
        """Open it."""
        manners = Manners(rules=rules)
        async with open_bot(self.load(), ignore, lambda _: manners, self.load) as opened:
            yield opened


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Build one."""
    return House(tmp_path)


async def answer(bot: Bot, number: int, **more: object) -> str:
    """Ask something and return what was answered."""
    target = RecordingTarget(first_id=number + 1)
    await bot.core(heard(number, **more), target)  # type: ignore[arg-type]  # a test's own values
    return last_of(target)


def last_of(target: RecordingTarget) -> str:
    """Return what stands there in the end."""
    texts = [step.text for step in target.steps if isinstance(step, Posted | Edited)]
    return texts[-1] if texts else ""


def open_files() -> int:
    """Count what this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_what_comes_next_is_answered_by_the_new_settings(house: House) -> None:
    """After a good file was read anew, its model answers, in the conversation as it was."""
    async with house.bot() as bot:
        assert await answer(bot, 1) == "I am old."
        house.write("new")
        told = await bot.reload()
        assert await answer(bot, 3) == "I am new."
        said = [message.text for message in await bot.history.recent("tea", 10)]
    assert said == ["Hello?", "I am old.", "Hello?", "I am new."]
    assert "chat.model" in told.now


async def test_what_is_being_answered_ends_as_it_began(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that is being written is not cut, and its model is closed only after it."""
    go_on, closed = asyncio.Event(), list[str]()

    def opened(_settings: object, name: str, _emit: object) -> Scripted:
        model = Scripted(
            name=name,
            answers=[["I am old,", go_on, " and slow."] if name == "old" else "I am new."],
        )
        monkeypatch.setattr(model, "aclose", partial(close, name))
        return model

    async def close(name: str) -> None:
        closed.append(name)

    monkeypatch.setattr("acore_bot.app.opening.open_provider", opened)
    async with house.bot() as bot:
        target = RecordingTarget(first_id=2)
        turn = asyncio.create_task(bot.core(heard(1), target))
        await target.until_shown("I am old,")
        house.write("new")
        await bot.reload()
        assert await answer(bot, 3, conversation="other") == "I am new."
        assert bot.core.open_answers == 1
        assert "old" not in closed
        go_on.set()
        await turn
        assert last_of(target) == "I am old, and slow."
        await bot.retired()
        assert "old" in closed
        assert "new" not in closed
    assert "new" in closed


@pytest.mark.parametrize(
    "fault",
    [
        "[chat\n",
        '[chat]\nmodel = "nobody/script"\n',
        '[chat]\nmodel = "old/script"\npersona = "nobody"\n[providers.old]\nkind = "scripted"\n',
        '[chat]\nhistory_messages = "many"\n',
        "\x00",
    ],
)
async def test_r23_a_bad_file_changes_nothing(
    house: House, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be used is refused with the sentence that a start would give, and the old
    settings stay in force."""
    async with house.bot() as bot:
        house.file.write_text(fault)
        before = bot.settings
        with pytest.raises(AcoreError):
            await bot.reload()
        await bot.reload_or_say()
        assert bot.settings is before
        assert await answer(bot, 1) == "I am old."
    assert "The settings stay as they are: " in caplog.text


async def test_r23_what_fails_half_way_changes_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault of ours while the new is put together is logged; the old goes on, with the past that
    it told, and the next file is taken."""
    house.write("old", chat="history_messages = 1")
    async with house.bot() as bot:
        before = bot.core.generation
        house.write("new", chat="history_messages = 100")
        with monkeypatch.context() as patch:
            patch.setattr("acore_bot.app.towers.make_core", _fail)
            await bot.reload_or_say()
        assert bot.core.generation is before
        assert before.app.parts.conversations._limit == 2
        assert await answer(bot, 1) == "I am old."
        await bot.reload_or_say()
        assert await answer(bot, 3) == "I am new."
    assert "The settings stay as they are" in caplog.text


def _fail(*_: object) -> None:
    raise RuntimeError("a fault of ours")


async def test_a_call_that_does_not_end_keeps_nobody_from_stopping(house: House) -> None:
    """Calls that did not end when told to are left, of these settings and of those before."""
    with ExitStack() as calls:
        async with house.bot() as bot:
            calls.enter_context(bot.core.generation.used())
            house.write("new")
            await bot.reload()
            calls.enter_context(bot.core.generation.used())


async def test_what_cannot_be_closed_harms_nobody(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A model of before that fails to close is a line in the log."""

    async def fail() -> None:
        raise OSError("it does not close")

    async with house.bot() as bot:
        monkeypatch.setattr(bot.core.generation.app.model, "aclose", fail)
        house.write("new")
        await bot.reload()
        await bot.retired()
        assert await answer(bot, 1) == "I am new."
    assert "could not be closed" in caplog.text


async def test_what_is_forgotten_is_in_no_memory(house: House) -> None:
    """An answer that was remembered under other settings is forgotten too, also while something
    still goes by them."""
    async with house.bot() as bot:
        first = bot.core.generation.app
        with bot.core.generation.used():
            await answer(bot, 1, is_stateless=True)
            assert first.responses.get_cache_stats()["responses"]["size"] == 1
            house.write("new")
            await bot.reload()
            await bot.core.generation.app.parts.conversations.forget("tea")
            assert first.responses.get_cache_stats()["responses"]["size"] == 0


async def test_a_loop_of_bots_does_not_begin_anew(house: House) -> None:
    """A bot that was answered once is not answered again before a person has spoken, whatever
    settings are read meanwhile."""
    robot = Author("robot", "Robot")
    async with house.bot(rules=Rules(bots=True)) as bot:
        assert await answer(bot, 1, author=robot, author_is_bot=True) == "I am old."
        house.write("new")
        await bot.reload()
        assert await answer(bot, 3, author=robot, author_is_bot=True) == ""
        assert await answer(bot, 5) == "I am new."


async def test_what_needs_a_new_start_is_named_and_left(house: House) -> None:
    """Where the data lies does not change under a running bot; it reads what will be different."""
    async with house.bot() as bot:
        house.data = house.folder / "elsewhere"
        house.write("new", '[discord]\ntoken = "secret"\nnames = ["acore"]')
        told = await bot.reload()
        assert await answer(bot, 1) == "I am new."
        assert bot.settings.data.directory == house.folder / "data"
        assert bot.settings.discord.token is None
        assert bot.settings.discord.names == ("acore",)
    assert told.at_next_start == ("data.directory", "discord.token")
    assert str(told).endswith("At the next start: data.directory, discord.token.")
    assert "secret" not in str(told)
    assert not (house.folder / "elsewhere").exists()


async def test_the_same_file_changes_nothing(house: House) -> None:
    """Nothing is opened anew for it."""
    async with house.bot() as bot:
        core = bot.core.generation
        assert str(await bot.reload()) == "Nothing changed in the settings."
        assert bot.core.generation is core


async def test_pauses_and_owners_settings_stay(house: House) -> None:
    """Who paused is still left alone, what an owner chose for a channel still holds, and what is
    set later holds for answers of before as well."""
    both = '[providers.other]\nkind = "scripted"\nanswers = ["I am other."]'
    house.write("old", both)
    async with house.bot() as bot:
        first = bot.core.generation.app
        await bot.core.turn_knob("g", "channel", "tea", "model", "other/script")
        pause = IncomingCommand(
            name="privacy", argument="pause", conversation="x", place=PLACE, author=ADA
        )
        await bot.core(pause, RecordingTarget(first_id=1))
        house.write("new", both)
        await bot.reload()
        second = bot.core.generation.app
        assert second.parts.privacy.is_paused(ADA.id)
        assert second.parts.policies.of(PLACE).model == "other/script"
        assert second.parts.policies.of(Place(channel="x")).model == "new/script"
        await bot.core.turn_knob("g", "channel", "tea", "local_only", "yes")
        assert first.parts.policies.of(PLACE).is_local_only
        assert second.parts.policies.of(PLACE).is_local_only


async def test_a_hundred_reloads_lose_nobody(house: House) -> None:
    """While people talk, the settings change a hundred times: each question is answered once, by
    one of the models, and in the end no task and no file is left open."""
    async with house.bot() as bot:
        await answer(bot, 1)
        gc.collect()
        tasks, files = len(asyncio.all_tasks()), open_files()
        answers: list[str] = []

        async def talk(person: int) -> None:
            for number in range(20):
                told = await answer(bot, 1000 * person + 2 * number, conversation=f"place {person}")
                answers.append(told)

        async def reload() -> None:
            for number in range(100):
                house.write(("old", "new")[number % 2], chat=f"max_tokens = {100 + number}")
                await bot.reload()

        async with asyncio.TaskGroup() as group:
            group.create_task(reload())
            for person in range(1, 11):
                group.create_task(talk(person))
        await bot.retired()
        assert len(answers) == 200
        assert set(answers) <= {"I am old.", "I am new."}
        for person in range(1, 11):
            said = await bot.history.recent(f"place {person}", 100)
            assert len(said) == 40
        gc.collect()
        assert len(asyncio.all_tasks()) == tasks
        assert open_files() <= files


async def test_a_new_length_of_the_past_is_in_force(house: House) -> None:
    """More of the past is told than the bot was opened for, also where it had read less."""
    house.write("old", chat="history_messages = 2")
    async with house.bot() as bot:
        for number in range(1, 17, 4):
            await answer(bot, number)
        house.write("old", chat="history_messages = 100")
        await bot.reload()
        app = bot.core.generation.app
        await answer(bot, 17)
        model: Scripted = app.routed.provider("old")._model  # type: ignore[attr-defined]
        prompt = [message.text for message in model.requests[-1].messages]
    assert sum("I am old." in text for text in prompt) == 4


def test_keys_are_told_and_values_are_not(tmp_path: Path) -> None:
    """Of a key that changed, its name is all that is told."""

    def load(key: str) -> Settings:
        given = {"providers.openai.api_key": key, "data.directory": str(tmp_path)}
        return config.load(overrides=given, environ={})

    told = changes(load("sk-one"), load("sk-two"))
    assert told == Reloaded(now=("providers.openai.api_key",))
    assert "sk-" not in str(told)
