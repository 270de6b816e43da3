"""Lets two models answer the same question without their names, and people say which was better.

Which of them is A is drawn anew each time, and nothing that others can see tells it: both are asked
at once, but B is shown when A has ended, whichever is quicker. A voter is told, alone, after their
vote.
"""

import asyncio
import logging
import random
import textwrap
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Protocol

from acore_bot.chat.reply import at_once
from acore_bot.contracts import Comparison, ReplyTarget, Score, Verdict, Votes
from acore_bot.errors import (
    AcoreError,
    HistoryError,
    NotAllowed,
    NotFound,
    OverBudget,
    TargetGone,
)
from acore_bot.messages import IncomingMessage, Press, printable

log = logging.getLogger(__name__)

MAX_THREAD_NAME_CHARACTERS = 80
MAX_MODEL_CHARACTERS = 48
MAX_ROWS = 20
QUESTION = "Which answer is better? A vote can be changed."
NO_VOTE = "One of the two could not answer, so there is nothing to vote on."
UNKNOWN = "I do not know this comparison any more, so I could not count your vote."
STOPPED = NotAllowed("It was stopped.")
NO_RESULTS = "Nobody has compared models here yet. `/compare` lets two answer the same question."
PREFERRED: dict[Verdict, str] = {
    "a": "You find **A** better",
    "b": "You find **B** better",
    "tie": "You find both equally good",
}


class AnswerBlindly(Protocol):
    """Asks one model at once, within all that the place allows, and shows its answer under a title
    when `its_turn` returns."""

    async def __call__(
        self,
        question: IncomingMessage,
        model: str,
        target: ReplyTarget,
        title: str,
        its_turn: Callable[[], Awaitable[object]],
        /,
    ) -> None:
        """Show nothing that names a model. Raises `AcoreError` where this model gave no whole
        answer, or another had to."""
        ...


class Comparisons:
    """Holds comparisons and their votes. `chance` decides who is A, and who is asked where nobody
    was named."""

    def __init__(self, votes: Votes, chance: random.Random | None = None) -> None:
        self._votes = votes
        # Not to be foreseen from earlier draws, which voters are told of.
        self._chance = chance or random.SystemRandom()

    def pick(self, models: Sequence[str], current: str) -> tuple[str, str]:
        """Return the current model and one of the others. Raises `NotFound` if there is none."""
        others = sorted({*models} - {current})
        if not others:
            msg = f"There is no model to compare {current} with."
            raise NotFound(msg, remedy="`/model` lists those that can be asked here.")
        return current, self._chance.choice(others)

    async def run(
        self,
        question: IncomingMessage,
        first: str,
        second: str,
        target: ReplyTarget,
        answer: AnswerBlindly,
    ) -> None:
        """Show the answers of two models, one below the other, in a thread if there can be one, and
        offer the vote; if one of them fails, say so instead, and which only to who asked.

        Raises `NotFound` if it is twice the same, `HistoryError` if votes cannot be kept, and
        `TargetGone`.
        """
        a, b = self._chance.sample((first, second), 2)
        if a == b:
            msg = f"A comparison needs two models, and both are {a}."
            raise NotFound(msg, remedy="Please choose two that differ.")
        place = await target.thread(_thread_name(question.text))
        async with asyncio.TaskGroup() as group:
            # Who fails must not stop the other, whose answer is worth reading by itself.
            of_a = partial(answer, question, a, place, "**A**", at_once)
            upper = group.create_task(_outcome(of_a))
            of_b = partial(answer, question, b, place, "**B**", partial(asyncio.wait, [upper]))
            lower = group.create_task(_outcome(of_b))
        outcomes = [STOPPED if it.cancelled() else it.result() for it in (upper, lower)]
        faults = [(model, it) for model, it in zip((a, b), outcomes, strict=True) if it]
        if faults:
            await _tell(faults, place, target)
        else:
            await self._offer_vote(question, a, b, place)

    async def _offer_vote(
        self, question: IncomingMessage, a: str, b: str, place: ReplyTarget
    ) -> None:
        message_id = await place.post(QUESTION, final=True, controls=("a", "b", "tie"))
        comparison = Comparison(
            message_id=message_id,
            guild=question.place.guild,
            a=a,
            b=b,
        )
        try:
            await self._votes.open(comparison)
        except HistoryError:
            await place.remove([message_id])  # its buttons would do nothing
            raise

    async def vote(self, press: Press, target: ReplyTarget) -> None:
        """Count a person's vote, in the place of a former one, and tell them alone who was who.
        Raises `HistoryError`."""
        match press.control:
            case "a" | "b" | "tie" as verdict:
                await target.whisper(await self._cast(press, verdict))
            case _:
                return  # no vote

    async def _cast(self, press: Press, verdict: Verdict) -> str:
        cast = await self._votes.cast(press.message_id, press.author.id, verdict)
        if cast is None:
            return UNKNOWN
        comparison, is_first = cast
        counted = "counted" if is_first else "changed"
        scores = await self._votes.scores(comparison.guild)
        tally = [_standing(it) for it in scores if it.model in (comparison.a, comparison.b)]
        return "\n".join(
            (
                f"{PREFERRED[verdict]}: {counted}.",
                f"**A** was `{_plain(comparison.a)}`, **B** was `{_plain(comparison.b)}`.",
                *tally,
            )
        )

    async def results(self, guild: str) -> str:
        """Return a table of how each model did in a guild, the best first. Raises
        `HistoryError`."""
        scores = await self._votes.scores(guild)
        if not scores:
            return NO_RESULTS
        more = len(scores) - MAX_ROWS
        note = f"\n… and {more} more." if more > 0 else ""
        return "\n".join(("```", *_table(scores[:MAX_ROWS]), "```")) + note


