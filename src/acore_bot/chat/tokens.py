"""How many tokens a text takes: an estimate that corrects itself from what servers report.

Before anything is known, a text takes the larger of characters / 3.5 and words x 1.35, and each
message 4 more for its role marks. These are upper sides of what common vocabularies need for
English; a moving average of real against estimated then fits the rate to each model and language.
"""

from collections import OrderedDict
from collections.abc import Iterable

from msgspec import Struct

from acore_bot.messages import ChatMessage

CHARACTERS_PER_TOKEN = 3.5
TOKENS_PER_WORD = 1.35
TOKENS_PER_MESSAGE = 4
TOKENS_PER_IMAGE = 1500  # an upper side: models cut a picture of 1,568 pixels into about as many
WEIGHT_OF_NEWEST = 0.25
LOWEST_RATE = 0.25
HIGHEST_RATE = 4 * CHARACTERS_PER_TOKEN  # each byte of a four-byte character a token of its own
MAX_MODELS = 256
MIN_CONTEXT_TOKENS = 64  # a smaller figure was misread, and would mute the model


def raw_tokens(text: str) -> float:
    """Estimate the tokens of one message, uncorrected."""
    by_length = len(text) / CHARACTERS_PER_TOKEN
    by_words = len(text.split()) * TOKENS_PER_WORD
    return max(by_length, by_words) + TOKENS_PER_MESSAGE


def raw_total(messages: Iterable[ChatMessage]) -> float:
    """Estimate the tokens of a whole prompt, uncorrected."""
    return sum(raw_message_tokens(message) for message in messages)


def raw_message_tokens(message: ChatMessage) -> float:
    """Estimate the tokens of one message with its pictures, uncorrected."""
    return raw_tokens(message.text) + TOKENS_PER_IMAGE * len(message.images)


class _Learned(Struct, frozen=True):
    """What experience with a model taught. `rate` is real tokens for one estimated."""

    rate: float = 1.0
    context_tokens: int | None = None


class TokenEstimator:
    """Remembers, for each model, how far off the estimate was, and the window if it was told."""

    def __init__(self) -> None:
        self._learned: OrderedDict[str, _Learned] = OrderedDict()

    def rate(self, model: str) -> float:
        """Return how many real tokens one estimated token has been for this model."""
        return self._of(model).rate

    def context_tokens(self, model: str) -> int | None:
        """Return the window that this model's server once named when it refused a prompt."""
        return self._of(model).context_tokens

    def observe(self, model: str, messages: Iterable[ChatMessage], real_tokens: int) -> None:
        """Move the rate towards what a server reported for a prompt."""
        if real_tokens > 0:
            newest = _bounded(real_tokens / raw_total(messages))
            old = self._of(model)
            rate = old.rate + WEIGHT_OF_NEWEST * (newest - old.rate)
            self._keep(model, _Learned(rate, old.context_tokens))

    def refused(
        self,
        model: str,
        messages: Iterable[ChatMessage],
        prompt_tokens: int | None,
        context_tokens: int | None,
    ) -> None:
        """Take a refusal's own figures as the truth at once: the next prompt must fit."""
        old = self._of(model)
        rate = _bounded(prompt_tokens / raw_total(messages)) if prompt_tokens else old.rate
        told = context_tokens if (context_tokens or 0) >= MIN_CONTEXT_TOKENS else None
        self._keep(model, _Learned(rate, told or old.context_tokens))

    def _of(self, model: str) -> _Learned:
        return self._learned.get(model, _Learned())

    def _keep(self, model: str, learned: _Learned) -> None:
        self._learned[model] = learned
        self._learned.move_to_end(model)
        if len(self._learned) > MAX_MODELS:
            self._learned.popitem(last=False)


def _bounded(rate: float) -> float:
    # One odd report (a server that counts only what it did not have cached) must not ruin trimming.
    return min(max(rate, LOWEST_RATE), HIGHEST_RATE)
