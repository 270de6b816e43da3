"""Everything that can go wrong, each with a sentence for the person who meets it.

    AcoreError
    ├── ConfigurationError        the settings are wrong                         exit code 2
    │   ├── UnknownPlugin         no provider or front end of that name
    │   └── MissingExtra          a package that this choice needs is absent
    ├── NotFound                  a persona, command or conversation by that name
    ├── NotAllowed                who asks may not do this here
    ├── TargetGone                the place where the answer was to be shown
    ├── FileUnreadable            a file that came with a message
    ├── OverBudget                who asks, or the server, has used up the day's limit
    ├── FrontendRefused           where people are, we may not serve             exit code 3
    ├── Unexpected                a fault of ours, which the log tells
    ├── HistoryError              the store cannot do what was asked
    │   ├── DuplicateMessage      a message of that id is stored already
    │   └── HistoryUnusable       the file is corrupt, too new, foreign or read-only
    └── ModelError                a model gave no answer, or not a whole one
        ├── RateLimited           asked too often                                retry
        ├── Overloaded            the server is busy                             retry
        │   └── QueueFull         more wait for it here than it can serve soon   retry
        ├── Unavailable           refused, reset, or a gateway's error           retry
        ├── TimedOut              no headers, no bytes or no text for too long   retry
        ├── BrokenStream          the stream turned to nonsense, or to an error  retry
        ├── TooLong               the prompt exceeds the model's context         tell
        ├── BadRequest            the server does not accept the request         tell
        ├── Blocked               a content filter refused                       tell
        ├── CloudForbidden        what is said there must not leave for a cloud  tell
        ├── AuthFailed            the key is wrong or may not do this            stop
        │   └── KeyMissing        the model needs a key, and none is set         stop
        ├── NoCredit              the account has no money left                  stop
        └── ModelNotFound         the server has no such model                   stop

`action` says what helps: asking again (retry), telling the person who asked (tell), or the owner's
hand (stop). Foreign exceptions are translated at one border per provider; raw text of a server
stays in `detail`, which goes to the log and never to a person.

What the bot itself does first stands in more attributes of each model error:

- `retries`: how often the same model is asked again, at the most, each time after a random pause of
  up to `pause_seconds`, and of whatever the server asked for;
- `falls_over`: whether another model is asked after that;
- `counts_for_breaker`: whether it tells that the model is ill: a few, and it is left alone;
- `opens_breaker`: whether one is enough for that.

All hold before the first word was shown; after it, nothing is retried and nobody else is asked.
`RateLimited` counts for no breaker: the model is well, and is left alone for as long as it asked.
"""

import math
from typing import ClassVar, Literal, Self, TypeAlias

Action: TypeAlias = Literal["retry", "tell", "stop"]


class AcoreError(Exception):
    """The root. `sentence` is fit to be shown to anyone; `remedy` says what would help; `kind` is
    the stable word of the class for logs and counters."""

    exit_code: ClassVar[int] = 1
    kind: ClassVar[str] = "error"

    def __init__(self, sentence: str, *, remedy: str = "") -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.remedy = remedy

    def __copy__(self) -> Self:
        # Python's own way calls the class with `args`, which most of ours do not take.
        twin = type(self).__new__(type(self), *self.args)
        twin.__dict__.update(self.__dict__)
        return twin

    def __str__(self) -> str:
        return f"{self.sentence} {self.remedy}".strip()

    @property
    def public(self) -> str:
        """What is fit for strangers: nothing of the owner's machine, and no work for the owner."""
        return str(self)


class ConfigurationError(AcoreError):
    """The settings are wrong. The sentence names the file or variable, the key and the value."""

    exit_code = 2
    kind = "configuration"

    @property
    def public(self) -> str:
        """Say whose matter it is."""
        return "Something is wrong in my settings; my owner's log says what."


class UnknownPlugin(ConfigurationError):
    """No provider or front end has that name."""


class MissingExtra(ConfigurationError):
    """A chosen provider or front end needs a package that is not installed."""


class NotFound(AcoreError):
    """Nothing has the name that was given: a persona, a command, a conversation."""


class NotAllowed(AcoreError):
    """Who asks may not do this here. The sentence says who may."""

    kind = "not_allowed"


class TargetGone(AcoreError):
    """The place where an answer was to be shown is no more, so there is nobody left to tell."""


class FileUnreadable(AcoreError):
    """A file that came with a message could not be fetched or read. The sentence names it."""

    kind = "file_unreadable"


class OverBudget(AcoreError):
    """What may be used in a day is used up, or what is left of it is less than this answer may
    take. The sentence says whose budget it is and how large. No model was asked."""

    kind = "over_budget"


class FrontendRefused(AcoreError):
    """A front end is refused for good: asking again cannot help before its owner did something, so
    whoever restarts the process should not. The sentence says what it was."""

    exit_code = 3
    kind = "frontend_refused"


class Unexpected(AcoreError):
    """A fault of ours. What it was stands in the log."""

    kind = "unexpected"

    def __init__(self) -> None:
        super().__init__(
            "Something went wrong inside the bot.", remedy="Its log says what; please ask again."
        )


class HistoryError(AcoreError):
    """The store could not do what was asked; nothing was half-written."""

    kind = "history"

    @property
    def public(self) -> str:
        """Say whose matter it is."""
        return "Something is wrong with my memory; my owner's log says what."


class DuplicateMessage(HistoryError):
    """A message of that id is stored already."""


