"""From a name to a provider or front end, loaded when it is first asked for.

Our own stand in the tables below and enjoy no privilege: another package adds a provider by an
entry point in the group `acore_bot.providers`, or a front end in `acore_bot.frontends`, whose
object is a class or function that takes keyword arguments and returns one.
"""

import difflib
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from acore_bot.contracts import Frontend, Provider
from acore_bot.errors import MissingExtra, UnknownPlugin

T = TypeVar("T")

PROVIDERS = {
    "embedded": "acore_bot.providers.llama_cpp:Embedded",
    "ollama": "acore_bot.providers.ollama:Ollama",
    "openai": "acore_bot.providers.openai_compatible:OpenAICompatible",
    "openrouter": "acore_bot.providers.openrouter:OpenRouter",
    "scripted": "acore_bot.providers.scripted:Scripted",
}
FRONTENDS = {
    "discord": "acore_bot.frontends.discord:Discord",
    "terminal": "acore_bot.frontends.terminal:Terminal",
}


def load_provider(kind: str) -> Callable[..., Provider]:
    """Return what makes a provider of a kind. Raises `UnknownPlugin` or `MissingExtra`."""
    return _load("kind of provider", "acore_bot.providers", PROVIDERS, kind)


def load_frontend(kind: str) -> Callable[..., Frontend]:
    """Return what makes a front end of a kind. Raises `UnknownPlugin` or `MissingExtra`."""
    return _load("front end", "acore_bot.frontends", FRONTENDS, kind)


def _load(what: str, group: str, own: Mapping[str, str], kind: str) -> Callable[..., T]:
    installed = {point.name: point for point in entry_points(group=group)}
    points = installed | {name: EntryPoint(name, path, group) for name, path in own.items()}
    if kind not in points:
        near = difflib.get_close_matches(kind, points, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(sorted(points))}."
        msg = f"There is no {what} named {kind[:40]!r}."
        raise UnknownPlugin(msg, remedy=hint)
    try:
        factory: Callable[..., T] = points[kind].load()
    except ModuleNotFoundError as error:
        msg = f"The {what} {kind!r} needs a package that is not installed: {error.name}."
        raise MissingExtra(msg, remedy=f"Install it with: pip install {error.name}") from error
    except ImportError as error:
        # Not absent but unable to start: a library of the system is missing, or versions clash.
        msg = f"The {what} {kind!r} cannot be loaded: {error}."
        raise MissingExtra(msg, remedy="Install again the package that it comes from.") from error
    return factory
