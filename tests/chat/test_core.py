"""What people do with answers after they were asked for, and what places do to what was said."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec import structs
from tests.fakes.core import MODEL, CoreAtHand, open_core
from tests.fakes.recording_target import RecordingTarget
from tests.fakes.talk import ADA, BEN, CLEO, heard

from acore_bot.chat.core import NOTHING_TO_SUMMARIZE
from acore_bot.chat.policy import Limits, Policy
from acore_bot.chat.presses import (
    AT_IT,
    GO_ON,
    IS_OVER,
    NOT_THEIRS,
    UNKNOWN_ANSWER,
    WENT_ON,
)
from acore_bot.chat.turn import NOT_FOR_THEM, NOT_HERE, PAUSED
from acore_bot.errors import TimedOut
from acore_bot.llm.deduplicate import DeduplicatedModel
from acore_bot.messages import (
    Author,
    Control,
    End,
    IncomingCommand,
    IncomingMessage,
    Place,
    Press,
    Quote,
    Usage,
)
from acore_bot.providers.scripted import CUT, Scripted

GUILD = Place("9", "91")


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[CoreAtHand]:
    """A core in which nothing was said yet."""
    async with open_core(tmp_path) as core:
        yield core


def said(id_: int, text: str = "Hello?", author: Author = ADA, **more: object) -> IncomingMessage:
    """Make a mention of the bot in a guild."""
    message = heard(id_, text, author=author, is_private=False, mentions_bot=True, place=GUILD)
    return structs.replace(message, **more)


def asked(
    id_: int, text: str = "Why?", author: Author = ADA, channel: str = "91"
) -> IncomingMessage:
    """Make a stateless question in a guild."""
    place = Place("9", channel)
    message = heard(id_, text, author=author, is_private=False, is_stateless=True, place=place)
    return structs.replace(message, conversation=channel)


def press(
    control: Control,
    message_id: int = 1_000,
    *,
    author: Author = ADA,
    is_moderator: bool = False,
    place: Place = GUILD,
    conversation: str = "tea",
) -> Press:
    """Make somebody use a button."""
    return Press(
        message_id=message_id,
        control=control,
        conversation=conversation,
        author=author,
        place=place,
        is_moderator=is_moderator,
    )


async def whispered(core: CoreAtHand, one: Press) -> list[str]:
    """Use a button, and return what that person alone was told, or was told instead."""
    target = RecordingTarget(first_id=5_000)
    await core.core.press(one, target)
    return target.whispers + target.texts


# Buttons.


async def test_an_answer_offers_what_can_be_done_with_it(core: CoreAtHand) -> None:
    """A whole answer can be given anew and explained; one that broke off can also go on; and the
    buttons stand under the last message alone."""
    await core.hear(said(1))
    assert core.target.controls == {1_000: ("regenerate", "details")}
    core.will_say(["Half an ", CUT])
    await core.hear(said(2_000))
    assert core.target.controls[1_001] == ("regenerate", "continue", "details")


async def test_an_error_offers_nothing(core: CoreAtHand) -> None:
    """Where nothing was answered, there is nothing to explain."""
    core.will_say([TimedOut()])
    await core.hear(said(1))
    assert core.target.controls == {}


async def test_r18_stop_ends_the_answer_and_keeps_what_was_said(core: CoreAtHand) -> None:
    """Stop cancels the stream at once; what was said is marked and stored."""
    core.will_say(["One two", asyncio.Event()])
    hearing = asyncio.create_task(core.hear(said(1)))
    await core.target.until_shown("One two")
    assert await whispered(core, press("stop")) == []
    with pytest.raises(asyncio.CancelledError):
        await hearing
    assert core.model.open_streams == 0
    assert core.target.visible == {1_000: "One two\n\n*[stopped]*"}
    assert (await core.stored())[-1] == ("assistant", "One two", "cancelled")


async def test_stop_after_the_end_says_so(core: CoreAtHand) -> None:
    """An answer that is finished cannot be stopped."""
    await core.hear(said(1))
    assert await whispered(core, press("stop")) == [IS_OVER]


async def test_regenerate_answers_the_same_question_in_the_same_place(core: CoreAtHand) -> None:
    """The same prompt is asked once more, shared with nobody; the new answer takes the place of the
    old one, on the screen and in the history."""
    core.will_say("First.", "Second.")
    await core.hear(said(1, "Why?"))
    await core.core.press(press("regenerate"), core.target)
    first, second = core.model.requests
    assert second.messages == first.messages
    assert second.is_personal
    assert core.target.visible == {1_000: "Second."}
    assert await core.stored() == [("user", "Why?", None), ("assistant", "Second.", "stop")]
    assert core.target.controls == {1_000: ("regenerate", "details")}


async def test_regenerate_in_the_middle_continues_from_what_was_before(core: CoreAtHand) -> None:
    """An older answer is given anew with what led to it, and what followed it stays."""
    core.will_say("One.", "Two.", "Three.")
    for id_ in (1, 2_000, 3_000):
        await core.hear(said(id_, f"Question {id_}?"))
    core.will_say("Two, anew.")
    await core.core.press(press("regenerate", 1_001), core.target)
    shown = core.prompts[-1]
    assert [words in shown[0] for words in ("Question 1?",)] == [True]
    assert "Question 2000?" in shown[-1]
    assert not any("Question 3000?" in text for text in shown)
    texts = [text for role, text, _ in await core.stored() if role == "assistant"]
    assert texts == ["One.", "Two, anew.", "Three."]


async def test_a_failed_regenerate_leaves_the_answer(core: CoreAtHand) -> None:
    """If nothing new comes, what was there stays, and the person alone is told why."""
    core.will_say("First.", [TimedOut()])
    await core.hear(said(1))
    await core.core.press(press("regenerate"), core.target)
    assert core.target.visible == {1_000: "First."}
    assert len(core.target.whispers) == 1
    assert (await core.stored())[-1] == ("assistant", "First.", "stop")


async def test_a_shorter_answer_takes_the_further_parts_away(tmp_path: Path) -> None:
    """Messages that the new answer does not need are removed."""
    target = RecordingTarget(max_length=100)
    async with open_core(tmp_path, target=target) as core:
        core.will_say("word " * 50, "Short.")
        await core.hear(said(1))
        parts = sorted(target.visible)
        assert len(parts) > 1
        await core.core.press(press("regenerate", parts[-1]), target)
        assert target.visible == {parts[0]: "Short."}
        assert (await core.history.recent("tea", 9))[-1].part_ids == ()


async def test_continue_goes_on_where_the_answer_broke_off(core: CoreAtHand) -> None:
    """The model sees its half and is told to go on; the rest is shown below and stored after it,
    and what the bot told the model is not stored."""
    core.will_say(["Half an ", CUT], "answer.")
    await core.hear(said(1, "Why?"))
    await core.core.press(press("continue"), core.target)
    assert core.prompts[-1][-2] == "Half an"
    assert GO_ON in core.prompts[-1][-1]
    assert core.target.visible[1_001] == "answer."
    assert [text for _, text, _ in await core.stored()] == ["Why?", "Half an", "answer."]
    assert [one.parent_id for one in await core.history.recent("tea", 9)] == [None, 1, 1_000]


async def test_details_tell_what_the_answer_was_made_of(core: CoreAtHand) -> None:
    """The receipt names model and host, times, tokens and cost, and what was used."""
    usage = Usage(prompt_tokens=1_200, completion_tokens=80, cached_tokens=1_000)
    core.will_say(["Because.", End(finish_reason="stop", usage=usage)])
    await core.hear(said(1))
    (receipt,) = await whispered(core, press("details"))
    for words in (
        "**Model** scripted/script, speaking as Acore",
        "**Computed** local, on this machine",
        "1,200 read (1,000 of them from the server's cache), 80 written",
        "**Cost** nothing: it ran locally",
        "**Remembered** nothing that was said before",
    ):
        assert words in receipt


async def test_buttons_are_for_who_asked_and_for_moderators(core: CoreAtHand) -> None:
    """Another person is told so and nothing happens; a moderator may."""
    await core.hear(said(1))
    for control in ("regenerate", "continue", "details"):
        assert await whispered(core, press(control, author=BEN)) == [NOT_THEIRS]
    assert len(core.model.requests) == 1
    assert await whispered(core, press("details", author=BEN, is_moderator=True)) != [NOT_THEIRS]


async def test_s25_a_button_acts_only_for_the_owner_of_the_answer(core: CoreAtHand) -> None:
    """A hundred forged presses are refused: other people's answers, ids of nothing, of questions,
    of other guilds, of answers that are forgotten, with every control."""
    core.will_say(["Half an ", CUT], ["Growing", asyncio.Event()])
    await core.hear(said(1))
    growing = asyncio.create_task(core.hear(said(2_000, author=CLEO)))
    await core.target.until_shown("Growing")
    before = (len(core.model.requests), core.target.visible, await core.stored())
    elsewhere = Place("10", "91")
    controls: tuple[Control, ...] = ("stop", "regenerate", "continue", "details", "a", "b", "tie")
    forged = [press(control, id_, author=BEN) for control in controls for id_ in range(999, 1_003)]
    forged += [press(control, id_) for control in controls for id_ in (0, 1, 7, 1_001, -5, 2**63)]
    forged += [press(control, place=elsewhere) for control in controls[1:]]
    forged += [
        press(control, id_, is_moderator=True, author=BEN, place=elsewhere)
        for control in controls[1:]
        for id_ in (1_000, 1, 999, 4)
    ]
    assert len(forged) == 100
    refused = [await whispered(core, one) for one in forged]
    assert all(len(told) == 1 for told in refused)
    assert (len(core.model.requests), core.target.visible, await core.stored()) == before
    await core.core.press(press("stop", 1_001, author=CLEO), RecordingTarget())
    with pytest.raises(asyncio.CancelledError):
        await growing


async def test_a_replayed_press_finds_nothing_after_its_answer_is_gone(core: CoreAtHand) -> None:
    """What was deleted cannot be asked for again by an old button."""
    await core.hear(said(1))
    await core.core.deleted([1])
    assert await whispered(core, press("regenerate")) == [UNKNOWN_ANSWER]


async def test_a_reset_forgets_what_answers_were_made_of(core: CoreAtHand) -> None:
    """Receipts name files and models: they go with what was said."""
    await core.hear(said(1))
    await core.hear(structs.replace(command("reset"), may_manage=True))
    assert await core.records.answers.find(1_000) is None
    assert await whispered(core, press("details")) == [UNKNOWN_ANSWER]


# Stateless questions.


async def test_ten_who_ask_the_same_share_one_stream(tmp_path: Path) -> None:
    """Ten people ask the same in ten channels at once: one upstream stream, ten answers, each with
    a receipt that says so."""
    gate = asyncio.Event()
    scripted = Scripted(answers=[["Because ", gate, "it is."]])
    targets = [RecordingTarget(first_id=1_000 * n) for n in range(1, 11)]
    async with (
        open_core(tmp_path, model=scripted, around=DeduplicatedModel(scripted)) as core,
        asyncio.TaskGroup() as group,
    ):
        for n, target in enumerate(targets, start=1):
            who = Author(str(n), f"Person {n}")
            group.create_task(core.core(asked(n, author=who, channel=f"c{n}"), target))
        for target in targets:
            await target.until_shown("Because ")
        gate.set()
        for target in targets:
            await target.until_shown("Because it is.")
        assert len(scripted.requests) == 1
        await asyncio.sleep(0)
        for n in range(1, 11):
            record = await _record(core, 1_000 * n)
            assert record.receipt.is_shared
    assert len(scripted.requests) == 1


async def _record(core: CoreAtHand, id_: int):  # type: ignore[no-untyped-def] # noqa: ANN202
    async with asyncio.timeout(10):
        while (record := await core.records.answers.find(id_)) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    return record


async def test_a_private_chat_is_never_shared_with_a_guild(tmp_path: Path) -> None:
    """The same question at the same time, in a guild, in another guild and in private, is asked
    three times."""
    gate = asyncio.Event()
    scripted = Scripted(answers=[["Because ", gate, "it is."]])
    private = structs.replace(
        asked(3, author=CLEO), place=Place(channel="5"), is_private=True, conversation="5"
    )
    other = structs.replace(asked(2, author=BEN), place=Place("10", "92"))
    async with (
        open_core(tmp_path, model=scripted, around=DeduplicatedModel(scripted)) as core,
        asyncio.TaskGroup() as group,
    ):
        targets = [RecordingTarget(first_id=1_000 * n) for n in (1, 2, 3)]
        for message, target in zip((asked(1), other, private), targets, strict=True):
            group.create_task(core.core(message, target))
        for target in targets:
            await target.until_shown("Because ")
        assert len(scripted.requests) == 3
        gate.set()


async def test_a_stateless_question_is_in_no_conversation(core: CoreAtHand) -> None:
    """Nothing of it enters the history; it can be given anew all the same."""
    core.will_say("First.", "Second.")
    await core.hear(asked(1))
    assert await core.stored("91") == []
    await core.core.press(press("regenerate", conversation="91"), core.target)
    assert core.target.visible == {1_000: "Second."}
    assert core.model.requests[0].messages == core.model.requests[1].messages


# What holds in a place.


async def test_a_place_kept_from_clouds_is_answered_locally(tmp_path: Path) -> None:
    """Where the chosen model is in a cloud, a local one answers and says why; the cloud is not even
    asked what it has; and without a local one, nobody answers."""
    policy = Policy(persona="acore", model="cloud/big", is_local_only=True, shows_host=True)
    async with open_core(
        tmp_path,
        policy=policy,
        clouds=["cloud"],
        local_models=[MODEL],
        model=Scripted(answers=["Hi."]),
    ) as core:
        await core.hear(said(1))
        (request,) = core.model.requests
        assert (request.model, request.is_local_only) == (MODEL, True)
        (shown,) = core.target.visible.values()
        assert f"answered by {MODEL}, because this place is kept from clouds" in shown
        assert shown.endswith(f"-# {MODEL} · local")
    async with open_core(tmp_path / "2", policy=policy, clouds=["cloud"]) as core:
        await core.hear(said(1))
        assert core.model.requests == []
        assert "kept from clouds" in core.target.texts[0]


@pytest.mark.parametrize("when_spent", ["embedded", "refuse"])
async def test_a_budget_that_is_used_up(tmp_path: Path, when_spent: str) -> None:
    """Then the model inside the package answers, with a mark, or nobody: as the owner chose."""
    limits = Limits(person_tokens=10, when_spent=when_spent)  # type: ignore[arg-type]
    policy = Policy(persona="acore", model="cloud/big", limits=limits)
    async with open_core(
        tmp_path,
        policy=policy,
        clouds=["cloud"],
        last_resort=MODEL,
        model=Scripted(answers=["Hi."]),
    ) as core:
        await core.hear(said(1))
        (shown,) = core.target.visible.values()
        if when_spent == "refuse":
            assert core.model.requests == []
            assert shown.startswith("Your budget for today has not enough left")
        else:
            (request,) = core.model.requests
            assert (request.model, request.is_local_only) == (MODEL, True)
            assert f"answered by {MODEL}, because today's budget is used up" in shown


async def test_who_may_use_the_bot(tmp_path: Path) -> None:
    """Where only some roles may, the others are told by a whisper, and nothing is asked."""
    policy = Policy(persona="acore", model=MODEL, users=("7",))
    async with open_core(tmp_path, policy=policy) as core:
        await core.hear(said(1, roles=("8",)))
        assert (core.target.whispers, core.model.requests) == ([NOT_FOR_THEM], [])
        await core.hear(said(2, roles=("7",)))
        assert len(core.model.requests) == 1


async def test_everyone_may_have_a_conversation_of_their_own(tmp_path: Path) -> None:
    """Then nobody's words are in another's prompt, in the same channel."""
    policy = Policy(persona="acore", model=MODEL, memory="person")
    async with open_core(tmp_path, policy=policy) as core:
        await core.hear(said(1, "I am Ada."))
        await core.hear(said(2_000, "Who am I?", author=BEN))
        await core.hear(said(3_000, "Who am I?"))
        assert "Ada." not in str(core.prompts[1])
        assert "I am Ada." in str(core.prompts[2])


async def test_a_person_who_paused_is_not_taken_in(core: CoreAtHand) -> None:
    """They are told by a whisper; nothing is asked and nothing stored."""
    await core.privacy.pause(ADA)
    await core.hear(said(1, "my words"))
    assert (core.target.whispers, core.model.requests, await core.stored()) == ([PAUSED], [], [])


async def test_p3_s3_the_words_of_who_paused_reach_no_prompt_of_others(core: CoreAtHand) -> None:
    """Neither what they said before, nor the answers to it, nor as a quote or a regenerate."""
    await core.hear(said(1, "canary one"))
    core.will_say("I heard canary two.")
    await core.hear(said(2_000, "canary two"))
    await core.privacy.pause(ADA)
    core.will_say("Hello, Ben.")
    await core.hear(said(3_000, "What was said?", author=BEN))
    assert "canary" not in str(core.prompts[-1])
    count = len(core.model.requests)
    await core.core.press(press("regenerate", author=BEN, is_moderator=True), RecordingTarget())
    assert len(core.model.requests) == count
    await core.privacy.resume(ADA)
    await core.hear(said(4_000, "And now?", author=BEN))
    assert "canary" in str(core.prompts[-1])


async def test_s8_words_of_another_channel_reach_nobody_who_asks_here(core: CoreAtHand) -> None:
    """Neither by a reply to a message of there, nor by a summary, nor by a button used here for an
    answer of there, by a moderator of this channel either."""
    there = structs.replace(said(1, "canary"), conversation="secret", place=Place("9", "99"))
    core.will_say("I heard canary.", "Hello.")
    await core.hear(there)
    for reply_to in (1, 1_000):
        await core.hear(said(2_000 + reply_to, "What was that?", author=BEN, reply_to=reply_to))
    await core.hear(command("summary", author=BEN))
    for control in ("regenerate", "continue", "details"):
        one = press(control, author=BEN, is_moderator=True)
        assert await whispered(core, one) == [UNKNOWN_ANSWER]
    assert not any("canary" in str(prompt) for prompt in core.prompts[1:])
    assert len(core.prompts) == 4


# Messages that change or go.


async def test_r18_a_deleted_question_stops_its_answer_and_takes_it_along(core: CoreAtHand) -> None:
    """The stream ends, the answer is removed, and nothing of it is stored."""
    core.will_say(["One two", asyncio.Event()])
    hearing = asyncio.create_task(core.hear(said(1)))
    await core.target.until_shown("One two")
    await core.core.deleted([1])
    with pytest.raises(asyncio.CancelledError):
        await hearing
    assert (core.model.open_streams, core.target.removed) == (0, [1_000])
    assert await core.stored() == []
    assert await core.records.answers.find(1_000) is None


async def test_p5_a_deleted_question_is_forgotten_with_its_answer(core: CoreAtHand) -> None:
    """Both leave the history, the record too, and the front end learns what to remove."""
    await core.hear(said(1, "canary"))
    await core.hear(said(2_000, "Next."))
    assert await core.core.deleted([1]) == (1_000,)
    assert "canary" not in str(await core.stored())
    assert await core.records.answers.find(1_000) is None
    await core.hear(said(3_000, "Again."))
    assert "canary" not in str(core.prompts[-1])


async def test_p5_a_deleted_answer_is_forgotten(core: CoreAtHand) -> None:
    """The question stays; deleting what nobody knows does nothing."""
    await core.hear(said(1))
    assert await core.core.deleted([1_000, 12_345]) == ()
    assert [role for role, *_ in await core.stored()] == ["user"]


async def test_p5_an_edited_question_changes_what_is_remembered(core: CoreAtHand) -> None:
    """The new words are stored, the answer offers to be given anew, and then it answers them; an
    edit that changes no words, or of what nobody knows, does nothing."""
    core.will_say("First.", "Second.")
    await core.hear(said(1, "Old words?"))
    assert await core.core.edited(1, "New words?") == (1_000, ("regenerate", "details"))
    assert await core.core.edited(1, "New words?") is None
    assert await core.core.edited(77, "New words?") is None
    await core.core.press(press("regenerate"), core.target)
    assert "New words?" in core.prompts[-1][-1]
    assert "Old words?" not in core.prompts[-1][-1]


async def test_p5_a_guild_that_is_left_is_forgotten(core: CoreAtHand) -> None:
    """All its conversations and records go; other guilds and private chats stay."""
    await core.hear(said(1))
    await core.hear(structs.replace(said(2_000), conversation="else", place=Place("10", "92")))
    await core.hear(heard(3_000, conversation="dm"))
    await core.core.left(Place("9"))
    assert await core.stored("tea") == []
    assert await core.records.answers.find(1_000) is None
    assert len(await core.stored("else")) == len(await core.stored("dm")) == 2
    assert core.left == ["9"]


async def test_p5_a_channel_or_thread_that_is_gone_is_forgotten(core: CoreAtHand) -> None:
    """A channel is known by its place, a thread by the conversation's name."""
    await core.hear(structs.replace(said(1), conversation="discord:91"))
    await core.hear(structs.replace(said(2_000), conversation="discord:95"))
    await core.core.left(Place("9", "95"))
    assert await core.stored("discord:95") == []
    assert len(await core.stored("discord:91")) == 2
    await core.core.left(Place("9", "91"))
    assert await core.stored("discord:91") == []


