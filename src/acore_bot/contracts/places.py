"""Where people are, and what the core does for those places."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol

from msgspec import Struct

from acore_bot.contracts.records import Scope
from acore_bot.messages import (
    Attachment,
    Control,
    FileContent,
    Finding,
    IncomingCommand,
    IncomingMessage,
    Place,
    Press,
)
from acore_bot.telemetry.events import Event


class ReplyTarget(Protocol):
    """Where a message came from and its answer becomes visible. Raises `TargetGone` if that is no
    more, and nothing else, unless it says so."""

    @property
    def max_length(self) -> int | None:
        """How long one message may be, in UTF-16 code units; None if that does not matter."""
        ...

    def typing(self) -> AbstractAsyncContextManager[None]:
        """Show that an answer is being prepared, until the block is left."""
        ...

    async def post(
        self, text: str, *, final: bool = False, controls: Sequence[Control] = ()
    ) -> int:
        """Show a new message and return its id. `final` promises that no edit follows; until then
        the place may offer to stop the answer. `controls` is what it offers from then on."""
        ...

    async def ready(self, message_id: int, *, final: bool = False) -> None:
        """Return when a message may be edited, which has to follow at once: so what is shown is the
        newest there is by then. Those that are final come first."""
        ...

    async def edit(
        self,
        message_id: int,
        text: str,
        *,
        final: bool = False,
        controls: Sequence[Control] = (),
    ) -> None:
        """Show other text in a message."""
        ...

    async def attach(
        self, text: str, file_name: str, content: str, *, controls: Sequence[Control] = ()
    ) -> int:
        """Show a new message with a text file and return its id."""
        ...

    async def whisper(self, text: str) -> None:
        """Tell something only to the person whose message or press this is, if that is possible
        here; else nobody."""
        ...

    def in_place_of(self, message_ids: Sequence[int]) -> "ReplyTarget":
        """Return a target whose messages replace these, in order, and follow them when there are
        no more. With none, it shows its messages below, where all can see them."""
        ...

    def speaking_as(self, name: str, picture: bytes) -> "ReplyTarget":
        """Return a target whose messages bear another name and, if it is not empty, a picture (PNG
        or JPEG); one that bears the bot's own where that cannot be."""
        ...

    async def thread(self, name: str) -> "ReplyTarget":
        """Return a target that shows its messages in a new thread of that name, under the message
        or the command that this target answers. Where there can be none, as in private, inside of a
        thread or without the right to make one, it is this target itself. `whisper` goes where it
        went before."""
        ...

    async def remove(self, message_ids: Sequence[int]) -> None:
        """Take messages of the bot away."""
        ...

    async def fetch(self, attachment: Attachment) -> bytes:
        """Return what a file holds that came with the message. Raises `FileUnreadable`."""
        ...


class FileReader(Protocol):
    """Makes sense of files that strangers sent."""

    async def read(self, attachment: Attachment, content: bytes) -> FileContent:
        """Return what a file says or shows, within limits. Raises `FileUnreadable`."""
        ...


class Knob(Struct, frozen=True, kw_only=True):
    """A setting as a panel shows it. `value` is what holds there now, in words fit to be shown, and
    `is_own` says that it was set just there; `set_to` is that value as it can be chosen again.
    `choices` are values with their labels, all that there are; a knob without any takes what is
    typed. `many` says that several choices may hold at once, which are written with spaces between
    them; `picks` that the choices are the guild's roles or channels."""

    name: str
    label: str
    description: str
    value: str
    is_own: bool = False
    set_to: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    many: bool = False
    picks: Literal["", "roles", "channels"] = ""


class Core(Protocol):
    """What a front end can ask of the core, besides handing it messages and commands.

    Every method may raise `AcoreError`, whose `public` is fit for those who read along.
    """

    async def press(self, press: Press, target: ReplyTarget) -> None:
        """Do what a button says, if this person may use it; tell them by a whisper if not."""
        ...

    async def edited(self, message_id: int, text: str) -> tuple[int, tuple[Control, ...]] | None:
        """Take note that a message was edited. Return the last message of its answer, and the
        controls to show there, if it has one that could be given anew."""
        ...

    async def deleted(self, message_ids: Sequence[int]) -> tuple[int, ...]:
        """Take note that messages are gone: stop what is being answered to them, and forget them.
        Return the bot's messages that should go too."""
        ...

    async def left(self, place: Place) -> None:
        """Take note that a guild or a channel is gone, and forget all that was said there."""
        ...

    async def explain(self, message: IncomingMessage) -> str:
        """Say which rule makes the bot answer a message, or stay silent."""
        ...

    async def suggest(self, command: str, typed: str, place: Place) -> tuple[str, ...]:
        """Name at most 25 arguments that a command could take and that fit what was typed."""
        ...

    def knobs(self, place: Place, scope: Scope, target: str) -> tuple[Knob, ...]:
        """Return the settings of a guild, a channel or a role, as they stand."""
        ...

    async def turn_knob(
        self, guild: str, scope: Scope, target: str, name: str, value: str | None
    ) -> None:
        """Change a setting, or let it follow the wider ones again. Raises `NotFound`, which says
        what the value could be, if it is none."""
        ...


class Handler(Protocol):
    """What a front end hands its messages to: the core, seen from outside."""

    async def __call__(
        self, incoming: IncomingMessage | IncomingCommand, target: ReplyTarget
    ) -> None:
        """Do everything that one message calls for. Cancelling stops its answer, keeps what was
        said and marks it. Errors are told to the person through `target`, not raised."""
        ...


class Frontend(Protocol):
    """Where people are."""

    def on_event(self, event: Event) -> None:
        """Hear what happens elsewhere, to show it or to ignore it."""
        ...

    async def run(self, handler: Handler) -> None:
        """Serve until told to stop; let no message vanish in silence."""
        ...

    async def examine(self) -> tuple[Finding, ...]:
        """Look at all that it needs, without serving anybody, and say what is wrong with it."""
        ...
