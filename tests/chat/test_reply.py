"""A reply becomes visible while it grows: the newest text wins, and nothing is left behind."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.fakes.recording_target import Attached, Edited, Posted, RecordingTarget, Typing

from acore_bot.chat.reply import Reply


@pytest.fixture
def target() -> RecordingTarget:
    """A place that records."""
    return RecordingTarget()


@pytest.fixture(autouse=True)
async def no_task_is_left() -> AsyncIterator[None]:
    """After each test, only the test's own tasks are there."""
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}


def ignore(message_id: int) -> None:
    """Learn nothing."""


async def test_a_short_answer_is_posted_once(target: RecordingTarget) -> None:
    """An answer that is final before anything was shown is one final post, after the typing."""
    async with Reply(target, ignore) as reply:
        ids = await reply.finish("Hello.")
    assert target.steps == [Typing(is_on=True), Typing(is_on=False), Posted(1_000, "Hello.", True)]
    assert ids == (1_000,)


async def test_typing_lasts_until_there_is_text(target: RecordingTarget) -> None:
    """Typing is shown at once, and is over before the first text appears."""
    async with Reply(target, ignore) as reply:
        await target.until(lambda steps: steps == [Typing(is_on=True)])
        reply.show("Hello")
        await target.until_shown("Hello")
        assert target.steps[1:] == [Typing(is_on=False), Posted(1_000, "Hello", False)]
        await reply.finish("Hello.")


async def test_an_answer_grows_by_edits(target: RecordingTarget) -> None:
    """Each newer text is an edit of the one message, and only the last is final."""
    async with Reply(target, ignore) as reply:
        for text in ("One", "One two", "One two three"):
            reply.show(text)
            await target.until_shown(text)
        assert await reply.finish("One two three.") == (1_000,)
    assert target.steps[2:] == [
        Posted(1_000, "One", False),
        Edited(1_000, "One two", False),
        Edited(1_000, "One two three", False),
        Edited(1_000, "One two three.", True),
    ]


async def test_only_the_newest_text_is_shown(target: RecordingTarget) -> None:
    """What grows while an edit is under way is shown in the next one, without what was between."""
    target.edit_gate.clear()
    async with Reply(target, ignore) as reply:
        reply.show("1")
        await target.until_shown("1")
        reply.show("1 2")
        await target.until_shown("1 2")
        for text in ("1 2 3", "1 2 3 4", "1 2 3 4 5"):
            reply.show(text)
        target.edit_gate.set()
        await target.until_shown("1 2 3 4 5")
        await reply.finish("1 2 3 4 5 6")
    assert target.texts == ["1", "1 2", "1 2 3 4 5", "1 2 3 4 5 6"]


async def test_what_grows_during_the_post_is_not_lost(target: RecordingTarget) -> None:
    """An answer that ends while its first post is under way is completed by a final edit."""
    target.post_gate.clear()
    async with Reply(target, ignore) as reply:
        reply.show("One")
        await target.until_shown("One")
        finishing = asyncio.create_task(reply.finish("One two."))
        await asyncio.sleep(0)
        target.post_gate.set()
        await finishing
    assert target.steps[2:] == [Posted(1_000, "One", False), Edited(1_000, "One two.", True)]


async def test_no_edit_changes_nothing(target: RecordingTarget) -> None:
    """Text that is visible already is not edited in again; only the end is marked as final."""
    async with Reply(target, ignore) as reply:
        reply.show("One")
        await target.until_shown("One")
        reply.show("One")
        await asyncio.sleep(0)
        reply.show("One two")
        await target.until_shown("One two")
        await reply.finish("One two")
    assert target.steps[2:] == [
        Posted(1_000, "One", False),
        Edited(1_000, "One two", False),
        Edited(1_000, "One two", True),
    ]


