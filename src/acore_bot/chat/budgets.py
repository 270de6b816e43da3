"""Holds people and servers to what an owner lets them use in a day.

The most that a request may use is taken from its accounts before a model is asked, and what it did
use is put in its place afterwards. So however many ask at once, no limit is passed; a process that
is killed in between leaves the most as used.
"""

import asyncio
import hashlib
import hmac
import logging
import math
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from decimal import Decimal

from msgspec import structs

from acore_bot.chat.policy import Policy
from acore_bot.chat.tokens import TokenEstimator, raw_tokens, raw_total
from acore_bot.contracts import Account, Ledger, Reservation, Spent
from acore_bot.errors import AcoreError, HistoryError, OverBudget
from acore_bot.messages import (
    Author,
    ChatRequest,
    Delta,
    End,
    Host,
    ModelInfo,
    Piece,
    Place,
    Prices,
    Usage,
    well_formed,
)

log = logging.getLogger(__name__)

NOTICED_SHARE = 0.8
DEFAULT_DOLLARS_PER_MILLION = Decimal(10)
RENEWAL = "It renews at midnight UTC"
NO_LIMITS = "Nothing limits what you may use here."
FREE = Prices(Decimal(0), Decimal(0))
MAX_REMEMBERED = 4096
PSEUDONYM_CHARACTERS = 32


def person_account(key: bytes, author_id: str, guild: str = "") -> str:
    """Name the account of a person, in a guild or in private. It names nobody to whoever does not
    know the key: so it may stay when the person is forgotten, for the limits of that day to hold.
    """
    digest = hmac.new(key, f"account {well_formed(author_id)}".encode(), hashlib.sha256)
    name = f"person:{digest.hexdigest()[:PSEUDONYM_CHARACTERS]}"
    return f"{guild}/{name}" if guild else name


def today_in_utc() -> date:
    """Return the day by which budgets are counted."""
    return datetime.now(UTC).date()


class Spending:
    """What one request uses. It has to `hear` every piece of the answer; leaving the block of
    `Budgets.spend` settles. `notice` is a sentence for the person alone, or empty."""

    def __init__(self, notice: str = "") -> None:
        self.notice = notice
        self.end: End | None = None
        self._said: list[str] = []

    def hear(self, piece: Piece) -> None:
        """Take note of a piece of the answer: reasoning is paid for as text is."""
        if isinstance(piece, Delta):
            self._said += (piece.text, piece.reasoning)
        elif isinstance(piece, End):
            self.end = piece

    @property
    def said(self) -> str:
        """All that the model said so far."""
        return "".join(self._said)


