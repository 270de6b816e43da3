"""What the core hears of what is edited, deleted and left, and what is shown of it."""

import asyncio
from collections.abc import AsyncIterator, Collection

import pytest
from discord.backoff import ExponentialBackoff
from tests.fakes.discord.faults import MISSING_PERMISSIONS
from tests.fakes.discord.payloads import JSON
from tests.fakes.discord.server import FakeDiscord
from tests.fakes.discord.things import Channel, Message, User
from tests.fakes.served import Witness, click, served

from acore_bot.contracts import ReplyTarget
from acore_bot.errors import HistoryError
from acore_bot.frontends.discord.buttons import EDITED
from acore_bot.messages import Control, Place, Press


@pytest.fixture
async def fake() -> AsyncIterator[FakeDiscord]:
    """A fake Discord."""
    async with FakeDiscord() as discord:
        yield discord


@pytest.fixture
def core() -> Witness:
    """Who is told."""
    return Witness()


def town(fake: FakeDiscord) -> tuple[User, Channel]:
    """Add somebody who talks, and a place to do so."""
    return fake.add_user("Ada"), fake.add_guild("home").add_text_channel("talk")


async def asked(fake: FakeDiscord, user: User, channel: Channel) -> tuple[Message, Message]:
    """Let somebody ask; return the question and the answer."""
    before = len(fake.answers(channel))
    question = await fake.say(user, channel, "hello", mentions=[fake.bot_user])
    await fake.until(lambda: len(fake.answers(channel)) > before)
    return question, fake.messages_of_bot()[-1]


def push(fake: FakeDiscord, event: str, body: JSON) -> None:
    """Let Discord tell of something that the fake's people cannot do."""
    for session in fake.gateway.sessions.values():
        session.push(event, body)


# Edits.


async def test_p5_an_edit_is_told_as_it_is_read(fake: FakeDiscord, core: Witness) -> None:
    """The core hears the new text as it hears messages: without the address, with names."""
    ada, talk = town(fake)
    async with served(fake, core):
        question, _ = await asked(fake, ada, talk)
        await fake.edit_message(question, f"{fake.bot_user.mention} good day, <@{ada.id}>")
        await core.until(lambda: core.edits)
    assert core.edits == [(question.id, "good day, @Ada")]


class Tired(Witness):
    """A core that needs longer for a message's first edits than for the later ones."""

    async def edited(self, message_id: int, text: str) -> tuple[int, tuple[Control, ...]] | None:
        """Hesitate."""
        for _ in range(20 - int(text)):
            await asyncio.sleep(0)
        return await super().edited(message_id, text)


async def test_p5_edits_are_noted_in_order(fake: FakeDiscord) -> None:
    """The last text is the last that the core notes, also of a person who edits in haste."""
    core = Tired()
    ada, talk = town(fake)
    async with served(fake, core):
        said = await fake.say(ada, talk, "0")
        for number in range(1, 21):
            await fake.edit_message(said, f"{number}")
        await core.until(lambda: len(core.edits) == 20)
    assert [text for _, text in core.edits] == [f"{number}" for number in range(1, 21)]


async def test_what_is_no_edit_is_not_told(fake: FakeDiscord, core: Witness) -> None:
    """Previews of links, and what the bot and webhooks edit are no words of people."""
    ada, talk = town(fake)
    async with served(fake, core):
        _, answer = await asked(fake, ada, talk)
        said = await fake.say(ada, talk, "http://a.example")
        hook = await fake.say(ada, talk, "a", webhook=True)
        fake.world.tell("MESSAGE_UPDATE", said)  # as Discord tells that it has a preview
        await fake.edit_message(answer, "I changed my mind")
        await fake.edit_message(hook, "b")
        await fake.edit_message(said, "words")
        await core.until(lambda: core.edits)
    assert core.edits == [(said.id, "words")]


