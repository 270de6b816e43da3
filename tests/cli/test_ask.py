"""`acore ask`: one question, one answer, nothing remembered."""

import asyncio
import json
import os
import signal
from collections.abc import Callable

import pytest
from tests.fakes.command import Command, finish
from tests.fakes.model_server import (
    CHAT,
    DONE,
    LAST_CHUNK,
    OPENROUTER_CHAT,
    ModelServer,
    chunk,
    chunked,
    event,
    openai_error,
    piece,
    stream_head,
)
from tests.fakes.model_server import finish as end_of
from typer.testing import Result

HEAD = stream_head("text/event-stream")
ANSWER = "Hello there, my friend.\n"

Invoke = Callable[..., Result]


@pytest.mark.embedded
async def test_the_embedded_model_answers_without_any_set_up(command: Command) -> None:
    """With no settings, account or key, the model inside the package knows a capital."""
    done = await command.run("ask", "What is the capital of France?")
    assert (done.code, done.err) == (0, "")
    assert "Paris" in done.out


async def test_the_answer_is_printed_as_it_comes(command: Command, server: ModelServer) -> None:
    """What the model has said can be read while it is still speaking."""
    more = asyncio.Event()
    server.play(
        CHAT,
        HEAD + chunk(piece(content="Hello")),
        more,
        chunk(piece(content=" there.")) + chunked([end_of("stop"), DONE]),
        "keep",
    )
    process = await command.start("ask", "Hello?")
    assert process.stdout
    assert await process.stdout.readexactly(5) == b"Hello"
    more.set()
    done = await finish(process)
    assert (done.code, done.out, done.err) == (0, " there.\n", "")


async def test_json_is_one_object_with_all_there_is_to_know(
    command: Command, server: ModelServer
) -> None:
    """`--json` prints exactly one object: the answer, who gave it, why it ended, what it took."""
    done = await command.run("ask", "--json", "Hello?")
    told = json.loads(done.out)
    seconds = told.pop("seconds")
    assert told == {
        "text": "Hello there, my friend.",
        "model": "tiny",
        "provider": "fake",
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 7, "completion_tokens": 4, "cost": None},
    }
    assert seconds.keys() == {"first_delta", "total"}
    assert 0 <= seconds["first_delta"] <= seconds["total"]
    assert (done.code, done.err, done.out.count("\n")) == (0, "", 1)


