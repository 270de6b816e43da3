"""Words what is wrong with the settings: where, which key, which value, and the remedy.

A wrong value is answered with what its setting allows, in words that come from the setting's own
type, so that a person never meets the jargon of the validator.
"""

import difflib
import json
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, Union, get_args, get_origin

import annotated_types
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from acore_bot.config.masking import MASK, is_secret, masked, printable
from acore_bot.config.providers import KNOWN_PROVIDERS, PROVIDER_KINDS, PluginSettings
from acore_bot.config.section import Section
from acore_bot.config.settings import Sections
from acore_bot.config.sources import Gathered, Given, KeyPath, Origin
from acore_bot.config.values import SLUG_IN_WORDS, Allowed

_NOUNS: Mapping[object, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    SecretStr: "a text",
    Path: "a path",
    tuple: "a list of texts",
    Mapping: "a table",
}
_SEE = "acore.example.toml shows all settings."


def allowed(field: FieldInfo) -> str:
    """Say in words which values a setting may have."""
    is_optional = get_origin(field.annotation) in (types.UnionType, Union)
    # What the setting says is nearer than its type.
    for hint in (*reversed(field.metadata), *(_bounds(field) if is_optional else ())):
        if isinstance(hint, Allowed):
            return hint.text
    kind = _without_none(field.annotation)
    if get_origin(kind) is Literal:
        choices = [json.dumps(choice) for choice in get_args(kind)]
        return choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"
    return f"{_NOUNS[get_origin(kind) or kind]}{_range(field)}"


def _without_none(kind: object) -> object:
    while get_origin(kind) in (types.UnionType, Union):
        kind = next(part for part in get_args(kind) if part is not type(None))
    return _without_none(get_args(kind)[0]) if hasattr(kind, "__metadata__") else kind


def _bounds(field: FieldInfo) -> Iterator[object]:
    yield from field.metadata
    for part in get_args(field.annotation):
        yield from getattr(part, "__metadata__", ())


def _range(field: FieldInfo) -> str:
    low, high = "", ""
    for bound in _expanded(field):
        match bound:
            case annotated_types.Ge():
                low = f" from {bound.ge}"
            case annotated_types.Gt():
                low = f" above {bound.gt}"
            case annotated_types.Le():
                high = f" to {bound.le}"
    return f"{low}{high}" if "from" in low else f"{low} and up{high}" if low else ""


def _expanded(field: FieldInfo) -> Iterator[object]:
    for bound in _bounds(field):
        yield from bound.metadata if isinstance(bound, FieldInfo) else (bound,)


def section_at(path: KeyPath, tree: Mapping[str, object]) -> type[Section] | None:
    """Return what class of settings stands at a key, or None if it is no section."""
    if not path:
        return Sections
    if path[0] == "providers" and len(path) == 2:
        return PROVIDER_KINDS.get(_kind(path[1], tree), PluginSettings)
    field = Sections.model_fields.get(path[0]) if len(path) == 1 else None
    kind = field.annotation if field else None
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def _kind(name: str, tree: Mapping[str, object]) -> str:
    providers = tree.get("providers")
    table = providers.get(name) if isinstance(providers, Mapping) else None
    return str(table.get("kind")) if isinstance(table, Mapping) else ""


def field_at(path: KeyPath, tree: Mapping[str, object]) -> FieldInfo | None:
    """Return the setting at a key, or None if there is none."""
    section = section_at(path[:-1], tree)
    return section.model_fields.get(path[-1]) if section else None


def sentences(error: ValidationError, gathered: Gathered) -> list[str]:
    """Return one line for each fault that the validator found."""
    lines: dict[KeyPath, str] = {}  # one for a key, however many complaints its union has
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        path = _key_path(fault["loc"])
        lines[path] = _sentence(path, fault["type"], "[key]" in fault["loc"], gathered)
    return list(lines.values())


def _key_path(location: tuple[int | str, ...]) -> KeyPath:
    """Leave out the union's tag after a provider's name, and what lies below a setting."""
    parts = tuple(str(part) for part in location)
    return parts[:2] + parts[3:4] if parts[0] == "providers" else parts[:2]


def _sentence(path: KeyPath, fault: str, is_name: bool, gathered: Gathered) -> str:
    if is_name:
        return f"{_start(path, gathered)} is not a name of {SLUG_IN_WORDS}. Rename it."
    if fault in ("missing", "union_tag_not_found"):
        return _missing(path if fault == "missing" else (*path, "kind"), gathered)
    if fault == "extra_forbidden":
        return _unknown(path, gathered)
    return _wrong(path, gathered)


def _start(path: KeyPath, gathered: Gathered) -> str:
    return f"{_origin(path, gathered)}: {printable('.'.join(path))}"


def _origin(path: KeyPath, gathered: Gathered) -> Origin:
    given = gathered.giver(path)
    return given.origin if given else Origin("default")


