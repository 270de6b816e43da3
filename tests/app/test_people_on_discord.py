"""The whole bot on a simulated Discord: what owners and members do, and what they see."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import discord
import pytest
import simcord
from msgspec import structs
from simcord.results import InteractionResult
from tests.fakes.discord.interactions import Interaction
from tests.fakes.discord.server import FakeDiscord
from tests.fakes.interacting import slash_data
from tests.fakes.recording_target import RecordingTarget
from tests.fakes.served import click, served
from tests.fakes.talk import heard

from acore_bot.app.serving import discord_manners, open_discord
from acore_bot.app.towers import App, open_app
from acore_bot.config import Settings, load
from acore_bot.frontends.discord import Discord
from acore_bot.messages import Place
from acore_bot.providers.scripted import Scripted

MANAGER = discord.Permissions(manage_guild=True)
COMMAND = 2
CLOUDS = """
[failover]
models = ["openai/gpt-x", "router/some/model", "lan/llama"]
embedded = false
[providers.openai]
api_key = "sk-none"
[providers.router]
kind = "openrouter"
api_key = "sk-none"
[providers.lan]
kind = "ollama"
base_url = "http://192.0.2.7:11434"
"""


def settings_of(folder: Path, more: str = "", model: str = "demo/script") -> Settings:
    """Settings with a scripted provider."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "acore.toml"
    file.write_text(
        f'[data]\ndirectory = "{folder}"\n[chat]\nmodel = "{model}"\n'
        f'[discord]\ntoken = "none"\ngather_seconds = 0\n[providers.demo]\nkind = "scripted"\n'
        f'[providers.embedded]\nkind = "scripted"\n{more}'
    )
    return load(file, environ={})


class Town:
    """A bot that serves on a simulated Discord, a guild with it, and people."""

    def __init__(self, settings: Settings, bot: App, env: simcord.Env, frontend: Discord) -> None:
        self.settings, self.bot, self.env = settings, bot, env
        self.frontend = frontend
        self.guild = env.create_guild()
        self.talk = self.guild.create_text_channel("talk")
        self.ada = self.guild.add_member(env.create_user("Ada"))
        self.ben = self.guild.add_member(env.create_user("Ben"))
        manager = self.guild.create_role("managers", permissions=MANAGER)
        self.olga = self.guild.add_member(env.create_user("Olga"), roles=[manager])

    @property
    def model(self) -> Scripted:
        """Who answers."""
        model = self.bot.routed.provider("demo")
        return model._model  # type: ignore[attr-defined, no-any-return]

    def will_say(self, *answers: Any) -> None:  # noqa: ANN401
        """Give the model a new script."""
        self.model._answers.clear()
        self.model._answers.extend(answers)

    async def restart(self) -> None:
        """Let another process of the bot take the place of this one."""
        self.frontend = _serving(self.settings, self.bot)
        await self.env.restart_bot(self.frontend.client)


def _serving(settings: Settings, bot: App) -> Discord:
    frontend = open_discord(settings, bot)
    assert isinstance(frontend, Discord)
    frontend.attach(bot.core)
    return frontend


@asynccontextmanager
async def town_with(settings: Settings) -> AsyncIterator[Town]:
    """Open a bot, and let it serve on a simulated Discord."""
    async with open_app(settings, manners=discord_manners(settings)) as bot:
        frontend = _serving(settings, bot)
        async with simcord.run(frontend.client, shard_count=1) as env:
            yield Town(settings, bot, env, frontend)


def labels(message: Any) -> list[str]:  # noqa: ANN401  # of a response or of the channel
    """Name the buttons under a message."""
    rows = [it if isinstance(it, dict) else it.to_dict() for it in message.components]
    return [button["label"] for row in rows for button in row["components"]]


async def answer_to(town: Town, text: str = "Hello?") -> discord.Message:
    """Let Ada mention the bot, and return its answer."""
    assert town.env.bot.user
    await town.ada.send(town.talk, f"<@{town.env.bot.user.id}> {text}")
    return await newest(town)


