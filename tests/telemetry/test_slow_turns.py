"""Which turns are kept as the slowest, for how long, and what is said of them."""

import heapq

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from acore_bot.telemetry.events import Stages, TurnFailed, TurnFinished
from acore_bot.telemetry.figures import SlowTurn
from acore_bot.telemetry.slow_turns import KEPT_STACKS, KEPT_TURNS, SeenStacks, SlowTurns

DAY = 86_400


def finished(seconds: float) -> TurnFinished:
    """Make a turn that took so long."""
    return TurnFinished(
        model="demo/m", finish_reason="stop", first_delta_seconds=1.0, total_seconds=seconds
    )


def slow_turns() -> SlowTurns:
    """Begin with none."""
    return SlowTurns(SeenStacks().between)


def test_a_slow_turn_is_told_with_all_that_is_known() -> None:
    """Its stages, its error and its place are kept, and the time at which it ended."""
    turns = slow_turns()
    stages = Stages(admitted=0.5, queued=3.0)
    failed = TurnFailed(
        model="demo/m", kind="timeout", total_seconds=9.0, stages=stages, place="b0a7"
    )
    turns.add(failed, now=100.0, wall=1_800_000_000.0)
    turns.add(finished(4.0), now=101.0, wall=1_800_000_001.0)
    assert turns.slowest(101.0) == (
        SlowTurn(
            ended_at=1_800_000_000.0,
            model="demo/m",
            total_seconds=9.0,
            stages=stages,
            kind="timeout",
            place="b0a7",
        ),
        SlowTurn(ended_at=1_800_000_001.0, model="demo/m", total_seconds=4.0, stages=Stages()),
    )


def test_a_name_that_cannot_be_written_is_told_as_well_as_it_can() -> None:
    """Whatever a model is called, the turn can be shown: its names are short, and fit for JSON."""
    turns = slow_turns()
    wild = "\ud800" * 5000
    failed = TurnFailed(model=wild, kind=wild, total_seconds=1.0, place=wild)
    turns.add(failed, now=1.0, wall=1.0)
    assert len(msgspec.json.encode(turns.slowest(1.0))) < 1000


ends = st.tuples(st.integers(0, 5), st.sampled_from([0, 1, 60, 1800, 3600, 40_000]))


@given(st.lists(ends, max_size=120))
def test_the_twenty_slowest_of_the_last_day_are_told(story: list[tuple[int, int]]) -> None:
    """No turn of the last day is slower than those told, whatever came and went before."""
    turns, ended = slow_turns(), list[tuple[int, int]]()
    now = 0
    for seconds, pause in story:
        now += pause
        turns.add(finished(seconds), now=now, wall=now)
        ended.append((seconds, now))
        expected = heapq.nlargest(20, (one for one, at in ended if at > now - DAY))
        assert [turn.total_seconds for turn in turns.slowest(now)] == expected


def test_slow_turns_are_bounded() -> None:
    """However many slow turns a day has, no more than 20 an hour are held."""
    turns = slow_turns()
    for second in range(0, 3 * DAY, 40):
        turns.add(finished(1 + second % 977), now=second, wall=second)
    held = sum(len(kept) for _, kept in turns._hours)
    assert held <= 25 * KEPT_TURNS


def test_turns_of_equal_length_are_kept_side_by_side() -> None:
    """Turns are ordered by their length alone; equal ones need no further order."""
    turns = slow_turns()
    for _ in range(50):
        turns.add(finished(2.0), now=5.0, wall=5.0)
    assert len(turns.slowest(5.0)) == KEPT_TURNS


def test_a_slow_turn_tells_what_the_loop_was_caught_at() -> None:
    """What was seen while the turn was under way is told, each once; earlier things are not."""
    stacks = SeenStacks()
    for at, stack in ((1.0, "before"), (12.0, "a > b"), (13.0, "c"), (14.0, "a > b"), (30.0, "d")):
        stacks.note(at, stack)
    turns = SlowTurns(stacks.between)
    turns.add(finished(10.0), now=20.0, wall=0.0)
    assert turns.slowest(20.0)[0].stacks == ("a > b", "c")


def test_seen_stacks_are_bounded() -> None:
    """The newest stacks are kept, and a turn tells eight of them at the most."""
    stacks = SeenStacks()
    for number in range(2 * KEPT_STACKS):
        stacks.note(float(number), f"f{number}")
    assert stacks.between(0.0, KEPT_STACKS - 1.0) == ()
    assert stacks.between(0.0, 1e9) == tuple(f"f{number}" for number in range(504, 512))
