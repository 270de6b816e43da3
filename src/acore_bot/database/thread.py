"""The one thread that owns the database's connection: opens it, does jobs in order, closes it.

What is to be written and waits together shares one transaction, so fifty appends cost one commit.
If one of them is refused, all is undone and done anew, each job in a savepoint of its own: so it
harms no other, and a group without a refusal, as nearly all are, pays for no savepoint. Nobody is
told of success before the commit; if the commit fails, all of them fail and none is stored.

While another process holds the file, each transaction waits for it. Once the thread is to stop,
all that is queued waits together no longer than one transaction would.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from itertools import groupby
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, Generic, TypeAlias, TypeVar

from acore_bot.database.faults import damaged, explain, still_read
from acore_bot.database.layout import Layout
from acore_bot.database.migrations import read_pragma, transaction
from acore_bot.database.opening import BUSY_TIMEOUT_SECONDS, open_connection
from acore_bot.errors import HistoryError

# Bounds what a failing commit can take with it, and how long a reader waits behind writers.
MAX_JOBS_TAKEN = 100

Result = TypeVar("Result")
Work: TypeAlias = Callable[[sqlite3.Connection], Result]


class Answer(Generic[Result]):
    """A future of the caller's loop that the thread settles, whether or not anyone still waits."""

    __slots__ = ("_error", "_loop", "_result", "future")

    _result: Result

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._error: Exception | None = None
        self.future: asyncio.Future[Result] = self._loop.create_future()

    def succeed(self, result: Result) -> None:
        """Settle it with a result, from any thread."""
        self.take(result)
        tell(self._loop, [self])

    def fail(self, error: Exception) -> None:
        """Settle it with an error, from any thread."""
        self.refuse(error)
        tell(self._loop, [self])

    def take(self, result: Result) -> None:
        """Keep a result to tell later, unless it is refused until then."""
        self._result = result

    def refuse(self, error: Exception) -> None:
        """Keep an error to tell later, whatever was done."""
        self._error = error

    def settle(self) -> None:
        """Settle it with what was kept, in its loop."""
        if self.future.done():
            return
        if self._error is None:
            self.future.set_result(self._result)
        else:
            self.future.set_exception(self._error)


class _Job(Answer[Result]):
    """Work for the thread, and its answer."""

    __slots__ = ("work", "writes")

    def __init__(self, work: Work[Result], *, writes: bool) -> None:
        super().__init__()
        self.work = work
        self.writes = writes

    def run(self, connection: sqlite3.Connection) -> None:
        """Do the work and keep its result."""
        self.take(self.work(connection))


def tell(loop: asyncio.AbstractEventLoop, answers: Sequence[Answer[Any]]) -> None:
    """Let answers be settled in their loop, which is woken once for all of them."""

    def settle_all() -> None:
        for answer in answers:
            answer.settle()

    # The loop may be closed by now; then nobody waits, and the thread must still go on.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(settle_all)


