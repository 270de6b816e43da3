"""Values that cross rooms, and the ids that order them."""

import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.clock import SettableClock
from tests.fakes.talk import ADA, answered, asked

from acore_bot.messages import (
    MAX_FILE_NAME_CHARACTERS,
    Author,
    Message,
    SnowflakeSequence,
    printable,
    tidy_file_name,
)

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


HOSTILE_NAMES = (
    ("../../etc/passwd", "passwd"),
    ("/etc/shadow", "shadow"),
    ("C:\\Windows\\system32\\evil.dll", "evil.dll"),
    ("a\0b.png", "ab.png"),
    ("%2e%2e%2fsecret", "%2e%2e%2fsecret"),  # nobody decodes it, so it is but a name
    ("CON", "CON"),
    ("..", "unnamed"),
    (".bashrc", "bashrc"),
    ("../. .. hidden.txt", "hidden.txt"),
    ("", "unnamed"),
    ("folder/", "unnamed"),
    ("\u202egnp.exe", "gnp.exe"),
    ("a\u2066b\u2069\u200b\ufeff\u3164\ufe0f.txt", "ab.txt"),
    ("two\nlines\r.txt", "twolines.txt"),
    ("\x1b]0;title\x07.txt", "0;title.txt"),
    ("para\u2029graph.txt", "paragraph.txt"),
    ("wide \t  space.txt", "wide space.txt"),
    ("lone\ud800.txt", "lone.txt"),
    ("a]* **bold** `code` ~~no~~ ||who||.txt", "a bold code no who.txt"),
    ("<@1234> @everyone.txt", "1234 everyone.txt"),
    ("my_long__notes_.txt", "my long notes .txt"),
    ("Übung, 猫.png", "Übung, 猫.png"),
)


@pytest.mark.parametrize(("name", "tidy"), HOSTILE_NAMES)
def test_s22_a_tidy_file_name_is_fit_to_be_shown(name: str, tidy: str) -> None:
    """No path, no control, no direction and no mark stays of a name; what is readable does."""
    assert tidy_file_name(name) == tidy


def test_s22_a_long_file_name_keeps_its_extension() -> None:
    """A name of 300 characters is cut in its middle, since its end says what it is."""
    assert tidy_file_name("a" * 300 + ".pdf") == "a" * 55 + "….pdf"
    assert tidy_file_name("b." + "a" * 300) == "b." + "a" * 57 + "…"


@given(name=st.text(max_size=400) | st.text("a ._*`~|[]<>@:/\\\n\u200b", max_size=100))
def test_s22_every_file_name_is_short_visible_and_one_line(name: str) -> None:
    """Whatever a name holds, what is shown of it can neither hide nor move anything, nor close the
    brackets and the emphasis in which it stands."""
    tidy = tidy_file_name(name)
    assert 0 < len(tidy) <= MAX_FILE_NAME_CHARACTERS
    assert not set(tidy) & set("*_`~|[]<>/\\\n\t@:")
    assert all(unicodedata.category(one)[0] != "C" for one in tidy)
    assert tidy == " ".join(tidy.split())
    assert tidy_file_name(tidy) == tidy
