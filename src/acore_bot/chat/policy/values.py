"""What an owner decided for a place and its people: one value that the rest of the core obeys.

Settings stand in layers, the later ones win: the file, the guild, the channel, the roles of whoever
speaks. What several roles set differently is decided in favour of the person. There are two
exceptions: where one layer wants local-only, no other can switch it off; and what the file limits,
what is used in a day and how long things are kept, the others can only limit further.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal, TypeAlias

from msgspec import Struct

from acore_bot.chat.attention import DEFAULT_RULES, Rules

Memory: TypeAlias = Literal["shared", "person"]
OverBudget: TypeAlias = Literal["embedded", "refuse"]

EVERYONE = "everyone"
"""Stands among roles for all people, whatever roles they have."""


class Limits(Struct, frozen=True, kw_only=True):
    """What may be used in a day (UTC), in tokens and in US dollars; None is no limit. A person's
    count within one guild, or in private; a guild's are everyone's together."""

    person_tokens: int | None = None
    person_dollars: Decimal | None = None
    guild_tokens: int | None = None
    guild_dollars: Decimal | None = None
    when_spent: OverBudget = "embedded"


class Policy(Struct, frozen=True, kw_only=True):
    """What holds in a place for a person.

    `model` is written `provider/model`. With `memory` "person", everyone has a conversation of
    their own in a channel. `users` are the roles whose people may use the bot, `choosers` those
    whose people may change persona and model and reset a shared conversation, besides those who
    manage the server; no `users` is everyone, no `choosers` nobody else. What was said is removed
    after `retention_days`, if that is set. With `is_local_only` nothing leaves for a cloud;
    `shows_host` has each answer say whether it came from one; `shows_persona` has personas speak
    under their own name and picture.
    """

    persona: str
    model: str
    rules: Rules = DEFAULT_RULES
    memory: Memory = "shared"
    users: tuple[str, ...] = ()
    choosers: tuple[str, ...] = ()
    retention_days: int | None = None
    is_local_only: bool = False
    shows_host: bool = False
    shows_persona: bool = False
    limits: Limits = Limits()


def may_use(policy: Policy, roles: Sequence[str], may_manage: bool) -> bool:
    """Tell whether somebody with these roles may use the bot. Who manages the server always may."""
    return may_manage or not policy.users or _has_one_of(policy.users, roles)


def may_choose(policy: Policy, roles: Sequence[str], may_manage: bool) -> bool:
    """Tell whether somebody with these roles may change persona and model, and reset what others
    said as well. Who manages the server always may."""
    return may_manage or _has_one_of(policy.choosers, roles)


def _has_one_of(wanted: tuple[str, ...], roles: Sequence[str]) -> bool:
    return EVERYONE in wanted or any(role in wanted for role in roles)
