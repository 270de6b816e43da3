"""What is local-only stays: whatever is asked, and whatever goes wrong, no connection leaves."""

import asyncio
import ipaddress
import random
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.fakes.clock import SettableClock
from tests.fakes.model_server import (
    CHAT,
    OLLAMA_CHAT,
    ModelServer,
    openai_error,
    reply_json,
    stream_head,
)

from acore_bot import config, plugins
from acore_bot.app.towers import open_model
from acore_bot.errors import CloudForbidden, ModelError, Unavailable
from acore_bot.llm.failover import Failover, FailoverOptions
from acore_bot.llm.route import RoutedModel
from acore_bot.messages import ChatMessage, ChatRequest, End, Image, ModelInfo, Piece
from acore_bot.providers.scripted import Scripted

LUNAR_HOST = "api.lunar.example"
# With every kind of provider that computes elsewhere, one there is configured, and two here.
SETTINGS = """
[providers.openrouter]
api_key = "sk-or-1"
[providers.openai]
api_key = "sk-1"
[providers.other]
kind = "openai"
base_url = "https://api.other.example/v1"
context_tokens = 1000000
vision = true
[providers.ollama]
base_url = "http://192.168.1.5:11434"
[providers.lunar]
kind = "lunar"
[providers.near]
kind = "openai"
base_url = "http://localhost:{port}/v1"
[providers.pond]
kind = "ollama"
base_url = "http://127.0.0.1:{port}"
"""
CLOUDS = ("openrouter/tiny", "openai/tiny", "other/tiny", "ollama/tiny", "lunar/tiny")
ELSEWHERE = {"openrouter.ai", "api.openai.com", "api.other.example", "192.168.1.5", LUNAR_HOST}
MODELS = (*CLOUDS, "near/tiny", "pond/tiny", "near/unknown")
TOO_LONG = openai_error(400, "too long", "context_length_exceeded", n_prompt_tokens=9, n_ctx=8)
TROUBLES = (
    (reply_json({"error": "down"}, status=500),),
    (TOO_LONG,),
    (openai_error(401, "no", "invalid_api_key"),),
    (stream_head("text/event-stream"), "close"),
    ("reset",),
)


class Lunar(Scripted):
    """A plug-in that knows nothing of places which are kept from clouds, and asks its own."""

    def __init__(self, *, name: str) -> None:
        super().__init__(name=name)

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[Piece]]:
        """Ask the cloud."""
        await self._connect()
        async with super().stream(request) as pieces:
            yield pieces

    async def describe(self, model: str, *, local_only: bool = False) -> ModelInfo:
        """Ask the cloud."""
        await self._connect()
        return ModelInfo(context_tokens=1_000_000)

    async def list_models(self) -> tuple[str, ...]:
        """Ask the cloud."""
        await self._connect()
        return ("tiny",)

    async def _connect(self) -> None:
        try:
            await asyncio.open_connection(LUNAR_HOST, 443)
        except OSError as fault:
            raise Unavailable(provider="lunar") from fault


