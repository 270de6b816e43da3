"""Two models answer blindly, people vote, and only those who voted learn who was who."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import pytest
from msgspec import structs
from tests.fakes.recording_target import Posted, RecordingTarget
from tests.fakes.talk import BEN, CLEO, heard

from acore_bot.chat.compare import NO_RESULTS, NO_VOTE, QUESTION, UNKNOWN, Comparisons
from acore_bot.chat.reply import Reply
from acore_bot.contracts import Comparison, ReplyTarget, Verdict, Votes
from acore_bot.errors import (
    HistoryError,
    NotFound,
    OverBudget,
    TargetGone,
    Unavailable,
)
from acore_bot.messages import Author, Control, IncomingMessage, Place, Press
from acore_bot.records.sqlite import SQLiteRecords

GUILD = Place("9", "91")
ASKED = structs.replace(heard(1, "Why is\nthe sky wide?"), place=GUILD)
RED, BLUE = "home/red", "cloud/blue"


class Straight(random.Random):
    """Leaves an order as it is, and chooses the last."""

    def sample(self, population, k, *, counts=None):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
        """Return the first ones."""
        return list(population)[:k]

    def choice(self, seq):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
        """Return the last one."""
        return seq[-1]


class Mouth:
    """Answers in the place of models, each with its text; `faults` are of those that fail."""

    def __init__(self, faults: Mapping[str, Exception] | None = None) -> None:
        self.asked: list[tuple[str, str]] = []
        self.both_are_asked = asyncio.Event()
        self._faults = faults or {}

    async def __call__(
        self,
        question: IncomingMessage,
        model: str,
        target: ReplyTarget,
        title: str,
        its_turn: Callable[[], Awaitable[object]],
    ) -> None:
        """Answer when both models were asked, and show it when it may."""
        assert question == ASKED
        self.asked.append((title, model))
        if len(self.asked) == 2:
            self.both_are_asked.set()
        await self.both_are_asked.wait()
        if fault := self._faults.get(model):
            raise fault
        await its_turn()
        await target.post(f"{title}\nBecause of {len(model)} reasons.", final=True)


@pytest.fixture
async def votes(tmp_path: Path) -> AsyncIterator[Votes]:
    """Open the real store."""
    async with SQLiteRecords.open(tmp_path / "records.sqlite3") as records:
        yield records.votes


def pressed(control: Control, message_id: int, *, author: Author = BEN) -> Press:
    """Make a press of a button."""
    return Press(
        message_id=message_id, control=control, conversation="tea", author=author, place=GUILD
    )


async def run(
    comparisons: Comparisons, mouth: Mouth | None = None, target: RecordingTarget | None = None
) -> RecordingTarget:
    """Compare red and blue, and return where it was shown."""
    shown = target or RecordingTarget()
    await comparisons.run(ASKED, RED, BLUE, shown, mouth or Mouth())
    return shown


async def whispered(
    comparisons: Comparisons, control: Control, message_id: int, author: Author = BEN
) -> str:
    """Vote and return what the voter alone was told; nobody else may be told anything."""
    target = RecordingTarget()
    await comparisons.vote(pressed(control, message_id, author=author), target)
    assert not target.steps
    (text,) = target.whispers
    return text


async def test_both_are_asked_at_once_in_a_thread_and_then_it_is_voted(votes: Votes) -> None:
    """Two titled answers, A above B, and the buttons under a message after them."""
    mouth = Mouth()
    target = await run(Comparisons(votes, Straight()), mouth)
    assert mouth.asked == [("**A**", RED), ("**B**", BLUE)]
    assert target.threads == ["A or B: Why is the sky wide?"]
    *answers, vote = target.steps
    assert [step.text for step in answers if isinstance(step, Posted)] == [
        "**A**\nBecause of 8 reasons.",
        "**B**\nBecause of 10 reasons.",
    ]
    assert isinstance(vote, Posted)
    assert (vote.text, vote.final, vote.controls) == (QUESTION, True, ("a", "b", "tie"))


@pytest.mark.parametrize("end", ["whole", "fault", "stop"])
async def test_who_is_quicker_is_not_shown_first(votes: Votes, end: str) -> None:
    """B is asked at once, but nothing of it is seen before A has ended, however that was; then all
    that it has said by then is, and it goes on growing."""
    slow, quick, target = asyncio.Event(), asyncio.Event(), RecordingTarget()
    writing: dict[str, asyncio.Task[object]] = {}

    async def answer(
        question: IncomingMessage,
        model: str,
        target: ReplyTarget,
        title: str,
        its_turn: Callable[[], Awaitable[object]],
    ) -> None:
        if (task := asyncio.current_task()) is not None:
            writing[title] = task
        async with Reply(target, its_turn=its_turn) as reply:
            reply.show(f"{title} so far")
            await (slow if title == "**A**" else quick).wait()
            if title == "**A**" and end == "fault":
                raise Unavailable(provider="home", model="red")
            await reply.finish(f"{title} whole")

    comparing = asyncio.create_task(Comparisons(votes).run(ASKED, RED, BLUE, target, answer))
    await target.until_shown("**A** so far")
    for _ in range(20):
        await asyncio.sleep(0)
    assert target.texts == ["**A** so far"]
    if end == "stop":
        writing["**A**"].cancel()
    slow.set()
    await target.until_shown("**B** so far")
    assert target.texts[-1] == "**B** so far"
    quick.set()
    await comparing
    upper = ["**A** whole"] if end == "whole" else ["**A** so far"]
    outcome = QUESTION if end == "whole" else NO_VOTE
    assert [*target.visible.values()] == [*upper, "**B** whole", outcome]


async def test_nothing_that_others_see_names_a_model(votes: Votes) -> None:
    """Neither the answers nor the thread nor the vote tell who was asked."""
    target = await run(Comparisons(votes))
    shown = "\n".join((*target.texts, *target.threads, *target.whispers))
    assert not any(part in shown for part in ("red", "blue", "home", "cloud"))


async def test_who_is_a_is_drawn_anew(votes: Votes) -> None:
    """Each is A about as often as the other, whoever was named first."""
    comparisons, mouths = Comparisons(votes, random.Random(4)), [Mouth() for _ in range(200)]
    for number, mouth in enumerate(mouths):
        await run(comparisons, mouth, RecordingTarget(first_id=1_000 * (number + 1)))
    assert 70 < sum(("**A**", RED) in mouth.asked for mouth in mouths) < 130


@pytest.mark.parametrize(
    ("text", "name"), [("", "A or B"), ("Why\x07 so\nlong? " * 40, "A or B: Why so long? Why so")]
)
async def test_a_thread_has_a_short_name(votes: Votes, text: str, name: str) -> None:
    """A thread's name is one line of bounded length, whatever was asked."""

    async def answer(*_: object) -> None:
        pass

    target = RecordingTarget()
    await Comparisons(votes).run(structs.replace(ASKED, text=text), RED, BLUE, target, answer)
    assert target.threads[0].startswith(name)
    assert target.threads[0].isprintable()
    assert len(target.threads[0]) <= 100


