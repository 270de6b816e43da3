"""From a provider's table in the settings to the provider, with a line before it."""

import hashlib
import inspect
import logging
import os
import secrets
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from pydantic import SecretStr

from acore_bot import plugins
from acore_bot.config import (
    EmbeddedSettings,
    PluginSettings,
    ProviderSettings,
    Settings,
    TimeLimits,
    lacks_key,
)
from acore_bot.config.providers import computes_here
from acore_bot.contracts import Provider
from acore_bot.errors import ConfigurationError, KeyMissing
from acore_bot.llm.limit import LimitedModel, LimitOptions
from acore_bot.llm.route import UNKNOWN_HOST
from acore_bot.messages import Host, StreamLimits
from acore_bot.telemetry.events import Emit, ignore

log = logging.getLogger(__name__)

STREAMS_OF_SCRIPTED = 8
KEYS_OF_CLOUDS = {"openrouter": "OPENROUTER_API_KEY", "openai": "OPENAI_API_KEY"}
SALT_FILE = "user_salt"
SALT_BYTES = 32


def open_limited_provider(settings: Settings, name: str, emit: Emit = ignore) -> Provider:
    """Make a provider with a fair line before it. Raises `ConfigurationError`, and `KeyMissing` for
    a cloud that would only refuse us."""
    if lacks_key(settings.providers[name]):
        raise KeyMissing(provider=name, remedy=how_to_set_key(name))
    options = LimitOptions(
        max_streams=_max_streams(settings.providers[name]),
        max_waiting=settings.queue.max_waiting,
        max_wait_seconds=settings.queue.max_wait_seconds,
    )
    return LimitedModel(open_provider(settings, name, emit), options, name=name)


def how_to_set_key(name: str) -> str:
    """Say where a provider's key is set."""
    variable = KEYS_OF_CLOUDS.get(name)
    return f"Set {variable + ' or ' if variable else ''}providers.{name}.api_key to use it."


def host_of(settings: Settings, name: str) -> Host:
    """Tell where a provider computes, in words fit for strangers, and whether that is local: what
    is on this machine, unless its owner says otherwise."""
    table = settings.providers[name]
    is_here = computes_here(table)
    if is_here if table.local is None else table.local:
        return Host("this machine" if is_here else "a server of the owner", is_local=True)
    if is_here or isinstance(table, PluginSettings):
        return UNKNOWN_HOST
    return Host(urlsplit(getattr(table, "base_url", "")).hostname or "", is_local=False)


def _max_streams(table: ProviderSettings) -> int:
    if isinstance(table, EmbeddedSettings):
        return table.slots
    return getattr(table, "max_streams", STREAMS_OF_SCRIPTED)


def open_provider(settings: Settings, name: str, emit: Emit = ignore) -> Provider:
    """Make a provider of its table in the settings. Raises `ConfigurationError`.

    One that has a parameter `emit` is given the place to which events go, one that has `limits` its
    time limits, one that has `local` whether it is, and one that has `user_salt` the secret under
    which it may hash who asks.
    """
    table = settings.providers[name]
    factory = plugins.load_provider(table.kind)
    signature = inspect.signature(factory)
    offered = {"emit": emit, "local": host_of(settings, name).is_local, **_limits(table)}
    taken = {key: value for key, value in offered.items() if key in signature.parameters}
    if "user_salt" in signature.parameters:
        taken["user_salt"] = user_salt(settings.data.directory)
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
    ours = {"kind", "max_streams", "local", *StreamLimits.__struct_fields__}
    names = type(table).model_fields.keys() - ours
    return {name: _revealed(getattr(table, name)) for name in names}


def _limits(table: ProviderSettings) -> dict[str, StreamLimits]:
    if not isinstance(table, TimeLimits):
        return {}
    names = type(table).model_fields.keys() & {*StreamLimits.__struct_fields__}
    seconds = {name: getattr(table, name) for name in names}
    seconds["first_byte_seconds"] = table.first_byte_limit_seconds
    return {"limits": msgspec.convert(seconds, StreamLimits)}


def pseudonym(key: bytes, name: str) -> str:
    """Return what stands for a name in the events: nobody without the key can try out all ids. It
    is empty if there is no key."""
    if not key:
        return ""
    return hashlib.blake2s(name.encode(), key=key, digest_size=6, person=b"events").hexdigest()


def user_salt(directory: Path) -> bytes:
    """Return the secret of this installation under which askers are hashed, making it at first.

    It is empty if it cannot be kept: one that changes would tell servers of new people every time.
    """
    file = directory / SALT_FILE
    try:
        salt = file.read_bytes() if file.exists() else b""
        return salt if len(salt) == SALT_BYTES else _new_salt(file)
    except OSError as error:
        log.warning("no user is told to the server, for %s cannot be kept: %s", file, error)
        return b""


def _new_salt(file: Path) -> bytes:
    salt = secrets.token_bytes(SALT_BYTES)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Never readable by others, not for a moment: whoever has it can try out all ids.
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(salt)
    return salt


def _revealed(value: object) -> object:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case dict():
            return {key: _revealed(item) for key, item in value.items()}
        case _:
            return value
