"""The whole bot in a server that did not install it, to which people alone brought it along."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from tests.fakes.discord.interactions import Interaction
from tests.fakes.discord.server import FakeDiscord
from tests.fakes.discord.things import Channel, User
from tests.fakes.interacting import slash_data
from tests.fakes.served import click, served

from acore_bot.app.serving import discord_manners
from acore_bot.app.towers import App, open_app
from acore_bot.config import load
from acore_bot.messages import Place
from acore_bot.providers.scripted import CUT, Answer, Scripted


class Abroad:
    """A bot that serves, a server that it is not in, and two people there."""

    def __init__(self, fake: FakeDiscord, bot: App) -> None:
        self.fake, self.bot = fake, bot
        self.guild = fake.add_guild("away")
        self.talk: Channel = self.guild.add_text_channel("talk")
        self.ada, self.ben = fake.add_user("Ada"), fake.add_user("Ben")
        self.guild.remove_bot()

    @property
    def model(self) -> Scripted:
        """Who answers."""
        return self.bot.routed.provider("demo")._model  # type: ignore[attr-defined, no-any-return]

    def will_say(self, *answers: Answer) -> None:
        """Give the model a new script."""
        self.model._answers.clear()
        self.model._answers.extend(answers)

    async def use(self, who: User, path: str, **filled: str) -> Interaction:
        """Let somebody use a command, and wait for the answer and its record."""
        used = await self.fake.interact(who, self.talk, slash_data(path, **filled))
        await self.fake.until(lambda: used.original and "▌" not in used.original.text)
        assert used.original is not None
        if path == "chat":
            await self.recorded(used.original.id)
        return used

    async def recorded(self, message_id: int) -> None:
        """Wait until an answer's buttons work."""
        async with asyncio.timeout(10):
            while await self.bot.records.answers.find(message_id) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def says(self, *texts: str) -> None:
        """Wait until the bot's messages there are these."""
        await self.fake.until(partial(self._says, list(texts)))

    def _says(self, texts: list[str]) -> bool:
        return self.fake.answers(self.talk) == texts


@asynccontextmanager
async def abroad(folder: Path) -> AsyncIterator[Abroad]:
    """Serve where people bring the bot along."""
    file = folder / "acore.toml"
    file.write_text(
        f'[data]\ndirectory = "{folder}"\n[chat]\nmodel = "demo/script"\n'
        '[providers.demo]\nkind = "scripted"\n[providers.embedded]\nkind = "scripted"\n'
    )
    settings = load(file, environ={})
    async with FakeDiscord() as fake, open_app(settings, manners=discord_manners(settings)) as bot:
        place = Abroad(fake, bot)
        async with served(fake, bot.core):
            yield place


async def test_answers_are_given_anew_and_go_on(tmp_path: Path) -> None:
    """By the click alone: another answer takes the place of the former one, and the rest of one
    that broke off stands below, with buttons that work in their turn."""
    async with abroad(tmp_path) as place:
        place.will_say("First.", "Second.", ["Half ", CUT], "the rest.", "another rest.")
        used = await place.use(place.ada, "chat", message="Hello?")
        assert used.original is not None
        await click(place.fake, place.ada, used.original, "acore:regenerate")
        await place.says("Second.")
        half = (await place.use(place.ada, "chat", message="Go on?")).original
        assert half is not None
        await click(place.fake, place.ada, half, "acore:continue")
        await place.says("Second.", half.text, "the rest.")
        rest = place.fake.messages_of_bot()[-1]
        await place.recorded(rest.id)
        await click(place.fake, place.ada, rest, "acore:regenerate")
        await place.says("Second.", half.text, "another rest.")
    asked = {one.route for one in place.fake.requests if one.path.startswith("/channels/")}
    assert asked == set()


async def test_a_long_answer_stays_and_no_model_is_asked(tmp_path: Path) -> None:
    """Its parts cannot all be replaced by one click, which is said before anything is spent."""
    async with abroad(tmp_path) as place:
        place.will_say("word " * 600)
        await place.use(place.ada, "chat", message="Tell!")
        last = place.fake.messages_of_bot()[-1]
        before = place.fake.answers(place.talk)
        assert len(before) == 2
        pressed = await click(place.fake, place.ada, last, "acore:regenerate")
        await place.fake.until(lambda: pressed.whispers)
        assert place.fake.answers(place.talk) == before
        assert len(place.model.requests) == 1


async def test_everybody_has_a_place_alone(tmp_path: Path) -> None:
    """What somebody says or chooses there is nothing to others, and the server that knows nothing
    of the bot has no part in it: if it is left, nothing is forgotten."""
    async with abroad(tmp_path) as place:
        await place.use(place.ada, "chat", message="canary of Ada")
        await place.use(place.ada, "persona set", name="tutor")
        await place.use(place.ben, "chat", message="Hello?")
        said = [one.text for one in place.model.requests[-1].messages]
        assert "canary of Ada" not in str(said)
        policies = place.bot.core.policies
        assert policies.of(Place("", str(place.ada.id))).persona == "tutor"
        assert policies.of(Place("", str(place.ben.id))) == policies.default
        assert policies.guilds() == ()
        await place.bot.core.left(Place(str(place.guild.id)))
        assert {one.conversation for one in await place.bot.history.conversations()} == {
            f"discord:{place.talk.id}/{who.id}" for who in (place.ada, place.ben)
        }
