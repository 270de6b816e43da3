"""The way of a message, whole: from being heard to being answered, stored and accounted for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

import pytest
from msgspec import structs
from tests.fakes.core import MODEL, SHIPPED, open_core
from tests.fakes.core import CoreAtHand as Core
from tests.fakes.recording_target import Edited, Posted, RecordingTarget, Typing
from tests.fakes.talk import ADA, BEN, NOON, answered, asked, heard, line

from acore_bot.chat.answer import STOPPED_EARLY
from acore_bot.chat.conversation import Conversations
from acore_bot.chat.gathering import Patience
from acore_bot.chat.keeping import NOT_REMEMBERED
from acore_bot.chat.persona import PersonaLibrary
from acore_bot.chat.policy import Policy
from acore_bot.errors import (
    ConfigurationError,
    HistoryError,
    TargetGone,
    TimedOut,
    TooLong,
    Unexpected,
)
from acore_bot.history.sqlite import SQLiteHistory
from acore_bot.messages import (
    Author,
    Delta,
    End,
    IncomingCommand,
    Message,
    ModelInfo,
    Place,
    Usage,
    Waiting,
)
from acore_bot.providers.scripted import CUT, Scripted
from acore_bot.telemetry.events import PromptTrimmed, Stages, TurnFailed, TurnFinished

HERE = Place(channel="tea")
BROKEN = TimedOut(provider="scripted", model="script", detail="secret words", remedy="Ask anew.")
RESET = IncomingCommand(conversation="tea", author=ADA, name="reset", place=HERE, may_manage=True)
TOLD = "scripted/script took too long. Ask anew."


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    """A core in which nothing was said yet; after each test, nothing goes on."""
    async with open_core(tmp_path) as core:
        yield core


async def test_a_message_is_answered_and_both_are_stored(core: Core) -> None:
    """The answer becomes visible; question and answer are stored, each with its parent."""
    await core.history.append([asked(1), answered(2, parent_id=1)])
    core.will_say("I am fine. ")
    await core.hear(heard(3, "How are you?"))
    assert core.target.visible == {1_000: "I am fine."}
    assert (await core.history.recent("tea", 10))[2:] == (
        asked(3, "How are you?", parent_id=2),
        Message(
            id=1_000,
            conversation="tea",
            role="assistant",
            author=Author("bot", "Acore"),
            text="I am fine.",
            created_at=NOON,
            parent_id=3,
            finish_reason="stop",
            model=MODEL,
        ),
    )


async def test_the_steps_of_a_turn(core: Core) -> None:
    """Typing, the first text, its growth, and a final edit, in this order."""
    go_on = asyncio.Event()
    core.will_say(["One", go_on, " two", End(finish_reason="stop")])
    turn = asyncio.create_task(core.hear(heard(1)))
    await core.target.until_shown("One")
    go_on.set()
    await turn
    assert core.target.steps[:3] == [
        Typing(is_on=True),
        Typing(is_on=False),
        Posted(1_000, "One", False),
    ]
    assert core.target.steps[-1] == Edited(1_000, "One two", True, ("regenerate", "details"))


async def test_what_is_not_said_to_the_bot_is_left_alone(core: Core) -> None:
    """A message that deserves no answer is neither answered nor stored, nor seen by the model."""
    await core.hear(heard(1, is_private=False))
    assert core.target.steps == []
    assert await core.stored() == []
    assert core.model.requests == []


async def test_a_conversation_is_remembered(core: Core) -> None:
    """Each question comes with what was said before it."""
    core.will_say("Hello, Ada.")
    await core.hear(heard(1, "I am Ada."))
    await core.hear(heard(2_000, "Who am I?"))
    assert core.prompts[-1] == ["I am Ada.", "Hello, Ada.", "Who am I?"]


async def test_a_reply_to_an_older_message_branches(core: Core) -> None:
    """A reply to something older sees only what led to it, and is stored as its continuation."""
    await core.history.append(line(3))
    await core.hear(heard(50, "And then?", reply_to=2))
    assert core.prompts == [["Hello?", "Hello?", "And then?"]]
    chain = await core.history.chain(1_000, 10)
    assert [said.id for said in chain] == [1, 2, 50, 1_000]


async def test_a_reply_to_an_answer_that_grows_sees_it_whole(core: Core) -> None:
    """Ben replies to what Ada is still being told: his turn waits, and then continues from it."""
    go_on = asyncio.Event()
    core.will_say(["One", go_on, " two"], "Three")
    ada = asyncio.create_task(core.hear(heard(1, "Count!")))
    await core.target.until_shown("One")
    ben = asyncio.create_task(core.hear(heard(2, "Go on!", author=BEN, reply_to=1_000)))
    go_on.set()
    await asyncio.gather(ada, ben)
    assert core.prompts[1] == ["Count!", "One two", "Go on!"]


async def test_a_person_who_cannot_wait_is_answered_in_order(core: Core) -> None:
    """A second message of one person is answered after the first, and sees it."""
    core.will_say("One", "Two")
    await asyncio.gather(core.hear(heard(1, "First")), core.hear(heard(2_000, "Second")))
    assert core.prompts == [["First"], ["First", "One", "Second"]]
    assert core.model.max_open_streams == 1


async def test_private_words_stay_private(core: Core) -> None:
    """What was said in one conversation is in no prompt of another, not even by a reply to it."""
    core.will_say("I shall keep it.")
    await core.hear(heard(1, "My secret is 12345.", conversation="private"))
    core.will_say("Hello.")
    for reply_to in (None, 1, 1_000):
        message = heard(5_000 + (reply_to or 0), author=BEN, reply_to=reply_to)
        await core.hear(message)
    others = str(core.model.requests[1:])
    assert "12345" not in others
    assert "keep" not in others


async def test_persona_and_model_are_the_conversations_choice(core: Core) -> None:
    """The chosen persona speaks, at its temperature, and the chosen model is asked."""
    await core.policies.choose(HERE, "persona", "tutor")
    await core.policies.choose(HERE, "model", "scripted/other")
    await core.hear(heard(1, "Why?"))
    (request,) = core.model.requests
    tutor = PersonaLibrary([SHIPPED]).load("tutor")
    assert request.messages[0].text == tutor.text
    assert request.temperature == tutor.temperature
    assert request.model == "scripted/other"
    answer = (await core.history.recent("tea", 1))[0]
    assert (answer.author.name, answer.model) == ("Tutor", "scripted/other")


async def test_a_missing_persona_is_told(tmp_path: Path) -> None:
    """If the persona is gone, the person learns so; nothing is asked and nothing stored."""
    async with open_core(tmp_path, policy=Policy(persona="aunt", model=MODEL)) as core:
        await core.hear(heard(1))
    assert core.target.texts == [
        "There is no persona named 'aunt'. Known personas: acore, storyteller, tutor."
    ]
    assert core.model.requests == []


async def test_a_command_is_run(core: Core) -> None:
    """What a command returns is posted as it is, once."""
    await core.hear(IncomingCommand(conversation="tea", author=ADA, name="history"))
    assert core.target.visible == {1_000: "Nothing was said yet."}


async def test_a_wrong_command_is_told(core: Core) -> None:
    """An error of a command is told in its own words."""
    await core.hear(IncomingCommand(conversation="tea", author=ADA, name="dance"))
    assert core.target.texts == ["There is no command /dance. /help lists them."]


async def test_a_fault_before_any_text_is_told(core: Core) -> None:
    """If the model fails at once, its sentence is the answer; nothing is stored."""
    core.will_say([BROKEN])
    await core.hear(heard(1))
    assert core.target.texts == [TOLD]
    assert await core.stored() == []
    stages = Stages(admitted=0, context=0, edits=0)
    assert core.events == [TurnFailed(model=MODEL, kind="timeout", total_seconds=0, stages=stages)]


async def test_a_fault_of_describing_is_told(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that cannot even be described fails like any other."""

    async def fail(model: str, *, local_only: bool = False) -> ModelInfo:
        raise BROKEN

    monkeypatch.setattr(core.model, "describe", fail)
    await core.hear(heard(1))
    assert core.target.texts == [TOLD]
    stages = Stages(admitted=0)
    assert core.events == [TurnFailed(model=MODEL, kind="timeout", total_seconds=0, stages=stages)]


