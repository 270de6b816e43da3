"""Keeps secrets, and what no terminal should be sent, out of everything that is printed."""

import re
from collections.abc import Mapping, Sequence

from pydantic import SecretStr

MASK = "**********"

_SECRET = re.compile(r"key|token|secret|password|header|credential|auth", re.IGNORECASE)
_COUNT = re.compile(r"(max|context|prompt|completion)_tokens", re.IGNORECASE)
# A password may hold "/" and "@" unescaped, so everything up to the last "@" counts as part of it.
_CREDENTIALS = re.compile(r"(?<=//)[^\s\"'<>]*@")
_QUERY = re.compile(r"(//[^\s?#]*[?#])[^\s\"'<>]+")  # where some servers take their key


def masked_url(text: str) -> str:
    """Return `text` with user, password and query of every URL in it masked."""
    return _QUERY.sub(rf"\1{MASK}", _CREDENTIALS.sub(f"{MASK}@", text))


def is_secret(name: str) -> bool:
    """Tell whether a setting of that name may hold a secret."""
    return bool(_SECRET.search(_COUNT.sub("", name)))


def masked(name: str, value: object) -> object:
    """Return what may be printed of a setting, going into tables and lists."""
    if isinstance(value, SecretStr):
        return value
    if isinstance(value, Mapping):
        hide = is_secret(name)
        return {key: masked(name if hide else str(key), inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        inner_values = [masked(name, inner) for inner in value]
        return tuple(inner_values) if isinstance(value, tuple) else inner_values
    if is_secret(name) and value not in (None, ""):
        return MASK
    return masked_url(value) if isinstance(value, str) else value


def printable(text: str) -> str:
    """Return `text` with line ends, control characters and broken characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
