"""The settings of a server as one message with selects and buttons, for those who may manage it.

What a control does stands in its custom id, so panels go on working after a restart. An id is
believed only as far as it goes: the right to manage the server and the server itself are those of
each use, and what a setting is for must belong to that server. Only who opened a panel sees it.
"""

import logging
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, cast

import discord
from discord.utils import escape_markdown
from msgspec import Struct

from acore_bot.contracts import Core, Knob
from acore_bot.errors import AcoreError, NotFound, Unexpected
from acore_bot.frontends.discord.drafts import MAX_LENGTH, Component
from acore_bot.frontends.discord.interactions.response import acknowledge, change, respond
from acore_bot.frontends.discord.links import disarm
from acore_bot.frontends.discord.panel_controls import (
    MAX_OPTIONS,
    PREFIX,
    Spot,
    cut,
    form,
    knob_controls,
    meaning,
    mentions,
    overview_controls,
)
from acore_bot.messages import Place

Interaction: TypeAlias = discord.Interaction[Any]

log = logging.getLogger(__name__)

NOT_YOURS = "The settings are for those who may manage this server."
NOT_HERE = "I am not a member of this server, so there is nothing to set."
STALE = "This panel was not up to date. Here is how it is now."

SHOWN_VALUE_CHARACTERS = 40
SHOWN_PICKS = 3

# Discord's numbers.
_POST, _UPDATE, _MODAL = 4, 7, 9
_SUPPRESS_EMBEDS, _EPHEMERAL = 4, 64

# What is written to a disk, which may take longer than Discord waits for a first word.
_STORING = frozenset({"choose", "typed", "wider"})


class _Use(Struct, frozen=True):
    """What somebody did with a control."""

    spot: Spot
    what: str
    page: int
    values: tuple[str, ...]


class _Reply(Struct, frozen=True):
    """What a panel shows next: a message, or a form to type in."""

    kind: int
    data: Mapping[str, Any]


def is_panel(custom_id: str) -> bool:
    """Tell whether a control, or a form, is one of a panel."""
    return custom_id.startswith(PREFIX)


async def open_panel(client: discord.Client, interaction: Interaction, core: Core) -> None:
    """Answer a command with a panel. Errors are told to the person, not raised."""
    reply = await _outcome(_Panel(client, interaction, core).open())
    flags = _EPHEMERAL | _SUPPRESS_EMBEDS
    await respond(interaction, {"type": _POST, "data": {**reply.data, "flags": flags}})


async def turn_panel(client: discord.Client, interaction: Interaction, core: Core) -> None:
    """Do what a control of a panel says, or take what was typed, and show the panel as it is then.
    Errors are told to the person, not raised. What Discord does not let us acknowledge in time is
    not done."""
    turning = _Panel(client, interaction, core).turn
    use = _read(interaction)
    if use is None or use.what not in _STORING:
        reply = await _outcome(turning())
        await respond(interaction, {"type": reply.kind, "data": reply.data})
    elif await acknowledge(interaction):
        await change(interaction, (await _outcome(turning())).data)


async def _outcome(doing: Awaitable[_Reply]) -> _Reply:
    try:
        return await doing
    except AcoreError as error:
        return _message(error.public)
    except Exception:
        # Whatever it is, the person must not be left without a word.
        log.exception("a panel of settings could not be shown")
        return _message(Unexpected().public)