# Commands that ask.


def command(name: str, argument: str = "", *, author: Author = ADA) -> IncomingCommand:
    """Make a command in a guild."""
    return IncomingCommand(
        conversation="tea", author=author, name=name, argument=argument, place=GUILD
    )


async def test_a_summary_is_told_and_not_kept(core: CoreAtHand) -> None:
    """It is made of what was said, with no trace in the history and no buttons."""
    await core.hear(command("summary"))
    assert core.target.texts == [NOTHING_TO_SUMMARIZE]
    await core.hear(said(1, "We meet at noon."))
    core.will_say("You meet at noon.")
    await core.hear(command("summary"))
    assert any("We meet at noon." in text for text in core.prompts[-1])
    assert core.target.texts[-1] == "You meet at noon."
    assert len(await core.stored()) == 2
    assert 1_002 not in core.target.controls


async def test_a_command_of_who_paused_is_refused(core: CoreAtHand) -> None:
    """No words of theirs are sent by a command either."""
    await core.hear(said(1))
    await core.privacy.pause(ADA)
    await core.hear(command("summary"))
    assert core.target.texts[-1] == PAUSED


async def test_why_is_explained(core: CoreAtHand) -> None:
    """The rule that decides is named."""
    assert await core.core.explain(said(1)) == "I answer this: the bot was mentioned."
    silent = structs.replace(said(1), mentions_bot=False)
    assert (await core.core.explain(silent)).startswith("I stay silent here: ")
    await core.privacy.pause(ADA)
    assert "asked me not to" in await core.core.explain(said(1))


