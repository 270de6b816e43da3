"""An answer on the screen while it grows: whole, once, and nothing left over."""

import asyncio
import time
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console
from tests.fakes.virtual_terminal import VirtualTerminal

from acore_bot.errors import FileUnreadable
from acore_bot.frontends.terminal.rendering import RenderedMarkdown
from acore_bot.frontends.terminal.reply import GrowingAnswer, InteractiveReply, Pace
from acore_bot.frontends.terminal.screen import Screen
from acore_bot.messages import Attachment, SnowflakeSequence, printable

LONG_CODE = (
    "Code:\n\n```python\n" + "".join(f"x{i} = {i}\n" for i in range(40)) + "```\n\nSo.\n\nDone."
)
LONG_TABLE = "|n|m|\n|-|-|\n" + "".join(f"|{i}|{'w' * i}|\n" for i in range(20)) + "\nDone."
LONG_LIST = "".join(f"1. item {i}\n   - nested\n" for i in range(12)) + "\nDone."
LONG_VERSE = "\n".join(f"verse {i}" for i in range(30))

FRAGMENTS = st.sampled_from(
    (
        *("# h", "- a\n", "- ", "1. x\n", "9) y\n", "```py\n", "```\n", "~~~\n", "    code\n"),
        *("\n", "\n\n", "> q\n", "> ", "---\n", "===\n", "word ", "some words that wrap ", "\t"),
        *("**bo", "ld**", "`c`", "[l](http://x)", "[l]", "[l]: /u\n", "<b>", "</kbd>", "![i](u)"),
        *("&#27;", "&#10;", "~~s~~", "*", "_", "  ", "\\", "é", "漢字", "🙂", "[red]x[/red]"),
        *("*[stopped]*\n", "\x1b[2J", "\x07", "\x9b1A", "\r\n"),
        *("|a|b|\n", "|-|-|\n", "|1|2|\n", "|--|:-:|\n"),
    )
)
MARKDOWN = st.lists(FRAGMENTS, max_size=30).map("".join)


def make_screen(width: int, height: int, **environment: str) -> tuple[Screen, VirtualTerminal]:
    """Return a screen and the terminal that it draws on."""
    terminal = VirtualTerminal(width, height)
    console = Console(
        file=terminal,
        force_terminal=True,
        width=width,
        height=height,
        highlight=False,
        _environ={"TERM": "xterm-256color"} | environment,
    )
    return Screen(terminal, console), terminal


def grow(texts: Sequence[str], width: int, height: int) -> list[str]:
    """Show each text in turn and return all lines of the terminal at the end."""
    screen, terminal = make_screen(width, height)
    answer = GrowingAnswer(screen)
    for text in texts:
        answer.draw(text)
    answer.finish()
    assert terminal.is_blank_at_cursor
    return terminal.lines


def prefixes(text: str, steps: Sequence[int]) -> list[str]:
    """Return the text as it grows, by these numbers of characters, over and over."""
    ends: list[int] = []
    end = 0
    while end < len(text):
        end += steps[len(ends) % len(steps)]
        ends.append(end)
    return [text[:end] for end in ends]


@settings(deadline=None)
@example("see [l] here\n\n- a\n- b\n\n[l]: /u\n\nthe end\n\n", [1], 40, 10)
@given(
    MARKDOWN,
    st.lists(st.integers(1, 30), min_size=1),
    st.integers(20, 60),
    st.integers(3, 12),
)
def test_streamed_in_any_pieces_it_ends_as_rendered_at_once(
    markdown: str, steps: list[int], width: int, height: int
) -> None:
    """Whatever the pieces and however small the screen, each line is there, and once."""
    text = printable(markdown)
    assert grow(prefixes(text, steps), width, height) == grow([text], width, 1000)


@settings(deadline=None)
@given(MARKDOWN, st.integers(20, 60))
def test_pieces_together_are_the_whole(markdown: str, width: int) -> None:
    """Rendering in pieces changes no line of the text; only empty lines are set otherwise."""
    text = printable(markdown)
    screen, terminal = make_screen(width, 1000)
    screen.show(screen.render(RenderedMarkdown(text), width))
    whole = [line for line in terminal.lines if line]
    assert [line for line in grow([text], width, 1000) if line] == whole


@pytest.mark.parametrize("text", [LONG_CODE, LONG_TABLE, LONG_LIST, LONG_VERSE])
@pytest.mark.parametrize("step", [1, 7, 100])
def test_an_answer_taller_than_the_screen_is_whole_and_there_once(text: str, step: int) -> None:
    """Code, tables, lists and verses of several screens lose no line and repeat none."""
    assert grow(prefixes(text, [step]), 30, 8) == grow([text], 30, 1000)


