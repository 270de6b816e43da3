"""One chat model that stands for all providers: each request goes to the one that it names.

A model is written `provider/model`. Only the first slash parts the two: models of OpenRouter have
slashes in their own names. A provider is opened when it is first named, so that those which nobody
uses cost nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager

from msgspec import structs

from acore_bot.contracts import Provider
from acore_bot.errors import ConfigurationError, ModelError, Unavailable
from acore_bot.messages import ChatRequest, ModelInfo, Piece


class RoutedModel:
    """Sends requests to providers by name. `open_provider` may raise `ConfigurationError`.

    Only the models of those `listed` are listed; all of them if that is not given.
    """

    def __init__(
        self,
        names: Sequence[str],
        open_provider: Callable[[str], Provider],
        *,
        listed: Sequence[str] | None = None,
    ) -> None:
        self.names = tuple(names)
        self._listed = self.names if listed is None else tuple(listed)
        self._open_provider = open_provider
        self._providers: dict[str, Provider] = {}
        self._is_closed = False

    def stream(self, request: ChatRequest) -> AbstractAsyncContextManager[AsyncIterator[Piece]]:
        """Stream from the provider that the request's model names. Raises `ConfigurationError`."""
        provider, model = self._find(request.model)
        return provider.stream(structs.replace(request, model=model))

    async def describe(self, model: str) -> ModelInfo:
        """Ask the provider that the model's name begins with."""
        provider, own_name = self._find(model)
        return await provider.describe(own_name)

    async def list_models(self) -> dict[str, tuple[str, ...]]:
        """Name the models of every provider that can be reached now."""
        async with asyncio.TaskGroup() as group:
            tasks = {name: group.create_task(self._list_models_of(name)) for name in self._listed}
        return {name: models for name, task in tasks.items() if (models := task.result())}

    def opened(self) -> dict[str, Provider]:
        """Return the providers that were named so far."""
        return dict(self._providers)

    def provider(self, name: str) -> Provider:
        """Return a provider, opening it at first. Raises `ConfigurationError`."""
        if name not in self.names:
            msg = f"There is no provider named {name[:40]!r}."
            raise ConfigurationError(msg, remedy=f"Configured are: {', '.join(self.names)}.")
        if self._is_closed:
            raise Unavailable(provider=name, detail="closed")
        if name not in self._providers:
            self._providers[name] = self._open_provider(name)
        return self._providers[name]

    async def aclose(self) -> None:
        """Close every provider that was opened, also when one of them fails to."""
        self._is_closed = True
        providers, self._providers = self._providers, {}
        results = await asyncio.gather(
            *(provider.aclose() for provider in providers.values()), return_exceptions=True
        )
        for error in results:
            if isinstance(error, BaseException):
                raise error

    async def _list_models_of(self, name: str) -> tuple[str, ...]:
        try:
            return await self.provider(name).list_models()
        except (ModelError, ConfigurationError):
            return ()  # a provider without a key or a server is simply not on the list

    def _find(self, model: str) -> tuple[Provider, str]:
        name, slash, own_name = model.partition("/")
        if not (name and slash and own_name):
            msg = f"{model[:80]!r} is not a model's whole name."
            raise ConfigurationError(msg, remedy="Write provider/model, as in embedded/smollm2.")
        return self.provider(name), own_name
