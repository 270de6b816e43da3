"""The tables of those who serve models, one kind each."""

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from pydantic import ConfigDict, Discriminator, Field, JsonValue, Tag, field_validator

from acore_bot.config.section import Section
from acore_bot.config.values import (
    AbsolutePath,
    Allowed,
    Headers,
    KeepAlive,
    Key,
    Number,
    Seconds,
    Slug,
    Streams,
    Table,
    Texts,
    Think,
    Tokens,
    Url,
    Whole,
    is_loopback,
)

SIDE_BY_SIDE = "How many answers it may write side by side; others wait in a fair line."

MOST_DOLLARS_PER_MILLION = 1_000_000
PromptPrice: TypeAlias = Annotated[
    Number | None,
    Field(
        ge=0,
        le=MOST_DOLLARS_PER_MILLION,
        examples=[0.25],
        description="What a million tokens of prompts cost, in US dollars. Together with the next "
        "one it wins over what the server tells.",
    ),
]
CompletionPrice: TypeAlias = Annotated[
    Number | None,
    Field(
        ge=0,
        le=MOST_DOLLARS_PER_MILLION,
        examples=[2.0],
        description="What a million tokens of answers cost, in US dollars.",
    ),
]


class Location(Section):
    """Where a provider computes."""

    local: bool | None = Field(
        default=None,
        examples=[True],
        description="Whether what is sent there stays with you, so that places which are kept from "
        "clouds may use it. Not set, only what is on this machine counts so; set it to true for a "
        "server of your own elsewhere, and to false for one here that hands on to a cloud.",
    )


class TimeLimits(Location):
    """How long a provider may take, in seconds."""

    connect_seconds: Seconds = Field(default=5.0, description="Time to connect, in seconds.")
    first_byte_seconds: Seconds | None = Field(
        default=None,
        examples=[60.0],
        description="Time until the answer begins, in seconds. Not set, it is 120 where the model "
        "may have to be loaded first (embedded, ollama, and openai on this machine), else 30.",
    )
    gap_seconds: Seconds = Field(
        default=30.0, description="Longest silence within an answer, in seconds."
    )
    progress_seconds: Seconds = Field(
        default=90.0,
        description="Longest time without new text on a live connection, in seconds.",
    )
    total_seconds: Seconds = Field(
        default=300.0, description="Longest time for a whole answer, in seconds."
    )

    @property
    def first_byte_limit_seconds(self) -> float:
        """The time until the answer must begin, whether it was set or follows from the server."""
        return self.first_byte_seconds or (120.0 if self._may_load() else 30.0)

    def _may_load(self) -> bool:
        return True


class EmbeddedSettings(TimeLimits):
    """A small model inside this process: no server, no key."""

    kind: Literal["embedded"] = Field(default="embedded", description="The kind of this provider.")
    model_file: AbsolutePath | None = Field(
        default=None,
        examples=["models/own.gguf"],
        description="A model file in GGUF format; by default the one the package brings.",
    )
    context_tokens: Whole = Field(
        default=4096,
        ge=256,
        le=10_000_000,
        description="The context window of one conversation, in tokens.",
    )
    slots: Whole = Field(
        default=2, ge=1, le=64, description="How many answers are written side by side."
    )
    threads: Whole | None = Field(
        default=None,
        ge=1,
        le=1024,
        examples=[4],
        description="Threads that compute; by default as many as there are cores.",
    )
    cache_ram_mib: Whole = Field(
        default=256,
        ge=0,
        le=1_048_576,
        description="Memory for prompts of conversations that are not in a slot, in MiB; 0 is off.",
    )


class OllamaSettings(TimeLimits):
    """An Ollama server."""

    kind: Literal["ollama"] = Field(default="ollama", description="The kind of this provider.")
    max_streams: Streams = Field(
        default=1,
        description="How many answers it writes side by side, as OLLAMA_NUM_PARALLEL has it; "
        "others wait in a fair line.",
    )
    base_url: Url = Field(
        default="http://127.0.0.1:11434",
        description="Where the server listens. OLLAMA_HOST is that of [providers.ollama].",
    )
    context_tokens: Tokens | None = Field(
        default=None,
        examples=[16384],
        description="The context window to ask for, in tokens; by default the server's choice.",
    )
    keep_alive: KeepAlive = Field(
        default="5m", description="How long the model stays in memory after an answer; -1 for ever."
    )
    think: Think = Field(
        default=None,
        examples=["low"],
        description="Whether and how hard the model thinks first; by default as it likes.",
    )
    options: Table = Field(
        default={}, description="More options of the model, handed on as they are."
    )
    headers: Headers = Field(
        default={}, description="HTTP headers to send along; they count as secret."
    )


class OpenAISettings(TimeLimits):
    """A server that speaks the chat completions protocol of OpenAI."""

    kind: Literal["openai"] = Field(default="openai", description="The kind of this provider.")
    max_streams: Streams = Field(default=8, description=SIDE_BY_SIDE)
    base_url: Url = Field(
        examples=["http://127.0.0.1:8000/v1"], description="The address up to and with /v1."
    )
    api_key: Key = Field(
        default=None,
        examples=["sk-..."],
        description="The key, if one is wanted. OPENAI_API_KEY is that of [providers.openai].",
    )
    context_tokens: Tokens | None = Field(
        default=None,
        examples=[16384],
        description="The context window of its models, in tokens, where it is known.",
    )
    vision: bool | None = Field(
        default=None,
        examples=[True],
        description="Whether its models can look at pictures, where the server does not tell.",
    )
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        default="max_tokens", description="What the server calls the limit of an answer."
    )
    prompt_dollars_per_million: PromptPrice = None
    completion_dollars_per_million: CompletionPrice = None
    options: Table = Field(
        default={}, description="More fields of the request, handed on as they are."
    )
    headers: Headers = Field(
        default={}, description="HTTP headers to send along; they count as secret."
    )

    def _may_load(self) -> bool:
        return is_loopback(self.base_url)


