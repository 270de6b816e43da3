"""Who answers when a model does not, and when it is asked again."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

import pytest
from msgspec import structs
from tests.fakes.clock import SettableClock

from acore_bot import errors
from acore_bot.contracts import Provider
from acore_bot.errors import (
    AuthFailed,
    BadRequest,
    Blocked,
    BrokenStream,
    CloudForbidden,
    ConfigurationError,
    KeyMissing,
    ModelError,
    ModelNotFound,
    NoCredit,
    Overloaded,
    QueueFull,
    RateLimited,
    TimedOut,
    TooLong,
    Unavailable,
)
from acore_bot.llm.failover import Failover, FailoverOptions
from acore_bot.llm.limit import LimitedModel, LimitOptions
from acore_bot.llm.route import RoutedModel
from acore_bot.messages import (
    Ability,
    ChatMessage,
    ChatRequest,
    Delta,
    End,
    Host,
    Image,
    ModelInfo,
    Piece,
    Waiting,
)
from acore_bot.providers.scripted import CUT, Answer, Scripted
from acore_bot.telemetry.events import BreakerChanged, Event, FellBack

ASKED = "tea/assam:7b"


def ask(model: str = ASKED) -> ChatRequest:
    """Make a request."""
    return ChatRequest(model=model, messages=(ChatMessage("user", "Tea?"),), max_tokens=9)


def down(provider: str = "tea", model: str = "assam:7b") -> list[ModelError]:
    """The answer of a server that is not there."""
    return [Unavailable(provider=provider, model=model)]


class Cup(Scripted):
    """A scripted provider that counts how often it is described, and may fail at it."""

    def __init__(
        self, name: str, answers: Sequence[Answer] = (), *, context_tokens: int = 8192
    ) -> None:
        super().__init__(
            name=name, answers=answers or [f"I am {name}."], context_tokens=context_tokens
        )
        self.described = 0
        self.fault: ModelError | None = None
        self.abilities = frozenset[Ability]()

    async def describe(self, model: str, *, local_only: bool = False) -> ModelInfo:
        """Count, and maybe fail."""
        self.described += 1
        if self.fault:
            raise self.fault
        info = await super().describe(model, local_only=local_only)
        return structs.replace(info, abilities=self.abilities)


@dataclass
class Table:
    """Three providers under fail-over, and what was told of it. The last one is the last resort."""

    tea: Cup = field(default_factory=lambda: Cup("tea"))
    milk: Cup = field(default_factory=lambda: Cup("milk"))
    water: Cup = field(default_factory=lambda: Cup("water"))
    options: FailoverOptions = field(
        default_factory=lambda: FailoverOptions(
            fallbacks=("milk/whole:free",), last_resort="water/still"
        )
    )
    clock: SettableClock = field(default_factory=SettableClock)
    slots: int = 0  # none: without a limit
    local: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.told: list[Event] = []
        self.failover = Failover(
            RoutedModel(
                ["tea", "milk", "water"],
                self._open,
                hosts={name: Host(name, is_local=True) for name in self.local},
            ),
            self.options,
            clock=self.clock,
            sleep=self.clock.sleep,
            random=lambda: 0.5,
            emit=self.told.append,
        )

    def _open(self, name: str) -> Provider:
        provider: Provider = {"tea": self.tea, "milk": self.milk, "water": self.water}[name]
        if not self.slots:
            return provider
        options = LimitOptions(max_streams=self.slots)
        return LimitedModel(provider, options, name=name, clock=self.clock)

    @property
    def tries(self) -> tuple[int, int, int]:
        """How often each of the three was asked for an answer."""
        return len(self.tea.requests), len(self.milk.requests), len(self.water.requests)

    async def read(self, request: ChatRequest | None = None) -> list[Piece]:
        """Read a whole answer."""
        async with self.failover.stream(request or ask()) as pieces:
            return [piece async for piece in pieces]

    async def fail(self, times: int = 1) -> ModelError:
        """Ask in vain so many times; return the last error."""
        for _ in range(times - 1):
            await self.fail()
        with pytest.raises(ModelError) as caught:
            await self.read()
        return caught.value

    def states(self, model: str = ASKED) -> list[str]:
        """The states of a model's breaker that were told of."""
        changes = [event for event in self.told if isinstance(event, BreakerChanged)]
        return [change.state for change in changes if change.model == model]


