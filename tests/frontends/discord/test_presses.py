"""Buttons, from a click on a fake Discord to the core and back."""

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest
from tests.fakes.clock import SettableClock
from tests.fakes.discord.faults import DropReply, Fail, Reset, TimeOut
from tests.fakes.discord.server import FakeDiscord
from tests.fakes.discord.things import Channel, Message, User
from tests.fakes.served import Witness, click, served

from acore_bot.contracts import ReplyTarget
from acore_bot.errors import NotFound, TargetGone, Unexpected
from acore_bot.frontends.discord.interactions.address import TOKEN_SECONDS
from acore_bot.frontends.discord.presses import NO_PLACE, RESTARTING, UNKNOWN
from acore_bot.frontends.discord.translate import conversation_name
from acore_bot.messages import Place, Press

DEFERRED_UPDATE = 6
MANAGE_GUILD, MANAGE_MESSAGES = 1 << 5, 1 << 13


@pytest.fixture
async def fake() -> AsyncIterator[FakeDiscord]:
    """A fake Discord."""
    async with FakeDiscord() as discord:
        yield discord


@pytest.fixture
def core() -> Witness:
    """Who hears of buttons."""
    return Witness()


async def answered(fake: FakeDiscord, user: User, channel: Channel) -> Message:
    """Let the bot answer somebody, and return its answer."""
    await fake.say(user, channel, "hello", mentions=[fake.bot_user])
    await fake.until(lambda: fake.answers(channel))
    return fake.messages_of_bot()[-1]


def town(fake: FakeDiscord) -> tuple[User, Channel]:
    """Add somebody who talks, and a place to do so."""
    return fake.add_user("Ada"), fake.add_guild("home").add_text_channel("talk")


async def test_a_button_reaches_the_core(fake: FakeDiscord, core: Witness) -> None:
    """It is acknowledged without a word, and says who used it, where, and under which message."""
    ada, talk = town(fake)
    assert talk.guild is not None
    role = talk.guild.add_role("tea")
    talk.guild.add_member(ada, roles=[role])
    async with served(fake, core):
        answer = await answered(fake, ada, talk)
        interaction = await click(fake, ada, answer, "acore:regenerate")
        await core.until(lambda: core.pressed)
    (press,) = core.pressed
    assert interaction.response == {"type": DEFERRED_UPDATE}
    assert (press.message_id, press.control) == (answer.id, "regenerate")
    assert (press.author.id, press.author.name) == (str(ada.id), "Ada")
    assert press.conversation == conversation_name(talk.id)
    assert press.place == Place(str(talk.guild.id), str(talk.id))
    assert press.roles == (str(role.id),)
    assert not press.is_moderator


@pytest.mark.parametrize(
    ("permissions", "is_moderator"),
    [(0, False), (MANAGE_GUILD, True), (MANAGE_MESSAGES, True), (~(MANAGE_GUILD | MANAGE_MESSAGES)
      & (2**40 - 1), False)],
)  # fmt: skip
async def test_who_may_manage_there_is_a_moderator(
    fake: FakeDiscord, core: Witness, permissions: int, is_moderator: bool
) -> None:
    """Discord says who it is, by the rights that they have in that channel."""
    ada, talk = town(fake)
    async with served(fake, core):
        answer = await answered(fake, ada, talk)
        await click(fake, ada, answer, "acore:stop", permissions=permissions)
        await core.until(lambda: core.pressed)
    assert core.pressed[0].is_moderator == is_moderator


async def test_in_private_nobody_is_a_moderator(fake: FakeDiscord, core: Witness) -> None:
    """There is nobody to moderate, and no guild."""
    ada = fake.add_user("Ada")
    chat = fake.open_dm(ada)
    async with served(fake, core):
        answer = await answered(fake, ada, chat)
        await click(fake, ada, answer, "acore:stop", permissions=MANAGE_MESSAGES)
        await core.until(lambda: core.pressed)
    assert not core.pressed[0].is_moderator
    assert core.pressed[0].place == Place("", str(chat.id))


