"""The figures of a provider: what counts, what does not, and how percentiles are taken."""

import asyncio
import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.clock import SettableClock
from tests.fakes.model_server import (
    CHAT,
    ModelServer,
    chunk,
    chunked,
    completion_events,
    event,
    piece,
    stream_head,
)

from acore_bot.contracts import PerformanceStats
from acore_bot.errors import ModelError, ModelNotFound, Overloaded, RateLimited
from acore_bot.messages import ChatMessage, ChatRequest, Delta, End, FinishReason, Usage
from acore_bot.providers.answer import AnswerStream
from acore_bot.providers.llama_cpp import MODEL_NAME, Embedded
from acore_bot.providers.openai_compatible import OpenAICompatible
from acore_bot.providers.performance import PerformanceLog

SSE = stream_head("text/event-stream")
NOTHING = {"p50": None, "p95": None}


@pytest.fixture
def clock() -> SettableClock:
    """Make a clock that stands at some moment."""
    return SettableClock(1000.0)


@pytest.fixture
def log(clock: SettableClock) -> PerformanceLog:
    """Make a log by that clock."""
    return PerformanceLog(clock)


def end(finish_reason: FinishReason = "stop", tokens: int | None = None) -> End:
    """Return an end that tells so many tokens."""
    usage = None if tokens is None else Usage(prompt_tokens=1, completion_tokens=tokens)
    return End(finish_reason=finish_reason, usage=usage)


def answer(log: PerformanceLog, clock: SettableClock, *, seconds: float, last: End) -> None:
    """Let an answer take so long, half of it until its first delta."""
    with log.measured("tiny") as measurement:
        measurement.note_open()
        clock.advance(seconds / 2)
        measurement.note_first_delta()
        clock.advance(seconds / 2)
        measurement.note_end(last)


def test_new_log_has_nothing_to_tell(log: PerformanceLog) -> None:
    """Before the first request, counts and times are zero and percentiles are none."""
    assert log.stats() == PerformanceStats(
        last_response_time_seconds=0.0,
        last_response_time_ms=0.0,
        last_tps=0.0,
        average_response_time_seconds=0.0,
        average_response_time_ms=0.0,
        total_requests=0,
        total_tokens_generated=0,
        model="",
        first_delta_seconds={"p50": None, "p95": None},
        tokens_per_second={"p50": None, "p95": None},
        response_time_seconds={"p50": None, "p95": None},
        errors={},
        cancelled_requests=0,
        uptime_seconds=0.0,
    )


def test_answers_are_added_up(log: PerformanceLog, clock: SettableClock) -> None:
    """The last answer, the average of all and the sum of their tokens are told, by the clock."""
    answer(log, clock, seconds=2.0, last=end(tokens=20))
    answer(log, clock, seconds=4.0, last=end("length", tokens=100))
    clock.advance(10.0)
    stats = log.stats()
    assert (stats["last_response_time_seconds"], stats["last_response_time_ms"]) == (4.0, 4000.0)
    assert stats["average_response_time_seconds"] == 3.0
    assert stats["average_response_time_ms"] == 3000.0
    assert (stats["total_requests"], stats["total_tokens_generated"]) == (2, 120)
    assert (stats["last_tps"], stats["model"]) == (25.0, "tiny")
    assert stats["response_time_seconds"] == {"p50": 2.0, "p95": 4.0}
    assert stats["first_delta_seconds"] == {"p50": 1.0, "p95": 2.0}
    assert stats["tokens_per_second"] == {"p50": 10.0, "p95": 25.0}
    assert stats["uptime_seconds"] == 16.0


def test_answer_without_a_count_has_no_speed(log: PerformanceLog, clock: SettableClock) -> None:
    """Where the server counts no tokens, none are guessed."""
    answer(log, clock, seconds=2.0, last=end(tokens=20))
    answer(log, clock, seconds=2.0, last=end())
    stats = log.stats()
    assert (stats["last_tps"], stats["total_tokens_generated"]) == (0.0, 20)
    assert stats["tokens_per_second"] == {"p50": 10.0, "p95": 10.0}