def alone(*answers: Answer) -> Table:
    """One model and no other to fall back on."""
    return Table(tea=Cup("tea", answers), options=FailoverOptions())


async def until(is_so: Callable[[], bool]) -> None:
    """Let the others go on until something is so."""
    for _ in range(1000):
        if is_so():
            return
        await asyncio.sleep(0)
    raise AssertionError


def text(pieces: list[Piece]) -> str:
    """Join what was said."""
    return "".join(piece.text for piece in pieces if isinstance(piece, Delta))


def end(pieces: list[Piece]) -> End:
    """Return the end, which is the last piece."""
    assert isinstance(pieces[-1], End)
    return pieces[-1]


@dataclass(frozen=True)
class Row:
    """A row of the table of error classes. What `breaker` does with five in a row."""

    kind: str
    error: Callable[[], ModelError]
    retries: int
    falls_over: bool
    breaker: Literal["counts", "opens", "cools", "nothing"]


def row(
    kind: type[ModelError],
    retries: int,
    falls_over: bool,
    breaker: Literal["counts", "opens", "cools", "nothing"],
) -> Row:
    """Write a row."""

    def make() -> ModelError:
        if kind is RateLimited:
            return RateLimited(provider="tea", model="assam:7b", retry_after_seconds=2)
        return kind(provider="tea", model="assam:7b", remedy="Boil water.")

    return Row(kind.kind, make, retries, falls_over, breaker)


TABLE = [
    row(RateLimited, 1, True, "cools"),
    row(Overloaded, 1, True, "counts"),
    row(Unavailable, 1, True, "counts"),
    row(TimedOut, 0, True, "counts"),
    row(TooLong, 0, True, "nothing"),
    row(AuthFailed, 0, True, "opens"),
    row(NoCredit, 0, True, "opens"),
    row(ModelNotFound, 0, True, "nothing"),
    row(BadRequest, 0, True, "nothing"),
    row(Blocked, 0, False, "nothing"),
    row(BrokenStream, 1, True, "counts"),
]
OURS = [  # what we ourselves refuse, before any server is asked
    row(QueueFull, 0, True, "nothing"),
    row(CloudForbidden, 0, True, "nothing"),
    row(KeyMissing, 0, True, "opens"),
]
each_row = pytest.mark.parametrize("row", [*TABLE, *OURS], ids=lambda row: row.kind)


def test_every_class_has_its_row() -> None:
    """The table has all the errors of models there are, eleven of servers and three of ours."""
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type)}
    leaves = {kind.kind for kind in kinds if issubclass(kind, ModelError)} - {ModelError.kind}
    assert {row.kind for row in (*TABLE, *OURS)} == leaves
    assert len(TABLE) == 11


@each_row
def test_r13_the_classes_are_as_in_the_table(row: Row) -> None:
    """What each class says of itself is what the table says."""
    error = row.error()
    assert (error.retries, error.falls_over) == (row.retries, row.falls_over)
    assert error.counts_for_breaker == (row.breaker in ("counts", "opens"))
    assert error.opens_breaker == (row.breaker == "opens")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (RateLimited(provider="tea"), "tea is asked too often just now."),
        (
            RateLimited(provider="tea", retry_after_seconds=14.4),
            "tea is asked too often: about 14 s.",
        ),
        (Overloaded(provider="tea", retry_after_seconds=0.2), "tea is busy: about 1 s."),
        (QueueFull(provider="tea", retry_after_seconds=1e999), "tea is busy just now."),
        (Unavailable(provider="tea", retry_after_seconds=9), "tea cannot be reached."),
    ],
)
def test_a_wait_that_is_known_is_told(error: ModelError, sentence: str) -> None:
    """Where waiting helps, the sentence says for how long, whatever a server may claim."""
    assert error.sentence == sentence


@each_row
async def test_r13_each_class_is_handled_as_in_the_table(row: Row) -> None:
    """Before its first word a model fails in each way: it is asked again as often as the table
    says, then another one answers within two seconds more, or the error is told."""
    table = Table(tea=Cup("tea", [[row.error()]], context_tokens=4096))
    if row.falls_over:
        pieces = await table.read()
        assert text(pieces) == "I am milk."
        assert end(pieces).fell_back_from == ASKED
        assert (end(pieces).provider, end(pieces).model) == ("milk", "whole:free")
        assert table.told[-1] == FellBack(ASKED, "milk/whole:free", row.kind)
    else:
        assert (await table.fail()).kind == row.kind
        assert table.milk.requests == []
    assert len(table.tea.requests) == 1 + row.retries
    told = row.error().retry_after_seconds or 0
    assert table.clock.now <= told + 2