class OpenRouterSettings(TimeLimits):
    """OpenRouter, which reaches the models of many companies with one key."""

    kind: Literal["openrouter"] = Field(
        default="openrouter", description="The kind of this provider."
    )
    max_streams: Streams = Field(default=8, description=SIDE_BY_SIDE)
    base_url: Url = Field(
        default="https://openrouter.ai/api/v1", description="The address up to /v1."
    )
    api_key: Key = Field(
        default=None,
        examples=["sk-or-..."],
        description="The key. OPENROUTER_API_KEY is that of [providers.openrouter].",
    )
    fallback_models: Texts = Field(
        default=(), description="Models to try, in order, if the first fails."
    )
    provider: Table = Field(
        default={"data_collection": "deny"},
        description="Which companies may serve; merged over the default, which "
        "excludes those that keep what is said.",
    )
    app_title: str = Field(
        default="acore-bot", description="The name that OpenRouter shows for this bot."
    )
    app_url: str = Field(default="", description="The site that OpenRouter counts this bot under.")
    prompt_dollars_per_million: PromptPrice = None
    completion_dollars_per_million: CompletionPrice = None
    options: Table = Field(
        default={}, description="More fields of the request, handed on as they are."
    )
    headers: Headers = Field(
        default={}, description="HTTP headers to send along; they count as secret."
    )

    @field_validator("provider", mode="after")
    @classmethod
    def _over_default(cls, value: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
        return {"data_collection": "deny", **value}

    def _may_load(self) -> bool:
        return False


class ScriptedSettings(Location):
    """Says what it is told to: for tests and demonstrations."""

    kind: Literal["scripted"] = Field(default="scripted", description="The kind of this provider.")
    answers: Texts = Field(default=(), description="The answers, in order; the last one stays.")
    delay_seconds: Number = Field(
        default=0.0, ge=0, le=3600, description="Pause before each piece, in seconds."
    )


class PluginSettings(Location):
    """A provider of another package: any keys, which that package checks.

    Values that come from environment variables are text. `repr` and dumps mask by name; `table`
    gives the values as they were written.
    """

    model_config = ConfigDict(extra="allow")

    kind: Annotated[
        Slug,
        Allowed(
            'one of "embedded", "ollama", "openai", "openrouter", "scripted", '
            "or the name of a plug-in in small letters"
        ),
    ] = Field(description="The name that the plug-in registers.")
    max_streams: Streams = Field(default=8, description=SIDE_BY_SIDE)

    @property
    def table(self) -> Mapping[str, object]:
        """All keys but ours, unmasked."""
        return self.model_extra or {}


PROVIDER_KINDS: Mapping[str, type[Section]] = {
    "embedded": EmbeddedSettings,
    "ollama": OllamaSettings,
    "openai": OpenAISettings,
    "openrouter": OpenRouterSettings,
    "scripted": ScriptedSettings,
}


def _provider_tag(value: object) -> str | None:
    table = value if isinstance(value, Mapping) else {}
    kind = table["kind"] if "kind" in table else getattr(value, "kind", None)
    if kind is None and isinstance(value, Mapping):
        return None  # reported as a missing kind
    return kind if isinstance(kind, str) and kind in PROVIDER_KINDS else "plugin"


ProviderSettings: TypeAlias = Annotated[
    Annotated[EmbeddedSettings, Tag("embedded")]
    | Annotated[OllamaSettings, Tag("ollama")]
    | Annotated[OpenAISettings, Tag("openai")]
    | Annotated[OpenRouterSettings, Tag("openrouter")]
    | Annotated[ScriptedSettings, Tag("scripted")]
    | Annotated[PluginSettings, Tag("plugin")],
    Discriminator(_provider_tag),
]

# Present without any configuration. A file may add to them without naming their kind.
KNOWN_PROVIDERS: Mapping[str, Mapping[str, str]] = {
    "embedded": {"kind": "embedded"},
    "ollama": {"kind": "ollama"},
    "openrouter": {"kind": "openrouter"},
    "openai": {
        "kind": "openai",
        "base_url": "https://api.openai.com/v1",
        "max_tokens_field": "max_completion_tokens",
    },
}


def computes_here(table: ProviderSettings) -> bool:
    """Tell whether a provider computes on this machine, as far as its table says."""
    match table:
        case EmbeddedSettings() | ScriptedSettings():
            return True
        case PluginSettings():
            return False  # whatever its keys are called, what they mean is its own matter
        case _:
            return is_loopback(table.base_url)


def lacks_key(table: ProviderSettings) -> bool:
    """Tell whether a cloud would refuse us for want of a key."""
    if isinstance(table, OpenRouterSettings):
        return table.api_key is None and not is_loopback(table.base_url)
    if isinstance(table, OpenAISettings):
        return table.api_key is None and "//api.openai.com" in table.base_url
    return False