# Several at once, and changes in between.


async def until_waiting(core: CoreAtHand) -> None:
    """Let everything go as far as it can."""
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.mark.parametrize("is_stateless", [True, False])
async def test_a_double_click_asks_once(core: CoreAtHand, is_stateless: bool) -> None:
    """Who presses while the answer is being written anew is told so; whoever replies to that answer
    is answered after it."""
    gate = asyncio.Event()
    core.will_say("First.", ["Second", gate, "."])
    await core.hear(asked(1) if is_stateless else said(1))
    conversation = "91" if is_stateless else "tea"
    again = press("regenerate", conversation=conversation)
    first = asyncio.create_task(core.core.press(again, core.target))
    await core.target.until_shown("Second")
    assert await whispered(core, again) == [AT_IT]
    reply = structs.replace(said(2_000, author=BEN), reply_to=1_000, conversation=conversation)
    replying = asyncio.create_task(core.core(reply, RecordingTarget(first_id=6_000)))
    await until_waiting(core)
    gate.set()
    async with asyncio.timeout(10):
        await asyncio.gather(first, replying)
    assert core.target.visible == {1_000: "Second."}
    assert len(core.model.requests) == 3


async def test_what_was_local_only_stays_so(tmp_path: Path) -> None:
    """A moderator for whom clouds are allowed cannot send what somebody said to a local model only;
    and a place that is kept from clouds from now on is so for those who wait already."""
    policy = Policy(persona="acore", model="cloud/big")
    async with open_core(tmp_path, policy=policy, clouds=["cloud"], local_models=[MODEL]) as core:
        await core.policies.turn_knob("9", "role", "7", "local_only", "yes")
        await core.hear(said(1, "my secret", roles=("7",)))
        await core.core.press(press("regenerate", author=BEN, is_moderator=True), core.target)
        assert [one.is_local_only for one in core.model.requests] == [True, True]
        gate = asyncio.Event()
        core.will_say(["One", gate], "Two.")
        first = asyncio.create_task(core.hear(said(2_000)))
        await core.target.until_shown("One")
        second = asyncio.create_task(core.hear(said(3_000, "my secret")))
        await until_waiting(core)
        await core.policies.turn_knob("9", "guild", "9", "local_only", "yes")
        gate.set()
        await asyncio.gather(first, second)
        assert [one.is_local_only for one in core.model.requests[2:]] == [False, True]