@each_row
async def test_r13_the_breaker_does_as_in_the_table(row: Row) -> None:
    """Five failures open it, or one, or none; then the model is left alone or not."""
    table = alone([row.error()])
    await table.fail()
    assert table.states() == (["open"] if row.breaker == "opens" else [])
    tries = len(table.tea.requests)
    await table.fail(5)
    assert table.states() == (["open"] if row.breaker in ("counts", "opens") else [])
    await table.fail()
    tries_since = len(table.tea.requests) - tries
    if row.breaker == "nothing":
        assert tries_since == 6
    else:
        assert tries_since < 6


@pytest.mark.parametrize("fails_with", [[CUT], [End(finish_reason="truncated")]])
async def test_a_stream_that_ends_before_its_first_word_is_broken(fails_with: Answer) -> None:
    """Cut off with nothing shown, it is asked again, and then another is."""
    table = Table(tea=Cup("tea", [fails_with]))
    assert text(await table.read()) == "I am milk."
    assert table.tries == (2, 1, 0)
    assert FellBack(ASKED, "milk/whole:free", "broken_stream") in table.told


@pytest.mark.parametrize("said", [Delta("Well"), Delta(reasoning="Hm")])
async def test_after_the_first_delta_an_error_passes_through(said: Delta) -> None:
    """Whatever was shown, nobody else goes on with it, and it is not said twice."""
    table = Table(tea=Cup("tea", [[said, BrokenStream(provider="tea")]]))
    got: list[Piece] = []
    async with table.failover.stream(ask()) as pieces:
        with pytest.raises(BrokenStream):
            got.extend([await anext(pieces), await anext(pieces)])
    assert table.tries == (1, 0, 0)


async def test_a_partial_answer_is_passed_on_as_it_is() -> None:
    """Cut off in its midst, an answer ends as truncated, and that counts for the breaker."""
    table = Table(tea=Cup("tea", [["Well, ", CUT]]))
    for _ in range(5):
        pieces = await table.read()
        assert text(pieces) == "Well, "
        assert end(pieces).finish_reason == "truncated"
        assert end(pieces).fell_back_from == ""
    assert table.states() == ["open"]


async def test_an_empty_answer_is_an_answer() -> None:
    """A model that stops without a word has answered."""
    table = Table(tea=Cup("tea", [[End(finish_reason="stop")]]))
    assert [type(piece) for piece in await table.read()] == [End]
    assert table.tries == (1, 0, 0)


async def test_the_asked_model_answers_as_without_fail_over() -> None:
    """Nothing is added to an answer that the first model gives."""
    table = Table(tea=Cup("tea", [[Waiting(1, 2.0), "Yes", End(finish_reason="length")]]))
    expected = [Waiting(1, 2.0), Delta("Yes"), End(finish_reason="length")]
    assert await table.read() == expected
    assert table.told == []


async def test_candidates_are_asked_once_each_in_order() -> None:
    """The asked one, the fallbacks, the last resort; one that stands twice is asked once."""
    options = FailoverOptions(
        fallbacks=("milk/whole:free", ASKED, "milk/whole:free"), last_resort="water/still"
    )
    table = Table(tea=Cup("tea", [[TimedOut()]]), milk=Cup("milk", [[TimedOut()]]), options=options)
    assert end(await table.read()).provider == "water"
    assert table.tries == (1, 1, 1)


async def test_names_stay_whole() -> None:
    """Colons and further slashes in a model's name reach the provider."""
    options = FailoverOptions(fallbacks=("milk/organic/whole:free",))
    table = Table(tea=Cup("tea", [[TimedOut()]]), options=options)
    await table.read()
    assert table.tea.requests[0].model == "assam:7b"
    assert table.milk.requests[0].model == "organic/whole:free"