def _wrong(path: KeyPath, gathered: Gathered) -> str:
    field = field_at(path, gathered.tree)
    value = shown(path, value_at(path, gathered.tree))
    if field is None or section_at(path, gathered.tree) or path == ("providers",):
        return f"{_start(path, gathered)} is {value} but must be a section, [{'.'.join(path)}]."
    return (
        f"{_start(path, gathered)} is {value} but must be {allowed(field)}. "
        f"{_remedy(path, field, gathered)}"
    )


def _remedy(path: KeyPath, field: FieldInfo, gathered: Gathered) -> str:
    kind = _origin(path, gathered).kind
    without = {"environment": "unset it", "command line": "leave it out"}.get(kind, "remove it")
    default = default_at(path, field, gathered.tree)
    if default is PydanticUndefined:
        return "Correct it."
    if default in (None, "", (), {}):
        return f"Correct it, or {without}."
    return f"Correct it, or {without} to have the default, {json.dumps(default)}."


def default_at(path: KeyPath, field: FieldInfo, tree: Mapping[str, object]) -> object:
    """Return the default of a setting, or `PydanticUndefined`; paths differ by machine: None."""
    if path[0] == "providers":
        known = KNOWN_PROVIDERS.get(path[1], {})
        if known.get("kind") == _kind(path[1], tree) and path[-1] in known:
            return known[path[-1]]
    return None if field.default_factory else field.default


def _missing(path: KeyPath, gathered: Gathered) -> str:
    if path[-1] == "kind":
        kinds = ", ".join(f'"{kind}"' for kind in PROVIDER_KINDS)
        return f"{_start(path, gathered)} is missing. Add it: one of {kinds}, or a plug-in's name."
    field = field_at(path, gathered.tree)
    words = allowed(field) if field else "a value"
    return f"{_start(path, gathered)} is missing. Add it: {words}."


def _unknown(path: KeyPath, gathered: Gathered) -> str:
    origin = _origin(path, gathered)
    near = _nearest(path, gathered.tree)
    if near and origin.kind == "environment":
        near_name = f"ACORE_{'__'.join(near).upper()}"
    else:
        near_name = ".".join(near)
    remedy = f"Did you mean {near_name}?" if near else f"Remove it; {_SEE}"
    return f"{_start(path, gathered)} is not a setting. {remedy}"


def _nearest(path: KeyPath, tree: Mapping[str, object]) -> KeyPath:
    """Return the known key that is meant: one spelt alike here, or the same one elsewhere."""
    section = section_at(path[:-1], tree)
    names = list(section.model_fields) if section else []
    for name in difflib.get_close_matches(path[-1], names, n=1):
        return (*path[:-1], name)
    for place in (("chat",), ("data",), ("discord",)):
        elsewhere = section_at(place, tree)
        if elsewhere and path[-1] in elsewhere.model_fields:
            return (*place, path[-1])
    return ()


def clash(given: Given, above: KeyPath, gathered: Gathered) -> str:
    """Say that a key stands inside of something that is no table."""
    key, outer = printable(".".join(given.path)), printable(".".join(above))
    return (
        f"{given.origin}: {key} cannot stand inside {outer}, "
        f"which {_origin(above, gathered)} gives a single value. Remove one of the two."
    )


def unknown_provider(gathered: Gathered) -> list[str]:
    """Say of which chosen models nobody configured the provider."""
    fallbacks = value_at(("failover", "models"), gathered.tree)
    given = [fallbacks] if isinstance(fallbacks, str) else fallbacks
    chosen = [(("chat", "model"), value_at(("chat", "model"), gathered.tree))]
    if isinstance(given, list | tuple):
        chosen += [(("failover", "models"), model) for model in given]
    return [line for path, model in chosen for line in _unknown_provider(path, model, gathered)]


def _unknown_provider(path: KeyPath, model: object, gathered: Gathered) -> list[str]:
    providers = gathered.tree.get("providers")
    if not isinstance(model, str) or "/" not in model or not isinstance(providers, Mapping):
        return []
    name = model.partition("/")[0].strip('[" ')
    if name in providers:
        return []
    start = f"{_start(path, gathered)} is {shown(path, model)}"
    near = difflib.get_close_matches(name, providers, n=1)
    meant = f'Did you mean "{near[0]}/…"?' if near else f"Add a section [providers.{name}]."
    return [f'{start} but there is no provider "{printable(name)}". {meant}']


def value_at(path: KeyPath, tree: Mapping[str, object]) -> object:
    """Return what was given for a key, or None."""
    value: object = tree
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def own_name(path: KeyPath) -> str:
    """Return a key without the name of its provider, which a person chose and says nothing."""
    return ".".join(path[2:] if path[0] == "providers" else path)


def shown(path: KeyPath, value: object) -> str:
    """Return a value as it may be printed: masked, on one line, not too long."""
    name = own_name(path)
    if isinstance(value, Mapping):
        return "a table"
    text = (
        MASK
        if is_secret(name)
        else json.dumps(masked(name, value), default=str, ensure_ascii=False)
    )
    return printable(text if len(text) <= 80 else f"{text[:79]}…")
