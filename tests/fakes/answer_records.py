"""Records of shown answers, as tests need them."""

from datetime import timedelta

from tests.fakes.talk import ADA, NOON

from acore_bot.messages import AnswerRecord, Author, Host, IncomingMessage, Place, Receipt

HOME = Place("home", "tea")
RECEIPT = Receipt(
    model="scripted/script",
    persona="Acore",
    host=Host("this machine", is_local=True),
    finish_reason="stop",
    total_seconds=1.5,
)


def record_of(
    id_: int,
    question_id: int,
    *,
    asker: Author = ADA,
    conversation: str = "tea",
    place: Place = HOME,
    receipt: Receipt = RECEIPT,
    question: IncomingMessage | None = None,
) -> AnswerRecord:
    """Make the record of an answer, given as many seconds after noon as its id says."""
    return AnswerRecord(
        id=id_,
        asker=asker.id,
        question_id=question_id,
        conversation=conversation,
        place=place,
        created_at=NOON + timedelta(seconds=id_),
        receipt=receipt,
        question=question,
    )