async def test_a_fault_after_text_keeps_the_part(core: Core) -> None:
    """If the model fails in the middle, the part stays, is marked, and is stored as truncated."""
    core.will_say(["One two", BROKEN])
    await core.hear(heard(1))
    assert core.target.visible == {1_000: f"One two\n\n*[{TOLD}]*"}
    assert await core.stored() == [("user", "Hello?", None), ("assistant", "One two", "truncated")]


async def test_a_broken_stream_keeps_the_part(core: Core) -> None:
    """A stream that ends without saying why is stored as truncated, and marked so."""
    core.will_say(["One two", CUT])
    await core.hear(heard(1))
    assert core.target.visible == {1_000: "One two\n\n*[the answer broke off before its end]*"}
    assert (await core.stored())[1] == ("assistant", "One two", "truncated")


async def test_an_answer_without_words_is_not_stored(core: Core) -> None:
    """A model that only thought is excused, and the history stays as it was."""
    core.will_say([Delta(reasoning="Hmm."), End(finish_reason="length")])
    await core.hear(heard(1))
    assert core.target.texts[0].startswith("The model used up its token limit by thinking.")
    assert await core.stored() == []


async def stop_when_shown(core: Core, text: str) -> None:
    """Begin a turn, and cancel it when a text is visible."""
    turn = asyncio.create_task(core.hear(heard(1)))
    await core.target.until_shown(text)
    turn.cancel()
    with pytest.raises(asyncio.CancelledError):
        await turn