async def test_nothing_is_shared_between_requests() -> None:
    """Requests that overlap and fall over, or are cancelled at it, change nobody's model: the next
    one is asked for the model it names."""
    blocked = asyncio.Event()
    table = Table(
        tea=Cup("tea", [[TimedOut()], [TimedOut()], "I am tea."]),
        milk=Cup("milk", [[blocked, "I am milk."]]),
    )
    one, other = asyncio.create_task(table.read()), asyncio.create_task(table.read())
    await until(lambda: len(table.milk.requests) == 2)
    assert end(await table.read()).provider == "tea"
    other.cancel()
    blocked.set()
    assert end(await one).provider == "milk"
    assert end(await table.read()).provider == "tea"
    with pytest.raises(asyncio.CancelledError):
        await other
    assert {request.model for request in table.tea.requests} == {"assam:7b"}


async def test_if_all_fail_the_error_is_that_of_the_asked_model() -> None:
    """The person hears of the model they know, with its remedy and nothing of the others."""
    error = TimedOut(provider="tea", model="assam:7b", remedy="Boil water.")
    table = Table(
        tea=Cup("tea", [[error]]),
        milk=Cup("milk", [down("milk")]),
        water=Cup("water", [[AuthFailed(provider="water")]]),
    )
    assert str(await table.fail()) == "tea/assam:7b took too long. Boil water."
    assert not any(isinstance(event, FellBack) for event in table.told)


async def test_a_filter_behind_a_fallback_ends_the_search() -> None:
    """What one content filter refused is not carried to the next, and the first error is told."""
    table = Table(tea=Cup("tea", [[TimedOut()]]), milk=Cup("milk", [[Blocked()]]))
    assert isinstance(await table.fail(), TimedOut)
    assert table.water.requests == []


async def test_a_wrong_name_is_told() -> None:
    """A model that nobody can have is not silently replaced, neither to answer nor to describe."""
    table = Table()
    with pytest.raises(ConfigurationError, match="no provider named 'coffee'"):
        await table.read(ask("coffee/black"))
    with pytest.raises(ConfigurationError, match="no provider named 'coffee'"):
        await table.failover.describe("coffee/black")
    assert table.tries == (0, 0, 0)


async def test_a_fallback_that_is_not_set_up_is_skipped() -> None:
    """A wrong name among the fallbacks keeps nobody from the next one."""
    options = FailoverOptions(fallbacks=("coffee/black",), last_resort="water/still")
    table = Table(tea=Cup("tea", [[TimedOut()]]), options=options)
    assert end(await table.read()).provider == "water"


@pytest.mark.parametrize(("seconds", "tries"), [(0.5, 2), (5.0, 2), (5.1, 1), (None, 1)])
async def test_a_rate_limit_is_waited_for_if_it_is_short(seconds: float | None, tries: int) -> None:
    """Up to five seconds the same model is asked again after just that time, else the next is."""
    table = Table(tea=Cup("tea", [[RateLimited(retry_after_seconds=seconds)], "I am tea."]))
    who = end(await table.read()).provider
    assert (who, len(table.tea.requests)) == (("tea", 2) if tries == 2 else ("milk", 1))
    waited = seconds if tries == 2 and seconds else 0
    assert waited <= table.clock.now <= waited + (0.02 if tries == 2 else 0)


async def test_a_cooling_model_is_not_asked() -> None:
    """While a model wants to be left alone, others go straight to the next one."""
    table = Table(tea=Cup("tea", [[RateLimited(retry_after_seconds=60)], "I am tea."]))
    assert [end(await table.read()).provider for _ in range(3)] == ["milk"] * 3
    assert len(table.tea.requests) == 1
    table.clock.advance(61)
    assert end(await table.read()).provider == "tea"


async def test_a_retry_may_succeed() -> None:
    """A server that hiccups once is asked once more, after a small pause, and answers."""
    table = Table(tea=Cup("tea", [down(), "I am tea."]))
    assert end(await table.read()).fell_back_from == ""
    assert 0 < table.clock.now < 0.1
    assert table.told == []


async def test_a_model_is_asked_again_once_and_not_when_it_was_given_up() -> None:
    """However much the budget allows, a request asks a model twice at the most; the failure that
    opens its breaker is followed by no pause and no retry."""
    table = alone(*["Yes."] * 50, down())
    for _ in range(50):
        await table.read()
    await table.fail(3)
    assert len(table.tea.requests) == 50 + 2 + 2 + 1
    assert table.states() == ["open"]
    assert table.clock.now == pytest.approx(2 * 0.5 * Unavailable.pause_seconds)


