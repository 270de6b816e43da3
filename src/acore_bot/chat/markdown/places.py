"""Where a slice of Markdown may end, and what is open there."""

import re
import unicodedata
from enum import IntEnum
from typing import NamedTuple, Self

MAX_DEPTH = 6
MAX_INDENT = 16
MAX_INFO_LENGTH = 32  # a longer one is no language; it is not repeated where a fence is reopened

_MARKS = "*_~|`\\"
_LINE_START = re.compile(
    r"(?P<quote>(?: {0,3}> ?){0,5})[ \t]*"
    r"(?P<item>(?:[-*+]|\d{1,9}[.)])(?:[ \t]+|(?=\n|\Z)))?"
    r"(?P<heading>(?:#{1,6}|-#)[ \t]+)?"
)
_FENCE = re.compile(r"(?P<marks>`{3,16}(?!`)|~{3,16}(?!~))(?P<info>[^`~\n]*)(?:\n|\Z)")
_RULE = re.compile(r"([*_-])[ \t]*(?:\1[ \t]*){2,}(?:\n|\Z)")
_BLOCK_START = re.compile(r"(?:[-*+]|\d{1,9}[.)]|#{1,6}|-#)[ \t\n]|>|`{3}|~{3}")
_TOKEN = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<atom>\\[!-/:-@\[-`{-~]|https?://(?:[^\s<>()\[\]*|~`_]|_+(?=[\w/]))+|<[^\s<>]{1,300}>"
    r'|!?\[[^\[\]\n]{0,300}\]\((?:[^\s()]|\([^\s()]{0,200}\)){0,1000}(?: "[^"\n]{0,200}")?\)'
    r"|[\U0001F1E6-\U0001F1FF]{2})"
    r"|(?P<wide>[\u3001-\u30ff\u3400-\u9fff\uff01-\uff1f])"
    r"|(?P<code>`{1,16}(?!`))"
    r"|(?P<mark>\*{1,3}(?!\*)|_{1,3}(?!_)|~~(?!~)|\|\|(?!\|))"
    r"|(?P<text>[^\W_]{1,40}|\*+|_+|~+|\|+|`+|.)"
)
_CODE_TOKEN = re.compile(r"(?P<space>\s+)|(?P<code>`+)|(?P<text>[^\s`]{1,40})")
# Chinese and Japanese: what ends a sentence, and that and all else that stays with what it follows.
_WIDE_ENDS = "\u3002\uff01\uff1f"
_WIDE_CLOSERS = frozenset(_WIDE_ENDS + "\u3001\u300d\u300f\u3011\uff09\uff0c\uff1a\uff1b")
_QUOTATION_ENDS = "\"')]*_\u201d\u2019\u00bb"
# A heading waits for its text, and a list may go on, even if empty lines come between.
_AFTER_BLANK = {"heading": "heading", "list": "gap", "gap": "gap"}
_LONE_MARK = re.compile(r"(?:\s|\A)[*_~|`\\]+\s+\Z")
_VIRAMA = 9  # the combining class of what binds a consonant to the next one
_EXTENDING = (
    ("\u1160", "\u11ff"),  # vowels and finals of a Korean syllable
    ("\udc00", "\udfff"),  # the second half of a surrogate pair
    ("\U0001f3fb", "\U0001f3ff"),  # skin tones
    ("\U000e0020", "\U000e007f"),  # the letters of a flag that is no country's
)
_UNFINISHED = re.compile(
    r"(?:!?\[[^\[\]\n]{0,300}(?:\](?:\((?:[^\s()]|\([^\s()]{0,200}\)){0,1000}"
    r'(?:\([^\s()]{0,200}| "?[^"\n]{0,200}"?)?)?)?'
    r"|<[^\s<>]{0,300}|https?://[^\s<>()\[\]*|~`]{0,500})\Z"
)


