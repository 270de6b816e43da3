"""What people do at the same time: edits, deletions, pauses and presses while answers are made."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec import structs
from tests.fakes.core import MODEL, CoreAtHand, open_core
from tests.fakes.recording_target import RecordingTarget
from tests.fakes.talk import ADA, BEN, heard

from acore_bot.chat.policy import Policy
from acore_bot.chat.presses import UNKNOWN_ANSWER, WITHDRAWN
from acore_bot.messages import (
    AnswerRecord,
    Author,
    Control,
    IncomingCommand,
    IncomingMessage,
    Place,
    Press,
    Quote,
)
from acore_bot.providers.scripted import CUT

GUILD = Place("9", "91")
LATER = 2_000  # an id after those of the first answers


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[CoreAtHand]:
    """A core in which nothing was said yet."""
    async with open_core(tmp_path) as core:
        yield core


def said(id_: int, text: str = "Hello?", author: Author = ADA, **more: object) -> IncomingMessage:
    """Make a mention of the bot in a guild."""
    message = heard(id_, text, author=author, is_private=False, mentions_bot=True, place=GUILD)
    return structs.replace(message, **more)


def press(control: Control, message_id: int = 1_000, author: Author = ADA) -> Press:
    """Make somebody use a button, as a moderator if it is not Ada."""
    return Press(
        message_id=message_id,
        control=control,
        conversation="tea",
        author=author,
        place=GUILD,
        is_moderator=author != ADA,
    )


async def pressed(core: CoreAtHand, one: Press) -> list[str]:
    """Use a button, and return all that was told to anybody."""
    target = RecordingTarget(first_id=5_000)
    await core.core.press(one, target)
    return target.whispers + target.texts


async def as_far_as_it_can() -> None:
    """Let everything go as far as it can without the disk."""
    for _ in range(50):
        await asyncio.sleep(0)


# Edits.


@pytest.mark.parametrize("control", ["regenerate", "continue"])
async def test_p5_an_edit_while_an_answer_is_given_anew_is_stored(
    core: CoreAtHand, control: Control
) -> None:
    """The question stands in the history already, so its new words go there at once."""
    gate = asyncio.Event()
    core.will_say(["Half an ", CUT], ["Second", gate])
    await core.hear(said(1, "the tpyo"))
    going = asyncio.create_task(core.core.press(press(control), core.target))
    await core.target.until_shown("Second")
    edited = await core.core.edited(1, "the typo")
    gate.set()
    await going
    assert (await core.stored())[0] == ("user", "the typo", None)
    if control == "regenerate":
        assert edited is None  # what is being written need not be urged


async def test_p5_an_edit_of_what_waits_for_its_turn_is_answered(core: CoreAtHand) -> None:
    """Whoever mends a message before its turn has come is answered, and remembered, by the new
    words."""
    gate = asyncio.Event()
    core.will_say(["One", gate], "Two.")
    first = asyncio.create_task(core.hear(said(1)))
    await core.target.until_shown("One")
    second = asyncio.create_task(core.hear(said(LATER, "the tpyo")))
    await as_far_as_it_can()
    assert await core.core.edited(LATER, "the tipo") is None
    assert await core.core.edited(LATER, "the typo") is None
    gate.set()
    await asyncio.gather(first, second)
    assert "the typo" in core.prompts[-1][-1]
    assert ("user", "the typo", None) in await core.stored()
    assert core.conversations._rewordings == {}


async def test_p5_an_edit_after_the_words_were_stored_is_not_lost(
    core: CoreAtHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A turn that is storing its last things does not take in new words any more."""
    put, storing, gate = core.records.answers.put, asyncio.Event(), asyncio.Event()

    async def slowly(record: AnswerRecord) -> None:
        storing.set()
        await gate.wait()
        await put(record)

    monkeypatch.setattr(core.records.answers, "put", slowly)
    hearing = asyncio.create_task(core.hear(said(1, "the tpyo")))
    await storing.wait()
    await core.core.edited(1, "the typo")
    gate.set()
    await hearing
    assert (await core.stored())[0] == ("user", "the typo", None)


