"""What is promised of comparisons and votes."""

import pytest

from acore_bot.contracts import Comparison, Score, Votes
from acore_bot.errors import HistoryError
from acore_bot.records.sqlite import SQLiteRecords


def compare(message_id: int, a: str = "x", b: str = "y", guild: str = "guild") -> Comparison:
    """Make a comparison that Ada began."""
    return Comparison(message_id=message_id, guild=guild, a=a, b=b)


async def test_a_vote_tells_the_comparison_and_whether_it_is_the_first(
    records: SQLiteRecords,
) -> None:
    """A person's first vote says so; a later one takes its place; another's is theirs."""
    votes: Votes = records.votes
    await votes.open(compare(1))
    assert await votes.cast(1, "18", "a") == (compare(1), True)
    assert await votes.cast(1, "18", "b") == (compare(1), False)
    assert await votes.cast(1, "19", "b") == (compare(1), True)
    assert await votes.scores("guild") == (Score("y", 2, 0, 0), Score("x", 0, 0, 2))


async def test_a_first_vote_is_one_in_each_comparison(records: SQLiteRecords) -> None:
    """Who voted elsewhere votes here for the first time."""
    for number in (1, 2):
        await records.votes.open(compare(number))
        assert await records.votes.cast(number, "18", "a") == (compare(number), True)


async def test_a_vote_on_nothing_is_none(records: SQLiteRecords) -> None:
    """Under a message that is no comparison nothing is stored."""
    assert await records.votes.cast(1, "18", "a") is None
    await records.votes.open(compare(1))
    assert await records.votes.scores("guild") == ()


async def test_a_message_is_one_comparison(records: SQLiteRecords) -> None:
    """A second comparison under the same message is refused; the first one stays."""
    await records.votes.open(compare(1))
    with pytest.raises(HistoryError):
        await records.votes.open(compare(1, a="z"))
    assert await records.votes.cast(1, "18", "a") == (compare(1), True)


async def test_scores_count_every_vote_on_whichever_side(records: SQLiteRecords) -> None:
    """Wins, ties and losses are of a model, be it A or B; the best stands first, and of equals the
    one that was tried more often; other guilds do not count."""
    for comparison in (compare(1), compare(2, "y", "x"), compare(3, "z", "x")):
        await records.votes.open(comparison)
    await records.votes.open(compare(4, guild="other"))
    for message_id, voter, verdict in (
        (1, "18", "a"),
        (1, "19", "tie"),
        (2, "18", "b"),
        (2, "19", "a"),
        (3, "18", "tie"),
        (4, "18", "b"),
    ):
        await records.votes.cast(message_id, voter, verdict)  # type: ignore[arg-type]
    assert await records.votes.scores("guild") == (
        Score("x", 2, 2, 1),
        Score("z", 0, 1, 0),
        Score("y", 1, 1, 2),
    )
    assert await records.votes.scores("other") == (Score("y", 1, 0, 0), Score("x", 0, 0, 1))


async def test_all_votes_of_a_person_are_told(records: SQLiteRecords) -> None:
    """By the message under which each was cast, the last one of several; nobody else's."""
    for number in (1, 2, 3):
        await records.votes.open(compare(number, guild=f"{number}"))
    await records.votes.cast(2, "18", "a")
    await records.votes.cast(2, "18", "tie")
    await records.votes.cast(1, "18", "b")
    await records.votes.cast(3, "17", "a")
    assert await records.votes.of("18") == {1: "b", 2: "tie"}
    await records.votes.erase("18")
    assert await records.votes.of("18") == {}


async def test_erasing_removes_a_persons_votes_and_name(records: SQLiteRecords) -> None:
    """A person's votes no longer count, and a file of a former version names them no more as who
    began a comparison; the votes of others stay."""
    await records.votes.open(compare(1))
    await records._thread.write(
        lambda connection: connection.execute("UPDATE comparisons SET asker = '17'").rowcount
    )
    await records.votes.cast(1, "17", "a")
    await records.votes.cast(1, "18", "b")
    await records.votes.erase("17")
    assert await records.votes.scores("guild") == (Score("y", 1, 0, 0), Score("x", 0, 0, 1))
    found = await records.votes.cast(1, "17", "a")
    assert found is not None
    assert found == (compare(1), True)
    named = "SELECT count(*) FROM comparisons WHERE asker = '17'"
    assert await records._thread.read(lambda connection: connection.execute(named).fetchone()) == (
        0,
    )


async def test_a_guild_is_forgotten_with_its_votes(records: SQLiteRecords) -> None:
    """Nothing of a guild is left, and nothing of another is lost."""
    await records.votes.open(compare(1))
    await records.votes.open(compare(2, guild="other"))
    for message_id in (1, 2):
        await records.votes.cast(message_id, "18", "a")
    await records.votes.forget_guild("guild")
    assert await records.votes.scores("guild") == ()
    assert await records.votes.cast(1, "18", "a") is None
    await records.votes.open(compare(1))
    assert await records.votes.scores("guild") == ()
    assert len(await records.votes.scores("other")) == 2
