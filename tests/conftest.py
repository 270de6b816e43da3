"""What holds for every test: no connection leaves this machine, and no task is left behind."""

import asyncio
import inspect
import ipaddress
import socket
from collections.abc import AsyncIterator, Callable
from typing import ParamSpec, TypeVar

import pytest

P = ParamSpec("P")
T = TypeVar("T")


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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Watch over the tasks of the tests that have a loop; the others need none."""
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            # First, so that it is torn down last, after what else the test opened.
            item.fixturenames.insert(0, "no_task_left")
