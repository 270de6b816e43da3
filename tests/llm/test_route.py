"""One model for all providers: each request goes to the one that it names."""

import asyncio

import pytest
from msgspec import structs

from acore_bot.errors import AuthFailed, CloudForbidden, ConfigurationError
from acore_bot.llm.route import RoutedModel
from acore_bot.messages import ChatMessage, ChatRequest, Delta, Host
from acore_bot.providers.scripted import Scripted


class Closable(Scripted):
    """A scripted provider that counts how often it was closed, and may fail at it, or at naming
    its models."""

    def __init__(self, failure: Exception | None = None) -> None:
        super().__init__()
        self.closed = 0
        self._failure = failure

    async def list_models(self) -> tuple[str, ...]:
        """Name one model, or fail."""
        if self._failure:
            raise self._failure
        return await super().list_models()

    async def aclose(self) -> None:
        """Count, and maybe fail."""
        if self._failure:
            self.closed += 1
            raise self._failure
        for _ in range(5):
            await asyncio.sleep(0)
        self.closed += 1


class Opener:
    """Opens providers of a table, and keeps the order in which they were asked for."""

    def __init__(self, **providers: Closable | Exception) -> None:
        self._providers = providers
        self.opened: list[str] = []

    def __call__(self, name: str) -> Closable:
        """Open a provider, or raise what stands in its place."""
        self.opened.append(name)
        provider = self._providers[name]
        if isinstance(provider, Exception):
            raise provider
        return provider


def ask(model: str) -> ChatRequest:
    """Make a request."""
    return ChatRequest(model=model, messages=(ChatMessage("user", "Hello?"),), max_tokens=9)


async def spoken(model: RoutedModel, name: str) -> str:
    """Ask and join what was answered."""
    async with model.stream(ask(name)) as pieces:
        return "".join([piece.text async for piece in pieces if isinstance(piece, Delta)])


async def test_a_request_goes_to_the_provider_it_names() -> None:
    """The provider receives its own part of the name, and all else as it was."""
    tea, milk = Closable(), Closable()
    routed = RoutedModel(["tea", "milk"], Opener(tea=tea, milk=milk))
    assert await spoken(routed, "milk/whole") == "Hello?"
    assert milk.requests == [ask("whole")]
    assert tea.requests == []


async def test_only_the_first_slash_parts_the_name() -> None:
    """Models whose own names have slashes are asked by their whole own name."""
    tea = Closable()
    await spoken(RoutedModel(["tea"], Opener(tea=tea)), "tea/assam/second-flush:free")
    assert [request.model for request in tea.requests] == ["assam/second-flush:free"]


async def test_a_provider_is_opened_once_when_first_named() -> None:
    """Providers that nobody uses are not opened, and the others once."""
    opener = Opener(tea=Closable(), milk=Closable())
    routed = RoutedModel(["tea", "milk"], opener)
    assert opener.opened == []
    for _ in range(2):
        await spoken(routed, "tea/assam")
    assert (await routed.describe("tea/assam")).context_tokens == 8192
    assert opener.opened == ["tea"]


@pytest.mark.parametrize("name", ["", "tea", "tea/", "/assam", "/"])
async def test_half_a_name_is_explained(name: str) -> None:
    """A name without its provider or its model is told how to be written."""
    routed = RoutedModel(["tea"], Opener(tea=Closable()))
    with pytest.raises(ConfigurationError) as caught:
        await routed.describe(name)
    assert caught.value.sentence == f"{name!r} is not a model's whole name."
    assert "provider/model" in caught.value.remedy


async def test_an_unknown_provider_is_explained() -> None:
    """A provider that is not configured is named, with those that are."""
    routed = RoutedModel(["tea", "milk"], Opener())
    with pytest.raises(ConfigurationError) as caught:
        routed.stream(ask("water/still"))
    assert str(caught.value) == "There is no provider named 'water'. Configured are: tea, milk."


