"""`acore run`: serve people on Discord until told to stop."""

import logging
from collections.abc import Callable

import msgspec

from acore_bot import app
from acore_bot.config import Settings
from acore_bot.telemetry.events import BreakerChanged, Event, FellBack, HistoryRead, TurnFailed

TROUBLES = (BreakerChanged, FellBack, TurnFailed)
TOO_MANY = (HistoryRead,)

log = logging.getLogger(__name__)


async def serve(settings: Settings, load: Callable[[], Settings]) -> None:
    """Serve until SIGTERM or SIGINT; at SIGHUP `load` reads the settings anew. Raises
    `AcoreError`."""
    for warning in settings.warnings:
        log.warning("%s", warning)
    log.info("Connecting to Discord, with %s. Ctrl-C stops it.", settings.chat.model)
    await app.serve_discord(settings, log_event, load)


def log_event(event: Event) -> None:
    """Write a line about what happened: its name, and those of its fields that say something."""
    if isinstance(event, TOO_MANY):
        return
    fields: dict[str, object] = msgspec.to_builtins(event)
    stages = fields.pop("stages", None)
    if isinstance(stages, dict):
        fields |= stages
    told = " ".join(f"{name}={_brief(value)}" for name, value in fields.items())
    level = logging.WARNING if isinstance(event, TROUBLES) else logging.INFO
    name = type(event).__name__
    # For people as words, for programs as fields.
    log.log(level, "%s %s", name, told, extra={"fields": {"event": name, **fields}})


def _brief(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
