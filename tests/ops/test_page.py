"""What the operator's page answers, to whom, and what it refuses."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientResponse, ClientSession, DummyCookieJar
from tests.fakes.clock import SettableClock
from tests.fakes.operator import PROMETHEUS, TOKEN, OperatorFigures, busy

from acore_bot.errors import ConfigurationError
from acore_bot.ops.page import OperatorPage, PageOptions
from acore_bot.telemetry.figures import ShardState

DATA = ("/", "/events", "/metrics")
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PROXIED = PageOptions(port=0, names=("Bot.Example",))
LOCKED = PageOptions(port=0, token=TOKEN)


@asynccontextmanager
async def opened(
    options: PageOptions | None = None,
    figures: OperatorFigures | None = None,
    clock: Callable[[], float] | None = None,
) -> AsyncIterator[tuple[OperatorPage, ClientSession]]:
    """Serve the page, and bring a client that keeps no cookies."""
    sources = (figures or OperatorFigures()).sources()
    options = options or PageOptions(port=0)
    page = OperatorPage(sources, options, clock=clock) if clock else OperatorPage(sources, options)
    async with page, ClientSession(page.url, cookie_jar=DummyCookieJar()) as client:
        yield page, client


async def status(
    client: ClientSession, path: str, headers: Mapping[str, str] | None = None, method: str = "GET"
) -> int:
    """Ask, and tell the status of the answer."""
    async with client.request(method, path, headers=headers, allow_redirects=False) as answer:
        return answer.status


async def static_paths(client: ClientSession) -> list[str]:
    """List the files that the page itself wants."""
    async with client.get("/", headers=BEARER) as answer:
        return re.findall(r'(?:href|src)="(/static/[^"]+)"', await answer.text())


def test_s24_the_page_listens_on_this_machine_unless_told_otherwise() -> None:
    """By default nobody else reaches it."""
    assert PageOptions().host == "127.0.0.1"


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::", "192.0.2.1", "bot.example"])
def test_s24_beyond_this_machine_a_token_is_needed(host: str) -> None:
    """Without a token the page is not even made, and the sentence says what to do."""
    with pytest.raises(ConfigurationError, match=r"token of at least 16 characters"):
        OperatorPage(OperatorFigures().sources(), PageOptions(host=host))


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_s24_a_short_token_is_refused(host: str) -> None:
    """One that could be guessed is none, and is not repeated in the complaint."""
    with pytest.raises(ConfigurationError) as caught:
        OperatorPage(OperatorFigures().sources(), PageOptions(host=host, token="0123456789abcde"))
    assert "15 characters" in str(caught.value)
    assert "0123456789abcde" not in str(caught.value)


async def test_s24_with_a_token_all_addresses_may_be_used() -> None:
    """The page then listens everywhere, and its own address is one that can be opened."""
    async with opened(PageOptions(host="0.0.0.0", port=0, token=TOKEN)) as (page, client):
        assert page.url.startswith("http://localhost:")
        assert await status(client, "/metrics") == 401
        assert await status(client, "/metrics", BEARER) == 200


async def test_s24_everything_that_tells_figures_needs_the_token() -> None:
    """Strangers get nothing of the page, its files or its figures; supervisors get their answer."""
    async with opened(LOCKED) as (_, client):
        for path in (*DATA[1:], "/nothing", "/static/x/page.js"):
            assert await status(client, path) == 401, path
        assert await status(client, "/") == 303
        assert [await status(client, path) for path in ("/healthz", "/readyz")] == [200, 200]
        assert [await status(client, path, BEARER) for path in DATA] == [200, 200, 200]
        scripts = [path for path in await static_paths(client) if path.endswith(".js")]
        assert [await status(client, path) for path in scripts] == [401] * 4
        assert [await status(client, path, BEARER) for path in scripts] == [200] * 4


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer é"],
)
async def test_s24_what_is_not_the_token_opens_nothing(header: str) -> None:
    """Neither a part, nor more than it, nor another scheme."""
    async with opened(LOCKED) as (_, client):
        assert await status(client, "/metrics", {"Authorization": header}) == 401


async def test_s24_a_token_in_the_address_opens_nothing() -> None:
    """Addresses stand in histories and logs, so they are no place for it."""
    async with opened(LOCKED) as (_, client):
        assert await status(client, f"/metrics?token={TOKEN}") == 401


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", 200),
        ("LOCALHOST:8642", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8642", 200),
        ("bot.example", 200),
        ("BOT.example:443", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example:8642", 421),
        ("192.0.2.1", 421),
        ("", 421),
    ],
)
async def test_s24_the_host_header_is_checked(host: str, expected: int) -> None:
    """A name that is not ours is refused everywhere: somebody may have pointed it at us."""
    async with opened(PROXIED) as (_, client):
        for path in (*DATA, "/healthz", "/readyz"):
            assert await status(client, path, {"Host": host}) == expected, path


async def test_s24_a_request_without_a_host_is_refused() -> None:
    """HTTP/1.0 may leave it out; the page does not guess."""
    async with opened() as (page, _):
        port = int(page.url.rsplit(":", 1)[1].strip("/"))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert b" 421 " in await reader.readline()
        writer.close()
        await writer.wait_closed()


async def test_s24_no_other_site_may_read_or_ask() -> None:
    """There is no CORS, whoever asks; and browsers that say they ask for another site are refused,
    except when a person follows a link."""
    async with opened() as (_, client):
        for path in (*DATA, "/healthz"):
            async with client.get(path, headers={"Origin": "https://evil.example"}) as answer:
                assert not [name for name in answer.headers if name.startswith("Access-Control")]
        foreign = {"Sec-Fetch-Site": "cross-site"}
        link = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        assert await status(client, "/events", foreign) == 403
        assert await status(client, "/", foreign | link) == 200
        assert await status(client, "/events", foreign | link) == 403
        assert await status(client, "/", foreign | link | {"Sec-Fetch-Dest": "iframe"}) == 403
        assert await status(client, "/events", {"Sec-Fetch-Site": "same-origin"}) == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_s24_nothing_can_be_changed(method: str) -> None:
    """The page is for looking; only the token may be sent to it."""
    async with opened() as (_, client):
        for path in (*DATA, "/healthz", "/readyz"):
            assert await status(client, path, method=method) == 405, path


async def test_head_tells_what_get_would() -> None:
    """HEAD works for what has an end."""
    async with opened() as (_, client):
        for path in ("/", "/metrics", "/healthz", "/readyz"):
            async with client.head(path) as answer:
                assert (answer.status, await answer.read()) == (200, b"")


async def test_s24_browsers_are_told_to_be_careful() -> None:
    """Every answer, good or bad, forbids what the page does not need, and no data is stored."""
    async with opened(LOCKED) as (_, client):
        for path in (*DATA, "/healthz", "/sign-in", "/nothing"):
            for headers in ({}, BEARER):
                async with client.get(path, headers=headers, allow_redirects=False) as answer:
                    _check_careful(answer)


def _check_careful(answer: ClientResponse) -> None:
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "aiohttp" not in answer.headers["Server"]


async def test_signing_in_changes_the_token_into_a_cookie() -> None:
    """The cookie opens the page, is out of reach of scripts and other sites, and is not the
    token."""
    async with opened(LOCKED) as (_, client):
        async with client.post("/sign-in", data={"token": TOKEN}, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, "/")
            cookie = answer.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert TOKEN not in cookie
        assert await status(client, "/metrics", {"Cookie": cookie.partition(";")[0]}) == 200


async def test_behind_a_proxy_that_encrypts_the_cookie_is_never_sent_in_the_clear() -> None:
    """What the proxy says of its side decides."""
    form, cookies = {"token": TOKEN}, list[str]()
    async with opened(LOCKED) as (_, client):
        for scheme in ("https", "http"):
            told = {"X-Forwarded-Proto": scheme}
            async with client.post(
                "/sign-in", data=form, headers=told, allow_redirects=False
            ) as answer:
                cookies.append(answer.headers["Set-Cookie"])
    assert ["Secure" in cookie for cookie in cookies] == [True, False]


async def test_signing_out_takes_the_cookie_away() -> None:
    """It needs to be signed in, cannot be done by another site, and leads back to the form."""
    async with opened(LOCKED) as (_, client):
        async with client.post("/sign-out", headers=BEARER, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, "/sign-in")
            assert answer.cookies["acore_operator"].value == ""
            assert answer.cookies["acore_operator"]["max-age"] == "0"
        foreign = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        assert await status(client, "/sign-out", BEARER | foreign, "POST") == 403
        assert await status(client, "/sign-out", method="POST") == 401
    async with opened() as (_, client):
        assert await status(client, "/sign-out", method="POST") == 404


async def test_a_wrong_token_is_told_and_not_repeated() -> None:
    """The form comes back with a sentence, and without what was typed."""
    async with opened(LOCKED) as (_, client):
        async with client.post("/sign-in", data={"token": "<b>wrong</b>"}) as answer:
            text = await answer.text()
        assert answer.status == 401
        assert "Set-Cookie" not in answer.headers
        assert "That is not the token." in text
        assert "<b>" not in text


async def test_another_site_cannot_try_tokens_through_a_browser() -> None:
    """A form on another site is refused before its token is looked at."""
    async with opened(LOCKED) as (_, client):
        foreign = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        async with client.post("/sign-in", data={"token": TOKEN}, headers=foreign) as answer:
            assert answer.status == 403


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        ("application/x-www-form-urlencoded; charset=nothing", b"token=x", 400),
        ("application/x-www-form-urlencoded", b"token=%ED%A0%80", 401),
        ("application/x-www-form-urlencoded", b"token=\xff", 400),
        ("multipart/form-data", b"--x", 400),
        ("multipart/form-data; boundary=x", b"--y\r\nbad", 400),
    ],
)
async def test_what_is_no_form_fills_no_log(
    caplog: pytest.LogCaptureFixture, kind: str, body: bytes, expected: int
) -> None:
    """Strangers may send anything to the form; they are refused, and nothing is said of it."""
    headers = {"Content-Type": kind}
    async with (
        opened(LOCKED) as (_, client),
        client.post("/sign-in", data=body, headers=headers) as answer,
    ):
        assert answer.status == expected
    assert not caplog.records


async def test_a_large_form_is_not_read() -> None:
    """More than a token needs is refused."""
    form = {"token": "x" * 100_000}
    async with opened(LOCKED) as (_, client), client.post("/sign-in", data=form) as answer:
        assert answer.status == 413


async def test_without_a_token_there_is_nothing_to_sign_in_to() -> None:
    """The form exists only where it is needed."""
    async with opened() as (_, client):
        assert await status(client, "/sign-in") == 404


async def test_the_token_is_in_no_log_and_no_repr(caplog: pytest.LogCaptureFixture) -> None:
    """Neither right nor wrong tries leave a trace of it."""
    caplog.set_level("DEBUG")
    async with opened(LOCKED) as (page, client):
        for given in (TOKEN, f"{TOKEN}!"):
            await status(client, "/metrics", {"Authorization": f"Bearer {given}"})
        assert TOKEN not in f"{caplog.text}{LOCKED!r}{LOCKED}{page!r}"


async def test_a_taken_port_is_a_clear_complaint() -> None:
    """It names the place and the remedy, and leaves nothing behind."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        page = OperatorPage(OperatorFigures().sources(), PageOptions(port=port))
        with pytest.raises(ConfigurationError, match=f"port {port}: the port is taken") as caught:
            async with page:
                pytest.fail("It cannot listen there.")
    assert "Choose another port" in caught.value.remedy


