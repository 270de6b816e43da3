"""A reply becomes visible while it grows: the newest text wins, and nothing is left behind."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.fakes.recording_target import Edited, Posted, RecordingTarget, Typing

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
        message_id = await reply.finish("Hello.")
    assert target.steps == [Typing(is_on=True), Typing(is_on=False), Posted(1_000, "Hello.", True)]
    assert message_id == 1_000


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
        assert await reply.finish("One two three.") == 1_000
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