async def newest(town: Town) -> discord.Message:
    """Return the newest message in the channel."""
    channel = town.env.bot.get_channel(town.talk.id)
    assert isinstance(channel, discord.TextChannel)
    return await anext(channel.history(limit=1))


def told(result: InteractionResult) -> str:
    """Return what one person alone was told."""
    shown = [*([result.response] if result.response else []), *result.followups]
    private = [one.content for one in shown if one.ephemeral]
    return "\n".join(private)


async def test_ten_people_ask_the_same_and_one_stream_serves_them(tmp_path: Path) -> None:
    """In ten channels at once: one upstream stream, ten answers that grow, each marked as shared in
    its receipt, which only its asker sees."""
    settings, gate = settings_of(tmp_path), asyncio.Event()
    async with FakeDiscord() as fake, open_app(settings, manners=discord_manners(settings)) as bot:
        scripted: Scripted = bot.routed.provider("demo")._model  # type: ignore[attr-defined]
        scripted._answers.append(["Because ", gate, "it is."])
        guild = fake.add_guild("home")
        people = [fake.add_user(f"person{n}") for n in range(10)]
        rooms = [guild.add_text_channel(f"room-{n}") for n in range(10)]
        async with served(fake, bot.core):
            asked = [
                await fake.interact(who, room, slash_data("ask", question="Why?"), kind=COMMAND)
                for who, room in zip(people, rooms, strict=True)
            ]
            await fake.until(lambda: all("Because" in str(one.texts) for one in asked))
            gate.set()
            await fake.until(lambda: all(one.texts == ["Because it is."] for one in asked))
            assert len(scripted.requests) == 1
            for who, one in zip(people, asked, strict=True):
                assert one.original is not None
                await _until_recorded(bot, one.original.id)
                pressed = await click(fake, who, one.original, "acore:details", channel=one.channel)
                await fake.until(partial(_is_told, pressed))
                assert "**Shared**" in pressed.whispers[0]


def _is_told(pressed: Interaction) -> bool:
    return bool(pressed.whispers)


async def _until_recorded(bot: App, message_id: int) -> None:
    async with asyncio.timeout(10):
        while await bot.records.answers.find(message_id) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_all_buttons_work_after_a_restart_for_those_who_may(tmp_path: Path) -> None:
    """Another process obeys buttons that the first one showed: for the asker and for moderators,
    and not for others."""
    async with town_with(settings_of(tmp_path)) as town:
        town.will_say(["Half an ", _cut()])
        answer = await answer_to(town)
        assert labels(answer) == ["Regenerate", "Continue", "Details"]
        await town.restart()
        assert "Only the person who asked" in told(await town.ben.click(answer, label="Details"))
        assert "Only the person who asked" in told(await town.ben.click(answer, label="Regenerate"))
        assert "**Model** demo/script" in told(await town.ada.click(answer, label="Details"))
        assert "**Model** demo/script" in told(await town.olga.click(answer, label="Details"))
        town.will_say("the rest.")
        await town.ada.click(answer, label="Continue")
        assert (await newest(town)).content == "the rest."
        town.will_say("A whole answer.")
        await town.olga.click(answer, label="Regenerate")
        channel = town.env.bot.get_channel(town.talk.id)
        assert isinstance(channel, discord.TextChannel)
        again = await channel.fetch_message(answer.id)
        assert (again.content, labels(again)) == ("A whole answer.", ["Regenerate", "Details"])


def _cut() -> object:
    from acore_bot.providers.scripted import CUT

    return CUT


