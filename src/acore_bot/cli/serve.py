"""`acore run`: serve people on Discord until told to stop."""

import logging

from msgspec import structs

from acore_bot import app
from acore_bot.config import Settings
from acore_bot.telemetry.events import BreakerChanged, Event, FellBack, TurnFailed

TROUBLES = (BreakerChanged, FellBack, TurnFailed)

log = logging.getLogger(__name__)


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises `AcoreError`."""
    for warning in settings.warnings:
        log.warning("%s", warning)
    log.info("Connecting to Discord, with %s. Ctrl-C stops it.", settings.chat.model)
    await app.serve_discord(settings, log_event)


def log_event(event: Event) -> None:
    """Write a line about what happened: its name, and its fields as they are."""
    fields = " ".join(f"{name}={_brief(value)}" for name, value in structs.asdict(event).items())
    level = logging.WARNING if isinstance(event, TROUBLES) else logging.INFO
    log.log(level, "%s %s", type(event).__name__, fields)


def _brief(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
