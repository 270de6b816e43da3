"""Where answers to interactions become visible, minute by minute."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from tests.fakes.discord.faults import Delay, DropReply, Fail, Fault, Reset, TimeOut
from tests.fakes.discord.interactions import Interaction
from tests.fakes.interacting import Heard, InteractingBot, interacting

from acore_bot.contracts import ReplyTarget
from acore_bot.errors import NotFound, TargetGone
from acore_bot.frontends.discord.drafts import NO_FILE
from acore_bot.frontends.discord.interactions.reply import LATER, TOO_LATE

NOBODY = {"parse": [], "replied_user": False}
FOURTEEN_MINUTES = 14 * 60.0


@pytest.fixture
async def bot() -> AsyncIterator[InteractingBot]:
    """A bot."""
    async with interacting() as bot:
        yield bot


async def during(bot: InteractingBot, path: str, script: object, **filled: str) -> Interaction:
    """Let somebody use a command while the core does what a test wants, and wait for its end."""
    bot.listener.script = script  # type: ignore[assignment]
    interaction = await bot.slash(path, **filled)
    await bot.until(lambda: bot.listener.heard)
    await bot.done()
    return interaction


def routes(bot: InteractingBot) -> list[str]:
    """Name the routes that were asked since the login, but for those of the login."""
    return [one.route for one in bot.fake.requests if not one.route.startswith("get_")]


# While the interaction lives.


async def test_the_first_message_fills_in_what_was_promised(bot: InteractingBot) -> None:
    """The person sees one answer grow in the place of the promise, and the next below it."""

    async def script(_: Heard, target: ReplyTarget) -> None:
        assert target.max_length == 2000
        first = await target.post("one")
        await target.ready(first, final=True)
        await target.edit(first, "one!", final=True)
        second = await target.post("two", final=True)
        await target.attach("All of it.", "answer.md", "# all")
        await target.remove([second])

    asked = await during(bot, "ask", script, question="why?")
    assert routes(bot) == ["respond", "edit_original", "edit_follow_up", "follow_up", "follow_up",
                           "delete_follow_up"]  # fmt: skip
    assert asked.texts == ["one!", "All of it."]
    assert bot.fake.answers(bot.channel) == asked.texts
    assert not asked.is_thinking
    (file,) = bot.fake.messages_of_bot()[-1].attachments
    assert file.file.content == b"# all"
    assert bot.fake.typing == []


async def test_no_nonce_reaches_a_webhook(bot: InteractingBot) -> None:
    """Discord knows none there, neither beside a file nor without one."""

    async def script(_: Heard, target: ReplyTarget) -> None:
        await target.attach("one", "a.md", "a")
        await target.attach("two", "b.md", "b")
        await target.post("three", final=True)

    await during(bot, "ask", script, question="why?")
    bodies = [one.body for one in bot.fake.requests if one.body.get("content")]
    assert len(bodies) == 3
    assert not any({"nonce", "enforce_nonce", "message_reference"} & body.keys() for body in bodies)


async def test_what_only_one_person_may_see(bot: InteractingBot) -> None:
    """All messages of a private answer are whispers, whichever comes first."""

    async def script(_: Heard, target: ReplyTarget) -> None:
        await target.whisper("zero")
        await target.post("one", final=True)
        await target.post("two", final=True)
        await target.attach("three", "a.md", "a")

    asked = await during(bot, "privacy export", script)
    assert asked.whispers == ["zero", "one", "two", "three"]
    assert bot.fake.answers(bot.channel) == []


async def test_a_whisper_beside_a_public_answer(bot: InteractingBot) -> None:
    """It waits for what was promised to all, which it must not fill in."""

    async def script(_: Heard, target: ReplyTarget) -> None:
        await target.whisper("for you")
        await target.post("for all", final=True)
        (asked,) = bot.fake.interactions.by_token.values()
        assert asked.whispers == ["for you"]
        await target.whisper("for you again")

    asked = await during(bot, "ask", script, question="why?")
    assert asked.whispers == ["for you", "for you again"]
    assert bot.fake.answers(bot.channel) == ["for all"]


async def test_nothing_but_a_whisper(bot: InteractingBot) -> None:
    """If nothing is for all, the promise is taken back, and only the person reads the word."""

    async def script(_: Heard, target: ReplyTarget) -> None:
        await target.whisper("You may not.")

    asked = await during(bot, "ask", script, question="why?")
    assert asked.is_removed
    assert asked.whispers == ["You may not."]
    assert bot.fake.answers(bot.channel) == []


@pytest.mark.parametrize("path", ["reset", "stats"])
async def test_nothing_at_all(bot: InteractingBot, path: str) -> None:
    """No promise stays open behind somebody who says nothing."""

    async def script(_: Heard, target: ReplyTarget) -> None:
        pass

    asked = await during(bot, path, script)
    assert (asked.is_thinking, asked.is_removed, asked.texts) == (False, True, [])


async def test_in_the_place_of_others(bot: InteractingBot) -> None:
    """Messages take the places that they are given, in order, and then follow below."""

    async def script(_: Heard, target: ReplyTarget) -> None:
        ids = [await target.post(text, final=True) for text in ("one", "two")]
        better = target.in_place_of(ids)
        assert await better.post("ONE", final=True) == ids[0]
        assert await better.post("TWO") == ids[1]
        assert await better.post("THREE", final=True) not in ids
        await target.in_place_of([]).post("FOUR", final=True)

    asked = await during(bot, "ask", script, question="why?")
    assert asked.texts == ["ONE", "TWO", "THREE", "FOUR"]


async def test_a_private_command_speaks_to_all(bot: InteractingBot) -> None:
    """What is to be seen by all stands in the channel; the person's own answer stays theirs."""

    async def script(_: Heard, target: ReplyTarget) -> None:
        await target.post("for you", final=True)
        await target.in_place_of([]).post("for all", final=True)

    asked = await during(bot, "stats", script)
    assert asked.whispers == ["for you"]
    assert bot.fake.answers(bot.channel) == ["for all"]


