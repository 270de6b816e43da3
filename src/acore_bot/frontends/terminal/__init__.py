"""Chat in a terminal or through a pipe, with no account and no key.

frontend      Terminal: which manner, and when to stop          (read first)
├── piped         a message a line in, final answers out
└── interactive   a prompt, and answers that grow as rendered Markdown
    ├── prompt        line editing, history, completion
    ├── reply         one answer on the screen while it grows
    ├── rendering     Markdown to lines, in pieces that can no longer change
    └── screen        lines that stay, and a few below them that still change
lines         what was typed, as the handler gets it; what may reach a terminal
signals       work that a signal cancels
"""

from acore_bot.frontends.terminal.frontend import Terminal

__all__ = ["Terminal"]
