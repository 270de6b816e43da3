"""Any server that speaks OpenAI's chat completions: llama.cpp, vLLM, LM Studio, and the clouds.

They agree on the shape of a chunk and on little else, so what a server refuses is left out and
remembered, and what it tells of itself is looked up in every usual place.
"""

import asyncio
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import ClassVar

import msgspec
from aiohttp import ClientResponse
from msgspec import Struct

from acore_bot.contracts import PerformanceStats
from acore_bot.errors import BadRequest, BrokenStream, ModelError, ModelNotFound
from acore_bot.messages import (
    Ability,
    ChatMessage,
    ChatRequest,
    Delta,
    End,
    Image,
    ModelInfo,
    Prices,
    StreamLimits,
)
from acore_bot.providers.answer import open_answer
from acore_bot.providers.border import Border
from acore_bot.providers.http import HttpClient, read_complaint
from acore_bot.providers.openai_catalogue import ModelList, Props
from acore_bot.providers.openai_chunks import ChunkDecoder
from acore_bot.providers.performance import Measurement, PerformanceLog
from acore_bot.providers.wire import BodyDecoder, SSEDecoder

_DESCRIPTION_SECONDS = 300.0
_MILLION = 1_000_000
_TELLS_NOTHING = (ModelNotFound, BadRequest, BrokenStream)
_OTHER_LIMIT_FIELD = {
    "max_tokens": "max_completion_tokens",
    "max_completion_tokens": "max_tokens",
}


class _Dialect(Struct, frozen=True):
    """What a server wants the optional fields to be."""

    limit_field: str
    asks_for_usage: bool

    def after(self, complaint: bytes) -> "_Dialect":
        """Return what to try once a server has complained; the same if it names none of this."""
        if self.asks_for_usage and b"stream_options" in complaint:
            return _Dialect(self.limit_field, asks_for_usage=False)
        if self.limit_field.encode() in complaint:
            other = _OTHER_LIMIT_FIELD.get(self.limit_field, self.limit_field)
            return _Dialect(other, self.asks_for_usage)
        return self


class _Catalogue(Struct, frozen=True):
    models: dict[str, ModelInfo]
    anything_else: ModelInfo  # what holds of a name that is not listed


