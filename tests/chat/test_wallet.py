"""A spending limit that holds, whoever asks, however much, and whatever happens to the process.

What left for the model is counted, and what that model says it used: no test trusts the ledger for
what was spent.
"""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from tests.fakes.talk import ADA

from acore_bot.chat.budgets import Budgets, person_account
from acore_bot.chat.policy import Limits, Policy
from acore_bot.chat.tokens import TokenEstimator
from acore_bot.contracts import Ledger
from acore_bot.errors import OverBudget
from acore_bot.messages import (
    Author,
    ChatMessage,
    ChatRequest,
    End,
    Host,
    ModelInfo,
    Piece,
    Place,
    Prices,
    Usage,
)
from acore_bot.providers.scripted import Scripted
from acore_bot.records.sqlite import SQLiteRecords

TODAY = date(2026, 3, 1)
GUILD = Place("9", "91")
KEY = b"a secret of these tests"
ACCOUNT = person_account(KEY, ADA.id, GUILD.guild)
PRICES = Prices(Decimal("0.00001"), Decimal("0.00003"))
MOST = 300  # what one request uses at most, in tokens: the estimate of the prompt and the answer
DOLLARS = 200 * PRICES.prompt + 100 * PRICES.completion
INFO = ModelInfo(prices=PRICES)
PROMPT = "x" * 686  # at 3.5 characters a token and 4 for the message: 200 tokens
# Each answer uses as much as it may: so what is reserved is what is used.
FULL = End(finish_reason="length", usage=Usage(prompt_tokens=200, completion_tokens=100))


class Shop:
    """A model that sells answers, and the budgets that stand before it."""

    def __init__(self, ledger: Ledger, end: End = FULL) -> None:
        self.model: Scripted = Scripted(answers=[["So be it.", end]])
        self.end = end
        self.today = TODAY
        host = Host("cloud.invalid", is_local=False)
        self.budgets = Budgets(
            ledger, TokenEstimator(), lambda _: host, account_key=KEY, today=lambda: self.today
        )

    async def sell(self, limits: Limits, author: Author = ADA, text: str = PROMPT) -> bool:
        """Answer one question. False if a budget did not suffice."""
        policy = Policy(persona="acore", model="cloud/big", limits=limits)
        said = (ChatMessage("user", text),)
        request = ChatRequest(model="cloud/big", messages=said, max_tokens=100, asker=author.id)
        try:
            async with (
                self.budgets.spend(policy, GUILD, author, request, INFO) as spending,
                self.model.stream(request) as pieces,
            ):
                async for piece in pieces:
                    spending.hear(piece)
        except OverBudget:
            return False
        return True

    async def sell_to(self, limits: Limits, authors: list[Author]) -> int:
        """Answer all at once and return how many were."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.sell(limits, author)) for author in authors]
        return sum(task.result() for task in tasks)

    @property
    def sold(self) -> int:
        """How many requests reached the model."""
        return len(self.model.requests)

    @property
    def used_tokens(self) -> int:
        """What the model says that all its answers took."""
        usage = self.end.usage
        assert usage is not None
        return self.sold * (usage.prompt_tokens + usage.completion_tokens)


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    """Open the real ledger."""
    async with SQLiteRecords.open(tmp_path / "records.sqlite3") as records:
        yield records.ledger


def people(count: int) -> list[Author]:
    """Return as many people."""
    return [Author(str(number), "") for number in range(count)]


async def test_s17_one_person_asks_a_thousand_times_at_once(ledger: Ledger) -> None:
    """Of a thousand questions in one moment, as many are answered as the budget pays for."""
    shop = Shop(ledger)
    limits = Limits(person_tokens=20 * MOST + 1)
    assert await shop.sell_to(limits, [ADA] * 1_000) == shop.sold == 20
    assert (await ledger.spent(ACCOUNT, TODAY)).tokens == shop.used_tokens


async def test_s17_one_person_asks_a_thousand_times_in_a_row(ledger: Ledger) -> None:
    """One after the other, the last answer is the last that is paid for, and all others are refused
    without asking the model."""
    shop = Shop(ledger)
    limits = Limits(person_dollars=20 * DOLLARS)
    answered = [await shop.sell(limits) for _ in range(1_000)]
    assert answered == [True] * 20 + [False] * 980
    assert shop.sold == 20
    assert (await ledger.spent(ACCOUNT, TODAY)).dollars == 20 * DOLLARS


async def test_s17_what_was_not_used_pays_for_more(ledger: Ledger) -> None:
    """Short answers are settled as such: in a row, the budget is used up to within one request; at
    once, it is not passed."""
    short = End(finish_reason="stop", usage=Usage(prompt_tokens=150, completion_tokens=10))
    shop, limits = Shop(ledger, short), Limits(person_tokens=6_000)
    for _ in range(1_000):
        await shop.sell(limits)
    assert 6_000 - MOST < shop.used_tokens <= 6_000
    other = Author("18", "Ben")
    before = shop.used_tokens
    await shop.sell_to(limits, [other] * 500)
    assert 0 < shop.used_tokens - before <= 6_000


async def test_s17_an_estimate_that_was_too_low_passes_by_one_request(ledger: Ledger) -> None:
    """Where a model used more than was reserved, that shows at once: only the last request goes
    beyond the limit."""
    greedy = End(finish_reason="stop", usage=Usage(prompt_tokens=500, completion_tokens=100))
    shop, limits = Shop(ledger, greedy), Limits(person_tokens=6_000)
    for _ in range(100):
        await shop.sell(limits)
    assert shop.used_tokens <= 6_000 + 600 - MOST


async def test_s17_a_hundred_people_share_the_server_s_budget(ledger: Ledger) -> None:
    """Everyone is held to their own budget, and all together to the server's."""
    shop = Shop(ledger)
    limits = Limits(person_tokens=2 * MOST, guild_tokens=150 * MOST, guild_dollars=120 * DOLLARS)
    assert await shop.sell_to(limits, people(100) * 5) == shop.sold == 120
    asked = [request.asker for request in shop.model.requests]
    assert max(map(asked.count, asked)) == 2
    assert (await ledger.spent("guild:9", TODAY)).tokens == shop.used_tokens