async def test_other_messages_of_the_bot(bot: InteractingBot) -> None:
    """What stands in the channel from before can be changed and taken away from here."""
    before = [bot.fake.world.post(bot.fake.bot_user, bot.channel, text) for text in ("a", "b")]

    async def script(_: Heard, target: ReplyTarget) -> None:
        await target.ready(before[0].id, final=True)
        await target.edit(before[0].id, "A", final=True)
        await target.remove([before[1].id])

    await during(bot, "stats", script)
    assert bot.fake.answers(bot.channel) == ["A"]


async def test_masks_are_for_channels(bot: InteractingBot) -> None:
    """What answers an interaction bears the bot's own name."""

    async def script(_: Heard, target: ReplyTarget) -> None:
        await target.speaking_as("Pirate", b"").post("one", final=True)

    asked = await during(bot, "ask", script, question="why?")
    assert asked.texts == ["one"]


async def test_in_a_thread_of_its_own(bot: InteractingBot) -> None:
    """It begins under the promised response, which says its name; whispers go where they went
    before."""

    async def script(_: Heard, target: ReplyTarget) -> None:
        place = await target.thread("Tea or coffee?")
        async with place.typing():
            first = await place.post("one")
        await place.ready(first, final=True)
        await place.edit(first, "one!", final=True)
        await place.post("two", final=True)
        await place.whisper("for you")

    asked = await during(bot, "compare models", script, question="Tea or coffee?")
    thread = bot.fake.world.channels[asked.original.id] if asked.original else bot.channel
    assert bot.fake.answers(bot.channel) == ["Tea or coffee?"]
    assert bot.fake.answers(thread) == ["one!", "two"]
    assert asked.whispers == ["for you"]


async def test_where_there_can_be_no_thread(bot: InteractingBot) -> None:
    """In a thread, in private, for one person alone and without the right to it, messages stand
    where they would otherwise."""
    bot.fake.fault("start_thread", lambda _: Fail(403, 50013))

    async def script(_: Heard, target: ReplyTarget) -> None:
        place = await target.thread("plans")
        await place.post("one", final=True)

    thread = bot.guild.add_thread(bot.channel, "plans")
    bot.listener.script = script
    used = [
        await bot.slash("ask", question="why?"),
        await bot.slash("ask", question="why?", channel=thread),
        await bot.slash("ask", question="why?", channel=bot.fake.open_dm(bot.ada)),
        await bot.slash("stats"),
    ]
    await bot.until(lambda: len(bot.heard) == 4)
    await bot.done()
    assert [one.texts for one in used] == [["plans", "one"], ["one"], ["one"], ["one"]]


async def test_nonces_of_a_thread_and_of_its_channel(bot: InteractingBot) -> None:
    """What is said in both is told apart, or Discord would take one for the other."""

    async def script(_: Heard, target: ReplyTarget) -> None:
        place = await target.thread("plans")
        await place.post("one", final=True)
        await place.post("two", final=True)
        bot.minutes.advance(FOURTEEN_MINUTES)
        await target.post("three", final=True)

    await during(bot, "ask", script, question="why?")
    nonces = [one.body["nonce"] for one in bot.fake.requests_to("create_message")]
    assert len(set(nonces)) == 3


