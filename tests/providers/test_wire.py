"""Bytes become payloads, wherever the reads cut them."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acore_bot.errors import BrokenStream
from acore_bot.providers.wire import BodyDecoder, NDJSONDecoder, PayloadDecoder, SSEDecoder

SSE_STREAM = (
    b": OPENROUTER PROCESSING\n\n"
    b'event: message\nid: 7\ndata: {"a":1}\n\n'
    b'data:{"b":\r\ndata: 2}\r\n\r\n'
    b"\n\n:\n\n"
    b"data: gr\xc3\xbc\xc3\x9fe \xf0\x9f\x8c\x8a\r\rretry: 10\n"
    b"data: [DONE]\n\n"
    b"data: without an end\n"
)
SSE_PAYLOADS = [b'{"a":1}', b'{"b":\n2}', "grüße 🌊".encode(), b"[DONE]"]
LINES = b'{"a":1}\n\n{"b":2}\r\n  \n{"c":"\xf0\x9f\x8c\x8a"}\n{"d":4}'


def fed(decoder: PayloadDecoder, data: bytes, cuts: list[int]) -> list[bytes]:
    """Feed data cut at the given places and return all payloads."""
    edges = [0, *sorted(cut for cut in cuts if cut <= len(data)), len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(edges)]
    return [payload for piece in pieces for payload in decoder.feed(piece)]


@given(cuts=st.lists(st.integers(0, len(SSE_STREAM)), max_size=40))
def test_events_are_the_same_however_they_are_cut(cuts: list[int]) -> None:
    """Comments, other fields, every line end and split characters change nothing."""
    decoder = SSEDecoder()
    assert fed(decoder, SSE_STREAM, cuts) == SSE_PAYLOADS
    assert decoder.close() == []


def test_events_byte_by_byte() -> None:
    """The worst cut of all is no different."""
    assert fed(SSEDecoder(), SSE_STREAM, list(range(len(SSE_STREAM)))) == SSE_PAYLOADS


@given(cuts=st.lists(st.integers(0, len(LINES)), max_size=20))
def test_lines_are_the_same_however_they_are_cut(cuts: list[int]) -> None:
    """Empty lines are left out, and the last line needs no newline."""
    decoder = NDJSONDecoder()
    payloads = [*fed(decoder, LINES, cuts), *decoder.close()]
    assert [payload.strip() for payload in payloads] == [
        b'{"a":1}', b'{"b":2}', '{"c":"🌊"}'.encode(), b'{"d":4}'
    ]  # fmt: skip


@given(data=st.binary(max_size=200), cuts=st.lists(st.integers(0, 200), max_size=20))
def test_no_bytes_make_a_decoder_fail(data: bytes, cuts: list[int]) -> None:
    """Whatever comes, a decoder finds the same payloads as in one read, and raises nothing."""
    for decoder in (SSEDecoder, NDJSONDecoder):
        assert fed(decoder(), data, cuts) == fed(decoder(), data, [])


@pytest.mark.parametrize(
    "decoder",
    [
        SSEDecoder(max_event_bytes=100),
        NDJSONDecoder(max_line_bytes=100),
        BodyDecoder(max_bytes=100),
    ],
)
def test_endless_line_breaks_the_stream(decoder: PayloadDecoder) -> None:
    """A line or body that passes the bound raises, long before it could fill the memory."""
    for _ in range(10):
        decoder.feed(b"data: 4567")
    with pytest.raises(BrokenStream, match="broke off"):
        decoder.feed(b"x")


@pytest.mark.parametrize(
    ("decoder", "data"),
    [
        (SSEDecoder(max_event_bytes=100), b"data: 45678\n" * 20),
        (SSEDecoder(max_event_bytes=100), b"data: " + b"x" * 101 + b"\n\n"),
        (NDJSONDecoder(max_line_bytes=100), b"x" * 101 + b"\n"),
    ],
)
def test_bound_holds_within_one_read(decoder: PayloadDecoder, data: bytes) -> None:
    """Too long an event is refused also where one read brings all of it."""
    with pytest.raises(BrokenStream):
        decoder.feed(data)


def test_bound_is_of_one_event_not_of_the_stream() -> None:
    """Many short events may be longer than the bound together."""
    decoder = SSEDecoder(max_event_bytes=100)
    assert len([payload for _ in range(50) for payload in decoder.feed(b"data: 1234\n\n")]) == 50


def test_body_is_one_payload() -> None:
    """A body comes out when it is whole, and an empty one not at all."""
    decoder = BodyDecoder()
    assert decoder.feed(b"ab") == decoder.feed(b"cd") == []
    assert decoder.close() == [b"abcd"]
    assert decoder.close() == []