async def test_who_pauses_is_not_taken_in_by_an_edit(core: CoreAtHand) -> None:
    """New words of an old message are not stored, nor is a vote."""
    await core.hear(said(1, "Old words."))
    await core.privacy.pause(ADA)
    assert await core.core.edited(1, "New words.") is None
    assert (await core.stored())[0] == ("user", "Old words.", None)
    assert len(await whispered(core, press("a", 1_001))) == 1


async def test_a_deleted_question_ends_what_is_being_continued(core: CoreAtHand) -> None:
    """The rest that was being written goes with the rest."""
    core.will_say(["Half an ", CUT], ["answer", asyncio.Event()])
    await core.hear(said(1))
    going_on = asyncio.create_task(core.core.press(press("continue"), core.target))
    await core.target.until_shown("answer")
    removed = await core.core.deleted([1])
    with pytest.raises(asyncio.CancelledError):
        await going_on
    assert (removed, core.target.removed) == ((1_000,), [1_001])
    assert await core.stored() == []
    assert await core.records.answers.find(1_001) is None


async def test_a_deleted_answer_that_grows_is_stopped(core: CoreAtHand) -> None:
    """It does not come back when it would have been finished."""
    core.will_say(["One", asyncio.Event()])
    hearing = asyncio.create_task(core.hear(said(1)))
    await core.target.until_shown("One")
    await core.core.deleted([1_000])
    with pytest.raises(asyncio.CancelledError):
        await hearing
    assert await core.stored() == []