async def test_two_at_once(bot: InteractingBot) -> None:
    """Nothing overtakes the promised response, in whose place Discord would show it."""
    may_go_on = asyncio.Event()

    async def hold(_: float) -> None:
        await may_go_on.wait()

    bot.fake.rest.sleep = hold
    bot.fake.fault("edit_original", [Delay(1)])

    async def script(_: Heard, target: ReplyTarget) -> None:
        async with asyncio.TaskGroup() as group:
            for text in ("one", "two", "three"):
                group.create_task(target.post(text, final=True))

    bot.listener.script = script
    asked = await bot.slash("ask", question="why?")
    await bot.until(lambda: bot.fake.requests_to("edit_original"))
    other = await bot.slash("nonsense")  # what would overtake has done so by then
    await bot.until(lambda: other.texts)
    assert bot.fake.requests_to("follow_up") == []
    may_go_on.set()
    await bot.done()
    assert asked.original is not None
    assert asked.original.text == "one"
    assert sorted(asked.texts) == ["one", "three", "two"]


async def test_a_file_that_is_refused(bot: InteractingBot) -> None:
    """Where no file may be, there is a sentence that says so, in the promised response as well as
    after it."""
    bot.fake.fault("edit_original", [Fail(403, 50013)])
    bot.fake.fault("follow_up", [Fail(403, 50013)])

    async def script(_: Heard, target: ReplyTarget) -> None:
        await target.attach("All of it.", "answer.md", "# all")
        await target.attach("All of it.", "answer.md", "# all")

    asked = await during(bot, "ask", script, question="why?")
    assert asked.texts == [NO_FILE, NO_FILE]


# When a connection breaks.


async def test_an_edit_is_repeated(bot: InteractingBot) -> None:
    """What fills in or changes a message may be sent again, whatever became of it."""
    bot.fake.fault("edit_original", [DropReply(), Reset()])
    bot.fake.fault("edit_follow_up", [DropReply(), Reset()])

    async def script(_: Heard, target: ReplyTarget) -> None:
        first = await target.post("one")
        await target.ready(first, final=True)
        await target.edit(first, "one!", final=True)

    asked = await during(bot, "ask", script, question="why?")
    assert asked.texts == ["one!"]


async def test_a_follow_up_never_stands_there_twice(bot: InteractingBot) -> None:
    """If it is not known what became of a message that nobody else sees, it is not sent again, and
    the place is gone."""
    bot.fake.fault("follow_up", [DropReply()])
    seen: list[str] = []

    async def script(_: Heard, target: ReplyTarget) -> None:
        await target.post("one", final=True)
        with pytest.raises(TargetGone):
            await target.post("two", final=True)
        seen.append(await _post(target, "three"))

    asked = await during(bot, "privacy export", script)
    assert asked.texts == ["one", "two", "three"]
    assert seen == ["three"]


@pytest.mark.parametrize("fault", [DropReply(), TimeOut(), Reset(), Fail(504)])
async def test_a_public_follow_up_of_unknown_fate_is_looked_for(
    bot: InteractingBot, fault: Fault
) -> None:
    """What Discord made of it is taken, or else it is sent again; a message of the same words that
    was posted before is not mistaken for it."""
    ids: list[int] = []

    async def script(_: Heard, target: ReplyTarget) -> None:
        ids.extend([await target.post(text, final=True) for text in ("one", "same")])
        bot.fake.fault("follow_up", [fault])
        ids.extend([await target.post(text, final=True) for text in ("same", "end")])

    asked = await during(bot, "ask", script, question="why?")
    assert asked.texts == ["one", "same", "same", "end"]
    assert ids == list(asked.messages)


async def test_a_follow_up_that_nobody_can_look_for_is_given_up(bot: InteractingBot) -> None:
    """Where the bot may not read the channel, it says nothing twice."""

    async def script(_: Heard, target: ReplyTarget) -> None:
        await target.post("one", final=True)
        bot.fake.fault("follow_up", [DropReply()])
        bot.fake.fault("get_messages", [Fail(403, 50013)])
        with pytest.raises(TargetGone):
            await target.post("two", final=True)

    asked = await during(bot, "ask", script, question="why?")
    assert asked.texts == ["one", "two"]


async def _post(target: ReplyTarget, text: str) -> str:
    await target.post(text, final=True)
    return text


# From minute 14 on.


