"""What is promised of pauses."""

from acore_bot.contracts import Consents
from acore_bot.records.sqlite import SQLiteRecords


async def test_a_pause_holds_until_it_is_ended(records: SQLiteRecords) -> None:
    """Who paused is named until they resume; to say either twice is no fault."""
    consents: Consents = records.consents
    assert await consents.paused() == frozenset()
    for author_id in ("17", "18", "17"):
        await consents.pause(author_id)
    assert await consents.paused() == {"17", "18"}
    await consents.resume("17")
    await consents.resume("17")
    assert await consents.paused() == {"18"}
