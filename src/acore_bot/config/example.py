"""Writes the example file: every setting with its sentence, its values and its default.

A line that begins with `# ` is prose; one that begins with `#name` is a setting at its default,
switched on by removing the sign.
"""

import json
import textwrap
from collections.abc import Iterator, Mapping

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from acore_bot.config.faults import allowed, default_at
from acore_bot.config.providers import KNOWN_PROVIDERS, PROVIDER_KINDS, TimeLimits
from acore_bot.config.section import Section
from acore_bot.config.settings import Sections
from acore_bot.config.sources import KeyPath

_HEAD = """\
The settings of acore-bot. Copy this file to acore.toml in the folder that you start the bot
in, or to ~/.config/acore/acore.toml, and change what you like. Everything is optional, and
each setting is shown with its default: remove the sign before it to switch it on.

Environment variables do the same: ACORE_CHAT__MODEL for model in [chat], and
ACORE_PROVIDERS__OLLAMA__BASE_URL for base_url in [providers.ollama]. A flag of the command
line is stronger than a variable, and a variable is stronger than this file.

If you write a key or a token into the file, let nobody else read it: chmod 600 acore.toml"""

_ANOTHER = """\
Another server: give it a name of your own and say of what kind it is. "openai" serves for
vLLM, llama.cpp, LM Studio and most others; its settings are those of [providers.openai].

[providers.lab]
kind = "openai"
base_url = "http://127.0.0.1:8000/v1"

A kind that this file does not show is the name of an installed plug-in, and takes the
settings of that plug-in. One more kind of our own is for tests and demonstrations:"""


def example_toml() -> str:
    """Return the text of acore.example.toml."""
    lines = [*_prose(_HEAD)]
    for name, field in Sections.model_fields.items():
        kind = field.annotation
        if name == "providers":
            lines += _providers()
        elif isinstance(kind, type) and issubclass(kind, Section):
            lines += ["", "", *_section((name,), kind, {})]
    return "\n".join(lines) + "\n"


def _providers() -> Iterator[str]:
    tree = {"providers": KNOWN_PROVIDERS}
    for name, table in KNOWN_PROVIDERS.items():
        yield from ("", "", *_section(("providers", name), PROVIDER_KINDS[table["kind"]], tree))
    yield from ("", "", *_prose(_ANOTHER), "")
    for kind in PROVIDER_KINDS.keys() - KNOWN_PROVIDERS.keys():
        # Nobody has it unless they ask for it, so that all of it is prose.
        section = _section(("providers", kind), PROVIDER_KINDS[kind], {})
        yield from (f"# {line.removeprefix('# ').removeprefix('#')}".rstrip() for line in section)


def _section(path: KeyPath, section: type[Section], tree: Mapping[str, object]) -> Iterator[str]:
    yield f"[{'.'.join(path)}]"
    yield from _prose(" ".join((section.__doc__ or "").split()))
    # What is the section's own comes before the time limits that all providers share.
    for name, field in sorted(section.model_fields.items(), key=lambda item: _is_shared(item[0])):
        yield ""
        yield from _setting((*path, name), field, tree)


def _is_shared(name: str) -> bool:
    return name in TimeLimits.model_fields


def _setting(path: KeyPath, field: FieldInfo, tree: Mapping[str, object]) -> Iterator[str]:
    values = "" if path[-1] == "kind" else f" Allowed: {allowed(field)}."
    yield from _prose(f"{field.description}{values}")
    value = default_at(path, field, tree)
    example = field.examples[0] if field.examples else None
    if field.default_factory:
        yield f"#{path[-1]} = {_toml(example)}"
    elif value is None or value is PydanticUndefined:
        yield from _prose(f"Not set by default; for example: {path[-1]} = {_toml(example)}")
    else:
        yield f"#{path[-1]} = {_toml(value)}"


def _prose(text: str) -> Iterator[str]:
    for paragraph in text.splitlines():
        for line in textwrap.wrap(paragraph, 97) or [""]:
            yield f"# {line}".rstrip()


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    # A JSON text, number, truth or list reads the same in TOML.
    return json.dumps(value, ensure_ascii=False)