async def test_in_a_thread_the_place_is_its_channel(fake: FakeDiscord, core: Witness) -> None:
    """And the conversation is the thread's own."""
    ada, talk = town(fake)
    assert talk.guild is not None
    thread = talk.guild.add_thread(talk, "plans")
    async with served(fake, core):
        await click(fake, ada, await answered(fake, ada, thread), "acore:details")
        await core.until(lambda: core.pressed)
    assert core.pressed[0].conversation == conversation_name(thread.id)
    assert core.pressed[0].place == Place(str(talk.guild.id), str(talk.id))


async def test_s25_forged_ids_say_nothing_but_what_is_wanted(
    fake: FakeDiscord, core: Witness
) -> None:
    """A hundred ids that we never gave are refused with a kind sentence that nobody else sees, and
    reach nobody."""
    ada, talk = town(fake)
    forged = [
        f"{prefix}{middle}{end}"
        for prefix, middle, end in itertools.product(
            ("", "acore", "acore:", "ACORE:", "acore::"),
            ("stop ", "regenerate:", "Stop", "owner=", "\u200bstop"),
            ("", "1", str(ada.id), "\n"),
        )
    ]
    assert len(set(forged)) == 100
    async with served(fake, core):
        answer = await answered(fake, ada, talk)
        seen = [await click(fake, ada, answer, custom_id) for custom_id in forged]
        await fake.until(lambda: all(one.whispers for one in seen))
    assert [one.whispers for one in seen] == [[UNKNOWN]] * 100
    assert core.pressed == []
    assert fake.answers(talk) == ["Yes."]


async def test_s25_whoever_presses_is_who_discord_says(fake: FakeDiscord, core: Witness) -> None:
    """The core hears each time of the person, the message and the rights of that very click: of a
    stranger's as of a stranger's, of a message of others as of that message."""
    ada, talk = town(fake)
    strangers = [fake.add_user(f"stranger {number}") for number in range(20)]
    async with served(fake, core):
        answer = await answered(fake, ada, talk)
        theirs = await fake.say(strangers[0], talk, "not an answer")
        for stranger in strangers:
            await click(fake, stranger, answer, "acore:regenerate")
            await click(fake, stranger, theirs, "acore:stop")
        await core.until(lambda: len(core.pressed) == 40)
    told = {(one.author.id, one.message_id, one.is_moderator) for one in core.pressed}
    assert told == {(str(one.id), at.id, False) for one in strangers for at in (answer, theirs)}


async def test_s25_a_click_that_was_answered_is_not_obeyed_again(
    fake: FakeDiscord, core: Witness
) -> None:
    """What Discord says was acknowledged before reaches nobody, however often it comes."""
    ada, talk = town(fake)
    async with served(fake, core):
        answer = await answered(fake, ada, talk)
        fake.fault("respond", lambda _: Fail(400, 40060))
        clicks = [await click(fake, ada, answer, "acore:regenerate") for _ in range(100)]
        await fake.until(lambda: len(fake.requests_to("respond")) == 100)
        fake.faults.clear()
        await click(fake, ada, answer, "acore:details")
        await core.until(lambda: core.pressed)
    assert [press.control for press in core.pressed] == ["details"]
    assert not any(one.texts for one in clicks)


async def test_a_button_is_acknowledged_once_though_connections_break(
    fake: FakeDiscord, core: Witness
) -> None:
    """A broken connection is tried again, and the core hears of the click once."""
    ada, talk = town(fake)
    async with served(fake, core):
        answer = await answered(fake, ada, talk)
        fake.fault("respond", [Reset(), DropReply()])
        await click(fake, ada, answer, "acore:regenerate")
        await core.until(lambda: core.pressed)
    assert len(core.pressed) == 1
    assert len(fake.requests_to("respond")) == 3


