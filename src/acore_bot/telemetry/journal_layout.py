"""How a journal lies in its file: a page of words, then segments of records.

Whoever maps the file and whoever only reads a copy of it use this.
"""

import mmap

from msgspec import Struct

PAGE = mmap.ALLOCATIONGRANULARITY
SEGMENTS = 16
WORD_BYTES = 8
MAGIC = int.from_bytes(b"acorejl1", "little")
# Where the header keeps what, in words.
_MAGIC, _SEGMENT_BYTES, _CONSUMED, _INTENT_TO, _DAY, _PART, _SIZE, _NUMBERS = range(8)


class Intent(Struct, frozen=True):
    """Where a batch is about to be written: the log's day (a date's ordinal) and part, and how many
    bytes that file has before."""

    day: int
    part: int
    size: int


def whole_end(memory: mmap.mmap | bytes) -> int:
    """Return where the last whole record of a segment ends."""
    end = memory.rfind(b"\n", 0) + 1  # a mapped file would begin at its position
    start = memory.rfind(b"\n", 0, max(end - 1, 0)) + 1
    return start if b"\0" in memory[start:end] else end


def segment_bytes_for(journal_bytes: int) -> int:
    """Return the size of one segment of a journal of about so many bytes."""
    return max(journal_bytes // SEGMENTS // PAGE, 1) * PAGE


class Header:
    """The first page. Each entry is one machine word: a kill leaves it old or new, never half."""

    def __init__(self, words: memoryview) -> None:
        """Over the words of a page, which are read and written in place."""
        self.words = words

    @property
    def segment_bytes(self) -> int:
        """The size of a segment; 0 if this is no journal, or not one yet."""
        size = int(self.words[_SEGMENT_BYTES])
        return size if self.words[_MAGIC] == MAGIC and size and size % PAGE == 0 else 0

    @property
    def consumed(self) -> int:
        """Up to which position records are done with."""
        return int(self.words[_CONSUMED])

    @consumed.setter
    def consumed(self, position: int) -> None:
        self.words[_CONSUMED] = position

    @property
    def numbers(self) -> list[int]:
        """The number of the segment in each slot; 0 if it is not in use."""
        return [int(self.words[_NUMBERS + slot]) for slot in range(SEGMENTS)]

    def set_number(self, slot: int, number: int) -> None:
        """Note which segment is in a slot."""
        self.words[_NUMBERS + slot] = number

    @property
    def intent(self) -> Intent | None:
        """What was begun and, as far as is known, not finished."""
        if self.words[_INTENT_TO] <= self.consumed:
            return None
        return Intent(*(int(self.words[entry]) for entry in (_DAY, _PART, _SIZE)))

    def intend(self, to: int, intent: Intent) -> None:
        """Note that the records up to a position are about to be written."""
        self.words[_INTENT_TO] = 0  # while the rest changes, none of it counts
        self.words[_DAY], self.words[_PART], self.words[_SIZE] = (
            intent.day,
            intent.part,
            intent.size,
        )
        self.words[_INTENT_TO] = to

    def clear(self, segment_bytes: int) -> None:
        """Make it the header of a journal without records."""
        self.words[_MAGIC] = 0
        for entry in range(_SEGMENT_BYTES, _NUMBERS + SEGMENTS):
            self.words[entry] = 0
        self.words[_SEGMENT_BYTES] = segment_bytes
        self.words[_MAGIC] = MAGIC

    def pending(self) -> list[tuple[int, int, int]]:
        """Return slot, number and first byte not done with of each segment in use, by number."""
        size, consumed = self.segment_bytes, self.consumed
        found = [
            (slot, number, min(max(consumed - number * size, 0), size))
            for slot, number in enumerate(self.numbers)
            if number
        ]
        return sorted(found, key=lambda entry: entry[1])


def read_header(page: bytes) -> Header | None:
    """Read the header of a journal from its first page; None if it is not one."""
    if len(page) < PAGE:
        return None
    header = Header(memoryview(page[:PAGE]).cast("Q"))
    return header if header.segment_bytes else None


def pending_records(header: Header, content: bytes) -> bytes:
    """Return the records in a copy of a journal that are not done with, in order."""
    records = b""
    for slot, _, start in header.pending():
        place = PAGE + slot * header.segment_bytes
        segment = content[place : place + header.segment_bytes]
        records += segment[start : whole_end(segment)]
    return records
