"""What owners and members decided, what was used, and what answers were made of: the promises of
whoever keeps that."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Literal, Protocol, TypeAlias

from msgspec import Struct

from acore_bot.messages import AnswerRecord, Place

Scope: TypeAlias = Literal["guild", "channel", "role"]
"""What a setting is for: all of a guild, a channel of it, or those who have a role in it."""


class Setting(Struct, frozen=True):
    """What an owner set from inside the front end. `target` is the id of what it is for; `value` is
    JSON."""

    guild: str
    scope: Scope
    target: str
    name: str
    value: str


class Preferences(Protocol):
    """Keeps what owners set. Every method may raise `HistoryError`."""

    async def load(self) -> tuple[Setting, ...]:
        """Return all settings."""
        ...

    async def put(self, setting: Setting) -> None:
        """Store a setting in the place of a former one, durably."""
        ...

    async def drop(self, guild: str, scope: Scope, target: str, name: str) -> bool:
        """Remove a setting. False if there was none."""
        ...

    async def forget_guild(self, guild: str) -> None:
        """Remove all settings of a guild."""
        ...


class Account(Struct, frozen=True):
    """Who spends: `person:PSEUDONYM`, with the guild and a slash in front where the limit is that
    guild's, or `guild:ID`. A limit that is None is none. Tokens and US dollars are those of one UTC
    day."""

    name: str
    most_tokens: int | None = None
    most_dollars: Decimal | None = None


class Spent(Struct, frozen=True):
    """What was used of something that has limits."""

    tokens: int = 0
    dollars: Decimal = Decimal(0)


class Reservation(Struct, frozen=True):
    """What a request may use at most, taken from its accounts until it is settled. `fullest` is the
    account of which most is used now, and `share` how much of its limit, from 0 to 1."""

    id: int
    fullest: str = ""
    share: float = 0.0


class Ledger(Protocol):
    """Keeps what was used of the budgets, so that no limit is passed, not by a crash either: what
    was reserved and never settled counts as used. Every method may raise `HistoryError`."""

    async def reserve(
        self, accounts: Sequence[Account], most: Spent, day: date
    ) -> Reservation | Account:
        """Take the most that a request may use from all accounts, durably, or from none: then
        return the account that has not so much left."""
        ...

    async def settle(self, reservation: Reservation, spent: Spent) -> None:
        """Put what was really used in the place of a reservation."""
        ...

    async def spent(self, account: str, day: date) -> Spent:
        """Return what was used, with what is reserved."""
        ...

    async def days(self, account: str) -> tuple[tuple[str, date, Spent], ...]:
        """Return what was used by accounts that are named so, or that end so after a slash: name,
        day and use, the latest day first."""
        ...

    async def forget(self, account: str, before: date) -> None:
        """Remove all that is known of accounts that are named so, or that end so after a slash,
        from before a day, leaving no trace in the files."""
        ...


class Consents(Protocol):
    """Keeps who asked the bot not to take in what they say. May raise `HistoryError`."""

    async def paused(self) -> frozenset[str]:
        """Return the ids of those who asked so."""
        ...

    async def pause(self, author_id: str) -> None:
        """Note, durably, that a person wants it so."""
        ...

    async def resume(self, author_id: str) -> None:
        """Note that they do not any more."""
        ...


class Answers(Protocol):
    """Keeps what is known of shown answers. Every method may raise `HistoryError`."""

    async def put(self, record: AnswerRecord) -> None:
        """Store a record in the place of a former one of the same id."""
        ...

    async def find(self, message_id: int) -> AnswerRecord | None:
        """Return the record of the answer that a message is, or is a part of."""
        ...

    async def to_question(self, question_id: int) -> tuple[AnswerRecord, ...]:
        """Return the records of the answers to a message."""
        ...

    async def of(self, author_id: str) -> tuple[AnswerRecord, ...]:
        """Return the records of all answers that a person asked for, oldest first."""
        ...

    async def delete(self, answer_id: int) -> bool:
        """Remove a record. False if there was none."""
        ...

    async def erase(self, author_id: str) -> int:
        """Remove all records of a person, and what others' questions quote of them, leaving no
        trace in the files. Return how many records were removed."""
        ...

    async def expire(self, conversation: str, before: datetime) -> int:
        """Remove the records of a conversation from before a moment. Return how many."""
        ...

    async def places(self) -> Mapping[str, Place]:
        """Tell where each known conversation is."""
        ...

    async def forget_conversation(self, conversation: str) -> None:
        """Remove the records of a conversation, and where it was."""
        ...

    async def leave_no_trace(self) -> None:
        """Rid the files of what is left in them of anything that was removed, whether of answers or
        of what else is kept with them, if it can be that something is."""
        ...


class Comparison(Struct, frozen=True, kw_only=True):
    """Two models answered the same question without their names. `message_id` is what is voted
    under; `a` and `b` are models, written `provider/model`."""

    message_id: int
    guild: str
    a: str
    b: str


Verdict: TypeAlias = Literal["a", "b", "tie"]


class Score(Struct, frozen=True):
    """How a model did in a guild's comparisons."""

    model: str
    wins: int
    ties: int
    losses: int


class Votes(Protocol):
    """Keeps comparisons and what people said of them. May raise `HistoryError`."""

    async def open(self, comparison: Comparison) -> None:
        """Store a comparison."""
        ...

    async def cast(
        self, message_id: int, voter: str, verdict: Verdict
    ) -> tuple[Comparison, bool] | None:
        """Store a person's vote in the place of a former one. Return the comparison, and whether
        the vote is a person's first; None if there is no such comparison."""
        ...

    async def scores(self, guild: str) -> tuple[Score, ...]:
        """Return how each model did in a guild, the best first."""
        ...

    async def of(self, author_id: str) -> Mapping[int, Verdict]:
        """Return all votes of a person, by the messages under which they were cast."""
        ...

    async def erase(self, author_id: str) -> None:
        """Remove a person's votes, leaving no trace in the files."""
        ...

    async def forget_guild(self, guild: str) -> None:
        """Remove all of a guild."""
        ...
