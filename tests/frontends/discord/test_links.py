"""Links show where they lead, as Discord would show them."""

import re

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
_WEB = re.compile(r"(?:https?|steam)://[^\s<]+[^<.,:;\"')\]\s]")
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
_LINE = re.compile(r" *(?:-#|#{1,3})\s+([^\n]+)\n?")
_LIST = re.compile(r"( *)(?:[-*]|\d+\.) [\s\S]+?(?:\n+(?! )(?!\1(?:[-*]|\d+\.) )\n*|\s*\Z)")
_ITEM = re.compile(r"( *)(?:[-*]|\d+\.) +[^\n]*(?:\n(?!\1(?:[-*]|\d+\.) )[^\n]*)*(?:\n|\Z)")


def enclosed(text: str, at: int, *, in_quote: bool) -> tuple[list[str], int]:
    """Tell what a rule of lines encloses that matches here, and where it ends."""
    if not in_quote and (quote := _QUOTE.match(text, at)):
        return [re.sub(r"^ *>(?:>>)? ?", "", quote[0], flags=re.MULTILINE)], quote.end()
    if line := _LINE.match(text, at):
        return [line[1]], line.end()
    if listed := _LIST.match(text, at):
        items = [item[0] for item in _ITEM.finditer(listed[0])]
        items = [re.sub(r"^ *(?:[-*]|\d+\.) +", "", item) for item in items]
        return [re.sub(r"^ +", "", item, flags=re.MULTILINE) for item in items], listed.end()
    return [], at


def masked_links(text: str, *, in_quote: bool = False) -> list[str]:
    """Tell where the links of a text lead whose address it hides."""
    found: list[str] = []
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "").replace("\t", "    ")
    at = 0
    while at < len(text):
        if at == 0 or text[at - 1] == "\n":
            inners, end = enclosed(text, at, in_quote=in_quote)
            if end > at:
                is_quote = in_quote or text[at:end].lstrip().startswith(">")
                found += [one for inner in inners for one in masked_links(inner, in_quote=is_quote)]
                at = end
                continue
        if rule := next(
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
    ("[a] b](https://a.example)", "[a] b] https://a.example)"),
    ("[bank.com\n](http://evil.example)", "bank.com\n <http://evil.example>"),
    ("[](http://evil.example)", "<http://evil.example>"),
    ("[a](HTTP://evil.example)", "a <HTTP://evil.example>"),
    (r"[a](http\://evil.example)", "a <http://evil.example>"),
    (r"[a\](http://evil.example)", "a\\ <http://evil.example>"),
    (
        "[bank.com][(http://evil.example)](http://x.example)",
        "[bank.com] http://evil.example) <http://x.example>",
    ),
    ("[a](http://x.example](http://evil.example)", "a <http://x.example>] http://evil.example)"),
    ("[bank.com](\n> http://evil.example)", "[bank.com] \n> http://evil.example)"),
    ("[bank.com]\f(http://evil.example)", "bank.com <http://evil.example>"),
    # Within other marks, code among them that may not be what it seems.
    ("||[a](http://evil.example)||", "||a <http://evil.example>||"),
    ("**[a](http://evil.example)**", "**a <http://evil.example>**"),
    ("> [a](http://evil.example)", "> a <http://evil.example>"),
    ("- [a](http://evil.example)", "- a <http://evil.example>"),
    ("# [a](http://evil.example)", "# a <http://evil.example>"),
    ("`[a](http://evil.example)`", "`a <http://evil.example>`"),
    ("  ```\n  [a](http://evil.example)\n  ```", "  ```\n  a <http://evil.example>\n  ```"),
    ("~~~\n[a](http://evil.example)\n~~~", "~~~\na <http://evil.example>\n~~~"),
    # Other schemes.
    ("[a](javascript:alert(1))", "a javascript:alert(1)"),
    ("[a](JaVaScRiPt:alert(1))", "a JaVaScRiPt:alert(1)"),
    ("[a](data:text/html;base64,PHNjcmlwdD4=)", "a data:text/html;base64,PHNjcmlwdD4="),
    ("[a](discord://-/channels/1)", "a discord://-/channels/1"),
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
    ("[a](https://discord.gg/abc)", "a <discord.gg abc>"),
    ("www.discord.gg//abc", "discord.gg abc"),
    ("https://discord.gg\\abc", "discord.gg abc"),
    # Unfinished ones.
    (
        "[bank.com][(http://b.example](http://evil.example",
        "[bank.com] http://b.example <http://evil.example>",
    ),
    ("[bank.com](http://evil.exam", "bank.com <http://evil.exam>"),
    ("[bank.com](http://evil.exam ▌", "bank.com <http://evil.exam> ▌"),
]