class Budgets:
    """Keeps requests within the limits of their policy. `account_key` is the secret under which
    people's accounts are named.

    `host_of` tells where a model, written `provider/model`, computes; `fallbacks` are those that
    may have to answer for another. A cloud that tells no price is taken to cost
    `assumed_dollars_per_million` tokens. `today` is the day in UTC.
    """

    def __init__(
        self,
        ledger: Ledger,
        estimator: TokenEstimator,
        host_of: Callable[[str], Host],
        *,
        account_key: bytes,
        fallbacks: Sequence[str] = (),
        assumed_dollars_per_million: Decimal = DEFAULT_DOLLARS_PER_MILLION,
        today: Callable[[], date] = today_in_utc,
    ) -> None:
        assumed = assumed_dollars_per_million / 1_000_000
        self._ledger = ledger
        self._estimator = estimator
        self._host_of = host_of
        self._account_key = account_key
        self._fallbacks = tuple(fallbacks)
        self._assumed = Prices(assumed, assumed)
        self._today = today
        self._noticed = _Lately(MAX_REMEMBERED)
        self._paid = _Lately(MAX_REMEMBERED)

    @asynccontextmanager
    async def spend(
        self, policy: Policy, place: Place, author: Author, request: ChatRequest, info: ModelInfo
    ) -> AsyncIterator[Spending]:
        """Reserve what a request may use at most, and settle when the block is left.

        Where nothing is limited, nothing is stored. What is settled:

        - what the provider counted, or else an estimate of the prompt and of what was said;
        - nothing for an answer from the cache, or for an error before the first word;
        - all that was reserved, if the block was left before the first word in any other way, as
          by a cancellation: nobody can tell how much the server had done by then;
        - dollars as the provider tells them, or else by its prices.

        Of an answer that several share, each is charged the tokens, for each was given them; the
        dollars, which the owner pays once, are charged to the first who settles.

        Raises `OverBudget`, before any model was asked, and `HistoryError` if the accounts cannot
        be read: then nothing is spent either. If they cannot be written afterwards, the answer
        stands, and what was reserved stays used.
        """
        most = self._most(request, info)
        accounts = _concerned(self._accounts(policy, place, author), most)
        if not accounts:
            yield Spending()
            return
        reservation = await self._reserve(accounts, most)
        spending = Spending(self._notice(reservation))
        spent = most
        try:
            yield spending
            spent = self._spent(spending, request, info)
        except BaseException as error:
            if isinstance(error, AcoreError) or spending.said or spending.end:
                spent = self._spent(spending, request, info)
            raise
        finally:
            await self._settle(reservation, spent)

    async def describe(self, policy: Policy, place: Place, author: Author) -> str:
        """Say in a line each what a person, and their server, used today of what they may. Raises
        `HistoryError`."""
        lines = []
        for account in self._accounts(policy, place, author):
            used = await self._ledger.spent(account.name, self._today())
            amounts = " and ".join(_amounts(account, used))
            lines.append(f"{_who(account.name)} used {amounts} today.")
        return "\n".join((*lines, f"{RENEWAL}.")) if lines else NO_LIMITS

    def _accounts(self, policy: Policy, place: Place, author: Author) -> tuple[Account, ...]:
        """Return the accounts that have a limit."""
        limits, guild = policy.limits, place.guild
        person = person_account(self._account_key, author.id, guild)
        accounts = [Account(person, limits.person_tokens, limits.person_dollars)]
        if guild:
            accounts.append(Account(f"guild:{guild}", limits.guild_tokens, limits.guild_dollars))
        return tuple(filter(_is_limited, accounts))

    async def _reserve(self, accounts: Sequence[Account], most: Spent) -> Reservation:
        day = self._today()
        reserving = asyncio.ensure_future(self._ledger.reserve(accounts, most, day))
        try:
            outcome = await asyncio.shield(reserving)
        except asyncio.CancelledError:
            await self._give_back(reserving)
            raise
        if isinstance(outcome, Account):
            raise _refusal(outcome, await self._ledger.spent(outcome.name, day), most)
        return outcome

    async def _give_back(self, reserving: "asyncio.Future[Reservation | Account]") -> None:
        """Settle what was reserved for somebody who has left meanwhile: nobody else would."""
        await asyncio.wait([reserving])
        if reserving.cancelled() or reserving.exception():
            return
        outcome = reserving.result()
        if isinstance(outcome, Reservation):
            await self._settle(outcome, Spent())

    async def _settle(self, reservation: Reservation, spent: Spent) -> None:
        try:
            await self._ledger.settle(reservation, spent)
        except HistoryError as error:  # the answer was given, and what was reserved counts
            log.warning("a budget could not be settled: %s", error)

    def _most(self, request: ChatRequest, info: ModelInfo) -> Spent:
        """Tell what a request may use at most, whoever of those who can has to answer it."""
        prompt = self._prompt_tokens(request)
        offers = self._offers(request, info)
        dollars = max(_price(offer, prompt, request.max_tokens) for offer in offers)
        return Spent(prompt + request.max_tokens, dollars)

    def _spent(self, spending: Spending, request: ChatRequest, info: ModelInfo) -> Spent:
        end, said = spending.end, spending.said
        if (end is None and not said) or (end is not None and end.is_cached):
            return Spent()
        usage = end.usage if end else None
        prompt, completion = self._used_tokens(usage, request, said)
        if not self._has_to_pay(end):
            return Spent(prompt + completion)
        if usage and usage.cost is not None:
            return Spent(prompt + completion, usage.cost)
        dollars = max(
            _price(prices, prompt, completion)
            for prices in self._prices_of_answer(end, request, info)
        )
        return Spent(prompt + completion, dollars)

    def _used_tokens(self, usage: Usage | None, request: ChatRequest, said: str) -> tuple[int, int]:
        """Return the tokens of the prompt and of what was said."""
        if usage and usage.prompt_tokens:  # no prompt is empty: a server that says so did not count
            return usage.prompt_tokens, usage.completion_tokens
        return self._prompt_tokens(request), self._tokens(request.model, raw_tokens(said))

    def _has_to_pay(self, end: End | None) -> bool:
        """Tell whether an answer's dollars are still to be charged. Of a shared one that has no
        name nobody can tell, so each pays: a limit is rather reached early than passed."""
        if end is None or not end.is_shared or not end.response_id:
            return True
        return self._paid.is_new(f"{end.provider}/{end.response_id}")

    def _prices_of_answer(
        self, end: End | None, request: ChatRequest, info: ModelInfo
    ) -> list[Prices]:
        """Return the prices of whoever answered; of an answer that was stopped before it told who
        that was, of all who may have."""
        if end and end.fell_back_from:
            return [self._prices(f"{end.provider}/{end.model}", None)]
        return [self._prices(request.model, info)] if end else self._offers(request, info)

    def _offers(self, request: ChatRequest, info: ModelInfo) -> list[Prices]:
        others = () if request.is_local_only else self._fallbacks
        return [self._prices(request.model, info), *(self._prices(it, None) for it in others)]

    def _prices(self, model: str, info: ModelInfo | None) -> Prices:
        if self._host_of(model).is_local:
            return FREE
        prices = info.prices if info else None
        # Where a price depends on what will answer, some catalogues write a negative one.
        is_told = prices is not None and min(prices.prompt, prices.completion) >= 0
        return prices if prices and is_told else self._assumed

    def _prompt_tokens(self, request: ChatRequest) -> int:
        return self._tokens(request.model, raw_total(request.messages))

    def _tokens(self, model: str, raw: float) -> int:
        return math.ceil(raw * self._estimator.rate(model))

    def _notice(self, reservation: Reservation) -> str:
        """Say once a day how full an account is, when it is nearly so."""
        name, share = reservation.fullest, reservation.share
        if share < NOTICED_SHARE or not self._noticed.is_new(f"{self._today()} {name}"):
            return ""
        whose = "its" if _is_guild(name) else "your"
        percent = math.floor(100 * share)
        used = f"{_who(name)} used up to {percent} % of {whose} budget for today"
        return f"{used}, this answer included. {RENEWAL}."


