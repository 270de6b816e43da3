"""Sees when the event loop is kept busy, how long, and by which function.

The loop beats every 50 ms. A thread beside it wakes when a beat is overdue by too much, and one
look at the loop's frames tells what runs there. When the loop beats again, the whole delay is known
and is told, once. A function that never lets go of the interpreter's lock, as some in C, is seen as
soon as it does.
"""

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Final, Self

from acore_bot.telemetry.events import Emit, LoopLagged
from acore_bot.telemetry.slow_turns import SeenStacks

BEAT_SECONDS: Final = 0.05
MAX_FRAMES: Final = 12
ARROW: Final = " > "
_STEP: Final = asyncio.Handle._run.__code__  # noqa: SLF001 - beneath it lies the loop itself


class LoopWatch:
    """Watches over the running event loop while it is open.

    Delays of `threshold_seconds` or more are emitted, on the loop, when they are over. What was
    seen meanwhile is noted in `stacks` at once. `package` is whose functions are ours. `clock` is
    monotonic.
    """

    def __init__(
        self,
        emit: Emit,
        *,
        threshold_seconds: float = 0.1,
        stacks: SeenStacks | None = None,
        package: str = "acore_bot",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._emit = emit
        self._threshold = threshold_seconds
        self._stacks = stacks or SeenStacks()
        self._package = package
        self._clock = clock
        self._lag_seconds = 0.0
        self._due = clock() + BEAT_SECONDS
        self._caught: tuple[float, str] | None = None  # the beat that was overdue, and what ran
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name="loop watch", daemon=True)
        self._loop_thread = 0
        self._beat_handle: asyncio.TimerHandle | None = None

    @property
    def lag_seconds(self) -> float:
        """How late the newest beat was, or is."""
        return max(self._lag_seconds, self._clock() - self._due)

    async def __aenter__(self) -> Self:
        self._loop_thread = threading.get_ident()
        self._schedule()
        self._thread.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._beat_handle:
            self._beat_handle.cancel()
        self._is_over.set()
        self._thread.join()  # it sleeps on that flag, so it ends at once

    def _schedule(self) -> None:
        self._due = self._clock() + BEAT_SECONDS
        loop = asyncio.get_running_loop()
        self._beat_handle = loop.call_later(BEAT_SECONDS, self._beat)

    def _beat(self) -> None:
        due, caught = self._due, self._caught
        self._lag_seconds = max(0.0, self._clock() - due)
        self._schedule()
        if self._lag_seconds >= self._threshold:
            function = caught[1] if caught and caught[0] == due else ""
            self._emit(LoopLagged(self._lag_seconds, function))

    def _look_on(self) -> None:
        # It wakes when this beat would be too late, and finds mostly that later ones have come.
        wait = self._threshold
        while not self._is_over.wait(wait):
            self._look()
            left = self._due + self._threshold - self._clock()
            wait = left if left > 0 else self._threshold

    def _look(self) -> None:
        due, now = self._due, self._clock()
        if now - due < self._threshold or (self._caught and self._caught[0] == due):
            return
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - documented for this
        ours = list(_ours(frame, self._package))
        if not ours or due != self._due:
            return
        self._caught = (due, ARROW.join(dict.fromkeys((ours[0], ours[-1]))))
        self._stacks.note(now, ARROW.join(ours[:1] + ours[1:][1 - MAX_FRAMES :]))


def _ours(frame: FrameType | None, package: str) -> Iterator[str]:
    """Name the frames of the step that the loop is taking, from the outermost of the package to the
    innermost; all of them if none is the package's, and none if the loop is between two steps."""
    step: list[FrameType] = []
    while frame and frame.f_code is not _STEP:
        step.append(frame)
        frame = frame.f_back
    if frame is None:
        return
    step.reverse()
    modules = [str(each.f_globals.get("__name__", "?")) for each in step]
    are_ours = [module.partition(".")[0] == package for module in modules]
    begin = are_ours.index(True) if any(are_ours) else 0
    for module, each in zip(modules[begin:], step[begin:], strict=True):
        yield f"{module}.{each.f_code.co_qualname}:{each.f_lineno}"