async def test_late_messages_go_to_the_channel(bot: InteractingBot) -> None:
    """They reply to what was shown before, with a nonce; and what was shown can still be edited,
    as ordinary messages can."""

    async def script(_: Heard, target: ReplyTarget) -> None:
        first = await target.post("one")
        bot.minutes.advance(FOURTEEN_MINUTES)
        await target.ready(first, final=True)
        await target.edit(first, "one!", final=True)
        second = await target.post("two")
        await target.ready(second, final=True)
        await target.edit(second, "two!", final=True)
        await target.whisper("nobody hears this")
        await target.remove([first])

    asked = await during(bot, "ask", script, question="why?")
    assert routes(bot) == ["respond", "edit_original", "edit_message", "create_message",
                           "edit_message", "delete_message"]  # fmt: skip
    assert bot.fake.answers(bot.channel) == ["two!"]
    late = bot.fake.messages_of_bot()[-1]
    assert late.reply_to is asked.original
    assert late.nonce


async def test_a_second_before_that_all_is_as_it_was(bot: InteractingBot) -> None:
    """The interaction is used for as long as it may be."""

    async def script(_: Heard, target: ReplyTarget) -> None:
        bot.minutes.advance(FOURTEEN_MINUTES - 1)
        await target.post("one", final=True)

    await during(bot, "ask", script, question="why?")
    assert routes(bot) == ["respond", "edit_original"]


async def test_late_private_answers_are_for_nobody(bot: InteractingBot) -> None:
    """What only one person may see is never shown to a channel."""
    gone: list[TargetGone] = []

    async def script(_: Heard, target: ReplyTarget) -> None:
        first = await target.post("one")
        bot.minutes.advance(FOURTEEN_MINUTES)
        for asking in (target.post("two", final=True), target.edit(first, "one!", final=True),
                       target.ready(first), target.attach("a", "b", "c")):  # fmt: skip
            with pytest.raises(TargetGone) as raised:
                await asking
            gone.append(raised.value)

    asked = await during(bot, "privacy show", script)
    assert len(gone) == 4
    assert asked.texts == ["one"]
    assert bot.fake.answers(bot.channel) == []


async def test_late_where_the_bot_is_not(bot: InteractingBot) -> None:
    """A server in which only the person has the bot gets no message of it."""
    away = bot.fake.add_guild("away")
    talk = away.add_text_channel("talk")
    leaving = asyncio.create_task(bot.client.wait_for("guild_remove", timeout=10))
    await asyncio.sleep(0)
    away.remove_bot()
    await leaving

    async def script(_: Heard, target: ReplyTarget) -> None:
        await target.post("one", final=True)
        bot.minutes.advance(FOURTEEN_MINUTES)
        with pytest.raises(TargetGone):
            await target.post("two", final=True)

    bot.listener.script = script
    asked = await bot.slash("ask", channel=talk, question="why?")
    await bot.until(lambda: asked.texts)
    await bot.done()
    assert asked.texts == ["one"]
    assert "create_message" not in routes(bot)


async def test_late_where_the_bot_may_not_write(bot: InteractingBot) -> None:
    """A channel that would refuse a message is not asked to take one, and nobody is told that one
    will follow."""
    bot.channel.deny("send_messages")

    async def script(heard: Heard, target: ReplyTarget) -> None:
        async with target.typing():
            await bot.minutes.wait(20 * 60)
        with pytest.raises(TargetGone):
            await target.post("two", final=True)

    bot.listener.script = script
    asked = await bot.slash("ask", question="why?")
    await bot.until(lambda: bot.listener.heard)
    bot.minutes.pass_(FOURTEEN_MINUTES)
    await bot.until(lambda: asked.texts)
    bot.minutes.pass_(6 * 60)
    await bot.done()
    assert asked.texts == [TOO_LATE]
    assert "create_message" not in routes(bot)


async def test_who_waits_for_long_is_told(bot: InteractingBot) -> None:
    """Before Discord says that the bot does not respond, the bot says that it goes on."""

    async def script(_: Heard, target: ReplyTarget) -> None:
        async with target.typing():
            await bot.minutes.wait(20 * 60)
        await target.post("At last.", final=True)

    bot.listener.script = script
    asked = await bot.slash("ask", question="why?")
    await bot.until(lambda: asked.response)
    await bot.until(lambda: bot.listener.heard)
    bot.minutes.pass_(FOURTEEN_MINUTES)
    await bot.until(lambda: asked.texts)
    assert asked.texts == [LATER]
    bot.minutes.pass_(6 * 60)
    await bot.done()
    assert bot.fake.answers(bot.channel) == [LATER, "At last."]


