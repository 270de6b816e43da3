"""What a person does with an open bot: talk in a terminal, or ask one question."""

import getpass
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from acore_bot import plugins
from acore_bot.app.assembly import Manners
from acore_bot.app.options import make_prompts
from acore_bot.app.towers import App, open_app, open_personas
from acore_bot.app.watching import open_telemetry
from acore_bot.chat.prompt import Question
from acore_bot.chat.tokens import TokenEstimator
from acore_bot.config import Settings
from acore_bot.contracts import ChatModel
from acore_bot.messages import Author, ChatRequest, IncomingMessage, Place, SnowflakeSequence
from acore_bot.telemetry.events import Event

TYPED_LINES_FOLDER = "typed_lines"
CONVERSATION_NAME = re.compile(r"\w[\w .-]{0,63}")
MAX_FILE_NAME = 255  # bytes, as file systems have it


async def chat_in_terminal(settings: Settings, conversation: str) -> None:
    """Talk with a person at the terminal until they leave. Raises `AcoreError`."""
    listeners: list[Callable[[Event], None]] = []

    def emit(event: Event) -> None:
        for listen in listeners:
            listen(event)

    async with (
        open_telemetry(settings, emit) as telemetry,
        open_app(settings, telemetry.emit, Manners(lately=telemetry.lately)) as bot,
    ):

        def persona_name() -> str:
            policy = bot.core.policies.of(Place(channel=conversation))
            return bot.personas.load(policy.persona).name

        terminal = plugins.load_frontend("terminal")(
            conversation=conversation,
            author=person_at_terminal(),
            snowflakes=SnowflakeSequence(time.time),
            persona_name=persona_name,
            commands=bot.core.commands.described(),
            greeting=await _greeting(bot, conversation),
            history_file=typed_lines_file(settings, conversation),
        )
        listeners.append(terminal.on_event)
        await terminal.run(bot.core)


def forget_typed_lines(settings: Settings, conversation: str) -> None:
    """Remove what a person typed in a conversation, which the arrow keys bring back."""
    if file := typed_lines_file(settings, conversation):
        file.unlink(missing_ok=True)


def typed_lines_file(settings: Settings, conversation: str) -> Path | None:
    """Name the file of what is typed in a conversation: none for one of a name that nobody could
    give it here, or that leads elsewhere."""
    if not CONVERSATION_NAME.fullmatch(conversation) or len(conversation.encode()) > MAX_FILE_NAME:
        return None
    file = settings.data.directory / TYPED_LINES_FOLDER / conversation
    return None if file.is_symlink() else file


async def _greeting(bot: App, conversation: str) -> str:
    goes_on = await bot.history.recent(conversation, 1)
    begins = f"The conversation {conversation!r} goes on" if goes_on else "A new conversation"
    model = bot.core.policies.of(Place(channel=conversation)).model
    return f"{begins} with {model}. /help shows what there is."


def person_at_terminal() -> Author:
    """Name who types, by the account of the machine."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container may run as a number without a name
        name = "you"
    return Author(name, name)


async def stateless_request(settings: Settings, model: ChatModel, text: str) -> ChatRequest:
    """Build the request for a question that nothing was said before. Raises `AcoreError`."""
    persona = open_personas(settings).load(settings.chat.persona)
    question = Question(
        message=IncomingMessage(
            id=SnowflakeSequence(time.time).next(),
            conversation="",
            author=person_at_terminal(),
            text=text,
            created_at=datetime.now(UTC),
            is_private=True,
        ),
        model=settings.chat.model,
        is_stateless=True,
        is_local_only=settings.chat.local_only,
        system=persona.text,
        temperature=persona.temperature,
    )
    info = await model.describe(question.model, local_only=question.is_local_only)
    return make_prompts(settings, TokenEstimator()).build(question, info).request
