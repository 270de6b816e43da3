"""`acore chat`: a conversation at the terminal."""

from acore_bot import app
from acore_bot.app.sessions import CONVERSATION_NAME
from acore_bot.config import Settings
from acore_bot.errors import ConfigurationError


async def chat(settings: Settings, conversation: str) -> None:
    """Talk until the person leaves. Raises `AcoreError`."""
    if not CONVERSATION_NAME.fullmatch(conversation):
        msg = f"--conversation {conversation[:80]!r} cannot be a name."
        raise ConfigurationError(msg, remedy="Use up to 64 letters, digits, spaces, dots, - and _.")
    await app.chat_in_terminal(settings, conversation)
