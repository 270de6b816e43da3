"""The buttons under answers."""

from typing import Any, get_args

from hypothesis import given
from hypothesis import strategies as st

from acore_bot.frontends.discord.buttons import EDITED, PREFIX, components, control_of
from acore_bot.messages import Control

CONTROLS: tuple[Control, ...] = get_args(Control)
PRIMARY, SECONDARY = 1, 2


def buttons_of(rows: list[Any]) -> list[dict[str, Any]]:
    """Return the buttons of the only row."""
    (row,) = rows
    assert row["type"] == 1
    return list(row["components"])


def test_what_grows_can_be_stopped_and_nothing_else() -> None:
    """While an answer grows there is one button, whatever is offered later."""
    for controls in ((), CONTROLS):
        (stop,) = buttons_of(components(controls, is_growing=True))
        assert (stop["label"], stop["style"], stop["custom_id"]) == (
            "Stop",
            SECONDARY,
            "acore:stop",
        )


def test_what_is_offered_stands_in_one_row() -> None:
    """Each control is a button of its own, in the given order, and without any there is no row."""
    offered: tuple[Control, ...] = ("regenerate", "continue", "details")
    buttons = buttons_of(components(offered))
    assert [one["label"] for one in buttons] == ["Regenerate", "Continue", "Details"]
    votes = buttons_of(components(("a", "b", "tie")))
    assert [one["label"] for one in votes] == ["A is better", "B is better", "Tie"]
    assert components(()) == []


def test_an_edited_question_asks_to_be_answered_anew() -> None:
    """Only that button is emphasised, and it does the same as ever."""
    again, details = buttons_of(components(("regenerate", "details"), is_edited=True))
    assert (again["label"], again["style"]) == (EDITED, PRIMARY)
    assert again["custom_id"] == "acore:regenerate"
    assert details["style"] == SECONDARY


def test_a_button_is_known_by_its_id() -> None:
    """What is shown comes back as what it was offered as."""
    for control in CONTROLS:
        rows: list[Any] = components((control,))
        assert control_of(rows[0]["components"][0]["custom_id"]) == control


@given(st.text() | st.text().map(PREFIX.__add__) | st.sampled_from(CONTROLS))
def test_any_other_id_is_unknown(custom_id: str) -> None:
    """Only the very ids that we give mean anything."""
    known = {PREFIX + control for control in CONTROLS}
    assert (control_of(custom_id) is not None) == (custom_id in known)
