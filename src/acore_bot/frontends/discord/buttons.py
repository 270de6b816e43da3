"""The buttons under answers, as Discord's API has them.

Their custom ids say only what is wanted, and never for whom: so an id that somebody forges can ask
for nothing else than a click could, and buttons work after a restart.
"""

from collections.abc import Mapping, Sequence
from typing import Final, get_args

from acore_bot.frontends.discord.drafts import Component
from acore_bot.messages import Control

PREFIX = "acore:"
# Discord's numbers.
_ROW, _BUTTON = 1, 2
_PRIMARY, _SECONDARY = 1, 2

_LABELS: Mapping[Control, str] = {
    "stop": "Stop",
    "regenerate": "Regenerate",
    "continue": "Continue",
    "details": "Details",
    "a": "A is better",
    "b": "B is better",
    "tie": "Tie",
}
# Told of an answer whose question was edited since.
EDITED: Final = "Regenerate (edited)"
_CONTROLS: Mapping[str, Control] = {PREFIX + control: control for control in get_args(Control)}


def components(
    controls: Sequence[Control], *, is_growing: bool = False, is_edited: bool = False
) -> list[Component]:
    """Return one row of buttons, or nothing. While an answer is growing it can be stopped, and
    nothing else; `is_edited` says that its question is another one by now."""
    offered: Sequence[Control] = ("stop",) if is_growing else controls
    buttons = [_button(control, is_edited=is_edited) for control in offered]
    return [{"type": _ROW, "components": buttons}] if buttons else []


def control_of(custom_id: str) -> Control | None:
    """Return what a button is for, or None if it is none of these."""
    return _CONTROLS.get(custom_id)


def _button(control: Control, *, is_edited: bool) -> Component:
    is_urged = is_edited and control == "regenerate"
    return {
        "type": _BUTTON,
        "style": _PRIMARY if is_urged else _SECONDARY,
        "label": EDITED if is_urged else _LABELS[control],
        "custom_id": PREFIX + control,
    }