async def test_what_may_not_be_read_is_not_taken_for_empty(
    fake: FakeDiscord, core: Witness
) -> None:
    """Without the right to read, an edit without content says nothing; in private, and with that
    right, it says that nothing is left."""
    ada, talk = town(fake)
    chat = fake.open_dm(ada)
    async with served(fake, core, message_content=False):
        said, private = await fake.say(ada, talk, "a"), await fake.say(ada, chat, "b")
        await fake.edit_message(said, "c")
        await fake.edit_message(private, "")
        await core.until(lambda: core.edits)
        await fake.edit_message(said, f"{fake.bot_user.mention} d")
        await core.until(lambda: len(core.edits) == 2)
    assert core.edits == [(private.id, ""), (said.id, "d")]
    async with served(fake, core):
        await fake.edit_message(said, "")
        await core.until(lambda: len(core.edits) == 3)
    assert core.edits[-1] == (said.id, "")


async def test_an_edited_question_can_be_answered_anew(fake: FakeDiscord, core: Witness) -> None:
    """The answer says so by its buttons, and keeps its text."""
    ada, talk = town(fake)
    async with served(fake, core):
        question, answer = await asked(fake, ada, talk)
        core.offers[question.id] = (answer.id, ("regenerate", "details"))
        await fake.edit_message(question, "bye")
        await fake.until(lambda: fake.requests_to("edit_message"))
    (request,) = fake.requests_to("edit_message")
    assert request.message_id == answer.id
    assert "content" not in request.body
    (row,) = request.body["components"]
    assert [one["label"] for one in row["components"]] == [EDITED, "Details"]
    assert fake.answers(talk) == ["Yes."]


# Deletions.


async def test_p5_a_deletion_takes_the_answer_along(fake: FakeDiscord, core: Witness) -> None:
    """The core hears of it and says what else should go, which then goes."""
    ada, talk = town(fake)
    async with served(fake, core):
        question, answer = await asked(fake, ada, talk)
        core.orphans[question.id] = (answer.id,)
        await fake.delete_message(question)
        await fake.until(lambda: not fake.answers(talk))
    assert core.deletions == [(question.id,)]


async def test_p5_many_deletions_are_told_at_once(fake: FakeDiscord, core: Witness) -> None:
    """A moderator's purge is one call, oldest first, and one message that stays stops no other."""
    ada, talk = town(fake)
    async with served(fake, core):
        said = [await fake.say(ada, talk, f"{number}") for number in range(50)]
        _, answer = await asked(fake, ada, talk)
        core.orphans[said[0].id] = (said[1].id, answer.id)
        ids = [str(one.id) for one in reversed(said)]
        push(fake, "MESSAGE_DELETE_BULK", {"ids": ids, "channel_id": str(talk.id)})
        await fake.until(lambda: not fake.answers(talk))
    assert core.deletions[0] == tuple(one.id for one in said)


async def test_what_the_bot_takes_away_itself_is_no_deletion(
    fake: FakeDiscord, core: Witness
) -> None:
    """Otherwise a part that an answer needs no more would take the whole answer along."""

    async def deed(press: Press, target: ReplyTarget) -> None:
        await target.remove([press.message_id])

    core.deed = deed
    ada, talk = town(fake)
    async with served(fake, core):
        question, answer = await asked(fake, ada, talk)
        await click(fake, ada, answer, "acore:regenerate")
        await fake.until(lambda: not fake.answers(talk))
        await fake.delete_message(question)
        await core.until(lambda: core.deletions)
    assert core.deletions == [(question.id,)]


async def test_r18_a_deletion_and_a_stop_reach_the_core_at_once(
    fake: FakeDiscord, core: Witness
) -> None:
    """While a hundred others are being answered, and while other answers cannot be removed."""
    ada, talk = town(fake)
    gate = asyncio.Event()

    async def deed(press: Press, target: ReplyTarget) -> None:
        await gate.wait()

    core.deed = deed
    async with served(fake, core):
        question, answer = await asked(fake, ada, talk)
        for _ in range(100):
            await click(fake, ada, answer, "acore:regenerate")
        await core.until(lambda: len(core.pressed) == 100)
        await fake.delete_message(question)
        await click(fake, ada, answer, "acore:stop")
        await core.until(lambda: core.deletions and core.pressed[-1].control == "stop")
        gate.set()