async def test_s17_a_hundred_people_are_held_to_their_own_budgets(ledger: Ledger) -> None:
    """Without a limit for the server, each has what they have, and takes none from others."""
    shop = Shop(ledger)
    assert await shop.sell_to(Limits(person_tokens=3 * MOST), people(100) * 5) == 300
    asked = [request.asker for request in shop.model.requests]
    assert {asked.count(author.id) for author in people(100)} == {3}


async def test_s17_long_prompts_with_large_files_are_paid_by_length(ledger: Ledger) -> None:
    """Two thousand characters with a large file beside them reserve what they weigh: a person's
    budget is gone after a few, and what does not fit at all is refused before it is sent."""
    of_files = "word " * 20_000  # 100 kB
    heavy = End(finish_reason="length", usage=Usage(prompt_tokens=28_000, completion_tokens=100))
    shop, limits = Shop(ledger, heavy), Limits(person_tokens=100_000)
    for _ in range(20):
        await shop.sell(limits, text="y" * 2_000 + of_files)
    assert shop.sold == 3
    assert shop.used_tokens <= 100_000
    assert not await shop.sell(limits, people(1)[0], text=of_files * 5)
    assert shop.sold == 3


class Witness(Scripted):
    """A model that looks into its asker's account when it is asked, and after its answer."""

    def __init__(self, ledger: Ledger, end: End) -> None:
        super().__init__(answers=[["So be it.", end]])
        self.ledger = ledger
        self.seen: list[int] = []

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[Piece]]:
        """Look, answer, and look again."""
        await self.look()
        async with super().stream(request) as pieces:
            yield pieces
        await self.look()

    async def look(self) -> None:
        """Keep what is used just now."""
        self.seen.append((await self.ledger.spent(ACCOUNT, TODAY)).tokens)


