"""What owners decided for a place and its people.

`values` holds what is decided, `layers` which decision wins, `knobs` how each is shown and read
back, and `policies` finds what holds in a place.
"""

from acore_bot.chat.policy.policies import Policies
from acore_bot.chat.policy.values import (
    EVERYONE,
    Limits,
    Memory,
    OverBudget,
    Policy,
    may_choose,
    may_use,
)

__all__ = [
    "EVERYONE",
    "Limits",
    "Memory",
    "OverBudget",
    "Policies",
    "Policy",
    "may_choose",
    "may_use",
]