async def test_an_answer_without_a_record_goes_with_its_question(core: CoreAtHand) -> None:
    """The history knows it too."""
    await core.hear(said(1))
    await core.records.answers.delete(1_000)
    assert await core.core.deleted([1]) == (1_000,)
    assert await core.stored() == []


async def test_an_answer_goes_on_once(core: CoreAtHand) -> None:
    """Whoever presses a second time is told that it went on already."""
    core.will_say(["Half an ", CUT], "answer.", "answer!")
    await core.hear(said(1))
    await core.core.press(press("continue"), core.target)
    assert await whispered(core, press("continue")) == [WENT_ON]
    assert len(core.model.requests) == 2


async def test_the_rest_of_an_answer_can_be_given_anew(core: CoreAtHand) -> None:
    """The model sees its own half as its own, and is told once more to go on."""
    core.will_say(["Half an ", CUT], "answer.", "reply.")
    await core.hear(said(1, "Why?"))
    await core.core.press(press("continue"), core.target)
    await core.core.press(press("regenerate", 1_001), core.target)
    before, again = core.model.requests[1:]
    assert [one.role for one in again.messages] == ["system", "user", "assistant", "user"]
    assert GO_ON in again.messages[-1].text
    assert again.messages[:-1] == before.messages[:-1]
    assert [text for _, text, _ in await core.stored()] == ["Why?", "Half an", "reply."]
    assert (await core.history.recent("tea", 9))[-1].parent_id == 1_000