async def test_a_voter_learns_who_was_who(votes: Votes) -> None:
    """After the vote, and alone, a person hears the models and how they have done so far."""
    comparisons = Comparisons(votes, Straight())
    target = await run(comparisons)
    (vote_id,) = target.controls
    assert await whispered(comparisons, "b", vote_id) == (
        "You find **B** better: counted.\n"
        "**A** was `home/red`, **B** was `cloud/blue`.\n"
        "`cloud/blue` has won 1, tied 0 and lost 0 so far here.\n"
        "`home/red` has won 0, tied 0 and lost 1 so far here."
    )


async def test_everyone_has_one_vote_which_can_be_changed(votes: Votes) -> None:
    """The newest vote of a person counts, in the place of the former one."""
    comparisons = Comparisons(votes, Straight())
    (vote_id,) = (await run(comparisons)).controls
    await whispered(comparisons, "a", vote_id, BEN)
    await whispered(comparisons, "a", vote_id, CLEO)
    changed = await whispered(comparisons, "tie", vote_id, BEN)
    assert changed.startswith("You find both equally good: changed.")
    assert "`home/red` has won 1, tied 1 and lost 0" in changed


async def test_a_tally_leaves_out_who_was_not_compared(votes: Votes) -> None:
    """A voter hears of the two models at hand, and of none that others compared."""
    comparisons = Comparisons(votes, Straight())
    await fill(votes, {("x/other", BLUE): ("a",)})
    (vote_id,) = (await run(comparisons)).controls
    told = await whispered(comparisons, "a", vote_id)
    assert "other" not in told
    assert "`cloud/blue` has won 0, tied 0 and lost 2" in told


@pytest.mark.parametrize("control", ["a", "b", "tie"])
async def test_a_vote_on_what_is_forgotten_is_not_counted(votes: Votes, control: Control) -> None:
    """Under a comparison that is not known any more, a press is answered and changes nothing."""
    comparisons = Comparisons(votes)
    assert await whispered(comparisons, control, 404) == UNKNOWN
    assert await comparisons.results("9") == NO_RESULTS


async def test_another_button_is_no_vote(votes: Votes) -> None:
    """A press of anything else counts nothing and tells nobody anything."""
    comparisons, target = Comparisons(votes, Straight()), RecordingTarget()
    (vote_id,) = (await run(comparisons)).controls
    await comparisons.vote(pressed("stop", vote_id), target)
    assert not target.steps + target.whispers
    assert await comparisons.results("9") == NO_RESULTS