async def test_blank_text_is_not_shown(target: RecordingTarget) -> None:
    """Typing goes on until there is something to read."""
    async with Reply(target, ignore) as reply:
        for text in ("", "\n", " \t "):
            reply.show(text)
            await asyncio.sleep(0)
        reply.show("\n Hello")
        await target.until_shown("\n Hello")
        await reply.finish("Hello.")
    assert target.texts == ["\n Hello", "Hello."]


async def test_the_id_is_known_as_soon_as_it_is_visible(target: RecordingTarget) -> None:
    """Whoever asked for it learns the message's id once, before any edit."""
    ids: list[int] = []
    async with Reply(target, ids.append) as reply:
        reply.show("One")
        await target.until_shown("One")
        reply.show("One two")
        await target.until_shown("One two")
        assert ids == [1_000]
        await reply.finish("One two.")
    assert ids == [1_000]


async def test_a_place_that_is_gone_fails_the_finish(target: RecordingTarget) -> None:
    """If the text cannot be posted, finishing raises what the place raised."""
    target.post_failure = ConnectionResetError("gone")
    async with Reply(target, ignore) as reply:
        with pytest.raises(ConnectionResetError):
            await reply.finish("Hello.")


async def test_a_place_that_goes_fails_the_next_show(target: RecordingTarget) -> None:
    """If an edit fails, the next text is not taken, so that the model can be stopped."""
    gone = ConnectionResetError("gone")
    target.edit_failure = gone
    async with Reply(target, ignore) as reply:
        reply.show("One")
        await target.until_shown("One")
        with pytest.raises(ConnectionResetError):  # noqa: PT012 - which of them meets it, is open
            for _ in range(100):
                reply.show("One two")
                await asyncio.sleep(0)
        with pytest.raises(ConnectionResetError):
            await reply.finish("One two.")


async def test_leaving_early_ends_the_typing(target: RecordingTarget) -> None:
    """If there is no answer after all, nothing is posted and the typing ends."""
    with pytest.raises(RuntimeError, match="no answer"):  # noqa: PT012 - it leaves the reply
        async with Reply(target, ignore):
            await target.until(lambda steps: steps == [Typing(is_on=True)])
            raise RuntimeError("no answer")
    assert target.steps == [Typing(is_on=True), Typing(is_on=False)]


async def test_cancelling_leaves_no_writer(target: RecordingTarget) -> None:
    """A reply that is cancelled in the middle of an edit ends at once, its writer with it."""
    target.edit_gate.clear()

    async def answer() -> None:
        async with Reply(target, ignore) as reply:
            reply.show("One")
            await target.until_shown("One")
            await reply.finish("One two.")

    answering = asyncio.create_task(answer())
    await target.until_shown("One two.")
    answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answering
    assert target.visible == {1_000: "One two."}


# --- As messages that have a greatest length.


@pytest.fixture
def short() -> RecordingTarget:
    """A place whose messages have 200 characters at the most."""
    return RecordingTarget(max_length=200)


def lines(count: int) -> str:
    """Return so many lines of twenty characters."""
    return "\n".join(f"line {n:>14}" for n in range(count))


async def test_an_unfinished_answer_ends_in_a_cursor(short: RecordingTarget) -> None:
    """So half an answer can be told from a whole one; the final text has none."""
    async with Reply(short, ignore) as reply:
        reply.show("so **it")
        await short.until_shown("so **it** ▌")
        await reply.finish("so **it**")
    assert short.steps[2:] == [
        Posted(1_000, "so **it** ▌", False),
        Edited(1_000, "so **it**", True),
    ]


async def test_a_full_part_is_finished_and_the_next_one_posted(short: RecordingTarget) -> None:
    """Each message has one final edit, the last; all ids are told at once and returned in order."""
    ids: list[int] = []
    text = lines(25)
    async with Reply(short, ids.append) as reply:
        for end in range(30, len(text), 30):
            reply.show(text[:end])
            await asyncio.sleep(0)
        reply.show(text)
        await short.until(lambda _: ids == [1_000, 1_001, 1_002])
        assert await reply.finish(text) == (1_000, 1_001, 1_002)
    assert "\n".join(short.visible.values()) == text
    finals = [step for step in short.steps if isinstance(step, Posted | Edited) and step.final]
    assert [step.id for step in finals] == [1_000, 1_001, 1_002]
    assert {step.id: step.text for step in finals} == short.visible