def test_code_taller_than_the_screen_scrolls_while_it_grows() -> None:
    """The first lines of a long block of code need not wait for its end."""
    screen, terminal = make_screen(30, 8)
    GrowingAnswer(screen).draw(LONG_CODE[:200])
    assert " x0 = 0" in terminal.lines
    assert " x5 = 5" in terminal.lines


def test_a_table_taller_than_the_screen_shows_its_last_lines_while_it_grows() -> None:
    """A table may become wider with each row, so that nothing of it can stay before its end."""
    screen, terminal = make_screen(30, 6)
    GrowingAnswer(screen).draw(LONG_TABLE.removesuffix("\nDone."))
    assert len(terminal.lines) == 5
    assert terminal.lines[-1].split() == ["19", "w" * 19]


def test_lines_look_as_they_should() -> None:
    """Headings stand at the left, lists are numbered, links show where they lead, and HTML and
    rich's own markup stay as they were written."""
    text = (
        "# T\nroses\nviolets\n\n9. a\n9. b\n   - [l](http://x)\n   - ![i](http://x)\n> q\n\n"
        "<b>x</b> [red]y[/red]"
    )
    assert grow([text], 40, 20) == [
        "",
        "T",
        "",
        "roses",
        "violets",
        "",
        " 9. a",
        "10. b",
        "     • l (http://x)",
        "     • !i (http://x)",
        "",
        "▌ q",
        "",
        "<b>x</b> [red]y[/red]",
    ]


def test_no_line_ends_in_space_that_nobody_sees() -> None:
    """Such space would be copied with the text, and wrapped by a terminal made narrower."""
    screen, _ = make_screen(40, 20)
    lines = screen.render(RenderedMarkdown("# a\n\nb c\n\n- d\n  - e\n\n> f\n\n1. g"), 40)
    assert [line.plain for line in lines] == [line.plain.rstrip() for line in lines]


def test_a_text_that_does_not_continue_what_stays_is_shown_below() -> None:
    """What has scrolled away cannot be unsaid, so another text begins anew."""
    lines = grow(["one\n\n- two\n- three\n- four", "one\n\nother"], 40, 10)
    assert lines == ["", "one", "", " • two", " • three", " • four", "", "one", "", "other"]


def test_a_dumb_terminal_gets_only_lines_that_stay() -> None:
    """Where the cursor cannot be moved, nothing is drawn twice, and there is no colour."""
    screen, terminal = make_screen(30, 8, TERM="dumb")
    answer = GrowingAnswer(screen)
    for text in prefixes(LONG_LIST, [5]):
        answer.draw(text)
    assert "Done." not in terminal.lines
    answer.finish()
    assert terminal.lines == grow([LONG_LIST], 30, 1000)


def test_a_narrower_terminal_keeps_what_stays_and_redraws_the_rest() -> None:
    """The rows that live lines fill are counted as the terminal breaks them now."""
    screen, terminal = make_screen(40, 10)
    answer = GrowingAnswer(screen)
    answer.draw("first\n\n" + "w" * 30)
    assert terminal.lines == ["", "first", "", "w" * 30]
    screen.console.size = (20, 10)
    # A terminal that becomes narrower breaks its lines: here are two rows where one was.
    terminal.write("\r\x1b[J" + "w" * 20 + "\n" + "w" * 10)
    answer.draw("first\n\n" + "v" * 30)
    answer.finish()
    assert terminal.lines == ["", "first", "", "v" * 20, "v" * 10]


