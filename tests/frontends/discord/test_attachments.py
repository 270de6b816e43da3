"""Files come from Discord's own hosts only, whatever addresses, redirects and names say."""

import asyncio
import socket
from asyncio.selector_events import BaseSelectorEventLoop
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st

from acore_bot.errors import FileUnreadable
from acore_bot.frontends.discord.attachments import AttachmentFetcher, is_public
from acore_bot.messages import Attachment

Handle: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

CDN = "https://cdn.discordapp.com"
HOSTS_THAT_ARE_NOT_DISCORD = (
    "127.1", "0x7f000001", "2130706433", "0177.0.0.1", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]", "169.254.169.254", "[fd00::1]", "[fe80::1]", "100.64.0.1", "0.0.0.0", "[::]",
    "224.0.0.1", "255.255.255.255", "10.0.0.1", "172.16.0.1", "192.168.1.1", "localhost",
    "localhost.", "metadata.google.internal", "cdn.discordapp.com.", "cdn.discordapp.com.evil.test",
    "evil.test", "xcdn.discordapp.com", "discordapp.com", "cdn.discordapp.com.localhost",
    "cdn.discordapp.net", "\uff11\uff12\uff17.\uff10.\uff10.\uff11", "127。0。0。1",
    "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
)  # fmt: skip
OTHER_URLS = (
    "http://cdn.discordapp.com/a", "ftp://cdn.discordapp.com/a", "file:///etc/passwd",
    "gopher://cdn.discordapp.com/a", "javascript:alert(1)", "data:text/plain,a", "//evil.test/a",
    "/etc/passwd", "", "https://", "https:///a", "https://user@cdn.discordapp.com/a",
    "https://user:pw@cdn.discordapp.com/a", "https://:pw@cdn.discordapp.com/a",
    "https://cdn.discordapp.com@127.0.0.1/a",
    "https://cdn.discordapp.com:22/a", "https://cdn.discordapp.com:80/a",
    "https://cdn.discordapp.com:8443/a", "https://cdn.discordapp.com:99999/a",
    "https://cdn.discordapp.com\\@127.0.0.1/a", "https://cdn.discordapp.com%2e@evil.test/a",
    "https://127.0.0.1#@cdn.discordapp.com/a", "https://127.0.0.1?@cdn.discordapp.com/a",
    "ws://cdn.discordapp.com/a", "https://[::1/a", "https://cdn.discordapp.com\u200b/a",
    "unix:/var/run/docker.sock", "https://media.discordapp.net.:443/a",
)  # fmt: skip
CATALOGUE = (*(f"https://{host}/a" for host in HOSTS_THAT_ARE_NOT_DISCORD), *OTHER_URLS)


def attachment(url: str, *, size: int = 5, name: str = "notes.txt") -> Attachment:
    """Make an attachment that lies somewhere."""
    return Attachment(id=1, name=name, media_type="text/plain", size=size, url=url)


class Names(AbstractResolver):
    """Answers as told, and counts how often it was asked; each time the next of its answers."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = [*answers]
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Give the next answer, the last one for ever."""
        self.asked.append(host)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in answer
        ]

    async def close(self) -> None:
        """Hold nothing."""


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """All addresses that the loop was asked to connect to; none of them is reached."""
    attempts: list[object] = []

    async def record(_: object, sock: socket.socket, address: object) -> None:
        attempts.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(BaseSelectorEventLoop, "sock_connect", record)
    return attempts


