"""What a person sees in the end, whatever became of the answer."""

from typing import get_args

import pytest

from acore_bot.chat.answer import (
    NOTES,
    NOTHING_SAID,
    ONLY_THOUGHT,
    STOPPED_EARLY,
    Answer,
    place_in_line,
)
from acore_bot.errors import ModelError, TimedOut
from acore_bot.messages import Delta, End, FinishReason, Waiting

TIMED_OUT = TimedOut(provider="scripted", model="script", detail="secret words", remedy="Ask anew.")
TOLD = "scripted/script took too long. Ask anew."


def make_answer(
    text: str = "",
    *,
    reasoning: str = "",
    ends: FinishReason | None = None,
    fault: ModelError | None = None,
    is_stopped: bool = False,
    remarks: tuple[str, ...] = (),
) -> Answer:
    """Make an answer that was asked at 10 s and said at 12 s what it said."""
    answer = Answer(
        model="scripted/script", asked_at=10.0, fault=fault, is_stopped=is_stopped, remarks=remarks
    )
    if text or reasoning:
        answer.grow(Delta(text, reasoning), at=12.0)
    if ends:
        answer.end = End(finish_reason=ends)
    return answer


def test_an_answer_grows() -> None:
    """Deltas add up to the text; the first one, thought or said, sets the time."""
    answer = make_answer(reasoning="Hmm.")
    answer.grow(Delta("Hello "), at=13.0)
    answer.grow(Delta("there."), at=14.0)
    assert answer.text == "Hello there."
    assert answer.has_reasoning
    assert answer.first_delta_at == 12.0


def test_a_long_answer_is_joined_once() -> None:
    """Fifty million characters are put together when the text is read, not at each delta, for
    which the test's time would not do; and then they stay."""
    answer = make_answer("Well, ")
    page = Delta("a" * 1000)
    for _ in range(50_000):
        answer.grow(page, at=13.0)
    text = answer.text
    assert (text[:7], len(text)) == ("Well, a", 6 + 50_000_000)
    assert answer.text is text
    answer.grow(Delta("h"), at=14.0)
    assert answer.text.endswith("aah")


def test_nothing_was_said_at_first() -> None:
    """Before the first delta, and after a mere thought, the text is empty."""
    assert make_answer().text == make_answer(reasoning="Hmm.").text == ""


def test_a_whole_answer_has_no_note() -> None:
    """An answer that came to its end is shown as it is, without the space around it."""
    answer = make_answer("\n Hello. \n", ends="stop")
    assert answer.final_text == "Hello."
    assert answer.finish_reason == "stop"


@pytest.mark.parametrize(
    ("reason", "note"),
    [
        ("length", "cut off at the token limit"),
        ("filtered", "cut off by the provider's content filter"),
        ("truncated", "the answer broke off before its end"),
        ("cancelled", "stopped"),
    ],
)
def test_a_part_is_marked_as_one(reason: FinishReason, note: str) -> None:
    """An answer that is not whole is kept, and says below itself what cut it."""
    assert make_answer("Hello", ends=reason).final_text == f"Hello\n\n*[{note}]*"
    assert make_answer(ends=reason).final_text == f"*[{note}]*"


@pytest.mark.parametrize("reason", get_args(FinishReason))
def test_no_answer_is_invisible(reason: FinishReason) -> None:
    """However an answer ends, there is something to show."""
    assert make_answer(" \n", ends=reason).final_text.strip()


def test_a_stream_without_an_end_is_truncated() -> None:
    """What ends without saying why is never taken for complete."""
    answer = make_answer("Hello")
    assert answer.finish_reason == "truncated"
    assert answer.final_text == "Hello\n\n*[the answer broke off before its end]*"


def test_a_fault_after_some_text_is_noted_below() -> None:
    """If a fault cuts an answer, its sentence and remedy stand below the part; no detail does."""
    answer = make_answer("Hello", ends="stop", fault=TIMED_OUT)
    assert answer.final_text == f"Hello\n\n*[{TOLD}]*"
    assert answer.finish_reason == "truncated"


def test_a_fault_alone_is_told_plainly() -> None:
    """If nothing was said before the fault, the fault is the answer."""
    assert make_answer(fault=TIMED_OUT).final_text == TOLD