async def test_stopping_keeps_the_part(core: Core) -> None:
    """Cancelling stops the model; what was said stays, is marked, and is stored as cancelled."""
    core.will_say(["One two", asyncio.Event()])
    await stop_when_shown(core, "One two")
    assert core.target.visible == {1_000: "One two\n\n*[stopped]*"}
    assert await core.stored() == [("user", "Hello?", None), ("assistant", "One two", "cancelled")]
    assert isinstance(core.events[-1], TurnFinished)
    assert core.events[-1].finish_reason == "cancelled"


async def test_stopping_before_any_text_stores_nothing(core: Core) -> None:
    """Cancelling while the model is silent says so, and leaves no trace."""
    core.will_say([asyncio.Event()])
    turn = asyncio.create_task(core.hear(heard(1)))
    await core.asked()
    turn.cancel()
    with pytest.raises(asyncio.CancelledError):
        await turn
    assert core.target.texts == [STOPPED_EARLY]
    assert await core.stored() == []


async def test_stopping_during_the_last_edit_loses_nothing(core: Core) -> None:
    """An answer that was complete when it was cancelled is shown and stored as complete."""
    go_on = asyncio.Event()
    core.will_say(["One two", go_on])
    core.target.edit_gate.clear()
    turn = asyncio.create_task(core.hear(heard(1)))
    await core.target.until_shown("One two")
    go_on.set()
    await core.target.until(lambda steps: isinstance(steps[-1], Edited))
    turn.cancel()
    await asyncio.sleep(0)
    core.target.edit_gate.set()
    with pytest.raises(asyncio.CancelledError):
        await turn
    assert await core.stored() == [("user", "Hello?", None), ("assistant", "One two", "stop")]
    assert isinstance(core.events[-1], TurnFinished)
    assert core.events[-1].finish_reason == "stop"


async def test_stopping_twice_stops_at_once(core: Core) -> None:
    """If the place itself hangs, another cancellation does not wait for it."""
    go_on = asyncio.Event()
    core.will_say(["One two", go_on])
    core.target.edit_gate.clear()
    turn = asyncio.create_task(core.hear(heard(1)))
    await core.target.until_shown("One two")
    go_on.set()
    await core.target.until(lambda steps: isinstance(steps[-1], Edited))
    for _ in range(2):
        turn.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await turn
    assert await core.stored() == []