class Rank(IntEnum):
    """How good a place is for a cut. At `PREVIEW` a preview may end, but no part."""

    PREVIEW = 0
    ANYWHERE = 1
    IN_CODE = 2
    WORD = 3
    SENTENCE = 4
    LINE = 5
    BLOCK = 6


class Fence(NamedTuple):
    """A code block's first line: what stands before the fence, the fence and its language."""

    indent: str
    marks: str
    info: str


class Open(NamedTuple):
    """What is open at a place: a code block, or a line's quote and heading, marks such as `**`, the
    outermost first, and the backticks of a code span."""

    fence: Fence | None = None
    line: str = ""
    marks: tuple[str, ...] = ()
    code: str = ""

    @property
    def opening(self) -> str:
        """What opens all of it again."""
        if self.fence:
            return f"{''.join(self.fence)}\n{self.line}"
        # The first word after three backticks would be taken for the language.
        return f"{self.line}{''.join(self.marks)}{self.code}" + "\n" * (len(self.code) > 2)

    def closing(self, body: str) -> str:
        """What closes all of it behind a body."""
        if self.fence:
            return f"\n{self.fence.indent}{self.fence.marks}"
        gap = " " if self.code and body.endswith("`") else ""
        return gap + self.code + "".join(reversed(self.marks))

    @property
    def is_block_of_code(self) -> bool:
        """True where white space at the beginning of a line matters."""
        return bool(self.fence) or len(self.code) > 2


NOTHING = Open()


class Place(NamedTuple):
    """Where a slice may end."""

    end: int
    rank: Rank
    open: Open