# Deletions.


async def test_p5_a_question_deleted_while_its_answer_is_shown_takes_it_along(
    core: CoreAtHand,
) -> None:
    """Also when its last edit waits for the place, and nothing of it is stored yet."""
    core.target.post_gate.clear()
    core.will_say("One.")
    hearing = asyncio.create_task(core.hear(said(1)))
    await core.target.until_shown("One.")
    deleting = asyncio.create_task(core.core.deleted([1]))
    await as_far_as_it_can()
    core.target.post_gate.set()
    await deleting
    await asyncio.wait([hearing])
    assert core.target.visible == {}
    assert await core.stored() == []


async def test_p5_an_answer_that_grows_in_a_guild_that_is_left_is_not_stored(
    core: CoreAtHand,
) -> None:
    """Even if it is the first that was ever said there, so that nothing else knows the place."""
    gate = asyncio.Event()
    core.will_say(["One", gate])
    hearing = asyncio.create_task(core.hear(said(1)))
    await core.target.until_shown("One")
    await core.core.left(Place("9"))
    gate.set()
    await hearing
    assert await core.stored() == []
    assert await core.records.answers.places() == {}


# Pauses, and what is forgotten.


async def test_p3_what_is_quoted_of_who_is_forgotten_stays_in_no_record(core: CoreAtHand) -> None:
    """A question outside of any conversation is kept in its record, with what it quotes; not with
    what was forgotten while it was answered."""
    gate = asyncio.Event()
    core.will_say(["One", gate])
    quote = Quote(kind="reply", text="canary of Ben", author=BEN)
    question = said(1, "What is that?", is_asked=True, is_stateless=True, quotes=(quote,))
    hearing = asyncio.create_task(core.hear(question))
    await core.target.until_shown("One")
    await core.privacy.forget(BEN)
    gate.set()
    await hearing
    record = await core.records.answers.find(1_000)
    assert record is not None
    assert record.question == structs.replace(question, quotes=(Quote(kind="reply", text=""),))


@pytest.mark.parametrize(
    ("wish", "is_stateless"), [("pause", False), ("forget", False), ("forget", True)]
)
async def test_p1_p3_a_press_finds_what_was_wished_while_it_was_looked_up(
    core: CoreAtHand, monkeypatch: pytest.MonkeyPatch, wish: str, is_stateless: bool
) -> None:
    """Who pauses or is forgotten between the look at what is stored and the turn is not asked
    about any more, and nothing is recorded anew."""
    await core.hear(said(1, "canary", is_asked=is_stateless, is_stateless=is_stateless))
    wishing: list[asyncio.Task[str]] = []
    looks = 0
    store = core.records.answers if is_stateless else core.history
    name = "find" if is_stateless else "chain"
    look = getattr(store, name)

    async def then_wish(*key: int) -> object:
        nonlocal looks
        looks += 1
        found = await look(*key)
        if looks == (2 if is_stateless else 1):
            wishing.append(asyncio.create_task(getattr(core.privacy, wish)(ADA)))
            await asyncio.sleep(0)
        return found

    monkeypatch.setattr(store, name, then_wish)
    told = await pressed(core, press("regenerate", author=BEN))
    await asyncio.gather(*wishing)
    assert told in ([UNKNOWN_ANSWER], [WITHDRAWN])
    assert len(core.model.requests) == 1
    if wish == "forget":
        assert await core.records.answers.find(1_000) is None


# Places that are kept from clouds meanwhile.


async def kept_from_clouds(core: CoreAtHand) -> None:
    """Let everyone wait who has begun to, and then keep the guild from clouds."""
    await as_far_as_it_can()
    await asyncio.sleep(0.05)
    await core.policies.turn_knob("9", "guild", "9", "local_only", "yes")


