"""What a supervisor such as systemd is told: that the bot is up, is alive, is going.

The protocol is sd_notify(3): datagrams of `NAME=value` lines to the socket that `NOTIFY_SOCKET`
names. Where nobody wants to know, nothing is done.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

log = logging.getLogger(__name__)

# A machine that boots without a network gets a bot that tries on, not one that is killed for it.
READY_AFTER_SECONDS = 20.0
LOOK_SECONDS = 0.5
LONGEST_LOOK_SECONDS = 10.0
SERVING = "STATUS=Connected to Discord."
TRYING = "STATUS=Connecting to Discord."
GOING = "STATUS=Stopping; open answers get a few seconds to end."

Sleep = Callable[[float], Awaitable[None]]


class Supervisor:
    """Whoever started us and wants to know how we are; nobody, if `address` is empty. An address
    that begins with @ is one without a file."""

    def __init__(self, address: str, *, watchdog_seconds: float = 0.0) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_seconds = watchdog_seconds

    @classmethod
    def found(cls, environ: Mapping[str, str]) -> "Supervisor":
        """Find the one that the environment names."""
        pid, usec = environ.get("WATCHDOG_PID", ""), environ.get("WATCHDOG_USEC", "")
        is_watching = usec.isdigit() and pid in {"", str(os.getpid())}
        seconds = int(usec) / 1e6 if is_watching else 0.0
        return cls(environ.get("NOTIFY_SOCKET", ""), watchdog_seconds=seconds)

    def __bool__(self) -> bool:
        return bool(self._address)

    def tell(self, *lines: str) -> None:
        """Tell it these lines, unless it is gone or too busy to hear."""
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.setblocking(False)
            try:
                channel.sendto("\n".join(lines).encode(), self._address)
            except OSError as error:
                log.debug("the supervisor was not told: %s", error)

    def tell_reloading(self) -> None:
        """Tell it that the settings are being read anew."""
        microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self.tell("RELOADING=1", f"MONOTONIC_USEC={microseconds}")


@asynccontextmanager
async def supervised(
    is_up: Callable[[], bool],
    supervisor: Supervisor | None = None,
    *,
    sleep: Sleep = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[None]:
    """Tell the supervisor how the bot is, from beginning to end: that it is ready when `is_up` says
    that people are served, or after some seconds of trying; and that it lives, for as long as the
    event loop turns."""
    supervisor = Supervisor.found(os.environ) if supervisor is None else supervisor
    if not supervisor:
        yield
        return
    telling = asyncio.create_task(_tell(supervisor, is_up, sleep, clock))
    try:
        yield
    finally:
        telling.cancel()
        await asyncio.wait([telling])
        supervisor.tell("STOPPING=1", GOING)


async def _tell(
    supervisor: Supervisor,
    is_up: Callable[[], bool],
    sleep: Sleep,
    clock: Callable[[], float],
) -> None:
    started, is_ready, told = clock(), False, ""
    half = supervisor.watchdog_seconds / 2 or LONGEST_LOOK_SECONDS
    while True:
        status = SERVING if is_up() else TRYING
        lines = [status] if status != told else []
        if not is_ready and (status == SERVING or clock() - started >= READY_AFTER_SECONDS):
            is_ready = True
            lines.append("READY=1")
        if supervisor.watchdog_seconds:
            lines.append("WATCHDOG=1")
        if lines:
            supervisor.tell(*lines)
        told = status
        await sleep(min(half, LONGEST_LOOK_SECONDS) if is_ready else min(half, LOOK_SECONDS))