async def test_stopping_while_waiting_for_a_turn_is_silent(core: Core) -> None:
    """Whoever is cancelled before the own turn began has said nothing to stop."""
    core.will_say(["One", asyncio.Event()])
    first = asyncio.create_task(core.hear(heard(1)))
    await core.target.until_shown("One")
    second = asyncio.create_task(core.hear(heard(2)))
    await asyncio.sleep(0)
    for turn in (second, first):
        turn.cancel()
        with suppress(asyncio.CancelledError):
            await turn
    assert core.target.visible == {1_000: "One\n\n*[stopped]*"}


async def test_too_long_is_tried_once_more(core: Core) -> None:
    """If the server finds the prompt too long, a smaller one is asked, and the person sees only
    the answer."""
    await core.history.append(line(20, "a word or two " * 20))
    core.will_say([TooLong(prompt_tokens=3_500, context_tokens=1_200)], "I am fine.")
    await core.hear(heard(50, "How are you?"))
    first, second = core.prompts
    assert len(second) < len(first)
    assert second[-1] == "How are you?"
    assert core.model.requests[1].max_tokens == 600, "the window that was named is half of it"
    assert core.target.visible == {1_000: "I am fine."}
    assert [type(event) for event in core.events] == [PromptTrimmed, TurnFinished]


@pytest.mark.parametrize("turns", [0, 20])
async def test_too_long_twice_is_told(core: Core, turns: int) -> None:
    """If nothing can be left out, or the smaller prompt is refused as well, that is the answer."""
    said = line(turns, "a word or two " * 20)
    await core.history.append(said)
    core.will_say([TooLong(provider="scripted", model="script")])
    await core.hear(heard(50))
    (told,) = core.target.texts
    assert told.startswith("The message is too long for scripted/script. Make it shorter,")
    assert len(core.model.requests) == (2 if turns else 1)
    assert len(await core.stored()) == len(said)


async def test_too_long_after_some_text_is_a_fault(core: Core) -> None:
    """Once something was said, nothing is asked again: nobody reads two beginnings."""
    await core.history.append(line(20, "a word or two " * 20))
    core.will_say(["One two", TooLong(provider="scripted", model="script")])
    await core.hear(heard(50))
    assert len(core.model.requests) == 1
    assert core.target.texts[-1].startswith("One two\n\n*[The message is too long for")


async def test_the_unexpected_is_told(core: Core, caplog: pytest.LogCaptureFixture) -> None:
    """A fault that nobody foresaw leaves nobody without a word, and its traceback is in the log."""
    core.will_say([RuntimeError("odd")])
    await core.hear(heard(1))
    assert core.target.texts == [str(Unexpected())]
    assert await core.stored() == []
    assert [event.kind for event in core.events if isinstance(event, TurnFailed)] == ["unexpected"]
    assert "RuntimeError: odd" in caplog.text


async def test_what_was_said_before_the_unexpected_is_kept(core: Core) -> None:
    """Such a fault after some text leaves the part, marked, and stored as truncated."""
    core.will_say(["One two", RuntimeError("odd")])
    await core.hear(heard(1))
    assert core.target.texts[-1] == f"One two\n\n*[{Unexpected()}]*"
    assert (await core.stored())[1] == ("assistant", "One two", "truncated")


async def test_a_reset_forgets_the_answer_under_way_too(core: Core) -> None:
    """What is being said while its conversation is forgotten does not come back."""
    gate = asyncio.Event()
    core.will_say(["One ", gate, "two."])
    hearing = asyncio.create_task(core.hear(heard(1)))
    await core.target.until_shown("One ")
    await core.hear(RESET)
    gate.set()
    await hearing
    assert await core.stored() == []


async def test_wrong_settings_are_told(core: Core) -> None:
    """An error of ours that is no model's fault is told in its own words."""
    core.will_say([ConfigurationError("There is no provider.", remedy="Name one.")])
    await core.hear(heard(1))
    assert core.target.texts[-1] == "There is no provider. Name one."