@pytest.mark.parametrize("way", ["regenerate", "continue", "summary"])
async def test_what_waits_for_its_turn_obeys_what_holds_by_then(tmp_path: Path, way: str) -> None:
    """A button and a summary that wait for somebody's turn send nothing to a cloud if the place is
    kept from clouds in the meantime."""
    policy = Policy(persona="acore", model="cloud/big")
    async with open_core(tmp_path, policy=policy, clouds=["cloud"], local_models=[MODEL]) as core:
        gate = asyncio.Event()
        core.will_say(["Half an ", CUT], ["Two", gate], "Three.")
        await core.hear(said(1, "my secret"))
        second = asyncio.create_task(core.hear(said(LATER)))
        await core.target.until_shown("Two")
        waiting = asyncio.create_task(
            core.hear(IncomingCommand(conversation="tea", author=ADA, name="summary", place=GUILD))
            if way == "summary"
            else core.core.press(press(way), RecordingTarget(first_id=5_000))  # type: ignore[arg-type]
        )
        await kept_from_clouds(core)
        gate.set()
        await asyncio.gather(second, waiting)
        assert [one.is_local_only for one in core.model.requests] == [False, False, True]


# Two answers at once.


def comparing(question: str = "Why?", *names: str) -> IncomingCommand:
    """Make somebody have models compared, who may choose any."""
    first, second = names or ("scripted/one", "scripted/two")
    wish = f'{{"question": "{question}", "first": "{first}", "second": "{second}"}}'
    return IncomingCommand(
        conversation="tea", author=ADA, name="compare", argument=wish, place=GUILD, may_manage=True
    )


async def test_the_quicker_of_two_waits_for_the_other(core: CoreAtHand) -> None:
    """The answers stand in the order that was drawn, and nothing of B is seen before A is whole."""
    gate = asyncio.Event()
    core.will_say(["Slow", gate, "."], "Quick.")
    running = asyncio.create_task(core.hear(comparing()))
    await core.target.until_shown("**A**\nSlow")
    await as_far_as_it_can()
    assert len(core.model.requests) == 2
    assert core.target.texts == ["**A**\nSlow"]
    gate.set()
    await running
    shown = [*core.target.visible.values()]
    assert shown[:2] == ["**A**\nSlow.", "**B**\nQuick."]
    assert len(shown) == 3


async def test_who_is_withdrawn_is_compared_no_more(core: CoreAtHand) -> None:
    """Both answers end and leave, and there is no vote."""
    core.will_say(["One", asyncio.Event()], ["Two", asyncio.Event()])
    running = asyncio.create_task(core.hear(comparing()))
    await core.target.until_shown("**A**\nOne")
    await core.privacy.forget(ADA)
    await running
    assert core.target.removed == [1_000]
    assert core.target.controls == {}


@pytest.mark.parametrize("may_manage", [True, False])
async def test_where_clouds_are_kept_out_local_models_are_compared(
    tmp_path: Path, may_manage: bool
) -> None:
    """Whoever names no models gets two that may answer there, or hears that there are not two."""
    policy = Policy(persona="acore", model="cloud/big", is_local_only=True)
    async with open_core(tmp_path, policy=policy, clouds=["cloud"]) as core:
        offered = structs.replace(comparing("Why?", "", ""), may_manage=may_manage)

        async def list_models(*, local_only: bool = False) -> dict[str, tuple[str, ...]]:
            assert local_only
            return {"scripted": ("one", "two")}

        models = ("cloud/big", "scripted/one", "cloud/small", "scripted/two")
        chat = dataclasses.replace(core.core, offered_models=models, list_models=list_models)
        await chat(offered, core.target)
        assert {one.model for one in core.model.requests} == {"scripted/one", "scripted/two"}
        poor = dataclasses.replace(chat, offered_models=models[:2])
        await poor(structs.replace(offered, may_manage=False), core.target)
        assert core.target.texts[-1].startswith("There is no model to compare scripted/one with.")