async def test_stop_works_while_the_answer_grows(tmp_path: Path) -> None:
    """The button is there from the first words on; it obeys the asker, and nobody else."""
    settings = settings_of(tmp_path)
    async with FakeDiscord() as fake, open_app(settings, manners=discord_manners(settings)) as bot:
        scripted: Scripted = bot.routed.provider("demo")._model  # type: ignore[attr-defined]
        scripted._answers.append(["One two ", asyncio.Event()])
        ada, ben = fake.add_user("Ada"), fake.add_user("Ben")
        talk = fake.add_guild("home").add_text_channel("talk")
        async with served(fake, bot.core):
            await fake.say(ada, talk, "Count!", mentions=[fake.bot_user])
            await fake.until(lambda: "One two" in str(fake.answers(talk)))
            answer = fake.messages_of_bot()[-1]
            refused = await click(fake, ben, answer, "acore:stop")
            await fake.until(lambda: refused.whispers)
            assert "Only the person who asked" in refused.whispers[0]
            await click(fake, ada, answer, "acore:stop")
            await fake.until(lambda: fake.answers(talk) == ["One two\n\n*[stopped]*"])


async def test_what_members_choose_outlives_a_restart(tmp_path: Path) -> None:
    """A persona that was chosen for a channel speaks there after the process began anew."""
    for expected in ("", "Tutor"):
        async with town_with(settings_of(tmp_path)) as town:
            policy = town.bot.core.policies.of(Place("", "5"))
            assert (policy.persona == "tutor") is bool(expected)
            await town.bot.core.policies.choose(Place("", "5"), "persona", "tutor")


async def test_owners_decide_from_inside(tmp_path: Path) -> None:
    """Who manages the server may change persona and reset; members are refused in a sentence."""
    async with town_with(settings_of(tmp_path)) as town:
        refused = await town.ada.slash(town.talk, "persona set", name="tutor")
        assert refused.response is not None
        assert "manage this server" in refused.response.content
        done = await town.olga.slash(town.talk, "persona set", name="tutor")
        assert done.response is not None
        assert done.response.content == "Tutor answers from now on."
        await answer_to(town)
        assert "tutor" in town.model.requests[-1].messages[0].text.lower()
        panel = await town.olga.slash(town.talk, "settings show")
        assert panel.response is not None
        assert panel.response.ephemeral


@pytest.mark.parametrize("name", ["help", "stats", "persona list", "model list", "privacy show"])
async def test_commands_of_everyone_answer_privately(tmp_path: Path, name: str) -> None:
    """Each answers in words, to the one who asked alone, and without a path of the machine."""
    async with town_with(settings_of(tmp_path)) as town:
        used = await town.ada.slash(town.talk, name)
        assert used.response is not None
        assert used.response.ephemeral
        assert len(used.response.content) > 20
        assert str(town.settings.data.directory) not in used.response.content


async def test_doctor_tells_no_path(tmp_path: Path) -> None:
    """Those who manage a server learn how the bot is, and nothing of its machine."""
    async with town_with(settings_of(tmp_path)) as town:
        used = await town.olga.slash(town.talk, "doctor")
        assert used.response is not None
        assert "demo/script answers" in used.response.content
        assert (
            "/" + str(town.settings.data.directory).split("/")[1] + "/" not in used.response.content
        )


BROKEN = """
[providers.gone]
kind = "embedded"
model_file = "{folder}/no-such-file.gguf"
[providers.lan]
kind = "ollama"
base_url = "http://127.0.0.1:9"
"""


async def test_doctor_tells_no_path_of_what_is_broken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a persona file, a model file and a server that fail, they learn that it is so, and that it
    is the owner's matter; what the owner can do about it stands in the log."""
    mine = tmp_path / "mine.md"
    mine.write_text("You are mine.")
    settings = settings_of(tmp_path, BROKEN.format(folder=tmp_path), model="gone/model")
    own = {"persona": "mine", "personas_directory": tmp_path}
    settings = settings.model_copy(update={"chat": settings.chat.model_copy(update=own)})
    async with town_with(settings) as town:
        mine.write_bytes(b"+++\n\xff")
        used = await town.olga.slash(town.talk, "doctor")
        assert used.response is not None
        told = used.response.content
    assert "✗ **persona**: Something is wrong in my settings; my owner's log says what." in told
    assert "✗ **model**: Something is wrong in my settings; my owner's log says what." in told
    assert "! **lan**: lan cannot be reached." in told
    for private in ("/" + tmp_path.parts[1], "api_key", "API_KEY", "acore --", "127.0.0.1", "mine"):
        assert private not in told
    assert "no-such-file.gguf" in caplog.text
    assert "mine.md" in caplog.text