class FakeTime:
    """A clock that goes on only by being asked, and a sleep that takes no time."""

    def __init__(self, seconds_per_reading: float = 0.0) -> None:
        self._now = 0.0
        self._step = seconds_per_reading
        self.slept: list[float] = []
        self.ticked = asyncio.Event()

    def monotonic(self) -> float:
        """Return the time, later with each reading."""
        self._now += self._step
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Remember for how long, and let others go on."""
        self.slept.append(seconds)
        self.ticked.set()
        await asyncio.sleep(0)

    @property
    def pace(self) -> Pace:
        """Both, as a reply takes them."""
        return Pace(monotonic=self.monotonic, sleep=self.sleep)


def make_reply(
    fake_time: FakeTime, activity: Sequence[str] = ("thinking…",)
) -> tuple[InteractiveReply, VirtualTerminal]:
    """Return a reply and the terminal that shows it. Each of the activities is told once."""
    screen, terminal = make_screen(40, 10)
    remaining = list(activity)
    reply = InteractiveReply(
        SnowflakeSequence(time.time),
        screen,
        fake_time.pace,
        lambda: remaining.pop(0) if len(remaining) > 1 else remaining[0],
    )
    return reply, terminal


@pytest.mark.parametrize(("drawing_seconds", "rest"), [(0.001, 0.05), (0.25, 2.5)])
async def test_a_drawing_rests_ten_times_as_long_as_the_last_one_took(
    drawing_seconds: float, rest: float
) -> None:
    """Drawing takes a tenth of the time at most, and 50 ms pass between two edits at least."""
    fake_time = FakeTime(drawing_seconds)
    reply, _ = make_reply(fake_time)
    message_id = await reply.post("a")
    await reply.ready(message_id)
    await reply.edit(message_id, "ab")
    assert fake_time.slept == []
    await reply.ready(message_id)
    assert len(fake_time.slept) == 1
    assert rest - drawing_seconds <= fake_time.slept[0] <= rest


async def test_a_final_edit_does_not_rest() -> None:
    """Nothing follows a final edit, so nobody waits before it."""
    fake_time = FakeTime()
    reply, terminal = make_reply(fake_time)
    message_id = await reply.post("a")
    await reply.edit(message_id, "a whole")
    await reply.ready(message_id, final=True)
    await reply.edit(message_id, "a whole answer", final=True)
    assert fake_time.slept == []
    assert terminal.lines == ["", "a whole answer"]
    assert terminal.is_blank_at_cursor


async def test_a_file_is_shown_as_text() -> None:
    """A terminal has room for what other places put into a file."""
    reply, terminal = make_reply(FakeTime())
    await reply.post("one", final=True)
    assert await reply.attach("All of it:", "answer.md", "**two**") > 0
    assert terminal.lines == ["", "one", "", "All of it:", "", "two"]


async def test_nothing_can_be_fetched() -> None:
    """What is typed comes without files, and messages have no greatest length."""
    reply, _ = make_reply(FakeTime())
    assert reply.max_length is None
    with pytest.raises(FileUnreadable, match=r"a\.txt"):
        await reply.fetch(
            Attachment(id=1, name="a.txt", media_type="text/plain", size=1, url="file:a.txt")
        )


async def test_a_spinner_turns_until_there_is_text() -> None:
    """It tells what goes on, moves, and leaves nothing behind."""
    fake_time = FakeTime(0.1)
    reply, terminal = make_reply(fake_time, ["thinking…", "loading m…"])
    async with reply.typing():
        await fake_time.ticked.wait()
        assert terminal.lines[1].endswith(" thinking…")
        first = terminal.lines
        fake_time.ticked.clear()
        await fake_time.ticked.wait()
        assert terminal.lines[1].endswith(" loading m…")
        assert first[1][0] != terminal.lines[1][0]
    assert terminal.lines == []
    await reply.post("hello", final=True)
    assert terminal.lines == ["", "hello"]


async def test_text_ends_the_spinner_even_while_typing_goes_on() -> None:
    """Once there is text, nothing is drawn over it."""
    fake_time = FakeTime()
    reply, terminal = make_reply(fake_time)
    async with reply.typing():
        await fake_time.ticked.wait()
        await reply.post("hello", final=True)
        for _ in range(5):
            await asyncio.sleep(0)
        assert terminal.lines == ["", "hello"]
    assert terminal.lines == ["", "hello"]


async def test_empty_lines_that_a_final_text_does_without_change_nothing() -> None:
    """A text is the same one whether or not it begins with empty lines."""
    reply, terminal = make_reply(FakeTime())
    message_id = await reply.post("\n\none\n\ntwo\n\nthree")
    await reply.edit(message_id, "one\n\ntwo\n\nthree.", final=True)
    assert terminal.lines == ["", "one", "", "two", "", "three."]


async def test_messages_stand_below_each_other() -> None:
    """Each message of an answer has an id of its own and an empty line above it."""
    reply, terminal = make_reply(FakeTime())
    first = await reply.post("one")
    second = await reply.post("two")
    await reply.edit(second, "two!")
    reply.settle()
    assert first < second
    assert terminal.lines == ["", "one", "", "two!"]
    assert terminal.is_blank_at_cursor


async def test_a_models_escape_sequences_do_not_reach_the_terminal() -> None:
    """No title is set, no clipboard filled, no cursor moved; tabs and newlines stay."""
    reply, terminal = make_reply(FakeTime())
    await reply.post("a\x1b]52;c;eA==\x07b\x9b2Jc\x00\x7f\n\nd &#27;&#155;", final=True)
    assert terminal.lines[1] == "a]52;c;eA==b2Jc"
    assert terminal.lines[3].startswith("d ")
