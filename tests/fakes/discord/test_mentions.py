"""Whom a text pings is read as the strictest would read it."""

import pytest
from tests.fakes.discord.mentions import Pings, pings_of

TEXT = "@everyone @here <@1> <@!2> <@&3> `<@4>` @everyones <#5> <@x>"


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        (None, Pings(True, frozenset({1, 2, 4, 9}), frozenset({3}))),
        ({}, Pings()),
        ({"parse": []}, Pings()),
        ({"parse": [], "replied_user": True}, Pings(users=frozenset({9}))),
        ({"parse": ["everyone"]}, Pings(everyone=True)),
        ({"parse": ["users"]}, Pings(users=frozenset({1, 2, 4}))),
        ({"parse": ["roles"]}, Pings(roles=frozenset({3}))),
        ({"users": ["2", "7"], "roles": ["3", "8"]}, Pings(False, frozenset({2}), frozenset({3}))),
    ],
)
def test_only_what_is_allowed_pings(allowed: dict[str, object] | None, expected: Pings) -> None:
    """A mention pings if it is allowed, and if nothing is said, all are."""
    assert pings_of(TEXT, allowed, replied_user=9) == expected


@pytest.mark.parametrize("text", ["@everyone", "look,@here!", "x@everyone"])
def test_everyone_is_pinged_anywhere_in_a_text(text: str) -> None:
    """Whatever stands around it, everyone is everyone."""
    assert pings_of(text, None, None).everyone


def test_a_text_without_mentions_pings_nobody() -> None:
    """Numbers, channels and addresses are no mentions."""
    assert not pings_of("@ everyone 12 <#12> @someone <@> <@ 1>", None, None)
