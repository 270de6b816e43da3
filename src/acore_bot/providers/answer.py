"""One answer, read under time limits: from an open response to deltas and one end.

Nothing here costs anything per chunk that can be had per stream. So the time limits are one timer
a stream, which looks now and then at when the last bytes came, and a piece that is decoded already
is handed out without a glance at the clock.
"""

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from typing import Protocol, Self

from aiohttp import ClientError, ClientResponse, StreamReader

from acore_bot.errors import ModelError, TimedOut
from acore_bot.messages import Delta, End, FinishReason, StreamLimits
from acore_bot.providers.border import Border
from acore_bot.providers.performance import Measurement

_SETTLE_SECONDS = 0.25  # far less than a new connection to a cloud takes


class AnswerDecoder(Protocol):
    """Makes an answer's bytes into deltas and keeps what its end will need."""

    finish_reason: FinishReason | None  # set as soon as the server has told it
    complete: bool  # nothing more is to be waited for
    characters: int  # taken so far, shown or not

    def feed(self, data: bytes, pieces: deque[Delta | End]) -> None:
        """Append the deltas that `data` completes. Raises `ModelError`."""
        ...

    def close(self, pieces: deque[Delta | End]) -> None:
        """Append the deltas that were held back. Raises `ModelError`."""
        ...

    def end(self, finish_reason: FinishReason) -> End:
        """Return the last piece."""
        ...


@asynccontextmanager
async def open_answer(
    response: ClientResponse,
    decoder: AnswerDecoder,
    limits: StreamLimits,
    border: Border,
    measurement: Measurement,
    *,
    started: float,
    deadline: float | None,
) -> AsyncIterator["AnswerStream"]:
    """Hand out the pieces of an answer whose headers came, and close it however the block is left.

    `started` and `deadline` are in the loop's seconds.
    """
    answer = AnswerStream(
        response, decoder, limits, border, measurement, started=started, deadline=deadline
    )
    with closing(answer):
        measurement.note_open()
        yield answer
        await answer.settle()


class AnswerStream:
    """The pieces of one answer: deltas, then one `End`, then nothing.

    A connection that is lost before the finish reason ends the answer as `truncated`. Raises the
    errors of the decoder, and `TimedOut`. Whoever makes one must `close` it.
    """

    def __init__(
        self,
        response: ClientResponse,
        decoder: AnswerDecoder,
        limits: StreamLimits,
        border: Border,
        measurement: Measurement,
        *,
        started: float,
        deadline: float | None = None,
    ) -> None:
        self._response = response
        self._decoder = decoder
        self._limits = limits
        self._border = border
        self._measurement = measurement
        self._pieces: deque[Delta | End] = deque()
        self._fault: ModelError | None = None
        self._ended = False
        self._loop = asyncio.get_running_loop()
        self._started = started  # these are all in the loop's seconds
        self._deadline = math.inf if deadline is None else deadline
        self._asked = started  # when the consumer last found nothing decoded
        self._reading: float | None = None  # since when a read is under way
        self._finished: float | None = None  # when the finish reason came
        self._got_bytes = False
        self._got_delta = False
        self._expired = ""
        self._timer = self._loop.call_at(self._next_look(started)[0], self._watch)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delta | End:
        if self._pieces:
            return self._pieces.popleft()
        self._asked = self._loop.time()
        while not self._ended:
            await self._read()
            if self._pieces:
                return self._pieces.popleft()
        if self._fault is not None:
            fault, self._fault = self._fault, None
            raise fault
        raise StopAsyncIteration

    async def settle(self) -> None:
        """Take the few bytes that may follow a complete answer, so its connection can be kept."""
        if not self._decoder.complete or self._response.closed:
            return
        with suppress(TimeoutError, ClientError, OSError):
            async with asyncio.timeout(_SETTLE_SECONDS):
                while await self._response.content.readany():
                    pass

    def close(self) -> None:
        """Stop the answer upstream: a connection with bytes to come is closed, not kept."""
        self._ended = True
        self._timer.cancel()
        self._response.close()

    async def _read(self) -> None:
        is_lost = False
        self._reading = self._loop.time()
        try:
            data = await self._response.content.readany()
        except (ClientError, OSError):  # lost, which is what an early end means too
            data, is_lost = _left_in(self._response.content), True
            self._response.close()
        finally:
            self._reading = None
        try:
            if data:
                self._take(data)
            if (is_lost or not data) and not self._ended:
                self._finish()
        except ModelError as fault:
            self._fault = fault
            self._measurement.note_error(fault)
            self._stop()

    def _take(self, data: bytes) -> None:
        decoder = self._decoder
        decoder.feed(data, self._pieces)
        if decoder.complete:
            self._finish()
        elif decoder.characters > self._limits.max_characters:
            self._stop(decoder.end("length"))
        elif not self._got_delta or (decoder.finish_reason and self._finished is None):
            self._note_progress()

    def _note_progress(self) -> None:
        if self._pieces and not self._got_delta:
            self._got_delta = True
            self._measurement.note_first_delta()
        is_finished = self._decoder.finish_reason is not None and self._finished is None
        if is_finished:
            self._finished = self._loop.time()
        if is_finished or not self._got_bytes:
            self._got_bytes = True
            self._look_again()  # another, shorter limit is in force from here on

    def _finish(self) -> None:
        if self._expired and self._decoder.finish_reason is None:
            raise self._border.error(TimedOut, self._expired)
        self._decoder.close(self._pieces)
        self._stop(self._decoder.end(self._decoder.finish_reason or "truncated"))

    def _stop(self, end: End | None = None) -> None:
        if self._pieces and not self._got_delta:
            self._measurement.note_first_delta()
        if end is not None:
            self._measurement.note_end(end)
            self._pieces.append(end)
        self._ended = True
        self._timer.cancel()
        if not self._decoder.complete:
            self._response.close()

    def _watch(self) -> None:
        due, limit = self._next_look(self._loop.time())
        if due > self._loop.time():
            self._timer = self._loop.call_at(due, self._watch)
        else:
            self._expired = limit
            self._response.close()  # so the read that is under way fails, and no one else is hurt

    def _look_again(self) -> None:
        self._timer.cancel()
        self._watch()

    def _next_look(self, now: float) -> tuple[float, str]:
        limits = self._limits
        over = min(self._started + limits.total_seconds, self._deadline)
        looks = [(over, "the whole answer took too long")]
        if self._finished is not None:
            looks.append((self._finished + limits.linger_seconds, "nothing after the last word"))
        # Only waiting counts: a consumer that is busy elsewhere must not look like a silent server.
        reading, asked = (self._reading, self._asked) if self._reading is not None else (now, now)
        if self._got_bytes:
            looks.append((reading + limits.gap_seconds, "no byte came for too long"))
        else:
            first = self._started if self._reading is not None else now
            looks.append((first + limits.first_byte_seconds, "the first byte took too long"))
        looks.append((asked + limits.progress_seconds, "no text came for too long"))
        return min(looks)


def _left_in(content: StreamReader) -> bytes:
    """Return what had come before the connection was lost, which aiohttp keeps from its readers."""
    content.set_exception(None)  # type: ignore[arg-type]
    return content.read_nowait()
