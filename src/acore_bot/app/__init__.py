"""The only room that knows all: builds the towers, opens everything and closes it again.

`towers` is the one to read; `opening` makes providers of their settings, `sessions` is what a
person does with an open bot, `serving` opens the front ends that serve many, and `checks` is what
`acore doctor` looks at.
"""

from acore_bot.app.checks import examine
from acore_bot.app.serving import serve_discord
from acore_bot.app.sessions import chat_in_terminal, forget_typed_lines, stateless_request
from acore_bot.app.towers import App, Manners, open_app, open_history, open_model

__all__ = [
    "App",
    "Manners",
    "chat_in_terminal",
    "examine",
    "forget_typed_lines",
    "open_app",
    "open_history",
    "open_model",
    "serve_discord",
    "stateless_request",
]
