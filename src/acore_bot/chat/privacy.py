"""What a person can ask about their own words: where they go, a copy, an end, and a pause.

Who pauses is not taken in: nothing they say is stored or sent, and what they said before is left
out of what others' answers are made of, also where others quoted it. `paused` sees to that.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from copy import copy
from datetime import UTC, datetime
from typing import Self, TypeVar

import msgspec
from msgspec import Struct

from acore_bot.chat.budgets import person_account
from acore_bot.chat.material import CODE, quote_mark, without_quotes
from acore_bot.chat.paused import names_of
from acore_bot.chat.policy import Limits, Policy
from acore_bot.contracts import Answers, Consents, History, Ledger, Votes
from acore_bot.messages import (
    NOWHERE,
    AnswerRecord,
    Author,
    Host,
    Message,
    Place,
)

LEDGER_DAYS = 40  # what was spent before is not kept
LEFT_OUT = "[somebody else's words are left out here]"

KEPT = (
    "what you say to me and my answers; what each answer was made of, such as model, time and cost"
)
WHERE = "in files on the machine that I run on, for its owner's eyes only"
PAUSED = (
    "From now on I store and send nothing of what you say, and do not answer you. What you said "
    "before stays where it is, unused; `/privacy forget` removes it, and `/privacy resume` lets us "
    "talk again."
)
STILL_PAUSED = (
    "That I take in nothing of what you say still holds, for it is a wish of yours, so I keep your "
    "id; `/privacy resume` ends it."
)
STILL_USED = (
    f"What you used today stays for {LEDGER_DAYS} days, as numbers under a pseudonym: a limit "
    "would not hold if it were forgotten with you."
)
USED_STAYS = (
    "What you used today stays also when you have me forget the rest: a limit would not hold else."
)
WAYS = (
    "`/privacy export` gives you a copy of all that is yours, `/privacy forget` removes it, and "
    "`/privacy pause` has me take in nothing more."
)
OPENROUTER = {
    True: "OpenRouter is told to pass it on only to those who do not collect it.",
    False: "OpenRouter may pass it on to those who collect it.",
}

T = TypeVar("T")


def counted(count: int, noun: str) -> str:
    """Word a number of things."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


class Facts(Struct, frozen=True, kw_only=True):
    """How the bot runs, as far as people's words are concerned.

    `host_of` tells where a model, written `provider/model`, computes. `fallbacks` answer when the
    one that was asked cannot; `local_models` answer where clouds may not, the first that there is.
    Answers are given again for `cached_seconds`, 0 for never. `denies_collection` says that
    OpenRouter is told to send nothing to whoever collects it; None if OpenRouter is not in use.
    """

    host_of: Callable[[str], Host]
    fallbacks: tuple[str, ...] = ()
    local_models: tuple[str, ...] = ()
    cached_seconds: float = 0.0
    denies_collection: bool | None = None


