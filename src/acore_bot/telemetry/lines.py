"""Events as bytes: a record is what the journal holds, a line what the log holds.

A record is `[time,"type",data]`, quick to make; its time is Unix seconds. A line is
`{"timestamp":…,"type":…,"data":…}`. Both end with a newline and hold no other.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec
from msgspec import Raw, Struct

UNENCODABLE = "unencodable_event"
MAX_NAME_CHARACTERS = 200


class _Line(Struct, frozen=True):
    timestamp: datetime | Raw
    type: Raw
    data: Raw


def _encode_unknown(value: object) -> dict[object, object]:
    if isinstance(value, Mapping):
        return dict(value)
    raise NotImplementedError


encoder = msgspec.json.Encoder(enc_hook=_encode_unknown)
_decoder = msgspec.json.Decoder(tuple[datetime, Raw, Raw], strict=False)


def record_of(at: float, event_type: str, event_data: object, max_bytes: int) -> bytes:
    """Make a record, whatever the event. One that JSON cannot hold, or that is longer than
    `max_bytes`, is told by its type and its Python class, never by its content."""
    try:
        record = encoder.encode_lines(((at, event_type, event_data),))
    except Exception:  # noqa: BLE001 - an object's own code may raise anything
        record = b""
    if 0 < len(record) <= max_bytes:
        return record
    data = {"type": _plain(event_type), "class": _plain(type(event_data).__name__)}
    return encoder.encode_lines(((at, UNENCODABLE, data),))


def _plain(name: object) -> str:
    told = name if isinstance(name, str) else type(name).__name__
    return told[:MAX_NAME_CHARACTERS].encode("utf-8", "replace").decode()


def lines_of(records: bytes) -> bytes:
    """Make lines of records; one that cannot be read harms no other."""
    try:
        return encoder.encode_lines([_line(*record) for record in _decoder.decode_lines(records)])
    except (msgspec.DecodeError, ValueError):
        parts = records.splitlines(keepends=True)
        return _unreadable() if len(parts) < 2 else b"".join(map(lines_of, parts))


def _line(at: datetime, event_type: Raw, data: Raw) -> _Line:
    # msgspec leaves out zero microseconds; all stamps as wide, lines sort by time.
    stamp = at if at.microsecond else Raw(f'"{at:%Y-%m-%dT%H:%M:%S}.000000Z"'.encode())
    return _Line(stamp, event_type, data)


def _unreadable() -> bytes:
    line = _line(datetime.now(UTC), Raw(b'"' + UNENCODABLE.encode() + b'"'), Raw(b"{}"))
    return encoder.encode_lines((line,))
