"""Buttons under answers: from a click to the core.

Whatever a button's id says, the core hears under which message it stands, who used it, and what
Discord says they may do there; it decides by what is stored about that message. What only the
person should see answers the click itself, for as long as Discord accepts that.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Self

import discord

from acore_bot.contracts import Core
from acore_bot.errors import AcoreError, TargetGone, Unexpected
from acore_bot.frontends.discord.buttons import control_of
from acore_bot.frontends.discord.drafts import Component
from acore_bot.frontends.discord.interactions import heard
from acore_bot.frontends.discord.interactions.address import TOKEN_SECONDS, InteractionAddress
from acore_bot.frontends.discord.interactions.response import acknowledge
from acore_bot.frontends.discord.panel import is_panel
from acore_bot.frontends.discord.reply import DiscordReply, Means
from acore_bot.frontends.discord.translate import roles_of
from acore_bot.messages import Control, Press

log = logging.getLogger(__name__)

NO_PLACE: Final = "I may not write in this channel, so nothing came of it."
UNKNOWN: Final = "I do not know this button any more. Please use one under a newer answer."
RESTARTING: Final = "I am just being stopped. Please try again in a minute."


class PressReply(DiscordReply):
    """Keeps the promise of a reply target for a click. Its messages are for the person alone; those
    of targets `in_place_of` others stand in the channel."""

    __slots__ = ("_clock", "_ends_at", "_follow_ups", "_is_open")

    def __init__(
        self,
        means: Means,
        interaction: discord.Interaction[Any],
        message_id: int,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(means, interaction.channel_id or 0, message_id, interaction.user.id)
        self._nonce = interaction.id
        self._follow_ups = InteractionAddress(
            interaction.application_id, interaction.token, interaction.id
        )
        self._clock = clock
        self._ends_at = clock() + TOKEN_SECONDS
        self._is_open = False

    def in_place_of(self, message_ids: Sequence[int]) -> Self:
        """Return a target in the channel, whose messages replace these, or stand below."""
        twin = super().in_place_of(message_ids)
        twin._is_open = True  # noqa: SLF001
        return twin

    async def whisper(self, text: str) -> None:
        """Tell the person alone, under the message or else in private."""
        if not self._has_time():
            await super().whisper(text)
            return
        try:
            await self._send_privately(text, ())
        except TargetGone as error:
            log.debug("whoever used a button could not be told: %s", error)

    async def _send(
        self,
        text: str,
        rows: Sequence[Component],
        *,
        file: tuple[str, str] | None = None,
        is_final: bool = True,
    ) -> int:
        if self._is_open or not self._has_time():
            return await super()._send(text, rows, file=file, is_final=is_final)
        message_id = await self._send_privately(text, rows, file)
        self._addresses[message_id] = self._follow_ups
        return message_id

    async def _send_privately(
        self, text: str, rows: Sequence[Component], file: tuple[str, str] | None = None
    ) -> int:
        return await self._means.outbox.send(
            self._follow_ups,
            text,
            nonce=self._next_nonce(),
            file=file,
            components=rows,
            is_private=True,
        )

    def _has_time(self) -> bool:
        return self._clock() < self._ends_at


class Presses:
    """Hands clicks to the core. `clock` is monotonic seconds."""

    def __init__(
        self, means: Means, core: Core, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._means = means
        self._core = core
        self._clock = clock

    async def press(
        self, interaction: discord.Interaction[Any], *, is_stopping: bool = False
    ) -> None:
        """Do what a button says. Errors are told to the person, not raised. When we stop, nothing
        begins any more."""
        if interaction.message is None or not await acknowledge(interaction):
            return
        target = PressReply(self._means, interaction, interaction.message.id, clock=self._clock)
        control = control_of(heard.custom_id_of(interaction))
        if control is None:
            await target.whisper(UNKNOWN)
        elif is_stopping and control != "stop":
            await target.whisper(RESTARTING)
        else:
            await self._hand_on(to_press(interaction, interaction.message.id, control), target)

    async def _hand_on(self, press: Press, target: PressReply) -> None:
        try:
            await self._core.press(press, target)
        except TargetGone as error:
            log.info("what a button did found no place: %s", error)
            await target.whisper(NO_PLACE)
        except AcoreError as error:
            await target.whisper(error.public)
        except Exception:
            # Whatever it is, the person must not be left without a word.
            log.exception("a button under message %d could not be obeyed", press.message_id)
            await target.whisper(Unexpected().public)


def is_press(interaction: discord.Interaction[Any]) -> bool:
    """Whether somebody used a button that stands under an answer, or an unknown one."""
    is_component = interaction.type is discord.InteractionType.component
    return is_component and not is_panel(heard.custom_id_of(interaction))


def to_press(interaction: discord.Interaction[Any], message_id: int, control: Control) -> Press:
    """Say who used which button. What they may do is what Discord says: nothing, in private."""
    conversation, place = heard.where(interaction)
    may = interaction.permissions
    return Press(
        message_id=message_id,
        control=control,
        conversation=conversation,
        author=heard.author_of(interaction.user),
        place=place,
        roles=roles_of(interaction.user),
        is_moderator=may.manage_messages or may.manage_guild,
    )
