"""Writes those parts of docs/ that the code knows best: each stands between two marks in its file.

Run: uv run python scripts/write_documents.py
"""

import asyncio
import json
import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from enum import Enum
from pathlib import Path

import typer
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from typer.core import TyperArgument, TyperCommand, TyperGroup

from acore_bot.app.towers import open_app
from acore_bot.chat.policy.knobs import DESCRIPTIONS, Description
from acore_bot.cli import acore
from acore_bot.config import Settings, TimeLimits, load
from acore_bot.config.faults import allowed, default_at
from acore_bot.config.providers import KNOWN_PROVIDERS, PROVIDER_KINDS
from acore_bot.config.section import Section
from acore_bot.config.settings import Sections
from acore_bot.config.sources import OWN_NAMES, KeyPath
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

# What the first page tells of figures of performance.md, which are found by their name and by what
# stands beside them; and what that is. Where ours stands beside another, the two are exchanged.
FIGURES: Mapping[tuple[str, str], tuple[str, str]] = {
    ("OpenAI, 100 in bundles", "openai client"): (
        "Processor time for each piece of an answer, a hundred answers at once",
        "the official client",
    ),
    ("10: staleness", "perfect scheduler"): (
        "How old the text is that people see, ten answers at once within Discord's limits",
        "the best that is possible",
    ),
    ("10: staleness with one clock", "ours"): (
        "The same",
        "one edit a second over all channels",
    ),
    ("first delta, first model dead, breaker open", "second model asked straight"): (
        "Until the first word, if the first model is known to be dead",
        "the second model asked straight",
    ),
    ("exchange, 50 at once, 10 channels", "JSON rewrites"): (
        "A question and its answer stored, fifty at once, to survive a kill of the bot",
        "a JSON file rewritten, which may not",
    ),
    ("an event", "logging.FileHandler"): (
        "What the log of an event costs the bot",
        "Python's own file handler",
    ),
}
EXAMPLE = DOCS / "examples" / "acore-backwards"

# The example of what a model costs: tokens of a prompt, of an answer, and how often, in a day.
PROMPT_TOKENS, ANSWER_TOKENS, ANSWERS_A_DAY, DAYS = 2000, 300, (20, 200, 2000), 30
PROMPT_DOLLARS, COMPLETION_DOLLARS = 0.25, 2.0  # for a million, as in the example of the settings


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


def configuration() -> str:
    """Return every section of the settings file, with a table of its settings."""
    parts = []
    for name, field in Sections.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            parts.append(_section(f"[{name}]", kind, kind.model_fields, (name,)))
    return "\n".join((*parts, *_provider_sections()))


def _provider_sections() -> Iterator[str]:
    for name, known in KNOWN_PROVIDERS.items():
        yield _own_section(f"[providers.{name}]", known["kind"], ("providers", name))
    scripted = ("providers", "a_name_of_yours")
    yield _own_section('[providers.…] with kind = "scripted"', "scripted", scripted)
    shared = ("providers", "a_name_of_yours")
    yield _section("Of every provider", TimeLimits, TimeLimits.model_fields, shared)


def _own_section(title: str, kind: str, path: KeyPath) -> str:
    section = PROVIDER_KINDS[kind]
    fields = section.model_fields.items()
    own = {name: field for name, field in fields if name not in TimeLimits.model_fields}
    return _section(title, section, own, path)


def _section(
    title: str, section: type[Section], fields: Mapping[str, FieldInfo], path: KeyPath
) -> str:
    rows = [_setting(field, (*path, name)) for name, field in fields.items()]
    sentence = " ".join((section.__doc__ or "").split())
    shown = table(("setting", "what it means, and its variable", "default"), rows)
    return f"## {title}\n\n{sentence}\n\n{shown}"


def _setting(field: FieldInfo, path: KeyPath) -> tuple[str, str, str]:
    variable = f"ACORE_{'__'.join(path).upper()}"
    words = "" if path[-1] == "kind" else f" {_first_large(allowed(field))}."
    meaning = f"{field.description}{words}<br>`{variable}`"
    default = default_at(path, field, {"providers": KNOWN_PROVIDERS})
    if field.default_factory:
        default = field.examples[0] if field.examples else None
    is_unset = default in (None, (), {}) or default is PydanticUndefined
    shown = "" if is_unset else f"`{json.dumps(default, ensure_ascii=False)}`"
    return f"`{path[-1]}`", meaning, shown


