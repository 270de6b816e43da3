"""The settings that can be changed while the bot runs: how each is shown, and read back.

What is typed or chosen is text. Reading it makes a value of `FlatPolicy`, of which `text` makes the
same again.
"""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Literal, TypeAlias

from msgspec import Struct

from acore_bot.chat.policy.layers import (
    MAX_AMOUNT,
    MAX_DAYS,
    MAX_MODEL_CHARACTERS,
    MAX_NAME_CHARACTERS,
    MAX_NAMES,
    MAX_ROLES,
)
from acore_bot.chat.policy.values import EVERYONE
from acore_bot.contracts import Scope

Choices: TypeAlias = tuple[tuple[str, str], ...]

YES_NO: Choices = (("yes", "yes"), ("no", "no"))
PLACES: frozenset[Scope] = frozenset({"guild", "channel"})
GUILD: frozenset[Scope] = frozenset({"guild"})
ANYWHERE: frozenset[Scope] = frozenset({"guild", "channel", "role"})

_WHOLE = re.compile(r"\d{1,13}|\d{1,3}(?:[ ,_']\d{3}){1,4}")
_MONEY = re.compile(r"\$?(\d{1,9}(?:\.\d{1,6})?)")
_ROLE = re.compile(rf"\d{{1,20}}|{EVERYONE}")


class Description(Struct, frozen=True, kw_only=True):
    """What is known of a setting. `read` makes a value of a text, or raises `ValueError` or
    `KeyError`; `hint` then says what it could be, with `or_nothing` that it could be empty.
    `none` are the words for an empty value, `words` those around any other, and `joint` stands
    between several. Where the file limits what is allowed, `limited` describes the setting."""

    label: str
    description: str
    read: Callable[[str], object]
    hint: str
    scopes: frozenset[Scope] = PLACES
    or_nothing: str = ""
    limited: str = ""
    none: str = ""
    words: str = "{}"
    joint: str = " "
    choices: Choices = ()
    many: bool = False
    picks: Literal["", "roles"] = ""

    def text(self, value: object) -> str:
        """Write a value as it can be chosen again."""
        match value:
            case None:
                return ""
            case bool():
                return "yes" if value else "no"
            case tuple():
                return self.joint.join(value)
            case Decimal():
                return f"{value:f}"
            case _:
                return str(value)

    def shown(self, value: object, choices: Choices) -> str:
        """Put a value into words."""
        if not (text := self.text(value)):
            return self.none
        if self.picks and isinstance(value, tuple):
            return EVERYONE if EVERYONE in value else f"{len(value)} {self.picks}"
        return dict(choices).get(text) or self.words.format(text)

    def told(self, ceiling: object) -> str:
        """Describe the setting, with the most that the file allows, if that is anything."""
        return self.description if ceiling is None else f"{self.limited}, {self.most(ceiling)}."

    def hinted(self, ceiling: object) -> str:
        """Say what the setting could be."""
        if ceiling is None:
            return f"{self.hint}{self.or_nothing}"
        return f"{self.hint}, {self.most(ceiling)}."

    def most(self, ceiling: object) -> str:
        """Put the most that the file allows into words."""
        return f"at most what the bot's owner allows: {self.shown(ceiling, ())}"


def _one_of(label: str, description: str, choices: Choices) -> Description:
    values = {text: text for text, _ in choices}
    labels = ", ".join(text for text, _ in choices)
    return Description(
        label=label,
        description=description,
        read=values.__getitem__,
        hint=f"It could be: {labels}.",
        choices=choices,
    )


def _yes_no(label: str, description: str, scopes: frozenset[Scope] = PLACES) -> Description:
    return Description(
        label=label,
        description=description,
        read={"yes": True, "no": False}.__getitem__,
        hint="It could be: yes, no.",
        scopes=scopes,
        choices=YES_NO,
    )


def _roles(label: str, description: str, none: str) -> Description:
    return Description(
        label=label,
        description=description,
        read=_read_roles,
        hint=f"Pick at most {MAX_ROLES} roles.",
        none=none,
        many=True,
        picks="roles",
    )


def _tokens(label: str, whose: str, scopes: frozenset[Scope]) -> Description:
    return Description(
        label=label,
        description=f"How many tokens {whose} may use in a day (UTC). Empty is no limit.",
        limited=f"Tokens a day (UTC) for {whose}",
        read=_read_whole,
        hint="Write a whole number, such as 50,000",
        or_nothing=", or nothing for no limit.",
        scopes=scopes,
        none="no limit",
    )


def _dollars(label: str, whose: str, scopes: frozenset[Scope]) -> Description:
    return Description(
        label=label,
        description=f"How many US dollars {whose} may use in a day (UTC). Empty is no limit.",
        limited=f"US dollars a day (UTC) for {whose}",
        read=_read_money,
        hint="Write dollars with a point, such as 1.50",
        or_nothing=", or nothing for no limit.",
        scopes=scopes,
        none="no limit",
        words="${}",
    )