async def test_s17_it_is_reserved_before_and_settled_after(ledger: Ledger) -> None:
    """When the model is asked, the most is taken already, and stays so until the answer is over;
    then what it took is in its place."""
    short = End(finish_reason="stop", usage=Usage(prompt_tokens=150, completion_tokens=10))
    shop = Shop(ledger)
    shop.model = witness = Witness(ledger, short)
    assert await shop.sell(Limits(person_tokens=1_000))
    await witness.look()
    assert witness.seen == [MOST, MOST, 160]


async def test_s17_the_day_ends_at_midnight(ledger: Ledger) -> None:
    """A used-up budget is whole again on the next day, and not before."""
    shop, limits = Shop(ledger), Limits(person_tokens=2 * MOST)
    for day in (TODAY, date(2026, 3, 2), date(2026, 3, 3)):
        shop.today = day
        assert [await shop.sell(limits) for _ in range(3)] == [True, True, False]


# Sells until the budget is used up, and tells by a dot each time that its model is asked. With
# "wait" the model never answers.
CHILD = """
import asyncio, os, sys
from datetime import date
from acore_bot.chat.budgets import Budgets
from acore_bot.chat.policy import Limits, Policy
from acore_bot.chat.tokens import TokenEstimator
from acore_bot.errors import OverBudget
from acore_bot.messages import *
from acore_bot.records.sqlite import SQLiteRecords

path, prompt, limit, workers, how = sys.argv[1:]
policy = Policy(persona="acore", model="m/m", limits=Limits(person_tokens=int(limit)))
request = ChatRequest(model="m/m", messages=(ChatMessage("user", prompt),), max_tokens=100)
end = End(finish_reason="length", usage=Usage(prompt_tokens=200, completion_tokens=100))

async def sell(budgets):
    place, ada = Place("9"), Author("17", "Ada")
    while True:
        async with budgets.spend(policy, place, ada, request, ModelInfo()) as spending:
            os.write(1, b".")
            if how == "wait":
                await asyncio.Event().wait()
            spending.hear(end)

async def main():
    async with SQLiteRecords.open(path) as records:
        host = Host("here", True)
        day = date(2026, 3, 1)
        key = b"a secret of these tests"
        budgets = Budgets(
            records.ledger, TokenEstimator(), lambda _: host, account_key=key, today=lambda: day
        )
        await asyncio.gather(*(sell(budgets) for _ in range(int(workers))), return_exceptions=True)

asyncio.run(main())
"""


def sell_in_a_child(
    path: Path, *, limit: int, workers: int = 1, how: str = "", kill_at: int
) -> int:
    """Let another process sell; kill it when it has sold so many. Return how many it sold."""
    arguments = (str(path), PROMPT, str(limit), str(workers), how)
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments], stdout=subprocess.PIPE, bufsize=0
    ) as child:
        assert child.stdout
        sold = 0
        while dots := child.stdout.read(1 if sold < kill_at else 4_096):
            sold += len(dots)
            if sold >= kill_at:
                child.kill()
        return sold


async def test_s17_a_process_that_is_killed_leaves_its_reservation(tmp_path: Path) -> None:
    """What was reserved when the process was killed counts as used, so a crash is no way to more
    than the budget."""
    path = tmp_path / "records.sqlite3"
    limit = 3 * MOST
    sold = await asyncio.to_thread(sell_in_a_child, path, limit=limit, how="wait", kill_at=1)
    assert sold == 1
    async with SQLiteRecords.open(path) as records:
        assert (await records.ledger.spent(ACCOUNT, TODAY)).tokens == MOST
        shop = Shop(records.ledger)
        sold = await shop.sell_to(Limits(person_tokens=limit), [ADA] * 10)
    assert sold == 2


async def test_s17_a_budget_survives_being_killed_again_and_again(tmp_path: Path) -> None:
    """However often the process dies while it sells, no more is sold in all than the budget pays
    for, and each death costs no more than what was on its way."""
    path, kills, workers, paid = tmp_path / "records.sqlite3", (3, 10, 17, 9, 1), 4, 100
    sold = 0
    for kill_at in (*kills, 10_000):
        sold += await asyncio.to_thread(
            sell_in_a_child, path, limit=paid * MOST, workers=workers, kill_at=kill_at
        )
    assert paid - len(kills) * workers <= sold <= paid
