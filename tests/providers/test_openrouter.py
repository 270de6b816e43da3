"""What OpenRouter has beyond OpenAI's protocol."""

from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from tests.fakes.model_server import OPENROUTER_CHAT, ModelServer

from acore_bot.messages import ChatMessage, ChatRequest, End
from acore_bot.providers.openrouter import OpenRouter

REQUEST = ChatRequest(model="tiny", messages=(ChatMessage("user", "Hi"),), max_tokens=16)


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    """Run a server."""
    async with ModelServer() as running:
        yield running


async def last(provider: OpenRouter) -> End:
    """Return the end of one answer."""
    async with provider.stream(REQUEST) as pieces:
        said = [one async for one in pieces]
    await provider.aclose()
    assert isinstance(said[-1], End)
    return said[-1]


async def test_request_keeps_prompts_private_and_names_the_limit_anew(server: ModelServer) -> None:
    """Providers that keep prompts are left out, and no deprecated field is sent."""
    await last(OpenRouter(base_url=server.url + "/api/v1", api_key="sk-or-1"))
    assert server.bodies(OPENROUTER_CHAT) == [
        {
            "model": "tiny",
            "messages": [{"role": "user", "content": "Hi"}],
            "stream": True,
            "max_completion_tokens": 16,
            "provider": {"data_collection": "deny"},
        }
    ]


async def test_preferences_and_fallbacks_are_sent(server: ModelServer) -> None:
    """Preferences are added to ours or replace them; fallbacks go along in order."""
    provider = OpenRouter(
        base_url=server.url + "/api/v1",
        app_url="https://bot.example",
        app_title="acore-bot",
        fallback_models=("second", "third"),
        provider={"data_collection": "allow", "sort": "price"},
    )
    await last(provider)
    body = server.bodies(OPENROUTER_CHAT)[0]
    assert body["provider"] == {"data_collection": "allow", "sort": "price"}
    assert body["models"] == ["second", "third"]
    headers = server.asked[0].headers
    assert headers["http-referer"] == "https://bot.example"
    assert headers["x-openrouter-title"] == "acore-bot"


async def test_end_tells_cost_and_generation(server: ModelServer) -> None:
    """The cost is exact, and the id is the one that the generation can be looked up by."""
    end = await last(OpenRouter(base_url=server.url + "/api/v1"))
    assert end.usage is not None
    assert end.usage.cost == Decimal("0.00095")
    assert end.response_id == "gen-1"


async def test_describe_reads_the_list_of_models(server: ModelServer) -> None:
    """The context is that of the provider that would answer, if it is smaller."""
    provider = OpenRouter(base_url=server.url + "/api/v1")
    info = await provider.describe("tiny")
    assert info.context_tokens == 4000
    assert info.abilities == frozenset({"vision", "tools", "thinking"})
    assert [asked.path for asked in server.asked] == ["/api/v1/models"]
    await provider.aclose()