def _read_whole(text: str) -> int | None:
    if not text:
        return None
    if not text.isascii() or not _WHOLE.fullmatch(text):
        raise ValueError("not a whole number")
    number = int(re.sub(r"\D", "", text))
    if number > MAX_AMOUNT:
        raise ValueError("too large")
    return number


def _read_days(text: str) -> int | None:
    days = _read_whole(text)
    if days is not None and not 1 <= days <= MAX_DAYS:
        raise ValueError("out of range")
    return days


def _read_money(text: str) -> Decimal | None:
    if not text:
        return None
    if not text.isascii() or not (found := _MONEY.fullmatch(text)):
        raise ValueError("not an amount")
    return Decimal(found[1])


def _read_roles(text: str) -> tuple[str, ...]:
    roles = tuple(dict.fromkeys(text.split()))
    if len(roles) > MAX_ROLES or not all(map(_ROLE.fullmatch, roles)):
        raise ValueError("not roles")
    return roles


def _read_model(text: str) -> str:
    if not 1 <= len(text) <= MAX_MODEL_CHARACTERS:
        raise ValueError("not a name")
    return text


def _read_names(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(" ".join(name.split()) for name in text.split(",")))
    names = tuple(filter(None, names))
    # A name without a letter or digit would be found between any two words.
    if len(names) > MAX_NAMES or not all(map(_is_callable_by, names)):
        raise ValueError("not names")
    return names


def _is_callable_by(name: str) -> bool:
    return len(name) <= MAX_NAME_CHARACTERS and any(map(str.isalnum, name))


ANSWERS: Choices = (
    ("asked", "when asked"),
    ("everything", "everything"),
    ("nothing", "nothing"),
)
MEMORY: Choices = (
    ("shared", "shared by all"),
    ("person", "one for each person"),
)
WHEN_SPENT: Choices = (
    ("embedded", "the small model answers"),
    ("refuse", "nobody answers"),
)
EACH = "each person"
ALL = "all people together"

# In the order in which a panel lists them. Persona and model are checked by who knows them.
DESCRIPTIONS: Mapping[str, Description] = {
    "answers": _one_of(
        "Answers", "What is answered. When asked: mentions, and what is said yes to below.", ANSWERS
    ),
    "replies": _yes_no("Answers replies", "Whether a reply to the bot needs no mention."),
    "threads": _yes_no(
        "Answers in threads", "Whether it goes on answering in threads without a mention."
    ),
    "names": Description(
        label="Names",
        description="Names that call it as a mention does, with commas between them.",
        read=_read_names,
        hint=f"Write at most {MAX_NAMES} names of up to {MAX_NAME_CHARACTERS} characters, with "
        "commas between them, or nothing.",
        none="none",
        joint=", ",
    ),
    "persona": Description(
        label="Persona", description="Who the bot is.", read=str, hint="Choose one of the list."
    ),
    "model": Description(
        label="Model",
        description="Which model answers, written provider/model.",
        read=_read_model,
        hint="Write it as provider/model; /model lists what there is.",
    ),
    "memory": _one_of(
        "Conversation", "Whether all in a channel share one, or each has their own.", MEMORY
    ),
    "users": _roles("Who may use it", "The roles whose people may use the bot.", "everyone"),
    "choosers": _roles(
        "Who may change it",
        "The roles whose people may change persona and model, and reset, as managers may.",
        "managers only",
    ),
    "retention_days": Description(
        label="Keeps messages",
        description=f"After how many days, 1 to {MAX_DAYS}, it forgets what was said. "
        "Empty: never.",
        limited="After how many days it forgets what was said",
        read=_read_days,
        hint=f"Write a whole number of days from 1 to {MAX_DAYS}",
        or_nothing=", or nothing to keep them.",
        none="for good",
        words="{} days",
    ),
    "local_only": _yes_no(
        "Local only",
        "Whether nothing may leave for a cloud. Yes for the server also holds in all its channels.",
        ANYWHERE,
    ),
    "shows_host": _yes_no(
        "Shows where it computes", "Whether each answer says if it was made here or in a cloud."
    ),
    "shows_persona": _yes_no(
        "Wears the persona's face", "Whether personas speak under their own name and picture."
    ),
    "person_tokens": _tokens("Tokens a person", EACH, ANYWHERE),
    "person_dollars": _dollars("Dollars a person", EACH, ANYWHERE),
    "guild_tokens": _tokens("Tokens in all", ALL, GUILD),
    "guild_dollars": _dollars("Dollars in all", ALL, GUILD),
    "when_spent": _one_of(
        "When a limit is reached",
        "What happens then: the small model inside the bot takes over, or nobody answers.",
        WHEN_SPENT,
    ),
}