def test_answer_that_took_no_time_has_no_speed(log: PerformanceLog, clock: SettableClock) -> None:
    """A clock that has not moved between question and answer divides nothing by zero."""
    answer(log, clock, seconds=0.0, last=end(tokens=20))
    stats = log.stats()
    assert (stats["last_tps"], stats["total_tokens_generated"]) == (0.0, 20)
    assert stats["tokens_per_second"] == NOTHING


def test_errors_count_by_kind_whatever_their_stage(log: PerformanceLog) -> None:
    """A refusal, an error in the midst of an answer and a fault of our own all count once."""
    with pytest.raises(RateLimited), log.measured("tiny"):
        raise RateLimited
    for _ in range(2):
        with suppress(Overloaded), log.measured("tiny") as measurement:
            measurement.note_open()
            measurement.note_error(Overloaded())
            raise Overloaded
    with pytest.raises(ZeroDivisionError), log.measured("tiny"):
        raise ZeroDivisionError
    stats = log.stats()
    assert stats["errors"] == {"rate_limited": 1, "overloaded": 2, "unexpected": 1}
    assert (stats["total_requests"], stats["cancelled_requests"]) == (4, 0)
    assert stats["response_time_seconds"] == NOTHING


def test_error_counts_though_its_reader_forgives_it(log: PerformanceLog) -> None:
    """A reader that catches the error within the block does not hide it."""
    with log.measured("tiny") as measurement:
        measurement.note_open()
        measurement.note_error(Overloaded())
    assert log.stats()["errors"] == {"overloaded": 1}


def test_truncated_answer_is_an_error(log: PerformanceLog, clock: SettableClock) -> None:
    """An answer that broke off counts as such, and in no time nor speed."""
    answer(log, clock, seconds=2.0, last=end("truncated", tokens=3))
    stats = log.stats()
    assert stats["errors"] == {"truncated": 1}
    assert (stats["response_time_seconds"], stats["tokens_per_second"]) == (NOTHING, NOTHING)
    assert stats["first_delta_seconds"] == {"p50": 1.0, "p95": 1.0}


@pytest.mark.parametrize("opened", [True, False])
@pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit])
def test_cancelled_request_is_no_error(
    log: PerformanceLog, error: type[BaseException], opened: bool
) -> None:
    """Who is cancelled, before the answer or in its midst, counts apart."""
    with suppress(error), log.measured("tiny") as measurement:
        if opened:
            measurement.note_open()
        raise error
    stats = log.stats()
    assert (stats["cancelled_requests"], stats["errors"], stats["total_requests"]) == (1, {}, 1)


def test_fault_of_the_reader_is_not_the_providers(log: PerformanceLog) -> None:
    """What the reader's own code raises within the block is an answer left early."""
    with suppress(ModelNotFound), log.measured("tiny") as measurement:
        measurement.note_open()
        raise ModelNotFound
    stats = log.stats()
    assert (stats["cancelled_requests"], stats["errors"]) == (1, {})


def test_reset_forgets_all(log: PerformanceLog, clock: SettableClock) -> None:
    """After a reset the log is as new, and its time begins anew."""
    answer(log, clock, seconds=2.0, last=end(tokens=20))
    answer(log, clock, seconds=2.0, last=end("truncated"))
    with log.measured("tiny"):
        pass
    log.reset()
    assert log.stats() == PerformanceLog(clock).stats()


def test_request_under_way_at_a_reset_counts_after_it(log: PerformanceLog) -> None:
    """What is over after the reset belongs to the time after it."""
    with log.measured("tiny") as measurement:
        log.reset()
        measurement.note_end(end())
    assert log.stats()["total_requests"] == 1


def test_percentiles_are_of_the_latest_512(log: PerformanceLog, clock: SettableClock) -> None:
    """Old answers leave the percentiles, and no others; counts and averages keep them."""
    for _ in range(300):
        answer(log, clock, seconds=64.0, last=end(tokens=64))
    for _ in range(256):
        answer(log, clock, seconds=2.0, last=end(tokens=64))
    stats = log.stats()
    assert stats["response_time_seconds"] == {"p50": 2.0, "p95": 64.0}
    assert stats["first_delta_seconds"] == {"p50": 1.0, "p95": 32.0}
    assert stats["tokens_per_second"] == {"p50": 1.0, "p95": 32.0}
    answer(log, clock, seconds=64.0, last=end())
    assert log.stats()["response_time_seconds"]["p50"] == 2.0
    assert stats["total_requests"] == 556
    for _ in range(512):
        answer(log, clock, seconds=2.0, last=end(tokens=64))
    assert log.stats()["response_time_seconds"] == {"p50": 2.0, "p95": 2.0}