@asynccontextmanager
async def serving(routes: Mapping[str, Handle]) -> AsyncIterator[int]:
    """Serve some paths on loopback; the value is the port."""
    application = web.Application()
    for path, handle in routes.items():
        application.router.add_get(path, handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def fetcher(port: int, *, max_bytes: int = 100, seconds: float = 10.0) -> AttachmentFetcher:
    """Make a fetcher whose only origin is a server of ours."""
    return AttachmentFetcher(
        origins=[f"http://cdn.test:{port}"],
        may_connect=lambda address: address == "127.0.0.1",
        make_resolver=lambda: Names(["127.0.0.1"]),
        max_bytes=max_bytes,
        total_seconds=seconds,
    )


def answering(body: bytes, status: int = 200, headers: Mapping[str, str] = {}) -> Handle:
    """Answer every request alike."""

    async def handle(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status, headers=headers)

    return handle


def redirecting(target: str, status: int = 302) -> Handle:
    """Send every request elsewhere."""
    return answering(b"", status, {"Location": target})


async def test_a_file_is_fetched() -> None:
    """What the file server has is what is returned."""
    async with serving({"/a": answering(b"hello")}) as port:
        assert await fetcher(port)(attachment(f"http://cdn.test:{port}/a?ex=1")) == b"hello"


@pytest.mark.parametrize("url", CATALOGUE)
async def test_s20_nothing_but_discords_hosts_is_asked(url: str, connections: list[object]) -> None:
    """None of the addresses is even looked up, and no connection is tried."""
    names = Names(["8.8.8.8"])
    fetch = AttachmentFetcher(make_resolver=lambda: names)
    with pytest.raises(FileUnreadable, match=r"notes\.txt"):
        await fetch(attachment(url))
    assert names.asked == []
    assert connections == []


def test_s20_the_catalogue_is_long_enough() -> None:
    """Sixty addresses, no two alike."""
    assert len(set(CATALOGUE)) >= 60


@pytest.mark.parametrize(
    "answer",
    [
        ["127.0.0.1"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["10.1.2.3"],
        ["100.64.0.1"],
        ["169.254.169.254"],
        ["fd00::1"],
        ["0.0.0.0"],
        ["224.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["2002:7f00:1::"],
        ["8.8.8.8", "127.0.0.1"],
        ["2606:4700::1", "fe80::1%eth0"],
        [],
    ],
)
async def test_s20_a_name_that_leads_inside_is_refused(
    answer: list[str], connections: list[object]
) -> None:
    """One address that is not public is enough, also beside public ones."""
    fetch = AttachmentFetcher(make_resolver=lambda: Names(answer))
    with pytest.raises(FileUnreadable):
        await fetch(attachment(f"{CDN}/a"))
    assert connections == []


async def test_s20_a_name_is_resolved_once_and_that_address_is_used(
    connections: list[object],
) -> None:
    """A name that answers public first and private second is connected to as it answered first."""
    names = Names(["8.8.8.8"], ["127.0.0.1"])
    fetch = AttachmentFetcher(make_resolver=lambda: names)
    with pytest.raises(FileUnreadable):
        await fetch(attachment(f"{CDN}/a"))
    assert names.asked == ["cdn.discordapp.com"]
    assert connections == [("8.8.8.8", 443)]


async def test_s20_proxies_of_the_environment_are_ignored(
    connections: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that somebody set for other programs gets to see nothing."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:3128")
    with pytest.raises(FileUnreadable):
        await AttachmentFetcher(make_resolver=lambda: Names(["8.8.8.8"]))(attachment(f"{CDN}/a"))
    assert connections == [("8.8.8.8", 443)]


@pytest.mark.parametrize("target", ["http://127.0.0.1/b", "http://localhost/b", "//evil.test/b"])
async def test_s20_a_redirect_is_checked_anew(target: str) -> None:
    """Wherever the file server sends us, only its own hosts are followed to."""
    async with serving({"/a": redirecting(target), "/b": answering(b"secret")}) as port:
        with pytest.raises(FileUnreadable, match="does not lie on"):
            await fetcher(port)(attachment(f"http://cdn.test:{port}/a"))


@pytest.mark.parametrize(("hops", "arrives"), [(1, True), (3, True), (4, False), (6, False)])
async def test_s20_redirects_are_few(hops: int, arrives: bool) -> None:
    """Three are followed, a fourth is not."""
    routes = {f"/{hop}": redirecting(f"/{hop + 1}", 307) for hop in range(hops)}
    async with serving({**routes, f"/{hops}": answering(b"here")}) as port:
        fetched = fetcher(port)(attachment(f"http://cdn.test:{port}/0"))
        if arrives:
            assert await fetched == b"here"
        else:
            with pytest.raises(FileUnreadable, match="moved too often"):
                await fetched


async def test_a_file_that_says_it_is_too_large_is_not_asked_for(
    connections: list[object],
) -> None:
    """What Discord says of its size is believed if it is too much."""
    with pytest.raises(FileUnreadable, match="larger than 8 MiB"):
        await AttachmentFetcher()(attachment(f"{CDN}/a", size=8 * 2**20 + 1))
    assert connections == []


async def test_a_file_that_is_larger_than_it_says_is_cut_off() -> None:
    """Bytes are counted as they come, and no more are taken than allowed."""

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 1000)

    async with serving({"/a": endless}) as port:
        with pytest.raises(FileUnreadable, match=r"notes\.txt.*larger"):
            await fetcher(port)(attachment(f"http://cdn.test:{port}/a"))


async def test_a_packed_answer_is_not_unpacked() -> None:
    """Nobody asked for packed bytes, so they are taken as they are: no bomb goes off."""
    handle = answering(b"\x1f\x8b not really", headers={"Content-Encoding": "gzip"})
    async with serving({"/a": handle}) as port:
        fetched = await fetcher(port)(attachment(f"http://cdn.test:{port}/a"))
    assert fetched == b"\x1f\x8b not really"


async def test_a_server_that_dawdles_is_left() -> None:
    """The whole of it has a time limit, and the sentence says so."""
    gone = asyncio.Event()

    async def dawdle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await gone.wait()
        return response

    async with serving({"/a": dawdle}) as port:
        with pytest.raises(FileUnreadable, match=r"did not come within 0\.05 s"):
            await fetcher(port, seconds=0.05)(attachment(f"http://cdn.test:{port}/a"))
        gone.set()


@pytest.mark.parametrize("status", [403, 404, 500])
async def test_a_file_that_is_gone(status: int) -> None:
    """Links to files expire: the status says what it was."""
    async with serving({"/a": answering(b"no", status)}) as port:
        with pytest.raises(FileUnreadable, match=rf"'notes\.txt'.*answered {status}"):
            await fetcher(port)(attachment(f"http://cdn.test:{port}/a"))


@given(st.ip_addresses())
def test_only_addresses_of_the_open_internet_are_public(address: object) -> None:
    """Nothing that the registry keeps for special use passes, whatever it is wrapped in."""
    text = str(address)
    assert is_public(text) == is_public(f"::ffff:{text}") or ":" in text
    if is_public(text):
        assert not text.startswith(("10.", "127.", "192.168.", "169.254.", "fe80", "fd", "fc"))


@pytest.mark.parametrize("address", ["8.8.8.8", "162.159.135.233", "2606:4700::6810:1"])
def test_public_addresses_are_public(address: str) -> None:
    """Discord's own file servers are reached."""
    assert is_public(address)
