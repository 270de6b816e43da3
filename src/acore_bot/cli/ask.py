"""`acore ask`: one question, one answer, nothing remembered."""

import asyncio
import sys
import time
from collections.abc import Callable

import msgspec
import typer
from msgspec import Struct, structs

from acore_bot import app
from acore_bot.cli.status import Status
from acore_bot.config import Settings
from acore_bot.contracts import ChatModel
from acore_bot.errors import ConfigurationError
from acore_bot.messages import ChatRequest, End, FinishReason, Usage, printable

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


async def ask(settings: Settings, text: str, *, temperature: float | None, as_json: bool) -> int:
    """Print the answer as it comes, or one JSON object. Raises `AcoreError`."""
    question = (await asyncio.to_thread(_read_input) if text == "-" else text).strip()
    if not question:
        raise ConfigurationError("There is no question.", remedy="Write one after `acore ask`.")
    with Status("thinking…") as status:
        async with app.open_model(settings, status.on_event) as model:
            request = await app.stateless_request(settings, model, question)
            if temperature is not None:
                request = structs.replace(request, temperature=temperature)

            def show(piece: str) -> None:
                status.hide()
                if not as_json:
                    _print_piece(piece)

            asked = await _stream(model, request, show)
    if as_json:
        typer.echo(msgspec.json.encode(asked).decode())
    else:
        typer.echo()
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
            elif new := (piece.text if text else piece.text.lstrip()):
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


def _read_input() -> str:
    return sys.stdin.buffer.read().decode(errors="replace")


def _print_piece(piece: str) -> None:
    sys.stdout.write(printable(piece))
    sys.stdout.flush()