class _Panel:
    """One use of the panel, with the rights and in the place of that use."""

    def __init__(self, client: discord.Client, interaction: Interaction, core: Core) -> None:
        self._interaction = interaction
        self._core = core
        self._guild = client.get_guild(interaction.guild_id or 0)
        self._place = Place(str(interaction.guild_id or ""), _channel_of(interaction))

    async def open(self) -> _Reply:
        """Show the settings of the server."""
        return _message(self._refusal()) if self._refusal() else self._overview(self._server())

    async def turn(self) -> _Reply:
        """Do what the control says. What is wrong is told at the top of what comes next."""
        if self._refusal():
            return _message(self._refusal())
        use = _read(self._interaction)
        if use is None or not self._belongs(use.spot):
            return self._overview(self._server(), STALE)
        try:
            return await self._step(use)
        except AcoreError as error:
            if use.spot.knob and self._find(use.spot) is not None:
                return self._one(use.spot, notice=error.public)
            return self._overview(use.spot, error.public)

    def _refusal(self) -> str:
        rights = self._interaction.permissions
        if not (rights.manage_guild or rights.administrator):
            return NOT_YOURS
        return NOT_HERE if self._guild is None else ""

    def _server(self) -> Spot:
        return Spot("guild", self._place.guild)

    async def _step(self, use: _Use) -> _Reply:
        spot = use.spot
        match use.what:
            case "knob":
                return self._one(Spot(spot.scope, spot.target, "".join(use.values[:1])))
            case "page":
                return self._one(spot, use.page)
            case "type":
                return _Reply(_MODAL, form(spot, self._knob(spot)))
            case what if what in _STORING:
                value = None if what == "wider" else " ".join(use.values)
                return await self._set(spot, value)
            case _:
                return self._overview(self._moved(use))

    def _moved(self, use: _Use) -> Spot:
        spot, chosen = use.spot, "".join(use.values[:1])
        if use.what == "scope":
            spot = Spot("channel", self._place.channel) if chosen == "channel" else self._server()
        if use.what == "role":
            spot = Spot("role", chosen)
        if not self._belongs(spot):
            raise NotFound(STALE)
        return spot

    def _belongs(self, spot: Spot) -> bool:
        if self._guild is None or not spot.target.isdecimal():
            return False
        if spot.scope == "guild":
            return spot.target == self._place.guild
        if spot.scope == "channel":
            return self._guild.get_channel(int(spot.target)) is not None
        return self._guild.get_role(int(spot.target)) is not None

    async def _set(self, spot: Spot, value: str | None) -> _Reply:
        self._knob(spot)
        await self._core.turn_knob(self._place.guild, spot.scope, spot.target, spot.knob, value)
        knob = self._knob(spot)
        return self._overview(spot, f"Saved. {knob.label}: {knob.value}")

    def _find(self, spot: Spot) -> Knob | None:
        knobs = self._core.knobs(self._place, spot.scope, spot.target)
        return next((knob for knob in knobs if knob.name == spot.knob), None)

    def _knob(self, spot: Spot) -> Knob:
        if (knob := self._find(spot)) is None:
            raise NotFound(STALE)
        return knob

    def _overview(self, spot: Spot, notice: str = "") -> _Reply:
        spot = Spot(spot.scope, spot.target)
        knobs = self._core.knobs(self._place, spot.scope, spot.target)
        lines = [
            f"**Settings {_whose(spot)}**",
            "What is **bold** is set just here; all else follows the wider setting.",
            "",
            *(self._line(knob) for knob in knobs),
        ]
        return _message("\n".join(lines), notice, overview_controls(spot, knobs))

    def _one(self, spot: Spot, page: int = 0, *, notice: str = "") -> _Reply:
        knob = self._knob(spot)
        value = self._value(knob, MAX_OPTIONS)
        now = f"**{value}** (set here)" if knob.is_own else f"{value} (as in the wider setting)"
        lines = [
            f"**Settings {_whose(spot)}: {knob.label}**",
            escape_markdown(knob.description),
            "",
            f"Now: {now}",
        ]
        return _message("\n".join(lines), notice, knob_controls(spot, knob, page))

    def _line(self, knob: Knob) -> str:
        line = f"{knob.label}: {self._value(knob, SHOWN_PICKS)}"
        # Of a role or a channel nobody sees whether it is bold, so the name of the setting is too.
        return f"**{line}**" if knob.is_own else line

    def _value(self, knob: Knob, most_picks: int) -> str:
        if knob.picks and knob.set_to:
            return mentions(knob, self._place.guild, most_picks)
        return escape_markdown(cut(knob.value, SHOWN_VALUE_CHARACTERS))


def _channel_of(interaction: Interaction) -> str:
    channel = interaction.channel
    if isinstance(channel, discord.Thread):
        return str(channel.parent_id)
    return "" if channel is None else str(channel.id)


def _read(interaction: Interaction) -> _Use | None:
    """Read what a control says, and what was chosen or typed. None if it is nothing of ours."""
    data = cast("Mapping[str, Any]", interaction.data or {})
    if (found := meaning(data.get("custom_id", ""))) is None:
        return None
    spot, what, page = found
    chosen = data.get("values") or _typed(data.get("components", ()))
    return _Use(spot, what, page, tuple(map(str, chosen)))


def _typed(rows: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    return (field.get("value", "") for row in rows for field in row.get("components", ()))


def _whose(spot: Spot) -> str:
    if spot.scope == "guild":
        return "of this server"
    return f"of <#{spot.target}>" if spot.scope == "channel" else f"for <@&{spot.target}>"


def _message(text: str, notice: str = "", rows: Sequence[Component] = ()) -> _Reply:
    top = f"> {escape_markdown(notice)}\n\n" if notice else ""
    data = {
        "content": disarm(top + text)[:MAX_LENGTH],
        "components": list(rows),
        "allowed_mentions": {"parse": []},
        "flags": _SUPPRESS_EMBEDS,
    }
    return _Reply(_UPDATE, data)
