"""What one request costs, whom, and what they are told of it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec import structs
from tests.fakes.talk import ADA, BEN

from acore_bot.chat.budgets import Budgets, person_account
from acore_bot.chat.policy import Limits, Policy
from acore_bot.chat.tokens import TokenEstimator
from acore_bot.contracts import Account, Ledger, Reservation, Spent
from acore_bot.errors import HistoryError, OverBudget, Unavailable
from acore_bot.messages import (
    NOWHERE,
    Author,
    ChatMessage,
    ChatRequest,
    Delta,
    End,
    Host,
    ModelInfo,
    Piece,
    Place,
    Prices,
    Usage,
    Waiting,
)
from acore_bot.records.sqlite import SQLiteRecords

TODAY = date(2026, 3, 1)
GUILD = Place("9", "91")
KEY = b"a secret of these tests"
ACCOUNT = person_account(KEY, ADA.id, GUILD.guild)
CLOUD, HOME = "cloud/big", "home/small"
PRICES = ModelInfo(prices=Prices(Decimal("0.001"), Decimal("0.002")))
PROMPT = 34  # 105 characters / 3.5 and 4 for the message
REQUEST = ChatRequest(model=CLOUD, messages=(ChatMessage("user", "x" * 105),), max_tokens=100)


def host_of(model: str) -> Host:
    """Say that all but one provider are clouds."""
    return Host("this machine", is_local=True) if model == HOME else Host("c.invalid", False)


def policy(**limits: int | Decimal) -> Policy:
    """Make a policy with these limits."""
    return Policy(persona="acore", model=CLOUD, limits=Limits(**limits))  # type: ignore[arg-type]


def an_end(
    prompt: int = 40, completion: int = 10, *, cost: str | None = None, **more: object
) -> End:
    """Make an end with a usage."""
    told = None if cost is None else Decimal(cost)
    usage = Usage(prompt_tokens=prompt, completion_tokens=completion, cost=told)
    end = End(finish_reason="stop", usage=usage, provider="cloud", model="big")
    return structs.replace(end, **more)


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    """Open the real ledger."""
    async with SQLiteRecords.open(tmp_path / "records.sqlite3") as records:
        yield records.ledger


class Calendar:
    """Tells a day that a test may change."""

    def __init__(self) -> None:
        self.day = TODAY

    def __call__(self) -> date:
        """Tell the day."""
        return self.day


def budgets_of(ledger: Ledger, **options: object) -> Budgets:
    """Make budgets for one day."""
    options.setdefault("today", lambda: TODAY)
    options.setdefault("account_key", KEY)
    return Budgets(ledger, TokenEstimator(), host_of, **options)  # type: ignore[arg-type]


async def ask(
    budgets: Budgets,
    of: Policy,
    pieces: Sequence[Piece],
    *,
    place: Place = GUILD,
    author: Author = ADA,
    request: ChatRequest = REQUEST,
    info: ModelInfo = PRICES,
    fault: BaseException | None = None,
) -> str:
    """Spend on an answer of these pieces, which a fault may end, and return the notice."""
    async with budgets.spend(of, place, author, request, info) as spending:
        for piece in pieces:
            spending.hear(piece)
        if fault:
            raise fault
        return spending.notice


class Untouchable:
    """A ledger that nobody may ask."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(name)


async def test_without_limits_nothing_is_stored() -> None:
    """Who set no limits pays nothing for budgets: the ledger is not asked."""
    ledger: Ledger = Untouchable()  # type: ignore[assignment]
    assert await ask(budgets_of(ledger), policy(), [an_end()]) == ""


async def test_the_most_is_reserved_until_it_is_settled(ledger: Ledger) -> None:
    """While the model is asked, the prompt and the longest answer count; afterwards the usage."""
    of = policy(person_tokens=1_000, guild_dollars=Decimal(5))
    async with budgets_of(ledger).spend(of, GUILD, ADA, REQUEST, PRICES) as spending:
        most = Spent(PROMPT + 100, PROMPT * Decimal("0.001") + 100 * Decimal("0.002"))
        assert await ledger.spent(ACCOUNT, TODAY) == most
        assert await ledger.spent("guild:9", TODAY) == most
        spending.hear(an_end(40, 10))
    used = Spent(50, 40 * Decimal("0.001") + 10 * Decimal("0.002"))
    assert await ledger.spent(ACCOUNT, TODAY) == used
    assert await ledger.spent("guild:9", TODAY) == used