async def test_each_candidate_may_be_asked_again() -> None:
    """That the first one was asked twice takes nothing from the second."""
    table = Table(tea=Cup("tea", [*["Yes."] * 50, down()]), milk=Cup("milk", [down(), "Yes."]))
    for _ in range(50):
        await table.read()
    assert end(await table.read()).provider == "milk"
    assert table.tries == (52, 2, 0)


async def test_the_pause_before_a_retry_is_jittered() -> None:
    """Those who were refused together do not come back together."""
    drawn = iter([0.0, 1.0])
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    for _ in range(2):
        failover = Failover(
            Scripted(answers=[[Overloaded()], "Yes."]),
            FailoverOptions(),
            sleep=sleep,
            random=lambda: next(drawn),
        )
        async with failover.stream(ask()) as pieces:
            assert [piece async for piece in pieces]
    assert pauses == [0.0, 0.5]


async def test_a_prompt_that_is_too_long_goes_to_a_larger_model() -> None:
    """Only a model with a larger window is asked for what was too long for the first."""
    table = Table(
        tea=Cup("tea", [[TooLong()]], context_tokens=4096),
        milk=Cup("milk", context_tokens=4096),
        water=Cup("water", context_tokens=8192),
    )
    assert end(await table.read()).provider == "water"
    assert table.tries == (1, 0, 1)


async def test_without_a_larger_model_the_length_is_told() -> None:
    """The refusal of the asked model comes as it is, so that the prompt can be trimmed by it."""
    refusal = TooLong(prompt_tokens=9000, context_tokens=8192, provider="tea", model="assam:7b")
    table = Table(tea=Cup("tea", [[refusal]], context_tokens=99))
    assert await table.fail() is refusal
    assert table.tries == (1, 0, 0)


async def test_a_larger_model_that_cannot_be_described_is_not_asked() -> None:
    """Of a window that nobody tells it is not believed that it is larger."""
    table = Table(tea=Cup("tea", [[TooLong()]], context_tokens=4096))
    table.milk.fault = Unavailable()
    assert end(await table.read()).provider == "water"


@pytest.mark.parametrize("abilities", [frozenset(), frozenset({"vision"})])
async def test_pictures_go_only_to_a_fallback_that_sees(abilities: frozenset[Ability]) -> None:
    """A model that cannot look at pictures would refuse them, so it is asked without."""
    table = Table(tea=Cup("tea", [down()]))
    table.milk.abilities = abilities
    picture = Image("image/png", b"a cat")
    request = structs.replace(ask(), messages=(ChatMessage("user", "Tea?", (picture,)),))
    assert text(await table.read(request)) == "I am milk."
    assert table.tea.requests[0].messages == request.messages
    seen = (picture,) if abilities else ()
    assert table.milk.requests[0].messages == (ChatMessage("user", "Tea?", seen),)


@pytest.mark.parametrize("fallbacks", [(), ("milk/whole:free",)])
async def test_a_long_line_is_no_reason_for_the_last_resort(fallbacks: tuple[str, ...]) -> None:
    """A model that is only busy is well: models of the owner's choice may stand in for it, but not
    the one that is for outages."""
    busy = [QueueFull(provider="tea", model="assam:7b")]
    options = FailoverOptions(fallbacks=fallbacks, last_resort="water/still")
    table = Table(tea=Cup("tea", [busy]), options=options)
    if fallbacks:
        assert text(await table.read()) == "I am milk."
    else:
        assert isinstance(await table.fail(), QueueFull)
    assert not table.water.requests


async def test_a_deadline_is_set_and_passed_on() -> None:
    """A request without a deadline gets one; the others keep theirs, from try to try."""
    table = Table(tea=Cup("tea", [down()]))
    table.clock.now = 7
    await table.read()
    assert {request.deadline for request in table.tea.requests + table.milk.requests} == {307}
    await table.read(structs.replace(ask(), deadline=99.0))
    assert table.milk.requests[-1].deadline == 99


