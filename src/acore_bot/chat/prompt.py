"""The request that a model sees, built so that its beginning never changes.

Model servers keep what they computed for a prompt and reuse it for the next one up to the first
byte that differs. So: the persona comes first, then history in which every message is rendered from
itself alone, then the new message; nothing that moves (a clock, a count, a summary) stands before
something that stays.

When the prompt outgrows the window, the oldest half of the history leaves at once. The head then
stays still for as many turns as it takes to fill that half again, where a window that slides by a
message a turn would have the server read everything anew on every turn. Where the prompt begins is
remembered for each conversation, and for each message at which a branch was trimmed: branches that
go through that message begin there too, others do not. If it is forgotten, only one reuse is lost.
"""

import math
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from itertools import dropwhile, groupby
from typing import Literal, TypeAlias

from msgspec import Struct

from acore_bot.chat.names import speaker_name
from acore_bot.chat.tokens import (
    CHARACTERS_PER_TOKEN,
    TokenEstimator,
    raw_message_tokens,
    raw_total,
)
from acore_bot.errors import TooLong
from acore_bot.messages import (
    ChatMessage,
    ChatRequest,
    Image,
    IncomingMessage,
    Message,
    ModelInfo,
    Usage,
)

Labels: TypeAlias = Literal["auto", "always", "never"]

LINE_END = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
MAX_REMEMBERED_STARTS = 10_000
# An estimate may be a little low; a refusal costs a round trip.
SAFETY_SHARE = 0.05
FRESH_TEMPERATURE = 0.8
LABELS_EXPLAINED = (
    "Several people talk in this conversation. Each of their messages begins with its time (UTC) "
    "and its speaker in square brackets. Never begin your own answers that way."
)


# A conversation's name for its plain line, or the id of a message for the branches through it; and
# the window, for what a small model cannot hold must not be lost to a large one.
_Place: TypeAlias = tuple[str | int, int]


class PromptOptions(Struct, frozen=True, kw_only=True):
    """How much may be asked, and how. `context_tokens` is assumed where a server does not tell its
    window; `max_tokens` bounds the answer; `history_messages` is the most that is ever sent;
    `temperature` serves personas that name none; `labels` says whether messages carry their time
    and speaker (auto: where several people talk); with `shares_across_guilds` the answer to a
    stateless question is everybody's who asks the same, wherever that is."""

    context_tokens: int = 8192
    max_tokens: int = 800
    history_messages: int = 200
    temperature: float | None = None
    labels: Labels = "auto"
    shares_across_guilds: bool = False


class Question(Struct, frozen=True, kw_only=True):
    """A new message and all that decides what the model sees with it.

    `said` is what it continues, oldest first; `is_branch` says that this is not the conversation's
    plain line; `is_stateless` that the answer depends on no conversation, so that whoever asks the
    same may share it; `is_fresh` that an answer is wanted which nobody had; `is_local_only` that it
    must not come from a cloud. `system` is the persona; `images` are what the model may look at, by
    the message that brought them.
    """

    message: IncomingMessage
    model: str
    system: str
    said: tuple[Message, ...] = ()
    is_branch: bool = False
    is_stateless: bool = False
    is_fresh: bool = False
    is_local_only: bool = False
    temperature: float | None = None
    images: Mapping[int, tuple[Image, ...]] = {}


class Prompt(Struct, frozen=True, kw_only=True):
    """A request, and what was left out of it to make it fit. `was_trimmed` says that a block left
    just now, so that the server has to read the prompt anew."""

    request: ChatRequest
    dropped_messages: int
    was_trimmed: bool


