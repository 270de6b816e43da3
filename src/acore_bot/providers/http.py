"""What all providers over HTTP share: the session, and how requests are sent."""

import asyncio
import base64
import re
import socket
from collections.abc import Mapping
from ipaddress import ip_address
from types import SimpleNamespace
from typing import TypeVar
from weakref import WeakSet

import msgspec
from aiohttp import (
    ClientError,
    ClientOSError,
    ClientResponse,
    ClientResponseError,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    ServerDisconnectedError,
    TCPConnector,
    TraceConfig,
)
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from acore_bot.errors import (
    BrokenStream,
    CloudForbidden,
    ConfigurationError,
    ModelError,
    TimedOut,
    Unavailable,
)
from acore_bot.messages import StreamLimits
from acore_bot.providers.border import Border
from acore_bot.providers.wire import MAX_BODY_BYTES

_T = TypeVar("_T")

_SIDE_CALL_SECONDS = 10.0
_MAX_COMPLAINT_BYTES = 64 * 1024

LOCAL_LIMITS = StreamLimits(first_byte_seconds=120.0)  # a local server queues and loads first


def is_loopback(host: str | None) -> bool:
    """Say whether a host's name or address means this machine."""
    if not host:
        return False
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class HttpClient:
    """One provider's session, made when first needed. Knows addresses and headers, no protocol.

    A name and password in `base_url` are sent as basic authorization and kept out of everything
    else. `local` says whether what is sent there stays with the owner; None takes it that this
    holds of this machine only. Neither redirects nor proxies of the environment lead elsewhere.
    Raises `ConfigurationError` for an address that is none.
    """

    def __init__(
        self,
        *,
        provider: str,
        base_url: str,
        headers: Mapping[str, str],
        limits: StreamLimits | None,
        local: bool | None = None,
    ) -> None:
        url = _parse_address(provider, base_url)
        self.local = is_loopback(url.host) if local is None else local
        self.limits = limits or (LOCAL_LIMITS if self.local else StreamLimits())
        self.base = url.with_user(None).with_query(None)
        self._query = url.query
        self._provider = provider
        self._headers = _with_basic_authorization(url, headers)
        self._secrets = tuple(
            secret
            for value in (*self._headers.values(), *url.query.values(), url.password or "")
            for secret in (value, *re.split(r"[\s;=,]+", value))
            if len(secret) >= 8  # shorter ones would black out plain words
        )
        self._session: ClientSession | None = None
        self._streams = WeakSet[ClientResponse]()

    def url(self, path: str) -> URL:
        """Return the address of a path below the base address, with its query."""
        url = self.base / path
        return url.with_query(self._query) if self._query else url

    def border(self, model: str) -> Border:
        """Return who makes the errors about a model."""
        return Border(self._provider, model, secrets=self._secrets)

    async def open_stream(
        self,
        url: URL,
        body: bytes,
        border: Border,
        deadline: float | None = None,
        *,
        local_only: bool,
    ) -> ClientResponse:
        """Send a POST and return its answer when the headers are there, whatever the status.

        Waits until the deadline at the latest, in the loop's seconds. The caller closes it. Raises
        `ModelError`, before any connection `CloudForbidden`.
        """
        until = asyncio.get_running_loop().time() + self.limits.first_byte_seconds
        try:
            async with asyncio.timeout_at(until if deadline is None else min(until, deadline)):
                response = await self._send("POST", url, body, border, local_only=local_only)
        except (TimeoutError, ClientError, OSError) as fault:
            raise _translated(fault, border) from fault
        self._streams.add(response)
        return response

    async def fetch(
        self,
        url: URL,
        shape: type[_T],
        border: Border,
        *,
        body: bytes | None = None,
        local_only: bool,
    ) -> _T:
        """Return the JSON that a GET, or with a body a POST, is answered with. Bounded in time
        and size. Raises `ModelError`, `BrokenStream` if it is not of that shape, `CloudForbidden`
        before any connection."""
        try:
            async with asyncio.timeout(_SIDE_CALL_SECONDS):
                method = "POST" if body is not None else "GET"
                response = await self._send(method, url, body, border, local_only=local_only)
                try:
                    content = await _read_bounded(response, border)
                finally:
                    response.close()
        except (TimeoutError, ClientError, OSError) as fault:
            raise _translated(fault, border) from fault
        try:
            return msgspec.json.decode(content, type=shape)
        except (ValueError, RecursionError) as fault:
            raise border.error(BrokenStream, f"not the JSON of {url.path}: {fault}") from fault

    async def aclose(self) -> None:
        """Close the connections. May be called more than once."""
        for response in list(self._streams):
            response.close()  # the session alone would leave their readers waiting
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _send(
        self, method: str, url: URL, body: bytes | None, border: Border, *, local_only: bool
    ) -> ClientResponse:
        # Whatever else has let the request pass, nothing is sent that does not come by here.
        if local_only and not self.local:
            raise border.error(CloudForbidden, "refused before connecting")
        connection = SimpleNamespace(reused=False)
        try:
            return await self._request(method, url, body, connection)
        except (ServerDisconnectedError, ClientOSError, ConnectionError):
            # A server may close an idle connection in the moment that we use it. It has not seen
            # the request then, so sending it again does nothing twice.
            if not connection.reused:
                raise
            return await self._request(method, url, body, connection)

    async def _request(
        self, method: str, url: URL, body: bytes | None, connection: SimpleNamespace
    ) -> ClientResponse:
        if self._session is None:
            self._session = self._make_session()
        return await self._session.request(
            method, url, data=body, allow_redirects=False, trace_request_ctx=connection
        )

    def _make_session(self) -> ClientSession:
        tracing = TraceConfig()
        tracing.on_connection_reuseconn.append(_note_reuse)
        return ClientSession(
            connector=TCPConnector(
                limit=0,
                # llama.cpp breaks connections that are used again, and frees its slot when they
                # close.
                force_close=self.local,
                resolver=_ThisMachine() if is_loopback(self.base.host) else None,
            ),
            cookie_jar=DummyCookieJar(),
            headers={
                "Content-Type": "application/json",
                "Accept-Encoding": "identity",  # compressed events arrive late
                "User-Agent": "acore-bot",
                **self._headers,
            },
            timeout=ClientTimeout(total=None, sock_connect=self.limits.connect_seconds),
            trace_configs=[tracing],
            trust_env=False,
        )