async def test_a_prompt_is_estimated_as_experience_has_it(ledger: Ledger) -> None:
    """What servers reported corrects the estimate of what is reserved."""
    estimator = TokenEstimator()
    estimator.observe(CLOUD, REQUEST.messages, 5 * PROMPT)
    budgets = Budgets(ledger, estimator, host_of, account_key=KEY, today=lambda: TODAY)
    of = policy(person_tokens=1_000)
    async with budgets.spend(of, GUILD, ADA, REQUEST, PRICES):
        used = await ledger.spent(ACCOUNT, TODAY)
    assert used.tokens == 2 * PROMPT + 100


async def test_what_the_provider_charges_counts_before_its_prices(ledger: Ledger) -> None:
    """A cost that was told is the cost, whatever the catalogue says."""
    await ask(budgets_of(ledger), policy(person_dollars=Decimal(1)), [an_end(cost="0.0123")])
    assert (await ledger.spent(ACCOUNT, TODAY)).dollars == Decimal("0.0123")


@pytest.mark.parametrize("told", [None, Prices(Decimal(-1), Decimal(-1))])
async def test_a_cloud_without_prices_costs_what_is_assumed(
    ledger: Ledger, told: Prices | None
) -> None:
    """An unknown price, or a negative one as some catalogues have it, is no gift."""
    budgets = budgets_of(ledger, assumed_dollars_per_million=Decimal(20))
    of, info = policy(person_dollars=Decimal(1)), ModelInfo(prices=told)
    await ask(budgets, of, [an_end(40, 10)], info=info)
    assert (await ledger.spent(ACCOUNT, TODAY)).dollars == 50 * Decimal("0.00002")


async def test_what_is_local_costs_no_dollars(ledger: Ledger) -> None:
    """A local model is not held up by money that was spent elsewhere, and still uses tokens."""
    budgets = budgets_of(ledger)
    of = policy(person_tokens=1_000, person_dollars=Decimal("0.5"))
    await ask(budgets, of, [an_end(1, 1, cost="0.9")])
    at_home = structs.replace(REQUEST, model=HOME)
    end = an_end(40, 10, provider="home", model="small")
    await ask(budgets, of, [end], request=at_home, info=PRICES)
    assert await ledger.spent(ACCOUNT, TODAY) == Spent(52, Decimal("0.9"))
    with pytest.raises(OverBudget):
        await ask(budgets, of, [])


async def test_local_models_are_free_under_a_limit_of_dollars(ledger: Ledger) -> None:
    """Where only money is limited, nothing is stored for what costs none."""
    at_home = structs.replace(REQUEST, model=HOME)
    await ask(budgets_of(ledger), policy(guild_dollars=Decimal(1)), [an_end()], request=at_home)
    assert await ledger.spent("guild:9", TODAY) == Spent()


async def test_who_may_stand_in_is_reserved_for(ledger: Ledger) -> None:
    """A local model that a cloud may answer for reserves what that would cost, unless nothing may
    leave; what it did cost is settled by who answered."""
    budgets = budgets_of(ledger, fallbacks=(HOME, CLOUD))
    of = policy(person_tokens=1_000, person_dollars=Decimal(1))
    at_home = structs.replace(REQUEST, model=HOME)
    async with budgets.spend(of, GUILD, ADA, at_home, ModelInfo()) as spending:
        assumed = (PROMPT + 100) * Decimal("0.00001")
        assert (await ledger.spent(ACCOUNT, TODAY)).dollars == assumed
        spending.hear(an_end(40, 10, fell_back_from=HOME))
    paid = 50 * Decimal("0.00001")
    assert (await ledger.spent(ACCOUNT, TODAY)).dollars == paid
    kept = structs.replace(at_home, is_local_only=True)
    async with budgets.spend(of, GUILD, ADA, kept, ModelInfo()):
        assert (await ledger.spent(ACCOUNT, TODAY)).dollars == paid


