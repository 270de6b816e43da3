"""Who gets whose answer, through both coats under which answers are shared."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from msgspec import structs

from acore_bot.llm.deduplicate import DeduplicatedModel
from acore_bot.llm.respond_from_cache import CachedResponses
from acore_bot.messages import ChatMessage, ChatRequest, Delta, Piece
from acore_bot.providers.scripted import Scripted

QUESTION = ChatRequest(
    model="demo/script", messages=(ChatMessage("user", "What is our secret?"),), max_tokens=9
)
WORDS = 50  # different questions, each asked again and again: in the air together, and later


class Confidant(Scripted):
    """Answers with what only those who asked may know: their scope, and whether they are kept from
    clouds."""

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[Piece]]:
        """Say the secret."""
        self._answers.clear()
        self._answers.append(secret_of(request))
        async with super().stream(request) as pieces:
            yield pieces


def secret_of(request: ChatRequest) -> str:
    """Return what is to be said to nobody else."""
    return f"{request.scope} {request.is_local_only}"


async def heard(model: DeduplicatedModel, request: ChatRequest) -> str:
    """Ask and join what was answered."""
    async with model.stream(request) as pieces:
        return "".join([piece.text async for piece in pieces if isinstance(piece, Delta)])


PAIRS = [
    ({"scope": "guild:1"}, {"scope": "guild:2"}),
    ({"scope": "guild:1"}, {"scope": "guild:11"}),
    ({"scope": "guild:1"}, {"scope": "private:1"}),
    ({"scope": "private:discord:7/1"}, {"scope": "private:discord:7/2"}),
    ({"scope": "public"}, {"scope": "private:discord:7/2"}),
    ({"is_local_only": True}, {"is_local_only": False}),
]


@pytest.mark.parametrize("is_stateless", [True, False])
@pytest.mark.parametrize("pair", PAIRS, ids=str)
async def test_s6_the_same_words_from_two_sides_never_cross(
    pair: tuple[dict[str, object], dict[str, object]], *, is_stateless: bool
) -> None:
    """Two guilds, two private conversations or two kinds of place ask the same words a thousand
    times, at once and one after the other: nobody gets the other's answer, while each side shares
    its own."""
    upstream = Confidant()
    model = DeduplicatedModel(CachedResponses(upstream))
    asked = [
        structs.replace(QUESTION, **side, seed=number % WORDS, has_history=not is_stateless)
        for number in range(500)
        for side in pair
    ]
    answers = await asyncio.gather(*(heard(model, request) for request in asked))
    assert answers == [secret_of(request) for request in asked]
    for request in asked[: 2 * WORDS]:
        assert await heard(model, request) == secret_of(request)
    calls = Counter((secret_of(one), one.seed) for one in upstream.requests)
    assert len(calls) == 2 * WORDS
    # A chat turn is not remembered, so that the second round was asked anew.
    assert set(calls.values()) == ({1} if is_stateless else {2})
    await model.aclose()
