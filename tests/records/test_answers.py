"""What is promised of the records of answers."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from msgspec import structs

from acore_bot.contracts import Answers
from acore_bot.errors import HistoryUnusable
from acore_bot.messages import (
    AnswerRecord,
    Attachment,
    Author,
    Host,
    IncomingMessage,
    Place,
    Quote,
    Receipt,
    Usage,
)
from acore_bot.records.sqlite import SQLiteRecords

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HERE = Place("guild", "5")


@pytest.fixture
def answers(records: SQLiteRecords) -> Answers:
    """The records of answers."""
    return records.answers


def record(
    id_: int, *parts: int, asker: str = "17", conversation: str = "discord:5", place: Place = HERE
) -> AnswerRecord:
    """Make the record of an answer to the message before it, a second later for each id."""
    return AnswerRecord(
        id=id_,
        asker=asker,
        question_id=id_ - 1,
        conversation=conversation,
        place=place,
        created_at=NOON + timedelta(seconds=id_),
        part_ids=parts,
        receipt=Receipt(
            model="scripted/echo",
            persona="acore",
            host=Host("this machine", is_local=True),
            finish_reason="stop",
            total_seconds=1.5,
        ),
    )


def question(text: str = "Why?") -> IncomingMessage:
    """Make a stateless question with all that one can bring along."""
    return IncomingMessage(
        id=7,
        conversation="discord:5",
        author=Author("17", "Ada"),
        text=text,
        created_at=NOON.astimezone(timezone(timedelta(hours=2))),
        place=HERE,
        roles=("1", "2"),
        is_stateless=True,
        quotes=(
            Quote(kind="reply", text="Because.", author=Author("18", "Bob")),
            Quote(kind="forward", text="Ö"),
        ),
        attachments=(
            Attachment(id=8, name="a.txt", media_type="text/plain", size=3, url="https://x/a"),
        ),
    )


async def test_a_record_comes_back_in_every_field(answers: Answers) -> None:
    """Whatever a record holds, it is read as it was put."""
    full = structs.replace(
        record(8, 9, 10),
        question=question(),
        receipt=structs.replace(
            record(8).receipt,
            usage=Usage(prompt_tokens=3, completion_tokens=4, cost=Decimal("0.00000015")),
            first_delta_seconds=0.25,
            is_shared=True,
            fell_back_from="a/b",
            files=("a.txt",),
            remarks=("é🙂 was left out.",),
        ),
    )
    await answers.put(full)
    assert await answers.find(8) == full


async def test_a_record_is_found_by_each_of_its_messages(answers: Answers) -> None:
    """The answer's own id and those of its parts lead to it; others lead nowhere."""
    await answers.put(record(2, 3, 4))
    await answers.put(record(6))
    assert [await answers.find(id_) for id_ in (2, 3, 4, 6)] == [record(2, 3, 4)] * 3 + [record(6)]
    assert await answers.find(5) is None


async def test_a_record_takes_the_place_of_its_former_one(answers: Answers) -> None:
    """After an answer was given anew nothing leads to what it was, its former parts included."""
    await answers.put(record(2, 3, 4))
    anew = structs.replace(record(2, 4, 5, asker="18", conversation="new"), question_id=0)
    await answers.put(anew)
    assert await answers.find(3) is None
    assert [await answers.find(id_) for id_ in (2, 4, 5)] == [anew] * 3
    assert await answers.of("17") == await answers.to_question(1) == ()
    assert await answers.of("18") == await answers.to_question(0) == (anew,)
    assert await answers.expire("discord:5", NOON + timedelta(days=1)) == 0


async def test_all_answers_to_a_question_and_of_a_person(answers: Answers) -> None:
    """Records are told by their question or by who asked, oldest first, and no others."""
    again = structs.replace(record(9), question_id=1)
    for each in (again, record(2), record(4, asker="18"), record(6, asker="177")):
        await answers.put(each)
    assert await answers.to_question(1) == (record(2), again)
    assert await answers.of("17") == (record(2), again)
    assert await answers.of("7") == await answers.to_question(99) == ()


async def test_deleting_leaves_no_part(answers: Answers) -> None:
    """A record is removed by its own id only, once, with its parts; its place is still known."""
    await answers.put(record(2, 3))
    assert await answers.delete(3) is False
    assert await answers.delete(2) is True
    assert await answers.delete(2) is False
    assert await answers.find(3) is None
    assert await answers.places() == {"discord:5": HERE}


