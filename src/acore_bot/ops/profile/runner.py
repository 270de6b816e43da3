"""The process in which a profiled command runs: records it, and asks it to end in time.

Run by its path, so it imports nothing else of this package. Its arguments are how to record
(`cpu`, when py-spy does it from outside, `cprofile`, `memory` or `memory-with-objects`), the file
to write, the seconds, and the command: a script, or `-m` and a module, and what follows it.

When the time is over the recording is finished, and the command is told so by SIGINT, as by Ctrl-C
in a terminal. One that does not heed it within `GRACE_SECONDS` is ended.
"""

import cProfile
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

GRACE_SECONDS = 5.0


class Recording(AbstractContextManager[None]):
    """Records from its beginning on the main thread to its end, which any thread may bring."""

    def __init__(self, start: Callable[[], object], finish: Callable[[], object]) -> None:
        self._start = start
        self._finish = finish
        self._lock = threading.Lock()
        self._is_finished = False

    def __enter__(self) -> None:
        self._start()

    def __exit__(self, *_: object) -> None:
        self.finish()

    def finish(self) -> None:
        """Return when the file is whole, whoever finished it."""
        with self._lock:
            if not self._is_finished:
                self._is_finished = True
                self._finish()


def main() -> None:
    """Run the command to its end, or to that of its time."""
    mode, file, seconds, *command = sys.argv[1:]
    recording, is_over = _recording(mode, file), threading.Event()
    # A shell may have switched it off for us, and then nobody could ask the command to end.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    stop = threading.Thread(target=_stop, args=(float(seconds), recording, is_over), daemon=True)
    stop.start()
    try:
        with recording:
            _run(command)
    except KeyboardInterrupt:
        if not is_over.is_set():
            raise


def _recording(mode: str, file: str) -> Recording:
    if mode == "cpu":
        return Recording(lambda: None, lambda: None)
    if mode == "cprofile":
        profile = cProfile.Profile()
        return Recording(profile.enable, lambda: profile.dump_stats(file))
    import memray  # noqa: PLC0415 -- an extra, and slow to load

    with_objects = mode == "memory-with-objects"
    # A compressed file would be a new one, with other rights.
    destination = memray.FileDestination(file, overwrite=True, compress_on_exit=False)
    tracker = memray.Tracker(destination=destination, trace_python_allocators=with_objects)
    return Recording(tracker.__enter__, lambda: tracker.__exit__(None, None, None))


def _run(command: list[str]) -> None:
    if command[0] == "-m":
        sys.argv = command[1:]
        sys.path.insert(0, str(Path.cwd()))
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = command
        sys.path.insert(0, str(Path(command[0]).resolve().parent))
        runpy.run_path(command[0], run_name="__main__")


def _stop(
    seconds: float,
    recording: Recording,
    is_over: threading.Event,
    pause: Callable[[float], object] = time.sleep,
) -> None:
    """Finish the recording when its time is over, ask the command to end, and end it if it does
    not."""
    pause(seconds)
    is_over.set()
    recording.finish()
    os.kill(os.getpid(), signal.SIGINT)
    pause(GRACE_SECONDS)
    os._exit(0)


if __name__ == "__main__":
    main()