class DatabaseThread:
    """Owns the connection: opens it, does the jobs in order, closes it.

    `commits` counts the transactions that wrote. `foreign_changes` counts how often one of them
    found that another connection had written since the one before.
    """

    def __init__(
        self, path: Path, layout: Layout, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """For a running loop, in which the answers will be told."""
        self._path = path
        self._layout = layout
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._asked: list[_Job[Any]] = []
        self._jobs: SimpleQueue[_Job[Any] | None] = SimpleQueue()
        self._last_wait_until: float | None = None  # set once it is to stop
        self.commits = 0
        self.foreign_changes = 0
        self._data_version = 0
        self._opened: Answer[None] = Answer()
        self._closed: Answer[None] = Answer()
        # A daemon, lest a disk that hangs keep the process from ending: commits are safe anyway.
        self._thread = Thread(target=self._live, name=layout.thread_name, daemon=True)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open the file, which is finished and closed when the block is left.

        Raises `HistoryUnusable` if the file cannot serve; it is left as it is then.
        """
        self._thread.start()
        try:
            await self._opened.future
            yield
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Finish what is queued and close. If cancelled, the thread does so all the same.

        What finds the file locked by another process for `BUSY_TIMEOUT_SECONDS` from now on fails.
        """
        if self._last_wait_until is None:
            self._last_wait_until = self._clock() + BUSY_TIMEOUT_SECONDS
        self._hand_over()
        self._jobs.put(None)
        await self._closed.future

    async def read(self, work: Work[Result]) -> Result:
        """Do work that changes nothing and return its result. Raises `HistoryError`."""
        return await self._ask(_Job(work, writes=False))

    async def write(self, work: Work[Result]) -> Result:
        """Do work in a transaction; return its result after the commit. Raises `HistoryError`.

        The work may be undone and done anew, so it must do nothing but use the connection.
        """
        return await self._ask(_Job(work, writes=True))

    async def empty_log(self) -> None:
        """Have the write-ahead log emptied, which would keep a copy of what was removed until it
        happens to be reused. If another process is reading, this does nothing; the next time does.
        """
        await self.read(_empty_log)

    async def leave_no_trace(self) -> None:
        """Write the whole file anew, and empty its log: pages from which something was moved before
        it was removed keep copies of it, for `secure_delete` overwrites only what is removed.

        It takes about as long as copying the file does, twice its room on the disk meanwhile, and
        others wait. Raises `HistoryError` if another process is reading, for then the log still has
        it, or if there is no room.
        """
        if not await self.read(_write_anew):
            raise still_read(self._layout.noun, self._path)

    async def check(self) -> None:
        """Read the whole file. Raises `HistoryUnusable` if any of it is damaged.

        It takes about as long as reading the file does, and others wait meanwhile.
        """
        finding = await self.read(_find_damage)
        if finding != "ok":
            raise damaged(self._layout.noun, self._path, finding)

    def _explain(self, error: Exception) -> Exception:
        return explain(error, self._layout.noun, self._path)

    def _ask(self, job: _Job[Result]) -> asyncio.Future[Result]:
        if self._last_wait_until is not None:
            raise HistoryError(f"The {self._layout.noun} {self._path} is closed.")
        # Together with all else that is asked in this turn of the loop: the thread would begin with
        # the first alone, and the others would wait for two commits.
        if not self._asked:
            self._loop.call_soon(self._hand_over)
        self._asked.append(job)
        return job.future

    def _hand_over(self) -> None:
        for job in self._asked:
            self._jobs.put(job)
        self._asked.clear()

    def _live(self) -> None:
        try:
            with closing(open_connection(self._path, self._layout)) as connection:
                self._data_version = read_pragma(connection, "data_version")
                self._opened.succeed(None)
                self._serve(connection)
        except Exception as error:  # noqa: BLE001 - whatever it is, `open` must not wait forever
            self._opened.fail(self._explain(error))
        finally:
            self._closed.succeed(None)

    def _serve(self, connection: sqlite3.Connection) -> None:
        while jobs := self._take():
            for writes, group in groupby(jobs, lambda job: job.writes):
                if writes:
                    self._write(connection, [*group])
                else:
                    for job in group:
                        self._read(connection, job)

    def _take(self) -> list[_Job[Any]]:
        """Wait for a job and take those that wait with it; none once there will be no more."""
        jobs: list[_Job[Any]] = []
        while (job := self._jobs.get()) is not None:
            jobs.append(job)
            if len(jobs) == MAX_JOBS_TAKEN or self._jobs.empty():
                return jobs
        if jobs:
            self._jobs.put(None)  # the end is met again, after these
        return jobs

    def _write(self, connection: sqlite3.Connection, jobs: Sequence[_Job[Any]]) -> None:
        try:
            self._limit_wait(connection)
            with transaction(connection):
                self._run_all(connection, jobs)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody must wait forever
            for job in jobs:
                job.refuse(self._explain(error))
        else:
            self.commits += 1
        tell(self._loop, jobs)

    def _run_all(self, connection: sqlite3.Connection, jobs: Sequence[_Job[Any]]) -> None:
        self._watch_for_others(connection)
        try:
            for job in jobs:
                job.run(connection)
        except Exception:
            # On some faults, a full disk among them, SQLite undoes the whole transaction at once.
            if not connection.in_transaction:
                raise
            connection.execute("ROLLBACK")
            self._limit_wait(connection)
            connection.execute("BEGIN IMMEDIATE")
            self._watch_for_others(connection)
            for job in jobs:
                self._run_alone(connection, job)

    def _limit_wait(self, connection: sqlite3.Connection) -> None:
        if self._last_wait_until is not None:
            left = min(max(self._last_wait_until - self._clock(), 0), BUSY_TIMEOUT_SECONDS)
            connection.execute(f"PRAGMA busy_timeout = {left * 1000:.0f}")

    def _watch_for_others(self, connection: sqlite3.Connection) -> None:
        version = read_pragma(connection, "data_version")
        self.foreign_changes += version != self._data_version
        self._data_version = version

    def _run_alone(self, connection: sqlite3.Connection, job: _Job[Any]) -> None:
        try:
            with _savepoint(connection):
                job.run(connection)
        except Exception as error:
            if not connection.in_transaction:
                raise
            job.refuse(self._explain(error))

    def _read(self, connection: sqlite3.Connection, job: _Job[Any]) -> None:
        try:
            self._limit_wait(connection)
            job.run(connection)
        except Exception as error:  # noqa: BLE001 - whatever it is, its caller must not wait forever
            job.refuse(self._explain(error))
        tell(self._loop, [job])


@contextmanager
def _savepoint(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("SAVEPOINT job")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK TO job")
            connection.execute("RELEASE job")
        raise
    connection.execute("RELEASE job")


def _empty_log(connection: sqlite3.Connection) -> bool:
    (is_busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not is_busy


def _write_anew(connection: sqlite3.Connection) -> bool:
    connection.execute("VACUUM")
    return _empty_log(connection)


def _find_damage(connection: sqlite3.Connection) -> str:
    (finding,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    return str(finding)
