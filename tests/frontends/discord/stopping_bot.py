"""A bot as a process of its own, for tests that stop it: it begins answers and ends none.

python -m tests.frontends.discord.stopping_bot API_URL GATEWAY_URL TOKEN
"""

import asyncio
import sys

from acore_bot.contracts import ReplyTarget
from acore_bot.frontends.discord import Discord
from acore_bot.messages import IncomingCommand, IncomingMessage


async def begin(incoming: IncomingMessage | IncomingCommand, target: ReplyTarget) -> None:
    """Say a beginning; on being stopped, mark it."""
    message_id = await target.post("Well ▌")
    try:
        await asyncio.Event().wait()
    finally:
        await target.ready(message_id, final=True)
        await target.edit(message_id, "Well [stopped]", final=True)


async def main(api_url: str, gateway_url: str, token: str) -> None:
    """Serve until told to stop."""
    discord = Discord(token=token, api_url=api_url, gateway_url=gateway_url, grace_seconds=1.0)
    await discord.run(begin)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
