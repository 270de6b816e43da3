"""The server of the operator's page: what is found at which address, from start to stop."""

import asyncio
import errno
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from ipaddress import ip_address
from types import TracebackType
from typing import Self

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from acore_bot.errors import ConfigurationError
from acore_bot.ops.page.assets import FOR_A_YEAR, Assets, load
from acore_bot.ops.page.guard import add_headers, compare, guard
from acore_bot.ops.page.listeners import Listeners
from acore_bot.ops.page.options import PageOptions, Sources, check
from acore_bot.ops.page.picture import Picture
from acore_bot.ops.page.probes import Probes
from acore_bot.ops.page.token import COOKIE, COOKIE_SECONDS, Token

log = logging.getLogger(__name__)

REFRESH_SECONDS = 2.0
SHUTDOWN_SECONDS = 1.0
MAX_FORM_BYTES = 4096
OPEN_PATHS = ("/healthz", "/readyz", "/sign-in")
OPEN_ASSETS = ("page.css", "icon.svg")  # what the sign-in form looks like
MESSAGE = b"<!-- message -->"
WRONG_TOKEN = b'<p class="wrong" role="alert">That is not the token. Please try again.</p>'


class OperatorPage:
    """Serves the page from entering to leaving the block. `url` is where, once it is entered.

    `clock` is monotonic and `wall` Unix time, both in seconds. Making one raises
    `ConfigurationError` if strangers could see it; entering does so if it cannot listen.
    """

    def __init__(
        self,
        sources: Sources,
        options: PageOptions | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._sources = sources
        self._options = options or PageOptions()
        check(self._options)
        self._clock, self._wall, self._sleep = clock, wall, sleep
        self._stack = AsyncExitStack()
        self.url = ""

    async def __aenter__(self) -> Self:
        assets = await asyncio.to_thread(load)
        token = await asyncio.to_thread(self._make_token) if self._options.token else None
        listeners = Listeners(Picture(self._sources, assets.version))
        probes = Probes(self._sources.now, self._clock)
        app = self._build(assets, token, listeners, probes)
        async with AsyncExitStack() as stack:
            runner = web.AppRunner(
                app, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_SECONDS
            )
            stack.push_async_callback(runner.cleanup)
            self.url = await self._listen(runner)
            stack.callback(listeners.close)
            await stack.enter_async_context(self._beating(listeners, probes))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    def _make_token(self) -> Token:
        return Token(self._options.token, clock=self._clock, wall=self._wall, sleep=self._sleep)

    def _build(
        self, assets: Assets, token: Token | None, listeners: Listeners, probes: Probes
    ) -> web.Application:
        open_paths = {*OPEN_PATHS, *(assets.path(name) for name in OPEN_ASSETS)}
        app = web.Application(
            middlewares=[guard(self._options, token, open_paths)], client_max_size=MAX_FORM_BYTES
        )
        app.on_response_prepare.append(add_headers)
        app.router.add_get("/", _file(assets, "index.html" if token is None else "locked.html"))
        app.router.add_get("/static/{version}/{name:.+}", _static(assets))
        app.router.add_get("/events", listeners.serve, allow_head=False)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", probes.health)
        app.router.add_get("/readyz", probes.readiness)
        if token is not None:
            app.router.add_get("/sign-in", _file(assets, "sign-in.html"))
            app.router.add_post("/sign-in", _sign_in(assets, token))
            app.router.add_post("/sign-out", _sign_out)
        return app

    async def _metrics(self, _: web.Request) -> web.Response:
        headers = {"Content-Type": CONTENT_TYPE_LATEST, "Cache-Control": "no-store"}
        return web.Response(body=self._sources.prometheus(), headers=headers)

    async def _listen(self, runner: web.AppRunner) -> str:
        host, port = self._options.host, self._options.port
        await runner.setup()
        try:
            await web.TCPSite(runner, host or None, port).start()
        except OSError as fault:
            why = "the port is taken" if fault.errno == errno.EADDRINUSE else fault.strerror
            raise ConfigurationError(
                f"The operator's page cannot listen on {host}, port {port}: {why}.",
                remedy="Choose another port or address for it, or stop what is in its place.",
            ) from fault
        return _url(host, runner.addresses[0][1])

    @asynccontextmanager
    async def _beating(self, listeners: Listeners, probes: Probes) -> AsyncIterator[None]:
        beat = asyncio.create_task(self._beat(listeners, probes))
        try:
            yield
        finally:
            beat.cancel()
            with suppress(asyncio.CancelledError):
                await beat

    async def _beat(self, listeners: Listeners, probes: Probes) -> None:
        is_failing = False
        while True:
            await self._sleep(REFRESH_SECONDS)
            try:
                probes.look()
                listeners.tell()
            except Exception:
                # The page may go blind, but must not end: the bot behind it runs.
                if not is_failing:
                    log.exception("The operator's page cannot be refreshed.")
                is_failing = True
            else:
                is_failing = False


def _url(host: str, port: int) -> str:
    try:
        address = ip_address(host or "0.0.0.0")  # noqa: S104 - what no host means
    except ValueError:
        return f"http://{host}:{port}/"
    if address.is_unspecified:
        return f"http://localhost:{port}/"
    return f"http://[{host}]:{port}/" if address.version == 6 else f"http://{host}:{port}/"


_Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _file(assets: Assets, name: str) -> _Answer:
    async def answer(request: web.Request) -> web.Response:
        return assets.files[name].response(request)

    return answer


def _static(assets: Assets) -> _Answer:
    async def answer(request: web.Request) -> web.Response:
        asset = assets.files.get(request.match_info["name"])
        if asset is None or request.match_info["version"] != assets.version:
            raise web.HTTPNotFound
        return asset.response(request, FOR_A_YEAR)

    return answer


def _sign_in(assets: Assets, token: Token) -> _Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        if not await compare(token, await _typed_token(request)):
            asset = assets.files["sign-in.html"]
            body = asset.body.replace(MESSAGE, WRONG_TOKEN)
            return web.Response(body=body, status=401, headers={"Content-Type": asset.content_type})
        response = web.HTTPSeeOther("/")
        response.set_cookie(
            COOKIE,
            token.cookie(),
            max_age=COOKIE_SECONDS,
            httponly=True,
            samesite="Strict",
            # Only a proxy knows; whoever else says so gets a cookie that is kept more carefully.
            secure=request.headers.get("X-Forwarded-Proto") == "https",
        )
        raise response

    return answer


async def _typed_token(request: web.Request) -> str:
    try:
        form = await request.post()
    except (ValueError, LookupError, AssertionError):  # strangers send anything, and may again
        raise web.HTTPBadRequest(text="This is no form.\n") from None
    return str(form.get("token", ""))


async def _sign_out(_: web.Request) -> web.StreamResponse:
    response = web.HTTPSeeOther("/sign-in")
    response.del_cookie(COOKIE, httponly=True, samesite="Strict")
    raise response
