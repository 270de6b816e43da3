"""Which commands there are, as Discord is told of them.

A command is named by its path, such as `("persona", "set")`. Its options have the same meaning
wherever they appear: `name` is suggested by the core, `file` is an attachment.
"""

from collections.abc import Iterator
from typing import Final, TypeAlias

from acore_bot.frontends.discord.addresses import Payload

Path: TypeAlias = tuple[str, ...]

SLASH, MESSAGE_MENU = 1, 3
_SUBCOMMAND, _STRING, _ATTACHMENT = 1, 3, 11
_GUILD, _BOT_CHAT, _OTHER_CHAT = 0, 1, 2  # where it may be used
_GUILD_INSTALL, _USER_INSTALL = 0, 1
_MANAGE_GUILD = str(1 << 5)

MAX_TEXT: Final = 2000  # what one message holds
MAX_NAME: Final = 100  # what a suggestion holds

ASK_ABOUT: Final = "Ask about this"
WHY: Final = "Why?"
SETTINGS: Final[Path] = ("settings", "show")
RELOAD: Final[Path] = ("settings", "reload")
ASK: Final[Path] = ("ask",)
CHAT: Final[Path] = ("chat",)
COMPARE: Final[Path] = ("compare", "models")

# What these change, or ask, concerns all who read along.
PUBLIC: Final[frozenset[Path]] = frozenset(
    {ASK, CHAT, COMPARE, ("persona", "set"), ("model", "set"), ("reset",)}
)


def payloads() -> list[Payload]:
    """Return all commands as `PUT /applications/{id}/commands` takes them."""
    return [
        _everywhere(_slash("ask", "Ask a question, outside of any conversation",
                           _text("question", "What you would like to know"), _file())),
        _everywhere(_slash("chat", "Say something to me in this conversation",
                           _text("message", "What you would like to say"), _file())),
        _everywhere(_slash("persona", "Who answers here", *_choosing("persona"))),
        _everywhere(_slash("model", "Which model answers here", *_choosing("model"))),
        _everywhere(_slash("summary", "Sum up this conversation")),
        _everywhere(_slash("stats", "See how I have been doing lately")),
        _everywhere(_slash("help", "See what I can do for you")),
        _everywhere(_slash("privacy", "What I know of you, and what becomes of it", *_privacy())),
        _in_guilds(_slash("compare", "Compare two models by their answers", *_comparing())),
        _in_guilds(_slash("reset", "Forget this conversation and start afresh"), _BOT_CHAT),
        _for_managers(_slash("doctor", "Look whether all is well with me")),
        _for_managers(_slash("settings", "How I behave here", *_setting())),
        _everywhere(_menu(ASK_ABOUT)),
        _everywhere(_menu(WHY)),
    ]  # fmt: skip


def paths() -> frozenset[Path]:
    """Return the paths of all slash commands."""
    return frozenset(path for command in payloads() for path in _paths_of(command))


def _paths_of(command: Payload) -> Iterator[Path]:
    if command["type"] != SLASH:
        return
    below = [one for one in command["options"] if one["type"] == _SUBCOMMAND]
    yield from ((command["name"], one["name"]) for one in below)
    if not below:
        yield (command["name"],)


def _choosing(kind: str) -> Iterator[Payload]:
    yield _sub("show", f"See which {kind} answers here now")
    yield _sub("list", f"See every {kind} that there is")
    yield _sub("set", f"Let another {kind} answer here", _name("name", f"The {kind} to choose"))


def _privacy() -> Iterator[Payload]:
    yield _sub("show", "See what is kept of you, where, and for how long")
    yield _sub("export", "Get a file with all that you said to me")
    yield _sub("forget", "Erase all that you said to me, and my answers to it")
    yield _sub("pause", "Ask me not to take in what you say from now on")
    yield _sub("resume", "Let me take in what you say again")


def _setting() -> Iterator[Payload]:
    yield _sub("show", "Choose how I behave here")
    yield _sub("reload", "Read my settings file anew, for my owner")


def _comparing() -> Iterator[Payload]:
    yield _sub(
        "models",
        "Let two models answer one question, without their names",
        _text("question", "What both are to answer"),
        _name("first", "One of the models; without it, I choose", required=False),
        _name("second", "The other model; without it, I choose", required=False),
    )
    yield _sub("results", "See which models people here like best")


def _slash(name: str, description: str, *options: Payload) -> Payload:
    return {"type": SLASH, "name": name, "description": description, "options": list(options)}


def _menu(name: str) -> Payload:
    return {"type": MESSAGE_MENU, "name": name}


def _sub(name: str, description: str, *options: Payload) -> Payload:
    return {**_slash(name, description, *options), "type": _SUBCOMMAND}


def _text(name: str, description: str) -> Payload:
    return {
        "type": _STRING,
        "name": name,
        "description": description,
        "required": True,
        "min_length": 1,
        "max_length": MAX_TEXT,
    }


def _name(name: str, description: str, *, required: bool = True) -> Payload:
    bounds = {"required": required, "max_length": MAX_NAME, "autocomplete": True}
    return {**_text(name, description), **bounds}


def _file() -> Payload:
    return {"type": _ATTACHMENT, "name": "file", "description": "A file to look at"}


def _everywhere(command: Payload) -> Payload:
    installs = [_GUILD_INSTALL, _USER_INSTALL]
    return {**command, "integration_types": installs, "contexts": [_GUILD, _BOT_CHAT, _OTHER_CHAT]}


def _in_guilds(command: Payload, *also: int) -> Payload:
    return {**command, "integration_types": [_GUILD_INSTALL], "contexts": [_GUILD, *also]}


def _for_managers(command: Payload) -> Payload:
    return {**_in_guilds(command), "default_member_permissions": _MANAGE_GUILD}