class Privacy:
    """Sees to what people want done with their own words. Made once; `load` reads who paused.

    `withdrawing` stops a person's open turns, so that nothing of them is stored, and lets none
    begin until its block is left; `account_key` is the secret under which people's accounts are
    named; `on_forget` clears what is kept in memory; `now` is in UTC.
    """

    def __init__(
        self,
        facts: Facts,
        *,
        history: History,
        answers: Answers,
        consents: Consents,
        ledger: Ledger,
        votes: Votes,
        withdrawing: Callable[[str], AbstractAsyncContextManager[None]],
        account_key: bytes,
        on_forget: Callable[[], None] = lambda: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._facts = facts
        self._history = history
        self._answers = answers
        self._consents = consents
        self._ledger = ledger
        self._votes = votes
        self._withdrawing = withdrawing
        self._account_key = account_key
        self._on_forget = on_forget
        self._now = now
        self._paused: set[str] = set()

    def over(self, facts: Facts) -> Self:
        """Return one that tells of other facts and knows the same people."""
        other = copy(self)
        other._facts = facts  # noqa: SLF001 - of this class too
        return other

    async def load(self) -> None:
        """Read who paused. Raises `HistoryError`."""
        paused = await self._consents.paused()
        self._paused.clear()
        self._paused |= {name for author_id in paused for name in names_of(author_id)}

    def is_paused(self, author_id: str) -> bool:
        """Tell whether a person wants nothing of theirs to be taken in. `MARKED` and the mark of
        their quotes stands for their id."""
        return author_id in self._paused

    async def pause(self, author: Author) -> str:
        """Take in nothing more of what a person says, and stop what is being answered to them.
        Raises `HistoryError`; then it holds until the process ends."""
        self._paused |= names_of(author.id)
        async with self._withdrawing(author.id):
            await self._consents.pause(author.id)
        return PAUSED

    async def resume(self, author: Author) -> str:
        """Take in again what a person says. Raises `HistoryError`; then nothing changes."""
        await self._consents.resume(author.id)
        self._paused -= names_of(author.id)
        return "I am listening to you again."

    async def forget(self, author: Author) -> str:
        """Remove all that is stored of a person, without a trace, what others quoted of them, and
        what is being answered to them. What they used of budgets today stays, under a pseudonym.
        Raises `HistoryError` after all was tried; then it should be asked for again."""
        async with self._withdrawing(author.id):
            try:
                # Each is tried, whatever becomes of the others: the more is gone the better.
                messages, receipts, votes, spent = await asyncio.gather(
                    self._erase_said(author.id),
                    self._answers.erase(author.id),
                    self._votes.erase(author.id),
                    self._ledger.forget(self._account(author), self._now().date()),
                    return_exceptions=True,
                )
            finally:
                self._on_forget()
        told = (
            f"Forgotten: {counted(_result(messages), 'message')}, yours and my answers to them; "
            f"{counted(_result(receipts), 'receipt')} of answers; your votes; what others quoted "
            "of you in replies; what you used of budgets before today. What was said in channels "
            "still stands there."
        )
        _result(votes)
        _result(spent)
        stays = [STILL_USED] if await self._used(author) else []
        stays += [STILL_PAUSED] if self.is_paused(author.id) else []
        return " ".join((told, *stays))

    async def _erase_said(self, author_id: str) -> int:
        count = 0
        try:
            await self._erase_quotes(author_id)
            for known in await self._history.conversations():
                if known.conversation.endswith(f"/{author_id}"):  # they have it alone
                    count += await self._history.clear(known.conversation)
        finally:
            # It comes last, for it also removes what the others have left in the files.
            count += await self._history.erase(author_id)
        return count

    async def _erase_quotes(self, author_id: str) -> None:
        mark = quote_mark(author_id)
        for message in await self._history.holding(f"{CODE}{mark}"):
            left = without_quotes(message.text, lambda code: code.startswith(mark))
            await self._history.edit(message.id, left)

    def _account(self, author: Author) -> str:
        return person_account(self._account_key, author.id)

    async def export(self, author: Author) -> tuple[str, str]:
        """Return a sentence and a JSON document with all that is stored of a person, and nothing
        of anybody else's. Raises `HistoryError`."""
        said = await self._history.said_by(author.id)
        records = await self._answers.of(author.id)
        places = await self._answers.places()
        own = {message.id for message in said}
        document = {
            "person": author.id,
            "exported_at": self._now(),
            "is_paused": self.is_paused(author.id),
            "messages": [_as_exported(message, places) for message in said],
            "answers": [await self._answer_as_exported(record, own) for record in records],
            "votes": await self._votes.of(author.id),
            "budgets": await self._used(author),
        }
        content = msgspec.json.format(msgspec.json.encode(document), indent=2).decode()
        what = f"{counted(len(said), 'message')} and {counted(len(records), 'receipt')} of answers"
        return f"Here is all that I have stored of you: {what}.", content

    async def _answer_as_exported(self, record: AnswerRecord, own: set[int]) -> dict[str, object]:
        exported: dict[str, object] = {
            "id": str(record.id),
            "question_id": str(record.question_id),
            **_where(record.conversation, record.place),
            "answered_at": record.created_at,
            "receipt": record.receipt,
        }
        # Of a message of somebody else's, which they had answered once more, only the receipt is
        # theirs.
        if record.question_id in own:
            exported["text"] = "".join(
                message.text for message in await self._history.chain(record.id, 1)
            )
        if record.question is not None and record.question.author.id == record.asker:
            exported["question"] = record.question.text
        return exported

    async def _used(self, author: Author) -> list[dict[str, object]]:
        return [
            {"account": account, "day": day, "tokens": spent.tokens, "dollars": spent.dollars}
            for account, day, spent in await self._ledger.days(self._account(author))
        ]

    def show(self, policy: Policy, place: Place, author: Author) -> str:
        """Say what is stored of a person, where it goes, how long it stays and who can see it, true
        to what is set here."""
        lines = [
            *self._recipients(policy),
            self._stored(policy),
            self._repeated(),
            _readers(policy, place),
            WAYS,
        ]
        if self.is_paused(author.id):
            lines.append("You have paused: I take in nothing of what you say. `/privacy resume`.")
        return "\n".join(("**Your words**", *(f"- {line}" for line in lines)))

    def _recipients(self, policy: Policy) -> Iterator[str]:
        asked, others = self._asked(policy)
        if policy.is_local_only:
            yield "This place is kept from clouds: what is said here is sent to none."
        if not asked:
            yield "No model may answer here, so nothing is sent anywhere."
            return
        yield (
            f"Answering here: {self._described(asked)}. It is sent what you say to me, and what "
            "was said before in the conversation."
        )
        if others:
            yield f"If it cannot answer: {', '.join(map(self._described, others))}."
        if all(self._facts.host_of(model).is_local for model in (asked, *others)):
            return
        if self._facts.denies_collection is not None:
            yield OPENROUTER[self._facts.denies_collection]

    def _asked(self, policy: Policy) -> tuple[str, tuple[str, ...]]:
        """Name who answers where a policy holds, and who does so in their place."""
        facts, asked = self._facts, policy.model
        others = facts.fallbacks
        if policy.is_local_only:
            if not facts.host_of(asked).is_local:
                asked = next(iter(facts.local_models), "")
            others = tuple(model for model in others if facts.host_of(model).is_local)
        return asked, tuple(model for model in others if model != asked)

    def _described(self, model: str) -> str:
        host = self._facts.host_of(model)
        where = f"on {host.name}" if host.is_local else f"in a cloud, {host.name}"
        return f"**{model}** ({where})"

    def _stored(self, policy: Policy) -> str:
        kept = KEPT
        if _has_limits(policy.limits):
            kept += f"; what you use of budgets, under a pseudonym, for {LEDGER_DAYS} days"
        days = policy.retention_days
        until = f"for {counted(days, 'day')}" if days else "until somebody has me forget it"
        told = f"I store {kept}: {WHERE}. What was said stays {until}."
        return f"{told} {USED_STAYS}" if _has_limits(policy.limits) else told

    def _repeated(self) -> str:
        seconds = round(self._facts.cached_seconds)
        span = f"for {counted(seconds, 'second')}" if seconds else "never"
        return f"An answer is given again to the same question {span}."


def _result(outcome: T | BaseException) -> T:
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def _readers(policy: Policy, place: Place) -> str:
    """Say who can see what is said."""
    owner = "Whoever runs me can read what is stored."
    if not place.guild:
        return (
            "In a private chat nobody else sees what is said; where you brought me along yourself, "
            f"whoever is there sees my answers. {owner}"
        )
    if policy.memory == "person":
        return f"Everyone in this channel sees it; I use it for your own answers alone. {owner}"
    return f"Everyone in this channel sees it, and others' answers may draw on it. {owner}"


def _has_limits(limits: Limits) -> bool:
    return any(
        most is not None
        for most in (
            limits.person_tokens,
            limits.person_dollars,
            limits.guild_tokens,
            limits.guild_dollars,
        )
    )


def _as_exported(message: Message, places: Mapping[str, Place]) -> dict[str, object]:
    return {
        # As texts: many programs read numbers of this size wrongly.
        "id": str(message.id),
        **_where(message.conversation, places.get(message.conversation, NOWHERE)),
        "said_at": message.created_at,
        "name": message.author.name,
        "text": without_quotes(message.text, lambda _: True, LEFT_OUT),
    }


def _where(conversation: str, place: Place) -> dict[str, object]:
    return {"conversation": conversation, "guild": place.guild, "channel": place.channel}