async def test_an_edit_while_the_answer_is_written_is_stored(core: CoreAtHand) -> None:
    """The words that count are those that stand there."""
    gate = asyncio.Event()
    core.will_say(["One", gate])
    hearing = asyncio.create_task(core.hear(said(1, "the tpyo")))
    await core.target.until_shown("One")
    await core.core.edited(1, "the typo")
    gate.set()
    await hearing
    assert (await core.stored())[0] == ("user", "the typo", None)


async def test_what_is_quoted_of_who_is_forgotten_is_not_stored(core: CoreAtHand) -> None:
    """Also by somebody else, whose answer is being written just then."""
    gate = asyncio.Event()
    core.will_say(["One", gate])
    quote = Quote(kind="reply", text="canary of Ben", author=BEN)
    hearing = asyncio.create_task(core.hear(said(1, "What is that?", quotes=(quote,))))
    await core.target.until_shown("One")
    await core.privacy.forget(BEN)
    gate.set()
    await hearing
    stored = str(await core.stored())
    assert "What is that?" in stored
    assert "canary" not in stored


async def test_whoever_has_it_given_anew_pays(tmp_path: Path) -> None:
    """A moderator's press is charged to the moderator."""
    policy = Policy(persona="acore", model=MODEL, limits=Limits(person_tokens=100_000))
    async with open_core(tmp_path, policy=policy) as core:
        await core.hear(said(1))
        before = await core.budgets.describe(policy, GUILD, ADA)
        nothing = await core.budgets.describe(policy, GUILD, CLEO)
        await core.core.press(press("regenerate", author=CLEO, is_moderator=True), core.target)
        assert await core.budgets.describe(policy, GUILD, ADA) == before
        assert await core.budgets.describe(policy, GUILD, CLEO) != nothing


