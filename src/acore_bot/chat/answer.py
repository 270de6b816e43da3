"""What came of asking a model: an answer that grows, and the note under one that is not whole."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from acore_bot.errors import AcoreError
from acore_bot.messages import Delta, End, FinishReason, Waiting

FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
NOTES: dict[FinishReason, str] = {
    "cancelled": "stopped",
    "length": "cut off at the token limit",
    "filtered": "cut off by the provider's content filter",
    "truncated": "the answer broke off before its end",
}
UNFINISHED = frozenset[FinishReason]({"cancelled", "length", "truncated"})
ONLY_THOUGHT = "The model used up its token limit by thinking. Raise chat.max_tokens."
STOPPED_EARLY = "*[stopped before it began; your message is not kept]*"
NOT_WHOLE = "no whole answer came from this one"
NOTHING_SAID = "The model had nothing to say. Try to ask in other words."


@dataclass(kw_only=True)
class Answer:
    """An answer while it streams.

    `model` is who was asked; times are monotonic seconds, None where it did not come to that. A
    `title` stands above it, a `footnote` below it in small print. `files` were used for it;
    `remarks` are what the person should know of what was not; `changes` say who answers in
    another's place, and why. `is_blind` keeps who answered to itself. `tell` words an error for
    whoever reads along.
    """

    model: str
    asked_at: float
    title: str = ""
    footnote: str = ""
    is_blind: bool = False
    files: tuple[str, ...] = ()
    has_reasoning: bool = False
    heard_at: float | None = None
    sent_at: float | None = None
    first_delta_at: float | None = None
    ended_at: float | None = None
    shown_at: float | None = None
    kept_at: float | None = None
    end: End | None = None
    fault: AcoreError | None = None
    is_stopped: bool = False
    remarks: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    tell: Callable[[AcoreError], str] = str
    _parts: list[str] = field(default_factory=list, init=False)

    @property
    def text(self) -> str:
        """What was said so far. It costs its length to read, if something was said since."""
        self._parts = ["".join(self._parts)]  # of a lone part no copy is made
        return self._parts[0]

    def grow(self, delta: Delta, at: float) -> None:
        """Take in what the model said at a moment."""
        if self.first_delta_at is None:
            self.first_delta_at = at
        self._parts.append(delta.text)
        self.has_reasoning = self.has_reasoning or bool(delta.reasoning)

    @property
    def answered_by(self) -> str:
        """Who gave the answer, as `provider/model`: who was asked, unless another had to."""
        end = self.end
        return f"{end.provider}/{end.model}" if end and end.fell_back_from else self.model

    @property
    def finish_reason(self) -> FinishReason:
        """Why the answer ends where it does."""
        if self.is_stopped:
            return "cancelled"
        return self.end.finish_reason if self.end and not self.fault else "truncated"

    @property
    def can_go_on(self) -> bool:
        """Whether the model was kept from saying all that it wanted."""
        return bool(self.text.strip()) and self.finish_reason in UNFINISHED

    @property
    def shown_text(self) -> str:
        """What the person sees while it grows."""
        return f"{self.title}\n{self.text}" if self.title else self.text

    @property
    def final_text(self) -> str:
        """What the person sees in the end: the text, and a note if it is not whole."""
        text = self.text.strip()
        if not text:
            excuse = (self._excuse(), *(f"*[{it}]*" for it in (*self.remarks, *self.changes)))
            return "\n\n".join((self.title, *excuse) if self.title else excuse)
        notes = [f"*[{note}]*" if (note := self._note()) else "", self.footnote]
        below = "\n".join(filter(None, notes))
        whole = f"{self.title}\n{text}" if self.title else text
        return f"{whole}{_fence_to_close(text)}\n\n{below}" if below else whole

    def _note(self) -> str:
        if self.is_blind:
            return "" if self.finish_reason == "stop" else NOT_WHOLE
        if self.fault:
            return " ".join((self.tell(self.fault), *self.remarks, *self.changes))
        notes = [NOTES.get(self.finish_reason), *self.remarks, *self.changes]
        if self.answered_by != self.model:
            notes.append(f"answered by {self.answered_by}, because {self.model} could not")
        # Some are sentences, others are not.
        return "; ".join(note.removesuffix(".") for note in notes if note)

    def _excuse(self) -> str:
        if self.is_blind and not self.is_stopped:
            return NOT_WHOLE
        if self.fault and not self.is_stopped:
            return self.tell(self.fault)
        if self.finish_reason == "length" and self.has_reasoning:
            return ONLY_THOUGHT
        if self.is_stopped:
            return STOPPED_EARLY
        note = NOTES.get(self.finish_reason)
        return f"*[{note}]*" if note else NOTHING_SAID


def place_in_line(waiting: Waiting) -> str:
    """Tell someone who waits how many are before them, and how long that has taken lately."""
    before = waiting.position - 1
    place = "You are next in line" if not before else f"{before} before you in line"
    return f"*{place}, about {waiting.seconds:.0f} s.*" if waiting.seconds else f"*{place}.*"


def _fence_to_close(text: str) -> str:
    """What closes a code block that the text leaves open, so that a note stands outside it."""
    open_fence = ""
    for line in text.splitlines():
        if match := FENCE.match(line):
            fence, rest = match.groups()
            if not open_fence:
                open_fence = fence
            elif fence.startswith(open_fence) and not rest.strip():
                open_fence = ""
    return f"\n{open_fence}" if open_fence else ""