async def test_json_tells_the_cost_where_the_provider_does(
    command: Command, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cost of an answer is in US dollars, as a number."""
    monkeypatch.setenv("ACORE_PROVIDERS__OPENROUTER__BASE_URL", f"{server.url}/api/v1")
    done = await command.run("ask", "--json", "--model", "openrouter/tiny", "Hello?")
    assert json.loads(done.out)["usage"]["cost"] == 0.00095
    assert server.bodies(OPENROUTER_CHAT)[0]["model"] == "tiny"


async def test_the_question_may_come_from_standard_input(
    command: Command, server: ModelServer
) -> None:
    """`-` reads the question, however long it is, from a pipe; bytes that are no text are
    replaced."""
    question = "line one\nline two ü " + "x" * 5_000
    assert (await command.run("ask", "-", typed=f"{question}\n")).out == ANSWER
    assert (await command.run("ask", b"odd \xff byte")).out == ANSWER
    contents = [body["messages"][-1]["content"] for body in server.bodies(CHAT)]
    assert contents == [question, "odd ? byte"]


@pytest.mark.parametrize("arguments", [("",), (" \n",), ("-",)])
def test_without_a_question_nothing_is_asked(arguments: tuple[str, ...], invoke: Invoke) -> None:
    """An empty question ends with 2 and a remedy."""
    result = invoke("ask", *arguments, typed="\n")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "acore: There is no question.\n  Write one after `acore ask`.\n"


@pytest.mark.parametrize(
    ("model", "code", "complaint"),
    [
        (
            "nowhere/tiny",
            2,
            'acore: the command line: chat.model is "nowhere/tiny" but there is no provider',
        ),
        (
            "embedded/giant",
            1,
            "acore: embedded/giant does not exist there.\n  It serves embedded/smollm2 only.\n",
        ),
        (
            "ollama/tiny",
            1,
            "acore: ollama/tiny cannot be reached.\n  Check that its server runs.\n",
        ),
    ],
)
async def test_a_model_that_cannot_answer_is_told_in_a_line_and_a_remedy(
    model: str, code: int, complaint: str, command: Command
) -> None:
    """Unknown providers, unknown models and closed ports end without a page of code."""
    done = await command.run("ask", "--model", model, "Hello?")
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith(complaint)
    assert "Traceback" not in done.err


async def test_debug_shows_where_it_came_from_and_what_the_server_said(
    command: Command, server: ModelServer
) -> None:
    """`--debug` gives the traceback of an error, and the server's own words."""
    server.play(CHAT, openai_error(500, "the fan fell off", "server_error"))
    done = await command.run("--debug", "ask", "Hello?")
    assert done.code == 1
    assert "Traceback (most recent call last)" in done.err
    assert "The server said: HTTP 500: the fan fell off" in done.err


@pytest.mark.parametrize("options", [(), ("--debug",)], ids=["plain", "debug"])
async def test_the_key_is_sent_and_never_printed(
    options: tuple[str, ...], command: Command, server: ModelServer
) -> None:
    """The server gets the key; the screen does not, even if the server repeats it."""
    refusal = openai_error(401, "Incorrect API key: sk-very-secret", "invalid_api_key")
    server.play(CHAT, refusal)
    done = await command.run(*options, "ask", "Hello?")
    assert server.asked[-1].headers["authorization"] == "Bearer sk-very-secret"
    assert done.code == 1
    assert "fake/tiny does not accept our key." in done.err
    assert "sk-very" not in done.out + done.err


async def test_a_local_only_bot_asks_no_cloud(
    command: Command, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `chat.local_only`, neither a question nor the examination reaches a cloud."""
    server.play(CHAT, HEAD + chunked([piece(content="Hi."), end_of("stop"), DONE]))
    settings = {"ACORE_CHAT__LOCAL_ONLY": "true", "ACORE_PROVIDERS__FAKE__LOCAL": "false"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    asked, examined = await command.run("ask", "Hello?"), await command.run("doctor")
    assert (asked.code, asked.out, examined.code) == (1, "", 1)
    assert "fake/tiny computes in a cloud, and this place is kept from clouds." in asked.err
    assert "✗ model        fake/tiny computes in a cloud" in examined.out
    assert server.asked == []


def test_a_cloud_without_a_key_is_not_asked(invoke: Invoke, scripted: None) -> None:
    """A missing key is called missing, with the name of the setting, before any connection."""
    result = invoke("ask", "--model", "openai/gpt-x", "Hello?")
    assert result.exit_code == 1
    assert "openai needs a key, and none is set." in result.stderr
    assert "Set OPENAI_API_KEY or providers.openai.api_key to use it." in result.stderr


async def test_flags_reach_the_request(command: Command, server: ModelServer) -> None:
    """`--max-tokens`, `--temperature` and `--persona` decide what the model is asked."""
    await command.run("ask", "--max-tokens=7", "--temperature=0.25", "--persona=tutor", "Hello?")
    (body,) = server.bodies(CHAT)
    assert (body["max_tokens"], body["temperature"]) == (7, 0.25)
    assert "You are Tutor" in body["messages"][0]["content"]


@pytest.mark.parametrize("flag", ["--max-tokens=0", "--temperature=2.5", "--temperature=nan"])
def test_flags_out_of_range_are_refused(flag: str, invoke: Invoke, scripted: None) -> None:
    """A flag is checked as the setting is that it stands for."""
    result = invoke("ask", flag, "Hello?")
    assert (result.exit_code, result.stdout) == (2, "")
    name = flag.removeprefix("--").partition("=")[0].replace("-", "_")
    assert result.stderr.startswith(f"acore: the command line: chat.{name} is ")


@pytest.mark.parametrize(
    ("last", "code", "note"),
    [
        (chunk(end_of("length")), 0, "cut off at the token limit; --max-tokens raises it"),
        (chunk(end_of("content_filter")), 0, "cut off by the provider's content filter"),
        (b"", 1, "broke off before its end"),
    ],
    ids=["length", "filtered", "truncated"],
)
async def test_an_answer_that_is_not_whole_is_marked(
    last: bytes, code: int, note: str, command: Command, server: ModelServer
) -> None:
    """What came is printed; a note beside it says why there is no more."""
    server.play(CHAT, HEAD + chunk(piece(content="Hello")) + last + LAST_CHUNK)
    done = await command.run("ask", "Hello?")
    assert (done.code, done.out) == (code, "Hello\n")
    assert note in done.err


async def test_an_error_in_the_midst_begins_on_its_own_line(
    command: Command, server: ModelServer
) -> None:
    """What came before the error stays, and its line is ended."""
    server.play(
        CHAT, HEAD + chunk(piece(content="Hello")) + chunk(event({"error": {"message": "?"}}))
    )
    done = await command.run("ask", "Hello?")
    assert (done.code, done.out) == (1, "Hello\n")
    assert done.err.startswith("acore: The answer of fake/tiny broke off.\n")


async def test_an_answer_cannot_steer_the_terminal(command: Command, server: ModelServer) -> None:
    """Control characters of a model are left out."""
    server.words = ("\x1b]0;owned\x07", "Hello\x9b2J", "\tthere\n")
    done = await command.run("ask", "Hello?")
    assert done.out == "]0;ownedHello2J\tthere\n\n"


async def test_what_the_screen_cannot_show_is_replaced(
    command: Command, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A screen of few characters ends no answer."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    server.words = ("A café", " it is.")
    done = await command.run("ask", "Hello?")
    assert (done.code, done.out) == (0, "A caf? it is.\n")


async def test_ctrl_c_stops_an_answer_quietly(command: Command, server: ModelServer) -> None:
    """SIGINT ends the command with 130 and not a word, and the server's work as well."""
    server.play(CHAT, HEAD + chunk(piece(content="Hello")), asyncio.Event())
    process = await command.start("ask", "Hello?")
    assert process.stdout
    await process.stdout.readexactly(5)
    process.send_signal(signal.SIGINT)
    done = await finish(process)
    assert (done.code, done.out, done.err) == (130, "\n", "")
    await server.until_idle()
    assert server.left_early == 1


async def test_ctrl_c_stops_the_wait_for_a_question(command: Command) -> None:
    """SIGINT is obeyed at once while the question is still being read."""
    process = await command.start("ask", "-")
    assert process.stdin
    process.stdin.write(b"why " * 250_000)
    await process.stdin.drain()  # more than a pipe holds, so it is reading
    process.send_signal(signal.SIGINT)
    assert await process.wait() == 130
    assert process.stderr
    assert await process.stderr.read() == b""


async def test_a_reader_who_leaves_ends_the_answer_quietly(
    command: Command, server: ModelServer
) -> None:
    """As before `| head -c 1`: nothing is said of the closed pipe, and the answer is stopped."""
    more = asyncio.Event()
    server.play(
        CHAT,
        HEAD + chunk(piece(content="Hello")),
        more,
        chunk(piece(content=" there")),
        asyncio.Event(),
    )
    read_end, write_end = os.pipe()
    process = await command.start("ask", "Hello?", stdout=write_end)
    os.close(write_end)
    assert await asyncio.to_thread(os.read, read_end, 1) == b"H"
    os.close(read_end)
    more.set()
    assert process.stderr
    assert await process.stderr.read() == b""
    assert await process.wait() == 1
    await server.until_idle()


def test_nothing_is_remembered(invoke: Invoke, scripted: None) -> None:
    """A question leaves no trace in the history."""
    assert invoke("ask", "Hello?").stdout == "Hello?\n"
    assert invoke("history", "list").stdout == "Nothing was said yet. Begin with: acore chat\n"
