"""What a message is to be, and how Discord's API has it: harmless, whatever it says.

Nobody is notified, no link is previewed, and the text went through `disarm`.
"""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, cast

import discord
from discord.http import MultipartParameters, handle_message_parameters
from discord.utils import MISSING

from acore_bot.frontends.discord.addresses import Address
from acore_bot.frontends.discord.links import disarm

Component: TypeAlias = Mapping[str, Any]
"""A row of buttons and the like, as Discord's API has it."""

Part: TypeAlias = Literal["reply", "file", "content"]
"""What may be refused of a message by itself."""

MAX_LENGTH = 2000  # of a message, in UTF-16 code units
MAX_FILE_NAME = 60
NOTHING = "…"  # Discord refuses a message that says nothing
NOT_ACCEPTED = "Discord did not accept my answer here."
NO_FILE = "The answer is too long to show here, and I may not attach files."


@dataclass(frozen=True, slots=True)
class Draft:
    """What a message is to be. Without a text it says what it said before; components of None are
    left as they are."""

    text: str | None = None
    nonce: str | None = None
    reply_to: int | None = None
    file: tuple[str, str] | None = None
    components: Sequence[Component] | None = None
    is_private: bool = False

    def without(self, part: Part) -> "Draft":
        """Say the same without what was refused, or that it was."""
        match part:
            case "reply":
                return replace(self, reply_to=None)
            case "file":
                return replace(self, text=NO_FILE, file=None)
            case "content":
                nonce = self.nonce and f"{self.nonce}x"
                return replace(self, text=NOT_ACCEPTED, file=None, nonce=nonce)


@dataclass(frozen=True, slots=True)
class _Layout:
    """What discord.py asks of a view, of which ours are no more than this."""

    components: Sequence[Component]

    def to_components(self) -> list[Component]:
        """Return them as they are."""
        return list(self.components)

    def has_components_v2(self) -> bool:
        """Say that messages have texts of their own."""
        return False


class PartRefused(Exception):
    """A message may be, but not with this part of it."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self.part = part


def parameters(address: Address, draft: Draft) -> MultipartParameters:
    """What every request for a message consists of."""
    reference: discord.types.message.MessageReference = {
        "channel_id": address.key,
        "message_id": draft.reply_to or 0,
        "fail_if_not_exists": False,
    }
    return handle_message_parameters(
        MISSING if draft.text is None else _harmless(draft.text),
        nonce=draft.nonce,
        flags=discord.MessageFlags(suppress_embeds=True, ephemeral=draft.is_private),
        view=MISSING if draft.components is None else _view(draft.components),
        allowed_mentions=discord.AllowedMentions.none(),
        mention_author=False,
        message_reference=reference if draft.reply_to else MISSING,
        file=_file(*draft.file) if draft.file else MISSING,
    )


def _harmless(text: str) -> str:
    harmless = disarm(text)
    return harmless if harmless.strip() else NOTHING


def _view(components: Sequence[Component]) -> discord.ui.View:
    return cast("discord.ui.View", _Layout(components))


def _file(name: str, content: str) -> discord.File:
    stem, dot, ending = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("._").rpartition(".")
    safe = f"{stem[:MAX_FILE_NAME]}{dot}{ending[:10]}" or "file"
    return discord.File(io.BytesIO(content.encode()), filename=safe)
