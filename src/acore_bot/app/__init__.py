"""The only room that knows all: builds the towers, opens everything and closes it again.

`towers` is the one to read; `assembly` puts the core together over them, of the `options` that the
settings say; `opening` makes providers of their settings, `sessions` is what a person does with an
open bot, `serving` opens the front ends that serve many, `watching` is what a bot tells of itself,
and `checks` and `findings` are what `acore doctor` looks at.
"""

from acore_bot.app.assembly import Manners
from acore_bot.app.checks import examine
from acore_bot.app.serving import serve_discord
from acore_bot.app.sessions import chat_in_terminal, forget_typed_lines, stateless_request
from acore_bot.app.towers import App, open_app, open_history, open_model, open_records
from acore_bot.app.watching import open_telemetry

__all__ = [
    "App",
    "Manners",
    "chat_in_terminal",
    "examine",
    "forget_typed_lines",
    "open_app",
    "open_history",
    "open_model",
    "open_records",
    "open_telemetry",
    "serve_discord",
    "stateless_request",
]