async def test_erasing_removes_a_persons_records_and_own_conversations(answers: Answers) -> None:
    """A person's records go, counted, and where the conversations are that bear their id; those of
    others stay."""
    shared, own, alike = "discord:5", "discord:5/17", "discord:5/117"
    for each in (record(2, 3), record(4, conversation=own), record(6, asker="18")):
        await answers.put(each)
    await answers.put(record(8, asker="117", conversation=alike))
    assert await answers.erase("17") == 2
    assert await answers.erase("17") == 0
    assert await answers.of("17") == ()
    assert await answers.find(3) is None
    assert await answers.find(6) == record(6, asker="18")
    assert await answers.places() == {shared: HERE, alike: HERE}


async def test_erasing_removes_what_others_quote(answers: Answers) -> None:
    """In a question of somebody else's, a person's words and id become a quote that cannot be read;
    all else of it stays, and so do the words of others."""
    quoting = structs.replace(record(2), question=question())
    other = structs.replace(record(4), question=structs.replace(question("18?"), quotes=()))
    for each in (quoting, other):
        await answers.put(each)
    assert await answers.erase("18") == 0
    _, forwarded = question().quotes
    left = structs.replace(question(), quotes=(Quote(kind="reply", text=""), forwarded))
    assert await answers.of("17") == (structs.replace(quoting, question=left), other)


async def test_expiring_removes_what_is_older(answers: Answers) -> None:
    """Records of one conversation from before the moment go; one from that moment stays, and so
    does the place, though nothing may be left there."""
    for each in (record(2, 3), record(4), record(6, conversation="discord:6")):
        await answers.put(each)
    assert await answers.expire("discord:5", record(4).created_at) == 1
    assert await answers.find(3) is None
    assert await answers.find(4) == record(4)
    moment = (NOON + timedelta(days=1)).astimezone(timezone(timedelta(hours=-5)))
    assert await answers.expire("discord:5", moment) == 1
    assert await answers.expire("discord:5", moment) == 0
    assert await answers.find(6) == record(6, conversation="discord:6")
    assert await answers.places() == {"discord:5": HERE, "discord:6": HERE}


async def test_places_say_where_conversations_are(answers: Answers) -> None:
    """A conversation is where its last record was."""
    await answers.put(record(1, conversation="c0", place=HERE))
    await answers.put(record(2, conversation="c1", place=Place("", "9")))
    await answers.put(record(9, conversation="c0", place=Place("guild", "7")))
    assert await answers.places() == {"c0": Place("guild", "7"), "c1": Place("", "9")}


async def test_p1_where_somebody_spoke_in_private_is_erased(answers: Answers) -> None:
    """A private chat is told by its id, which is as good as theirs; channels stay known."""
    await answers.put(record(1, conversation="discord:7", place=Place("", "7")))
    await answers.put(record(2, conversation="discord:5"))
    await answers.put(record(3, asker="18", conversation="discord:8", place=Place("", "8")))
    await answers.erase("17")
    assert await answers.places() == {"discord:5": HERE, "discord:8": Place("", "8")}


async def test_a_conversation_is_forgotten_with_its_place(answers: Answers) -> None:
    """Its records and its place go, and nothing else."""
    await answers.put(record(2, 3))
    await answers.put(record(4, conversation="discord:5/17"))
    await answers.forget_conversation("discord:5")
    assert await answers.find(3) is None
    assert await answers.places() == {"discord:5/17": HERE}
    assert await answers.of("17") == (record(4, conversation="discord:5/17"),)


async def test_half_a_character_is_mended(answers: Answers) -> None:
    """Lone surrogates, which some clients send, are kept as U+FFFD wherever they stand."""
    odd = structs.replace(
        record(2, asker="\ud800", conversation="c\udc80", place=Place("\udfff", "5")),
        question=question("a\ud83d\n\\ud800 \ude00b"),
    )
    await answers.put(odd)
    (kept,) = await answers.of("\ud800")
    assert kept.question == question("a\ufffd\n\\ud800 \ufffdb")
    assert kept == structs.replace(
        odd,
        asker="\ufffd",
        conversation="c\ufffd",
        place=Place("\ufffd", "5"),
        question=kept.question,
    )
    assert await answers.places() == {"c\ufffd": Place("\ufffd", "5")}


async def test_a_record_that_is_none_is_told_as_damage(records: SQLiteRecords) -> None:
    """What cannot be understood is reported with the file's name, not as a traceback."""
    await records.answers.put(record(2))
    await records._thread.write(
        lambda connection: connection.execute("UPDATE answers SET record = '{}'").rowcount
    )
    with pytest.raises(HistoryUnusable, match=r"records\.sqlite3 is damaged"):
        await records.answers.find(2)
