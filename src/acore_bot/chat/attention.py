"""Whether a message deserves an answer, and why: a pure decision."""

from msgspec import Struct

from acore_bot.messages import IncomingMessage


class Decision(Struct, frozen=True):
    """Whether to answer, with the rule that decided, in words fit for the owner."""

    answers: bool
    reason: str


def decide(message: IncomingMessage) -> Decision:
    """Answer what is said in private or to the bot; stay silent otherwise."""
    if not message.text.strip():
        return Decision(answers=False, reason="nothing was said")
    if message.is_private:
        return Decision(answers=True, reason="said in a private conversation")
    if message.mentions_bot:
        return Decision(answers=True, reason="the bot was mentioned")
    return Decision(answers=False, reason="not said to the bot")
