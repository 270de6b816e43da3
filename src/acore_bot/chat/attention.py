"""Whether a message deserves an answer, and why: a pure decision.

The rules stand in the order in which they are asked; the first that speaks decides.
"""

import re

from msgspec import Struct

from acore_bot.messages import IncomingMessage

IGNORE = "#ignore"


class Rules(Struct, frozen=True, kw_only=True):
    """What the owner lets the bot answer besides private messages and mentions: replies to it,
    messages in threads to which it belongs, messages that call it by one of its `names`, and bots;
    with `everything`, all that is not said to somebody else. Where it may not speak (`nothing`), it
    answers nobody.
    """

    nothing: bool = False
    everything: bool = False
    replies: bool = True
    threads: bool = True
    names: tuple[str, ...] = ()
    bots: bool = False


class Decision(Struct, frozen=True):
    """Whether to answer, with the rule that decided, in words fit for the owner."""

    answers: bool
    reason: str


DEFAULT_RULES = Rules()
NOT_TO_THE_BOT = Decision(answers=False, reason="not said to the bot")


def decide(
    message: IncomingMessage,
    rules: Rules = DEFAULT_RULES,
    *,
    has_spoken_here: bool = False,
    is_going_on: bool = False,
) -> Decision:
    """Answer what is said in private or to the bot; stay silent otherwise.

    `has_spoken_here` says that the bot has answered in this conversation before, `is_going_on` that
    the author said something to it a moment ago, and may not have finished.
    """
    if silence := _why_never(message, rules):
        return Decision(answers=False, reason=silence)
    if reason := _why_addressed(message):
        return Decision(answers=True, reason=reason)
    if message.addresses_others:
        return Decision(answers=False, reason="said to somebody else")
    if is_going_on:
        return Decision(answers=True, reason="the author goes on speaking to the bot")
    if reason := _why_meant(message, rules, has_spoken_here=has_spoken_here):
        return Decision(answers=True, reason=reason)
    return NOT_TO_THE_BOT


def may_belong(message: IncomingMessage, rules: Rules = DEFAULT_RULES) -> bool:
    """Tell whether the decision depends on what the bot said in this conversation before."""
    return message.is_thread and rules.threads and not message.mentions_bot


def _why_never(message: IncomingMessage, rules: Rules) -> str:
    if rules.nothing:
        return "the bot may not speak here"
    if message.author_is_bot and not rules.bots:
        return "said by a bot"
    text = message.text
    if (not text or text.isspace()) and not (message.attachments or message.quotes):
        return "nothing was said"
    # Nearly all that anybody says passes here, and hardly any of it holds this sign.
    if "#" in text and text.lstrip()[: len(IGNORE)].casefold() == IGNORE:
        return f"begins with {IGNORE}"
    return ""


def _why_addressed(message: IncomingMessage) -> str:
    if message.is_asked:
        return "asked by a command"
    if message.is_private:
        return "said in a private conversation"
    return "the bot was mentioned" if message.mentions_bot else ""


def _why_meant(message: IncomingMessage, rules: Rules, *, has_spoken_here: bool) -> str:
    if rules.everything:
        return "everything is answered here"
    if message.replies_to_bot and rules.replies:
        return "a reply to the bot"
    if message.is_thread and rules.threads and has_spoken_here:
        return "said in a thread to which the bot belongs"
    is_called = rules.names and _calls(message.text, rules.names)
    return "the bot was called by its name" if is_called else ""


def _calls(text: str, names: tuple[str, ...]) -> bool:
    own = (re.escape(name) for name in names if name)
    return any(re.search(rf"(?<!\w){name}(?!\w)", text, re.IGNORECASE) for name in own)
