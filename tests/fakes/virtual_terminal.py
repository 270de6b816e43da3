"""A terminal without a window: shows what a person would see of the text and codes written to it.

It knows the few codes that our terminal front end and its line editor write, and fails at any
other, so that nothing unforeseen reaches a person's terminal.
"""

import asyncio
import fcntl
import io
import os
import re
import struct
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.cells import cell_len

TOKEN = re.compile(r"\x1b\[(?P<arguments>[?\d;]*)(?P<code>[@A-Za-z])|(?P<text>[^\x1b])", re.DOTALL)


class VirtualTerminal(io.StringIO):
    """Some rows of cells and those that scrolled off above. Write to it as to any stream."""

    def __init__(
        self, width: int, height: int, reply: Callable[[str], None] = lambda _: None
    ) -> None:
        super().__init__()
        self.width, self.height = width, height
        self._reply = reply
        self._rows = [[" "] * width]
        self._top = 0  # the first row that is still on the screen
        self._row = self._column = 0
        self._wraps = True

    @property
    def lines(self) -> list[str]:
        """All rows ever written, without the space at their ends and without empty last ones."""
        lines = ["".join(row).rstrip() for row in self._rows]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    @property
    def is_blank_at_cursor(self) -> bool:
        """Whether the cursor is at the start of an empty row, fit for a prompt."""
        return self._column == 0 and not "".join(self._rows[self._row]).strip()

    def write(self, text: str) -> int:
        """Do what a terminal does with a text."""
        end = 0
        for match in TOKEN.finditer(text):
            assert match.start() == end, f"unknown code: {text[end : match.start()]!r}"
            end = match.end()
            if match["text"]:
                self._put(match["text"])
            else:
                self._control(match["arguments"], match["code"])
        assert end == len(text), f"unknown code: {text[end:]!r}"
        return len(text)

    def _put(self, character: str) -> None:
        match character:
            case "\n":
                self._column = 0
                self._go_down()
            case "\r":
                self._column = 0
            case "\b":
                self._column = max(0, self._column - 1)
            case _:
                assert character.isprintable(), f"{character!r} reached the terminal"
                self._put_printable(character)

    def _put_printable(self, character: str) -> None:
        cells = cell_len(character)
        if self._column + cells > self.width:
            self._column = 0 if self._wraps else self.width - cells
            if self._wraps:
                self._go_down()
        row = self._rows[self._row]
        row[self._column : self._column + cells] = [character, *[""] * (cells - 1)]
        self._column += cells

    def _go_down(self) -> None:
        self._row += 1
        if self._row == len(self._rows):
            self._rows.append([" "] * self.width)
        self._top = max(self._top, self._row - self.height + 1)

    def _control(self, arguments: str, code: str) -> None:
        count = int(arguments or "1") if arguments.isdigit() or not arguments else 0
        match code:
            case "A":
                self._row = max(self._top, self._row - count)
            case "C":
                self._column = min(self.width - 1, self._column + count)
            case "D":
                self._column = max(0, min(self._column, self.width - 1) - count)
            case "J" | "K":
                self._erase(is_line_only=code == "K")
            case "n":
                self._reply(f"\x1b[{self._row - self._top + 1};{self._column + 1}R")
            case "h" | "l":
                self._wraps = code == "h" if arguments == "?7" else self._wraps
            case _:
                assert code == "m", f"unknown code: {arguments}{code}"

    def _erase(self, *, is_line_only: bool) -> None:
        row = self._rows[self._row]
        row[self._column :] = [" "] * (self.width - self._column)
        if not is_line_only:
            del self._rows[self._row + 1 :]


class Window:
    """A virtual terminal at the other end of a pseudo-terminal, whose keys a test presses."""

    def __init__(self, master: int, stdin: TextIO, stdout: TextIO, width: int, height: int) -> None:
        self._master = master
        self.stdin, self.stdout = stdin, stdout
        self.terminal = VirtualTerminal(width, height, reply=self.press)
        self._drawn = asyncio.Event()

    def press(self, keys: str) -> None:
        """Type something, given as a terminal sends it."""
        os.write(self._master, keys.encode())

    def draw(self) -> None:
        """Take what was written to the terminal."""
        try:
            # The master sees the carriage returns that the terminal's driver has added.
            self.terminal.write(os.read(self._master, 65_536).decode().replace("\r\n", "\n"))
        finally:
            self._drawn.set()

    async def wait_for(self, is_so: Callable[[list[str]], bool]) -> list[str]:
        """Return the lines as soon as something is so of them."""
        try:
            async with asyncio.timeout(20):
                while not is_so(self.terminal.lines):
                    self._drawn.clear()
                    await self._drawn.wait()
        except TimeoutError:
            raise AssertionError("\n".join(self.terminal.lines)) from None
        return self.terminal.lines

    async def wait_for_line(self, line: str) -> list[str]:
        """Return the lines as soon as the last one is this."""
        return await self.wait_for(lambda lines: lines[-1:] == [line])


@contextmanager
def open_window(width: int = 60, height: int = 12) -> Iterator[Window]:
    """Open a pseudo-terminal of that size. Needs a running loop."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    loop = asyncio.get_running_loop()
    with (
        os.fdopen(master, "wb", buffering=0),
        os.fdopen(slave, "r") as stdin,
        os.fdopen(os.dup(slave), "w") as stdout,
    ):
        window = Window(master, stdin, stdout, width, height)
        loop.add_reader(master, window.draw)
        try:
            yield window
        finally:
            loop.remove_reader(master)
