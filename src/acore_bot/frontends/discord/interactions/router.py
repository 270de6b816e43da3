"""The way of an interaction: acknowledged before anything else, then handed to the core."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

import discord
import msgspec

from acore_bot.contracts import Core, Handler
from acore_bot.errors import AcoreError, TargetGone, Unexpected
from acore_bot.frontends.discord.interactions import heard, tree
from acore_bot.frontends.discord.interactions.heard import Command
from acore_bot.frontends.discord.interactions.reply import InteractionReply, Response
from acore_bot.frontends.discord.interactions.response import QUESTION, open_form, promise, suggest
from acore_bot.frontends.discord.panel import is_panel, open_panel, turn_panel
from acore_bot.frontends.discord.panel_controls import cut
from acore_bot.frontends.discord.reply import Means
from acore_bot.frontends.discord.rest import told
from acore_bot.messages import Attachment, Quote

log = logging.getLogger(__name__)

SUGGESTION_SECONDS = 2.5  # Discord waits for three
MAX_OPEN_FORMS = 1000
UNKNOWN: Final = (
    "I do not know this command any more. Discord shows the present ones in a moment: "
    "please type / again."
)
STALE: Final = "I do not remember which message that was about. Please open its menu again."
RESTARTING: Final = "I am just being stopped. Please ask again in a minute."
STOPPED: Final = "I was stopped before I could answer. Please ask again in a minute."
_FORM = "acore:ask:"
# What is suggested for an option that is named otherwise than its command.
_SUGGESTED = {"compare": "model"}

NOT_MY_OWNER: Final = (
    "Only the owner of this bot can let it read its settings file anew. What holds in this server "
    "is in `/settings show`."
)
CANNOT_RELOAD: Final = "This bot cannot read its settings anew. Please start it again."

Reload = Callable[[], Awaitable[str]]
_About = tuple[Quote, tuple[Attachment, ...]]
_Work = Callable[[InteractionReply], Awaitable[None]]


class Router:
    """Answers interactions other than buttons under answers. `reload` reads the settings file anew
    and says what came of it; `clock` is monotonic seconds."""

    def __init__(
        self,
        means: Means,
        core: Core,
        *,
        reload: Reload | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._reload = reload
        self._means = means
        self._core = core
        self._clock = clock
        self._sleep = sleep
        self._paths = tree.paths()
        # Whose form is open about which message, as Discord does not say it once more.
        self._forms: OrderedDict[tuple[int, str], _About] = OrderedDict()

    async def answer(
        self, interaction: discord.Interaction, handler: Handler, *, is_stopping: bool = False
    ) -> None:
        """Do what is asked. Errors are told to the person, not raised."""
        try:
            if is_stopping:
                await self._decline(interaction, RESTARTING)
            elif _is_typing(interaction):
                await self._suggest(interaction)
            elif is_panel(heard.custom_id_of(interaction)):
                await turn_panel(interaction.client, interaction, self._core)
            elif interaction.type is discord.InteractionType.modal_submit:
                await self._submit(interaction, handler)
            else:
                await self._obey(interaction, handler)
        except msgspec.ValidationError:
            await self._decline(interaction, UNKNOWN)

    async def _obey(self, interaction: discord.Interaction, handler: Handler) -> None:
        command = heard.command_of(interaction)
        if command.type == tree.MESSAGE_MENU:
            await self._open_menu(interaction, command)
        elif command.path not in self._paths:
            await self._tell(interaction, UNKNOWN)
        elif command.path == tree.SETTINGS:
            await open_panel(interaction.client, interaction, self._core)
        elif command.path == tree.RELOAD:
            await self._read_anew(interaction)
        else:
            await self._hand_on(interaction, command, handler)

    async def _read_anew(self, interaction: discord.Interaction) -> None:
        if not _is_owner(interaction):
            await self._tell(interaction, NOT_MY_OWNER)
            return

        async def work(reply: InteractionReply) -> None:
            told = await self._reload() if self._reload else CANNOT_RELOAD
            await reply.post(cut(told, tree.MAX_TEXT), final=True)

        await self._serve(interaction, work, is_private=True)

    async def _hand_on(
        self, interaction: discord.Interaction, command: Command, handler: Handler
    ) -> None:
        async def work(reply: InteractionReply) -> None:
            is_message = command.path in {tree.ASK, tree.CHAT}
            hear = heard.asked_by if is_message else heard.told_by
            await handler(hear(interaction, command), reply)

        await self._serve(interaction, work, is_private=command.path not in tree.PUBLIC)

    async def _open_menu(self, interaction: discord.Interaction, command: Command) -> None:
        bot = interaction.client.user
        is_known = command.name in {tree.ASK_ABOUT, tree.WHY}
        if bot is None or not is_known or command.target_id not in command.resolved.messages:
            await self._tell(interaction, UNKNOWN)
            return
        message = heard.chosen_message(interaction, command)
        quote, incoming = heard.as_quote(message, bot, interaction.application_id)
        if command.name == tree.ASK_ABOUT:
            self._remember(interaction, command.target_id, (quote, incoming.attachments))
            await open_form(interaction, _FORM + command.target_id)
            return

        async def work(reply: InteractionReply) -> None:
            await reply.post(await self._core.explain(incoming), final=True)

        await self._serve(interaction, work, is_private=True)

    async def _submit(self, interaction: discord.Interaction, handler: Handler) -> None:
        key = (interaction.user.id, heard.custom_id_of(interaction).removeprefix(_FORM))
        if (about := self._forms.pop(key, None)) is None:
            await self._tell(interaction, STALE)
            return
        text = heard.form_of(interaction).text(QUESTION)
        quote, attachments = about
        asked = heard.to_question(interaction, text, quotes=[quote], attachments=attachments)
        await self._serve(interaction, lambda reply: handler(asked, reply), is_private=False)

    def _remember(self, interaction: discord.Interaction, target_id: str, about: _About) -> None:
        self._forms[interaction.user.id, target_id] = about
        if len(self._forms) > MAX_OPEN_FORMS:
            self._forms.popitem(last=False)

    async def _suggest(self, interaction: discord.Interaction) -> None:
        command = heard.command_of(interaction)
        typed = next((one.value for one in command.filled_in.values() if one.focused), "")
        kind = _SUGGESTED.get(command.name, command.name)
        names: tuple[str, ...] = ()
        try:
            async with asyncio.timeout(SUGGESTION_SECONDS):
                names = await self._core.suggest(kind, typed, heard.where(interaction)[1])
        except (AcoreError, TimeoutError) as error:
            log.info("nothing could be suggested for /%s: %s", command.name, told(error))
        await suggest(interaction, names)

    async def _decline(self, interaction: discord.Interaction, text: str) -> None:
        # While somebody types, Discord takes no words, but only choices.
        if _is_typing(interaction):
            await suggest(interaction, ())
        else:
            await self._tell(interaction, text)

    async def _tell(self, interaction: discord.Interaction, text: str) -> None:
        async def work(reply: InteractionReply) -> None:
            await reply.post(text, final=True)

        await self._serve(interaction, work, is_private=True)

    async def _serve(
        self, interaction: discord.Interaction, work: _Work, *, is_private: bool
    ) -> None:
        """Promise an answer, let it be given, and say what went wrong."""
        if not await promise(interaction, is_private=is_private):
            return
        response = Response(
            self._means, interaction, is_private=is_private, clock=self._clock, sleep=self._sleep
        )
        try:
            await work(InteractionReply(response))
        except TargetGone as error:
            log.info("an answer to interaction %d found no place: %s", interaction.id, error)
        except AcoreError as error:
            await response.whisper(error.public)
        except Exception:
            # Whatever it is, the person must not be left without a word.
            log.exception("interaction %d could not be answered", interaction.id)
            await response.whisper(Unexpected().public)
        except asyncio.CancelledError:
            if response.is_open:
                await response.whisper(STOPPED)
                await response.finish()
            raise
        await response.finish()


def _is_owner(interaction: discord.Interaction) -> bool:
    """Whether somebody owns this application, alone or with their team."""
    application = interaction.client.application
    if application is None:
        return False
    if application.team is None:
        return application.owner.id == interaction.user.id
    # Who was only invited has not agreed to anything, and nobody else knows that it is them.
    is_in = discord.TeamMembershipState.accepted
    members = [one for one in application.team.members if one.membership_state is is_in]
    return any(member.id == interaction.user.id for member in members)


def _is_typing(interaction: discord.Interaction) -> bool:
    return interaction.type is discord.InteractionType.autocomplete
