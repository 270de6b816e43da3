"""The REST side: one request's way through faults and limits to its route and back.

recorded ─► latency ─► fault? ─► token? ─► banned? ─► limits ─► route ─► reply (or dropped)
"""

import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import BodyPartReader, web
from tests.fakes.discord.faults import Delay, DropReply, Fail, Faults, Reset, TimeOut, TooMany
from tests.fakes.discord.limits import Limits, Verdict
from tests.fakes.discord.payloads import JSON
from tests.fakes.discord.records import Changes, Request
from tests.fakes.discord.routes import Refused, Reply, Routes, find_route
from tests.fakes.discord.sessions import reset
from tests.fakes.discord.things import File
from tests.fakes.discord.world import World

PREFIX = "/api/v10"
_INVALID = {401, 403, 429}
_GATEWAY_TROUBLE = {502, 503, 504, 524}


class Rest:
    """See `tests.fakes.discord.server` for what tests may do with it."""

    def __init__(
        self,
        world: World,
        routes: Routes,
        limits: Limits,
        faults: Faults,
        changes: Changes,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self.latency_seconds = 0.0
        self.requests: list[Request] = []
        self.edits_in_flight_max: dict[int, int] = {}
        self._world = world
        self._routes = routes
        self._limits = limits
        self._faults = faults
        self._changes = changes
        self._clock = clock
        self.sleep = sleep
        self._turns: Counter[str] = Counter()
        self._edits_in_flight: dict[int, int] = defaultdict(int)

    async def serve(self, incoming: web.Request) -> web.StreamResponse:
        """Answer one request."""
        request = await self._read(incoming)
        self.requests.append(request)
        self._changes.note()
        async with self._in_flight(request):
            response = await self._answer(request)
            if response is None:
                if incoming.transport is not None:
                    reset(incoming.transport)
                return web.Response()
            request.status = response.status
            return response

    async def _read(self, incoming: web.Request) -> Request:
        path = incoming.path.removeprefix(PREFIX)
        found = find_route(incoming.method, path)
        route, ids = found or ("unknown", ())
        self._turns[route] += 1
        assert incoming.transport is not None
        request = Request(
            self._clock(),
            incoming.method,
            path,
            route,
            self._turns[route],
            incoming.transport.get_extra_info("peername")[1],
            ids,
            dict(incoming.query),
            dict(incoming.headers),
        )
        if incoming.content_type == "multipart/form-data":
            request.body, request.files = await _read_form(incoming)
        elif body := await incoming.read():
            decoded = json.loads(body)
            request.body = decoded if isinstance(decoded, dict) else {"list": decoded}
        return request

    @asynccontextmanager
    async def _in_flight(self, request: Request) -> AsyncIterator[None]:
        message_id = request.message_id if request.route == "edit_message" else None
        if message_id is not None:
            self._edits_in_flight[message_id] += 1
            now = self._edits_in_flight[message_id]
            self.edits_in_flight_max[message_id] = max(
                now, self.edits_in_flight_max.get(message_id, 0)
            )
        try:
            yield
        finally:
            if message_id is not None:
                self._edits_in_flight[message_id] -= 1
            request.finished_at = self._clock()
            self._changes.note()

    async def _answer(self, request: Request) -> web.Response | None:
        """Return the response, or None if the connection has to break instead."""
        if self.latency_seconds:
            await self.sleep(self.latency_seconds)
        fault = self._faults.next(request)
        if isinstance(fault, Delay):
            await self.sleep(fault.seconds)
        if isinstance(fault, Reset):
            return None
        if isinstance(fault, TooMany):
            verdict = Verdict({}, fault.retry_after)
            return self._too_many(verdict, fault.scope, fault.code)
        if isinstance(fault, Fail) and fault.status in _GATEWAY_TROUBLE:
            return _before_discord(fault.status)
        response = self._serve_within_limits(request, fault if isinstance(fault, Fail) else None)
        if isinstance(fault, TimeOut):
            return _before_discord(504)
        return None if isinstance(fault, DropReply) else response

    def _serve_within_limits(self, request: Request, fault: Fail | None) -> web.Response:
        if self._limits.is_banned():
            # Without `Via`, as from Cloudflare itself.
            return web.Response(status=429, text="error code: 1015")
        is_known = request.headers.get("Authorization") == f"Bot {self._world.token}"
        # Whoever answers an interaction shows its own token, in the path.
        if not is_known and not request.path.startswith(("/interactions/", "/webhooks/")):
            return self._json(401, {"message": "401: Unauthorized", "code": 0}, {})
        verdict = self._limits.take(request.route, request.ids[0] if request.ids else 0)
        if verdict.retry_after is not None:
            return self._too_many(verdict, "global" if verdict.is_global else "user")
        try:
            reply = self._perform(request, fault)
        except Refused as refused:
            return self._json(refused.status, refused.body(), verdict.headers)
        return self._json(reply.status, reply.body, verdict.headers)

    def _perform(self, request: Request, fault: Fail | None) -> Reply:
        if fault is not None:
            raise Refused(fault.status, fault.code, fault.message)
        if request.route == "unknown":
            raise Refused(404, 0, "404: Not Found")
        return self._routes.perform(request)

    def _too_many(self, verdict: Verdict, scope: str, code: int = 0) -> web.Response:
        assert verdict.retry_after is not None
        is_global = scope == "global"
        headers = {
            "X-RateLimit-Scope": scope,
            "Retry-After": str(int(verdict.retry_after) + 1),
            **({"X-RateLimit-Global": "true"} if is_global else {}),
            **verdict.headers,
        }
        body = {
            "message": "You are being rate limited.",
            "code": code,
            "retry_after": verdict.retry_after,
            "global": is_global,
        }
        return self._json(429, body, headers, is_shared=scope == "shared")

    def _json(
        self,
        status: int,
        body: JSON | list[JSON] | None,
        headers: dict[str, str],
        *,
        is_shared: bool = False,
    ) -> web.Response:
        if status in _INVALID and not is_shared:
            self._limits.note_invalid()
        # discord.py takes an answer without it for one that is not Discord's.
        headers = {"Via": "1.1 google", **headers}
        if body is None:
            return web.Response(status=status, headers=headers)
        return web.Response(
            status=status,
            body=json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **headers},
        )


def _before_discord(status: int) -> web.Response:
    # What stands before Discord speaks HTML.
    return web.Response(status=status, text="<html>", content_type="text/html")


async def _read_form(incoming: web.Request) -> tuple[dict[str, Any], tuple[File, ...]]:
    body: dict[str, Any] = {}
    files: list[File] = []
    async for part in await incoming.multipart():
        assert isinstance(part, BodyPartReader)
        content = bytes(await part.read(decode=True))
        if part.name == "payload_json":
            body = json.loads(content)
        else:
            media_type = part.headers.get("Content-Type", "application/octet-stream")
            files.append(File(part.filename or "", content, media_type))
    return body, tuple(files)