async def test_nothing_begins_after_the_deadline() -> None:
    """When the time is up nobody else is asked, and the first error is told."""
    table = Table(tea=Cup("tea", [[Waiting(1), TimedOut(provider="tea")]]))

    async def take_long(_: float) -> None:
        table.clock.advance(150)

    table.tea._sleep = take_long
    assert isinstance(await table.fail(), TimedOut)
    assert table.tries == (1, 0, 0)


async def test_a_request_that_comes_too_late_is_told_so() -> None:
    """Nobody is asked by a request whose deadline has passed before."""
    table = Table(clock=SettableClock(10))
    with pytest.raises(TimedOut) as caught:
        await table.read(structs.replace(ask(), deadline=9.0))
    assert caught.value.sentence == "tea/assam:7b took too long."
    assert table.tries == (0, 0, 0)


async def test_no_retry_beyond_the_deadline() -> None:
    """A pause that would end after the deadline is not made."""
    table = Table(tea=Cup("tea", [[RateLimited(retry_after_seconds=4)]]))
    await table.read(structs.replace(ask(), deadline=3.0))
    assert table.tries == (1, 1, 0)
    assert table.clock.now == 0


def kept_here(model: str = ASKED) -> ChatRequest:
    """Make a request that no cloud may hear."""
    return structs.replace(ask(model), is_local_only=True)


async def test_what_is_local_only_passes_over_clouds() -> None:
    """Neither the cloud that was asked nor the one next to it hears of it; who is local answers,
    and the answer says for whom."""
    table = Table(local=("water",))
    pieces = await table.read(kept_here())
    assert (text(pieces), end(pieces).fell_back_from) == ("I am water.", ASKED)
    assert table.tries == (0, 0, 1)
    assert table.told == [FellBack(ASKED, "water/still", "cloud_forbidden")]


async def test_a_local_model_s_trouble_takes_nothing_to_a_cloud() -> None:
    """With every local model down, the error is the first one's, and no cloud was asked."""
    table = Table(tea=Cup("tea", [down()]), local=("tea",))
    with pytest.raises(Unavailable, match="tea/assam:7b"):
        await table.read(kept_here())
    assert table.tries == (2, 0, 0)
    with pytest.raises(CloudForbidden, match="milk/whole"):
        await table.read(kept_here("milk/whole"))


async def test_a_refused_cloud_is_no_ill_one() -> None:
    """However often local places ask for it in vain, others are served by it as ever."""
    table = Table()
    for _ in range(30):
        with pytest.raises(CloudForbidden, match=r"^tea/assam:7b computes in a cloud"):
            await table.read(kept_here())
    assert text(await table.read()) == "I am tea."
    assert table.states() == []


async def test_no_cloud_is_described_for_what_is_local_only() -> None:
    """Pictures, a prompt that is too long and a model that is left alone have others described,
    each time only those who are local."""
    picture = ChatMessage("user", "What is it?", (Image("image/png", b"png"),))
    long = Cup("tea", [[TooLong(provider="tea", model="assam:7b")]], context_tokens=9)
    for tea in (long, Cup("tea", [[AuthFailed(provider="tea")]])):
        table = Table(tea=tea, local=("tea", "water"))
        for _ in range(3):
            request = structs.replace(kept_here(), messages=(picture,))
            assert text(await table.read(request)) == "I am water."
            await table.failover.describe(ASKED, local_only=True)
        assert table.milk.described == 0
        assert table.water.described >= 3


async def test_who_answers_instead_of_a_cloud_is_described() -> None:
    """The window that counts is that of the local model which will answer; with none, it is told
    that there is no other."""
    table = Table(water=Cup("water", context_tokens=77), local=("water",))
    info = await table.failover.describe(ASKED, local_only=True)
    assert (info.context_tokens, table.tea.described) == (77, 0)
    with pytest.raises(CloudForbidden):
        await Table().failover.describe(ASKED, local_only=True)


async def test_describe_is_of_the_asked_model() -> None:
    """As long as it can be described, nobody else is asked."""
    table = Table(tea=Cup("tea", context_tokens=4096))
    assert (await table.failover.describe(ASKED)).context_tokens == 4096
    assert table.milk.described == 0


async def test_a_failed_description_is_unknown_and_opens_nothing() -> None:
    """A catalogue that fails neither shapes the prompt for another model nor keeps the asked one
    from answering."""
    table = Table(milk=Cup("milk", context_tokens=2048))
    table.tea.fault = Unavailable(provider="tea")
    for _ in range(20):
        assert await table.failover.describe(ASKED) == ModelInfo()
    assert table.states() == []
    assert end(await table.read()).provider == "tea"


