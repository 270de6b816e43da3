"""A file's name as it is shown: its sender chose it."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acore_bot.files.names import MAX_CHARACTERS, shown_name

HOSTILE = (
    ("../../etc/passwd", "passwd"),
    ("/etc/shadow", "shadow"),
    ("C:\\Windows\\system32\\evil.dll", "evil.dll"),
    ("a\0b.png", "ab.png"),
    ("%2e%2e%2fsecret", "%2e%2e%2fsecret"),  # nobody decodes it, so it is but a name
    ("CON", "CON"),
    ("..", "file"),
    (".bashrc", "bashrc"),
    ("", "file"),
    ("folder/", "file"),
    ("\u202egnp.exe", "gnp.exe"),
    ("a\u2066b\u2069\u200b\ufeff.txt", "ab.txt"),
    ("two\nlines\r.txt", "twolines.txt"),
    ("\x1b]0;title\x07.txt", "]0;title.txt"),
    ("para\u2029graph.txt", "paragraph.txt"),
    ("wide \t  space.txt", "wide space.txt"),
    ("lone\ud800.txt", "lone.txt"),
    ("Übung, 猫.png", "Übung, 猫.png"),
)


@pytest.mark.parametrize(("name", "shown"), HOSTILE)
def test_s22_name_is_fit_to_be_shown(name: str, shown: str) -> None:
    """No path, no control and no direction stays of a name; what is readable does."""
    assert shown_name(name) == shown


def test_s22_long_name_keeps_its_extension() -> None:
    """A name of 300 characters is cut in its middle, since its end says what it is."""
    assert shown_name("a" * 300 + ".pdf") == "a" * 55 + "….pdf"
    assert shown_name("b." + "a" * 300) == "b." + "a" * 57 + "…"


@given(st.text(max_size=400))
def test_s22_every_name_is_short_visible_and_one_line(name: str) -> None:
    """Whatever a name holds, what is shown of it can neither hide nor move anything."""
    shown = shown_name(name)
    assert 0 < len(shown) <= MAX_CHARACTERS
    assert not set(shown) & set("/\\\n\t")
    assert all(unicodedata.category(one)[0] != "C" for one in shown)
    assert shown_name(shown) == shown
