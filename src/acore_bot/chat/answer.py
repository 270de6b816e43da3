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
ONLY_THOUGHT = "The model used up its token limit by thinking. Raise chat.max_tokens."
STOPPED_EARLY = "*[stopped before it began; your message is not kept]*"
NOTHING_SAID = "The model had nothing to say. Try to ask in other words."


@dataclass(kw_only=True)
class Answer:
    """An answer while it streams. `model` is who was asked; times are monotonic seconds; `remarks`
    are what the person should know of files that could not be read; `tell` words an error for
    whoever reads along."""

    model: str
    asked_at: float
    has_reasoning: bool = False
    first_delta_at: float | None = None
    end: End | None = None
    fault: AcoreError | None = None
    is_stopped: bool = False
    remarks: tuple[str, ...] = ()
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
    def final_text(self) -> str:
        """What the person sees in the end: the text, and a note if it is not whole."""
        text = self.text.strip()
        if not text:
            return "\n\n".join((self._excuse(), *(f"*[{it}]*" for it in self.remarks)))
        note = self._note()
        return f"{text}{_fence_to_close(text)}\n\n*[{note}]*" if note else text

    def _note(self) -> str:
        if self.fault:
            return " ".join((self.tell(self.fault), *self.remarks))
        notes = [NOTES.get(self.finish_reason), *self.remarks]
        if self.answered_by != self.model:
            notes.append(f"answered by {self.answered_by}, because {self.model} could not")
        # Some are sentences, others are not.
        return "; ".join(note.removesuffix(".") for note in notes if note)

    def _excuse(self) -> str:
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
