"""Pictures are part of what the model sees, so they decide who may share an answer."""

import pytest

from acore_bot.llm.deduplicate import RequestDeduplicator
from acore_bot.messages import ChatMessage, ChatRequest, Image

CAT = Image("image/png", b"cat")


def request_with(*images: Image) -> ChatRequest:
    """Ask the same about other pictures."""
    said = ChatMessage("user", "What is this?", images)
    return ChatRequest(model="provider/model", messages=(said,), max_tokens=16)


@pytest.mark.parametrize(
    "others",
    [
        (),
        (Image("image/png", b"dog"),),
        (Image("image/jpeg", b"cat"),),
        (CAT, CAT),
        (Image("image/png", b"c"), Image("image/png", b"at")),
    ],
)
def test_s5_other_pictures_make_another_key(others: tuple[Image, ...]) -> None:
    """One byte, one type, one picture more or fewer: the answer is not shared."""
    key = RequestDeduplicator.create_request_key
    assert key(request_with(CAT)) != key(request_with(*others))


def test_s5_equal_pictures_make_an_equal_key() -> None:
    """Who shows the same picture may share the answer, whichever copy of its bytes it is."""
    key = RequestDeduplicator.create_request_key
    copy = Image("image/png", bytes(bytearray(b"cat")))
    assert key(request_with(CAT)) == key(request_with(copy))
