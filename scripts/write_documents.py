"""Writes those parts of docs/ that the code knows best: each stands between two marks in its file.

Run: uv run python scripts/write_documents.py
"""

import asyncio
import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from acore_bot.app.towers import open_app
from acore_bot.chat.policy.knobs import DESCRIPTIONS, Description
from acore_bot.config import Settings, load
from acore_bot.contracts import Scope
from acore_bot.database.layout import Layout
from acore_bot.database.opening import open_connection
from acore_bot.frontends.discord.addresses import Payload
from acore_bot.frontends.discord.interactions import tree
from acore_bot.history.migrations import HISTORY
from acore_bot.messages import Author, IncomingCommand, Place
from acore_bot.records.migrations import RECORDS

DOCS = Path(__file__).parent.parent / "docs"
BLOCK = re.compile(r"(<!-- from the code: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

# Discord shows menus without a sentence, so theirs are here, with who sees what they answer.
MENUS = {
    tree.ASK_ABOUT: ("Ask a question about that message and what is attached to it", True),
    tree.WHY: ("See which rule made me answer that message, or stay silent", False),
}
SCOPES: Mapping[Scope, str] = {"guild": "server", "channel": "channel", "role": "role"}

DEFAULTS: Mapping[str, object] = {}
CLOUD: Mapping[str, object] = {
    "chat.model": "openrouter/openai/gpt-5-mini",
    "providers.openrouter.api_key": "none",
    "privacy.retention_days": 30,
}

# What is in each table, in words for those whose words they are. One that is not here is an error:
# nothing may be stored that the document does not tell of.
TABLES: Mapping[str, Mapping[str, str]] = {
    "history.sqlite3": {
        "messages": "What people said to the bot and what it answered, with the speaker's id and "
        "name. Quotes and what was read of files stand in the text.",
        "parts": "Which messages on Discord belong to one long answer.",
    },
    "records.sqlite3": {
        "settings": "What is set in `/settings`, and the persona and model of a channel: what was "
        "chosen, and not by whom.",
        "used": "How much of a budget was used on a day, for 40 days; only where there is one. A "
        "person's account is named by a hash of their id.",
        "reservations": "What answers that are being written may use at most.",
        "reserved": "Which budgets that counts for.",
        "paused": "The ids of those who want nothing of theirs to be taken in.",
        "answers": "Of each answer: who asked, when and where, and its receipt (model, time, "
        "tokens, cost, names of files). For `/ask`, the question too, so that it can be answered "
        "once more.",
        "answer_parts": "Which messages on Discord belong to one answer.",
        "places": "In which server and channel each conversation is.",
        "comparisons": "Who let which two models answer, and where. Neither question nor answers.",
        "votes": "Who found which answer better.",
    },
}
LAYOUTS: Mapping[str, Layout] = {"history.sqlite3": HISTORY, "records.sqlite3": RECORDS}


def commands() -> str:
    """Return the table of all commands and menus."""
    rows = [row for payload in tree.payloads() for row in _command_rows(payload)]
    return table(("command", "what it does", "where", "who sees the answer"), rows)


def _command_rows(payload: Payload) -> Iterator[tuple[str, ...]]:
    name, where = payload["name"], _where(payload)
    if payload["type"] == tree.MESSAGE_MENU:
        sentence, is_public = MENUS[name]
        yield f"**{name}**, in a message's menu under *Apps*", sentence, where, _seen(is_public)
        return
    below = [one for one in payload["options"] if "options" in one]
    uses: dict[tree.Path, Payload] = {(name, one["name"]): one for one in below}
    for path, one in (uses or {(name,): payload}).items():
        use = " ".join((f"/{' '.join(path)}", *map(_option, one["options"])))
        yield f"`{use}`", one["description"], where, _seen(path in tree.PUBLIC)


def _option(option: Payload) -> str:
    return option["name"] if option.get("required") else f"[{option['name']}]"


def _where(payload: Payload) -> str:
    # Discord's numbers: 0 a server, 1 a private chat with the bot, 2 any other private chat.
    where = "everywhere" if 2 in payload["contexts"] else "servers"
    if payload["contexts"] == [0, 1]:
        where = "servers, private chats with it"
    if "default_member_permissions" in payload:
        where += "; for those who may manage them"
    return where


def _seen(is_public: bool) -> str:
    return "all" if is_public else "you alone"


def settings() -> str:
    """Return the table of all settings of the panel."""
    rows = [
        (f"**{one.label}**", one.description, _values(one), _scopes(one))
        for one in DESCRIPTIONS.values()
    ]
    return table(("setting", "what it means", "what it can be", "for a"), rows)


def _values(one: Description) -> str:
    return ", ".join(label for _, label in one.choices) or one.hint


def _scopes(one: Description) -> str:
    return ", ".join(word for scope, word in SCOPES.items() if scope in one.scopes)


def stored() -> str:
    """Return the table of all that the databases hold, as fresh ones are."""
    rows = [row for file, layout in LAYOUTS.items() for row in _stored_rows(file, layout)]
    return table(("file", "table", "what is in it", "columns"), rows)


def _stored_rows(file: str, layout: Layout) -> list[tuple[str, ...]]:
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(open_connection(Path(folder, file), layout)) as connection,
    ):
        return [
            (f"`{file}`", f"`{name}`", TABLES[file][name], ", ".join(f"`{it}`" for it in names))
            for name, names in _columns(connection).items()
        ]


def _columns(connection: sqlite3.Connection) -> Mapping[str, Sequence[str]]:
    select = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    tables = [name for (name,) in connection.execute(select)]
    return {
        name: [column for _, column, *_ in connection.execute(f"PRAGMA table_info({name})")]
        for name in tables
    }


def told(overrides: Mapping[str, object]) -> str:
    """Return what `/privacy show` tells a person in a channel under these settings."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "acore.toml")
        file.touch()  # or else a file of whoever runs this would be found
        flags = {"data.directory": folder, "chat.personas_directory": folder, **overrides}
        shown = asyncio.run(_shown(load(file, flags, environ={})))
    return "".join(f"> {line}".rstrip() + "\n" for line in shown.splitlines())


async def _shown(settings: Settings) -> str:
    command = IncomingCommand(
        conversation="discord:2",
        author=Author("3", "Ada"),
        name="privacy",
        argument="show",
        place=Place("1", "2"),
    )
    async with open_app(settings) as bot:
        return str(await bot.core.commands.run(command))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a table in Markdown."""
    lines = (head, ["---"] * len(head), *rows)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


BLOCKS: Mapping[str, Callable[[], str]] = {
    "commands": commands,
    "settings": settings,
    "stored": stored,
    "privacy-defaults": lambda: told(DEFAULTS),
    "privacy-cloud": lambda: told(CLOUD),
}


def renewed(text: str) -> str:
    """Write every block of a document anew. Raises `KeyError` for a block that nobody makes."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{BLOCKS[found[2]]()}\n{found[3]}", text)


def documents() -> list[Path]:
    """Name the documents, in order."""
    return sorted(DOCS.glob("*.md"))


if __name__ == "__main__":
    for document in documents():
        document.write_text(renewed(document.read_text("utf-8")), encoding="utf-8")
