"""OpenRouter: one key for many models, OpenAI's protocol plus fields of its own."""

import time
from collections.abc import Callable, Mapping, Sequence

from acore_bot.messages import StreamLimits
from acore_bot.providers.openai_compatible import OpenAICompatible


class OpenRouter(OpenAICompatible):
    """A `Provider` over openrouter.ai.

    `app_url` and `app_title` name the app in its statistics. `fallback_models` are tried in order
    where the model cannot answer; the `End` says who did. `provider` are the preferences for who
    serves a model; those who keep prompts are left out unless it says otherwise.
    """

    asks_for_usage = False  # it tells usage and cost unasked

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
            max_tokens_field="max_completion_tokens",
            clock=clock,
        )
