"""The controls of a panel of settings, as Discord's API has them, and what their ids say."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, cast

from msgspec import Struct

from acore_bot.contracts import Knob, Scope
from acore_bot.frontends.discord.drafts import Component

PREFIX = "acore-set:"
MAX_OPTIONS = 25
MAX_OPTION_CHARACTERS = 100
MAX_TITLE_CHARACTERS = 45
MAX_TYPED_CHARACTERS = 400

# Discord's numbers.
_ROW, _BUTTON, _SELECT, _TEXT_INPUT = 1, 2, 3, 4
_PICKERS = {"roles": (6, "role", "<@&{}>"), "channels": (8, "channel", "<#{}>")}
_PRIMARY, _SECONDARY = 1, 2

_ID = re.compile(rf"{PREFIX}(guild|channel|role):(\d{{1,20}}):([a-z_]{{0,40}}):([a-z]+)(\d{{0,3}})")

What: TypeAlias = Literal[
    "scope", "role", "knob", "choose", "wider", "type", "typed", "back", "page"
]


class Spot(Struct, frozen=True):
    """What a control is about: whose settings, and which of them, if it is one."""

    scope: Scope
    target: str
    knob: str = ""

    def id(self, what: What, page: int | str = "") -> str:
        """Say so, and what the control does, in a custom id."""
        return f"{PREFIX}{self.scope}:{self.target}:{self.knob}:{what}{page}"


def meaning(custom_id: str) -> tuple[Spot, str, int] | None:
    """Read what a control is about, what it does, and on which page; None if that is unknown."""
    if (found := _ID.fullmatch(custom_id)) is None:
        return None
    return Spot(cast("Scope", found[1]), found[2], found[3]), found[4], int(found[5] or 0)


def mentions(knob: Knob, guild: str, most: int) -> str:
    """Name what was picked, so that Discord shows it: at most so many, and how many more."""
    _, _, mention = _PICKERS[knob.picks]
    picked = knob.set_to.split()
    # The role of everyone bears the guild's id, by which Discord shows no name.
    shown = ["@everyone" if one == guild else mention.format(one) for one in picked[:most]]
    more = len(picked) - most
    return " ".join((*shown, f"and {more} more") if more > 0 else shown)


def overview_controls(spot: Spot, knobs: Sequence[Knob]) -> list[Component]:
    """Lay out which settings there are, and what they could be for."""
    return [_settings(spot, knobs), _scopes(spot), _role_picker(spot)]


def knob_controls(spot: Spot, knob: Knob, page: int) -> list[Component]:
    """Lay out what one setting can become, and the ways out."""
    pages = range(0, len(knob.choices), MAX_OPTIONS)
    buttons = [
        _button(spot.id("back"), "Back"),
        _button(spot.id("wider"), "As in the wider setting", is_off=not knob.is_own),
    ]
    if len(pages) > 1:
        following = (page + 1) % len(pages)
        label = f"More choices ({page % len(pages) + 1} of {len(pages)})"
        buttons.append(_button(spot.id("page", following), label))
    if knob.picks:
        chosen = knob.set_to.split() if knob.is_own else []
        return [
            _picker(spot.id("choose"), knob.picks, chosen, "Pick…", most=MAX_OPTIONS),
            _row(*buttons),
        ]
    if not knob.choices:
        return [_row(_button(spot.id("type"), "Change…", style=_PRIMARY), *buttons)]
    start = pages[page % len(pages)]
    return [_choices(spot, knob, knob.choices[start : start + MAX_OPTIONS]), _row(*buttons)]


def form(spot: Spot, knob: Knob) -> Mapping[str, Any]:
    """Lay out a form to type a value into, which holds the present one."""
    field = {
        "type": _TEXT_INPUT,
        "custom_id": "value",
        "style": 1,
        "label": "New value",
        "placeholder": cut(knob.description, MAX_OPTION_CHARACTERS),
        "value": knob.set_to[:MAX_TYPED_CHARACTERS],
        "required": False,
        "max_length": MAX_TYPED_CHARACTERS,
    }
    title = cut(knob.label, MAX_TITLE_CHARACTERS)
    return {"custom_id": spot.id("typed"), "title": title, "components": [_row(field)]}


def _row(*components: Component) -> Component:
    return {"type": _ROW, "components": list(components)}


def _settings(spot: Spot, knobs: Sequence[Knob]) -> Component:
    options = [_option(knob.name, knob.label, description=knob.value) for knob in knobs]
    return _select(spot.id("knob"), options, "Change a setting…")


def _scopes(spot: Spot) -> Component:
    options = [
        _option("guild", "This server", is_default=spot.scope == "guild"),
        _option("channel", "This channel only", is_default=spot.scope == "channel"),
    ]
    return _select(spot.id("scope"), options, "The server or this channel…")


def _role_picker(spot: Spot) -> Component:
    chosen = [spot.target] if spot.scope == "role" else []
    return _picker(spot.id("role"), "roles", chosen, "Only for those with a role…", fewest=1)


def _choices(spot: Spot, knob: Knob, choices: Sequence[tuple[str, str]]) -> Component:
    # Discord tells of no choice that was made already, so only what is set here is marked.
    chosen = (knob.set_to.split() if knob.many else [knob.set_to]) if knob.is_own else []
    options = [_option(value, label, is_default=value in chosen) for value, label in choices]
    most = len(options) if knob.many else 1
    return _select(spot.id("choose"), options, "Choose…", fewest=0 if knob.many else 1, most=most)


def _option(
    value: str, label: str, *, description: str = "", is_default: bool = False
) -> Component:
    option = {
        "value": value[:MAX_OPTION_CHARACTERS],
        "label": cut(label, MAX_OPTION_CHARACTERS) or value,
        "default": is_default,
    }
    if description:
        option["description"] = cut(description, MAX_OPTION_CHARACTERS)
    return option


def _select(
    custom_id: str,
    options: Sequence[Component],
    placeholder: str,
    *,
    fewest: int = 1,
    most: int = 1,
) -> Component:
    return _row(
        {
            "type": _SELECT,
            "custom_id": custom_id,
            "options": list(options),
            "placeholder": placeholder,
            "min_values": fewest,
            "max_values": most,
        }
    )


def _picker(
    custom_id: str,
    picks: str,
    chosen: Sequence[str],
    placeholder: str,
    *,
    fewest: int = 0,
    most: int = 1,
) -> Component:
    kind, type_, _ = _PICKERS[picks]
    return _row(
        {
            "type": kind,
            "custom_id": custom_id,
            "placeholder": placeholder,
            "min_values": fewest,
            "max_values": most,
            "default_values": [{"id": one, "type": type_} for one in chosen[:most]],
        }
    )


def _button(
    custom_id: str, label: str, *, style: int = _SECONDARY, is_off: bool = False
) -> Component:
    return {
        "type": _BUTTON,
        "style": style,
        "label": label,
        "custom_id": custom_id,
        "disabled": is_off,
    }


def cut(text: str, most: int) -> str:
    """Shorten a text to so many characters, visibly."""
    return text if len(text) <= most else text[: most - 1] + "…"