class Scan:
    """Reads a slice of which something may be open already. `places` are where it may end, in
    order; `open` is what is open at its end."""

    def __init__(self, opened: Open) -> None:
        self.text = ""
        self.open = opened
        self.places: list[Place] = []
        self._after = ""  # what the line before was: text, heading, list, fence, blank, gap
        self._is_fresh = False  # nothing was seen yet of the code in this block
        self._is_held = False  # the text ends within what began already
        self._beginning = self._settled = (0, 0, opened, "", False)

    def read(self, text: str) -> Self:
        """Read a slice. Whole lines that it shares with the one before are not read again."""
        settled = self._settled[0]
        if text[:settled] != self.text[:settled]:
            self._settled = self._beginning
        self.text = text
        self._is_held = False
        at, places, self.open, self._after, self._is_fresh = self._settled
        del self.places[places:]
        while at < len(text):
            end = text.find("\n", at) + 1 or len(text)
            self._read_line(at, end)
            at = end
            if text[at - 1] == "\n":
                self._settled = (at, len(self.places), self.open, self._after, self._is_fresh)
        return self

    def _read_line(self, at: int, end: int) -> None:
        if self.open.fence:
            self._read_code_line(self.open.fence, at, end)
        elif at == 0 and self.open != NOTHING:
            self._read_inline(at, end)
        elif self.open.is_block_of_code:
            self._add(at, Rank.LINE)
            self._read_inline(at, end)
        else:
            self._read_block_line(at, end)

    def _read_block_line(self, at: int, end: int) -> None:
        start = _LINE_START.match(self.text, at, end)
        assert start
        after_quote = start.end("quote")
        fence = None if start["heading"] else _FENCE.match(self.text, start.end(), end)
        is_rule = _RULE.match(self.text, after_quote, end) is not None
        if not self.text[after_quote:end].strip():
            self.open, self._after = NOTHING, _AFTER_BLANK.get(self._after, "blank")
            return
        is_block = bool(fence or is_rule or start["heading"])
        if is_block or start["item"] or self._after == "heading":
            self.open = NOTHING
        if not (start["quote"] and self.open.marks):  # nothing can be reopened before a `>`
            self._add(at, self._rank_of_line(start, is_block=is_block))
        self._after = self._kind_of_line(start)
        if fence:
            self._open_fence(fence, start)
        elif not is_rule:
            heading = start["heading"].strip() + " " if start["heading"] else ""
            line = start["quote"] + heading
            self.open = self.open._replace(line=line)
            self._read_inline(start.end(), end)

    def _rank_of_line(self, start: re.Match[str], *, is_block: bool) -> Rank:
        if self._after == "heading":
            return Rank.WORD
        if self._is_in_list(start):
            return Rank.LINE
        is_behind_gap = self._after in {"blank", "gap", "fence"}
        return Rank.BLOCK if is_block or is_behind_gap else Rank.LINE

    def _is_in_list(self, start: re.Match[str]) -> bool:
        is_listed = bool(start["item"]) or self.text[start.start()] in " \t"
        return is_listed and self._after in {"list", "gap"}

    def _kind_of_line(self, start: re.Match[str]) -> str:
        if start["heading"]:
            return "heading"
        return "list" if start["item"] or self._is_in_list(start) else "text"

    def _open_fence(self, fence: re.Match[str], start: re.Match[str]) -> None:
        quote = start["quote"]
        indent = quote + " " * min(start.end() - start.end("quote"), MAX_INDENT)
        language = " ".join(fence["info"].split()[:1])
        info = language if len(language) <= MAX_INFO_LENGTH else ""
        self.open = Open(Fence(indent, fence["marks"], info))
        self._is_fresh = True

    def _read_code_line(self, fence: Fence, at: int, end: int) -> None:
        quote = _LINE_START.match(self.text, at, end) if ">" in fence.indent else None
        if quote and not quote["quote"] and at > 0:  # the quote is over, and the code with it
            self.open, self._after = NOTHING, "fence"
            self._read_block_line(at, end)
            return
        begin = quote.end("quote") if quote else at
        code = self.text[begin:end].strip()
        is_unfinished = end == len(self.text) and not self.text.endswith("\n")
        if code.endswith(fence.marks):
            self.open, self._after = NOTHING, "fence"
        elif code and not (is_unfinished and not code.strip(fence.marks[0])):
            self._add_code_line(at, begin, end)

    def _add_code_line(self, at: int, begin: int, end: int) -> None:
        if not self._is_fresh:
            self._add(at, Rank.LINE)
        self._is_fresh = False
        self.open = self.open._replace(line=self.text[at:begin])
        rank: Rank | None = None
        for token in _CODE_TOKEN.finditer(self.text, begin, end):
            if token.lastgroup == "space":
                rank = Rank.WORD if token.start() > begin else None
                continue
            if rank:
                self._add(token.start(), rank)
            if token.end() < len(self.text) or token[0][-1] not in _MARKS:
                self._add(token.end(), Rank.PREVIEW)
            rank = Rank.ANYWHERE if token.lastgroup == "text" else None
        self.open = self.open._replace(line="")

    def _read_inline(self, at: int, end: int) -> None:
        rank: Rank | None = None
        begin = at
        while at < end:
            pattern = _CODE_TOKEN if self.open.code else _TOKEN
            token = pattern.match(self.text, at, end)
            assert token
            if end == len(self.text) and self._is_unfinished(token):
                self._is_held = True
            rank = self._read_token(token, rank, begin, end)
            at = token.end()
        code = self.open.code if self.open.is_block_of_code else ""
        self.open = self.open._replace(line="", code=code)

    def _is_unfinished(self, token: re.Match[str]) -> bool:
        """True if the text ends within a link, which is not to be shown half."""
        return (
            not self.open.code
            and token[0][0] in "![<h"
            and _UNFINISHED.match(self.text, token.start()) is not None
        )

    def _read_token(
        self, token: re.Match[str], rank: Rank | None, begin: int, end: int
    ) -> Rank | None:
        """Take in a token, before which a cut has this rank, and return the next one's."""
        kind, start = token.lastgroup, token.start()
        if kind == "space":
            return self._rank_of_space(start) if start > begin else None
        if rank and (kind not in {"mark", "code"} or self.text[start - 1].isspace()):
            self._add_cut(start, rank)
        if kind == "mark":
            self._toggle_mark(token)
        elif kind == "code":
            self._toggle_code(token, end)
        else:
            if token[0][-1] not in _MARKS:
                self._add(token.end(), Rank.PREVIEW)
            return self._rank_behind(token)
        return None

    def _rank_of_space(self, start: int) -> Rank:
        if self.open.code:
            return Rank.WORD if self.open.is_block_of_code else Rank.IN_CODE
        if "#" in self.open.line:
            return Rank.IN_CODE
        said = self.text[max(0, start - 4) : start].rstrip(_QUOTATION_ENDS)
        return Rank.SENTENCE if said.endswith((".", "!", "?", "…")) else Rank.WORD

    def _rank_behind(self, token: re.Match[str]) -> Rank | None:
        """Return the rank of a cut where no white space is."""
        if self.text[token.end() : token.end() + 1] in _WIDE_CLOSERS:
            return None
        if token.lastgroup == "wide":
            return Rank.SENTENCE if token[0] in _WIDE_ENDS else Rank.WORD
        return Rank.ANYWHERE

    def _toggle_mark(self, token: re.Match[str]) -> None:
        start, end, run = token.start(), token.end(), token[0]
        before = self.text[start - 1] if start else " "
        after = self.text[end] if end < len(self.text) else " "
        can_open = not after.isspace() and not (run[0] == "_" and before.isalnum())
        can_close = not before.isspace() and not (run[0] == "_" and after.isalnum())
        marks = _toggled(self.open.marks, run, can_open=can_open, can_close=can_close)
        self.open = self.open._replace(marks=marks)

    def _toggle_code(self, token: re.Match[str], end: int) -> None:
        run, code = token[0], self.open.code
        if run == code:
            self.open = self.open._replace(code="")
        elif not code and (
            len(run) > 2 or run in self.text[token.end() : end] or self.text[end - 1] != "\n"
        ):
            self.open = self.open._replace(code=run)

    def _add_cut(self, end: int, rank: Rank) -> None:
        if self.open.marks and _LONE_MARK.search(self.text[max(0, end - 20) : end]):
            return  # what closes the open marks would not be told from a mark that is none
        if not _BLOCK_START.match(self.text, end):
            self._add(end, rank)

    def _add(self, end: int, rank: Rank) -> None:
        within = end < len(self.text) and joins(self.text[end - 1], self.text[end])
        if end and not within and not self._is_held:
            self.places.append(Place(end, rank, self.open))


