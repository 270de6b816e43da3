"""What supervisors ask, answered without a figure: whether all is well, and work may come."""

import time
from collections.abc import Callable

import msgspec
from aiohttp import web

from acore_bot.telemetry.figures import Now, ShardState

MAX_AWAY_SECONDS = 120.0


class Probes:
    """Knows since when each shard is away. `clock` is monotonic, in seconds."""

    def __init__(self, now: Callable[[], Now], clock: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._clock = clock
        self._away_since: dict[int, float] = {}

    def look(self) -> Now:
        """Note which shards are away. Called often, so that a short return is not missed."""
        now, at = self._now(), self._clock()
        away = [state.shard for state in now.shards if not state.is_connected]
        self._away_since = {shard: self._away_since.get(shard, at) for shard in away}
        return now

    async def health(self, _: web.Request) -> web.Response:
        """Answer 200 if the process is worth keeping: the loop runs, or nobody would answer, and
        no shard was away for more than two minutes."""
        self.look()
        latest = self._clock() - MAX_AWAY_SECONDS
        lost = [shard for shard, since in self._away_since.items() if since < latest]
        reasons = [
            f"Shard {shard} has not been connected for over {MAX_AWAY_SECONDS:.0f} seconds."
            for shard in lost
        ]
        return _answer("healthy", reasons)

    async def readiness(self, _: web.Request) -> web.Response:
        """Answer 200 if a message would be heard, and a model is not known to be out of reach."""
        now = self.look()
        reasons = [_not_connected(state) for state in now.shards if not state.is_connected]
        if now.is_model_reachable is False:
            reasons.append("No model can be reached.")
        return _answer("ready", reasons)


def _not_connected(state: ShardState) -> str:
    return f"Shard {state.shard} is not connected."


def _answer(word: str, reasons: list[str]) -> web.Response:
    body = msgspec.json.encode({word: not reasons, "reasons": reasons})
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return web.Response(body=body, status=503 if reasons else 200, headers=headers)