async def test_an_answer_that_is_stopped_is_charged_as_the_dearest_of_who_may_have_answered(
    ledger: Ledger,
) -> None:
    """Before its end nobody tells who gave it; otherwise whoever stops each answer would get those
    of a cloud for nothing."""
    budgets = budgets_of(ledger, fallbacks=(CLOUD,))
    at_home = structs.replace(REQUEST, model=HOME)
    await ask(budgets, policy(person_dollars=Decimal(1)), [Delta("t" * 35)], request=at_home)
    tokens = (await ledger.spent(ACCOUNT, TODAY)).tokens
    assert (await ledger.spent(ACCOUNT, TODAY)).dollars == tokens * Decimal("0.00001")


async def test_a_local_stand_in_is_not_charged_at_the_cloud_s_prices(ledger: Ledger) -> None:
    """While the cloud is away and a local model answers, no dollars are used."""
    end = an_end(40, 10, provider="home", model="small", fell_back_from=CLOUD)
    await ask(budgets_of(ledger), policy(person_dollars=Decimal(1)), [end])
    assert await ledger.spent(ACCOUNT, TODAY) == Spent(50)


@pytest.mark.parametrize(
    "end",
    [
        End(finish_reason="stop"),
        an_end(0, 0),
        None,
    ],
)
async def test_without_a_count_what_was_said_is_estimated(ledger: Ledger, end: End | None) -> None:
    """Where a server counts nothing, the prompt and all text and reasoning are estimated."""
    pieces: list[Piece] = [Waiting(1), Delta(reasoning="r" * 35), Delta("t" * 35)]
    await ask(budgets_of(ledger), policy(person_tokens=1_000), pieces + ([end] if end else []))
    assert (await ledger.spent(ACCOUNT, TODAY)).tokens == PROMPT + 20 + 4


async def test_an_answer_from_the_cache_costs_nothing(ledger: Ledger) -> None:
    """What was given before is given again for free."""
    await ask(budgets_of(ledger), policy(person_tokens=1_000), [Delta("a"), an_end(is_cached=True)])
    assert await ledger.spent(ACCOUNT, TODAY) == Spent()


async def test_the_dollars_of_a_shared_answer_are_charged_once(ledger: Ledger) -> None:
    """Each reader pays the tokens they were given; the one upstream call's dollars fall on one."""
    budgets, of = budgets_of(ledger), policy(guild_dollars=Decimal(9), guild_tokens=9_999)
    shared = an_end(cost="0.5", is_shared=True, response_id="gen-1")
    for author in (ADA, BEN, ADA):
        await ask(budgets, of, [shared], author=author)
    assert await ledger.spent("guild:9", TODAY) == Spent(150, Decimal("0.5"))
    await ask(budgets, of, [structs.replace(shared, response_id="gen-2")])
    assert await ledger.spent("guild:9", TODAY) == Spent(200, Decimal(1))


async def test_a_shared_answer_without_a_name_is_charged_to_each(ledger: Ledger) -> None:
    """Where nobody can tell whether it was paid, a limit is rather reached early than passed; and
    what was not shared is paid each time."""
    budgets, of = budgets_of(ledger), policy(guild_dollars=Decimal(9))
    for _ in range(2):
        await ask(budgets, of, [an_end(cost="0.5", is_shared=True)])
        await ask(budgets, of, [an_end(cost="0.5", response_id="gen-1")])
    assert (await ledger.spent("guild:9", TODAY)).dollars == 2


async def test_an_error_before_the_first_word_costs_nothing(ledger: Ledger) -> None:
    """Nobody pays for a model that gave nothing."""
    of = policy(person_tokens=1_000)
    with pytest.raises(Unavailable):
        await ask(budgets_of(ledger), of, [], fault=Unavailable())
    assert await ledger.spent(ACCOUNT, TODAY) == Spent()


@pytest.mark.parametrize("fault", [Unavailable(), asyncio.CancelledError(), RuntimeError()])
async def test_what_was_said_before_a_break_is_charged(
    ledger: Ledger, fault: BaseException
) -> None:
    """However an answer breaks off, its text tells what it took."""
    of = policy(person_tokens=1_000)
    with pytest.raises(type(fault)):
        await ask(budgets_of(ledger), of, [Delta("t" * 35)], fault=fault)
    assert (await ledger.spent(ACCOUNT, TODAY)).tokens == PROMPT + 10 + 4