def _toggled(
    marks: tuple[str, ...], run: str, *, can_open: bool, can_close: bool
) -> tuple[str, ...]:
    """Return the open marks after a run of a mark: what it opened is closed, or it opens."""
    for depth in reversed(range(len(marks) if can_close else 0)):
        opener = marks[depth]
        if _is_pair(opener, run, is_ambiguous=can_open):
            left, more = opener[len(run) :], run[len(opener) :]
            marks = (*marks[:depth], left) if left else marks[:depth]
            return _toggled(marks, more, can_open=can_open, can_close=True) if more else marks
    return (*marks, run) if can_open and len(marks) < MAX_DEPTH else marks


def _is_pair(opener: str, run: str, *, is_ambiguous: bool) -> bool:
    if opener == run or opener[0] != run[0] or run[0] not in "*_":
        return opener == run
    # CommonMark's rule of three: in `*a**b**c*` the inner pair is bold, not the end of the outer.
    return not is_ambiguous or (len(opener) + len(run)) % 3 != 0


def joins(before: str, after: str) -> bool:
    """True if two characters are seen as one, so that nothing should part them."""
    if before.isascii() and after.isascii():
        return False
    return (
        unicodedata.category(after) in {"Mn", "Me", "Mc"}
        or "\u200d" in (before, after)
        or unicodedata.combining(before) == _VIRAMA
        or any(first <= after <= last for first, last in _EXTENDING)
    )
