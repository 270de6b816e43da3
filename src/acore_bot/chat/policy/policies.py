"""Finds what holds in a place, and changes it: stored first, then in force at once."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from weakref import WeakSet

import msgspec

from acore_bot.chat.policy.knobs import DESCRIPTIONS, Description
from acore_bot.chat.policy.layers import (
    CEILINGS,
    FlatPolicy,
    Layer,
    decoded,
    exceeds,
    flat,
    laid_over,
    round_policy,
)
from acore_bot.chat.policy.values import EVERYONE, Policy
from acore_bot.contracts import Knob, Preferences, Scope, Setting
from acore_bot.errors import ConfigurationError, NotFound
from acore_bot.messages import Place, well_formed

log = logging.getLogger(__name__)

MAX_COMPILED = 4096  # combinations of channel and roles; a policy takes about half a KiB
MAX_NAMED = 20
NAMES: dict[Scope, str] = {"guild": "server", "channel": "channel", "role": "role"}


class _Layers:
    """What was set in one guild, by what it is for."""

    def __init__(self) -> None:
        self.of: dict[Scope, dict[str, dict[str, object]]] = {
            "guild": {},
            "channel": {},
            "role": {},
        }

    def own(self, scope: Scope, target: str) -> Layer:
        return self.of[scope].get(target, {})

    def put(self, scope: Scope, target: str, name: str, value: object) -> None:
        self.of[scope].setdefault(target, {})[name] = value

    def drop(self, scope: Scope, target: str, name: str) -> None:
        layer = self.of[scope].get(target, {})
        layer.pop(name, None)
        if not layer:
            self.of[scope].pop(target, None)


class Policies:
    """Finds the policy of a place. Made once; `load` reads what owners set before.

    `personas` lists those that can be chosen, with the names to show; `knows_model` returns a
    model's whole name, or raises `NotFound` or `ConfigurationError`.
    """

    def __init__(
        self,
        preferences: Preferences,
        default: Policy,
        *,
        personas: Callable[[], Sequence[tuple[str, str]]],
        knows_model: Callable[[str], str],
    ) -> None:
        self.default = default
        self._preferences = preferences
        self._personas = personas
        self._knows_model = knows_model
        self._flat = flat(default)
        self._guilds: dict[str, _Layers] = {}
        self._compiled: dict[tuple[str, str, tuple[str, ...]], Policy] = {}
        self._relations: WeakSet[Policies] = WeakSet((self,))
        # What is stored last must also be what holds.
        self._turning = asyncio.Lock()

    def over(
        self,
        default: Policy,
        *,
        personas: Callable[[], Sequence[tuple[str, str]]],
        knows_model: Callable[[str], str],
    ) -> "Policies":
        """Return one over the same settings of owners, with another default. What is set through
        either holds in both."""
        other = Policies(self._preferences, default, personas=personas, knows_model=knows_model)
        other._guilds, other._turning = self._guilds, self._turning
        other._relations = self._relations
        other._relations.add(other)
        return other

    async def load(self) -> None:
        """Read what is stored. Raises `HistoryError`."""
        unread = []
        async with self._turning:
            for setting in await self._preferences.load():
                try:
                    self._take(setting)
                except ValueError:
                    unread.append(setting.name[:40])
        if unread:
            names = ", ".join(sorted(set(unread))[:MAX_NAMED])
            log.warning("%d stored settings cannot be read and are ignored: %s", len(unread), names)

    def of(self, place: Place, roles: Sequence[str] = ()) -> Policy:
        """Return what holds in a place for somebody with these roles: a look-up, for every message
        passes here."""
        if (layers := self._guilds.get(place.guild)) is None:
            return self.default
        channel = place.channel if place.channel in layers.of["channel"] else ""
        own_roles = layers.of["role"]
        key = (place.guild, channel, tuple(filter(own_roles.__contains__, roles)))
        found = self._compiled.get(key)
        return self._compile(key) if found is None else found

    def guilds(self) -> tuple[str, ...]:
        """Name the guilds for which something is set."""
        return tuple(filter(None, self._guilds))

    async def choose(self, place: Place, name: str, value: str) -> None:
        """Set a knob for a channel. Raises `NotFound` for a value that it cannot have."""
        await self.turn_knob(place.guild, "channel", place.channel, name, value)

    def knobs(self, place: Place, scope: Scope, target: str) -> tuple[Knob, ...]:
        """Return all settings of a guild, a channel or a role, as they stand."""
        guild = place.guild
        target = guild if scope == "guild" else target
        own = self._layers(guild).own(scope, target)
        holding = self._lay(
            guild, target if scope == "channel" else "", [target] if scope == "role" else []
        )
        return tuple(
            self._knob(guild, name, getattr(holding, name), is_own=name in own)
            for name, description in DESCRIPTIONS.items()
            if scope in description.scopes
        )

    async def turn_knob(
        self, guild: str, scope: Scope, target: str, name: str, value: str | None
    ) -> None:
        """Change a setting, or let it follow the wider ones again. Raises `NotFound`."""
        description = _described(guild, scope, target, name)
        target = guild if scope == "guild" else target
        if value is None:
            await self._drop(guild, scope, target, name)
            return
        read = self._read(guild, name, description, well_formed(value).strip())
        if name == "local_only" and not read and self._is_local_above(guild, scope):
            msg = "Local only holds here, since a wider setting says so."
            raise NotFound(msg, remedy="It can only be switched off there.")
        if exceeds(read, ceiling := self._ceiling(name)):
            msg = f"“{description.label}” can be {description.most(ceiling)}."
            raise NotFound(msg, remedy="Choose less, or let it follow the wider setting.")
        await self._put(guild, scope, target, name, read)

    async def forget_guild(self, guild: str) -> None:
        """Remove all that was set in a guild. Raises `HistoryError`."""
        async with self._turning:
            await self._preferences.forget_guild(guild)
            self._guilds.pop(guild, None)
            self._compile_anew()

    def _take(self, setting: Setting) -> None:
        description = DESCRIPTIONS.get(setting.name)
        if description is None or setting.scope not in description.scopes:
            raise ValueError("there is no such setting")
        value = decoded(setting.name, setting.value)
        layers = self._guilds.setdefault(setting.guild, _Layers())
        layers.put(setting.scope, setting.target, setting.name, value)

    def _layers(self, guild: str) -> _Layers:
        return self._guilds.get(guild) or _Layers()

    def _lay(self, guild: str, channel: str, roles: Sequence[str]) -> FlatPolicy:
        layers = self._layers(guild)
        wide = (layers.own("guild", guild), layers.own("channel", channel))
        return laid_over(self._flat, wide, [layers.own("role", role) for role in roles])

    def _compile(self, key: tuple[str, str, tuple[str, ...]]) -> Policy:
        if len(self._compiled) >= MAX_COMPILED:
            self._compiled.clear()  # each is made again in no time
        policy = round_policy(self._lay(*key), bots=self.default.rules.bots)
        self._compiled[key] = policy
        return policy

    def _compile_anew(self) -> None:
        for one in self._relations:
            one._compiled.clear()  # noqa: SLF001 - of this class too

    def _ceiling(self, name: str) -> object:
        """Return the most that the file allows of something; None if that is everything."""
        return getattr(self._flat, name) if name in CEILINGS else None

    def _knob(self, guild: str, name: str, value: object, *, is_own: bool) -> Knob:
        description = DESCRIPTIONS[name]
        choices = tuple(self._personas()) if name == "persona" else description.choices
        set_to = description.text(value)
        return Knob(
            name=name,
            label=description.label,
            description=description.told(self._ceiling(name)),
            value=description.shown(value, choices),
            is_own=is_own,
            set_to=set_to.replace(EVERYONE, guild) if description.picks else set_to,
            choices=choices,
            many=description.many,
            picks=description.picks,
        )

    def _read(self, guild: str, name: str, description: Description, text: str) -> object:
        if description.picks:
            # The role that everyone has bears the guild's id, and no message tells of it.
            text = " ".join(EVERYONE if role == guild else role for role in text.split())
        try:
            value = description.read(text)
        except (ValueError, KeyError):
            hint = description.hinted(self._ceiling(name))
            raise _cannot_be(description, text, hint) from None
        if name == "persona":
            return self._known_persona(text)
        return self._known_model(text) if name == "model" else value

    def _known_persona(self, slug: str) -> str:
        known = [known for known, _ in self._personas()]
        if slug not in known:
            names = ", ".join(known[:MAX_NAMED])
            raise _cannot_be(DESCRIPTIONS["persona"], slug, f"It could be: {names}.")
        return slug

    def _known_model(self, name: str) -> str:
        try:
            return self._knows_model(name)
        except ConfigurationError as error:
            # It may name what is the owner's alone, such as files and addresses.
            log.warning("A model that was asked for cannot be used: %s", error)
            description = DESCRIPTIONS["model"]
            raise _cannot_be(description, name, description.hint) from None

    def _is_local_above(self, guild: str, scope: Scope) -> bool:
        above = [] if scope == "guild" else [self._layers(guild).own("guild", guild)]
        return laid_over(self._flat, above).local_only

    async def _put(self, guild: str, scope: Scope, target: str, name: str, value: object) -> None:
        stored = msgspec.json.encode(value).decode()
        async with self._turning:
            await self._preferences.put(Setting(guild, scope, target, name, stored))
            self._guilds.setdefault(guild, _Layers()).put(scope, target, name, value)
            self._compile_anew()

    async def _drop(self, guild: str, scope: Scope, target: str, name: str) -> None:
        async with self._turning:
            await self._preferences.drop(guild, scope, target, name)
            layers = self._layers(guild)
            layers.drop(scope, target, name)
            if not any(layers.of.values()):
                self._guilds.pop(guild, None)
            self._compile_anew()


def _described(guild: str, scope: Scope, target: str, name: str) -> Description:
    if scope != "channel" and not guild:
        raise NotFound("A private chat has no settings of a server.")
    if scope == "role" and target == guild:
        msg = "The role that everyone has takes no settings."
        raise NotFound(msg, remedy="Set it for the server.")
    known = {name: found for name, found in DESCRIPTIONS.items() if scope in found.scopes}
    if name not in known:
        msg = f"There is no setting named {name[:40]!r} for a {NAMES[scope]}."
        raise NotFound(msg, remedy=f"It could be: {', '.join(known)}.")
    return known[name]


def _cannot_be(description: Description, text: str, remedy: str) -> NotFound:
    return NotFound(f"“{description.label}” cannot be {text[:40]!r}.", remedy=remedy)