async def _outcome(answer: Callable[[], Awaitable[None]]) -> AcoreError | None:
    """Show an answer, and return what went wrong, if anything did."""
    try:
        await answer()
    except AcoreError as error:
        return error
    return None


async def _tell(
    faults: Sequence[tuple[str, AcoreError]], place: ReplyTarget, target: ReplyTarget
) -> None:
    """Say that there will be no vote. Why is for the one who asked: it names the models."""
    for model, error in faults:
        if isinstance(error, TargetGone):
            raise error
        log.warning("%s could not be compared: %s", model, error)
    # A used-up budget is the same for both, and names none.
    reason = next((error.public for _, error in faults if isinstance(error, OverBudget)), "")
    await place.post(f"{NO_VOTE} {reason}".strip(), final=True)
    if not reason:
        await target.whisper("\n".join(f"{model}: {error.public}" for model, error in faults))


def _thread_name(question: str) -> str:
    words = textwrap.shorten(printable(question), MAX_THREAD_NAME_CHARACTERS, placeholder=" …")
    return f"A or B: {words}" if words else "A or B"


def _standing(score: Score) -> str:
    return (
        f"`{_plain(score.model)}` has won {score.wins}, tied {score.ties} and lost {score.losses}"
        f" so far here."
    )


def _table(scores: Sequence[Score]) -> Iterator[str]:
    names = [_plain(score.model) for score in scores]
    width = max(map(len, ("model", *names)))
    yield f"{'model':<{width}}  wins  ties  losses  share"
    for name, score in zip(names, scores, strict=True):
        counts = f"{score.wins:>4}  {score.ties:>4}  {score.losses:>6}"
        yield f"{name:<{width}}  {counts}  {_share(score):>5.0%}"


def _share(score: Score) -> float:
    """How much of what could be won was won; a tie is half."""
    return (score.wins + score.ties / 2) / max(1, score.wins + score.ties + score.losses)


def _plain(model: str) -> str:
    """Fit a model's name into a column, and into code, which a backtick would close."""
    name = printable(model).replace("`", "'")
    return name if len(name) <= MAX_MODEL_CHARACTERS else f"{name[: MAX_MODEL_CHARACTERS - 1]}…"
