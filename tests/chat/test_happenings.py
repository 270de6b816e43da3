"""What a turn tells of itself when it is over."""

from decimal import Decimal

import pytest

from acore_bot.chat.answer import Answer
from acore_bot.chat.happenings import stages_of, what_happened
from acore_bot.errors import TimedOut
from acore_bot.messages import Delta, End, Host, Prices, Usage
from acore_bot.telemetry.events import Stages, TurnFailed, TurnFinished

CLOUD = Host("cloud.example", is_local=False)
HERE = Host("this machine", is_local=True)
PRICES = Prices(Decimal("0.001"), Decimal("0.01"))
USAGE = Usage(prompt_tokens=10, completion_tokens=2)


def answered(end: End | None = None) -> Answer:
    """Make an answer that came to all of its stages."""
    answer = Answer(model="p/m", heard_at=1, asked_at=2, sent_at=4)
    answer.grow(Delta("Yes."), 11)
    answer.ended_at, answer.shown_at, answer.kept_at = 15, 20, 26
    answer.end = end or End(finish_reason="stop", usage=USAGE, provider="p", model="m")
    return answer


def cost_of(answer: Answer, host: Host, prices: Prices | None) -> float | None:
    """Tell what is said of its cost."""
    event = what_happened(answer, 30, host=host, prices=prices)
    assert isinstance(event, TurnFinished)
    return event.cost


def test_the_stages_add_up_to_the_whole() -> None:
    """From being heard until it was kept, every second belongs to one stage."""
    end = End(finish_reason="stop", queued_seconds=3)
    assert stages_of(answered(end)) == Stages(
        admitted=1, context=2, queued=3, first_delta=4, stream=4, edits=5, commit=6
    )


def test_nobody_waited_longer_than_for_the_first_word() -> None:
    """Who joins a request that stood in line before is not said to have stood there as long."""
    stages = stages_of(answered(End(finish_reason="stop", queued_seconds=60)))
    assert (stages.queued, stages.first_delta) == (7, 0)


def test_what_was_not_reached_is_not_measured() -> None:
    """Of a turn that failed before the model was asked, only the wait is known."""
    answer = Answer(model="p/m", heard_at=1, asked_at=2, fault=TimedOut(provider="p"))
    event = what_happened(answer, 3, host=HERE, place="a1b2")
    assert event == TurnFailed(
        model="p/m", kind="timeout", total_seconds=1, stages=Stages(admitted=1), place="a1b2"
    )


@pytest.mark.parametrize(
    ("host", "prices", "told", "cost"),
    [
        (HERE, PRICES, None, 0.0),
        (CLOUD, PRICES, None, 0.03),
        (CLOUD, PRICES, Decimal("0.5"), 0.5),
        (CLOUD, None, None, None),
    ],
    ids=["local is free", "by its prices", "as its server says", "unknown"],
)
def test_the_cost_is_what_is_known_of_it(
    host: Host, prices: Prices | None, told: Decimal | None, cost: float | None
) -> None:
    """What a server tells counts; else its prices; what runs locally costs nothing."""
    usage = Usage(prompt_tokens=10, completion_tokens=2, cost=told)
    assert cost_of(answered(End(finish_reason="stop", usage=usage)), host, prices) == cost


def test_another_model_has_other_prices() -> None:
    """An answer that another model gave is not priced as the one that was asked."""
    end = End(finish_reason="stop", usage=USAGE, provider="q", model="n", fell_back_from="p/m")
    assert cost_of(answered(end), CLOUD, PRICES) is None


def test_what_was_answered_before_costs_nothing() -> None:
    """An answer from memory is not paid again, though its tokens are told."""
    end = End(finish_reason="stop", usage=USAGE, provider="p", model="m", is_cached=True)
    assert cost_of(answered(end), CLOUD, PRICES) == 0.0