async def test_without_one_answer_there_is_no_vote(votes: Votes) -> None:
    """If one fails, the other's answer stays; all hear that there is no vote, and only the one who
    asked hears which model it was."""
    mouth = Mouth({BLUE: Unavailable(provider="cloud", model="blue")})
    target = await run(Comparisons(votes, Straight()), mouth)
    assert target.texts == ["**A**\nBecause of 8 reasons.", NO_VOTE]
    assert not target.controls
    assert target.whispers == [
        "cloud/blue: cloud/blue cannot be reached. Please ask again in a moment."
    ]


async def test_a_used_up_budget_is_named(votes: Votes) -> None:
    """Whose budget it was is said where it was asked, for that names no model."""
    spent = OverBudget("Your budget for today has not enough left.")
    target = await run(Comparisons(votes), Mouth({RED: spent, BLUE: spent}))
    assert target.texts == [f"{NO_VOTE} Your budget for today has not enough left."]
    assert not target.whispers


async def test_a_place_that_is_gone_is_told_nothing(votes: Votes) -> None:
    """Where there is no place left, the comparison ends as every turn does."""
    target = RecordingTarget()
    with pytest.raises(TargetGone):
        await run(Comparisons(votes), Mouth({RED: TargetGone("gone")}), target)
    assert NO_VOTE not in target.texts


async def test_who_stops_a_comparison_stops_both(votes: Votes) -> None:
    """A cancellation reaches both answers, and no vote is offered."""
    mouth, target, stopped = Mouth(), RecordingTarget(), []

    async def answer(
        question: IncomingMessage, model: str, target: ReplyTarget, title: str, *_: object
    ) -> None:
        mouth.asked.append((title, model))
        mouth.both_are_asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(model)

    task = asyncio.create_task(Comparisons(votes).run(ASKED, RED, BLUE, target, answer))
    await mouth.both_are_asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(stopped) == [model for _, model in sorted(mouth.asked, key=lambda it: it[1])]
    assert not target.texts


async def test_a_vote_that_cannot_be_kept_is_not_offered(
    votes: Votes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the comparison cannot be stored, its buttons leave again."""

    async def fail(_: object) -> None:
        raise HistoryError("The disk is full.")

    monkeypatch.setattr(votes, "open", fail)
    target = RecordingTarget()
    with pytest.raises(HistoryError):
        await run(Comparisons(votes), target=target)
    assert QUESTION not in target.visible.values()
    assert len(target.visible) == 2


async def test_a_model_is_not_compared_with_itself(votes: Votes) -> None:
    """Two equal models are refused before anything is asked or shown."""
    mouth, target = Mouth(), RecordingTarget()
    with pytest.raises(NotFound, match=r"both are home/red\. Please choose two that differ\."):
        await Comparisons(votes).run(ASKED, RED, RED, target, mouth)
    assert not mouth.asked
    assert not target.steps + target.threads


def test_the_other_model_is_chosen_by_chance(votes: Votes) -> None:
    """The current model is one of both, and every other may be the second."""
    comparisons = Comparisons(votes, random.Random(1))
    models = (RED, BLUE, "x/y", RED)
    pairs = {comparisons.pick(models, RED) for _ in range(100)}
    assert pairs == {(RED, BLUE), (RED, "x/y")}
    assert comparisons.pick([BLUE], RED) == (RED, BLUE)


@pytest.mark.parametrize("models", [(), (RED,), (RED, RED)])
def test_one_model_alone_cannot_be_compared(votes: Votes, models: tuple[str, ...]) -> None:
    """Where there is no other, the sentence says where to look for one."""
    with pytest.raises(NotFound, match=r"compare home/red with\. `/model` lists"):
        Comparisons(votes).pick(models, RED)


async def fill(votes: Votes, given: Mapping[tuple[str, str], tuple[Verdict, ...]]) -> None:
    """Store comparisons with their votes."""
    for number, ((a, b), verdicts) in enumerate(given.items()):
        opened = Comparison(message_id=5_000 + number, guild="9", a=a, b=b)
        await votes.open(opened)
        for voter, verdict in enumerate(verdicts):
            await votes.cast(opened.message_id, str(voter), verdict)


async def test_results_are_an_aligned_table(votes: Votes) -> None:
    """The best stand first; a tie is half a win; other guilds have their own."""
    comparisons = Comparisons(votes)
    await fill(votes, {(RED, BLUE): ("a", "a", "tie", "b"), (RED, "x/`y`"): ("a",)})
    assert await comparisons.results("9") == (
        "```\n"
        "model       wins  ties  losses  share\n"
        "home/red       3     1       1    70%\n"
        "cloud/blue     1     1       2    38%\n"
        "x/'y'          0     0       1     0%\n"
        "```"
    )
    assert await comparisons.results("8") == NO_RESULTS


async def test_results_of_many_models_fit_into_a_message(votes: Votes) -> None:
    """However many models there are and however long their names, Discord can show the table."""
    await fill(votes, {(f"{'p' * 90}/{number}", RED): ("b",) for number in range(60)})
    table = await Comparisons(votes).results("9")
    assert len(table) < 2_000
    assert table.splitlines()[2].startswith(RED)
    assert table.endswith("```\n… and 41 more.")
