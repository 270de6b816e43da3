"""What a supervisor hears, over a real socket."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from acore_bot.app.supervision import READY_AFTER_SECONDS, Supervisor, supervised


class Systemd:
    """A supervisor's socket, with all that came in."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        """Return the datagrams that came since the last time."""
        found = []
        while True:
            try:
                found.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return found

    def close(self) -> None:
        """Close it."""
        self._socket.close()


@pytest.fixture
def address(tmp_path: Path) -> str:
    """Return where it listens."""
    return str(tmp_path / "notify")


@pytest.fixture
def systemd(address: str) -> Iterator[Systemd]:
    """Open it."""
    opened = Systemd(address)
    yield opened
    opened.close()


class Time:
    """A clock that goes on by what is slept, and lets the other tasks run a step for each sleep."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.slept.append(seconds)
        self.now += seconds
        await _step()


async def _step() -> None:
    await asyncio.sleep(0)


async def test_it_is_ready_when_people_are_served(systemd: Systemd, address: str) -> None:
    """Until Discord is connected it is connecting; then it is ready, once; at the end it stops."""
    up, time = False, Time()
    async with supervised(lambda: up, Supervisor(address), sleep=time.sleep, clock=time):
        await _step()
        assert systemd.heard() == ["STATUS=Connecting to Discord."]
        up = True
        for _ in range(5):
            await _step()
        assert systemd.heard() == ["STATUS=Connected to Discord.\nREADY=1"]
    assert systemd.heard()[0].startswith("STOPPING=1\n")


async def test_a_machine_without_a_network_keeps_its_bot(systemd: Systemd, address: str) -> None:
    """After 20 seconds of trying it is ready too, so that it is not killed for what others do."""
    time = Time()
    async with supervised(lambda: False, Supervisor(address), sleep=time.sleep, clock=time):
        while time.now < 100 + READY_AFTER_SECONDS - 1:
            await _step()
        assert "READY=1" not in "".join(systemd.heard())
        for _ in range(5):
            await _step()
        assert systemd.heard() == ["READY=1"]


async def test_it_is_alive_while_the_loop_turns(systemd: Systemd, address: str) -> None:
    """A watchdog hears of it at least twice in its time, and only then."""
    time, supervisor = Time(), Supervisor(address, watchdog_seconds=8.0)
    async with supervised(lambda: True, supervisor, sleep=time.sleep, clock=time):
        for _ in range(10):
            await _step()
        beats = systemd.heard()
        assert len(beats) >= 9
        assert all("WATCHDOG=1" in beat for beat in beats)
        assert set(time.slept) == {4.0}


def test_the_watchdog_of_another_process_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that inherits the environment does not answer for its parent."""
    told = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}
    assert Supervisor.found(told).watchdog_seconds == 0
    del told["WATCHDOG_PID"]
    assert Supervisor.found(told).watchdog_seconds == 60


async def test_without_a_supervisor_nothing_is_done() -> None:
    """No socket is named: no task runs."""
    async with supervised(lambda: True, Supervisor.found({})):
        assert len(asyncio.all_tasks()) == 1


async def test_a_supervisor_that_is_gone_is_no_fault(address: str) -> None:
    """Nobody listens at the address, and the bot goes on."""
    time = Time()
    async with supervised(lambda: True, Supervisor(address), sleep=time.sleep, clock=time):
        await _step()


def test_a_socket_without_a_file_is_heard() -> None:
    """An address that begins with @ is an abstract one, as containers have it."""
    systemd = Systemd("\0acore-bot-test-of-supervision")
    Supervisor("@acore-bot-test-of-supervision").tell_reloading()
    assert systemd.heard()[0].startswith("RELOADING=1\nMONOTONIC_USEC=")
    systemd.close()