class PromptBuilder:
    """Builds requests, and remembers where prompts begin."""

    def __init__(self, options: PromptOptions, estimator: TokenEstimator) -> None:
        self._options = options
        self._estimator = estimator
        self._starts: OrderedDict[_Place, int] = OrderedDict()

    def build(
        self, question: Question, info: ModelInfo, harder_than: Prompt | None = None
    ) -> Prompt:
        """Build the request for a question; a smaller one if a prompt was refused before.

        Raises `TooLong` if the question alone does not fit, or if nothing is left to trim.
        """
        if harder_than is None:
            return self._fitted(question, info)
        refused = raw_total(harder_than.request.messages)
        # What the refusal taught may be enough; if it told nothing, half is surely smaller.
        for at_most in (refused, refused / 2):
            prompt = self._fitted(question, info, at_most)
            if raw_total(prompt.request.messages) < refused:
                return prompt
        raise _too_long(question.model)

    def room_for_material(self, model: str, info: ModelInfo) -> int:
        """Return how many characters of files and quotes a message may bring, so that half of what
        the answer leaves of the window remains for all else."""
        _, room = self._room(model, info)
        return int(room / 2 * CHARACTERS_PER_TOKEN)

    def learn_from_usage(self, request: ChatRequest, usage: Usage) -> None:
        """Correct the estimate by what the server counted."""
        # What a picture takes says nothing about words.
        if not _has_images(request):
            self._estimator.observe(request.model, request.messages, usage.prompt_tokens)

    def learn_from_refusal(self, prompt: Prompt, refusal: TooLong) -> None:
        """Take the server's own figures, so that the next prompt fits."""
        request = prompt.request
        prompt_tokens = None if _has_images(request) else refusal.prompt_tokens
        self._estimator.refused(
            request.model, request.messages, prompt_tokens, refusal.context_tokens
        )

    def _fitted(self, question: Question, info: ModelInfo, at_most: float = math.inf) -> Prompt:
        labelled = not question.is_stateless and self._are_labelled(question.message)
        head = ChatMessage("system", _head(question.system, labelled=labelled))
        last = _rendered(question.message, question, labelled=labelled)
        window = self._window(question.model, info)
        max_tokens, whole = self._room(question.model, info)
        fixed = raw_total((head, last))
        room = whole - fixed
        if room < 0:
            raise _too_long(question.model, window)
        room = min(room, max(at_most - fixed, 0))
        places = [(place, window) for place in _places(question)]
        start = self._start(places)
        kept = self._kept(question, room, places, labelled=labelled)
        said = (_rendered(message, question, labelled=labelled) for message in kept)
        request = ChatRequest(
            model=question.model,
            messages=(head, *_merged((*said, last))),
            max_tokens=max_tokens,
            temperature=self._temperature(question),
            scope=self._scope(question),
            is_personal=question.is_fresh,
            is_local_only=question.is_local_only,
            has_history=not question.is_stateless,
            asker=question.message.author.id,
        )
        return Prompt(
            request=request,
            dropped_messages=len(question.said) - len(kept),
            was_trimmed=self._start(places) != start,
        )

    def _are_labelled(self, message: IncomingMessage) -> bool:
        if self._options.labels == "auto":
            return not message.is_private
        return self._options.labels == "always"

    def _temperature(self, question: Question) -> float | None:
        given = _first_given(question.temperature, self._options.temperature)
        # At 0, a model says the same again.
        return max(given or 0.0, FRESH_TEMPERATURE) if question.is_fresh else given

    def _scope(self, question: Question) -> str:
        """Who may share the answer: those who can read this conversation, or, of a question outside
        of any, everyone in the guild."""
        message = question.message
        if message.is_private:
            return f"private:{message.conversation}"
        if not question.is_stateless:
            return f"guild:{message.conversation}"
        guild = "" if self._options.shares_across_guilds else message.place.guild
        return f"guild:{guild}" if guild else "public"

    def _window(self, model: str, info: ModelInfo) -> int:
        told = info.context_tokens or self._options.context_tokens
        return min(told, self._estimator.context_tokens(model) or told)

    def _room(self, model: str, info: ModelInfo) -> tuple[int, float]:
        """The tokens that an answer may take, and as many estimated ones as a prompt may."""
        window = self._window(model, info)
        max_tokens = min(self._options.max_tokens, window // 2)
        rate = self._estimator.rate(model)
        return max_tokens, (window - max_tokens) * (1 - SAFETY_SHARE) / rate

    def _kept(
        self, question: Question, room: float, places: Sequence[_Place], *, labelled: bool
    ) -> Sequence[Message]:
        start = self._start(places)
        said = [message for message in question.said if message.id >= start]
        shown = (_rendered(message, question, labelled=labelled) for message in said)
        costs = [raw_message_tokens(message) for message in shown]
        most = self._options.history_messages
        if sum(costs) <= room and len(said) <= most:
            return _from_first_word(said)
        kept = _from_first_word(said[_first_that_fits(costs, room / 2, most // 2) :])
        self._remember(places[0], kept[0].id if kept else said[-1].id + 1)
        return kept

    def _start(self, places: Iterable[_Place]) -> int:
        return next((self._starts[place] for place in places if place in self._starts), 0)

    def _remember(self, place: _Place, start: int) -> None:
        self._starts[place] = start
        self._starts.move_to_end(place)
        if len(self._starts) > MAX_REMEMBERED_STARTS:
            self._starts.popitem(last=False)


def _has_images(request: ChatRequest) -> bool:
    return any(message.images for message in request.messages)


def _places(question: Question) -> tuple[str | int, ...]:
    """Where the beginning of a question's prompt may be remembered, the best place first."""
    message = question.message
    if not question.is_branch:
        return (message.conversation,)
    return (message.id, *(said.id for said in reversed(question.said)))


def _first_that_fits(costs: Sequence[float], room: float, most: int) -> int:
    """Index of the oldest message to keep, so that as many as fit stay."""
    total, first = 0.0, len(costs)
    while first > 0 and len(costs) - first < most and total + costs[first - 1] <= room:
        first -= 1
        total += costs[first]
    return first


def _from_first_word(said: Sequence[Message]) -> Sequence[Message]:
    """Leave out answers at the beginning: many chat templates refuse a conversation that the
    assistant opens."""
    return tuple(dropwhile(lambda message: message.role != "user", said))


def _too_long(model: str, window: int | None = None) -> TooLong:
    provider, _, own_name = model.partition("/")
    return TooLong(provider=provider, model=own_name, context_tokens=window)


def _first_given(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def _head(system: str, *, labelled: bool) -> str:
    return f"{system}\n\n{LABELS_EXPLAINED}" if labelled else system


def _rendered(
    message: Message | IncomingMessage, question: Question, *, labelled: bool
) -> ChatMessage:
    if isinstance(message, Message) and message.role != "user":
        return ChatMessage(message.role, message.text)
    images = question.images.get(message.id, ())
    return ChatMessage("user", _spoken(message, labelled=labelled), images)


def _spoken(message: Message | IncomingMessage, *, labelled: bool) -> str:
    if not labelled:
        return message.text
    time = message.created_at.strftime("%Y-%m-%d %H:%M")
    # Indented, so that no line of a text can pass for somebody else's label.
    text = LINE_END.sub(r"\g<0>  ", message.text)
    return f"[{time} {speaker_name(message.author)}] {text}"


def _merged(messages: Iterable[ChatMessage]) -> Iterable[ChatMessage]:
    # Some chat templates insist that user and assistant alternate.
    for role, group in groupby(messages, key=lambda message: message.role):
        together = [*group]
        images = tuple(image for message in together for image in message.images)
        yield ChatMessage(role, "\n\n".join(message.text for message in together), images)
