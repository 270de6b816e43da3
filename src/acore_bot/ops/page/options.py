"""What the operator's page shows, and where it listens."""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address

from msgspec import Struct

from acore_bot.errors import ConfigurationError
from acore_bot.telemetry.figures import BatchStats, Figures, Minute, Now, SlowTurn, Span

MIN_TOKEN_CHARACTERS = 16


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where the page's figures come from. Each is asked anew, on the event loop, so must be quick.

    `prometheus` returns the text that Prometheus reads.
    """

    now: Callable[[], Now]
    figures: Callable[[Span], Figures]
    minutes: Callable[[], tuple[Minute, ...]]
    slow_turns: Callable[[], tuple[SlowTurn, ...]]
    batch: Callable[[], BatchStats]
    prometheus: Callable[[], bytes]


class PageOptions(Struct, frozen=True, kw_only=True):
    """Where the page listens and who may see it.

    Port 0 is any free one. `names` are further names under which the page is reached, without
    port: behind a proxy, or on all addresses of a machine.
    """

    host: str = "127.0.0.1"
    port: int = 8642
    token: str = ""
    names: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Show everything but the token."""
        token = "set" if self.token else "none"
        return f"PageOptions({self.host!r}, {self.port}, token: {token}, names={self.names!r})"


def check(options: PageOptions) -> None:
    """Raise `ConfigurationError` if strangers could see the page, or guess its token."""
    if not options.token and not is_loopback(options.host):
        raise ConfigurationError(
            f"The operator's page would be open to everybody who reaches {options.host!r}.",
            remedy=f"Give it a token of at least {MIN_TOKEN_CHARACTERS} characters, or let it "
            "listen on 127.0.0.1.",
        )
    if options.token and len(options.token) < MIN_TOKEN_CHARACTERS:
        raise ConfigurationError(
            f"The token of the operator's page has {len(options.token)} characters.",
            remedy=f"Choose one of at least {MIN_TOKEN_CHARACTERS}; `openssl rand -hex 24` "
            "prints a good one.",
        )


def is_loopback(name: str) -> bool:
    """Say whether a host's name or address means this machine."""
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