def test_a_stopped_answer_says_so() -> None:
    """Being stopped outweighs whatever end the stream had."""
    answer = make_answer("Hello", ends="stop", is_stopped=True)
    assert answer.finish_reason == "cancelled"
    assert answer.final_text == "Hello\n\n*[stopped]*"
    assert make_answer(is_stopped=True).final_text == STOPPED_EARLY


def test_thinking_that_used_up_the_limit_is_explained() -> None:
    """If reasoning took all tokens, the person learns what the owner can change."""
    assert make_answer(reasoning="Hmm.", ends="length").final_text == ONLY_THOUGHT


def test_having_nothing_to_say_is_admitted() -> None:
    """If a model ends without a word, the person is asked to try other words."""
    assert make_answer(ends="stop").final_text == NOTHING_SAID
    assert make_answer(reasoning="Hmm.", ends="stop").final_text == NOTHING_SAID


@pytest.mark.parametrize(
    ("text", "closed"),
    [
        ("```python\nx = 1", "```python\nx = 1\n```"),
        ("~~~~\n```\nx", "~~~~\n```\nx\n~~~~"),
        ("```\nx\n```\nDone", "```\nx\n```\nDone"),
        ("```\nx\n``` not the end", "```\nx\n``` not the end\n```"),
    ],
)
def test_a_note_stands_outside_of_code(text: str, closed: str) -> None:
    """A code block that the answer leaves open is closed before the note, and only then."""
    assert make_answer(text, ends="length").final_text == f"{closed}\n\n*[{NOTES['length']}]*"
    assert make_answer(text, ends="stop").final_text == text


def test_an_answer_of_another_model_says_so() -> None:
    """If the model that was asked could not answer, the person learns who did."""
    answer = make_answer("Hello", ends="stop")
    assert answer.answered_by == answer.model
    answer.end = End(
        finish_reason="stop", provider="embedded", model="small", fell_back_from=answer.model
    )
    assert answer.answered_by == "embedded/small"
    note = f"answered by embedded/small, because {answer.model} could not"
    assert answer.final_text == f"Hello\n\n*[{note}]*"


def test_remarks_stand_below_the_answer() -> None:
    """What could not be read of the files is said below a whole answer, one after the other."""
    answer = make_answer("Hello", ends="stop", remarks=("a.zip: no", "b.zip: no"))
    assert answer.final_text == "Hello\n\n*[a.zip: no; b.zip: no]*"
    assert answer.finish_reason == "stop"


def test_remarks_stand_among_other_notes() -> None:
    """What cut the answer comes first, then the remarks, then who answered instead."""
    answer = make_answer("Hello", remarks=("a.zip: no",))
    answer.end = End(
        finish_reason="length", provider="embedded", model="small", fell_back_from=answer.model
    )
    note = f"answered by embedded/small, because {answer.model} could not"
    assert answer.final_text == f"Hello\n\n*[{NOTES['length']}; a.zip: no; {note}]*"


def test_remarks_stand_below_a_fault_too() -> None:
    """Where there is no answer, or only half of one, people still learn what became of a file."""
    answer = make_answer(fault=TIMED_OUT, remarks=("a.zip: no",))
    assert answer.final_text == f"{TOLD}\n\n*[a.zip: no]*"
    half = make_answer("Half", fault=TIMED_OUT, remarks=("a.zip: no",))
    assert half.final_text == f"Half\n\n*[{TOLD} a.zip: no]*"
    empty = make_answer(ends="stop", remarks=("a.zip: no",))
    assert empty.final_text == f"{NOTHING_SAID}\n\n*[a.zip: no]*"


@pytest.mark.parametrize(
    ("waiting", "told"),
    [
        (Waiting(1), "*You are next in line.*"),
        (Waiting(1, 13.6), "*You are next in line, about 14 s.*"),
        (Waiting(3, 20.0), "*2 before you in line, about 20 s.*"),
    ],
)
def test_who_waits_is_told_the_place(waiting: Waiting, told: str) -> None:
    """How many are before one, and how long that has taken, if anyone knows."""
    assert place_in_line(waiting) == told
