"""Discord as a front end.

frontend      Discord: serves, stops, and examines              (read first)
├── client        the connection: what we listen to, and where it leads
├── translate     a message of Discord as the core hears it
├── turns         the messages that are being answered
├── interactions  commands and menus: which there are, and what becomes of one
├── presses       the buttons under answers, which `buttons` draws
├── panel         the settings of a server, as its managers turn them
├── departures    what is edited, deleted and left
├── catch_up      what was said while we were away
├── attachments   files, from Discord's own hosts only
├── watch         whether the loop and the gateway are alive
├── refusals      what cannot be mended by asking again
└── examination   what `acore doctor` says of it
reply         where one answer becomes visible
└── outbox        the one way out: every send, edit and typing
    ├── addresses where a message goes, each with its own routes
    ├── webhooks  personas under their own names and pictures
    ├── pace      when which message may be edited
    ├── typing    that an answer is being prepared
    └── links     links that say where they lead
"""

from acore_bot.frontends.discord.frontend import Discord

__all__ = ["Discord"]