class HistoryUnusable(HistoryError):
    """The database file cannot serve: corrupt, from a newer version, foreign, or read-only.

    It is never overwritten. The sentence names the file.
    """


class ModelError(AcoreError):
    """A model gave no answer, or not a whole one.

    `provider` and `model` say who failed. `detail` is what the server said, bounded, for the log
    only. `retry_after_seconds` is how long to wait before asking again, if that is known.
    """

    action: ClassVar[Action]
    meaning: ClassVar[str]  # the sentence, with {who} for provider and model
    meaning_with_wait: ClassVar[str] = ""  # the same where the wait is known, with {seconds}
    retries: ClassVar[int] = 0
    pause_seconds: ClassVar[float] = 0.02
    falls_over: ClassVar[bool] = True
    counts_for_breaker: ClassVar[bool] = False
    opens_breaker: ClassVar[bool] = False

    def __init__(
        self,
        *,
        provider: str = "",
        model: str = "",
        detail: str = "",
        remedy: str = "",
        retry_after_seconds: float | None = None,
    ) -> None:
        who = f"{provider}/{model}" if model else provider or "the model"
        meaning = self.meaning
        seconds = math.inf if retry_after_seconds is None else max(1.0, retry_after_seconds)
        if self.meaning_with_wait and math.isfinite(seconds):
            meaning = self.meaning_with_wait
        super().__init__(meaning.format(who=who, seconds=seconds), remedy=remedy)
        self.provider = provider
        self.model = model
        self.detail = detail[:500]
        self.retry_after_seconds = retry_after_seconds

    @property
    def public(self) -> str:
        """Say what it was, and what the one who asked can do."""
        remedies = {
            "retry": "Please ask again in a moment.",
            "tell": self.remedy,
            "stop": "My owner has to see to it.",
        }
        return f"{self.sentence} {remedies[self.action]}".strip()


class RateLimited(ModelError):
    """HTTP 429 or its like. `retry_after_seconds` is what the server asked for, if it did."""

    kind, action = "rate_limited", "retry"
    meaning = "{who} is asked too often just now."
    meaning_with_wait = "{who} is asked too often: about {seconds:.0f} s."
    retries = 1


class Overloaded(ModelError):
    """HTTP 503 or 529, or their like."""

    kind, action = "overloaded", "retry"
    meaning = "{who} is busy just now."
    meaning_with_wait = "{who} is busy: about {seconds:.0f} s."
    retries, counts_for_breaker = 1, True
    pause_seconds = 0.5


class QueueFull(Overloaded):
    """Too many wait for this model already, or for too long. It is we who say so, and the model may
    be well: asking again at once would only meet the same queue."""

    kind = "queue_full"
    retries, counts_for_breaker = 0, False


class Unavailable(ModelError):
    """Connection refused or reset before an answer began, HTTP 500, 502, 504, 524, or HTML."""

    kind, action = "unavailable", "retry"
    meaning = "{who} cannot be reached."
    retries, counts_for_breaker = 1, True


class TimedOut(ModelError):
    """Nothing came for longer than one of the time limits allows."""

    kind, action = "timeout", "retry"
    meaning = "{who} took too long."
    counts_for_breaker = True


class BrokenStream(ModelError):
    """The stream held bytes that no protocol allows, or an error that names no better class."""

    kind, action = "broken_stream", "retry"
    meaning = "The answer of {who} broke off."
    retries, counts_for_breaker = 1, True


class TooLong(ModelError):
    """The prompt does not fit. The two counts are the server's own, where it tells them."""

    kind, action = "too_long", "tell"
    meaning = "The message is too long for {who}."

    def __init__(
        self,
        *,
        prompt_tokens: int | None = None,
        context_tokens: int | None = None,
        provider: str = "",
        model: str = "",
        detail: str = "",
        remedy: str = "Make it shorter, or choose a model with a larger context.",
    ) -> None:
        super().__init__(provider=provider, model=model, detail=detail, remedy=remedy)
        self.prompt_tokens = prompt_tokens
        self.context_tokens = context_tokens


class BadRequest(ModelError):
    """HTTP 400 or 422, or an ability that the model does not have."""

    kind, action = "bad_request", "tell"
    meaning = "{who} did not accept the request."


class Blocked(ModelError):
    """A content policy refused the prompt."""

    kind, action = "blocked", "tell"
    meaning = "The content filter of {who} refused to answer this."
    falls_over = False


class CloudForbidden(ModelError):
    """The request is local-only, and this model is not on the owner's side. It is we who say so,
    before any connection; a model that is may answer instead."""

    kind, action = "cloud_forbidden", "tell"
    meaning = "{who} computes in a cloud, and this place is kept from clouds."


class AuthFailed(ModelError):
    """HTTP 401 or 403."""

    kind, action = "auth", "stop"
    meaning = "{who} does not accept our key."
    counts_for_breaker, opens_breaker = True, True


class KeyMissing(AuthFailed):
    """A cloud is named, and no key for it is set. It is we who say so, before any connection."""

    kind = "key_missing"
    meaning = "{who} needs a key, and none is set."


class NoCredit(ModelError):
    """HTTP 402."""

    kind, action = "no_credit", "stop"
    meaning = "The account at {who} has no credit left."
    counts_for_breaker, opens_breaker = True, True


class ModelNotFound(ModelError):
    """HTTP 404 for the model."""

    kind, action = "not_found", "stop"
    meaning = "{who} does not exist there."
