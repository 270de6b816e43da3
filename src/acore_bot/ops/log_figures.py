"""What the log of events says: frozen values for whoever shows them, and for `acore stats --json`.

Times are seconds, shares and rates from 0 to 1, money US dollars. None means that it is not known.
"""

from datetime import datetime

from msgspec import Struct

from acore_bot.telemetry.figures import Quantiles


class ModelUse(Struct, frozen=True, kw_only=True):
    """What was asked of one model. Tokens and dollars are None where no turn told them; those of
    answers given before are not counted, and those of a shared answer once. `cached_share` is of
    the tokens that were read."""

    model: str
    turns: int
    failed: int
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None
    cached_share: float | None
    cost: float | None


class Savings(Struct, frozen=True, kw_only=True):
    """What needed no call of its own: turns that were `shared` with others or `cached` from before;
    calls saved by joining one in the air or by a cached answer, and the tokens saved by either."""

    shared_turns: int
    cached_turns: int
    joined_calls: int
    cached_answers: int
    saved_tokens: int


class Fallback(Struct, frozen=True, kw_only=True):
    """How often a model stood in for another, and the stable word of why."""

    asked: str
    answered_by: str
    kind: str
    count: int


class CommandUse(Struct, frozen=True, kw_only=True):
    """How often a command was used, and how long it took on average, in seconds."""

    name: str
    used: int
    failed: int
    mean_seconds: float


class DiscordStats(Struct, frozen=True, kw_only=True):
    """The connection to Discord: how often it was lost and had to be made anew, and how often and
    how long, in seconds, Discord made us wait, by kind of request."""

    reconnects: int
    rate_limited: int
    rate_limited_seconds: float
    routes: dict[str, int]


class LagStats(Struct, frozen=True, kw_only=True):
    """How often the event loop was late, the longest time, in seconds, and what ran then."""

    count: int
    longest_seconds: float | None
    function: str | None


class SlowestTurn(Struct, frozen=True, kw_only=True):
    """One of the slowest turns, in seconds. `kind` is the error's word if it failed."""

    ended_at: datetime
    model: str
    total_seconds: float
    first_delta_seconds: float | None
    stages: dict[str, float | None]
    kind: str | None


class LogStats(Struct, frozen=True, kw_only=True):
    """Everything that the log says. `turns` are those answered and those that `failed`, of which
    `error_rate` is the share; response times are of those answered, in seconds.

    `broken_lines` are no whole events, `foreign_lines` of types that this version does not know;
    `damaged_files` were compressed and could not be read to their end.
    """

    since: datetime | None
    events: int
    turns: int
    failed: int
    refused: int
    error_rate: float | None
    response: Quantiles
    first_delta: Quantiles
    stages: dict[str, float | None]
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None
    cached_share: float | None
    cost: float | None
    models: tuple[ModelUse, ...]
    savings: Savings
    errors: dict[str, int]
    refusals: dict[str, int]
    fallbacks: tuple[Fallback, ...]
    breaker_openings: dict[str, int]
    discord: DiscordStats
    lag: LagStats
    commands: tuple[CommandUse, ...]
    slowest_turns: tuple[SlowestTurn, ...]
    broken_lines: int
    foreign_lines: int
    damaged_files: int
