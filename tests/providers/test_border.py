"""Every complaint of a server becomes the error that says what to do."""

import json

import pytest

from acore_bot.errors import (
    AuthFailed,
    BadRequest,
    Blocked,
    BrokenStream,
    ModelError,
    ModelNotFound,
    NoCredit,
    Overloaded,
    RateLimited,
    TimedOut,
    TooLong,
    Unavailable,
)
from acore_bot.providers.border import Border

NOON = 1_790_000_000.0


def refusal(status: int, error: object = None, headers: dict[str, str] | None = None) -> ModelError:
    """Return what an answer with this status and error means."""
    body = b"<html>Bad gateway</html>" if error is None else json.dumps({"error": error}).encode()
    border = Border("openrouter", "m", secrets=("sk-12345678",), wall_clock=lambda: NOON)
    return border.refusal(status, headers or {}, body)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, BadRequest),
        (400, BadRequest),
        (401, AuthFailed),
        (402, NoCredit),
        (403, AuthFailed),
        (404, ModelNotFound),
        (408, TimedOut),
        (413, TooLong),
        (418, BadRequest),
        (422, BadRequest),
        (429, RateLimited),
        (500, Unavailable),
        (502, Unavailable),
        (503, Overloaded),
        (504, Unavailable),
        (524, Unavailable),
        (529, Overloaded),
        (200, BrokenStream),
    ],
)
def test_status_decides_where_nothing_else_is_told(status: int, kind: type[ModelError]) -> None:
    """A proxy's page of HTML is classed by its status, and names who failed."""
    error = refusal(status)
    assert type(error) is kind
    assert (error.provider, error.model) == ("openrouter", "m")


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        # OpenAI: the type is wide, the code is narrow
        (400, {"type": "invalid_request_error", "code": "context_length_exceeded"}, TooLong),
        (401, {"type": "invalid_request_error", "code": "invalid_api_key"}, AuthFailed),
        (404, {"type": "invalid_request_error", "code": "model_not_found"}, ModelNotFound),
        (429, {"type": "insufficient_quota", "code": "insufficient_quota"}, NoCredit),
        # OpenRouter: the metadata's word is the stable one
        (400, {"code": 400, "metadata": {"error_type": "context_length_exceeded"}}, TooLong),
        (502, {"code": 502, "metadata": {"error_type": "provider_overloaded"}}, Overloaded),
        (403, {"code": 403, "metadata": {"reasons": ["violence"]}}, Blocked),
        (400, {"code": 400, "metadata": {"error_type": "content_policy_violation"}}, Blocked),
        (500, {"code": 500, "metadata": {"error_type": "timeout"}}, TimedOut),
        # llama.cpp
        (400, {"code": 400, "type": "exceed_context_size_error", "message": "…"}, TooLong),
        (500, {"code": 500, "type": "server_error_x", "message": "image input is not supported"},
         BadRequest),
        (503, {"code": 503, "type": "unavailable_error", "message": "Loading model"}, Overloaded),
        # vLLM
        (400, {"message": "This model's maximum context length is 2048 tokens."}, TooLong),
        # Ollama: a sentence only
        (400, '"m" does not support thinking', BadRequest),
        (500, "the input exceeds the context length", TooLong),
        (404, "model 'm' not found", ModelNotFound),
        (503, "server busy, please try again.", Overloaded),
        # in the midst of a stream
        (200, {"code": 429, "message": "slow down"}, RateLimited),
        (200, {"code": "429", "message": "slow down"}, RateLimited),
        (200, {"code": "server_error", "message": "oops"}, Unavailable),
        (200, {"type": "invalid_request_error", "message": "no"}, BadRequest),
        (200, "server busy, please try again.", Overloaded),
        (200, "the runner has crashed", BrokenStream),
    ],
)  # fmt: skip
def test_words_and_sentences_decide_before_the_status(
    status: int, error: object, kind: type[ModelError]
) -> None:
    """What a server says of its error is worth more than the number above it."""
    assert type(refusal(status, error)) is kind


def test_too_long_tells_the_counts() -> None:
    """Where the server counted, its numbers come along for whoever trims the prompt."""
    error = refusal(
        400, {"type": "exceed_context_size_error", "n_prompt_tokens": 9031, "n_ctx": 2048}
    )
    assert isinstance(error, TooLong)
    assert (error.prompt_tokens, error.context_tokens) == (9031, 2048)


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("7", 7.0),
        ("1.5", 1.5),
        ("Mon, 21 Sep 2026 14:14:20 GMT", 60.0),
        ("Mon, 21 Sep 2020 14:14:20 GMT", 0.0),
        ("soon", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(told: str, seconds: float | None) -> None:
    """Both forms of the header are understood, and nonsense is no reason to fail."""
    error = refusal(429, {"message": "slow down"}, {"Retry-After": told})
    assert error.retry_after_seconds == seconds


def test_retry_after_may_be_in_the_metadata() -> None:
    """A provider behind OpenRouter tells the wait in the body."""
    error = refusal(429, {"code": 429, "metadata": {"retry_after_seconds": 3}})
    assert error.retry_after_seconds == 3.0


def test_detail_is_for_the_log_and_holds_no_secret() -> None:
    """The server's words are kept, bounded, without our key, and not shown to anyone."""
    error = refusal(401, {"message": "wrong key sk-12345678 " + "x" * 1000})
    assert error.detail.startswith("HTTP 401: wrong key *** x")
    assert len(error.detail) <= 500
    assert "wrong key" not in str(error)
    assert error.remedy


@pytest.mark.parametrize("error", [17, [], {"code": {}}, {"metadata": "x"}, "[" * 9999])
def test_odd_shapes_are_classed_by_status(error: object) -> None:
    """A body of a shape that nobody uses does not hide the status."""
    assert type(refusal(429, error)) is RateLimited