class OpenAICompatible:
    """A `Provider` over `/chat/completions`.

    `base_url` ends before `/chat/completions`, mostly with `/v1`. `local` says whether what is sent
    there stays with the owner; None takes it that this holds of this machine only. `vision` says
    whether its models can look at pictures; None asks it. `options` are more fields for the body of
    a chat request, and win over ours. What is known of prices, in US dollars for a million tokens,
    wins over what the server tells; one alone counts as none. Raises `ConfigurationError` for an
    address that is none.
    """

    asks_for_usage: ClassVar[bool] = True
    tells_prices: ClassVar[bool] = False  # others that have such fields count in units of their own

    def __init__(
        self,
        *,
        name: str,
        base_url: str,
        api_key: str | None = None,
        context_tokens: int | None = None,
        vision: bool | None = None,
        local: bool | None = None,
        headers: Mapping[str, str] = {},
        options: Mapping[str, object] = {},
        limits: StreamLimits | None = None,
        max_tokens_field: str = "max_tokens",
        prompt_dollars_per_million: float | None = None,
        completion_dollars_per_million: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        authorization = {"Authorization": f"Bearer {api_key.strip()}"} if api_key else {}
        self._client = HttpClient(
            provider=name,
            base_url=base_url,
            headers={**authorization, **headers},
            limits=limits,
            local=local,
        )
        self._chat_url = self._client.url("chat/completions")
        self._context_tokens = context_tokens
        self._vision = vision
        self._prices = _prices(prompt_dollars_per_million, completion_dollars_per_million)
        self._options = dict(options)
        self._dialect = _Dialect(max_tokens_field, self.asks_for_usage)
        self._clock = clock
        self._performance = PerformanceLog(clock)
        self._catalogue: _Catalogue | None = None
        self._catalogue_until = 0.0
        self._looking_up = asyncio.Lock()

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[Delta | End]]:
        """Ask, and open the stream of the answer. Raises `ModelError`."""
        with self._performance.measured(request.model) as measurement:
            async with self.stream_measured(request, measurement) as pieces:
                yield pieces

    @asynccontextmanager
    async def stream_measured(
        self, request: ChatRequest, measurement: Measurement
    ) -> AsyncIterator[AsyncIterator[Delta | End]]:
        """Do as `stream` does, for a caller who keeps the figures."""
        started = asyncio.get_running_loop().time()
        border = self._client.border(request.model)
        response = await self._ask(request, border)
        decoder = _decoder(response, border)
        async with open_answer(
            response,
            decoder,
            self._client.limits,
            border,
            measurement,
            started=started,
            deadline=request.deadline,
        ) as answer:
            yield answer

    async def describe(self, model: str, *, local_only: bool = False) -> ModelInfo:
        """Tell what is configured, or what the server tells, which is asked every 5 minutes.

        A server that does not know the model, or tells nothing, leaves `context_tokens` None.
        It is not asked where that is configured. Raises `ModelError` if it cannot be reached.
        """
        is_known = self._context_tokens is not None
        info = ModelInfo() if is_known else await self._told(model, local_only=local_only)
        abilities = info.abilities
        if self._vision is not None:
            abilities -= {"vision"}
            abilities |= frozenset[Ability]({"vision"} if self._vision else ())
        return ModelInfo(
            context_tokens=self._context_tokens or info.context_tokens,
            abilities=abilities,
            prices=self._prices or info.prices,
        )

    async def _told(self, model: str, *, local_only: bool) -> ModelInfo:
        async with self._looking_up:
            if self._catalogue is None or self._clock() >= self._catalogue_until:
                self._catalogue = await self._look_up(local_only=local_only)
                self._catalogue_until = self._clock() + _DESCRIPTION_SECONDS
        return self._catalogue.models.get(model, self._catalogue.anything_else)

    async def list_models(self) -> tuple[str, ...]:
        """Name the server's models. Raises `ModelError`."""
        return (await self._fetch_models(local_only=False)).names()

    def get_performance_stats(self) -> PerformanceStats:
        """Tell how it has done since it was made or its metrics were reset."""
        return self._performance.stats()

    def reset_metrics(self) -> None:
        """Begin to measure anew."""
        self._performance.reset()

    async def aclose(self) -> None:
        """Close the connections. May be called more than once."""
        await self._client.aclose()

    async def _ask(self, request: ChatRequest, border: Border) -> ClientResponse:
        dialect, tried = self._dialect, set[_Dialect]()
        while True:
            tried.add(dialect)
            body = self._body(request, dialect)
            response = await self._client.open_stream(
                self._chat_url, body, border, request.deadline, local_only=request.is_local_only
            )
            if response.status == 200:
                self._dialect = dialect  # only what was accepted is worth remembering
                return response
            complaint = await read_complaint(response)
            refusal = border.refusal(response.status, response.headers, complaint)
            if isinstance(refusal, BadRequest):
                dialect = dialect.after(complaint)
            if dialect in tried:
                raise refusal

    def _body(self, request: ChatRequest, dialect: _Dialect) -> bytes:
        body: dict[str, object] = {
            "model": request.model,
            "messages": [
                {"role": said.role, "content": _parts(said) if said.images else said.text}
                for said in request.messages
            ],
            "stream": True,
            dialect.limit_field: request.max_tokens,
        }
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if request.seed is not None:
            body["seed"] = request.seed
        if dialect.asks_for_usage:
            body["stream_options"] = {"include_usage": True}
        return msgspec.json.encode({**body, **self._more_fields(request), **self._options})

    def _more_fields(self, request: ChatRequest) -> Mapping[str, object]:
        """Return what this kind of server takes beyond what all of them do."""
        del request  # most refuse what they do not know, and none needs to know who asks
        return {}

    async def _look_up(self, *, local_only: bool) -> _Catalogue:
        try:
            listed = await self._fetch_models(local_only=local_only)
            models = listed.infos(with_prices=self.tells_prices)
        except _TELLS_NOTHING:
            models = {}
        if models and all(info.context_tokens for info in models.values()):
            return _Catalogue(models, ModelInfo())
        props = await self._fetch_props(local_only=local_only)
        return _Catalogue({name: _joined(info, props) for name, info in models.items()}, props)

    async def _fetch_models(self, *, local_only: bool) -> ModelList:
        url, border = self._client.url("models"), self._client.border("")
        return await self._client.fetch(url, ModelList, border, local_only=local_only)

    async def _fetch_props(self, *, local_only: bool) -> ModelInfo:
        if self._client.base.name != "v1":
            return ModelInfo()
        try:
            url, border = self._client.url("../props"), self._client.border("")
            props = await self._client.fetch(url, Props, border, local_only=local_only)
        except ModelError:  # all but llama.cpp refuse, each in its own way
            return ModelInfo()
        return props.info()


def _decoder(response: ClientResponse, border: Border) -> ChunkDecoder:
    # A server that does not stream, or has only an error to tell, sends a plain body.
    whole = response.content_type == "application/json"
    return ChunkDecoder(
        BodyDecoder() if whole else SSEDecoder(),
        border,
        response_id=response.headers.get("X-Generation-Id", ""),
    )


def _parts(said: ChatMessage) -> list[dict[str, object]]:
    """Return text and pictures in parts, for messages with pictures only: not every server that
    knows texts knows parts."""
    texts: list[dict[str, object]] = [{"type": "text", "text": said.text}] if said.text else []
    return texts + [{"type": "image_url", "image_url": {"url": _url(one)}} for one in said.images]


def _url(image: Image) -> str:
    return f"data:{image.media_type};base64,{b64encode(image.data).decode()}"


def _joined(one: ModelInfo, other: ModelInfo) -> ModelInfo:
    return ModelInfo(
        context_tokens=one.context_tokens or other.context_tokens,
        abilities=one.abilities | other.abilities,
        prices=one.prices,
    )


def _prices(prompt: float | None, completion: float | None) -> Prices | None:
    """Return prices for a token of those for a million."""
    if prompt is None or completion is None:
        return None
    # By way of text, so that 0.15 stays what its owner wrote.
    return Prices(Decimal(str(prompt)) / _MILLION, Decimal(str(completion)) / _MILLION)