async def test_a_long_final_text_is_posted_part_by_part(short: RecordingTarget) -> None:
    """What is final before anything was shown needs no edits."""
    async with Reply(short, ignore) as reply:
        assert await reply.finish(lines(25)) == (1_000, 1_001, 1_002)
    assert [type(step) for step in short.steps] == [Typing, Typing, Posted, Posted, Posted]
    assert all(step.final for step in short.steps if isinstance(step, Posted))


async def test_the_newest_text_is_taken_once_an_edit_may_be_made(target: RecordingTarget) -> None:
    """What grows while an edit waits for its turn is in that edit."""
    target.ready_gate.clear()
    async with Reply(target, ignore) as reply:
        reply.show("1")
        await target.until_shown("1")
        reply.show("1 2")
        await target.until(lambda _: target.asked == [(1_000, False)])
        reply.show("1 2 3")
        target.ready_gate.set()
        await target.until_shown("1 2 3")
        await reply.finish("1 2 3 4")
    assert target.texts == ["1", "1 2 3", "1 2 3 4"]
    assert target.asked == [(1_000, False), (1_000, True)]


async def test_an_end_that_comes_while_an_edit_waits_is_that_edit(target: RecordingTarget) -> None:
    """An answer that ends while an edit waits for its turn needs no second one."""
    target.ready_gate.clear()
    async with Reply(target, ignore) as reply:
        reply.show("1")
        await target.until_shown("1")
        reply.show("1 2")
        await target.until(lambda _: bool(target.asked))
        finishing = asyncio.create_task(reply.finish("1 2 3"))
        await asyncio.sleep(0)
        target.ready_gate.set()
        await finishing
    assert target.steps[2:] == [Posted(1_000, "1", False), Edited(1_000, "1 2 3", True)]


async def test_a_preview_that_did_not_change_is_not_sent(short: RecordingTarget) -> None:
    """Where what grew is held back, there is nothing to edit."""
    async with Reply(short, ignore) as reply:
        reply.show("so")
        await short.until_shown("so ▌")
        for text in ("so ", "so [", "so [it](htt"):
            reply.show(text)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await reply.finish("so [it](https://example.org)")
    assert short.texts == ["so ▌", "so [it](https://example.org)"]


@pytest.mark.parametrize(
    ("max_length", "placeholder"), [(None, "*next in line*"), (200, "*next in line* ▌")]
)
async def test_a_placeholder_is_replaced_by_the_text(
    max_length: int | None, placeholder: str
) -> None:
    """Whoever waits is told so in the message that will be the answer."""
    target = RecordingTarget(max_length=max_length)
    async with Reply(target, ignore) as reply:
        reply.wait("*two before you*")
        reply.wait("*next in line*")
        await target.until_shown(placeholder)
        reply.show(" \n")
        await asyncio.sleep(0)
        assert await reply.finish("so") == (1_000,)
    assert target.texts == [placeholder, "so"]


async def test_a_final_text_that_is_another_replaces_the_newest_message(
    short: RecordingTarget,
) -> None:
    """An error instead of an answer stands where the answer was about to; finished parts stay."""
    text = lines(16)
    async with Reply(short, ignore) as reply:
        reply.show(text)
        await short.until(lambda steps: len(short.visible) == 2)
        assert await reply.finish("It broke.") == (1_000, 1_001)
    assert text.startswith(short.visible[1_000])
    assert short.visible[1_001] == "It broke."


