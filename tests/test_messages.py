"""Values that cross rooms, and the ids that order them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.clock import SettableClock
from tests.fakes.talk import ADA, answered, asked

from acore_bot.messages import Author, Message, SnowflakeSequence, printable

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()


def discord_id(seconds: float, low_bits: int = 0) -> int:
    """Make an id as Discord's developer reference describes."""
    return (int(seconds * 1000) - 1_420_070_400_000) << 22 | low_bits


@settings(max_examples=50, deadline=None)
@given(times=st.lists(st.floats(0, 4e9), min_size=2, max_size=50))
def test_ids_increase_whatever_the_clock_does(times: list[float]) -> None:
    """Each id is greater than each before it, even if the clock jumps back, far or long ago."""
    clock: Iterator[float] = iter(times)
    sequence = SnowflakeSequence(lambda: next(clock))
    ids = [sequence.next() for _ in times]
    assert all(earlier < later for earlier, later in pairwise(ids))
    assert ids[0] > 0


def test_ids_increase_while_the_clock_stands_still() -> None:
    """Within one millisecond, as many ids as anyone needs are in order and differ."""
    sequence = SnowflakeSequence(SettableClock(NOW))
    ids = [sequence.next() for _ in range(10_000)]
    assert ids == sorted(set(ids))


def test_ids_sort_with_discords() -> None:
    """An id made here stands after those that Discord made before, and before later ones."""
    clock = SettableClock(NOW)
    sequence = SnowflakeSequence(clock)
    ids = []
    for _ in range(20):
        clock.advance(0.002)
        ids += [sequence.next(), discord_id(clock.now + 0.001)]
    assert ids == sorted(ids)


def test_an_id_tells_its_time() -> None:
    """The upper bits are the milliseconds since the first second of 2015."""
    assert SnowflakeSequence(SettableClock(NOW)).next() >> 22 == discord_id(NOW) >> 22


def test_two_sequences_begin_apart() -> None:
    """Processes that share a store and a moment hardly ever make the same ids."""
    firsts = {SnowflakeSequence(SettableClock(NOW)).next() for _ in range(10)}
    assert len(firsts) >= 9


def test_values_compare_by_content() -> None:
    """Two messages that say the same are equal, and can be put in a set."""
    assert asked(1) == asked(1)
    assert asked(1) != answered(1)
    assert len({ADA, Author("17", "Ada")}) == 1


def test_values_are_frozen() -> None:
    """What was said cannot be changed behind anyone's back."""
    with pytest.raises(AttributeError):
        ADA.name = "Eve"  # type: ignore[misc]


def test_messages_survive_json() -> None:
    """A message that was written as JSON comes back as it was."""
    message = msgspec.structs.replace(answered(2, parent_id=1), text="\u20ac \U0001f375 \n")
    assert msgspec.json.decode(msgspec.json.encode(message), type=Message) == message
    assert message.created_at.utcoffset() == timedelta(0)


@given(text=st.text())
def test_printable_text_moves_no_cursor(text: str) -> None:
    """Control characters are left out, newline and tab excepted; all else stays in order."""
    shown = printable(text)
    assert not [c for c in shown if (c < " " and c not in "\n\t") or "\x7f" <= c < "\xa0"]
    assert printable(shown) == shown
    if text.isprintable():
        assert shown == text


def test_an_escape_sequence_is_disarmed() -> None:
    """What would set a terminal's title is harmless text."""
    assert printable("\x1b]0;pwned\x07a\tb\r\n") == "]0;pwneda\tb\n"