async def test_people_export_and_forget_themselves(tmp_path: Path) -> None:
    """An export is a private file with all of one's own; after forgetting there is nothing left, no
    id either, though somebody else quoted them, and they had a budget and a conversation alone."""
    more = "[budgets]\nperson_tokens = 100000\n"
    settings = settings_of(tmp_path, more)
    reads_along = settings.discord.model_copy(update={"message_content": True})
    async with town_with(settings.model_copy(update={"discord": reads_along})) as town:
        await town.bot.core.turn_knob(
            str(town.guild.id), "channel", str(town.talk.id), "memory", "person"
        )
        town.will_say("So it is.")
        aside = await town.ada.send(town.talk, "canary of Ada, to people")
        assert town.env.bot.user
        mention = f"<@{town.env.bot.user.id}>"
        await town.ben.send(town.talk, f"{mention} What is this?", reply_to=aside)
        assert "canary of Ada, to people" in town.model.requests[-1].messages[-1].text
        await answer_to(town, "canary of Ada")
        exported = await town.ada.slash(town.talk, "privacy export")
        shown = [*([exported.response] if exported.response else []), *exported.followups]
        files = [file for one in shown for file in one.attachments]
        assert all(one.ephemeral for one in shown)
        assert len(files) == 1
        assert b"canary of Ada" in await files[0].read()
        assert "Forgotten" in told(await town.ada.slash(town.talk, "privacy forget"))
        data = town.settings.data.directory
        left = b"".join(f.read_bytes() for f in data.rglob("*") if f.is_file())
        assert b"canary of Ada" not in left
        assert str(town.ada.id).encode() not in left
        assert str(town.ben.id).encode() in left


LIMITED = "[budgets]\nperson_tokens = 100000\nguild_tokens = 900000\n"


@pytest.mark.parametrize("can_keep_a_secret", [True, False])
async def test_s17_neither_forgetting_nor_a_new_invitation_renews_a_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_keep_a_secret: bool
) -> None:
    """What was used today counts on after a person had themselves forgotten, and after the bot was
    sent away, also where the key of the accounts lasts only as long as the process."""
    if not can_keep_a_secret:
        monkeypatch.setattr("acore_bot.app.assembly.user_salt", lambda _: b"")
    async with town_with(settings_of(tmp_path, LIMITED)) as town:
        await answer_to(town)
        before = await _stats(town)
        assert "used 0 of 100,000" not in before
        assert "used 0 of 900,000" not in before
        forgotten = told(await town.ada.slash(town.talk, "privacy forget"))
        assert "What you used today stays" in forgotten
        await town.bot.core.left(Place(str(town.guild.id)))
        assert await _stats(town) == before


async def _stats(town: Town) -> str:
    """Return what Ada is told that was used."""
    used = await town.ada.slash(town.talk, "stats")
    assert used.response is not None
    return "\n".join(line for line in used.response.content.splitlines() if " used " in line)


async def test_two_models_are_compared_blindly(tmp_path: Path) -> None:
    """Two answers without names, a vote, and then who was who; the table counts it."""
    more = '[providers.other]\nkind = "scripted"\nanswers = ["Other."]\n'
    async with town_with(settings_of(tmp_path, more)) as town:
        town.will_say("Mine.")
        used = await town.olga.slash(
            town.talk,
            "compare models",
            question="Which?",
            first="demo/script",
            second="other/script",
        )
        assert used.acknowledged
        said = [
            message.content
            for thread in _places(town)
            for message in [one async for one in thread.history(limit=10)]
        ]
        assert any("Mine." in text for text in said)
        assert any("Other." in text for text in said)
        assert not any("demo/script" in text for text in said)
        (vote,) = [
            one
            for thread in _places(town)
            for one in [it async for it in thread.history(limit=10)]
            if one.components
        ]
        assert labels(vote) == ["A is better", "B is better", "Tie"]
        assert "demo/script" in told(await town.ben.click(vote, label="Tie"))
        results = await town.ben.slash(town.talk, "compare results")
        assert "other/script" in told(results)


