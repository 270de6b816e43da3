"""The kinds of values that settings have, each with a word for what it allows."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    JsonValue,
    SecretStr,
    StringConstraints,
)
from pydantic_core import from_json

SLUG = r"[a-z0-9_-]{1,40}"
SLUG_IN_WORDS = "at most 40 small letters, digits, _ and -"


@dataclass(frozen=True, slots=True)
class Allowed:
    """What values a setting may have, in words, where its type alone would not tell."""

    text: str


def _no_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError  # or else true would count as 1
    return value


def _table(value: object) -> object:
    return from_json(value) if isinstance(value, str) else value


def _texts(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return from_json(value)
    return [part.strip() for part in value.split(",") if part.strip()]


def _number_of_seconds(value: object) -> object:
    # Ollama takes 300 for seconds, but refuses "300" for the want of a unit.
    return int(value) if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,9}", value) else value


def _absolute(path: Path) -> Path:
    try:
        return path.expanduser().absolute()
    except RuntimeError as error:  # nobody knows the home of that user
        raise ValueError from error


def _key(value: object) -> object:
    # A key pasted with its line end would be an illegal header.
    return (value.strip() or None) if isinstance(value, str) else value


def _url(text: str, schemes: tuple[str, ...] = ("http", "https")) -> str:
    parts = urlsplit(text)
    parts.port  # noqa: B018  raises ValueError where the port is no number
    plain = not (parts.query or parts.fragment or re.search(r"[\s\x00-\x1f]", text))
    if parts.scheme not in schemes or not parts.hostname or not plain:
        raise ValueError
    return text.rstrip("/")


def _web_socket_url(text: str) -> str:
    return _url(text, ("ws", "wss"))


def is_loopback(url: str) -> bool:
    """Tell whether a URL leads to this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


Whole: TypeAlias = Annotated[int, BeforeValidator(_no_boolean)]
Number: TypeAlias = Annotated[float, BeforeValidator(_no_boolean), Field(allow_inf_nan=False)]
Seconds: TypeAlias = Annotated[Number, Field(gt=0, le=86_400)]
Streams: TypeAlias = Annotated[Whole, Field(ge=1, le=1000)]
Tokens: TypeAlias = Annotated[Whole, Field(ge=1, le=100_000_000)]
Slug: TypeAlias = Annotated[
    str,
    StringConstraints(pattern=rf"^{SLUG}$"),
    Allowed(f"a name of {SLUG_IN_WORDS}"),
]
ModelName: TypeAlias = Annotated[
    str,
    StringConstraints(pattern=rf"^{SLUG}/\S(.*\S)?$"),
    Allowed("written provider/model, such as ollama/llama3.2"),
]
ModelNames: TypeAlias = Annotated[tuple[ModelName, ...], BeforeValidator(_texts)]
Url: TypeAlias = Annotated[
    str,
    AfterValidator(_url),
    Allowed("a URL that begins with http:// or https:// and has no query"),
]
WebSocketUrl: TypeAlias = Annotated[
    str,
    AfterValidator(_web_socket_url),
    Allowed("a URL that begins with ws:// or wss:// and has no query"),
]
AbsolutePath: TypeAlias = Annotated[Path, AfterValidator(_absolute)]
Key: TypeAlias = Annotated[SecretStr | None, BeforeValidator(_key)]
Wholes: TypeAlias = Annotated[
    tuple[Annotated[Whole, Field(ge=0, le=100_000)], ...],
    BeforeValidator(_texts),
    Allowed("a list of whole numbers"),
]
Texts: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_texts)]
Table: TypeAlias = Annotated[
    Mapping[str, JsonValue],
    BeforeValidator(_table),
    Allowed("a table of texts, numbers, true and false, lists and tables"),
]
Headers: TypeAlias = Annotated[
    Mapping[str, SecretStr], BeforeValidator(_table), Allowed("a table of texts")
]


KeepAlive: TypeAlias = Annotated[
    int | Annotated[str, StringConstraints(pattern=r"^-?([0-9]+(\.[0-9]+)?(ms|s|m|h))+$")],
    BeforeValidator(_no_boolean),
    BeforeValidator(_number_of_seconds),
    Allowed('a number of seconds, or a duration such as "5m" or "1h30m"'),
]
Think: TypeAlias = Annotated[
    bool | Literal["low", "medium", "high", "max"] | None,
    Allowed('true, false, or one of "low", "medium", "high", "max"'),
]
