"""Buttons under answers: from a click to the core.

Whatever a button's id says, the core hears under which message it stands, who used it, and what
Discord says they may do there; it decides by what is stored about that message. What only the
person should see answers the click itself, for as long as Discord accepts that; so does all else
where the bot may not write by itself, as in servers to which only that person brought it along.
"""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Final, Self

import discord

from acore_bot.contracts import Core
from acore_bot.errors import AcoreError, TargetGone, Unexpected
from acore_bot.frontends.discord.addresses import Address
from acore_bot.frontends.discord.buttons import control_of
from acore_bot.frontends.discord.drafts import Component
from acore_bot.frontends.discord.interactions import heard
from acore_bot.frontends.discord.interactions.address import TOKEN_SECONDS, InteractionAddress
from acore_bot.frontends.discord.interactions.response import acknowledge
from acore_bot.frontends.discord.panel import is_panel
from acore_bot.frontends.discord.reply import DiscordReply, Means
from acore_bot.messages import Control, Press

log = logging.getLogger(__name__)

NO_PLACE: Final = "I cannot show that in this channel, so nothing came of it. Please ask me anew."
UNKNOWN: Final = "I do not know this button any more. Please use one under a newer answer."
RESTARTING: Final = "I am just being stopped. Please try again in a minute."


class PressReply(DiscordReply):
    """Keeps the promise of a reply target for a click. Its messages are for the person alone; those
    of targets `in_place_of` others stand where all can see them.

    Where the bot may not write by itself, of all that stands there it can change what it answered
    the click with, and the message under which the button stands.
    """

    __slots__ = ("_by_click", "_clock", "_ends_at", "_is_open", "_may_write")

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
        self._by_click = InteractionAddress(
            interaction.application_id,
            interaction.token,
            interaction.id,
            channel_id=interaction.channel_id if heard.bot_is_there(interaction) else None,
            under_id=message_id,
        )
        self._may_write = heard.bot_may_write(interaction)
        if not self._may_write:
            self._addresses[message_id] = self._by_click
        self._clock = clock
        self._ends_at = clock() + TOKEN_SECONDS
        self._is_open = False

    def typing(self) -> AbstractAsyncContextManager[None]:
        """Show that an answer is being prepared, where the bot may."""
        return super().typing() if self._may_write else nullcontext()

    def in_place_of(self, message_ids: Sequence[int]) -> Self:
        """Return a target whose messages replace these, or stand below, for all to see. Raises
        `TargetGone` for messages that cannot be changed."""
        if not self._may_write and not self._addresses.keys() >= set(message_ids):
            raise _out_of_reach()
        twin = super().in_place_of(message_ids)
        twin._is_open = True  # noqa: SLF001
        return twin

    async def whisper(self, text: str) -> None:
        """Tell the person alone, under the message or else in private."""
        if not self._has_time():
            await super().whisper(text)
            return
        try:
            await self._answer_click(text)
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
        if self._may_write and (self._is_open or not self._has_time()):
            return await super()._send(text, rows, file=file, is_final=is_final)
        return await self._answer_click(text, rows, file, is_private=not self._is_open)

    async def _answer_click(
        self,
        text: str,
        rows: Sequence[Component] = (),
        file: tuple[str, str] | None = None,
        *,
        is_private: bool = True,
    ) -> int:
        if not self._has_time():
            raise _out_of_reach()
        message_id = await self._means.outbox.send(
            self._by_click,
            text,
            nonce=self._next_nonce(),
            file=file,
            components=rows,
            is_private=is_private,
        )
        self._addresses[message_id] = self._by_click
        return message_id

    async def _address_of(self, message_id: int) -> Address:
        is_by_click = self._addresses.get(message_id) is self._by_click
        is_lost = not self._has_time() if is_by_click else not self._may_write
        if is_lost:
            raise _out_of_reach()
        return await super()._address_of(message_id)

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


def _out_of_reach() -> TargetGone:
    return TargetGone("By this click nothing can be shown or changed there, or not any more.")


def is_press(interaction: discord.Interaction[Any]) -> bool:
    """Whether somebody used a button that stands under an answer, or an unknown one."""
    is_component = interaction.type is discord.InteractionType.component
    return is_component and not is_panel(heard.custom_id_of(interaction))


def to_press(interaction: discord.Interaction[Any], message_id: int, control: Control) -> Press:
    """Say who used which button. What they may do is what Discord says: nothing, in private."""
    conversation, place = heard.where(interaction)
    roles, may = heard.rights_of(interaction)
    return Press(
        message_id=message_id,
        control=control,
        conversation=conversation,
        author=heard.author_of(interaction.user),
        place=place,
        roles=roles,
        is_moderator=may.manage_messages or may.manage_guild,
    )
