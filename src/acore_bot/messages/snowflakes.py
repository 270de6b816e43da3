"""Ids that order by time, as Discord makes them."""

import itertools
import secrets
from collections.abc import Callable


class SnowflakeSequence:
    """Makes ids that order by time, shaped as Discord's are: 42 bits of milliseconds since 2015,
    then 22 bits that differ.

    So ids made here and ids that Discord made sort together. `clock` returns seconds since 1970.
    """

    EPOCH_MILLISECONDS = 1_420_070_400_000  # Discord's, in its developer reference

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last = 0
        # Two processes that write to one store must not meet: each starts at a random place.
        self._salt = itertools.count(secrets.randbits(22))

    def next(self) -> int:
        """Return an id greater than each one before it."""
        milliseconds = int(self._clock() * 1000) - self.EPOCH_MILLISECONDS
        candidate = (milliseconds << 22) | (next(self._salt) & 0x3FFFFF)
        self._last = max(candidate, self._last + 1)
        return self._last
