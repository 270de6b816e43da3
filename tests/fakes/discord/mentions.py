"""Whom a message pings, by its text and by what its sender allows."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

_USER = re.compile(r"<@!?(\d+)>")
_ROLE = re.compile(r"<@&(\d+)>")
_EVERYONE = re.compile(r"@(everyone|here)")


@dataclass(frozen=True)
class Pings:
    """Who is notified. As the strictest reading has it: a mention inside code counts as well."""

    everyone: bool = False
    users: frozenset[int] = frozenset()
    roles: frozenset[int] = frozenset()

    def __bool__(self) -> bool:
        return self.everyone or bool(self.users) or bool(self.roles)

    def __or__(self, other: Self) -> Self:
        return type(self)(
            self.everyone or other.everyone, self.users | other.users, self.roles | other.roles
        )


def mentioned_users(text: str) -> tuple[int, ...]:
    """Return the ids of the users that a text mentions, in order."""
    return tuple(dict.fromkeys(int(found) for found in _USER.findall(text)))


def mentioned_roles(text: str) -> tuple[int, ...]:
    """Return the ids of the roles that a text mentions, in order."""
    return tuple(dict.fromkeys(int(found) for found in _ROLE.findall(text)))


def mentions_everyone(text: str) -> bool:
    """Tell whether a text mentions everyone, or everyone who is here."""
    return _EVERYONE.search(text) is not None


def pings_of(text: str, allowed: Mapping[str, Any] | None, replied_user: int | None) -> Pings:
    """Return whom a message pings. Without `allowed`, it is everybody that its text mentions and
    the author of the message that it replies to."""
    if allowed is None:
        allowed = {"parse": ["everyone", "roles", "users"], "replied_user": True}
    parse = allowed.get("parse") or ()
    users = _allowed(mentioned_users(text), "users", parse, allowed)
    if replied_user is not None and allowed.get("replied_user"):
        users |= {replied_user}
    roles = _allowed(mentioned_roles(text), "roles", parse, allowed)
    return Pings("everyone" in parse and mentions_everyone(text), users, roles)


def _allowed(
    mentioned: tuple[int, ...], kind: str, parse: object, allowed: Mapping[str, Any]
) -> frozenset[int]:
    if isinstance(parse, list) and kind in parse:
        return frozenset(mentioned)
    return frozenset(mentioned) & {int(one) for one in allowed.get(kind) or ()}


def fault_of(allowed: Mapping[str, Any]) -> str | None:
    """Return why an `allowed_mentions` is not accepted, or None."""
    for kind in ("users", "roles"):
        named = allowed.get(kind) or ()
        if named and kind in (allowed.get("parse") or ()):
            return f'parse:["{kind}"] and {kind}: [ids...] are mutually exclusive.'
        if len(named) > 100:
            return "Must be 100 or fewer in length."
    return None