def _first_large(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def own_names() -> str:
    """Return the table of the variables that have names of their own."""
    rows = [(f"`{name}`", f"`{'.'.join(path)}`") for name, path in OWN_NAMES.items()]
    return table(("variable", "the setting that it is"), rows)


def command_line() -> str:
    """Return every command of the terminal, with its options."""
    return "\n".join(_commands("acore", typer.main.get_command(acore)))


def _commands(name: str, command: object) -> Iterator[str]:
    assert isinstance(command, TyperCommand | TyperGroup)
    yield _command(name, command)
    for word, below in getattr(command, "commands", {}).items():
        yield from _commands(f"{name} {word}", below)


def _command(name: str, command: TyperCommand | TyperGroup) -> str:
    shown = [one for one in command.params if not getattr(one, "hidden", False)]
    rows = [(f"`{_spelt(one)}`", _meaning(one)) for one in shown]
    words = table(("argument or option", "what it means"), rows) if rows else ""
    return f"## {name}\n\n{command.help}\n" + (f"\n{words}" if words else "")


def _spelt(one: object) -> str:
    value = getattr(one, "metavar", None) or str(getattr(one, "name", "")).upper()
    if isinstance(one, TyperArgument):
        return str(value).replace("|", "or")  # a bar would end the cell
    names = ", ".join((*getattr(one, "opts", ()), *getattr(one, "secondary_opts", ())))
    return names if getattr(one, "is_flag", False) else f"{names} {value}"


def _meaning(one: object) -> str:
    words, default = [getattr(one, "help", "")], getattr(one, "default", None)
    if isinstance(default, Enum):
        words.append(f"One of {', '.join(f'`{choice.value}`' for choice in type(default))}.")
    # Flags say by their sentence what they change; what is computed differs by machine.
    if isinstance(default, str | int) and not isinstance(default, bool):
        words.append(f"By default `{default}`.")
    return " ".join(words)


def figures() -> str:
    """Return some rows of performance.md, each with a sentence."""
    measured = {
        (cells[0], cells[2].rpartition(":")[0]): cells
        for line in (DOCS / "performance.md").read_text("utf-8").splitlines()
        if len(cells := re.split(r" {2,}", line)) > 3
    }
    rows = [_figure(measured[key], key[1], *words) for key, words in FIGURES.items()]
    return table(("what", "here", "beside it"), rows)


def _figure(cells: Sequence[str], beside: str, what: str, words: str) -> tuple[str, str, str]:
    """Return a row of a figure whose cells are its name, value with unit, and comparison."""
    value, _, unit = cells[1].replace(" CPU/event", "").partition(" ")
    here, other = value, cells[2].removeprefix(f"{beside}: ")
    if beside == "ours":
        here, other = other, here
    return what, f"{here} {unit}", f"{other} {unit}: {words}"


def costs() -> str:
    """Return what the example costs in a month, computed as the page says."""
    each = (PROMPT_TOKENS * PROMPT_DOLLARS + ANSWER_TOKENS * COMPLETION_DOLLARS) / 1_000_000
    rows = [
        (f"{count:,}", f"{count * (PROMPT_TOKENS + ANSWER_TOKENS):,}", *_dollars(count, each))
        for count in ANSWERS_A_DAY
    ]
    return table(("answers a day", "tokens a day", "dollars a day", "dollars a month"), rows)


def _dollars(count: int, each: float) -> tuple[str, str]:
    return f"{count * each:,.2f}", f"{count * each * DAYS:,.2f}"


def example(name: str) -> str:
    """Return a file of the example provider, as a block of code."""
    text = re.sub(r"  # noqa.*", "", (EXAMPLE / name).read_text("utf-8"))
    return f"```{'python' if name.endswith('.py') else 'toml'}\n{text}```\n"


def kept() -> str:
    """Return what the databases hold, for people who read no tables."""
    return "".join(f"- {sentence}\n" for held in TABLES.values() for sentence in held.values())


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a table in Markdown."""
    lines = (head, ["---"] * len(head), *rows)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


BLOCKS: Mapping[str, Callable[[], str]] = {
    "commands": commands,
    "settings": settings,
    "configuration": configuration,
    "own-names": own_names,
    "command-line": command_line,
    "figures": figures,
    "costs": costs,
    "example-code": lambda: example("acore_backwards.py"),
    "example-package": lambda: example("pyproject.toml"),
    "kept": kept,
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
