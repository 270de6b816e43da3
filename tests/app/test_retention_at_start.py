"""A bot that starts removes what its owner does not want to keep any longer."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from msgspec import structs
from tests.fakes.talk import asked

from acore_bot.app.towers import open_app, open_history
from acore_bot.config import load


async def test_p4_a_bot_that_starts_sweeps(tmp_path: Path) -> None:
    """With 30 days in the settings, what is older is gone soon after the start, unasked."""
    file = tmp_path / "acore.toml"
    file.write_text(
        f'[data]\ndirectory = "{tmp_path / "data"}"\n[privacy]\nretention_days = 30\n'
        '[chat]\nmodel = "demo/script"\n[providers.demo]\nkind = "scripted"\n'
    )
    settings = load(file, environ={})
    new = structs.replace(asked(2, conversation="tea"), created_at=datetime.now(UTC))
    async with open_history(settings) as history:
        await history.append([asked(1, conversation="tea"), new])
    async with open_app(settings) as bot, asyncio.timeout(20):
        # The sweep tells nobody that it is done; a read from memory alone would not let it run.
        while len(left := await bot.history.recent("tea", 9)) > 1:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert [message.id for message in left] == [2]
