"""What tells one kind of file of ours from another: its steps, its mark, how it is written."""

import sqlite3
from collections.abc import Callable
from typing import Literal, TypeAlias

from msgspec import Struct

Migration: TypeAlias = Callable[[sqlite3.Connection], None]


class Layout(Struct, frozen=True, kw_only=True):
    """A kind of database.

    `noun` stands in sentences as "The {noun} {path} …". `application_id` is written into the file's
    header by the first of the `migrations`, so that no other program's file is taken for ours.
    With `synchronous` NORMAL a power cut may take the last commits, with FULL none; neither lets it
    harm the file. A new file takes pages of `page_bytes`. `thread_name` is seen by profilers.
    """

    noun: str
    application_id: int
    migrations: tuple[Migration, ...]
    synchronous: Literal["NORMAL", "FULL"]
    page_bytes: int
    thread_name: str
