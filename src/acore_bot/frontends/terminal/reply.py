"""One answer on the screen while it grows.

Pieces that can no longer change are written once and stay; the rest is drawn anew with each edit.
A block of code that outgrows the screen stays line by line. Any other block that does, such as a
long table, shows its last lines until it is complete, and then stays whole.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import chain

from msgspec import Struct
from rich.spinner import Spinner
from rich.text import Text

from acore_bot.errors import FileUnreadable
from acore_bot.frontends.terminal.only_place import OnlyPlace
from acore_bot.frontends.terminal.rendering import Piece, RenderedMarkdown, split
from acore_bot.frontends.terminal.screen import Line, Screen
from acore_bot.messages import Attachment, Control, SnowflakeSequence, printable

MIN_EDIT_INTERVAL_SECONDS = 0.05
SPINNER_INTERVAL_SECONDS = 0.08
REST_PER_WORK = 10  # drawing takes about a tenth of the time at most
MAX_LIVE_CODE_LINES = 10  # few, lest a terminal that is made narrower lose them off its top
EMPTY_LINE = Line("", "")


class Pace(Struct, frozen=True):
    """What measures and waits, in seconds."""

    monotonic: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]


class InteractiveReply(OnlyPlace):
    """A reply target that shows messages one below the other, the newest while it grows.

    `activity` says what goes on before there is text.
    """

    max_length = None

    def __init__(
        self,
        snowflakes: SnowflakeSequence,
        screen: Screen,
        pace: Pace,
        activity: Callable[[], str],
    ) -> None:
        self._snowflakes = snowflakes
        self._screen = screen
        self._pace = pace
        self._activity = activity
        self._message_id: int | None = None
        self._is_waiting = False
        self._rested_at = -math.inf  # when the next drawing is due, of a monotonic clock
        self._answer = GrowingAnswer(screen)

    @asynccontextmanager
    async def typing(self) -> AsyncIterator[None]:
        """Show a spinner until there is text or the block is left."""
        self._is_waiting = self._message_id is None
        spinning = asyncio.get_running_loop().create_task(self._spin())
        try:
            yield
        finally:
            spinning.cancel()
            await asyncio.wait([spinning])
            if self._is_waiting:
                self._is_waiting = False
                self._screen.show([])

    async def _spin(self) -> None:
        spinner = Spinner("dots", style="dim")
        while self._is_waiting:
            spinner.update(text=Text(self._activity(), style="dim"))
            frame = spinner.render(self._pace.monotonic())
            lines = self._screen.render(frame, self._screen.size.columns)
            self._screen.show([], [EMPTY_LINE, *lines])
            await self._pace.sleep(SPINNER_INTERVAL_SECONDS)

    async def post(
        self,
        text: str,
        *,
        final: bool = False,
        controls: Sequence[Control] = (),  # noqa: ARG002
    ) -> int:
        """Show a new message below all others and return its id."""
        message_id = self._begin(self._snowflakes.next())
        self._draw(text, final=final)
        return message_id

    async def ready(self, message_id: int, *, final: bool = False) -> None:  # noqa: ARG002
        """Return after a rest from the last drawing, at once if final."""
        rest_seconds = self._rested_at - self._pace.monotonic()
        if not final and rest_seconds > 0:
            await self._pace.sleep(rest_seconds)

    async def edit(
        self,
        message_id: int,
        text: str,
        *,
        final: bool = False,
        controls: Sequence[Control] = (),  # noqa: ARG002
    ) -> None:
        """Show a message's newer text. One that is no longer the newest cannot be changed and is
        shown anew."""
        if message_id != self._message_id:
            self._begin(message_id)
        began = self._pace.monotonic()
        self._draw(text, final=final)
        ended = self._pace.monotonic()
        self._rested_at = ended + max(MIN_EDIT_INTERVAL_SECONDS, REST_PER_WORK * (ended - began))

    async def attach(
        self,
        text: str,
        file_name: str,  # noqa: ARG002
        content: str,
        *,
        controls: Sequence[Control] = (),  # noqa: ARG002
    ) -> int:
        """Show a new message with what the file would hold: a terminal has room for it."""
        return await self.post(f"{text}\n\n{content}", final=True)

    async def fetch(self, attachment: Attachment) -> bytes:
        """Raise `FileUnreadable`: nothing is attached to what is typed."""
        raise FileUnreadable(f"{attachment.name} cannot be fetched in a terminal.")

    def settle(self) -> None:
        """Leave everything that is shown as it is, below it an empty line."""
        self._answer.finish()
        self._message_id = None
        self._screen.show([EMPTY_LINE])

    def _begin(self, message_id: int) -> int:
        self._is_waiting = False
        self._answer.finish()
        self._answer = GrowingAnswer(self._screen)
        self._message_id = message_id
        return message_id

    def _draw(self, text: str, *, final: bool) -> None:
        # Models may begin with empty lines, which a final text does without.
        self._answer.draw(printable(text).lstrip())
        if final:
            self._answer.finish()
            self._message_id = None


class GrowingAnswer:
    """What is on the screen of one message.

    `_settled_text` stays. What is before `_settled_chars` of it is not looked at again; of the
    pieces after that, the first `_settled_pieces` stay, and then `_settled_lines` lines of code.
    """

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._text = ""
        self._forget()

    def _forget(self) -> None:
        self._settled_text = ""
        self._settled_chars = 0
        self._settled_pieces = 0
        self._settled_lines = 0
        self._code_width = 0

    def draw(self, text: str) -> None:
        """Show this text. If it does not continue what stays already, show it below."""
        if not text.startswith(self._settled_text):
            self.finish()
            self._forget()
        self._text = text
        tail = text[self._settled_chars :]
        whole_lines = tail[: tail.rfind("\n") + 1]
        # The last piece may still change, and so may the one before while a line is unfinished.
        self._show(tail, max(self._settled_pieces, len(split(whole_lines)) - 1))

    def finish(self) -> None:
        """Let all that is shown stay."""
        tail = self._text[self._settled_chars :]
        self._show(tail, len(split(tail)))

    def _show(self, tail: str, closed: int) -> None:
        """Write the first `closed` pieces of a tail to stay, and the others to change."""
        pieces = split(tail)
        width, height = self._screen.size
        # Lines of one block of code that have two widths could not be told apart.
        width = self._code_width or width
        shown = [_render(self._screen, piece, width) for piece in pieces[self._settled_pieces :]]
        shown[:1] = [lines[self._settled_lines :] for lines in shown[:1]]
        if closed > self._settled_pieces:
            self._settled_lines = self._code_width = 0
        settled = list(chain.from_iterable(shown[: closed - self._settled_pieces]))
        live = list(chain.from_iterable(shown[closed - self._settled_pieces :]))
        excess = len(live) - min(height - 1, MAX_LIVE_CODE_LINES)
        if excess > 0 and len(pieces) == closed + 1 and pieces[closed].is_fence:
            settled, live = settled + live[:excess], live[excess:]
            self._settled_lines += excess
            self._code_width = width
        self._screen.show(settled, live)
        self._settle(tail, pieces, closed)

    def _settle(self, tail: str, pieces: Sequence[Piece], closed: int) -> None:
        """Remember what stays. The last block of it is looked at again: the next may follow it."""
        self._settled_pieces = closed
        if closed == 0:
            return
        lines = tail.split("\n")
        block_line = pieces[closed - 1].block_line
        end_line = pieces[closed].first_line if closed < len(pieces) else len(lines)
        self._settled_text = self._text[: self._settled_chars + _count_chars(lines[:end_line])]
        self._settled_chars += _count_chars(lines[:block_line])
        self._settled_pieces -= sum(piece.block_line < block_line for piece in pieces)


def _count_chars(lines: Sequence[str]) -> int:
    return sum(len(line) + 1 for line in lines)


def _render(screen: Screen, piece: Piece, width: int) -> list[Line]:
    lines = screen.render(RenderedMarkdown(piece), width)
    if piece.is_table:
        lines = [line for line in lines if line.plain.strip()]
    elif piece.begins_with_space and lines and not lines[0].plain:
        del lines[0]
    return lines if piece.follows_closely else [EMPTY_LINE, *lines]
