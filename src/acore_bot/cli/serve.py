"""`acore run`: serve people on Discord until told to stop."""

import logging

from msgspec import structs

from acore_bot import app
from acore_bot.config import Settings
from acore_bot.telemetry.events import Event

log = logging.getLogger(__name__)


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises `AcoreError`."""
    for warning in settings.warnings:
        log.warning("%s", warning)
    await app.serve_discord(settings, log_event)


def log_event(event: Event) -> None:
    """Write a line about what happened: its name, and its fields as they are."""
    fields = structs.asdict(event)
    log.info("%s %s", type(event).__name__, " ".join(f"{k}={_brief(v)}" for k, v in fields.items()))


def _brief(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
