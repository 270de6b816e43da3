"""What each asyncio task waits for, down to the innermost frame; never a value of its variables."""

import asyncio
import gc
from collections import defaultdict
from collections.abc import Iterable, Iterator
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, GeneratorType

from msgspec import Struct

OWN_TASKS = "profile door"  # the name of those that only look
MAX_NAMES = 5


class Waiting(Struct, frozen=True):
    """A task. `chain` are its frames as `module.function:line`, outermost first, and then, if it
    is known, the task that the innermost waits for."""

    name: str
    coroutine: str
    chain: tuple[str, ...]


def waiting(tasks: Iterable[asyncio.Task[object]]) -> tuple[Waiting, ...]:
    """Look at tasks of the running loop, each as it stands."""
    return tuple(_look_at(task) for task in tasks)


def _look_at(task: asyncio.Task[object]) -> Waiting:
    coroutine = task.get_coro()
    name = getattr(coroutine, "__qualname__", type(coroutine).__name__)
    return Waiting(task.get_name(), name, tuple(_chain(coroutine)))


def _chain(awaited: object) -> Iterator[str]:
    while awaited is not None:
        frame, inner = _opened(awaited)
        if frame is not None:
            yield _place(frame)
        elif isinstance(awaited, asyncio.Task):
            yield f"→ task {awaited.get_name()}"
        awaited = inner


def _opened(awaited: object) -> tuple[FrameType | None, object]:
    """Return the frame of something that is awaited, and what it awaits itself."""
    match awaited:
        case CoroutineType():
            return awaited.cr_frame, awaited.cr_await
        case AsyncGeneratorType():
            return awaited.ag_frame, awaited.ag_await
        case GeneratorType():
            return awaited.gi_frame, awaited.gi_yieldfrom
        case asyncio.Future():
            return None, None
        case _:
            return None, _wrapped(awaited)


def _wrapped(wrapper: object) -> object:
    # The wrappers around a generator's step, a coroutine or a future have no attribute that tells
    # what they hold, but the garbage collector knows.
    kinds = (CoroutineType, AsyncGeneratorType, GeneratorType, asyncio.Future)
    held = (one for one in gc.get_referents(wrapper) if isinstance(one, kinds))
    return next(held, None)


def _place(frame: FrameType) -> str:
    module = frame.f_globals.get("__name__", "?")
    return f"{module}.{_function(frame.f_code)}:{frame.f_lineno}"


def _function(code: CodeType) -> str:
    return code.co_qualname.replace(".<locals>", "")


def text(tasks: Iterable[Waiting]) -> str:
    """Lay tasks out in lines: those that wait at the same place together, the most common first."""
    places: dict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
    for task in tasks:
        places[task.coroutine, task.chain].append(task.name)
    count = sum(map(len, places.values()))
    head = f"Tasks: {count}, at {len(places)} different places. Innermost frames come last.\n"
    ordered = sorted(places.items(), key=lambda place: -len(place[1]))
    return head + "".join(_place_text(*place, names) for place, names in ordered)


def _place_text(coroutine: str, chain: tuple[str, ...], names: list[str]) -> str:
    shown = ", ".join(names[:MAX_NAMES]) + (", …" if len(names) > MAX_NAMES else "")
    frames = "".join(f"      {frame}\n" for frame in chain)
    return f"\n{len(names):>4} x {coroutine} ({shown})\n{frames}"
