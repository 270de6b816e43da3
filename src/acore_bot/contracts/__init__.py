"""The promises between rooms. Whoever keeps one can stand wherever it is asked for.

Each has one suite in `tests/contracts/`, run against every implementation.
"""

from acore_bot.contracts.history import (
    History,
)
from acore_bot.contracts.models import (
    ChatModel,
    Percentiles,
    PerformanceStats,
    Provider,
)
from acore_bot.contracts.places import (
    Core,
    FileReader,
    Frontend,
    Handler,
    Knob,
    ReplyTarget,
)
from acore_bot.contracts.records import (
    Account,
    Answers,
    Comparison,
    Consents,
    Ledger,
    Preferences,
    Reservation,
    Scope,
    Score,
    Setting,
    Spent,
    Verdict,
    Votes,
)

__all__ = [
    "Account",
    "Answers",
    "ChatModel",
    "Comparison",
    "Consents",
    "Core",
    "FileReader",
    "Frontend",
    "Handler",
    "History",
    "Knob",
    "Ledger",
    "Percentiles",
    "PerformanceStats",
    "Preferences",
    "Provider",
    "ReplyTarget",
    "Reservation",
    "Scope",
    "Score",
    "Setting",
    "Spent",
    "Verdict",
    "Votes",
]
