"""What may go wrong with a REST request, on purpose."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from tests.fakes.discord.records import Request


@dataclass(frozen=True)
class DropReply:
    """Perform the request, then reset the connection instead of answering."""


@dataclass(frozen=True)
class TimeOut:
    """Perform the request, then answer 504, as what stands before Discord does."""


@dataclass(frozen=True)
class Reset:
    """Reset the connection without performing the request."""


@dataclass(frozen=True)
class Fail:
    """Answer with a status, without performing the request. `code` is the JSON error code."""

    status: int
    code: int = 0
    message: str = "told to fail"


@dataclass(frozen=True)
class TooMany:
    """Answer 429, without performing the request; with code 30046, for the message is older than
    an hour and was edited too often. `retry_after` is in seconds."""

    retry_after: float
    scope: Literal["user", "global", "shared"] = "user"
    code: int = 0


@dataclass(frozen=True)
class Delay:
    """Sleep, by the fake's sleep, before performing the request."""

    seconds: float


MISSING_PERMISSIONS = Fail(403, 50013, "Missing Permissions")
MISSING_ACCESS = Fail(403, 50001, "Missing Access")
UNKNOWN_CHANNEL = Fail(404, 10003, "Unknown Channel")
UNKNOWN_MESSAGE = Fail(404, 10008, "Unknown Message")
Fault: TypeAlias = DropReply | TimeOut | Reset | Fail | TooMany | Delay
Script: TypeAlias = Callable[[Request], Fault | None] | Sequence[Fault | None]


class Faults:
    """The scripts by route; `*` stands for every route that has none of its own."""

    def __init__(self) -> None:
        self._scripts: dict[str, Callable[[Request], Fault | None]] = {}

    def script(self, route: str, script: Script) -> None:
        """Let a route fail as told: by a callable, or by what befalls the requests from now on, one
        after the other; when the sequence is over, all is well again."""
        if callable(script):
            self._scripts[route] = script
            return
        steps = iter(script)
        self._scripts[route] = lambda _: next(steps, None)

    def clear(self) -> None:
        """Let all be well again."""
        self._scripts.clear()

    def next(self, request: Request) -> Fault | None:
        """Return what befalls a request."""
        script = self._scripts.get(request.route) or self._scripts.get("*")
        return script(request) if script else None