async def test_buttons_work_after_a_restart(fake: FakeDiscord, core: Witness) -> None:
    """An answer of a process that is gone can be pressed as ever."""
    ada, talk = town(fake)
    async with served(fake, core):
        answer = await answered(fake, ada, talk)
    again = Witness()
    async with served(fake, again):
        await click(fake, ada, answer, "acore:continue")
        await again.until(lambda: again.pressed)
    assert again.pressed[0].message_id == answer.id


async def test_the_person_alone_is_told(fake: FakeDiscord, core: Witness) -> None:
    """What a button whispers or posts is theirs; what takes the place of an answer, or stands
    below, is everybody's."""

    async def deed(press: Press, target: ReplyTarget) -> None:
        await target.whisper("psst")
        details = await target.post("details", final=True)
        await target.ready(details, final=True)
        await target.edit(details, "all details", final=True)
        again = target.in_place_of([press.message_id])
        assert await again.post("again", final=True) == press.message_id
        await again.post("and more", final=True)
        await target.in_place_of(()).post("below", final=True)
        await again.whisper("done")

    core.deed = deed
    ada, talk = town(fake)
    async with served(fake, core):
        answer = await answered(fake, ada, talk)
        interaction = await click(fake, ada, answer, "acore:regenerate")
        await fake.until(lambda: len(interaction.whispers) == 3)
    assert interaction.whispers == ["psst", "all details", "done"]
    assert fake.answers(talk) == ["again", "and more", "below"]
    assert [one.reply_to for one in fake.messages_of_bot()][1:] == [None, answer]
    assert fake.pings() == []
    assert {one.body.get("flags") for one in fake.requests_to("follow_up")} == {64 | 4}


async def test_messages_are_removed(fake: FakeDiscord, core: Witness) -> None:
    """An answer of many parts that became one of few leaves nothing behind."""

    async def deed(press: Press, target: ReplyTarget) -> None:
        await target.remove([press.message_id])

    core.deed = deed
    ada, talk = town(fake)
    async with served(fake, core):
        await click(fake, ada, await answered(fake, ada, talk), "acore:regenerate")
        await fake.until(lambda: not fake.answers(talk))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (NotFound("I do not remember this answer."), "I do not remember this answer."),
        (ValueError("secret"), Unexpected().public),
    ],
)
async def test_errors_are_told_to_the_person(
    fake: FakeDiscord, core: Witness, error: Exception, told: str
) -> None:
    """In words that are fit for them, and for them alone."""

    async def deed(press: Press, target: ReplyTarget) -> None:
        raise error

    core.deed = deed
    ada, talk = town(fake)
    async with served(fake, core):
        interaction = await click(fake, ada, await answered(fake, ada, talk), "acore:details")
        await fake.until(lambda: interaction.whispers)
    assert interaction.whispers == [told]


async def test_what_cannot_be_shown_is_told_to_who_pressed(
    fake: FakeDiscord, core: Witness
) -> None:
    """A place that takes nothing ends it with a word to them alone; the next click is served."""
    gone = [True, False]

    async def deed(press: Press, target: ReplyTarget) -> None:
        if gone.pop(0):
            raise TargetGone("It is gone.")
        await target.whisper("here")

    core.deed = deed
    ada, talk = town(fake)
    async with served(fake, core):
        answer = await answered(fake, ada, talk)
        first = await click(fake, ada, answer, "acore:details")
        await core.until(lambda: core.pressed)
        second = await click(fake, ada, answer, "acore:details")
        await fake.until(lambda: second.whispers and first.whispers)
    assert first.whispers == [NO_PLACE]


async def test_after_a_quarter_of_an_hour_the_channel_serves(
    fake: FakeDiscord, core: Witness
) -> None:
    """Discord takes no more by the click then: posts stand in the channel, and whispers come in
    private."""
    clock, goes_on = SettableClock(), asyncio.Event()

    async def deed(press: Press, target: ReplyTarget) -> None:
        await goes_on.wait()
        await target.whisper("late")
        await target.post("later", final=True)

    core.deed = deed
    ada, talk = town(fake)
    async with served(fake, core, clock=clock):
        answer = await answered(fake, ada, talk)
        interaction = await click(fake, ada, answer, "acore:regenerate")
        await core.until(lambda: core.pressed)
        clock.advance(TOKEN_SECONDS)
        goes_on.set()
        await fake.until(lambda: "later" in fake.answers(talk))
    assert interaction.texts == []
    assert fake.answers(fake.open_dm(ada)) == ["late"]


