"""One chat model that stands for all providers: each request goes to the one that it names.

A model is written `provider/model`. Only the first slash parts the two: models of OpenRouter have
slashes in their own names. A provider is opened when it is first named, so that those which nobody
uses cost nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from msgspec import structs

from acore_bot.contracts import Provider
from acore_bot.errors import CloudForbidden, ConfigurationError, ModelError, Unavailable
from acore_bot.messages import ChatRequest, Host, ModelInfo, Piece

UNKNOWN_HOST = Host("an unknown host", is_local=False)


class RoutedModel:
    """Sends requests to providers by name. `open_provider` may raise `ConfigurationError`.

    Only the models of those `listed` are listed; all of them if that is not given. `hosts` tells
    where the providers compute. What is local-only never gets to those that are not known to be
    local: they are not even opened for it.
    """

    def __init__(
        self,
        names: Sequence[str],
        open_provider: Callable[[str], Provider],
        *,
        listed: Sequence[str] | None = None,
        hosts: Mapping[str, Host] = {},
    ) -> None:
        self.names = tuple(names)
        self._listed = self.names if listed is None else tuple(listed)
        self._open_provider = open_provider
        self._hosts = dict(hosts)
        self._providers: dict[str, Provider] = {}
        self._is_closed = False

    def stream(self, request: ChatRequest) -> AbstractAsyncContextManager[AsyncIterator[Piece]]:
        """Stream from the provider that the request's model names. Raises `ConfigurationError`, and
        `CloudForbidden` for a local-only request to a provider that is not local."""
        provider, model = self._find(request.model, local_only=request.is_local_only)
        return provider.stream(structs.replace(request, model=model))

    async def describe(self, model: str, *, local_only: bool = False) -> ModelInfo:
        """Ask the provider that the model's name begins with."""
        provider, own_name = self._find(model, local_only=local_only)
        return await provider.describe(own_name, local_only=local_only)

    async def list_models(self, *, local_only: bool = False) -> dict[str, tuple[str, ...]]:
        """Name the models of every provider that can be reached now, or of the local ones only."""
        asked = [name for name in self._listed if self.host(name).is_local or not local_only]
        async with asyncio.TaskGroup() as group:
            tasks = {name: group.create_task(self._list_models_of(name)) for name in asked}
        return {name: models for name, task in tasks.items() if (models := task.result())}

    def host(self, provider_name: str) -> Host:
        """Tell where a provider computes, as far as that is known."""
        return self._hosts.get(provider_name, UNKNOWN_HOST)

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

    def _find(self, model: str, *, local_only: bool) -> tuple[Provider, str]:
        name, slash, own_name = model.partition("/")
        if not (name and slash and own_name):
            msg = f"{model[:80]!r} is not a model's whole name."
            raise ConfigurationError(msg, remedy="Write provider/model, as in embedded/smollm2.")
        # A name that nobody knows is no cloud: `provider` says what is wrong with it.
        if local_only and name in self.names and not self.host(name).is_local:
            remedy = "Choose a model that is not in a cloud."
            raise CloudForbidden(provider=name, model=own_name, remedy=remedy)
        return self.provider(name), own_name