async def test_a_history_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """If the past cannot be loaded, the person learns why, and the model is not asked."""
    async with open_core(tmp_path) as core:
        pass
    await core.hear(heard(1))
    assert core.target.texts == [f"The history {tmp_path / 'history.db'} is closed."]
    assert core.model.requests == []


async def test_r2_a_full_disk_silences_nobody(core: Core, caplog: pytest.LogCaptureFixture) -> None:
    """While nothing can be stored, 1,000 messages are answered, each conversation is told once, the
    log says so once, and with room again what is said is stored again."""
    core.will_say(["I am fine. " * 500])  # more than one page of the store
    await set_most_pages(core.history, 1)  # SQLite takes it as: no more than there are
    for number in range(500):
        await core.hear(heard(2 * number + 1, conversation="tea"))
        await core.hear(heard(2 * number + 2, conversation="milk"))
    complaints = [text for text in core.target.texts if text.startswith(NOT_REMEMBERED)]
    assert len(core.target.visible) == 1_000 + 2
    assert len(complaints) == 2
    assert caplog.text.count("answers are not stored") == 1
    assert await core.stored() == []
    await set_most_pages(core.history, 100_000)
    await core.hear(heard(2_000))
    assert len(await core.stored()) == 2
    await set_most_pages(core.history, 1)
    await core.hear(heard(3_000))
    await core.hear(heard(3_001))
    assert sum(text.startswith(NOT_REMEMBERED) for text in core.target.texts) == 3


async def set_most_pages(history: SQLiteHistory, pages: int) -> None:
    """Make the store's disk full, or give it room."""
    await history._thread.read(lambda store: store.execute(f"PRAGMA max_page_count = {pages}"))


async def test_an_answer_that_cannot_be_stored_is_still_seen(core: Core) -> None:
    """If storing fails, the answer stays, and a word below says that it will not be remembered."""
    await core.history.append([asked(1, conversation="milk")])
    core.will_say("I am fine.")
    await core.hear(heard(1))
    assert core.target.visible == {
        1_000: "I am fine.",
        1_001: "What we say here is not remembered just now. "
        "The message 1 is stored already; nothing was stored with it.",
    }
    assert await core.stored() == []
    assert isinstance(core.events[-1], TurnFinished)


async def test_a_place_that_is_gone_is_not_told(core: Core) -> None:
    """If the place where answers appear is gone, its front end learns so; what people saw there was
    said, and is kept."""
    go_on = asyncio.Event()
    core.will_say(["One", go_on])
    core.target.edit_failure = TargetGone("The channel was deleted.")
    turn = asyncio.create_task(core.hear(heard(1)))
    await core.target.until_shown("One")
    go_on.set()
    with pytest.raises(TargetGone):
        await turn
    assert core.target.texts == ["One"]
    assert await core.stored() == [("user", "Hello?", None), ("assistant", "One", "stop")]


async def test_what_happened_is_told(core: Core) -> None:
    """A finished turn leaves one record: who answered, how it ended, where its time went, and what
    it took."""
    usage = Usage(prompt_tokens=30, completion_tokens=2, cached_tokens=20)
    begin, go_on = asyncio.Event(), asyncio.Event()
    core.will_say([begin, "One", go_on, " two", End(finish_reason="stop", usage=usage)])
    core.clock.now = 100.0
    turn = asyncio.create_task(core.hear(heard(1)))
    await core.asked()
    core.clock.advance(2)
    begin.set()
    await core.target.until_shown("One")
    core.clock.advance(3)
    go_on.set()
    await turn
    assert core.events == [
        TurnFinished(
            model=MODEL,
            finish_reason="stop",
            first_delta_seconds=2,
            total_seconds=5,
            stages=Stages(
                admitted=0, context=0, queued=0, first_delta=2, stream=3, edits=0, commit=0
            ),
            prompt_tokens=30,
            completion_tokens=2,
            cached_tokens=20,
            cost=0,
        )
    ]


