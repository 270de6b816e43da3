"""Tells Discord which commands there are, when they have changed and not otherwise."""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Sequence

import aiohttp
import discord
import msgspec

from acore_bot.errors import AcoreError
from acore_bot.frontends.discord.addresses import Payload
from acore_bot.frontends.discord.rest import told

log = logging.getLogger(__name__)

MAX_SECONDS = 30.0

LoadDigest = Callable[[], Awaitable[str]]
SaveDigest = Callable[[str], Awaitable[None]]


class CommandSync:
    """Registers commands for all guilds and private chats.

    `load_digest` and `save_digest` keep what was registered last, across restarts; a first start
    loads an empty text.
    """

    def __init__(
        self,
        client: discord.Client,
        payloads: Sequence[Payload],
        *,
        load_digest: LoadDigest,
        save_digest: SaveDigest,
    ) -> None:
        self._client = client
        self._payloads = [dict(payload) for payload in payloads]
        self._load_digest = load_digest
        self._save_digest = save_digest
        self._was_tried = False

    async def run(self) -> None:
        """Register the commands if they changed; once, however often this is called. What fails is
        logged, and tried again at the next start."""
        if self._was_tried:
            return
        self._was_tried = True
        try:
            async with asyncio.timeout(MAX_SECONDS):
                await self._sync()
        except (AcoreError, discord.DiscordException, aiohttp.ClientError, OSError) as error:
            # A time limit is an OSError as well.
            log.warning(
                "The commands could not be registered with Discord (%s); the ones of before stay "
                "until the next start.",
                told(error),
            )

    async def _sync(self) -> None:
        application_id = self._client.application_id
        assert application_id is not None  # known since the login
        digest = self._digest(application_id)
        if await self._load_digest() == digest:
            return
        await self._client.http.bulk_upsert_global_commands(application_id, self._payloads)
        await self._save_digest(digest)
        log.info("Registered %d commands with Discord.", len(self._payloads))

    def _digest(self, application_id: int) -> str:
        # Another bot has none of them yet, whatever this one registered.
        canonical = msgspec.json.encode([application_id, self._payloads], order="deterministic")
        return hashlib.sha256(canonical).hexdigest()
