"""Bytes to payloads: where one event of a stream ends and the next begins. Pure, no I/O.

Each decoder is fed whatever a read returned, cut anywhere, and returns the payloads that are whole
by now. What they mean is the caller's matter, `[DONE]` included.
"""

from typing import Protocol

from acore_bot.errors import BrokenStream

MAX_EVENT_BYTES = 1024 * 1024
MAX_BODY_BYTES = 8 * 1024 * 1024  # OpenRouter's list of models has several


class PayloadDecoder(Protocol):
    """Cuts a stream of bytes into payloads."""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the payloads that `data` completes. Raises `BrokenStream` beyond the bound."""
        ...

    def close(self) -> list[bytes]:
        """Return what the end of the stream completes."""
        ...


class SSEDecoder:
    """Server-sent events: the `data:` lines of each event, joined; everything else is ignored."""

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_bytes = max_event_bytes
        self._parts: list[bytes] = []  # of the line that has not ended
        self._parts_bytes = 0
        self._lines: list[bytes] = []  # of the event that has not ended
        self._lines_bytes = 0
        self._after_return = False

    def feed(self, data: bytes) -> list[bytes]:
        """Return the payloads that `data` completes. Raises `BrokenStream` beyond the bound."""
        if data and (self._after_return or b"\r" in data):
            data = self._with_plain_newlines(data)
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines and self._parts:
            lines[0] = b"".join((*self._parts, lines[0]))
            self._parts, self._parts_bytes = [], 0
        payloads = self._events(lines)
        if rest:
            self._parts.append(rest)
            self._parts_bytes += len(rest)
            self._check(self._parts_bytes + self._lines_bytes)
        return payloads

    def close(self) -> list[bytes]:
        """Return nothing: an event that no blank line ended does not count."""
        return []

    def _events(self, lines: list[bytes]) -> list[bytes]:
        payloads: list[bytes] = []
        pending = self._lines
        for line in lines:
            if line.startswith(b"data:"):
                text = line[6:] if line[5:6] == b" " else line[5:]
                pending.append(text)
                self._lines_bytes += len(text) + 1
                if self._lines_bytes > self._max_bytes:  # the call alone would cost more
                    self._check(self._lines_bytes)
            elif not line and pending:
                payloads.append(pending[0] if len(pending) == 1 else b"\n".join(pending))
                pending.clear()
                self._lines_bytes = 0
        return payloads

    def _with_plain_newlines(self, data: bytes) -> bytes:
        # A return at the end of one read and the newline at the head of the next are one line end.
        if self._after_return and data.startswith(b"\n"):
            data = data[1:]
        self._after_return = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _check(self, size: int) -> None:
        if size > self._max_bytes:
            raise BrokenStream(detail=f"one event is longer than {self._max_bytes} bytes")


class NDJSONDecoder:
    """One JSON object a line; empty lines are ignored."""

    def __init__(self, *, max_line_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_bytes = max_line_bytes
        self._parts: list[bytes] = []
        self._parts_bytes = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that `data` completes. Raises `BrokenStream` beyond the bound."""
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines and self._parts:
            lines[0] = b"".join((*self._parts, lines[0]))
            self._parts, self._parts_bytes = [], 0
        if rest:
            self._parts.append(rest)
            self._parts_bytes += len(rest)
        self._check(max(self._parts_bytes, *map(len, lines)) if lines else self._parts_bytes)
        return [line for line in lines if line and not line.isspace()]

    def close(self) -> list[bytes]:
        """Return the last line, which may lack its newline."""
        rest, self._parts = b"".join(self._parts), []
        return [rest] if rest.strip() else []

    def _check(self, size: int) -> None:
        if size > self._max_bytes:
            raise BrokenStream(detail=f"one line is longer than {self._max_bytes} bytes")


class BodyDecoder:
    """A body that is one payload as a whole."""

    def __init__(self, *, max_bytes: int = MAX_BODY_BYTES) -> None:
        self._max_bytes = max_bytes
        self._body = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Keep `data`. Raises `BrokenStream` beyond the bound."""
        self._body += data
        if len(self._body) > self._max_bytes:
            raise BrokenStream(detail=f"the body is longer than {self._max_bytes} bytes")
        return []

    def close(self) -> list[bytes]:
        """Return the body."""
        body, self._body = bytes(self._body), bytearray()
        return [body] if body else []