async def test_a_note_under_the_text_is_text(short: RecordingTarget) -> None:
    """What is added to the end stands in the last part, and no part before it changes."""
    text = lines(16)
    async with Reply(short, ignore) as reply:
        reply.show(text + "\n\n")
        await short.until(lambda steps: len(short.visible) == 2)
        await reply.finish(f"{text}\n\n*[stopped]*")
    assert "\n".join(short.visible.values()) == f"{text}\n\n*[stopped]*"


async def test_ten_parts_are_ten_messages(short: RecordingTarget) -> None:
    """A text that just fits into ten messages is shown in ten."""
    async with Reply(short, ignore) as reply:
        reply.show(lines(50))
        ids = await reply.finish(lines(95))
    assert len(ids) == 10
    assert "\n".join(short.visible.values()) == lines(95)


async def test_s12_what_is_longer_than_ten_parts_is_in_a_file(short: RecordingTarget) -> None:
    """Nine parts stay messages, in place of a tenth comes a file of the whole text, and until then
    the ninth keeps its cursor while typing is shown."""
    text = lines(300)
    async with Reply(short, ignore) as reply:
        for end in range(0, len(text), 100):
            reply.show(text[:end])
            await asyncio.sleep(0)
        await short.until(lambda steps: steps[-1] == Typing(is_on=True) and len(steps) > 9)
        assert list(short.visible) == list(range(1_000, 1_009))
        assert [shown.endswith("▌") for shown in short.visible.values()] == [False] * 8 + [True]
        steps = len(short.steps)
        reply.show(text)
        await asyncio.sleep(0)
        assert len(short.steps) == steps
        assert await reply.finish(text) == tuple(range(1_000, 1_010))
    assert short.steps[-1] == Attached(
        1_009, "The answer is long; all of it is in the file.", "answer.md", text
    )
    assert short.steps[-3] == Typing(is_on=False)
    nine = "\n".join(list(short.visible.values())[:9])
    assert text.startswith(nine)
    assert all(len(shown) <= 200 for shown in short.texts)


async def test_s12_a_megabyte_is_nine_messages_and_a_file() -> None:
    """A huge text is cut no further than it is shown."""
    target = RecordingTarget(max_length=2_000)
    text = "```py\n" + "x = 1\n" * 170_000 + "```"
    async with Reply(target, ignore) as reply:
        assert len(await reply.finish(text)) == 10
    assert all(shown.startswith("```py\nx") for shown in target.texts[:9])
    assert all(len(shown) <= 2_000 for shown in target.texts)
    assert target.steps[-1] == Attached(1_009, target.texts[-1], "answer.md", text)


async def test_without_a_greatest_length_the_text_is_shown_as_it_is(
    target: RecordingTarget,
) -> None:
    """A terminal renders Markdown itself: nothing is closed, held back or cut."""
    async with Reply(target, ignore) as reply:
        reply.show("so **it [")
        await target.until_shown("so **it [")
        await reply.finish(lines(1_000))
    assert target.texts == ["so **it [", lines(1_000)]


async def test_a_final_text_that_is_blank_is_not_shown(short: RecordingTarget) -> None:
    """There is nothing to be read, so there is no message."""
    async with Reply(short, ignore) as reply:
        assert await reply.finish(" \n") == ()
    assert short.texts == []


async def test_an_end_does_not_wait_for_an_ordinary_edits_turn(target: RecordingTarget) -> None:
    """If the answer ends while an edit waits for its turn, it is asked for anew, as a final one."""
    async with Reply(target, ignore) as reply:
        reply.show("One")
        await target.until_shown("One")
        target.ready_gate.clear()
        reply.show("One two")
        await target.until(lambda _: len(target.asked) == 1)
        finishing = asyncio.create_task(reply.finish("One two three"))
        await target.until(lambda _: len(target.asked) == 2)
        target.ready_gate.set()
        await finishing
    assert target.asked == [(1_000, False), (1_000, True)]
    assert target.texts == ["One", "One two three"]
