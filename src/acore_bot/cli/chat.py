"""`acore chat`: a conversation at the terminal."""

import re

from acore_bot import app
from acore_bot.config import Settings
from acore_bot.errors import ConfigurationError

NAME = re.compile(r"[\w][\w .-]{0,63}")


async def chat(settings: Settings, conversation: str) -> None:
    """Talk until the person leaves. Raises `AcoreError`."""
    if not NAME.fullmatch(conversation):
        msg = f"--conversation {conversation[:80]!r} cannot be a name."
        raise ConfigurationError(msg, remedy="Use up to 64 letters, digits, spaces, dots, - and _.")
    await app.chat_in_terminal(settings, conversation)
