"""Markdown in pieces: previews are whole, parts fit, and joined parts are the text.

The checks know Markdown from `markdown-it`, not from the code under test.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import NamedTuple, SupportsIndex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from acore_bot.chat.markdown import Pages, length
from acore_bot.chat.markdown.pages import LOOKAHEAD

CURSOR = " ▌"
LIMIT = 2_000
SMALL = 200  # so that short texts have many parts


class Streamed(NamedTuple):
    """What came of a text: its slices, how its parts look in the end, and all previews."""

    slices: list[str]
    parts: list[str]
    previews: list[str]


def stream(text: str, lengths: Iterable[int], limit: int = LIMIT) -> Streamed:
    """Let a text grow through these lengths, as a reply does, and finish it."""
    pages = Pages(limit)
    slices: list[str] = []
    parts: list[str] = []
    previews: list[str] = []
    for end, is_final in [*((end, False) for end in lengths), (len(text), True)]:
        while part := pages.cut(text[:end], is_final=is_final):
            slices.append(part.text)
            parts.append(part.shown)
            pages.turn(part)
        previews.append(pages.preview(text[:end], CURSOR))
    rest = pages.rest(text)
    return Streamed([*slices, text[sum(map(len, slices)) :]], [*parts, rest], previews)


def split(text: str, limit: int = SMALL) -> list[str]:
    """Return how the parts of a whole text look."""
    return stream(text, [], limit).parts


def preview(text: str, limit: int = LIMIT) -> str:
    """Return how the first part of a text looks while it grows, without a cursor."""
    return Pages(limit).preview(text)


# --- What a part shows, as an independent reader sees it.

READER = MarkdownIt("commonmark").enable("strikethrough")


def inner(tokens: Sequence[Token]) -> Iterable[Token]:
    """Return tokens and what is in them."""
    for token in tokens:
        yield token
        yield from inner(token.children or [])


def seen_as(kinds: set[str], shown: str) -> str:
    """Return what a reader sees of these kinds of tokens."""
    return "\n".join(one.content for one in inner(READER.parse(shown)) if one.type in kinds)


def assert_balanced(shown: str) -> None:
    """A paragraph that follows is one; no mark, link or fence is left to be seen as such."""
    *_, last = (one for one in READER.parse(f"{shown}\n\nprobe") if one.type == "inline")
    assert last.content == "probe", shown
    assert last.level == 1, shown
    text = seen_as({"text"}, shown)
    assert not set(text) & set("*_~`["), shown
    assert text.count("||") % 2 == 0, shown
    assert "||||" not in text, shown


# --- Random Markdown, written as models do. Prose and code share no word.

PROSE = [
    "so",
    "it",
    "grows",
    "well,",
    "and",
    "then.",
    "Why?",
    "😀",
    "cafe\u0301",
    "東京は大きい。",
    "👩‍👩‍👧",
]
CODE = ["x=1", "def", "f(y):", "return", "'z'", "{0}", "#!", "100;", "%s"]
MARKS = ("**", "_", "~~", "||", "*")


def joined(parts: st.SearchStrategy[str], by: str, most: int) -> st.SearchStrategy[str]:
    """Return some of these, one behind the other."""
    return st.lists(parts, min_size=1, max_size=most).map(by.join)


prose = joined(st.sampled_from(PROSE), " ", 10)
code_line = st.builds(
    "{}{}".format, st.sampled_from(["", "    "]), joined(st.sampled_from(CODE), " ", 9)
)
code_span = st.builds(
    "{0}{1}{0}".format, st.sampled_from(["`", "``"]), joined(st.sampled_from(CODE), " ", 3)
)
link = st.builds(
    "[{}](https://example.org/{})".format, prose, st.sampled_from(["a", "b/c?d=e", "f(g)"])
)
plain = st.one_of(prose, prose, code_span, link, st.just("https://example.org/a/b"))


@cache
def inline(marks: tuple[str, ...] = MARKS) -> st.SearchStrategy[str]:
    """Return prose in which other marks stand within each of these marks."""
    inner_marks = {mark: tuple(one for one in marks if one[0] != mark[0]) for mark in marks}
    marked = [inline(rest).map(f"{mark}{{}}{mark}".format) for mark, rest in inner_marks.items()]
    return joined(st.one_of(plain, *marked), " ", 4)


@st.composite
def fence(draw: st.DrawFn, indent: str = "") -> str:
    """Return a code block."""
    marks = draw(st.sampled_from(["```", "````", "~~~"]))
    info = draw(st.sampled_from(["", "python", "c++", "sh title=x"]))
    lines = draw(st.lists(st.one_of(code_line, st.just("")), min_size=1, max_size=12))
    nested = ["```js", "x=1", "```"] if marks == "````" else []
    return "\n".join(f"{indent}{line}" for line in (marks + info, "x=1", *lines, *nested, marks))


block = st.one_of(
    joined(inline(), "\n", 3),
    st.builds("{} {}".format, st.sampled_from(["#", "##", "###"]), inline()),
    joined(inline().map("- {}".format), "\n", 4),
    joined(inline().map("1. {}\n   - and".format), "\n", 3),
    joined(inline().map("> {}".format), "\n>\n", 2),
    fence(),
    fence("> "),
    fence("   ").map("1. so\n\n{}".format),
    st.just("---"),
)
documents = joined(block, "\n\n", 4)
growth = st.lists(st.floats(0, 1), max_size=4)
WILD = "*_~|`[]()<>#-+!:/\\ \n\tab1.é\u0301\u200d😀🇩東。"


@given(documents, growth)
@settings(max_examples=1_000, deadline=None)
def test_every_preview_and_every_part_is_whole(text: str, fractions: list[float]) -> None:
    """Whatever is shown of a text is valid Markdown within the limit: nothing is left open, code is
    shown as code, and prose is not. Joined slices are the text."""
    streamed = stream(text, sorted(int(one * len(text)) for one in fractions), SMALL)
    assert "".join(streamed.slices) == text
    for shown in filter(None, [*streamed.parts, *streamed.previews]):
        assert length(shown) <= SMALL
        assert_balanced(shown)
        assert not set(CODE) & set(seen_as({"text"}, shown).split())
        assert not set(PROSE) & set(seen_as({"fence", "code_inline", "code_block"}, shown).split())
    for taken, shown in zip(streamed.slices, streamed.parts, strict=True):
        assert taken.strip() in shown


@given(st.text(WILD, max_size=900), growth)
@settings(max_examples=1_000, deadline=None)
def test_nothing_is_lost_of_any_text(text: str, fractions: list[float]) -> None:
    """Of text that is no proper Markdown at all, joined slices are the text too, and every part
    fits, shows something and is the same however the text arrived."""
    streamed = stream(text, sorted(int(one * len(text)) for one in fractions), SMALL)
    assert "".join(streamed.slices) == text
    assert all(length(shown) <= SMALL for shown in [*streamed.parts, *streamed.previews])
    assert all(shown.strip() for shown in streamed.parts[:-1])
    assert bool(streamed.parts[-1]) == bool(streamed.slices[-1].strip())
    assert streamed.parts == split(text)


# --- What is open is closed.


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("so **it grows", "so **it grows**"),
        ("so *it grows", "so *it grows*"),
        ("so _it grows", "so _it grows_"),
        ("so __it grows", "so __it grows__"),
        ("so ~~it grows", "so ~~it grows~~"),
        ("so ||it grows", "so ||it grows||"),
        ("so `it grows", "so `it grows`"),
        ("so ``it ` grows", "so ``it ` grows``"),
        ("so ***it grows", "so ***it grows***"),
        ("so **it _grows ~~well", "so **it _grows ~~well~~_**"),
        ("so ***it* grows", "so ***it* grows**"),
        ("so **it *grows* well", "so **it *grows* well**"),
        ("*a**b**c", "*a**b**c*"),
        ("*a**b", "*a**b***"),
        ("```py\nx = 1", "```py\nx = 1\n```"),
        ("~~~\nx = 1", "~~~\nx = 1\n~~~"),
        ("````md\n```py\nx = 1\n```\n", "````md\n```py\nx = 1\n```\n````"),
        ("> ```py\n> x = 1", "> ```py\n> x = 1\n> ```"),
        ("- so\n  ```py\n  x = 1", "- so\n  ```py\n  x = 1\n  ```"),
        ("- ```py\n  x = 1", "- ```py\n  x = 1\n  ```"),
        ("Look: ```py\nx = 1\n\ny", "Look: ```py\nx = 1\n\ny```"),
        ("**「東京」**は", "**「東京」**は"),
    ],
)
def test_what_is_open_is_closed(text: str, shown: str) -> None:
    """A preview closes what the text has not closed yet, the innermost first."""
    assert preview(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "2 * 3 is 6",
        "a_snake_case name",
        r"a \*star",
        "it costs ` much\nand more",
        "**open\n\nnext block",
        "> quoted **open\n\nnext block",
        "- **open\n- next item",
        "`**kwargs` grow",
        "https://example.org/_a_b now",
        "a || b",
        "****four",
        "```py\n**x = 1\n```\nso",
        "> ```\n> x\nand so",
    ],
)
def test_what_opens_nothing_is_not_closed(text: str) -> None:
    """Marks that are none, or whose block is over, are left alone."""
    assert preview(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("so **", "so"),
        ("so **it grows*", "so **it grows**"),
        ("so **it grows ", "so **it grows**"),
        ("so [it gr", "so"),
        ("so [it grows](https://ex", "so"),
        ("so [it grows](https://example.org) well", "so [it grows](https://example.org) well"),
        ("so https://example.org/wh", "so"),
        ("so <@123", "so"),
        ("so\n```py", "so"),
        ("so\n```py\n", "so"),
        ("```py\nx = 1\n``", "```py\nx = 1\n```"),
        ("so \\", "so"),
        ("so [is 1 < 2] or not", "so [is 1 < 2] or not"),
    ],
)
def test_what_is_half_is_held_back(text: str, shown: str) -> None:
    """Half a mark, link or fence is not shown before it is known what it will be."""
    assert preview(text) == shown


def test_a_bracket_that_is_no_link_is_not_held_back_for_ever() -> None:
    """A link's text has an end: beyond that, what looked like one is shown as it is."""
    text = "so [" + "it grows " * 40
    assert preview(text) == text.strip()


