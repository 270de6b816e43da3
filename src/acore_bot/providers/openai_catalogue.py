"""What OpenAI-compatible servers tell of their models, each in its own place."""

from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation

import msgspec
from msgspec import Raw, Struct

from acore_bot.messages import Ability, ModelInfo, Prices

_ABILITIES: dict[str, Ability] = {
    "image": "vision",
    "vision": "vision",
    "multimodal": "vision",
    "tools": "tools",
    "tool_use": "tools",
    "function_calling": "tools",
    "reasoning": "thinking",
    "thinking": "thinking",
}

_MOST_DOLLARS = 1  # for a token: more is no price of anything, but a mistake

_Words = list[str] | dict[str, object] | None


class _Architecture(Struct):
    input_modalities: list[str] | None = None


class _TopProvider(Struct):
    context_length: int | None = None


class _Meta(Struct):
    n_ctx: int | None = None


class _Named(Struct):
    id: str


class _Model(_Named):
    context_length: int | None = None  # OpenRouter
    top_provider: _TopProvider | None = None  # OpenRouter, where the best endpoint takes less
    max_model_len: int | None = None  # vLLM
    meta: _Meta | None = None  # llama.cpp
    architecture: _Architecture | None = None
    supported_parameters: list[str] | None = None
    capabilities: _Words = None
    pricing: object = None  # OpenRouter, in dollars for a token, as text


class _Settings(Struct):
    n_ctx: int | None = None


class ModelList(Struct):
    """The answer to `GET /models`, its entries read one by one: an odd one spoils no other."""

    data: list[Raw] = []

    def names(self) -> tuple[str, ...]:
        """Return the names of the models."""
        return tuple(model.id for model in self._models())

    def infos(self, *, with_prices: bool) -> dict[str, ModelInfo]:
        """Return what is told of each model, by its name."""
        return {model.id: _info(model, with_prices=with_prices) for model in self._models()}

    def _models(self) -> Iterable[_Model]:
        for raw in self.data:
            try:
                yield msgspec.json.decode(raw, type=_Model)
            except msgspec.ValidationError:
                yield _Model(id=msgspec.json.decode(raw, type=_Named).id)


class Props(Struct):
    """The answer of llama.cpp to `GET /props`: it serves one model, whatever the name."""

    default_generation_settings: _Settings | None = None
    modalities: _Words = None

    def info(self) -> ModelInfo:
        """Return what is told of the model."""
        settings = self.default_generation_settings
        return ModelInfo(
            context_tokens=settings.n_ctx if settings else None,
            abilities=_abilities(self.modalities),
        )


def _info(model: _Model, *, with_prices: bool) -> ModelInfo:
    told = (
        model.context_length,
        model.top_provider.context_length if model.top_provider else None,
        model.max_model_len,
        model.meta.n_ctx if model.meta else None,
    )
    modalities = model.architecture.input_modalities if model.architecture else None
    return ModelInfo(
        context_tokens=min((tokens for tokens in told if tokens), default=None),
        abilities=_abilities(modalities, model.supported_parameters, model.capabilities),
        prices=_prices(model.pricing) if with_prices else None,
    )


def _prices(told: object) -> Prices | None:
    """Return both prices, or None if one of them is none: where a router chooses the model, it is
    told as -1."""
    if not isinstance(told, dict):
        return None
    prompt, completion = _dollars(told.get("prompt")), _dollars(told.get("completion"))
    return None if prompt is None or completion is None else Prices(prompt, completion)


def _dollars(told: object) -> Decimal | None:
    if isinstance(told, bool) or not isinstance(told, str | int | float):
        return None
    try:
        dollars = Decimal(str(told))
    except InvalidOperation:
        return None
    return dollars if dollars.is_finite() and 0 <= dollars <= _MOST_DOLLARS else None


def _abilities(*told: _Words) -> frozenset[Ability]:
    words = {word for words in told if words for word in _claimed(words)}
    return frozenset(_ABILITIES[word] for word in words & _ABILITIES.keys())


def _claimed(words: list[str] | Mapping[str, object]) -> Iterable[str]:
    """Return the words of a list, or those that a table says are true."""
    return words if isinstance(words, list) else (word for word in words if words[word] is True)
