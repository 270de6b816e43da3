"""The scripted provider says what it is told."""

import asyncio

import pytest

from acore_bot.errors import Overloaded
from acore_bot.messages import ChatMessage, ChatRequest, Delta, End, Piece, Usage
from acore_bot.providers.scripted import CUT, Answer, Scripted

REQUEST = ChatRequest(model="any", messages=(ChatMessage("user", "How are you?"),), max_tokens=16)
OVER = End(finish_reason="length", provider="elsewhere")


async def collect(provider: Scripted) -> list[Piece]:
    """Return all pieces of one answer."""
    async with provider.stream(REQUEST) as pieces:
        return [one async for one in pieces]


def end(finish_reason: str, words: int) -> End:
    """Return the end that an answer of so many words gets by itself."""
    return End(
        finish_reason=finish_reason,  # type: ignore[arg-type]
        usage=Usage(prompt_tokens=3, completion_tokens=words),
        provider="scripted",
        model="any",
    )


@pytest.mark.parametrize(
    ("answer", "pieces"),
    [
        ("Fine, thank you.", [Delta("Fine, "), Delta("thank "), Delta("you."), end("stop", 3)]),
        ("\n a\n\nb ", [Delta("\n "), Delta("a\n\n"), Delta("b "), end("stop", 2)]),
        ("", [end("stop", 0)]),
        (["Fine,", Delta(reasoning="hm")], [Delta("Fine,"), Delta(reasoning="hm"), end("stop", 1)]),
        (["Fine,", CUT, "never"], [Delta("Fine,"), end("truncated", 1)]),
        ([OVER, "never"], [OVER]),
        ([], [end("stop", 0)]),
    ],
)
async def test_answer_is_said_as_written(answer: Answer, pieces: list[Piece]) -> None:
    """A text comes word by word, a sequence as it is, and an end of their own kind closes both."""
    assert await collect(Scripted(answers=[answer])) == pieces


async def test_answers_come_in_order_and_the_last_repeats() -> None:
    """More questions than answers get the last one again."""
    provider = Scripted(answers=["one", "two"])
    said = [(await collect(provider))[0] for _ in range(3)]
    assert said == [Delta("one"), Delta("two"), Delta("two")]


async def test_without_answers_it_echoes() -> None:
    """With nothing to say it repeats what the user said last."""
    pieces = await collect(Scripted())
    assert "".join(one.text for one in pieces if isinstance(one, Delta)) == "How are you?"


async def test_exception_is_raised_where_it_stands() -> None:
    """What comes before an error is said."""
    error = Overloaded(provider="scripted")
    provider = Scripted(answers=[["Well", error]])
    async with provider.stream(REQUEST) as pieces:
        assert await anext(pieces) == Delta("Well")
        with pytest.raises(Overloaded):
            await anext(pieces)
    assert provider.open_streams == 0


async def test_gate_holds_the_answer() -> None:
    """An event in an answer is waited for."""
    gate = asyncio.Event()
    provider = Scripted(answers=[["a", gate, "b"]])
    said: list[Piece] = []
    begun = asyncio.Event()

    async def read() -> None:
        async with provider.stream(REQUEST) as pieces:
            said.append(await anext(pieces))
            begun.set()
            said.append(await anext(pieces))

    async with asyncio.TaskGroup() as group:
        group.create_task(read())
        await begun.wait()
        await asyncio.sleep(0)
        assert said == [Delta("a")]
        gate.set()
    assert said == [Delta("a"), Delta("b")]


async def test_delay_uses_the_given_sleep() -> None:
    """Each piece waits as long as was asked, on the clock that was given."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    await collect(Scripted(answers=["a b"], delay_seconds=0.5, sleep=sleep))
    assert slept == [0.5, 0.5]


async def test_requests_and_open_streams_are_counted() -> None:
    """Tests can see what was asked, how much was open, and that all was left."""
    provider = Scripted()
    async with provider.stream(REQUEST), provider.stream(REQUEST):
        assert provider.open_streams == 2
    assert provider.open_streams == 0
    assert provider.max_open_streams == 2
    assert provider.requests == [REQUEST, REQUEST]


async def test_describe_tells_the_given_context() -> None:
    """The context is what the test wants it to be."""
    provider = Scripted(context_tokens=99)
    assert (await provider.describe("any")).context_tokens == 99
    assert await provider.list_models()
    await provider.aclose()