class _Lately:
    """Remembers the newest of what it was asked about, at most as many as it may."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: OrderedDict[str, None] = OrderedDict()

    def is_new(self, key: str) -> bool:
        """Tell whether a key was not asked about lately, and remember it."""
        is_new = key not in self._known
        self._known[key] = None
        if len(self._known) > self._most:
            self._known.popitem(last=False)
        return is_new


def _is_limited(account: Account) -> bool:
    return account.most_tokens is not None or account.most_dollars is not None


def _concerned(accounts: Sequence[Account], most: Spent) -> tuple[Account, ...]:
    """Return the accounts that a request can bring to a limit. One that costs nothing is not held
    up by money that others have spent."""
    if most.dollars:
        return tuple(accounts)
    without = (structs.replace(account, most_dollars=None) for account in accounts)
    return tuple(filter(_is_limited, without))


def _price(prices: Prices, prompt_tokens: int, completion_tokens: int) -> Decimal:
    return prices.prompt * prompt_tokens + prices.completion * completion_tokens


def _refusal(account: Account, used: Spent, most: Spent) -> OverBudget:
    whose = "This server's" if _is_guild(account.name) else "Your"
    amounts = " and ".join(_amounts(account, used))
    more = " and ".join(_needed(account, most))
    return OverBudget(
        f"{whose} budget for today has not enough left: {amounts} used, and this answer may take"
        f" {more}.",
        remedy=f"{RENEWAL}; shorter questions take less.",
    )


def _amounts(account: Account, used: Spent) -> Iterator[str]:
    """Say what was used of each limit of an account."""
    if account.most_tokens is not None:
        yield f"{used.tokens:,} of {account.most_tokens:,} tokens"
    if account.most_dollars is not None:
        yield f"{_dollars(used.dollars)} of {_dollars(account.most_dollars)}"


def _needed(account: Account, most: Spent) -> Iterator[str]:
    if account.most_tokens is not None:
        yield f"{most.tokens:,} tokens"
    if account.most_dollars is not None:
        yield _dollars(most.dollars)


def _dollars(amount: Decimal) -> str:
    # A single answer may cost less than a cent.
    return f"${amount:,.2f}" if not amount or amount >= Decimal("0.01") else f"${amount:.6f}"


def _is_guild(account_name: str) -> bool:
    return account_name.startswith("guild:")


def _who(account_name: str) -> str:
    return "This server has" if _is_guild(account_name) else "You have"