@pytest.fixture
def leaving(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Return the hosts off this machine that anybody wanted to reach or to look up, in vain.

    Asyncio's own `sock_connect` and `getaddrinfo` come by here as well.
    """
    hosts: set[str] = set()

    def hook(place: object, name: str, host_of: Callable[..., object]) -> None:
        let_through = getattr(place, name)

        def hooked(*args: object, **kwargs: object) -> object:
            host = host_of(*args)
            if host is None or _is_here(str(host)):
                return let_through(*args, **kwargs)
            hosts.add(str(host))
            raise socket.gaierror(socket.EAI_FAIL, "nobody leaves this machine")

        monkeypatch.setattr(place, name, hooked)

    for name in ("connect", "connect_ex"):
        hook(socket.socket, name, lambda _, address: address[0])
    hook(socket.socket, "sendto", lambda _, __, *rest: rest[-1][0])
    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
        hook(socket, name, lambda host, *_: host)
    return hosts


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name: even the one of this machine needs no looking up


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    """Run a server on this machine."""
    async with ModelServer() as running:
        yield running


@pytest.fixture
async def routed(
    tmp_path: Path, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[RoutedModel]:
    """Open all providers of the settings."""
    load = plugins.load_provider
    monkeypatch.setattr(
        plugins, "load_provider", lambda kind: Lunar if kind == "lunar" else load(kind)
    )
    file = tmp_path / "acore.toml"
    file.write_text(SETTINGS.format(port=server.port))
    settings = config.load(file, {"data.directory": str(tmp_path / "data")}, environ={})
    async with open_model(settings) as opened:
        yield opened


class Chance:
    """Makes requests, ways to fail over and troubles, from a seed."""

    def __init__(self, seed: int, server: ModelServer, *, local_only: bool) -> None:
        # It leaps ahead of the real one, by which connections end at the deadlines made here.
        self.clock = SettableClock(time.monotonic())
        self._random = random.Random(seed)
        self._server = server
        self._local_only = local_only

    def failover(self, model: RoutedModel) -> Failover:
        """Return one with fallbacks in any order."""
        chosen = self._random.sample(MODELS, self._random.randint(0, len(MODELS)))
        options = FailoverOptions(
            fallbacks=tuple(chosen),
            last_resort=self._random.choice([None, *MODELS]),
            retry_share=1.0,
        )
        return Failover(
            model,
            options,
            clock=self.clock,
            sleep=lambda _: asyncio.sleep(0),
            random=self._random.random,
        )

    def request(self) -> ChatRequest:
        """Return one with or without a picture and a history, after a while."""
        self.clock.now += self._random.choice([0, 0, 1, 15, 400])
        for path in (CHAT, OLLAMA_CHAT):
            self._server._scripts[path].clear()  # trouble that nobody met is over
            if self._random.random() < 0.4:
                self._server.play(path, *self._random.choice(TROUBLES))
        pictures = (Image("image/png", b"png"),) if self._random.random() < 0.3 else ()
        return ChatRequest(
            model=self._random.choice(MODELS),
            messages=(ChatMessage("user", "Hi" * self._random.randint(1, 999), pictures),),
            max_tokens=9,
            seed=self._random.choice([None, 1]),
            asker="ada",
            has_history=self._random.random() < 0.5,
            is_local_only=self._local_only,
        )


async def ask(failover: Failover, request: ChatRequest) -> str:
    """Do as a turn does, and describe who will answer first; return who did, or what was told."""
    try:
        await failover.describe(request.model, local_only=request.is_local_only)
        async with failover.stream(request) as pieces:
            *_, end = [piece async for piece in pieces]
    except ModelError as error:
        return error.kind
    assert isinstance(end, End)
    return end.provider


async def converse(
    routed: RoutedModel, server: ModelServer, requests: int, *, local_only: bool
) -> list[str]:
    """Ask so many things, twenty of each way to fail over; return what came of each."""
    came: list[str] = []
    for seed in range(requests // 20):
        chance = Chance(seed, server, local_only=local_only)
        failover = chance.failover(routed)
        came += [await ask(failover, chance.request()) for _ in range(20)]
        await routed.list_models(local_only=local_only)
    return came


async def test_what_is_local_only_never_leaves(
    routed: RoutedModel, server: ModelServer, leaving: set[str]
) -> None:
    """Of 1,000 requests of all kinds, with every cloud configured and much going wrong, not one
    connects elsewhere or looks a name up; many are answered here, in the clouds' place too."""
    came = await converse(routed, server, 1000, local_only=True)
    assert leaving == set()
    assert len(came) == 1000
    assert came.count("near") + came.count("pond") > 400
    assert set(came) - {"near", "pond"} > {CloudForbidden.kind, "unavailable", "too_long"}
    assert not set(CLOUDS) & {f"{name}/tiny" for name in routed.opened()}


async def test_all_else_would_have_left(
    routed: RoutedModel, server: ModelServer, leaving: set[str]
) -> None:
    """The same requests from other places want to reach every cloud there is."""
    await converse(routed, server, 200, local_only=False)
    assert leaving == ELSEWHERE | {LUNAR_HOST}


async def test_who_has_no_local_model_is_told_so(routed: RoutedModel, leaving: set[str]) -> None:
    """The person learns why nobody answers, and what would help."""
    request = ChatRequest(
        model=CLOUDS[0],
        messages=(ChatMessage("user", "Hi"),),
        max_tokens=9,
        is_local_only=True,
    )
    failover = Failover(routed, FailoverOptions(fallbacks=CLOUDS))
    with pytest.raises(CloudForbidden) as caught:
        async with failover.stream(request) as pieces:
            await anext(pieces)
    assert str(caught.value) == (
        "openrouter/tiny computes in a cloud, and this place is kept from clouds. "
        "Choose a model that is not in a cloud."
    )
    assert leaving == set()
