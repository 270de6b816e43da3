"""Pictures that can still be asked about, and no more of them than there is room for."""

from hypothesis import given, settings
from hypothesis import strategies as st

from acore_bot.chat.sights import Sights
from acore_bot.messages import Image


def pictures(*sizes: int) -> tuple[Image, ...]:
    """Make pictures of so many bytes."""
    return tuple(Image("image/png", b"x" * size) for size in sizes)


def test_pictures_are_found_by_their_message() -> None:
    """Those of the messages that are asked for are returned, and no others."""
    sights = Sights()
    sights.remember(1, pictures(3, 4))
    sights.remember(2, pictures(5))
    sights.remember(3, ())
    assert sights.of([3, 2, 9]) == {2: pictures(5)}
    assert sights.of([1, 2, 3]) == {1: pictures(3, 4), 2: pictures(5)}


def test_the_oldest_pictures_leave() -> None:
    """When there is no more room, the pictures that came first make some, a message at a time."""
    sights = Sights(max_bytes=10)
    for id_ in (1, 2, 3):
        sights.remember(id_, pictures(2, 2))
    assert [*sights.of([1, 2, 3])] == [2, 3]


def test_a_message_is_remembered_once() -> None:
    """A message that is read again takes no room again, and keeps its place among the others."""
    sights = Sights(max_bytes=10)
    for id_ in (1, 2, 1, 2, 1):
        sights.remember(id_, pictures(4))
    assert [*sights.of([1, 2])] == [1, 2]
    sights.remember(3, pictures(4))
    assert [*sights.of([1, 2, 3])] == [2, 3]


def test_too_large_a_picture_is_not_kept() -> None:
    """What exceeds all the room there is is not remembered, and takes no other picture's place."""
    sights = Sights(max_bytes=10)
    sights.remember(1, pictures(4))
    sights.remember(2, pictures(5, 6))
    assert [*sights.of([1, 2])] == [1]


def test_all_can_be_forgotten() -> None:
    """After clearing nothing is left, and there is all the room again."""
    sights = Sights(max_bytes=10)
    sights.remember(1, pictures(9))
    sights.clear()
    assert sights.of([1]) == {}
    sights.remember(2, pictures(9))
    assert [*sights.of([2])] == [2]


@settings(max_examples=100, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.integers(1, 8), st.lists(st.integers(0, 6), max_size=3)), max_size=40
    )
)
def test_pictures_never_exceed_their_room(steps: list[tuple[int, list[int]]]) -> None:
    """Whatever comes, no more bytes stay than allowed, and the newest that fits is among them."""
    sights = Sights(max_bytes=10)
    for id_, sizes in steps:
        sights.remember(id_, pictures(*sizes))
        kept = sights.of(range(9))
        assert sum(len(image.data) for images in kept.values() for image in images) <= 10
        assert id_ in kept or not sizes or sum(sizes) > 10
