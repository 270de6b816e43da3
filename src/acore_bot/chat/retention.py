"""Removes what is older than owners want to keep, and what is left in files of all that anybody had
removed, at start and every hour."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

from acore_bot.chat.policy import Policies
from acore_bot.contracts import Answers, History
from acore_bot.errors import HistoryError

log = logging.getLogger(__name__)

HOUR_SECONDS = 3600.0


class Retention:
    """Sweeps while its block is open. `now` is the time of day in UTC."""

    def __init__(
        self,
        policies: Policies,
        history: History,
        answers: Answers,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._policies = policies
        self._history = history
        self._answers = answers
        self._now = now
        self._sleep = sleep
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.run(), name="retention")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def run(self) -> None:
        """Sweep now and every hour, until cancelled. A sweep that fails is made up for by the
        next."""
        while True:
            try:
                await self.sweep()
            except HistoryError as error:
                log.error("what is too old could not be looked for: %s", error)
            except Exception:
                # Whatever it is, what is too old must not stay for ever.
                log.exception("what is too old could not be looked for")
            await self._sleep(HOUR_SECONDS)

    async def sweep(self) -> None:
        """Remove what is too old now, and then what is left in files of this and of all that others
        removed since the sweep before. A conversation where that fails harms no other. Raises
        `HistoryError` if the conversations cannot be named."""
        places = await self._answers.places()
        names = {known.conversation for known in await self._history.conversations()}
        for name in sorted(names.union(places)):
            place = places.get(name)
            policy = self._policies.default if place is None else self._policies.of(place)
            if policy.retention_days is not None:
                await self._expire(name, timedelta(days=policy.retention_days))
        await self._leave_no_trace()

    async def _leave_no_trace(self) -> None:
        for kept in (self._history, self._answers):
            try:
                await kept.leave_no_trace()
            except HistoryError as error:
                log.warning("what was removed may have left traces until the next hour: %s", error)

    async def _expire(self, conversation: str, age: timedelta) -> None:
        before = self._now() - age
        try:
            messages = await self._history.expire(conversation, before)
            records = await self._answers.expire(conversation, before)
        except HistoryError as error:
            log.error("what is too old in %s could not be removed: %s", conversation, error)
            return
        if messages or records:
            log.info(
                "removed from %s, for their age: %s messages, %s records of answers",
                conversation,
                messages,
                records,
            )