@pytest.mark.parametrize("fault", [asyncio.CancelledError(), RuntimeError()])
async def test_who_leaves_before_the_first_word_is_charged_the_most(
    ledger: Ledger, fault: BaseException
) -> None:
    """Nobody can ask for free by leaving early: what the server had done by then is unknown."""
    of = policy(person_tokens=1_000)
    with pytest.raises(type(fault)):
        await ask(budgets_of(ledger), of, [Waiting(1)], fault=fault)
    assert (await ledger.spent(ACCOUNT, TODAY)).tokens == PROMPT + 100


async def test_a_block_that_asked_nobody_is_free(ledger: Ledger) -> None:
    """Who reserves and then asks nothing gets all of it back."""
    await ask(budgets_of(ledger), policy(person_tokens=1_000), [])
    assert await ledger.spent(ACCOUNT, TODAY) == Spent()


async def test_who_leaves_while_it_is_reserved_gets_it_back(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancellation in the midst of reserving leaves nothing reserved."""
    has_reserved, may_return = asyncio.Event(), asyncio.Event()
    reserve = ledger.reserve

    async def reserve_slowly(
        accounts: Sequence[Account], most: Spent, day: date
    ) -> Reservation | Account:
        outcome = await reserve(accounts, most, day)
        has_reserved.set()
        await may_return.wait()
        return outcome

    monkeypatch.setattr(ledger, "reserve", reserve_slowly)
    task = asyncio.create_task(ask(budgets_of(ledger), policy(person_tokens=1_000), []))
    await has_reserved.wait()
    assert (await ledger.spent(ACCOUNT, TODAY)).tokens == PROMPT + 100
    task.cancel()
    may_return.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await ledger.spent(ACCOUNT, TODAY) == Spent()


async def fail(*_: object) -> None:
    """Be a ledger on a full disk."""
    raise HistoryError("The disk is full.")


async def test_without_accounts_nothing_is_spent(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the ledger cannot be asked, the block is not entered, so no model is asked."""
    monkeypatch.setattr(ledger, "reserve", fail)
    with pytest.raises(HistoryError):
        await ask(budgets_of(ledger), policy(person_tokens=1_000), [], fault=AssertionError())


async def test_an_answer_stands_though_it_cannot_be_settled(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What was said is not lost to a full disk, which the log tells of; the most stays used."""
    monkeypatch.setattr(ledger, "settle", fail)
    await ask(budgets_of(ledger), policy(person_tokens=1_000), [an_end()])
    assert "could not be settled: The disk is full." in caplog.text
    assert (await ledger.spent(ACCOUNT, TODAY)).tokens == PROMPT + 100


async def test_a_person_is_told_that_their_budget_is_used_up(ledger: Ledger) -> None:
    """The sentence names whose it is, what is used of what, what would be needed, and when it
    renews; others go on."""
    budgets, of = budgets_of(ledger), policy(person_tokens=1_000, person_dollars=Decimal(5))
    await ask(budgets, of, [an_end(900, 50, cost="0.000123")])
    with pytest.raises(OverBudget) as refusal:
        await ask(budgets, of, [])
    assert str(refusal.value) == (
        "Your budget for today has not enough left: 950 of 1,000 tokens and $0.000123 of $5.00"
        " used, and this answer may take 134 tokens and $0.23."
        " It renews at midnight UTC; shorter questions take less."
    )
    await ask(budgets, of, [], author=BEN)
    await ask(budgets, of, [], place=Place("8"))


async def test_all_are_told_that_the_server_s_budget_is_used_up(ledger: Ledger) -> None:
    """A guild's budget is everyone's together, and is no matter in private."""
    budgets, of = budgets_of(ledger), policy(guild_dollars=Decimal("1.5"))
    await ask(budgets, of, [an_end(cost="1.4")])
    with pytest.raises(OverBudget, match=r"^This server's .*: \$1.40 of \$1.50 used") as refusal:
        await ask(budgets, of, [], author=BEN)
    assert refusal.value.kind == "over_budget"
    await ask(budgets, of, [], place=NOWHERE)


async def test_private_talk_has_an_account_of_its_own(ledger: Ledger) -> None:
    """What a person used in private does not count in a guild, nor the other way round."""
    await ask(budgets_of(ledger), policy(person_tokens=1_000), [an_end()], place=NOWHERE)
    assert (await ledger.spent(person_account(KEY, ADA.id), TODAY)).tokens == 50
    assert await ledger.spent(ACCOUNT, TODAY) == Spent()


async def test_a_refusal_takes_from_no_account(ledger: Ledger) -> None:
    """Where one of two accounts has not enough, the other keeps what it had."""
    of = policy(person_tokens=10_000, guild_tokens=PROMPT)
    with pytest.raises(OverBudget, match="This server's"):
        await ask(budgets_of(ledger), of, [])
    assert await ledger.spent(ACCOUNT, TODAY) == Spent()


async def test_the_last_token_may_be_used(ledger: Ledger) -> None:
    """A limit is what may be used, not what has to be left."""
    await ask(budgets_of(ledger), policy(person_tokens=PROMPT + 100), [])
    with pytest.raises(OverBudget):
        await ask(budgets_of(ledger), policy(person_tokens=PROMPT + 99), [])


async def test_a_warning_is_given_once(ledger: Ledger) -> None:
    """Who has used four fifths of a budget hears of it, and does not hear it all day."""
    budgets, of = budgets_of(ledger), policy(person_tokens=1_000)
    assert await ask(budgets, of, [an_end(600, 65)]) == ""
    assert await ask(budgets, of, [an_end(1, 0)]) == ""  # 799 with the most of this one
    assert await ask(budgets, of, [an_end(1, 0)]) == (
        "You have used up to 80 % of your budget for today, this answer included."
        " It renews at midnight UTC."
    )
    assert await ask(budgets, of, [an_end(1, 0)]) == ""


async def test_a_warning_comes_again_on_another_day(ledger: Ledger) -> None:
    """What was said yesterday is said again today, if it is true again."""
    calendar = Calendar()
    budgets, of = budgets_of(ledger, today=calendar), policy(guild_tokens=PROMPT + 100)
    for day in (TODAY, date(2026, 3, 2)):
        calendar.day = day
        assert (await ask(budgets, of, [])).startswith("This server has used up to 100 % of its")
        assert await ask(budgets, of, [], author=BEN) == ""


async def test_what_is_remembered_is_bounded(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is remembered as warned leaves when too many others are."""
    monkeypatch.setattr("acore_bot.chat.budgets.MAX_REMEMBERED", 2)
    budgets, of = budgets_of(ledger), policy(person_tokens=PROMPT + 100)
    people = [Author(str(number), "") for number in range(3)]
    for author in (*people, people[0]):
        assert await ask(budgets, of, [], author=author)
    assert not await ask(budgets, of, [], author=people[2])


async def test_a_request_settles_on_the_day_on_which_it_began(ledger: Ledger) -> None:
    """Over midnight, a new day starts empty, and what was reserved is settled on the old one."""
    calendar = Calendar()
    budgets, of = budgets_of(ledger, today=calendar), policy(person_tokens=PROMPT + 100)
    tomorrow = date(2026, 3, 2)
    async with AsyncExitStack() as stack:
        spending = await stack.enter_async_context(budgets.spend(of, GUILD, ADA, REQUEST, PRICES))
        with pytest.raises(OverBudget):
            await ask(budgets, of, [])
        calendar.day = tomorrow
        await ask(budgets, of, [an_end(3, 4)])
        spending.hear(an_end(40, 10))
    assert (await ledger.spent(ACCOUNT, TODAY)).tokens == 50
    assert (await ledger.spent(ACCOUNT, tomorrow)).tokens == 7


async def test_one_can_look_at_what_was_used(ledger: Ledger) -> None:
    """Each limit is told with what was used of it today, and only those that are."""
    budgets = budgets_of(ledger)
    of = policy(person_tokens=1_000, person_dollars=Decimal(2), guild_dollars=Decimal(20))
    await ask(budgets, of, [an_end(cost="0.25")])
    assert await budgets.describe(of, GUILD, ADA) == (
        "You have used 50 of 1,000 tokens and $0.25 of $2.00 today.\n"
        "This server has used $0.25 of $20.00 today.\n"
        "It renews at midnight UTC."
    )
    assert await budgets.describe(of, NOWHERE, ADA) == (
        "You have used 0 of 1,000 tokens and $0.00 of $2.00 today.\nIt renews at midnight UTC."
    )
    assert await budgets.describe(policy(), GUILD, ADA) == "Nothing limits what you may use here."