async def test_who_waits_too_long_is_told(bot: InteractingBot) -> None:
    """Where no answer can follow, the person is asked to ask again."""

    async def script(_: Heard, target: ReplyTarget) -> None:
        async with target.typing():
            await bot.minutes.wait(20 * 60)
        await target.post("At last.", final=True)

    bot.listener.script = script
    asked = await bot.slash("summary")
    await bot.until(lambda: bot.listener.heard)
    bot.minutes.pass_(FOURTEEN_MINUTES)
    await bot.until(lambda: asked.texts)
    bot.minutes.pass_(6 * 60)
    await bot.done()
    assert asked.whispers == [TOO_LATE]
    assert bot.fake.answers(bot.channel) == []


async def test_who_is_answered_in_time_is_told_nothing_else(bot: InteractingBot) -> None:
    """The end of the time is nothing to those who have their answer."""
    is_answered = asyncio.Event()

    async def script(_: Heard, target: ReplyTarget) -> None:
        async with target.typing():
            await target.post("At once.", final=True)
            is_answered.set()
            await bot.minutes.wait(20 * 60)

    bot.listener.script = script
    await bot.slash("ask", question="why?")
    await is_answered.wait()
    bot.minutes.pass_(FOURTEEN_MINUTES)
    other = await bot.slash("nonsense")  # what would have been said is said by then
    await bot.until(lambda: other.texts)
    bot.minutes.pass_(6 * 60)
    await bot.done()
    assert bot.fake.answers(bot.channel) == ["At once."]


# Whom it pings.


async def test_s10_nobody_is_pinged(bot: InteractingBot) -> None:
    """Whatever is said by an interaction, at once, as a follow-up, an edit, a whisper, a file, an
    error, or late in the channel, says that nobody is notified and no link is previewed."""
    text = f"@everyone @here {bot.ada.mention} [a](https://a.example)"

    async def say_all(_: Heard, target: ReplyTarget) -> None:
        first = await target.post(text)
        await target.ready(first, final=True)
        await target.edit(first, text, final=True)
        await target.post(text, final=True)
        await target.whisper(text)
        await target.attach(text, f"{text}.md", text)
        await target.in_place_of([first]).post(text, final=True)
        bot.minutes.advance(FOURTEEN_MINUTES)
        await target.post(text, final=True)
        raise NotFound(text)

    await during(bot, "ask", say_all, question="why?")
    bot.listener.heard.clear()

    async def refuse(_: Heard, target: ReplyTarget) -> None:
        raise NotFound(text)

    await during(bot, "stats", refuse)
    said = [one for one in bot.fake.requests if "content" in one.body]
    assert len(said) == 8
    assert all(one.body["allowed_mentions"] == NOBODY for one in said)
    assert all(one.body["flags"] & 4 for one in said)
    assert all("https://a.example" in one.body["content"] for one in said)
    assert not any("](" in one.body["content"] for one in said)
    assert bot.fake.pings() == []
    promises = bot.fake.requests_to("respond")
    assert not any("content" in (one.body.get("data") or {}) for one in promises)


# Twelve of the catalogue.


async def test_r12_whatever_the_model_takes_the_answer_arrives(bot: InteractingBot) -> None:
    """A thousand commands whose model takes from 0.1 to 20 minutes, with 200 others running: all
    are acknowledged in the moment in which they come, and all get their answer, by the interaction
    or, past 14 minutes, in the channel."""
    durations = random.Random(12)
    seconds: dict[int, float] = {}

    async def script(incoming: Heard, target: ReplyTarget) -> None:
        number = int(getattr(incoming, "text", "-1"))
        async with target.typing():
            await bot.minutes.wait(seconds[number])
        await target.post(f"Answer {number}.", final=True)

    bot.listener.script = script
    asked: list[Interaction] = []
    for number in range(1000):
        seconds[number] = durations.uniform(6, 1200)
        asked.append(await bot.slash("ask", question=str(number)))
        if number % 200 == 199:
            await bot.until(lambda: all(one.response for one in asked))
            await bot.until(lambda: len(bot.heard) == len(asked))
            bot.minutes.pass_(30)
    for _ in range(125):
        bot.minutes.pass_(10)
        await asyncio.sleep(0)
    await bot.done()
    assert [one.acknowledged_at for one in asked] == [one.created_at for one in asked]
    answers = bot.fake.answers(bot.channel)
    assert {one for one in answers if one != LATER} == {f"Answer {n}." for n in range(1000)}
    late = {n for n in range(1000) if f"Answer {n}." not in asked[n].texts}
    assert {n for n in range(1000) if seconds[n] > FOURTEEN_MINUTES + 60} <= late
    assert bot.fake.violations == []