class _ThisMachine(AbstractResolver):
    """Knows where `localhost` is without asking anybody, who might say something else. Addresses
    are not looked up."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of this machine, the one first that most servers listen on."""
        del family  # whoever connects tries both
        return [
            ResolveResult(hostname=host, host=own, port=port, family=kind, proto=0, flags=0)
            for own, kind in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6))
        ]

    async def close(self) -> None:
        """Do nothing: it holds nothing."""


async def read_complaint(response: ClientResponse) -> bytes:
    """Read the body of an answer that is no answer, as much as is worth reading."""
    try:
        async with asyncio.timeout(_SIDE_CALL_SECONDS):
            return await _read_up_to(response, _MAX_COMPLAINT_BYTES)
    except (TimeoutError, ClientError, OSError):
        return b""  # the status says enough
    finally:
        response.close()


async def _read_bounded(response: ClientResponse, border: Border) -> bytes:
    if response.status != 200:
        complaint = await _read_up_to(response, _MAX_COMPLAINT_BYTES)
        raise border.refusal(response.status, response.headers, complaint)
    content = await _read_up_to(response, MAX_BODY_BYTES + 1)
    if len(content) > MAX_BODY_BYTES:
        raise border.error(BrokenStream, f"the body is longer than {MAX_BODY_BYTES} bytes")
    return content


async def _read_up_to(response: ClientResponse, max_bytes: int) -> bytes:
    content = bytearray()
    while len(content) < max_bytes and (data := await response.content.readany()):
        content += data
    return bytes(content[:max_bytes])


def _translated(fault: TimeoutError | ClientError | OSError, border: Border) -> ModelError:
    # Only the class is told: the texts of some hold the address with all that is in it.
    detail = type(fault).__name__
    if isinstance(fault, TimeoutError):
        return border.error(TimedOut, detail)
    if isinstance(fault, ClientResponseError):  # what came is no HTTP
        return border.error(BrokenStream, detail)
    return border.error(Unavailable, detail, remedy="Check that its server runs.")


def _parse_address(provider: str, base_url: str) -> URL:
    try:
        url = URL(base_url)
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        # The address itself is not told, since it may hold a password.
        raise ConfigurationError(
            f"The base_url of the provider {provider!r} is no http address.",
            remedy="Write it like http://127.0.0.1:8080/v1.",
        )
    return url.with_path(url.raw_path.rstrip("/"), encoded=True, keep_query=True)


def _with_basic_authorization(url: URL, headers: Mapping[str, str]) -> dict[str, str]:
    if url.user is None or "Authorization" in headers:
        return dict(headers)
    pair = f"{url.user}:{url.password or ''}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode()}", **headers}


async def _note_reuse(_session: ClientSession, context: SimpleNamespace, _params: object) -> None:
    context.trace_request_ctx.reused = True