# Where the bot may not write by itself.


def abroad(fake: FakeDiscord) -> tuple[User, Channel, Message]:
    """Add somebody in a server that the bot is not in, and an answer that it gave there."""
    ada, talk = town(fake)
    assert talk.guild is not None
    talk.guild.remove_bot()
    return ada, talk, fake.world.post(fake.bot_user, talk, "old")


def by_channel(fake: FakeDiscord) -> list[str]:
    """Name what a channel was asked to do, though only the click's own token is good for that."""
    asked = (one for one in fake.requests if one.method != "GET")
    return [one.route for one in asked if one.path.startswith("/channels/")]


async def begin_anew(press: Press, target: ReplyTarget) -> None:
    """Answer anew in the message of the button, and go on below."""
    again = target.in_place_of([press.message_id])
    async with again.typing():
        pass
    assert await again.post("ne") == press.message_id
    await again.ready(press.message_id, final=True)
    await again.edit(press.message_id, "new", final=True, controls=["details"])
    more = await again.post("mo")
    await again.ready(more, final=True)
    await again.edit(more, "more", final=True)
    await target.in_place_of(()).post("below", final=True)
    await target.whisper("psst")


async def test_where_the_bot_is_not_the_click_itself_is_answered(
    fake: FakeDiscord, core: Witness
) -> None:
    """What takes the place of an answer, follows it or stands below is seen by all, and nothing is
    asked of a channel that would refuse it."""
    core.deed = begin_anew
    ada, talk, answer = abroad(fake)
    async with served(fake, core):
        interaction = await click(fake, ada, answer, "acore:regenerate")
        await fake.until(lambda: interaction.whispers)
    assert fake.answers(talk) == ["new", "more", "below"]
    assert interaction.whispers == ["psst"]
    assert by_channel(fake) == []
    assert fake.pings() == []


@pytest.mark.parametrize("is_thread", [False, True])
async def test_where_the_bot_may_not_write_the_click_itself_is_answered(
    fake: FakeDiscord, core: Witness, is_thread: bool
) -> None:
    """A member of the server that may not send there, or not in threads, answers by the click."""
    core.deed = begin_anew
    ada, talk = town(fake)
    assert talk.guild is not None
    place = talk.guild.add_thread(talk, "plans") if is_thread else talk
    answer = fake.world.post(fake.bot_user, place, "old")
    talk.deny("send_messages_in_threads" if is_thread else "send_messages")
    async with served(fake, core):
        interaction = await click(fake, ada, answer, "acore:regenerate")
        await fake.until(lambda: interaction.whispers)
    assert fake.answers(place) == ["new", "more", "below"]
    assert by_channel(fake) == []


async def test_where_the_bot_is_not_a_button_reaches_one_message(
    fake: FakeDiscord, core: Witness
) -> None:
    """Of an answer of several messages a click can change the last only. So it is left as it is,
    and the person told, before anything is done."""

    async def deed(press: Press, target: ReplyTarget) -> None:
        target.in_place_of([press.message_id - 1, press.message_id])
        raise AssertionError("it goes on")

    core.deed = deed
    ada, talk, answer = abroad(fake)
    async with served(fake, core):
        interaction = await click(fake, ada, answer, "acore:regenerate")
        await fake.until(lambda: interaction.whispers)
    assert interaction.whispers == [NO_PLACE]
    assert fake.answers(talk) == ["old"]