async def test_where_it_may_not_speak_it_obeys_no_button_and_no_command(core: CoreAtHand) -> None:
    """Nobody gets an answer there, by whatever way."""
    await core.hear(said(1))
    await core.policies.turn_knob("9", "guild", "9", "answers", "nothing")
    count = len(core.model.requests)
    assert await whispered(core, press("regenerate")) == [NOT_HERE]
    await core.hear(command("summary"))
    assert core.target.texts[-1] == NOT_HERE
    assert len(core.model.requests) == count


async def test_members_compare_what_the_owner_offers(core: CoreAtHand) -> None:
    """A model that they may not choose they may not name here either, for it costs its owner."""
    wish = '{"question": "Why?", "first": "cloud/dear", "second": ""}'
    await core.hear(command("compare", wish))
    assert "Only those who may choose the model" in core.target.texts[-1]
    await core.hear(command("compare", ""))
    assert core.target.texts[-1].startswith("There is nothing to compare.")
    assert core.model.requests == []


async def test_who_paused_is_told_once_an_hour(core: CoreAtHand) -> None:
    """Not at every mention."""
    await core.privacy.pause(ADA)
    for id_ in range(1, 7):
        await core.hear(said(id_))
    assert core.target.whispers == [PAUSED]
    core.clock.advance(3_601)
    await core.hear(said(9))
    assert core.target.whispers == [PAUSED] * 2
