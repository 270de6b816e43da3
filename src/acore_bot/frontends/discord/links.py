"""Links that lead where they seem to lead.

A model's text may hold `[bank.com](http://evil)`, put there by whoever wrote what the model read.
Discord shows the words and hides the address. So both are shown: `bank.com <http://evil>`. This
happens last, on text that was measured before, so nothing here makes a text longer.

What Discord takes for code is left as it is, and that has to be certain: a link that only we take
for code would be live. Discord's marks overlap in odd ways (bold text may end inside a code span,
a list or a quote cuts a block in two), so we believe in plain cases only. From the first doubtful
one on, code is treated as text, which at worst shows an example of a link in its harmless form.
"""

import re

# Overrides, embeddings and isolates, which reverse what follows them; zero-width space, word
# joiner, byte order mark, soft hyphen. Joiners stay in text, where emoji and scripts need them.
_INVISIBLE = re.compile("[\u00ad\u180e\u200b\u202a-\u202e\u2060-\u206f\ufeff]+")
_INVISIBLE_IN_ADDRESS = re.compile("[\u034f\u061c\u115f\u1160\u200c-\u200f\u3164\ufe00-\ufe0f]+")
_WEB = re.compile(r"https?://[^\s<]+", re.IGNORECASE)
_ANGLED = re.compile(r"<[^: ><]+:/[^ >]+>")
_CREDENTIALS = re.compile(r"(https?://)[^/\\?#]*@", re.IGNORECASE)
_INVITE = re.compile(
    r"(?:https?://)?(?:(?:www|ptb|canary)\.)?"
    r"(discord\.gg|discord(?:app)?\.com/invite)/+(?=[\w-])",
    re.IGNORECASE,
)
_DESTINATION = re.compile(r"\(\s*<?((?:\\[^\w\s]|[^\s\\<>\[\]\"`])+)")
_TITLE_AND_END = re.compile(r"""\s*>?(?:\s+"[^"]*"|\s+'[^']*')?\s*\)""")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*:|[^.]+\.[^.]|/|#", re.IGNORECASE)
_ESCAPE = re.compile(r"\\([^\w\s])")
_QUOTE = re.compile(r" *> ")
_FENCE = re.compile(r"(?P<quote> *> )?(?P<indent> *)```(?!`)")
_LANGUAGE = re.compile(r"[a-z0-9_+\-.#]+\n", re.IGNORECASE)
_TICKS = re.compile(r"`+")
_STYLE = re.compile(r"\*{2,}|(?<=\S)\*|\*(?=\S)|_+|~~|\|\|")
_CLOSING = re.compile(r"\*+|_+(?!\w)|~~|\|\|")
_BRACKET_OR_JOINT = re.compile(r"\]\(|\[|\]")
_TOKEN = re.compile(r"[`\\<\[\]!\n]|https?://|[*_]+|~~|\|\|", re.IGNORECASE)
_MAX_TICKS = 3


def disarm(text: str) -> str:
    """Return a text in which every masked link shows its address, and which is not longer.

    Pictures, which Discord does not show, become links as well. Addresses lose characters that
    nobody sees, and names before their host (`https://bank.com@evil`). Invitations stay readable
    and lead nowhere. Code stays as it is, but for characters that reverse or hide others. An
    unfinished link at the end looks as it will when it is finished.
    """
    text = _INVISIBLE.sub("", text)
    if "](" not in text and "://" not in text and not _INVITE.search(text):
        return text
    return _Disarming(text).run()


def _clean(address: str) -> str:
    """What of an address may be shown; empty angles are for the caller."""
    address = _INVISIBLE_IN_ADDRESS.sub("", _ESCAPE.sub(r"\1", address))
    address = _CREDENTIALS.sub(r"\1", address, count=1)
    return _INVITE.sub(r"\1 ", address)


def _angled(address: str) -> str:
    """An address in angles, which make no preview, if it leads to the web."""
    return f"<{address}>" if _WEB.match(address) else address


