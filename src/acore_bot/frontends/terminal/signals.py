"""Work that a signal cancels: Ctrl-C an answer, SIGTERM the whole front end."""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager


async def run_until_signal(number: signal.Signals, work: Coroutine[object, object, None]) -> bool:
    """Run work that a signal cancels, once, and wait for its end. Return whether the signal came.

    Raises what the work raises; a cancellation from elsewhere cancels the work and goes on.
    """
    task = asyncio.get_running_loop().create_task(work)
    came = False

    def cancel_once() -> None:
        nonlocal came
        if not came:  # a second signal must not cut short what the first one set going
            came = True
            task.cancel()

    with _on_signal(number, cancel_once):
        await _join(task, is_expected=lambda: came)
    return came


async def _join(task: asyncio.Task[None], *, is_expected: Callable[[], bool]) -> None:
    """Wait for a task. Its cancellation is no error if it is expected, ours always is."""
    us = asyncio.current_task()
    before = us.cancelling() if us else 0
    try:
        await task
    except asyncio.CancelledError:
        if not is_expected():
            raise
    # A task that ends well although cancelled would swallow the cancellation that was meant for us.
    if us and us.cancelling() > before:
        raise asyncio.CancelledError


@contextmanager
def _on_signal(number: signal.Signals, callback: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    previous = signal.getsignal(number)
    loop.add_signal_handler(number, callback)
    try:
        yield
    finally:
        loop.remove_signal_handler(number)
        # The loop puts the default back, which is not what asyncio.run had set for SIGINT.
        signal.signal(number, previous)
