"""Markdown to lines, in pieces, so that what can no longer change may scroll away.

A piece is a block of the top level, or one item of a list there. Markdown is read line by line:
once a whole line has begun the next piece, nothing that follows changes the one before. Two things
would break that rule and are switched off: link definitions, which reach back to any earlier text,
and numbers of a list's items that are indented by how many there will be.
"""

from collections.abc import Iterator, Sequence
from itertools import chain

from markdown_it import MarkdownIt
from markdown_it.token import Token
from msgspec import Struct
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import Heading, ListElement, Markdown
from rich.segment import Segment

# Without HTML a tag is shown as it was written, where rich would drop it without a word; and rich
# shows images before the paragraph that holds them, so they are shown as links.
PARSER = (
    MarkdownIt("commonmark", {"html": False})
    .enable(["strikethrough", "table"])
    .disable(["reference", "image"])
)


class Piece(Struct, frozen=True):
    """Some tokens that are rendered together.

    `first_line` is where they begin in the text, counted from 0, and `block_line` where their block
    does. `follows_closely` says that no empty line stands before them.
    """

    tokens: Sequence[Token]
    first_line: int
    block_line: int
    follows_closely: bool

    @property
    def is_fence(self) -> bool:
        """Whether this is a block of code, whose earlier lines stay as they are."""
        return self.tokens[0].type == "fence"

    @property
    def begins_with_space(self) -> bool:
        """Whether rich renders empty lines of its own before it."""
        return self.tokens[0].nesting == 1 and self.tokens[0].tag in {"ol", "ul", "blockquote"}

    @property
    def is_table(self) -> bool:
        """Whether this is a table, which rich surrounds by empty lines of its own."""
        return self.tokens[0].type == "table_open"

    @property
    def ends_with_space(self) -> bool:
        """Whether rich renders an empty line of its own after it."""
        return self.tokens[-1].type == "hr"


def split(text: str) -> list[Piece]:
    """Return the pieces of a text."""
    pieces: list[Piece] = []
    for block in _blocks(_parse(text)):
        after_space = bool(pieces) and pieces[-1].ends_with_space
        block_line = _first_line(block[0])
        for index, tokens in enumerate(_items(block)):
            first_line = _first_line(tokens[1]) if index else block_line
            pieces.append(Piece(tokens, first_line, block_line, after_space or index > 0))
    return pieces


def _parse(text: str) -> list[Token]:
    tokens = PARSER.parse(text)
    for child in chain.from_iterable(token.children or () for token in tokens):
        # Models end a line where a line shall end, as in verse, and never wrap their text by hand.
        if child.type == "softbreak":
            child.type = "hardbreak"
    return tokens


def _first_line(token: Token) -> int:
    return token.map[0] if token.map else 0


def _blocks(tokens: Sequence[Token]) -> Iterator[Sequence[Token]]:
    """Yield the tokens of each block of the top level."""
    start = 0
    for index, token in enumerate(tokens):
        if token.level == 0 and token.nesting <= 0:
            yield tokens[start : index + 1]
            start = index + 1


def _items(block: Sequence[Token]) -> Iterator[Sequence[Token]]:
    """Yield each item of a list as a list of its own, and any other block as it is."""
    if not block[0].type.endswith("_list_open"):
        yield block
        return
    head, tail, start = block[0], block[-1], 1
    number = int(head.attrs.get("start", 1))
    for index, token in enumerate(block):
        if token.type == "list_item_close" and token.level == 1:
            opening = head.copy(attrs={"start": number})
            yield [opening, *block[start : index + 1], tail]
            start, number = index + 1, number + 1


class _LeftHeading(Heading):
    """A heading at the left, as the text below it."""

    LEVEL_ALIGN = dict.fromkeys(Heading.LEVEL_ALIGN, "default")


class _SteadyList(ListElement):
    """A list whose items are indented alike, however many follow."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the items below each other, numbers in a column of at least two digits."""
        is_numbered = self.list_type == "ordered_list_open"
        style = console.get_style("markdown.item.number" if is_numbered else "markdown.item.bullet")
        for number, item in enumerate(self.items, self.list_start or 0):
            marker = f"{number}. ".rjust(4) if is_numbered else " • "
            inner = options.update(width=max(1, options.max_width - len(marker)))
            for index, line in enumerate(console.render_lines(item.elements, inner, pad=False)):
                yield Segment(" " * len(marker) if index else marker, style)
                yield from line
                yield Segment.line()


class RenderedMarkdown(Markdown):
    """Markdown as this terminal shows it: a whole text, or a piece of one."""

    elements = Markdown.elements | {
        "heading_open": _LeftHeading,
        "bullet_list_open": _SteadyList,
        "ordered_list_open": _SteadyList,
    }

    def __init__(self, markdown: str | Piece) -> None:
        # No hyperlinks: a link shows where it leads, and no escape sequence carries a model's text.
        super().__init__("", hyperlinks=False, justify="default")
        tokens = _parse(markdown) if isinstance(markdown, str) else markdown.tokens
        self.parsed = list(tokens)
