"""Files that came with a message, fetched from Discord's own hosts and from nowhere else.

Whoever writes a message chooses the address of nothing, yet a redirect or a name server might lead
us into the owner's own network. So a host is resolved once, every address that it has must be
public, and the connection goes to exactly those; each redirect is checked anew.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Collection
from http import HTTPStatus

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from acore_bot.errors import FileUnreadable
from acore_bot.messages import Attachment

DISCORD_ORIGINS = frozenset({"https://cdn.discordapp.com", "https://media.discordapp.net"})
MAX_BYTES = 8 * 2**20
MAX_REDIRECTS = 3
TOTAL_SECONDS = 10.0
_PIECE_BYTES = 2**16
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_REDIRECTS = frozenset(
    {
        HTTPStatus.MOVED_PERMANENTLY,
        HTTPStatus.FOUND,
        HTTPStatus.SEE_OTHER,
        HTTPStatus.TEMPORARY_REDIRECT,
        HTTPStatus.PERMANENT_REDIRECT,
    }
)


def is_public(address: str) -> bool:
    """Whether an address is one of the open Internet. An IPv6 address that carries an IPv4 one is
    as public as that."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:  # a scope id, or no address at all
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = _carried(parsed)
        return is_public(str(inner)) if inner else parsed.is_global and not parsed.is_multicast
    return parsed.is_global and not parsed.is_multicast


def _carried(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)


class CheckedResolver(AbstractResolver):
    """Resolves a host and refuses it if one of its addresses may not be connected to."""

    def __init__(self, inner: AbstractResolver, may_connect: Callable[[str], bool]) -> None:
        self._inner = inner
        self._may_connect = may_connect

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return all addresses of a host. Raises `OSError`, also if one is not public."""
        found = await self._inner.resolve(host, port, family)
        if not found or not all(self._may_connect(result["host"]) for result in found):
            msg = f"{host} leads to an address that is not public"
            raise OSError(msg)
        return found

    async def close(self) -> None:
        """Let go of what resolves."""
        await self._inner.close()


class AttachmentFetcher:
    """Fetches files from `origins` (scheme, host and port).

    `may_connect` judges each address, `make_resolver` makes what finds them; both are for tests
    with servers of their own, as are `max_bytes` and `total_seconds`.
    """

    def __init__(
        self,
        *,
        origins: Collection[str] = DISCORD_ORIGINS,
        may_connect: Callable[[str], bool] = is_public,
        make_resolver: Callable[[], AbstractResolver] = ThreadedResolver,
        max_bytes: int = MAX_BYTES,
        total_seconds: float = TOTAL_SECONDS,
    ) -> None:
        self._origins = frozenset(origins)
        self._may_connect = may_connect
        self._make_resolver = make_resolver
        self._max_bytes = max_bytes
        self._total_seconds = total_seconds

    async def __call__(self, attachment: Attachment) -> bytes:
        """Return what a file holds. Raises `FileUnreadable`."""
        if attachment.size > self._max_bytes:
            raise self._too_large(attachment)
        try:
            async with asyncio.timeout(self._total_seconds), self._open_session() as session:
                return await self._follow(session, attachment)
        except TimeoutError:
            reason = f"it did not come within {self._total_seconds:g} s"
        except (aiohttp.ClientError, OSError, ValueError):
            # What exactly the network said may name addresses, and helps nobody in the chat.
            reason = "Discord's file server could not be reached"
        raise _unreadable(attachment, reason) from None

    def _open_session(self) -> aiohttp.ClientSession:
        resolver = CheckedResolver(self._make_resolver(), self._may_connect)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False),
            # A packed answer could be a thousand times as large as what was counted.
            headers={"Accept-Encoding": "identity"},
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )

    async def _follow(self, session: aiohttp.ClientSession, attachment: Attachment) -> bytes:
        url = URL(attachment.url)
        for _ in range(MAX_REDIRECTS + 1):
            self._check(url, attachment)
            async with session.get(url, allow_redirects=False) as response:
                if response.status in _REDIRECTS:
                    url = url.join(URL(response.headers.get("Location", "")))
                    continue
                if response.status != HTTPStatus.OK:
                    reason = f"Discord's file server answered {response.status}"
                    raise _unreadable(attachment, reason)
                return await self._read(response.content, attachment)
        raise _unreadable(attachment, "it was moved too often")

    def _check(self, url: URL, attachment: Attachment) -> None:
        is_plain = url.absolute and url.user is None and url.password is None
        # An address in place of a name would never be resolved, and so not be checked.
        if not is_plain or str(url.origin()) not in self._origins or _is_address(url.host):
            raise _unreadable(attachment, "it does not lie on Discord's file servers")

    async def _read(self, content: aiohttp.StreamReader, attachment: Attachment) -> bytes:
        received = bytearray()
        async for piece in content.iter_chunked(_PIECE_BYTES):
            received += piece
            if len(received) > self._max_bytes:
                raise self._too_large(attachment)
        return bytes(received)

    def _too_large(self, attachment: Attachment) -> FileUnreadable:
        return _unreadable(attachment, f"it is larger than {self._max_bytes / 2**20:g} MiB")


def _is_address(host: str | None) -> bool:
    try:
        ipaddress.ip_address(host or "")
    except ValueError:
        return False
    return True


def _unreadable(attachment: Attachment, reason: str) -> FileUnreadable:
    return FileUnreadable(f"The file {attachment.name!r} could not be fetched: {reason}.")
