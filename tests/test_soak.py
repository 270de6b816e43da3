"""The bot after it has worked while its model was killed: the soak of `benchmarks/`, cut short."""

import random
from pathlib import Path

import pytest
from benchmarks.soak import Holdings, Plan, soak, unhandled_in

SHORT = Plan(
    warm_up_seconds=0,  # each is answered once
    seconds=12,
    kill_seconds=4,
    channels=8,
    pause_seconds=0.5,
    settle_seconds=17,  # idle connections are closed after fifteen
)
MOST_GROWTH_MIB = 40


@pytest.mark.embedded
@pytest.mark.timeout(300)
async def test_r21_nothing_is_left_behind_by_a_soak(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everyone is answered although the model's process is killed, and when all are silent the bot
    holds no more tasks, sockets and files than before; nothing went uncaught."""
    # Two threads that wait for each other crawl where other work shares the cores.
    monkeypatch.setenv("ACORE_PROVIDERS__EMBEDDED__THREADS", "1")
    seen = await soak(SHORT, tmp_path, random.Random(7))
    assert seen.kills
    assert seen.asked > SHORT.channels
    assert not seen.unanswered
    assert seen.end.is_within(seen.base)
    assert not seen.unhandled
    assert not seen.violations
    assert seen.exit_code == 0
    assert seen.memory_at_end < seen.memory_at_base + MOST_GROWTH_MIB


def test_what_nobody_caught_is_found_in_a_log() -> None:
    """A traceback and a task whose exception nobody took are told; a line of the bot's is not."""
    log = (
        "INFO acore_bot: the embedded model's process ended (-9)\n"
        "Task exception was never retrieved\nTraceback (most recent call last):\n"
    )
    assert unhandled_in(log) == log.splitlines()[1:]


@pytest.mark.parametrize("more", [(8, 5, 3), (7, 6, 3), (7, 5, 4)])
def test_one_more_of_anything_is_not_back_at_the_base(more: tuple[int, int, int]) -> None:
    """Fewer tasks do not make up for a file."""
    base = Holdings(7, 5, 3)
    assert Holdings(1, 5, 3).is_within(base)
    assert not Holdings(*more).is_within(base)
