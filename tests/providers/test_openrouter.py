"""What OpenRouter has beyond OpenAI's protocol."""

from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from msgspec import structs
from tests.fakes.model_server import CHAT, OPENROUTER_CHAT, ModelServer, reply_json

from acore_bot.messages import ChatMessage, ChatRequest, End, Prices
from acore_bot.providers.openai_compatible import OpenAICompatible
from acore_bot.providers.openrouter import OpenRouter

REQUEST = ChatRequest(model="tiny", messages=(ChatMessage("user", "Hi"),), max_tokens=16)


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    """Run a server."""
    async with ModelServer() as running:
        yield running


async def last(provider: OpenAICompatible, request: ChatRequest = REQUEST) -> End:
    """Return the end of one answer."""
    async with provider.stream(request) as pieces:
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


SALT = b"0123456789abcdef0123456789abcdef"
ADA = "184405311681986560"


async def user_told(server: ModelServer, asker: str, salt: bytes = SALT) -> object:
    """Ask for a person, and return who was told of."""
    provider = OpenRouter(base_url=server.url + "/api/v1", user_salt=salt)
    await last(provider, structs.replace(REQUEST, asker=asker))
    return server.bodies(OPENROUTER_CHAT)[-1].get("user")


async def test_p9_who_asks_is_a_salted_hash(server: ModelServer) -> None:
    """The same person is the same user, of one installation; nobody else is, and without the salt
    not even the id would tell who."""
    ada = await user_told(server, ADA)
    assert ada == "c851d7a5108feb2512c952f6eef7178d"
    assert await user_told(server, ADA) == ada
    assert (
        len(
            {
                ada,
                await user_told(server, "184405311681986561"),
                await user_told(server, ADA, b"other"),
            }
        )
        == 3
    )


async def test_p9_nobody_is_told_of_where_it_cannot_be_hidden(server: ModelServer) -> None:
    """Without a salt or an asker there is no user: a bare hash of an id can be guessed."""
    assert await user_told(server, ADA, b"") is None
    assert await user_told(server, "") is None


async def test_p9_no_name_and_no_id_leaves_beside_the_words(server: ModelServer) -> None:
    """Headers, the address and the body apart from the messages hold neither who asks nor where;
    nobody who keeps prompts may serve it."""
    request = structs.replace(
        REQUEST,
        messages=(ChatMessage("user", "Ada Lovelace: Hi"),),
        asker=ADA,
        scope="guild:81384788765712384",
    )
    await last(OpenRouter(base_url=server.url + "/api/v1", api_key="k", user_salt=SALT), request)
    (asked,) = server.asked
    assert asked.body.pop("messages") == [{"role": "user", "content": "Ada Lovelace: Hi"}]
    assert asked.body["provider"] == {"data_collection": "deny"}
    told = f"{asked.path} {asked.headers} {asked.body}"
    for private in (ADA, "Ada", "Lovelace", "81384788765712384", SALT.decode(), SALT.hex()):
        assert private not in told


async def test_p9_other_servers_are_told_of_nobody(server: ModelServer) -> None:
    """What is no OpenRouter has no use for it: there is no user at all."""
    provider = OpenAICompatible(name="openai", base_url=server.url + "/v1")
    await last(provider, structs.replace(REQUEST, asker=ADA))
    assert "user" not in server.bodies(CHAT)[0]


MODELS = "/api/v1/models"


def listed(pricing: object) -> bytes:
    """Return a catalogue of one model with these prices."""
    return reply_json({"data": [{"id": "tiny", "context_length": 4096, "pricing": pricing}]})


async def test_prices_are_those_of_the_catalogue(server: ModelServer) -> None:
    """They are exact, for a token."""
    provider = OpenRouter(base_url=server.url + "/api/v1")
    prices = (await provider.describe("tiny")).prices
    assert prices == Prices(Decimal("0.0000001"), Decimal("0.0000002"))
    await provider.aclose()


@pytest.mark.parametrize(
    ("pricing", "prices"),
    [
        ({"prompt": "0", "completion": "0"}, Prices(Decimal(0), Decimal(0))),
        ({"prompt": 0.5, "completion": 1}, Prices(Decimal("0.5"), Decimal(1))),
        ({"prompt": "-1", "completion": "-1"}, None),  # whoever serves it has a price of their own
        ({"prompt": "0.1"}, None),
        ({"prompt": "0.1", "completion": "cheap"}, None),
        ({"prompt": "NaN", "completion": "0.1"}, None),
        ({"prompt": "Infinity", "completion": "0.1"}, None),
        ({"prompt": "1e999999999", "completion": "0.1"}, None),
        ({"prompt": "2", "completion": "0.1"}, None),  # two million dollars for a million
        ({"prompt": True, "completion": "0.1"}, None),
        ({"prompt": None, "completion": []}, None),
        (["0.1", "0.2"], None),
        ("0.1", None),
        (None, None),
    ],
)
async def test_odd_prices_are_none_and_spoil_nothing(
    server: ModelServer, pricing: object, prices: Prices | None
) -> None:
    """What is no price is unknown rather than nothing, and the rest of the entry is read."""
    server.play(MODELS, listed(pricing))
    provider = OpenRouter(base_url=server.url + "/api/v1")
    info = await provider.describe("tiny")
    assert (info.context_tokens, info.prices) == (4096, prices)
    await provider.aclose()


async def test_an_entry_without_a_window_has_its_prices(server: ModelServer) -> None:
    """What one model lacks takes nothing from it or from the others."""
    prices = {"pricing": {"prompt": "0.1", "completion": "0.2"}}
    models = [{"id": "tiny", **prices}, {"id": "large", "context_length": 9, **prices}]
    server.play(MODELS, reply_json({"data": models}))
    provider = OpenRouter(base_url=server.url + "/api/v1")
    for model, window in (("tiny", None), ("large", 9)):
        info = await provider.describe(model)
        assert info.context_tokens == window
        assert info.prices == Prices(Decimal("0.1"), Decimal("0.2"))
    await provider.aclose()


async def test_prices_of_the_settings_win(server: ModelServer) -> None:
    """An owner's own contract counts, to the last digit; one price alone is no price list."""
    provider = OpenRouter(
        base_url=server.url + "/api/v1",
        prompt_dollars_per_million=0.15,
        completion_dollars_per_million=0.6,
    )
    prices = Prices(Decimal("0.00000015"), Decimal("0.0000006"))
    assert (await provider.describe("tiny")).prices == prices
    half = OpenRouter(base_url=server.url + "/api/v1", prompt_dollars_per_million=9)
    assert (await half.describe("tiny")).prices == Prices(
        Decimal("0.0000001"), Decimal("0.0000002")
    )
    await provider.aclose()
    await half.aclose()


async def test_another_server_s_prices_are_the_owner_s_to_tell(server: ModelServer) -> None:
    """Fields of the same name mean other units elsewhere, so only the settings count."""
    server.play("/v1/models", listed({"prompt": "0.1", "completion": "0.2"}))
    told = OpenAICompatible(name="openai", base_url=server.url + "/v1")
    assert (await told.describe("tiny")).prices is None
    known = OpenAICompatible(
        name="openai",
        base_url=server.url + "/v1",
        context_tokens=5,
        prompt_dollars_per_million=1,
        completion_dollars_per_million=0,
    )
    assert (await known.describe("tiny")).prices == Prices(Decimal("0.000001"), Decimal(0))
    await told.aclose()
    await known.aclose()