async def test_an_answer_that_may_not_be_removed_stays(
    fake: FakeDiscord, core: Witness, caplog: pytest.LogCaptureFixture
) -> None:
    """What is gone from the memory need not be gone from the channel; nothing breaks by it."""
    ada, talk = town(fake)
    async with served(fake, core):
        question, answer = await asked(fake, ada, talk)
        core.orphans[question.id] = (answer.id,)
        fake.fault("delete_message", [MISSING_PERMISSIONS])
        await fake.delete_message(question)
        await fake.until(lambda: fake.requests_to("delete_message"))
        await asked(fake, ada, talk)
    assert len(fake.answers(talk)) == 2
    assert [one for one in caplog.records if one.levelname == "ERROR"] == []


async def test_what_cannot_be_noted_is_logged(
    fake: FakeDiscord, core: Witness, caplog: pytest.LogCaptureFixture
) -> None:
    """A store that fails is the owner's matter, and nobody else's."""
    ada, talk = town(fake)
    core.failure = HistoryError("The disk is full.")
    async with served(fake, core):
        said = await fake.say(ada, talk, "a")
        await fake.edit_message(said, "b")
        await fake.delete_message(said)
        await core.until(lambda: core.deletions)
    assert [one.message for one in caplog.records if one.levelname == "ERROR"] == [
        "what happened on Discord could not be noted: The disk is full."
    ] * 2


# Places.


async def test_p5_a_place_that_is_gone_is_told(fake: FakeDiscord, core: Witness) -> None:
    """A channel, with its threads; a thread by itself, which is known by its own id; a server."""
    _, talk = town(fake)
    assert talk.guild is not None
    guild, other = str(talk.guild.id), talk.guild.add_text_channel("other")
    threads = [talk.guild.add_thread(one, "plans") for one in (talk, talk, other)]
    async with served(fake, core):
        threads[0].delete()
        await core.until(lambda: core.places)
        talk.delete()
        await core.until(lambda: len(core.places) >= 3)
        talk.guild.remove_bot()
        await core.until(lambda: Place(guild) in core.places)
    assert core.places[0] == Place(guild, str(threads[0].id))
    assert set(core.places[1:]) == {
        Place(guild, str(talk.id)),
        Place(guild, str(threads[1].id)),
        Place(guild),
    }


async def test_an_outage_is_no_departure(fake: FakeDiscord, core: Witness) -> None:
    """A server that Discord cannot serve just now is not forgotten."""
    _, talk = town(fake)
    assert talk.guild is not None
    other = fake.add_guild("other")
    async with served(fake, core):
        push(fake, "GUILD_DELETE", {"id": str(talk.guild.id), "unavailable": True})
        other.remove_bot()
        await core.until(lambda: core.places)
    assert core.places == [Place(str(other.id))]


class Memory:
    """Where applications were seen."""

    def __init__(self) -> None:
        self.guilds: dict[int, set[int]] = {}

    async def load(self, application_id: int) -> Collection[int]:
        """Return where one was seen."""
        return set(self.guilds.get(application_id, ()))

    async def note(
        self, application_id: int, joined: Collection[int], left: Collection[int]
    ) -> None:
        """Remember where one is, and where it is not."""
        known = self.guilds.setdefault(application_id, set())
        known |= set(joined)
        known -= set(left)

    @property
    def callables(self) -> dict[str, object]:
        """What the front end takes."""
        return {"load_guilds": self.load, "note_guilds": self.note}


