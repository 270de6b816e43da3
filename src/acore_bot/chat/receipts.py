"""What an answer was made of: the record that is kept of it, and the receipt that people read."""

from collections.abc import Iterator
from decimal import Decimal

from acore_bot.chat.answer import Answer
from acore_bot.messages import Host, Receipt, Usage

FINISHES = {
    "length": "cut off at the token limit",
    "filtered": "cut off by the provider's content filter",
    "truncated": "broke off",
    "cancelled": "stopped",
}


def make_receipt(
    answer: Answer, *, host: Host, persona: str, used: int, dropped: int, now: float
) -> Receipt:
    """Write down what an answer was made of. `used` and `dropped` count the earlier messages that
    its prompt held and left out; `now` is a monotonic moment, at its end."""
    end, first = answer.end, answer.first_delta_at
    return Receipt(
        model=answer.answered_by,
        persona=persona,
        host=host,
        finish_reason=answer.finish_reason,
        total_seconds=now - answer.asked_at,
        first_delta_seconds=None if first is None else first - answer.asked_at,
        usage=end.usage if end else None,
        is_shared=bool(end and end.is_shared),
        is_cached=bool(end and end.is_cached),
        fell_back_from=end.fell_back_from if end else "",
        messages_used=used,
        messages_dropped=dropped,
        files=answer.files,
        remarks=(*answer.remarks, *answer.changes),
    )


def describe_receipt(receipt: Receipt) -> str:
    """Say what an answer was made of, in lines of Markdown."""
    return "\n".join(f"**{title}** {text}" for title, text in _lines(receipt))


def footnote(host: Host, model: str) -> str:
    """Say in small print where an answer came from."""
    where = "local" if host.is_local else f"cloud, {host.name}"
    return f"-# {model} · {where}"


def _lines(receipt: Receipt) -> Iterator[tuple[str, str]]:
    host = receipt.host
    yield "Model", f"{receipt.model}, speaking as {receipt.persona}"
    place = "local" if host.is_local else "cloud"
    yield "Computed", f"{place}, on {host.name}"
    if receipt.fell_back_from:
        yield "Asked first", f"{receipt.fell_back_from}, which could not answer"
    if reason := FINISHES.get(receipt.finish_reason):
        yield "Ended", reason
    yield "Time", _time(receipt)
    if receipt.usage:
        yield "Tokens", _tokens(receipt.usage)
        yield "Cost", _cost(receipt)
    if receipt.is_shared:
        yield "Shared", "several people asked the same at once, and one answer served them all"
    if receipt.is_cached:
        yield "Cached", "the same was asked before, and the answer was still there"
    yield "Remembered", _remembered(receipt)
    if receipt.files:
        yield "Files used", ", ".join(receipt.files)
    if receipt.remarks:
        yield "Left out or changed", "; ".join(receipt.remarks)


def _time(receipt: Receipt) -> str:
    first, total = receipt.first_delta_seconds, receipt.total_seconds
    if first is None:
        return f"{total:.1f} s in all"
    text = f"first words after {first:.1f} s, {total:.1f} s in all"
    tokens = receipt.usage.completion_tokens if receipt.usage else 0
    # Of what came at once, from memory or as one piece, there is no speed.
    if not receipt.is_cached and tokens > 1 and total - first > 0.05:
        text += f", {tokens / (total - first):.0f} tokens a second"
    return text


def _tokens(usage: Usage) -> str:
    read = f"{usage.prompt_tokens:,} read"
    if usage.cached_tokens:
        read += f" ({usage.cached_tokens:,} of them from the server's cache)"
    return f"{read}, {usage.completion_tokens:,} written"


def _cost(receipt: Receipt) -> str:
    if receipt.host.is_local:
        return "nothing: it ran locally"
    cost = receipt.usage.cost if receipt.usage else None
    if cost is None:
        return "not told by the provider"
    return f"${_plain(cost)}"


def _plain(cost: Decimal) -> str:
    return f"{cost:.6f}".rstrip("0").rstrip(".") if cost else "0"


def _remembered(receipt: Receipt) -> str:
    used, dropped = receipt.messages_used, receipt.messages_dropped
    noun = "message" if used == 1 else "messages"
    text = f"{used} earlier {noun}" if used else "nothing that was said before"
    if dropped:
        text += f"; {dropped} older left out, because the model's window was full"
    return text
