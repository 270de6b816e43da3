"""The guard around all tests: nothing leaves this machine, and what stays on it is let through."""

import asyncio
import socket

import pytest

ELSEWHERE = "192.0.2.1"  # reserved for documents: nobody is there


@pytest.mark.parametrize("method", ["connect", "connect_ex"])
def test_a_connection_off_this_machine_fails(method: str) -> None:
    """No socket connects to another machine, and the complaint names it."""
    with (
        socket.socket() as sock,
        pytest.raises(AssertionError, match=f"leave this machine, for {ELSEWHERE}"),
    ):
        getattr(sock, method)((ELSEWHERE, 80))


def test_another_machines_name_is_not_looked_up() -> None:
    """Asking for a name fails before anybody is asked."""
    with pytest.raises(AssertionError, match=r"leave this machine, for example\.com"):
        socket.create_connection(("example.com", 80))


async def test_the_loop_is_guarded_as_well() -> None:
    """Asyncio connects no further than a plain socket does."""
    with pytest.raises(AssertionError, match="leave this machine"):
        await asyncio.open_connection(ELSEWHERE, 80)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_is_let_through(host: str) -> None:
    """A server on loopback is reached by its address and by its name."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection((host, server.getsockname()[1])).close()


def test_a_socket_in_the_file_system_is_let_through() -> None:
    """Unix sockets have no machine to leave."""
    with socket.socket(socket.AF_UNIX) as sock, pytest.raises(FileNotFoundError):
        sock.connect("/nonexistent/socket")
