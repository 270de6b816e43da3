"""OpenRouter: one key for many models, OpenAI's protocol plus fields of its own."""

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping, Sequence

from acore_bot.messages import ChatRequest, StreamLimits
from acore_bot.providers.openai_compatible import OpenAICompatible

USER_CHARACTERS = 32


class OpenRouter(OpenAICompatible):
    """A `Provider` over openrouter.ai.

    `app_url` and `app_title` name the app in its statistics. `fallback_models` are tried in order
    where the model cannot answer; the `End` says who did. `provider` are the preferences for who
    serves a model; those who keep prompts are left out unless it says otherwise.

    Who asks is told as a hash, of the asker and `user_salt`, which has to be random and secret: ids
    can be guessed. Without either of them it is not told. Where several askers share an answer, it
    is the hash of the first.
    """

    asks_for_usage = False  # it tells usage and cost unasked
    tells_prices = True

    def __init__(
        self,
        *,
        name: str = "openrouter",
        base_url: str = "https://openrouter.ai/api/v1",
        api_key: str | None = None,
        context_tokens: int | None = None,
        app_url: str = "",
        app_title: str = "",
        fallback_models: Sequence[str] = (),
        provider: Mapping[str, object] = {},
        headers: Mapping[str, str] = {},
        options: Mapping[str, object] = {},
        limits: StreamLimits | None = None,
        local: bool | None = None,
        prompt_dollars_per_million: float | None = None,
        completion_dollars_per_million: float | None = None,
        user_salt: bytes = b"",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        app = {"HTTP-Referer": app_url, "X-OpenRouter-Title": app_title}
        fields: dict[str, object] = {"provider": {"data_collection": "deny", **provider}}
        if fallback_models:
            fields["models"] = list(fallback_models)
        super().__init__(
            name=name,
            base_url=base_url,
            api_key=api_key,
            context_tokens=context_tokens,
            headers={**{key: value for key, value in app.items() if value}, **headers},
            options={**fields, **options},
            limits=limits,
            local=local,
            prompt_dollars_per_million=prompt_dollars_per_million,
            completion_dollars_per_million=completion_dollars_per_million,
            max_tokens_field="max_completion_tokens",
            clock=clock,
        )
        self._user_salt = user_salt

    def _more_fields(self, request: ChatRequest) -> Mapping[str, object]:
        if not (self._user_salt and request.asker):
            return {}
        digest = hmac.new(self._user_salt, request.asker.encode(), hashlib.sha256)
        return {"user": digest.hexdigest()[:USER_CHARACTERS]}