async def test_an_address_of_another_machine_is_a_clear_complaint() -> None:
    """So is one on which this machine cannot listen."""
    options = PageOptions(host="192.0.2.1", port=0, token=TOKEN)
    with pytest.raises(ConfigurationError, match=r"cannot listen on 192\.0\.2\.1"):
        async with OperatorPage(OperatorFigures().sources(), options):
            pytest.fail("It cannot listen there.")


async def test_metrics_are_what_prometheus_reads() -> None:
    """The text is handed on as it is, with the type that Prometheus expects."""
    async with opened() as (_, client), client.get("/metrics") as answer:
        assert await answer.read() == PROMETHEUS
        assert answer.headers["Content-Type"].startswith("text/plain; version=")


async def test_files_may_be_kept_for_ever_since_their_address_changes_with_them() -> None:
    """The page names each with a digest; under another digest there is nothing."""
    async with opened() as (_, client):
        paths = await static_paths(client)
        assert len(paths) == 8
        for path in paths:
            async with client.get(path) as answer:
                assert answer.status == 200
                assert "immutable" in answer.headers["Cache-Control"]
            assert await status(client, re.sub(r"/static/\w+/", "/static/0/", path)) == 404


@pytest.mark.parametrize("name", ["../options.py", "%2e%2e/options.py", "vendor/LICENSE", "x.js"])
async def test_no_other_file_is_served(name: str) -> None:
    """What is not one of the page's files is not found, however it is written."""
    async with opened() as (_, client):
        folder = (await static_paths(client))[0].rsplit("/", 1)[0]
        assert await status(client, f"{folder}/{name}") == 404