async def test_where_the_bot_is_not_everything_ends_with_the_click(
    fake: FakeDiscord, core: Witness
) -> None:
    """After a quarter of an hour there is no way left, and none is tried."""
    clock, goes_on = SettableClock(), asyncio.Event()
    gone: list[TargetGone] = []

    async def deed(press: Press, target: ReplyTarget) -> None:
        again = target.in_place_of([press.message_id])
        private = await target.post("private")
        await goes_on.wait()
        for doing in (again.post("x"), again.post("y"), target.post("z"), again.ready(private),
                      again.edit(press.message_id, "a"), again.remove([private, 1])):  # fmt: skip
            with pytest.raises(TargetGone) as raised:
                await doing
            gone.append(raised.value)

    core.deed = deed
    ada, talk, answer = abroad(fake)
    async with served(fake, core, clock=clock):
        interaction = await click(fake, ada, answer, "acore:regenerate")
        await fake.until(lambda: interaction.whispers)
        asked = len(fake.requests)
        clock.advance(TOKEN_SECONDS)
        goes_on.set()
        await core.until(lambda: core.obeyed)
    assert len(gone) == 6
    assert fake.answers(talk) == ["old"]
    assert len(fake.requests) == asked


@pytest.mark.parametrize("is_group", [False, True])
async def test_where_a_person_brought_the_bot_along_is_their_own_place(
    fake: FakeDiscord, core: Witness, is_group: bool
) -> None:
    """What a server gave people that has nothing to do with the bot gives them nothing here."""
    ada, talk, answer = abroad(fake)
    if is_group:
        talk = fake.add_group("friends")
        answer = fake.world.post(fake.bot_user, talk, "old")
    else:
        assert talk.guild is not None
        talk.guild.add_member(ada, roles=[talk.guild.add_role("chiefs")])
    async with served(fake, core):
        await click(fake, ada, answer, "acore:details", permissions=MANAGE_MESSAGES | MANAGE_GUILD)
        await core.until(lambda: core.pressed)
    (press,) = core.pressed
    assert press.place == Place("", str(ada.id))
    assert press.conversation == f"{conversation_name(talk.id)}/{ada.id}"
    assert (press.roles, press.is_moderator) == ((), False)


@pytest.mark.parametrize("fault", [Fail(502), Fail(503), TimeOut()])
async def test_r12_a_click_is_acknowledged_though_discord_fails(
    fake: FakeDiscord, core: Witness, fault: Fail | TimeOut
) -> None:
    """It is tried again, whether or not it had succeeded, and the core hears of it once."""
    ada, talk = town(fake)
    async with served(fake, core):
        answer = await answered(fake, ada, talk)
        fake.fault("respond", [fault])
        await click(fake, ada, answer, "acore:regenerate")
        await core.until(lambda: core.pressed)
    assert len(fake.requests_to("respond")) == 2
    assert len(core.pressed) == 1


async def test_a_whisper_that_nobody_takes_is_silence(fake: FakeDiscord, core: Witness) -> None:
    """It fails for nobody, and what follows is done."""

    async def deed(press: Press, target: ReplyTarget) -> None:
        await target.whisper("lost")
        await target.in_place_of(()).post("shown", final=True)

    core.deed = deed
    ada, talk = town(fake)
    async with served(fake, core):
        answer = await answered(fake, ada, talk)
        fake.fault("follow_up", lambda _: Fail(404, 10015))
        await click(fake, ada, answer, "acore:continue")
        await fake.until(lambda: "shown" in fake.answers(talk))


async def test_r18_stop_works_until_the_end(fake: FakeDiscord, core: Witness) -> None:
    """When the bot is being stopped, it can still be told to stop an answer, and begins nothing
    else."""
    ada, talk = town(fake)
    async with served(fake, core) as frontend:
        answer = await answered(fake, ada, talk)
        frontend._turns.is_stopping = True
        again = await click(fake, ada, answer, "acore:regenerate")
        await fake.until(lambda: again.whispers)
        await click(fake, ada, answer, "acore:stop")
        await core.until(lambda: core.pressed)
    assert again.whispers == [RESTARTING]
    assert [press.control for press in core.pressed] == ["stop"]
