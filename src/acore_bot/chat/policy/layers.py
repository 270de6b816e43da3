"""Which decision wins: layers of settings, laid over each other.

A layer holds what was set just there, by the names of the knobs. `FlatPolicy` says which names
there are and which values each can have, so a stored value is checked against it and nothing else.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct, structs

from acore_bot.chat.attention import Rules
from acore_bot.chat.policy.values import Limits, Memory, OverBudget, Policy

# What the file says of these is the most that anybody inside the front end can allow.
CEILINGS = ("retention_days", "person_tokens", "person_dollars", "guild_tokens", "guild_dollars")

MAX_DAYS = 3650
MAX_AMOUNT = 10**12
MAX_ROLES = 25  # as many as a panel lets one pick
MAX_NAMES = 10
MAX_NAME_CHARACTERS = 32
MAX_MODEL_CHARACTERS = 200

Answers: TypeAlias = Literal["asked", "everything", "nothing"]
Layer: TypeAlias = Mapping[str, object]

Roles: TypeAlias = Annotated[tuple[str, ...], Meta(max_length=MAX_ROLES)]
_Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARACTERS)]
_Names: TypeAlias = Annotated[tuple[_Name, ...], Meta(max_length=MAX_NAMES)]
_Days: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_DAYS)]
_Tokens: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_AMOUNT)]


class FlatPolicy(Struct, frozen=True, kw_only=True):
    """A policy with all its values side by side, under the names of their knobs."""

    answers: Answers
    replies: bool
    threads: bool
    names: _Names
    persona: Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARACTERS * 2)]
    model: Annotated[str, Meta(min_length=1, max_length=MAX_MODEL_CHARACTERS)]
    memory: Memory
    users: Roles
    choosers: Roles
    retention_days: _Days | None
    local_only: bool
    shows_host: bool
    shows_persona: bool
    person_tokens: _Tokens | None
    person_dollars: Decimal | None
    guild_tokens: _Tokens | None
    guild_dollars: Decimal | None
    when_spent: OverBudget


_TYPES = {field.name: field.type for field in structs.fields(FlatPolicy)}


def decoded(name: str, value: str) -> Any:  # noqa: ANN401  # what the name's type says
    """Read a stored value. Raises `ValueError` for one that this version does not know."""
    if name not in _TYPES:
        raise ValueError("there is no such setting")
    found = msgspec.json.decode(value, type=_TYPES[name])
    # Decimals may be infinite or no numbers at all, which no type can forbid.
    if isinstance(found, Decimal) and not (found.is_finite() and 0 <= found <= MAX_AMOUNT):
        raise ValueError("no amount")
    return found


def flat(policy: Policy) -> FlatPolicy:
    """Lay the values of a policy side by side."""
    rules, limits = policy.rules, policy.limits
    return FlatPolicy(
        answers="nothing" if rules.nothing else "everything" if rules.everything else "asked",
        replies=rules.replies,
        threads=rules.threads,
        names=rules.names,
        persona=policy.persona,
        model=policy.model,
        memory=policy.memory,
        users=policy.users,
        choosers=policy.choosers,
        retention_days=policy.retention_days,
        local_only=policy.is_local_only,
        shows_host=policy.shows_host,
        shows_persona=policy.shows_persona,
        **structs.asdict(limits),
    )


def round_policy(values: FlatPolicy, *, bots: bool) -> Policy:
    """Make a policy of its values. `bots` is what no knob can turn."""
    return Policy(
        persona=values.persona,
        model=values.model,
        rules=Rules(
            nothing=values.answers == "nothing",
            everything=values.answers == "everything",
            replies=values.replies,
            threads=values.threads,
            names=values.names,
            bots=bots,
        ),
        memory=values.memory,
        users=values.users,
        choosers=values.choosers,
        retention_days=values.retention_days,
        is_local_only=values.local_only,
        shows_host=values.shows_host,
        shows_persona=values.shows_persona,
        limits=Limits(
            person_tokens=values.person_tokens,
            person_dollars=values.person_dollars,
            guild_tokens=values.guild_tokens,
            guild_dollars=values.guild_dollars,
            when_spent=values.when_spent,
        ),
    )


def laid_over(
    default: FlatPolicy, wide: Sequence[Layer], roles: Sequence[Layer] = ()
) -> FlatPolicy:
    """Lay layers over what the file says: those of the place, the widest first, then the roles.
    Where the file has a limit, none of them can pass it."""
    changes: dict[str, Any] = {}
    for layer in wide:
        changes |= layer
    for name in ("person_tokens", "person_dollars"):
        if given := [layer[name] for layer in roles if name in layer]:
            changes[name] = _most_generous(given)
    layers = (*wide, *roles)
    for name in CEILINGS:
        if name in changes:
            changes[name] = _least(changes[name], getattr(default, name))
    changes["local_only"] = default.local_only or any(layer.get("local_only") for layer in layers)
    return structs.replace(default, **changes)


def exceeds(value: Any, ceiling: Any) -> bool:  # noqa: ANN401  # both of one kind of amount
    """Tell whether a limit allows more than another; None allows everything."""
    return ceiling is not None and (value is None or value > ceiling)


def _least(value: Any, ceiling: Any) -> Any:  # noqa: ANN401  # both of one kind of amount
    return ceiling if exceeds(value, ceiling) else value


def _most_generous(limits: Sequence[Any]) -> Any:  # noqa: ANN401  # all of one kind of amount
    return None if None in limits else max(limits)