class _Disarming:
    """One text on its way, from left to right. `_open` are the places of brackets in `_out`."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._out: list[str] = []
        self._open: list[int] = []
        self._styles: list[str] = []  # marks that are not closed, in order
        self._tangled: set[str] = set()  # those that were closed in another order
        self._code_is_certain = True

    def run(self) -> str:
        """Return the harmless text."""
        self._take_fence()
        while token := _TOKEN.search(self._text, self._at):
            plain = self._text[self._at : token.start()]
            self._put(_INVITE.sub(r"\1 ", plain))
            self._at = token.start()
            self._take(token[0])
        self._put(_INVITE.sub(r"\1 ", self._text[self._at :]))
        return "".join(self._out)

    def _put(self, piece: str, length: int = 0) -> None:
        if piece:
            self._out.append(piece)
        self._at += length

    def _take(self, token: str) -> None:
        match token[0]:
            case "`":
                self._take_ticks()
            case "\\":
                self._take_escape()
            case "<":
                self._take_angled()
            case "[":
                self._open.append(len(self._out))
                self._put("[", 1)
            case "]":
                self._take_bracket()
            case "\n":
                self._put(token, 1)
                self._take_fence()
            case "h" | "H":
                self._take_web()
            case _:
                self._note_style()
                self._put(token, len(token))

    def _take_escape(self) -> None:
        escape = _ESCAPE.match(self._text, self._at)
        # A backslash does not keep a bracket from closing a link.
        piece = escape[0] if escape and escape[1] != "]" else "\\"
        self._put(piece, len(piece))

    def _take_angled(self) -> None:
        angled = _ANGLED.match(self._text, self._at)
        self._doubt_if(angled is not None and "`" in angled[0])
        if angled and "](" not in angled[0]:
            self._put(f"<{_clean(angled[0][1:-1])}>", len(angled[0]))
            return
        self._put("<", 1)

    def _take_web(self) -> None:
        web = _WEB.match(self._text, self._at)
        if web is None:
            self._put(self._text[self._at], 1)
            return
        address, _, _ = web[0].partition("](")
        self._doubt_if("`" in web[0])
        address = address.rstrip(".,:;\"')]")
        self._put(_clean(address), len(address))

    def _take_bracket(self) -> None:
        if self._text.startswith("](", self._at):
            self._take_joint()
            return
        if self._open:
            self._open.pop()
        self._put("]", 1)

    # Masked links.

    def _take_joint(self) -> None:
        """Part the words of a link from its address, which no link survives."""
        start = self._at + 1
        found = _DESTINATION.match(self._text, start)
        address = _until_closed(found[1]) if found else ""
        if not found or not _ADDRESS.match(address):
            # Discord may find an address in there, and a title, before it looks for code.
            self._doubt_if(bool(set("`\"'") & set(self._text[start:].partition(")")[0])))
            self._put("](", 2)
            return
        end = found.start(1) + len(address)
        closing = _TITLE_AND_END.match(self._text, end)
        room = 1 if closing else 0  # what the closing bracket frees
        if not closing and self._text.startswith(">", end):
            end, room = end + 1, 1
        self._at = closing.end() if closing else end
        if self._open:
            self._put_link(_clean(address), room)
        else:
            shown = _angled(_clean(address))
            self._put("]" + (shown if room else f" {_clean(address)}"))

    def _put_link(self, address: str, room: int) -> None:
        place = self._open.pop()
        words = "".join(self._out[place + 1 :])
        if words.strip() in ("", address, f"<{address}>"):
            del self._out[place + 1 :]
            words = ""
        bracket = self._unbracket(place)
        self._out[place] = bracket
        if len(bracket) > room:
            self._put(f" {address}")
        else:
            self._put(f"{' ' if words else ''}{_angled(address)}")

    def _unbracket(self, place: int) -> str:
        """What stands where a link's bracket stood: nothing, unless that joins its neighbours."""
        if place and self._out[place - 1] == "!":
            self._out[place - 1] = ""
        before = next((piece for piece in reversed(self._out[:place]) if piece), "")
        return " " if before.endswith(("]", "`", "\\", "<")) else ""

    # Code.

    def _doubt_if(self, is_doubtful: bool) -> None:
        self._code_is_certain = self._code_is_certain and not is_doubtful

    def _take_fence(self) -> None:
        """Take a block of code that begins on this line, if one does."""
        fence = _FENCE.match(self._text, self._at)
        if not fence or not self._code_is_certain:
            return
        end = self._block_end(fence.end())
        lines = self._text[fence.start() : end].split("\n")[1:]
        is_cut = (fence["quote"] and not all(map(_QUOTE.match, lines))) or (
            fence["indent"] and not all(line.startswith(" ") for line in lines)
        )
        self._take_code(0 if is_cut else end)

    def _block_end(self, start: int) -> int:
        """Where a block of code ends whose marks end at `start`; 0 if that is not certain."""
        language = _LANGUAGE.match(self._text, start)
        for begin in (language.end() if language else start, start):
            content = _past_line_ends(self._text, begin)
            end = self._text.find("```", content + 1)
            if end >= 0:
                return 0 if self._text.startswith("`", end + 3) else end + 3
        return 0

    def _take_ticks(self) -> None:
        """Take a code span that ends on this line."""
        ticks = _TICKS.match(self._text, self._at)
        assert ticks is not None
        line_end = self._text.find("\n", self._at)
        line_end = len(self._text) if line_end < 0 else line_end
        end = 0
        if self._code_is_certain and len(ticks[0]) <= _MAX_TICKS:
            for closing in _TICKS.finditer(self._text, ticks.end(), line_end):
                if closing[0] == ticks[0]:
                    end = closing.end()
                    break
                if len(ticks[0]) == _MAX_TICKS < len(closing[0]):
                    break
        self._take_code(end)
        if not self._code_is_certain:
            self._put(ticks[0], len(ticks[0]))

    def _take_code(self, end: int) -> None:
        """Let the text up to `end` be, unless something may end in it that began before."""
        code = self._text[self._at : end]
        is_cut = any(map(self._is_open, _CLOSING.findall(code)))
        self._doubt_if(not code or is_cut or _has_orphan_joint(code))
        if self._code_is_certain:
            self._put(code, len(code))

    def _is_open(self, mark: str) -> bool:
        return mark[0] in self._tangled or any(one[0] == mark[0] for one in self._styles)

    def _note_style(self) -> None:
        style = _STYLE.match(self._text, self._at)
        if style is None:
            return
        if style[0] not in self._styles or not _CLOSING.match(self._text, self._at):
            self._styles.append(style[0])
            return
        while (mark := self._styles.pop()) != style[0]:
            self._tangled.update(mark[0], style[0][0])


def _past_line_ends(text: str, at: int) -> int:
    while text.startswith("\n", at):
        at += 1
    return at


def _until_closed(destination: str) -> str:
    """A destination up to the bracket that closes the link."""
    depth = 0
    for place, letter in enumerate(destination):
        depth += (letter == "(") - (letter == ")")
        if depth < 0:
            return destination[:place]
    return destination


def _has_orphan_joint(code: str) -> bool:
    """Whether code holds the second half of a link whose first half would stand before it."""
    before = ""
    for mark in _BRACKET_OR_JOINT.finditer(code):
        if mark[0] == "](" and before != "[":
            return True
        before = mark[0]
    return False
