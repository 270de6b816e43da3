"""From a provider's table in the settings to the provider, with a line before it."""

import inspect

import msgspec
from pydantic import SecretStr

from acore_bot import plugins
from acore_bot.config import (
    EmbeddedSettings,
    PluginSettings,
    ProviderSettings,
    Settings,
    TimeLimits,
)
from acore_bot.contracts import Provider
from acore_bot.errors import ConfigurationError
from acore_bot.llm.limit import LimitedModel, LimitOptions
from acore_bot.messages import StreamLimits
from acore_bot.telemetry.events import Emit, ignore

STREAMS_OF_SCRIPTED = 8


def open_limited_provider(settings: Settings, name: str, emit: Emit = ignore) -> Provider:
    """Make a provider with a fair line before it. Raises `ConfigurationError`."""
    options = LimitOptions(
        max_streams=_max_streams(settings.providers[name]),
        max_waiting=settings.queue.max_waiting,
        max_wait_seconds=settings.queue.max_wait_seconds,
    )
    return LimitedModel(open_provider(settings, name, emit), options, name=name)


def _max_streams(table: ProviderSettings) -> int:
    if isinstance(table, EmbeddedSettings):
        return table.slots
    return getattr(table, "max_streams", STREAMS_OF_SCRIPTED)


def open_provider(settings: Settings, name: str, emit: Emit = ignore) -> Provider:
    """Make a provider of its table in the settings. Raises `ConfigurationError`.

    One that has a parameter `emit` is given the place to which events go, one that has `limits` its
    time limits.
    """
    table = settings.providers[name]
    factory = plugins.load_provider(table.kind)
    signature = inspect.signature(factory)
    offered = {"emit": emit, **_limits(table)}
    taken = {key: value for key, value in offered.items() if key in signature.parameters}
    arguments = {"name": name, **_arguments(table), **taken}
    try:
        signature.bind(**arguments)
    except TypeError as error:
        msg = f"The table providers.{name} does not suit its kind {table.kind!r}: {error}."
        raise ConfigurationError(msg, remedy="See the documents of that provider.") from None
    return factory(**arguments)


def _arguments(table: ProviderSettings) -> dict[str, object]:
    """Turn a table of the settings into plain arguments: no settings type goes further down."""
    if isinstance(table, PluginSettings):
        return dict(table.table)
    ours = {"kind", "max_streams", *StreamLimits.__struct_fields__}
    names = type(table).model_fields.keys() - ours
    return {name: _revealed(getattr(table, name)) for name in names}


def _limits(table: ProviderSettings) -> dict[str, StreamLimits]:
    if not isinstance(table, TimeLimits):
        return {}
    names = type(table).model_fields.keys() & {*StreamLimits.__struct_fields__}
    seconds = {name: getattr(table, name) for name in names}
    seconds["first_byte_seconds"] = table.first_byte_limit_seconds
    return {"limits": msgspec.convert(seconds, StreamLimits)}


def _revealed(value: object) -> object:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case dict():
            return {key: _revealed(item) for key, item in value.items()}
        case _:
            return value