async def test_a_trim_is_told(tmp_path: Path) -> None:
    """When the oldest messages leave the prompt, a record says how many left and stayed."""
    async with open_core(tmp_path, model=Scripted(context_tokens=2_000)) as core:
        await core.history.append(line(20, "a word or two " * 10))
        await core.hear(heard(50))
        trimmed = core.events[0]
        assert isinstance(trimmed, PromptTrimmed)
        assert trimmed.dropped_messages + trimmed.kept_messages == 40
        assert trimmed.kept_messages == len(core.prompts[0]) - 1


async def test_a_branch_sees_what_the_line_has_dropped(tmp_path: Path) -> None:
    """A reply to a message from before the last trim still comes with what led to it."""
    async with open_core(tmp_path, model=Scripted(context_tokens=2_000)) as core:
        await core.history.append(line(20, "a word or two " * 10))
        await core.hear(heard(50))
        await core.hear(heard(51, "And then?", reply_to=4))
        assert len(core.prompts[1]) == 4 + 1


async def test_what_a_server_counted_is_heeded(core: Core) -> None:
    """A server that counts many more tokens than were estimated is sent less from then on."""
    await core.history.append(line(20, "a word or two " * 20))
    usage = Usage(prompt_tokens=100_000, completion_tokens=1)
    core.will_say(["Hello.", End(finish_reason="stop", usage=usage)])
    await core.hear(heard(50))
    await core.hear(heard(2_000))
    first, second = core.prompts
    assert len(second) < len(first)


async def test_events_hold_no_words(core: Core) -> None:
    """No record holds what was said or who said it."""
    core.will_say("I am fine.")
    await core.hear(heard(1, "My secret is 12345."))
    assert not [word for word in ("12345", "fine", "Ada", "tea") if word in str(core.events)]


async def test_a_place_in_line_is_shown_until_the_answer_begins(core: Core) -> None:
    """Who waits sees the place, in the message that becomes the answer; it is not stored."""
    gate = asyncio.Event()
    core.will_say([Waiting(2, 8.0), gate, "I am fine."])
    hearing = asyncio.create_task(core.hear(heard(1)))
    await core.target.until_shown("*1 before you in line, about 8 s.*")
    gate.set()
    await hearing
    assert core.target.visible == {1_000: "I am fine."}
    assert (await core.stored())[1] == ("assistant", "I am fine.", "stop")


async def test_who_really_answered_is_stored(core: Core) -> None:
    """If another model had to answer, the history names it and the estimate learns nothing."""
    usage = Usage(prompt_tokens=9_999, completion_tokens=1)
    end = End(finish_reason="stop", provider="b", model="m", fell_back_from=MODEL, usage=usage)
    core.will_say(["Hello.", end])
    await core.hear(heard(1))
    assert (await core.history.recent("tea", 9))[-1].model == "b/m"
    assert core.turns.asker.prompts._estimator.rate(MODEL) == 1.0


async def test_text_that_utf_8_cannot_hold_is_mended_at_the_door(core: Core) -> None:
    """Half of a surrogate pair, as a terminal may deliver it, neither fails nor reaches a model."""
    await core.hear(heard(1, "Hello \udcff?"))
    assert core.prompts == [["Hello \ufffd?"]]
    assert (await core.stored())[0] == ("user", "Hello \ufffd?", None)


async def test_a_reset_while_the_past_is_loaded_is_not_undone(core: Core) -> None:
    """A turn that is still loading the past when its conversation is forgotten stores nothing."""
    await core.history.append(line(2))
    loading, go_on = asyncio.Event(), asyncio.Event()
    recent = core.history.recent

    async def slow(conversation: str, limit: int) -> tuple[Message, ...]:
        said = await recent(conversation, limit)
        loading.set()
        await go_on.wait()
        return said

    core.history.recent = slow  # type: ignore[method-assign]
    hearing = asyncio.create_task(core.hear(heard(50)))
    await loading.wait()
    reset = RESET
    resetting = asyncio.create_task(core.hear(reset))
    go_on.set()
    await asyncio.gather(hearing, resetting)
    assert await recent("tea", 100) == ()


