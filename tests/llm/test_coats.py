"""What every coat hands on as it was asked."""

from collections.abc import Callable

import pytest

from acore_bot.contracts import ChatModel
from acore_bot.llm.deduplicate import DeduplicatedModel
from acore_bot.llm.failover import Failover, FailoverOptions
from acore_bot.llm.limit import LimitedModel, LimitOptions
from acore_bot.llm.respond_from_cache import CachedResponses
from acore_bot.llm.route import RoutedModel
from acore_bot.messages import Host, ModelInfo
from acore_bot.providers.scripted import Scripted


class Described(Scripted):
    """Keeps what was asked about it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[bool] = []

    async def describe(self, model: str, *, local_only: bool = False) -> ModelInfo:
        """Keep whether clouds were forbidden."""
        self.asked.append(local_only)
        return await super().describe(model, local_only=local_only)


COATS: list[Callable[[Described], ChatModel]] = [
    DeduplicatedModel,
    CachedResponses,
    lambda model: LimitedModel(model, LimitOptions(max_streams=1), name="tea"),
    lambda model: Failover(model, FailoverOptions()),
    lambda model: RoutedModel(["tea"], lambda _: model, hosts={"tea": Host("here", True)}),
]


@pytest.mark.parametrize("put_on", COATS)
@pytest.mark.parametrize("local_only", [True, False])
async def test_a_description_is_asked_for_as_it_was(
    put_on: Callable[[Described], ChatModel], *, local_only: bool
) -> None:
    """Whether clouds may be asked reaches the provider, which is the last to hold to it."""
    model = Described()
    await put_on(model).describe("tea/assam", local_only=local_only)
    assert model.asked == [local_only]