@pytest.mark.parametrize("text", ["", " ", "\n\n \t", "**", "```", "```py\n\n\n"])
def test_blank_is_not_shown(text: str) -> None:
    """Where there is nothing to read, a preview is empty, and so has no cursor either."""
    assert Pages(LIMIT).preview(text, CURSOR) == ""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("so **it", "so **it** ▌"),
        ("```py\nx", "```py\nx ▌\n```"),
        ("```py\nx\n```\n\nso", "```py\nx\n```\n\nso ▌"),
        ("```py\nx\n```\n\n[", "```py\nx\n```\n▌"),
        ("````\n```\n", "````\n``` ▌\n````"),
    ],
)
def test_a_cursor_stands_where_the_text_goes_on(text: str, shown: str) -> None:
    """It is inside open code, outside of marks, and never behind a fence on its line, where it
    would keep that from closing the code."""
    assert Pages(LIMIT).preview(text, CURSOR) == shown


def test_a_final_text_is_left_as_it_is() -> None:
    """What never closed was no mark. Only code that is open at the end is closed."""
    assert split("call f(**kwargs and [so") == ["call f(**kwargs and [so"]
    assert split("\n so\n```py\nx = 1") == ["so\n```py\nx = 1\n```"]


# --- Where a text is cut.


def sentences(characters: int) -> str:
    """Return so many characters of plain sentences."""
    return ("It grows well and then so. " * (characters // 27 + 1))[: characters - 1] + "!"


def test_a_cut_is_made_between_blocks_first() -> None:
    """Rather than between lines, unless half of the part would be empty."""
    text = f"{sentences(120)}\n\n{sentences(30)}\n{sentences(150)}"
    assert split(text) == [sentences(120), f"{sentences(30)}\n{sentences(150)}"]


def test_a_cut_is_made_between_lines_next() -> None:
    """Rather than behind a sentence; the lines of a list stay whole."""
    text = "\n".join(f"- {sentences(90)}" for _ in range(3))
    assert split(text) == [text[:185], text[186:]]


def test_a_list_is_not_parted_where_its_items_have_empty_lines_between() -> None:
    """The place before the list is better than any within it."""
    items = "\n\n".join(f"- {sentences(40)}" for _ in range(4))
    assert split(f"{sentences(105)}\n\n{items}") == [sentences(105), items]


def test_a_heading_stays_with_its_text() -> None:
    """The cut is before it, not behind it."""
    text = f"{sentences(110)}\n\n## So\n\n{sentences(150)}"
    assert split(text) == [sentences(110), f"## So\n\n{sentences(150)}"]


def test_a_cut_is_made_behind_a_sentence_next() -> None:
    """Rather than between words."""
    text = "It grows well. " * 13 + "And then it grows more"
    assert split(text) == [("It grows well. " * 13).strip(), "And then it grows more"]


def test_a_cut_is_made_between_words_next() -> None:
    """Rather than within one, even if that word is long."""
    text = "word " * 25 + "w" * 90
    assert split(text) == [("word " * 25).strip(), "w" * 90]


def test_a_short_part_is_better_than_a_word_in_two() -> None:
    """Even if less than half of the part is used."""
    text = "word " * 10 + "w" * 190
    assert split(text) == [("word " * 10).strip(), "w" * 190]


def test_no_part_begins_with_what_would_be_a_list() -> None:
    """A dash between words is not made the first character of a message."""
    assert not any(part.startswith("-") for part in split("it - " * 100))


@pytest.mark.parametrize(
    "text",
    [
        "> **" + "\n> ".join(["it grows well"] * 40) + "**",
        "``" + "x ` " * 100 + "``",
        "**" + "so * it " * 60 + "so**",
    ],
)
def test_what_is_reopened_is_closed(text: str) -> None:
    """Marks over several quoted lines, and marks of which some are none, are whole in each part."""
    for part in split(text):
        seen = seen_as({"text"}, part)
        assert "**" not in seen
        assert "`" not in seen


def test_a_word_is_cut_if_nothing_else_is_possible() -> None:
    """A word that is longer than a message is cut anywhere."""
    assert "".join(split("w" * 1_000)) == "w" * 1_000


@pytest.mark.parametrize(
    "whole",
    [
        "[it grows well](https://example.org/and/so/on)",
        "https://example.org/it/grows/well/and/then/more",
        "`x = it + grows + well + and + then`",
        "**_so_**",
    ],
)
@pytest.mark.parametrize("before", range(150, 205, 6))
def test_some_things_are_not_cut(whole: str, before: int) -> None:
    """A link, an address and a code span stay in one part, wherever the limit falls."""
    parts = split(f"{'word ' * (before // 5)}{whole} and then {sentences(90)}")
    assert len([part for part in parts if whole in part]) == 1


@pytest.mark.parametrize(
    "cluster",
    [
        "e\u0301\u0323",
        "😀",
        "👩‍👩‍👧",
        "👍🏽",
        "🇩🇪",
        "\ud83d\ude00",
        "क्षि",
        "각",
        "🏴\U000e0067\U000e0062\U000e007f",
    ],
)
def test_what_is_seen_as_one_character_is_not_cut(cluster: str) -> None:
    """Even in a text without a single space, a cut never parts what a person sees as one."""
    text = f"a{cluster * 200}"
    parts = split(text)
    assert "".join(parts) == text
    assert all(part.removeprefix("a").replace(cluster, "") == "" for part in parts)


def test_marks_are_reopened_in_the_next_part() -> None:
    """Bold, italic, spoilers and quotes are closed at the end of a part and go on in the next."""
    first, second = split(f"> so **it _||{'grows ' * 40}||_** well")
    assert first.startswith("> so **it _||grows")
    assert first.endswith("grows||_**")
    assert second.startswith("> **_||grows")
    assert second.endswith("grows ||_** well")


def test_a_heading_is_reopened() -> None:
    """What is left of a long heading is still one."""
    assert [part[:8] for part in split(f"## {'grows ' * 60}")] == ["## grows", "## grows"]


def test_a_fence_is_reopened_with_its_language() -> None:
    """Each part of a code block is one, and its lines are whole and keep their indent."""
    lines = [f"    x{n} = {n}" for n in range(60)]
    parts = split("```python title=x\n" + "\n".join(lines) + "\n```\nso")
    assert all(part.startswith("```python") and part.endswith("\n```") for part in parts[:-1])
    assert "".join(seen_as({"fence"}, part) for part in parts).splitlines() == lines
    assert parts[-1].endswith("```\nso")


def test_a_fence_in_a_quote_is_reopened_there() -> None:
    """The quote's mark stands before the fence and before the rest of a line that was cut."""
    first, second = split("> ```py\n> " + "xy + " * 50 + "\n> ```")
    assert first.endswith("\n> ```")
    assert second.startswith("> ```py\n> xy + ")


def test_no_part_begins_with_the_end_of_a_code_block() -> None:
    """The closing fence stays with the last line of code, wherever the limit falls."""
    for lines in range(20, 60):
        parts = split("```py\n" + "x = 1\n" * lines + "```\n" + sentences(150))
        assert not any(part.startswith("```py\n```") for part in parts)


@pytest.mark.parametrize("characters", [30, 60, 180, 190, 196, 200, 260, 1_000])
def test_a_long_info_string_fits(characters: int) -> None:
    """What follows a fence may be as long as a message: parts fit, and the code stays code."""
    text = f"```{'i' * characters}\n" + "x = 1\n" * 60 + "```\n\nso"
    parts = split(text)
    assert all(length(part) <= SMALL for part in parts)
    assert all(seen_as({"text"}, part) in {"", "so"} for part in parts)


def test_a_part_never_changes_once_it_is_cut() -> None:
    """Whatever comes later, and in whatever pieces it comes, the cuts are the same."""
    code = "```py\n" + "x = 1" * 40 + "\n```"
    text = f"{sentences(150)}\n\n{code}\n[so](https://example.org) {sentences(300)}"
    whole = split(text)
    for step in (1, 7, 50):
        streamed = stream(text, range(0, len(text), step), SMALL)
        assert streamed.parts == whole


def test_a_preview_with_its_cursor_fits_where_the_text_just_does() -> None:
    """The cursor counts: for it, the last words wait."""
    text = "word " * 39 + "words"
    assert split(text) == [text]
    assert Pages(SMALL).preview(text, CURSOR) == ("word " * 39).strip() + CURSOR


def test_a_text_that_is_replaced_is_read_anew() -> None:
    """Nothing of lines that were read before is remembered wrongly."""
    pages = Pages(SMALL)
    pages.preview("```\nx = 1\ny = 2\n")
    assert pages.preview("so it\ngrows\n**well") == "so it\ngrows\n**well**"


@pytest.mark.parametrize(
    ("text", "units"), [("", 0), ("ab", 2), ("é", 1), ("😀", 2), ("\ud83d", 1)]
)
def test_length_is_counted_in_utf_16(text: str, units: int) -> None:
    """An astral character counts as two."""
    assert length(text) == units


# --- S12 and S19: huge and hostile texts.


class Watched(str):
    """A text that remembers how much of it was taken out at a time."""

    __slots__ = ("most",)
    most: int

    def __getitem__(self, key: SupportsIndex | slice) -> str:
        """Take something out."""
        taken = super().__getitem__(key)
        self.most = max(getattr(self, "most", 0), len(taken))
        return taken


def take_ten(text: str) -> list[str]:
    """Return the first ten parts at the most, each of which was also previewed."""
    watched, pages = Watched(text), Pages(LIMIT)
    parts: list[str] = []
    while len(parts) < 10 and (part := pages.cut(watched, is_final=True)):
        assert length(pages.preview(watched, CURSOR)) <= LIMIT
        parts.append(part.shown)
        pages.turn(part)
        # Whatever a text holds, no step looks at more of it than one part and a little.
        assert watched.most <= LIMIT + LOOKAHEAD
        watched.most = 0
    return parts if len(parts) == 10 else [*parts, pages.rest(text)]


HUGE: dict[str, Callable[[], str]] = {
    "1 MB of prose": lambda: sentences(1_000_000),
    "1 MB without a space": lambda: "a" * 1_000_000,
    "10,000 lines": lambda: "It grows.\n" * 10_000,
    "10,000 lines of code": lambda: "```py\n" + "x = 1\n" * 10_000,
    "1 MB of astral characters": lambda: "😀" * 500_000,
    "1 MB of combining characters": lambda: "e" + "\u0301" * 1_000_000,
}
HOSTILE: dict[str, Callable[[], str]] = {
    "1 MB of [": lambda: "[" * 1_000_000,
    "1 MB of links that do not end": lambda: "[a](" * 250_000,
    "links with endless addresses": lambda: ("[x](" + "a" * 900) * 1_000,
    "1 MB of (": lambda: "[a](" + "(" * 1_000_000,
    "1 MB of `": lambda: "`" * 1_000_000,
    "backticks of all lengths": lambda: "".join("`" * (n % 16 + 1) + "a" for n in range(100_000)),
    "1 MB of open stars": lambda: "*a " * 333_333,
    "stars and underscores": lambda: "*_" * 500_000,
    "100 kB nested": lambda: ("> " * 9 + "- **_||`[a](b" * 10) * 700,
    "100 kB of quotes": lambda: ">" * 100_000,
    "rules that are none": lambda: "* " * 500_000 + "a",
    "fences in turns": lambda: "```\n~~~\n" * 125_000,
    "1 MB of spaces within": lambda: "a" + " " * 1_000_000 + "b",
    "1 MB of empty lines in code": lambda: "```\nx\n" + "\n" * 1_000_000 + "y",
    "1 MB of <": lambda: "<" * 1_000_000,
    "addresses": lambda: "http://" * 150_000,
    "backslashes": lambda: "\\" * 1_000_000,
}


@pytest.mark.parametrize("name", HUGE)
def test_s12_each_part_of_a_huge_text_fits(name: str) -> None:
    """Of a text of a million characters, each part fits and is nearly full."""
    parts = take_ten(HUGE[name]())
    assert len(parts) == 10
    assert all(LIMIT / 2 <= length(part) <= LIMIT for part in parts)


def test_s12_a_text_of_spaces_has_no_parts() -> None:
    """A million spaces are nothing to be shown."""
    assert take_ten(" " * 1_000_000) == [""]


def test_s12_the_parts_of_a_megabyte_make_the_text() -> None:
    """Joined slices of a long answer, with code across each cut, are the answer."""
    code = "x = 1\n" * 400
    text = "".join(f"## {n}\n\n```py\n{code}```\n\n" for n in range(400))
    streamed = stream(text, [])
    assert "".join(streamed.slices) == text
    assert all(length(part) <= LIMIT for part in streamed.parts)
    assert all("x = 1" not in seen_as({"text"}, part) for part in streamed.parts[:50])


@pytest.mark.parametrize("name", HOSTILE)
def test_s19_hostile_text_costs_no_more_than_other_text(name: str) -> None:
    """Nested, endless and unfinished markup is cut into parts that fit, looking at no more of it
    than one part at a time."""
    assert all(length(part) <= LIMIT for part in take_ten(HOSTILE[name]()))