async def test_p5_what_was_left_while_nobody_listened_is_forgotten(
    fake: FakeDiscord, core: Witness
) -> None:
    """A server in which this application was seen, and is not any more; what has an outage is
    there, and what another application knows is none of our business."""
    stays, is_out, is_left = (fake.add_guild(f"{number}") for number in range(3))
    is_left.bot_is_member = False
    whole = fake.gateway._guild_json
    fake.gateway._guild_json = lambda session, guild: (  # type: ignore[method-assign]
        {"id": str(guild.id), "unavailable": True} if guild is is_out else whole(session, guild)
    )
    memory, bot_id = Memory(), fake.bot_user.id
    memory.guilds = {bot_id: {is_out.id, is_left.id}, 7: {77}}
    async with served(fake, core, **memory.callables):
        await core.until(lambda: core.places)
        await fake.until(lambda: memory.guilds[bot_id] == {stays.id, is_out.id})
    assert core.places == [Place(str(is_left.id))]
    assert memory.guilds[7] == {77}


async def test_p5_where_the_bot_never_was_nothing_is_forgotten(
    fake: FakeDiscord, core: Witness
) -> None:
    """People bring it along to servers that it is not in; and an application that comes new to the
    data of another one forgets nothing."""
    home = fake.add_guild("home")
    memory = Memory()
    memory.guilds[7] = {77}
    async with served(fake, core, **memory.callables) as frontend:
        await frontend.client.wait_until_ready()
        await fake.until(lambda: fake.bot_user.id in memory.guilds)
    assert core.places == []
    assert memory.guilds == {7: {77}, fake.bot_user.id: {home.id}}


async def test_p5_a_server_is_remembered_from_joining_until_it_is_forgotten(
    fake: FakeDiscord, core: Witness
) -> None:
    """What the core could not forget yet is missed again at the next start."""
    home = fake.add_guild("home")
    memory, bot_id = Memory(), fake.bot_user.id
    async with served(fake, core, **memory.callables) as frontend:
        await frontend.client.wait_until_ready()
        other = fake.add_guild("other")
        await fake.until(lambda: memory.guilds.get(bot_id) == {home.id, other.id})
        core.left_failure = HistoryError("The disk is full.")
        other.remove_bot()
        await core.until(lambda: core.places)
    assert memory.guilds[bot_id] == {home.id, other.id}
    core.left_failure = None
    async with served(fake, core, **memory.callables):
        await core.until(lambda: len(core.places) == 2)
        await fake.until(lambda: memory.guilds[bot_id] == {home.id})
    assert set(core.places) == {Place(str(other.id))}


async def test_p5_a_server_that_was_left_while_disconnected_is_forgotten(
    fake: FakeDiscord, core: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new session does not name it, and from then on nobody knows it."""
    monkeypatch.setattr(ExponentialBackoff, "delay", lambda _: 0.0)
    home, other = fake.add_guild("home"), fake.add_guild("other")
    async with served(fake, core, sleep=lambda _: asyncio.sleep(0)) as frontend:
        await frontend.client.wait_until_ready()
        fake.gateway.refuse_resumes()
        fake.gateway.drop()
        other.remove_bot()
        await core.until(lambda: core.places)
        assert {guild.id for guild in frontend.client.guilds} == {home.id}
    assert core.places == [Place(str(other.id))]


async def test_who_serves_a_part_forgets_nothing_of_the_rest(
    fake: FakeDiscord, core: Witness
) -> None:
    """A process that has some of the shards does not know the servers of others."""
    fake.gateway.shards = 2
    guilds = [fake.add_guild(f"{number}") for number in range(4)]
    memory, bot_id = Memory(), fake.bot_user.id
    memory.guilds[bot_id] = {guild.id for guild in guilds}
    for guild in guilds[2:]:
        guild.bot_is_member = False
    async with served(fake, core, shard_ids=(0,), shard_count=2, **memory.callables):
        await core.until(lambda: core.places)
        await fake.until(lambda: len(memory.guilds[bot_id]) == 3)
    assert core.places == [Place(str(guilds[2].id))]
