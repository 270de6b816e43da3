"""The border to a model server: its complaints, whatever their shape, become our errors here.

A server complains with a status, with a word in one of several places, or with a sentence only,
before the answer or in the midst of it. The word decides where there is one, since statuses are
shared; then known sentences; then the status.
"""

import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime

import msgspec
from msgspec import Struct

from acore_bot.errors import (
    AuthFailed,
    BadRequest,
    Blocked,
    BrokenStream,
    CloudForbidden,
    ModelError,
    ModelNotFound,
    NoCredit,
    Overloaded,
    RateLimited,
    TimedOut,
    TooLong,
    Unavailable,
)

_BY_WORD: dict[str, type[ModelError]] = {
    "rate_limit_exceeded": RateLimited,
    "rate_limit_error": RateLimited,
    "provider_overloaded": Overloaded,
    "overloaded_error": Overloaded,
    "provider_unavailable": Unavailable,
    "server": Unavailable,
    "server_error": Unavailable,
    "unavailable_error": Overloaded,  # llama.cpp, while it loads its model
    "timeout": TimedOut,
    "context_length_exceeded": TooLong,
    "exceed_context_size_error": TooLong,
    "max_tokens_exceeded": TooLong,
    "token_limit_exceeded": TooLong,
    "string_too_long": TooLong,
    "payload_too_large": TooLong,
    "content_policy_violation": Blocked,
    "content_filter": Blocked,
    "refusal": Blocked,
    "authentication": AuthFailed,
    "authentication_error": AuthFailed,
    "invalid_api_key": AuthFailed,
    "permission_denied": AuthFailed,
    "payment_required": NoCredit,
    "insufficient_quota": NoCredit,  # comes with 429, but waiting does not help
    "not_found": ModelNotFound,
    "not_found_error": ModelNotFound,
    "model_not_found": ModelNotFound,
    "invalid_request": BadRequest,
    "invalid_prompt": BadRequest,
    "unprocessable": BadRequest,
    "precondition_failed": BadRequest,
    "invalid_image": BadRequest,
    "image_too_large": BadRequest,
    "image_too_small": BadRequest,
    "unsupported_image_format": BadRequest,
    "image_not_found": BadRequest,
    "image_download_failed": BadRequest,
}

# For servers that use no words, or one word for everything. Matched in lower case.
_BY_PHRASE: tuple[tuple[str, type[ModelError]], ...] = (
    ("image input is not supported", BadRequest),
    ("does not support", BadRequest),
    ("context length", TooLong),
    ("context size", TooLong),
    ("server busy", Overloaded),
)
_WITH_PHRASES = (200, 400, 500)  # the statuses that are too wide to decide alone

_BY_STATUS: dict[int, type[ModelError]] = {
    401: AuthFailed,
    402: NoCredit,
    403: AuthFailed,
    404: ModelNotFound,
    408: TimedOut,
    413: TooLong,
    429: RateLimited,
    503: Overloaded,
    529: Overloaded,
}

_REMEDIES: dict[type[ModelError], str] = {
    CloudForbidden: "Choose a model that is not in a cloud.",
    AuthFailed: "Check the provider's key in the settings.",
    NoCredit: "Add credit to the account, or choose another provider.",
    ModelNotFound: "Check the model's name and the provider's base_url.",
}


class _Metadata(Struct):
    error_type: str | None = None
    reasons: list[msgspec.Raw] | None = None
    retry_after_seconds: float | None = None


class _Complaint(Struct):
    message: str | None = None
    type: str | None = None
    code: int | str | None = None
    metadata: _Metadata | None = None
    n_prompt_tokens: int | None = None
    n_ctx: int | None = None


class _Body(Struct):
    error: _Complaint | str | None = None
    message: str | None = None
    code: int | str | None = None


class Border:
    """Makes errors in the name of one provider and model, free of the provider's secrets."""

    def __init__(
        self,
        provider: str,
        model: str = "",
        *,
        secrets: tuple[str, ...] = (),
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.provider = provider
        self.model = model
        self._secrets = secrets
        self._wall_clock = wall_clock

    def error(
        self,
        kind: type[ModelError],
        detail: str,
        *,
        remedy: str = "",
        retry_after_seconds: float | None = None,
    ) -> ModelError:
        """Return an error of that kind."""
        if kind is TooLong:  # which has a remedy of its own
            return TooLong(provider=self.provider, model=self.model, detail=self._clean(detail))
        return kind(
            provider=self.provider,
            model=self.model,
            detail=self._clean(detail),
            remedy=remedy or _REMEDIES.get(kind, ""),
            retry_after_seconds=retry_after_seconds,
        )

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> ModelError:
        """Return what an answer that is no answer means, by its status, headers and body.

        In the midst of a stream `status` is 200, and the body is the event that holds the error.
        """
        complaint = _read_complaint(body)
        # Whole: half a secret at the edge of a cut would not be recognised.
        said = complaint.message or body.decode("utf-8", "replace")
        detail = f"HTTP {status}: {said}" if status != 200 else said
        kind = _classify(status, complaint)
        if kind is TooLong:
            return TooLong(
                provider=self.provider,
                model=self.model,
                detail=self._clean(detail),
                prompt_tokens=complaint.n_prompt_tokens,
                context_tokens=complaint.n_ctx,
            )
        remedy = "Check the provider's base_url: it redirects." if 300 <= status < 400 else ""
        wait = self._retry_after(headers.get("Retry-After"), complaint)
        return self.error(kind, detail, remedy=remedy, retry_after_seconds=wait)

    def _retry_after(self, header: str | None, complaint: _Complaint) -> float | None:
        if header is None:
            return complaint.metadata.retry_after_seconds if complaint.metadata else None
        if header.replace(".", "", 1).isdecimal():
            return float(header)
        try:
            moment = parsedate_to_datetime(header)
        except ValueError:
            return None
        return max(0.0, moment.timestamp() - self._wall_clock())

    def _clean(self, detail: str) -> str:
        for secret in self._secrets:
            detail = detail.replace(secret, "***")
        return detail


def _read_complaint(body: bytes) -> _Complaint:
    try:
        parsed = msgspec.json.decode(body, type=_Body, strict=False)
    except (ValueError, RecursionError):  # a proxy's page, or a shape that nobody uses
        return _Complaint()
    if isinstance(parsed.error, _Complaint):
        return parsed.error
    return _Complaint(message=parsed.error or parsed.message, code=parsed.code)


def _classify(status: int, complaint: _Complaint) -> type[ModelError]:
    metadata = complaint.metadata or _Metadata()
    if metadata.reasons:
        return Blocked
    # The kind of the whole request ("invalid_request_error") is the widest word, so it comes last.
    for word in (metadata.error_type, complaint.code, complaint.type):
        if kind := _BY_WORD.get(str(word)):
            return kind
    if status == 200 and str(complaint.code).isdecimal():
        status = int(str(complaint.code))
    if status in _WITH_PHRASES:
        message = (complaint.message or "").lower()
        for phrase, kind in _BY_PHRASE:
            if phrase in message:
                return kind
    return _classify_status(status, complaint.type)


def _classify_status(status: int, word: str | None) -> type[ModelError]:
    if kind := _BY_STATUS.get(status):
        return kind
    if status >= 500:
        return Unavailable
    if status >= 300 or word == "invalid_request_error":
        return BadRequest
    return BrokenStream
