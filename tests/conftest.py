"""What holds for every test: no connection leaves this machine, no task is left behind, and no log
tells a secret, or what people said.
"""

import asyncio
import inspect
import ipaddress
import logging
import re
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import ParamSpec, TypeVar

import pytest

P = ParamSpec("P")
T = TypeVar("T")


# The keys and tokens of these tests, wherever they stand, as in addresses and headers.
SECRETS = re.compile(
    r"sk-[a-z]|(interaction|webhook)-token-\d|fake-token-of|Bearer [^*…]|Bot [\w.-]{20}|user:pw@"
)
WORDS = ("Hello?", "I like tea", "Lovelace")  # what people in these tests say


class _Witness(logging.Handler):
    """Reads every line that we log, at every level."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Note a line that tells what nobody may read."""
        line = self.format(record)
        is_told = record.levelno >= logging.INFO and any(word in line for word in WORDS)
        if is_told or SECRETS.search(line):
            self.found.append(line)


@pytest.fixture(autouse=True)
def s16_no_log_tells_a_secret() -> Iterator[None]:
    """Run every test with our log at DEBUG: no key or token is in it at any level, nor anything
    that people said at INFO and above."""
    logger, witness = logging.getLogger("acore_bot"), _Witness()
    level = logger.level
    for handler in logging.getLogger().handlers:  # what tests look at stays as it is by default
        if handler.level == logging.NOTSET:
            handler.setLevel(logging.WARNING)
    logger.addHandler(witness)
    logger.setLevel(logging.DEBUG)
    yield
    logger.removeHandler(witness)
    logger.setLevel(level)
    assert not witness.found, f"The log told: {witness.found[0]}"


@pytest.fixture(autouse=True)
def stay_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sockets connect to this machine only, and let no other name be looked up."""
    for place, name, check in (
        (socket.socket, "connect", _check_address),
        (socket.socket, "connect_ex", _check_address),
        (socket, "getaddrinfo", _check_host),
    ):
        monkeypatch.setattr(place, name, _guarded(getattr(place, name), check))


def _guarded(call: Callable[P, T], check: Callable[P, None]) -> Callable[P, T]:
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        check(*args, **kwargs)
        return call(*args, **kwargs)

    return checked


def _check_address(sock: socket.socket, address: tuple[str, int] | str) -> None:
    if sock.family != socket.AF_UNIX:
        _check_host(address[0])


def _check_host(host: str | bytes | None, *_: object, **__: object) -> None:
    name = host.decode() if isinstance(host, bytes) else host
    if name not in {None, "localhost"} and not _is_loopback(str(name)):
        msg = f"A test wanted to leave this machine, for {name}: use a server on loopback."
        raise AssertionError(msg)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture
async def no_task_left() -> AsyncIterator[None]:
    """Fail a test that leaves asyncio tasks behind: the loop's end would hide them."""
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, f"The test left {len(left)} asyncio tasks behind: {left}"


def pytest_configure() -> None:
    """Let processes that tests start hear Ctrl-C, also where a shell that started us in its
    background has it ignored: what is ignored is inherited, what is handled is not."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Watch over the tasks of the tests that have a loop; the others need none."""
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            # First, so that it is torn down last, after what else the test opened.
            item.fixturenames.insert(0, "no_task_left")