@given(st.lists(st.integers(min_value=1, max_value=1000), min_size=1, max_size=60))
def test_percentile_is_by_nearest_rank(times: list[int]) -> None:
    """It is the smallest value that at least so many percent of all values do not exceed."""
    clock = SettableClock()
    log = PerformanceLog(clock)
    for time in times:
        answer(log, clock, seconds=time * 1.0, last=end())
    for percent, found in zip((50, 95), log.stats()["response_time_seconds"].values(), strict=True):
        assert found in times
        assert isinstance(found, float)
        assert sum(time <= found for time in times) >= math.ceil(len(times) * percent / 100)
        assert sum(time < found for time in times) < math.ceil(len(times) * percent / 100)


def ask(model: str) -> ChatRequest:
    """Return a small request."""
    return ChatRequest(model=model, messages=(ChatMessage("user", "Hi"),), max_tokens=4)


async def read_first(pieces: AnswerStream) -> None:
    """Read the one piece and no more."""
    assert await anext(pieces) == Delta("Hi")


async def test_comment_is_no_first_delta(clock: SettableClock) -> None:
    """What keeps a connection awake before the answer does not count as its first words."""
    go = asyncio.Event()
    async with ModelServer() as server:
        provider = OpenAICompatible(name="mine", base_url=server.url + "/v1", clock=clock)
        server.play(CHAT, SSE + chunk(b": wait\n\n"), go, chunked(completion_events(["Hi"])))
        async with provider.stream(ask("tiny")) as pieces, asyncio.TaskGroup() as group:
            assert isinstance(pieces, AnswerStream)
            group.create_task(read_first(pieces))
            while not pieces._got_bytes:  # noqa: ASYNC110 -- there is no event to wait for
                await asyncio.sleep(0)
            clock.advance(3.0)
            go.set()
        assert provider.get_performance_stats()["first_delta_seconds"]["p50"] == 3.0
        await provider.aclose()


async def test_error_in_the_midst_counts_by_its_kind() -> None:
    """An answer that turns into an error is no cancelled one."""
    async with ModelServer() as server:
        provider = OpenAICompatible(name="mine", base_url=server.url + "/v1")
        error = event({"error": {"message": "slow down", "code": "rate_limit_exceeded"}})
        server.play(CHAT, SSE + chunked([piece(content="Hi"), error]))
        async with provider.stream(ask("tiny")) as pieces:
            assert await anext(pieces) == Delta("Hi")
            with pytest.raises(RateLimited):
                await anext(pieces)
        stats = provider.get_performance_stats()
        assert (stats["errors"], stats["cancelled_requests"]) == ({"rate_limited": 1}, 0)
        await provider.aclose()


async def test_embedded_counts_what_fails_before_its_process_is_asked() -> None:
    """An unknown model is refused without a process, and counts."""
    provider = Embedded()
    with pytest.raises(ModelError):
        async with provider.stream(ask("other")):
            pass
    assert provider.child_pid is None
    assert provider.get_performance_stats()["errors"] == {"not_found": 1}


@pytest.mark.embedded
async def test_embedded_keeps_its_figures_over_the_death_of_its_process() -> None:
    """The load of the model counts as waiting, and the next process continues the figures."""
    provider = Embedded(context_tokens=512, slots=1, cache_ram_mib=0, threads=1)
    for _ in range(2):
        async with provider.stream(ask(MODEL_NAME)) as pieces:
            said = [piece async for piece in pieces]
        assert isinstance(said[0], Delta)
        await provider.aclose()
    stats = provider.get_performance_stats()
    assert (stats["total_requests"], stats["errors"], stats["model"]) == (2, {}, MODEL_NAME)
    assert 0 < stats["total_tokens_generated"] <= 8
    provider.reset_metrics()
    assert provider.get_performance_stats()["total_requests"] == 0
