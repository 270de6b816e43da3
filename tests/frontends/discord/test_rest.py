"""What our REST client does otherwise than discord.py's own."""

import asyncio
import logging
from types import SimpleNamespace
from typing import Any, cast

import discord
import pytest
from discord.http import Route
from tests.fakes.desk import Desk, opened
from tests.fakes.discord.faults import Fail, TimeOut, TooMany

from acore_bot.errors import TargetGone
from acore_bot.frontends.discord.rest import RestClient, kind_of, told
from acore_bot.telemetry.events import RateLimited


async def _garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 OK\r\nnonsense\r\n\r\n")
    await writer.drain()
    writer.close()


async def test_s10_no_log_tells_the_token(caplog: pytest.LogCaptureFixture) -> None:
    """When a server answers garbage, whose error holds all that was sent, nothing of it is told."""
    async with opened() as desk, await asyncio.start_server(_garbage, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert isinstance(desk.client.http, RestClient)
        desk.client.http.api_url = f"http://127.0.0.1:{port}/api/v10"
        with caplog.at_level(logging.DEBUG):
            with pytest.raises(TargetGone):
                await desk.send("hi")
            await desk.outbox.show_typing(desk.channel.id)
        assert "ClientResponseError" in caplog.text
        assert desk.fake.token not in caplog.text


def test_refusals_are_told_by_their_numbers() -> None:
    """Of Discord's no, the status and its own code are said."""
    response = SimpleNamespace(status=403, reason="Forbidden")
    error = discord.Forbidden(cast("Any", response), {"code": 50013, "message": "x"})
    assert told(error) == "Forbidden 403 (code 50013)"
    assert told(ValueError("secret")) == "ValueError"


async def test_a_route_may_be_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere than at Discord, too: the route stays what it was."""
    async with opened() as desk:
        monkeypatch.setattr(Route, "BASE", "https://discord.invalid/api/v10")
        route = Route("GET", "/users/@me")
        for _ in range(2):
            assert await desk.client.http.request(route)
        assert route.url == "https://discord.invalid/api/v10/users/@me"


async def test_a_limit_is_told_of_without_ids_and_tokens() -> None:
    """That Discord wants us to wait is an event with the kind of request, and for how long."""
    async with opened() as desk:
        desk.fake.fault("create_message", [TooMany(0.25)])
        await desk.send("hi")
        (told,) = desk.events
    assert told == RateLimited("POST api/…/channels/…/messages", 1.0)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (
            "/api/v10/webhooks/12/aW_f8-x/messages/@original",
            "api/…/webhooks/…/…/messages/@original",
        ),
        ("/interactions/123456/aW5-0x/callback", "interactions/…/…/callback"),
        ("/users/@me", "users/@me"),
    ],
)
def test_s16_a_kind_of_request_names_nothing_secret(path: str, kind: str) -> None:
    """Of a path, only plain words are told: neither ids nor tokens."""
    assert kind_of(path) == kind


@pytest.mark.parametrize("fault", [Fail(500), Fail(502), TimeOut()])
async def test_a_post_by_a_token_is_not_repeated_beneath_us(fault: Fail | TimeOut) -> None:
    """It has no nonce, so a second one could be a second message."""
    async with opened() as desk:
        desk.fake.fault("follow_up", lambda _: fault)
        with pytest.raises(discord.DiscordServerError):
            await desk.client.http.request(Route("POST", "/webhooks/1/token"), json={})
        assert len(desk.fake.requests_to("follow_up")) == 1


async def test_a_post_by_a_token_is_paced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The outbox counted it when it let it in; what nobody let in is counted here."""
    noted: list[Desk] = []
    async with opened() as desk:
        monkeypatch.setattr(desk.pace, "note", lambda: noted.append(desk))
        with pytest.raises(discord.NotFound):
            await desk.client.http.request(Route("POST", "/webhooks/1/token"), json={})
        assert noted == []
        await desk.client.http.request(Route("GET", "/users/@me"))
        assert noted == [desk]


async def test_the_first_word_to_an_interaction_uses_up_no_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Discord does not count it, so however many people use commands, answers go out."""
    noted: list[Desk] = []
    async with opened() as desk:
        monkeypatch.setattr(desk.pace, "note", lambda: noted.append(desk))
        with pytest.raises(discord.NotFound):
            await desk.client.http.request(Route("POST", "/interactions/1/token/callback"), json={})
        assert noted == []