async def test_no_script_or_style_stands_in_the_page() -> None:
    """The policy forbids it, so that nothing which slips in could run."""
    async with opened(LOCKED) as (_, client):
        for path in ("/", "/sign-in"):
            async with client.get(path, headers=BEARER) as answer:
                text = await answer.text()
            assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text)


async def test_health_waits_two_minutes_for_a_shard() -> None:
    """A short loss is normal; a long one is not, and the answer names the shard and no figure."""
    figures, clock = busy(), SettableClock()
    async with opened(figures=figures, clock=clock) as (_, client):
        assert await status(client, "/healthz") == 200
        clock.advance(120)
        assert await status(client, "/healthz") == 200
        clock.advance(1)
        async with client.get("/healthz") as answer:
            assert answer.status == 503
            assert await answer.json() == {
                "healthy": False,
                "reasons": ["Shard 1 has not been connected for over 120 seconds."],
            }
        figures.now = OperatorFigures().now
        assert await status(client, "/healthz") == 200


async def test_a_shard_that_came_back_starts_anew() -> None:
    """Two short losses are not one long one."""
    figures, clock = busy(), SettableClock()
    away = figures.now
    async with opened(figures=figures, clock=clock) as (_, client):
        await status(client, "/healthz")
        clock.advance(100)
        figures.now = OperatorFigures().now
        await status(client, "/healthz")
        figures.now = away
        clock.advance(100)
        assert await status(client, "/healthz") == 200


@pytest.mark.parametrize(
    ("is_connected", "is_model_reachable", "expected"),
    [
        (True, True, 200),
        (True, None, 200),
        (True, False, 503),
        (False, True, 503),
    ],
)
async def test_ready_means_that_a_message_would_be_heard_and_answered(
    is_connected: bool, is_model_reachable: bool | None, expected: int
) -> None:
    """All shards are connected, and no model is known to be out of reach."""
    figures = OperatorFigures()
    figures.set_now(
        shards=(ShardState(shard=0, is_connected=is_connected),),
        is_model_reachable=is_model_reachable,
    )
    async with opened(figures=figures) as (_, client):
        assert await status(client, "/readyz") == expected
        assert await status(client, "/healthz") == 200