def _places(town: Town) -> list[Any]:
    guild = town.env.bot.get_guild(town.guild.id)
    assert guild is not None
    return [*guild.text_channels, *guild.threads]


async def test_leaving_a_server_forgets_it(tmp_path: Path) -> None:
    """What was said there is gone at once."""
    async with town_with(settings_of(tmp_path)) as town:
        await answer_to(town, "canary")
        assert await town.bot.history.conversations()
        await town.bot.core.left(Place(str(town.guild.id)))
        assert await town.bot.history.conversations() == ()


@pytest.fixture
def reached() -> Iterator[list[str]]:
    """Hosts that anything tried to reach, other than this machine."""
    outside: list[str] = []
    connect, resolve = socket.socket.connect, socket.getaddrinfo

    def guarded(self: socket.socket, address: Any) -> None:  # noqa: ANN401
        if self.family in {socket.AF_INET, socket.AF_INET6} and not _is_here(address[0]):
            outside.append(address[0])
            raise ConnectionRefusedError(address[0])
        connect(self, address)

    def found(host: Any, *rest: Any, **more: Any) -> Any:  # noqa: ANN401
        if host and not _is_here(host if isinstance(host, str) else host.decode()):
            outside.append(str(host))
            raise socket.gaierror(host)
        return resolve(host, *rest, **more)

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", guarded)
    patch.setattr(socket, "getaddrinfo", found)
    yield outside
    patch.undo()


def _is_here(host: str) -> bool:
    return host.startswith("127.") or host in {"::1", "localhost"}


@pytest.mark.parametrize("is_kept", [True, False])
async def test_a_local_only_channel_reaches_no_cloud(
    tmp_path: Path, is_kept: bool, reached: list[str]
) -> None:
    """With every kind of cloud configured, 1,000 random requests in a channel that is kept from
    clouds connect to nothing but this machine; without that, they would have left it."""
    settings = settings_of(tmp_path, CLOUDS, model="openai/gpt-x")
    chance = random.Random(5)
    models = ["openai/gpt-x", "router/some/model", "lan/llama", "demo/script"]
    kinds = ["message", "ask", "model", "summary", "suggest"]
    async with open_app(settings, manners=discord_manners(settings)) as bot:
        core = bot.core
        if is_kept:
            await core.turn_knob("9", "channel", "91", "local_only", "yes")
        for number in range(1_000 if is_kept else 20):
            await core.turn_knob("9", "channel", "91", "model", chance.choice(models))
            await _use(bot, chance.choice(kinds), number)
    assert bool(reached) is not is_kept


async def _use(bot: App, kind: str, number: int) -> None:
    place, target = Place("9", "91"), RecordingTarget(first_id=10_000 * (number + 1))
    message = heard(10_000 * (number + 1) - 1, f"Question {number}?", conversation="discord:91")
    message = structs.replace(message, is_private=False, mentions_bot=True, place=place)
    match kind:
        case "message":
            await bot.core(message, target)
        case "ask":
            await bot.core(structs.replace(message, is_stateless=True, is_asked=True), target)
        case "suggest":
            await bot.core.suggest("model", "", place)
        case _:
            await bot.core(_command(kind, place), target)


def _command(name: str, place: Place) -> Any:  # noqa: ANN401
    from acore_bot.messages import IncomingCommand

    return IncomingCommand(
        conversation="discord:91", author=heard(1).author, name=name, place=place, may_manage=True
    )