async def test_who_answers_instead_is_described() -> None:
    """While the asked model is left alone, the prompt is shaped for the one that will answer."""
    table = Table(tea=Cup("tea", [down()]), milk=Cup("milk", context_tokens=2048))
    for _ in range(5):
        await table.read()
    described = table.tea.described
    assert (await table.failover.describe(ASKED)).context_tokens == 2048
    assert table.tea.described == described


async def test_a_shorter_prompt_is_asked_for_if_it_would_be_answered() -> None:
    """If the asked model is dead and the last resort finds the prompt too long, that is what is
    raised, with the last resort's figures: a shorter prompt can still be answered."""
    refusal = TooLong(provider="milk", model="white", prompt_tokens=9_000, context_tokens=4_096)
    table = Table(
        tea=Cup("tea", [down()]),
        milk=Cup("milk", [[refusal]], context_tokens=4_096),
        water=Cup("water", [[refusal]], context_tokens=4_096),
    )
    with pytest.raises(TooLong) as caught:
        await table.read()
    assert caught.value.context_tokens == 4_096


async def test_describe_closes_no_breaker() -> None:
    """A description may be an old one: only an answer shows that a model is well again."""
    table = Table(tea=Cup("tea", [[TimedOut()]]))
    for _ in range(5):
        await table.read()
    table.clock.advance(11)
    for _ in range(3):
        await table.failover.describe(ASKED)
    assert table.states() == ["open", "half_open"]
    await table.read()
    assert table.states() == ["open", "half_open", "open"]


async def test_a_catalogue_that_wants_another_key_closes_no_door() -> None:
    """A model whose description is refused is asked for answers all the same."""
    table = Table()
    table.tea.fault = AuthFailed(provider="tea")
    for _ in range(9):
        await table.failover.describe(ASKED)
    assert end(await table.read()).provider == "tea"


async def test_r16_a_dead_model_is_left_alone() -> None:
    """Of a thousand requests in a minute at most twenty reach a dead model, and each of the others
    goes straight to the next one; every half-open state lets exactly one through."""
    table = Table(tea=Cup("tea", [down()]))
    for _ in range(1000):
        assert text(await table.read()) == "I am milk."
        table.clock.advance(0.06)
    assert len(table.tea.requests) <= 20
    probes = table.states().count("half_open")
    assert probes >= 2
    assert len(table.tea.requests) == 5 + probes


async def test_r16_one_probe_at_a_time_and_the_first_good_closes() -> None:
    """While a probe is out nobody else reaches the model; its first word lets all in again."""
    said, stays = asyncio.Event(), asyncio.Event()
    table = Table(tea=Cup("tea", [*[[TimedOut()]] * 5, [said, "I ", stays, "am tea."], "Yes."]))
    for _ in range(5):
        await table.read()
    table.clock.advance(11)
    probe = asyncio.create_task(table.read())
    await asyncio.sleep(0)
    for _ in range(50):
        assert end(await table.read()).provider == "milk"
    assert len(table.tea.requests) == 6
    said.set()
    await until(lambda: table.states()[-1] == "closed")
    assert text(await table.read()) == "Yes."
    stays.set()
    assert text(await probe) == "I am tea."


async def test_a_cancelled_probe_makes_way() -> None:
    """A probe whose asker leaves counts as nothing, and the next request is the probe."""
    table = Table(tea=Cup("tea", [*[[TimedOut()]] * 5, [asyncio.Event()], "Yes."]))
    for _ in range(5):
        await table.read()
    table.clock.advance(11)
    probe = asyncio.create_task(table.read())
    await until(lambda: len(table.tea.requests) == 6)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    assert text(await table.read()) == "Yes."
    assert table.states() == ["open", "half_open", "closed"]


async def test_cancelled_callers_count_for_nothing() -> None:
    """However many leave, the model is not ill for it, and no stream stays open."""
    table = alone([asyncio.Event()])
    for _ in range(20):
        reader = asyncio.create_task(table.read())
        await until(lambda: table.tea.open_streams == 1)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
    assert table.states() == []
    assert table.tea.open_streams == 0


