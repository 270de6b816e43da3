"""`acore ask`: one question, one answer, nothing remembered."""

import io
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import cast

import msgspec
import typer
from msgspec import Struct, structs

from acore_bot import app
from acore_bot.cli.status import Status
from acore_bot.config import Settings
from acore_bot.contracts import ChatModel
from acore_bot.errors import ConfigurationError
from acore_bot.messages import ChatRequest, Delta, End, FinishReason, Usage, printable

NOTES: dict[FinishReason, str] = {
    "length": "The answer was cut off at the token limit; --max-tokens raises it.",
    "filtered": "The answer was cut off by the provider's content filter.",
    "truncated": "The answer broke off before its end.",
}


class Tokens(Struct, frozen=True):
    """What the answer took. Unknown figures are null; `cost` is in US dollars."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost: float | None = None


class Seconds(Struct, frozen=True):
    """How long it took from asking on. `first_delta` is null if nothing came."""

    first_delta: float | None
    total: float


class Asked(Struct, frozen=True, kw_only=True):
    """What `--json` prints. `model` and `provider` are who really answered."""

    text: str
    model: str
    provider: str
    finish_reason: FinishReason
    usage: Tokens
    seconds: Seconds


def ask(
    settings: Settings, text: str, *, temperature: float | None, as_json: bool
) -> Awaitable[int]:
    """Print the answer as it comes, or one JSON object. Raises `AcoreError`."""
    # Read before the loop runs: a thread that waits for input would hold up Ctrl-C.
    question = _whole(_read_input() if text == "-" else text).strip()
    if not question:
        raise ConfigurationError("There is no question.", remedy="Write one after `acore ask`.")
    return _ask(settings, question, temperature=temperature, as_json=as_json)


async def _ask(
    settings: Settings, question: str, *, temperature: float | None, as_json: bool
) -> int:
    with Status("thinking…") as status:
        async with app.open_model(settings, status.on_event) as model:
            request = await app.stateless_request(settings, model, question)
            if temperature is not None:  # the flag is stronger than the persona's
                request = structs.replace(request, temperature=temperature)
            with _printing(status, is_quiet=as_json) as show:
                asked = await _stream(model, request, show)
    if as_json:
        typer.echo(msgspec.json.encode(asked).decode())
    if (note := NOTES.get(asked.finish_reason)) and not as_json:
        typer.echo(note, err=True)
    return 1 if asked.finish_reason == "truncated" else 0


async def _stream(model: ChatModel, request: ChatRequest, show: Callable[[str], object]) -> Asked:
    asked_at, first_at = time.monotonic(), None
    text, end = "", End(finish_reason="truncated")
    async with model.stream(request) as pieces:
        async for piece in pieces:
            if isinstance(piece, End):
                end = piece
            elif isinstance(piece, Delta) and (
                new := (piece.text if text else piece.text.lstrip())
            ):
                first_at = first_at or time.monotonic()
                text += new
                show(new)
    return Asked(
        text=text.rstrip(),
        model=end.model,
        provider=end.provider,
        finish_reason=end.finish_reason,
        usage=_tokens(end.usage),
        seconds=Seconds(
            first_delta=round(first_at - asked_at, 3) if first_at else None,
            total=round(time.monotonic() - asked_at, 3),
        ),
    )


def _tokens(usage: Usage | None) -> Tokens:
    if usage is None:
        return Tokens()
    cost = float(usage.cost) if usage.cost is not None else None
    return Tokens(usage.prompt_tokens, usage.completion_tokens, cost)


def _whole(text: str) -> str:
    # Bytes that are no UTF-8 come as half characters, which no request can carry.
    return text.encode(errors="replace").decode()


def _read_input() -> str:
    # In pieces: a Ctrl-C that comes between two reads of one long `read()` would not be noticed.
    stdin = cast("io.BufferedReader", sys.stdin.buffer)
    pieces = iter(lambda: stdin.read1(65_536), b"")
    return b"".join(pieces).decode(errors="replace")


@contextmanager
def _printing(status: Status, *, is_quiet: bool) -> Iterator[Callable[[str], None]]:
    """Print pieces as they come, and end their line, also when the answer breaks off."""
    has_begun = False
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # what cannot be encoded must not end the answer

    def show(piece: str) -> None:
        nonlocal has_begun
        status.hide()
        if not is_quiet:
            has_begun = True
            sys.stdout.write(printable(piece))
            sys.stdout.flush()

    try:
        yield show
    finally:
        if has_begun:
            typer.echo()