async def test_a_prompt_too_long_for_who_answers_instead_is_shortened(core: Core) -> None:
    """If another model would answer but for the length, it gets a shorter prompt, and the asked
    model's own window is not forgotten for it."""
    await core.history.append(line(40, "a word or two " * 20))
    refusal = TooLong(provider="b", model="small", prompt_tokens=4_000, context_tokens=2_000)
    end = End(finish_reason="stop", provider="b", model="small", fell_back_from=MODEL)
    core.will_say([refusal], ["Hello.", end], "I am back.")
    await core.hear(heard(500))
    await core.hear(heard(600))
    before, shortened, after = (len(request.messages) for request in core.model.requests)
    assert shortened < before < after
    assert core.target.texts[-1] == "I am back."


async def test_a_store_that_fails_bothers_nobody_who_was_not_speaking_to_the_bot(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a thread the bot may have to look up whether it belongs there. If it cannot, it is silent,
    for what was said may be for somebody else."""

    async def fail(conversation: str, limit: int) -> tuple[Message, ...]:
        raise HistoryError("The file /home/ada/history is locked.")

    monkeypatch.setattr(core.history, "recent", fail)
    said = heard(1, is_private=False, is_thread=True)
    await core.hear(said)
    await core.hear(structs.replace(said, author_is_bot=True))
    await core.hear(structs.replace(said, addresses_others=True))
    await core.hear(structs.replace(said, text="#ignore"))
    assert core.target.steps == []


async def test_a_thread_to_which_the_bot_belongs_is_answered(core: Core) -> None:
    """Where it has answered before, it needs no mention; elsewhere it does."""
    await core.history.append(line(1))
    core.will_say("Yes?")
    await core.hear(heard(50, is_private=False, is_thread=True, conversation="milk"))
    assert core.target.steps == []
    await core.hear(heard(50, is_private=False, is_thread=True))
    assert core.target.visible == {1_000: "Yes?"}


async def test_what_was_answered_before_is_not_answered_when_it_comes_late(core: Core) -> None:
    """A message that is read back after an absence may have been answered before it."""
    await core.history.append(line(1))
    core.will_say("Again?")
    await core.hear(heard(1, is_late=True))
    assert core.target.steps == []
    await core.hear(heard(3, is_late=True))
    assert core.target.visible == {1_000: "Again?"}


async def test_people_elsewhere_hear_other_words_than_the_owner(
    core: Core, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where strangers read along, errors tell them nothing of the owner's files; the log does."""

    async def fail(conversation: str, limit: int) -> tuple[Message, ...]:
        raise HistoryError("The file /home/ada/history is locked.")

    monkeypatch.setattr(core.history, "recent", fail)
    taker = replace(core.turns, tell=attrgetter("public"))
    await taker(heard(1), core.target)
    (told,) = core.target.texts
    assert "/home" not in told
    assert "/home/ada/history" in caplog.text


async def test_what_a_server_repeats_of_people_is_not_logged(
    core: Core, caplog: pytest.LogCaptureFixture
) -> None:
    """Servers quote the request that they refuse; that is for those who debug."""
    caplog.set_level("INFO")
    core.will_say([TimedOut(detail="my private words")])
    await core.hear(heard(1, "my private words"))
    assert "my private words" not in caplog.text
    assert "took too long" in caplog.text


async def test_a_gathered_turn_is_stored_message_by_message(core: Core) -> None:
    """Rapid messages are answered together, and each is stored as it was said."""
    conversations = Conversations(
        core.history,
        history_messages=200,
        patience=Patience(pause_seconds=0.01, longest_seconds=1.0),
    )
    core.will_say("Both.")
    taker = replace(core.turns, conversations=conversations)
    await asyncio.gather(
        taker(heard(1, "One."), RecordingTarget()), taker(heard(2, "Two."), core.target)
    )
    assert core.target.visible == {1_000: "Both."}
    assert await core.stored() == [
        ("user", "One.", None),
        ("user", "Two.", None),
        ("assistant", "Both.", "stop"),
    ]
    said = await core.history.recent("tea", 10)
    assert [message.parent_id for message in said] == [None, 1, 2]
    assert core.prompts == [["One.\n\nTwo."]]
