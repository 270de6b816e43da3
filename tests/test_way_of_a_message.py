"""The way of a message, told once, from what a person says to what a restart still knows.

Read this first. Everything here is real but two things: the model, whose lines are written
beforehand, and the place where the answer appears, which writes down what it is asked to show.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.fakes.recording_target import Edited, Posted, RecordingTarget, Typing
from tests.fakes.talk import ADA, heard

from acore_bot import app, config
from acore_bot.messages import ChatRequest
from acore_bot.providers.scripted import Scripted
from acore_bot.telemetry.events import Event, HistoryRead, TurnFinished


async def test_the_way_of_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message is heard, answered as the model speaks, remembered, and known after a restart."""
    go_on = asyncio.Event()
    model = Scripted(
        name="demo",
        answers=[
            ["Nice to meet you,", go_on, " Ada."],
            "You are Ada.",
            "You like the sea, Ada.",
        ],
    )
    happened: list[Event] = []
    # The settings choose the model by its name; only here, the name leads to our script.
    monkeypatch.setattr(
        "acore_bot.app.opening.open_provider", lambda _settings, _name, _emit: model
    )

    @asynccontextmanager
    async def running_bot() -> AsyncIterator[app.App]:
        """Run the bot as its process does, on one folder; leaving the block is its end."""
        overrides = {
            "data.directory": str(tmp_path),
            "chat.model": "demo/script",
            "providers.demo.kind": "scripted",
        }
        settings = config.load(overrides=overrides, environ={})
        async with app.open_app(settings, happened.append) as bot:
            yield bot

    async with running_bot() as bot:
        # Ada says something. A front end makes it an incoming message, and hands it to the one
        # callable that it knows, with a target: the place where the answer shall appear.
        target = RecordingTarget(first_id=2)
        turn = asyncio.create_task(bot.core(heard(1, "I am Ada."), target))

        # The model begins to speak and then thinks; what it said so far can be read already.
        await target.until_shown("Nice to meet you,")
        go_on.set()
        await turn

        # So the person saw typing at first, then a message, and then the same message grow. The
        # last word on it is said to be final: no edit follows.
        assert target.steps == [
            Typing(is_on=True),
            Typing(is_on=False),
            Posted(2, "Nice to meet you,", final=False),
            Edited(2, "Nice to meet you, Ada.", True, ("regenerate", "details")),
        ]

        # Both were stored, together. Each knows what it continues; the answer also knows who gave
        # it, and that it is whole.
        question, answer = await bot.history.recent("tea", 10)
        assert (question.role, question.author, question.text) == ("user", ADA, "I am Ada.")
        assert (answer.role, answer.author.name) == ("assistant", "Acore")
        assert (question.parent_id, answer.parent_id) == (None, question.id)
        assert (answer.model, answer.finish_reason) == ("demo/script", "stop")
        assert answer.text == "Nice to meet you, Ada."

        # A second message is sent along with the first turn. The persona stands before all.
        await bot.core(heard(3, "Who am I?"), RecordingTarget(first_id=4))
        assert [said.role for said in model.requests[-1].messages] == [
            *("system", "user", "assistant", "user")
        ]
        assert spoken(model.requests[-1]) == ["I am Ada.", "Nice to meet you, Ada.", "Who am I?"]

    # The process ends here: everything was closed, and another one opens the same folder. What is
    # said now still carries all that was said before; to the model, nothing has happened.
    async with running_bot() as bot:
        await bot.core(heard(5, "And what do I like?"), RecordingTarget(first_id=6))
        assert spoken(model.requests[-1]) == [
            *("I am Ada.", "Nice to meet you, Ada."),
            *("Who am I?", "You are Ada."),
            "And what do I like?",
        ]
        # The head of the prompt has not changed by a byte, so a server need not read it again.
        assert model.requests[-1].messages[:4] == model.requests[-2].messages

        # Along the parents, from the last answer to the first question, the whole line is there.
        line = await bot.history.chain(6, 10)
        assert [message.id for message in line] == [1, 2, 3, 4, 5, 6]

    # Nothing is under way at the model any more, and the owner was told of each turn: who
    # answered, how it ended, and what it took; never what was said.
    assert model.open_streams == 0
    turns = [event for event in happened if isinstance(event, TurnFinished)]
    assert {type(event) for event in happened} == {HistoryRead, TurnFinished}
    assert len(turns) == 3
    for event in turns:
        assert (event.model, event.finish_reason) == ("demo/script", "stop")
        assert event.first_delta_seconds is not None
        assert 0 <= event.first_delta_seconds <= event.total_seconds
        assert "Ada" not in repr(event)


def spoken(request: ChatRequest) -> list[str]:
    """Return the texts that a request carries after the persona."""
    return [message.text for message in request.messages[1:]]