async def test_a_fault_of_ours_frees_the_probe() -> None:
    """An exception that nobody foresaw passes through and leaves no probe behind."""
    table = alone(*[[TimedOut()]] * 5, [ZeroDivisionError()], "Yes.")
    await table.fail(5)
    table.clock.advance(11)
    with pytest.raises(ZeroDivisionError):
        await table.read()
    assert text(await table.read()) == "Yes."


async def test_with_its_breaker_open_the_error_of_before_is_told() -> None:
    """Without anybody else, the person hears at once what is wrong, and when to ask again."""
    table = alone(down())
    await table.fail(5)
    tries = len(table.tea.requests)
    errors = [await table.fail() for _ in range(2)]
    assert len(table.tea.requests) == tries
    assert str(errors[0]) == "tea/assam:7b cannot be reached."
    assert errors[0].retry_after_seconds == pytest.approx(10, abs=0.1)
    assert errors[0] is not errors[1]


async def test_who_waits_in_line_leaves_it_when_the_model_dies() -> None:
    """Whoever still waits for a model that has died meanwhile goes to the next one."""
    dies = asyncio.Event()
    table = Table(tea=Cup("tea", [[dies, TimedOut()]]), slots=5)
    readers = [asyncio.create_task(table.read()) for _ in range(25)]
    await until(lambda: table.tea.open_streams == 5)
    dies.set()
    providers = [end(await reader).provider for reader in readers]
    assert providers == ["milk"] * 25
    assert len(table.tea.requests) <= 10


@pytest.mark.parametrize("slots", [1, 4, 8])
async def test_r17_an_outage_is_not_made_worse(slots: int) -> None:
    """With every provider down, two hundred people at once cause at most a fifth more tries than
    they make requests, and each hears one error, of the model that was asked."""
    table = Table(
        tea=Cup("tea", [down()]),
        milk=Cup("milk", [down("milk")]),
        water=Cup("water", [down("water")]),
        slots=slots,
    )

    async def visit(number: int) -> str:
        with pytest.raises(ModelError) as caught:
            await table.read(structs.replace(ask(), asker=str(number)))
        return caught.value.provider

    heard = await asyncio.gather(*map(visit, range(200)))
    assert heard == ["tea"] * 200
    assert sum(table.tries) <= 240
    assert table.clock.now <= 3


async def test_r17_retries_draw_on_one_budget() -> None:
    """Two hundred requests at once at a single dead model make at most forty retries."""
    together = asyncio.Event()
    table = alone([together, Overloaded(provider="tea")])
    readers = [asyncio.create_task(table.fail()) for _ in range(200)]
    await until(lambda: len(table.tea.requests) == 200)
    together.set()
    await asyncio.gather(*readers)
    assert len(table.tea.requests) <= 240


async def test_r17_the_budget_bounds_a_flickering_model() -> None:
    """A model that fails every other time is retried for a fifth of the requests, no more."""
    table = Table(tea=Cup("tea"), options=FailoverOptions())
    for number in range(300):
        table.tea._answers.clear()
        table.tea._answers.extend([down(), "Yes."] if number % 3 == 0 else ["Yes."])
        with suppress(Unavailable):
            await table.read()
    assert 350 < len(table.tea.requests) <= 360


async def test_the_memory_of_models_is_bounded() -> None:
    """Names that people make up do not pile up."""
    table = Table(options=FailoverOptions())
    for number in range(3000):
        await table.read(ask(f"tea/{number}"))
    assert len(table.failover._breakers) <= 1000


class Shut(Scripted):
    """A provider that raises as its block is entered."""

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[Piece]]:
        """Refuse."""
        self.refuse()
        async with super().stream(request) as pieces:
            yield pieces

    def refuse(self) -> None:
        """Be out of time."""
        raise TimedOut


async def test_an_error_on_entering_the_block_is_one_like_any() -> None:
    """Whether a model fails at the door or later, the next one answers."""
    providers: dict[str, Provider] = {"tea": Shut(), "milk": Cup("milk")}
    failover = Failover(
        RoutedModel(list(providers), providers.__getitem__),
        FailoverOptions(fallbacks=("milk/whole",)),
    )
    async with failover.stream(ask()) as pieces:
        assert text([piece async for piece in pieces]) == "I am milk."