async def test_what_is_local_only_goes_to_local_providers_only() -> None:
    """A cloud, and a provider of which nobody knows where it is, is not even opened for it; all
    else goes there as ever."""
    opener = Opener(tea=Closable(), milk=Closable(), water=Closable())
    hosts = {"tea": Host("this machine", is_local=True), "milk": Host("milk.example", False)}
    routed = RoutedModel(["tea", "milk", "water"], opener, hosts=hosts)
    for name in ("milk", "water"):
        with pytest.raises(CloudForbidden, match=f"^{name}/x computes in a cloud") as caught:
            routed.stream(structs.replace(ask(f"{name}/x"), is_local_only=True))
        assert caught.value.remedy
        with pytest.raises(CloudForbidden):
            await routed.describe(f"{name}/x", local_only=True)
    async with routed.stream(structs.replace(ask("tea/x"), is_local_only=True)):
        assert (await routed.describe("tea/x", local_only=True)).context_tokens
    assert await routed.list_models(local_only=True) == {"tea": ("script",)}
    assert opener.opened == ["tea"]
    assert await spoken(routed, "milk/x") == "Hello?"
    assert list(await routed.list_models()) == ["tea", "milk", "water"]


async def test_a_wrong_name_is_told_as_one_also_where_all_is_local() -> None:
    """A provider that nobody configured is no cloud."""
    request = structs.replace(ask("wine/red"), is_local_only=True)
    with pytest.raises(ConfigurationError, match="no provider named 'wine'"):
        RoutedModel(["tea"], Opener()).stream(request)


def test_the_host_of_a_provider_is_told() -> None:
    """Where it computes, as it was given; of an unknown one nothing is promised."""
    here = Host("this machine", is_local=True)
    routed = RoutedModel(["tea", "milk"], Opener(), hosts={"tea": here})
    assert routed.host("tea") is here
    assert routed.host("milk") == Host("an unknown host", is_local=False)


async def test_models_of_all_providers_are_listed() -> None:
    """Each provider's models, in the order of the settings, without those that cannot be reached
    or opened now."""
    opener = Opener(
        tea=Closable(),
        broke=Closable(AuthFailed(provider="broke")),
        absent=ConfigurationError("No key."),
        milk=Closable(),
    )
    routed = RoutedModel(["tea", "broke", "absent", "milk"], opener)
    assert await routed.list_models() == {"tea": ("script",), "milk": ("script",)}


async def test_a_provider_that_could_not_be_opened_is_tried_again() -> None:
    """A key that is given later works without a restart of everything."""
    table: dict[str, Closable | Exception] = {"tea": ConfigurationError("No key.")}
    opener = Opener(**table)
    routed = RoutedModel(["tea"], opener)
    with pytest.raises(ConfigurationError):
        await routed.describe("tea/assam")
    opener._providers["tea"] = Closable()
    await routed.describe("tea/assam")
    assert opener.opened == ["tea", "tea"]


async def test_closing_closes_what_was_opened() -> None:
    """Every provider that was opened is closed once, and the others are not opened for it."""
    tea, milk = Closable(), Closable()
    opener = Opener(tea=tea, milk=milk)
    routed = RoutedModel(["tea", "milk"], opener)
    await routed.describe("tea/assam")
    await routed.aclose()
    await routed.aclose()
    assert (tea.closed, milk.closed) == (1, 0)
    assert opener.opened == ["tea"]


async def test_closing_goes_on_after_a_failure() -> None:
    """If one provider fails to close, the others are closed all the same, and then it is told."""
    tea, milk = Closable(RuntimeError("stuck")), Closable()
    routed = RoutedModel(["tea", "milk"], Opener(tea=tea, milk=milk))
    for name in ("tea/assam", "milk/whole"):
        await routed.describe(name)
    with pytest.raises(RuntimeError, match="stuck"):
        await routed.aclose()
    assert (tea.closed, milk.closed) == (1, 1)


async def test_an_unexpected_failure_leaves_no_task() -> None:
    """A provider that fails in a way that nobody foresaw ends the listing, and all of it."""

    class Slow(Closable):
        async def list_models(self) -> tuple[str, ...]:
            await asyncio.Event().wait()
            return ()

    before = asyncio.all_tasks()
    opener = Opener(slow=Slow(), odd=Closable(RuntimeError("odd")))
    with pytest.raises(ExceptionGroup) as caught:
        await RoutedModel(["slow", "odd"], opener).list_models()
    assert caught.group_contains(RuntimeError, match="odd")
    assert asyncio.all_tasks() == before
