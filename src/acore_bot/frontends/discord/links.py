"""Links that lead where they seem to lead.

A model's text may hold `[bank.com](http://evil)`, put there by whoever wrote what the model read.
Discord shows the words and hides the address. So both are shown: `bank.com <http://evil>`. This
happens last, on text that was measured before, so nothing here makes a text longer.

However Discord reads a text, it hides no address without `](` and an address behind it. So none is
left in a text, and there is no need to know what else its marks mean. A code block is left as it is
only where everything before it is so plain that it cannot be read in two ways. All other code, that
within a line too, counts as text: an example of a link is then shown in its harmless form.
"""

import re

# Controls, some of which Discord drops, so that their neighbours join; overrides, embeddings and
# isolates, which reverse what follows them; zero-width space, word joiner, byte order mark, soft
# hyphen. Joiners stay in text, where emoji and scripts need them.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u180e\u200b\u202a-\u202e\u2060-\u206f\ufeff]+"
)
_INVISIBLE_IN_ADDRESS = re.compile(
    "[\u034f\u061c\u115f\u1160\u200c-\u200f\u3164\ufe00-\ufe0f\U000e0000-\U000e0fff]+"
)
_WEB = re.compile(r"https?://[^\s<>]+", re.IGNORECASE)
_CREDENTIALS = re.compile(r"(https?://)[^\s<>/\\?#]*@", re.IGNORECASE)
_INVITE = re.compile(
    r"(?:https?://)?(?:(?:www|ptb|canary)\.)?"
    r"(discord\.gg|discord(?:app)?\.com/invite)[/\\]+(?=[\w-])",
    re.IGNORECASE,
)
_ESCAPE = re.compile(r"\\([^\w\s])")
_LINK = re.compile(
    r"""
    !?\[ (?P<words> [^\[\]]*+ (?: \[[^\[\]]*+\] [^\[\]]*+ )* ) \]
    \(\s*+ <?
    (?P<address> [a-z][\w+.-]*+\\?: (?: \\[^\w\s] | \([^\s()<>]*+\) | [^\s()<>\[\]"`] )+ )
    (?: >? (?: \s+ (?: "[^"]*+" | '[^']*+' ) )? \s*\) | > )?
    """,
    re.VERBOSE | re.IGNORECASE,
)
# What may hide an address by any reading: between the bracket and the scheme are at most spaces,
# the marks of a quote and the like. No match reaches beyond the next bracket: time stays linear.
_JOINT = re.compile(r"\]\((?=[^\w()\[\]]*+[\w+.\-\\]*+:\S)")
_BLOCK = re.compile(
    r"^```[a-z0-9_+\-.#]*\n(?=\n*[^\n`])(?:[^`]++|`(?!``))*```",
    re.MULTILINE | re.IGNORECASE,
)
# Pieces of text in which each mark ends what it began before anything else begins.
_MARKS = r"`*_\[\\<~|"
_PLAIN = re.compile(
    rf"""
    <(?: https?://(?: _ | [^\s>{_MARKS}] )+ | [^\s>:{_MARKS}]+ )>
    | (?<!\w) https?://[a-z0-9](?: _ | [^\s>{_MARKS}] )* (?=[\s<])
    | (?<!\w) (?P<mark> \*\*? | __? | ~~ | \|\| ) (?!\s)
      (?: [^\n{_MARKS}] | `[^\n{_MARKS}]+` )+ (?<!\s) (?P=mark) (?![\w*~|])
    | `[^`\n]+`
    | \*(?=[ ]) | ~(?!~) | \|(?!\|)
    | (?!://) [^{_MARKS}]
    """,
    re.VERBOSE,
)
# Marks of a line with no words behind them, which Discord may find on the next line; and the quote
# that has no end.
_BARE = re.compile(r"^[ \t]*(?:(?:-?#+|[-*]|\d+\.)\s*\n|>>>)", re.MULTILINE)


def disarm(text: str) -> str:
    """Return a text in which every masked link shows its address, and which is not longer.

    Pictures, which Discord does not show, become links as well. Addresses lose characters that
    nobody sees, and names before their host (`https://bank.com@evil`). Invitations stay readable
    and lead nowhere. Blocks of code stay as they are, but for characters that reverse or hide
    others, if all before them is plain. An unfinished link at the end looks as it will when it is
    finished.
    """
    text = _INVISIBLE.sub("", text)
    shown = ""
    end = 0
    for block in _BLOCK.finditer(text):
        before = _disarm_text(text[end : block.start()])
        if _BARE.search(before) or _PLAIN.sub("", before):
            break
        shown += before + block[0]
        end = block.end()
    return shown + _disarm_text(text[end:])


def _disarm_text(text: str) -> str:
    text = _LINK.sub(_show_address, text)
    text = _WEB.sub(lambda web: _INVISIBLE_IN_ADDRESS.sub("", web[0]), text)
    text = _CREDENTIALS.sub(r"\1", text)
    text = _INVITE.sub(r"\1 ", text)
    # Last, for what was hard to read above, and for what became a link by it.
    return _JOINT.sub("] ", text)


def _show_address(link: re.Match[str]) -> str:
    """Return a link's words and its address, in angles if it leads to the web."""
    words = _LINK.sub(_show_address, link["words"])
    address = _ESCAPE.sub(r"\1", link["address"])
    shown = f"<{address}>" if _WEB.match(address) else address
    return shown if words.strip() in ("", address, shown) else f"{words} {shown}"
