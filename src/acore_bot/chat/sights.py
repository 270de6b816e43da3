"""The pictures of the latest messages, so that one can still be asked about in the next message.

They are not stored with the conversation, for they are large; here they stay until others take
their place or the process ends.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping

from acore_bot.messages import Image

MAX_BYTES = 32 * 2**20


class Sights:
    """Pictures by the id of the message that brought them, at most `max_bytes` of them."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._images: OrderedDict[int, tuple[Image, ...]] = OrderedDict()
        self._bytes = 0

    def remember(self, message_id: int, images: tuple[Image, ...]) -> None:
        """Keep the pictures of a message, unless they exceed all the room there is; the oldest
        leave if there is no more."""
        if images and message_id not in self._images and _size(images) <= self._max_bytes:
            self._images[message_id] = images
            self._bytes += _size(images)
        while self._bytes > self._max_bytes:
            _, dropped = self._images.popitem(last=False)
            self._bytes -= _size(dropped)

    def of(self, message_ids: Iterable[int]) -> Mapping[int, tuple[Image, ...]]:
        """Return the pictures that are still here, by message."""
        return {id_: self._images[id_] for id_ in message_ids if id_ in self._images}

    def clear(self) -> None:
        """Forget them all."""
        self._images.clear()
        self._bytes = 0


def _size(images: tuple[Image, ...]) -> int:
    return sum(len(image.data) for image in images)