UNTOUCHED = [
    "plain text, f[0](x) and a[i](j) and [1] and (2)",
    "[a](docs/read.me) and def first[T](items: list[T]) -> T",
    "https://a.example/b_c_d?e=f&g=(h) and <https://a.example/i>.",
    "```md\n[a](https://a.example)\n```",
    "Here:\n```md\n# A\n\n[a](https://a.example)\n- [b](https://b.example)\n```\nand more",
    "**bold** and `a_b`:\n```\n[a](https://a.example) **b** `c_`\n```",
    "# A\n- **`b.md`**: *c* | d ~ 3 * 4\n* e\n1. ~~f~~ ||g||\n> h\n\n```\n[a](https://a.example)\n```",
    "<@1>, https://a.example/b_c and <https://a.example/b_>:\n```\n[a](https://a.example) _b_\n```",
    "a\n```\n[a](https://a.example)\n```\nb\n```\nhttps://b:c@d.example discord.gg/e\n```\n",
    "```\na `` b\n```\n```\n[a](https://a.example)\n```",
    "a family 👨‍👩‍👧 and <@1> <#2> <:smile:3> <t:4:R>",
    "می‌خواهم",
]

# Texts that make Discord see other code than a simple reader does.
SWALLOWED = [
    "a `b\n```\nc` [x](http://evil.example)\n```",
    "a_b:\n```\n_ [x](http://evil.example)\n```",
    "a ~~b:\n```\n~~ [x](http://evil.example)\n```",
    "a ||b:\n```\n|| [x](http://evil.example)\n```",
    "2 *3:\n```\n* [x](http://evil.example)\n```",
    "2 * a*.\n```\nb* [x](http://evil.example)\n```",
    "__a:\n```\n__ [x](http://evil.example)\n```",
    "*a *:\n```\nb* [x](http://evil.example)\n```",
    "_a_b\n```\nc_ [x](http://evil.example)\n```",
    "<a\n```\nb:/c> [x](http://evil.example)\n```",
    "[bank.com\n```\n](http://evil.example)\n```",
    "[bank.com] b\n```\n](http://evil.example)\n```",
    "http://`**a**<`a`_`\n```\n<[x](http://evil.example)\n```\n**:/>",
    "https://a.`b c`\n```\nd` [x](http://evil.example)\n```",
    "<:https://a>`b c`\n```\nd` [x](http://evil.example)\n```",
    "steam://`a b`\n```\nc` [x](http://evil.example)\n```",
    "HTTP://a_b\n```\n_ [x](http://evil.example)\n```",
    "https://_\n```\n_ [x](http://evil.example)\n```",
    "a\\\n```\n[x](http://evil.example)\n```",
    "# \n```\n[x](http://evil.example)\n```",
    "a\n-# \n\n```\n[x](http://evil.example)\n```",
    "- \n```\n[x](http://evil.example)\n```",
    "\t* \n```\n[x](http://evil.example)\n```",
    "1. \n```\n[x](http://evil.example)\n```",
    "- a\n  ```\n  b\n[x](http://evil.example)\n  ```",
    "```\n```\n```\n[x](http://evil.example)\n```",
    "```\n\n```\n[x](http://evil.example)\n```",
    "``` a\nb\n```\n[x](http://evil.example)\n```",
    "````\n```\n[x](http://evil.example)\n```",
    "```\na ```\n[x](http://evil.example)\n```",
    "']((.*``[x](http://evil.example)*``'",
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
        *("[x](http://evil.example)", "`[x](http://evil.example)`", "\f", "\n1. ", "a\n", "**a** "),
        "\n```md\n[x](http://evil.example)\n```\n",
    ]
)


@settings(max_examples=2000, deadline=None)
@given(st.lists(PIECES, max_size=25).map("".join))
@example("[<a:/]>(http://evil.example)")
@example("[<https://discord.gg/a]>(http://evil.example)")
@example("``[[x](http://evil.example)](http://evil.example)`")
@example("']((.*``[x](http://evil.example)*``'")
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


HOSTILE = [
    *("[", "]", "<", "<a:/", "`", "](", "[a](http://", "` ", "https://", "```\n", "_`", "a.", "> "),
    *("[[a]", "[a](x:(", "[a](x:\\", "](\\", "](+", "[a](x: ", '[a](x:y "', "**`a`", "# \n", "\n"),
    *("```\na\n```\n", "discord.gg/", "https://a@", "*a ", "[a](x:y)", "```a\n", "<a", "![a]("),
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_s19_a_flood_of_brackets_is_a_text_like_any(piece: str) -> None:
    """A megabyte of the worst is done within the time that any test has, which it would not be if
    it took more than in proportion to its length."""
    text = (piece * 1_000_000)[:1_000_000]
    assert units(disarm(text)) <= units(text)
