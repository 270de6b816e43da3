"""Every knob on one page, with those of the providers on the page beside it: its type, its default
and what it does.

The settings know nobody: `sources` puts environment, file and flags together, and `faults` words
the complaints. Secrets are `SecretStr`, or masked by their names.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import platformdirs
from pydantic import Field

from acore_bot.config.providers import ProviderSettings
from acore_bot.config.section import Section
from acore_bot.config.values import (
    AbsolutePath,
    Key,
    ModelName,
    ModelNames,
    Number,
    Seconds,
    Slug,
    Texts,
    Tokens,
    Url,
    WebSocketUrl,
    Whole,
    Wholes,
)


def own_folder() -> Path:
    """Return the user's folder for the settings file and the personas."""
    return platformdirs.user_config_path("acore", appauthor=False)


class DataSettings(Section):
    """Where the bot keeps what it must not forget."""

    directory: AbsolutePath = Field(
        default_factory=lambda: platformdirs.user_data_path("acore", appauthor=False),
        validate_default=True,
        examples=["~/.local/share/acore"],
        description="The folder of the conversations and the log. "
        "In a settings file, relative paths start at the file's folder.",
    )


class ChatSettings(Section):
    """How the bot answers."""

    model: ModelName = Field(default="embedded/smollm2", description="The chat model that answers.")
    persona: Slug = Field(default="acore", description="Who the bot is: the name of a persona.")
    personas_directory: AbsolutePath = Field(
        default_factory=lambda: own_folder() / "personas",
        validate_default=True,
        examples=["~/.config/acore/personas"],
        description="The folder of your own personas.",
    )
    max_tokens: Whole = Field(
        default=800,
        ge=1,
        le=100_000,
        description="The longest answer, in tokens (about ¾ of a word each).",
    )
    temperature: Number | None = Field(
        default=None,
        ge=0,
        le=2,
        examples=[0.7],
        description="How freely the model chooses its words; by default as its makers chose.",
    )
    context_tokens: Tokens = Field(
        default=8192,
        description="The context window assumed where a server does not tell its own, in tokens.",
    )
    history_messages: Whole = Field(
        default=200,
        ge=1,
        le=10_000,
        description="The most messages of a conversation that are ever sent.",
    )
    message_labels: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="Whether messages carry their speaker and time: "
        "auto does so where several people talk.",
    )
    local_only: bool = Field(
        default=False,
        description="Whether nothing that is said may leave for a cloud. On Discord, a server, "
        "channel or role can be kept so by itself.",
    )
    show_host: bool = Field(
        default=False,
        description="Whether each answer on Discord says in small print if it is local or cloud.",
    )


class FailoverSettings(Section):
    """What answers in a conversation when its model cannot. `acore ask` asks its model only."""

    models: ModelNames = Field(
        default=(),
        examples=[["openrouter/openai/gpt-5-mini"]],
        description="Models to try, in order, before an answer has begun.",
    )
    embedded: bool = Field(
        default=True,
        description="Whether the model inside the package answers when no other does, with a note.",
    )
    total_seconds: Seconds = Field(
        default=300.0,
        description="Longest time for a whole answer, with waiting in line and all tries.",
    )


class QueueSettings(Section):
    """The line before a provider whose places are taken; people take turns in it."""

    max_waiting: Whole = Field(
        default=32, ge=0, le=10_000, description="How many may wait; others are told at once."
    )
    max_wait_seconds: Seconds = Field(
        default=120.0,
        description="Longest wait; who would have to wait longer is told at once.",
    )


class DeduplicationSettings(Section):
    """Whether identical requests in the air share one answer. Nobody shares across these lines."""

    public: bool = Field(default=True, description="Stateless questions that are anybody's.")
    guilds: bool = Field(default=True, description="Within one server.")
    private: bool = Field(default=True, description="Within one private conversation.")
    across_guilds: bool = Field(
        default=False,
        description="Whether a stateless question, as /ask on Discord, shares its answer with all "
        "servers; otherwise only with those who ask the same in its own.",
    )


class ResponseCacheSettings(Section):
    """Keeps answers to stateless questions for a while. Chats are never answered from it."""

    enabled: bool = Field(default=True, description="Whether it is used.")
    ttl_seconds: Seconds = Field(default=300.0, description="How long an answer is kept.")
    max_entries: Whole = Field(default=1000, ge=1, le=1_000_000, description="Most answers.")
    max_mib: Whole = Field(default=16, ge=1, le=65_536, description="Most memory, in MiB.")


class HistoryCacheSettings(Section):
    """Keeps the newest messages of the latest conversations in memory."""

    max_conversations: Whole = Field(
        default=1000, ge=1, le=1_000_000, description="Most conversations."
    )
    max_mib: Whole = Field(default=64, ge=1, le=65_536, description="Most memory, in MiB.")


class BudgetSettings(Section):
    """What may be used in a day (UTC). Each is off unless it is set; on Discord, servers, channels
    and roles can have less, never more. An answer begins only if the longest it may become, prompt
    and chat.max_tokens, still fits: leave room for at least one. `acore ask` counts for nobody."""

    person_tokens: Whole | None = Field(
        default=None,
        ge=1,
        le=10**12,
        examples=[100_000],
        description="Most tokens of one person, in each server and in private.",
    )
    person_dollars: Number | None = Field(
        default=None, gt=0, le=10**6, examples=[0.5], description="The same in US dollars."
    )
    guild_tokens: Whole | None = Field(
        default=None,
        ge=1,
        le=10**12,
        examples=[2_000_000],
        description="Most tokens of all people in a server together.",
    )
    guild_dollars: Number | None = Field(
        default=None, gt=0, le=10**6, examples=[5.0], description="The same in US dollars."
    )
    when_spent: Literal["embedded", "refuse"] = Field(
        default="embedded",
        description="What happens then: the small model inside the package answers for nothing, "
        "or nobody does.",
    )
    assumed_dollars_per_million: Number = Field(
        default=10.0,
        gt=0,
        le=10**6,
        description="What a million tokens of a cloud are taken to cost that tells no price.",
    )


class PrivacySettings(Section):
    """How long things are kept. People can see, export and delete their own with /privacy."""

    retention_days: Whole | None = Field(
        default=None,
        ge=1,
        le=3650,
        examples=[30],
        description="After how many days what was said is removed; never by default. On Discord, "
        "servers and channels can have fewer.",
    )


class FilesSettings(Section):
    """Files and pictures that people send along. Pictures only reach a model that can see."""

    max_files: Whole = Field(
        default=5, ge=0, le=10, description="Most files that are read of one message; 0 reads none."
    )
    max_characters: Whole = Field(
        default=40_000,
        ge=100,
        le=1_000_000,
        description="Most characters that are taken from one file.",
    )


class DiscordSettings(Section):
    """The bot on Discord, for `acore run`."""

    token: Key = Field(
        default=None, examples=["MTA..."], description="The bot's token. DISCORD_TOKEN is the same."
    )
    message_content: bool = Field(
        default=False,
        description="Whether Discord sends it messages that do not mention it: threads without a "
        "mention and its names need this, and the switch of the same name in the developer portal.",
    )
    answer_replies: bool = Field(
        default=True, description="Whether a reply to the bot is answered without a mention."
    )
    answer_threads: bool = Field(
        default=True,
        description="Whether it answers all messages in a thread in which it has answered before.",
    )
    names: Texts = Field(
        default=(),
        examples=[["acore"]],
        description="Names that call it in a message, as a mention does.",
    )
    answer_bots: bool = Field(
        default=False,
        description="Whether a bot or webhook is answered; once, until a person has spoken again.",
    )
    gather_seconds: Number = Field(
        default=0.8,
        ge=0,
        le=60,
        description="How long a message waits for the same person's next one; 0 is off.",
    )
    gather_longest_seconds: Number = Field(
        default=4.0, ge=0, le=600, description="Longest wait for all of them, in seconds."
    )
    catch_up_seconds: Number = Field(
        default=600.0,
        ge=0,
        le=86_400,
        description="How old a message may be that was said while the bot was away; 0 is off.",
    )
    memory: Literal["shared", "person"] = Field(
        default="shared",
        description="Whether all people in a channel share one conversation, "
        "or everyone has one of their own.",
    )
    show_personas: bool = Field(
        default=False,
        description="Whether personas speak under their own name and picture, by webhooks, "
        "for which the bot needs the right to manage them.",
    )
    allow_degraded: bool = Field(
        default=False,
        description="Whether it runs without reading along if Discord refuses message_content.",
    )
    api_url: Url | None = Field(
        default=None,
        examples=["http://127.0.0.1:8080/api/v10"],
        description="A REST proxy, up to and with /api/v10.",
    )
    gateway_url: WebSocketUrl | None = Field(
        default=None, examples=["ws://127.0.0.1:8081"], description="A gateway proxy."
    )
    shard_ids: Wholes = Field(
        default=(), examples=[[0, 1]], description="The shards of this process; by default all."
    )
    shard_count: Whole | None = Field(
        default=None,
        ge=1,
        le=100_000,
        examples=[4],
        description="How many shards there are in all; by default as Discord advises.",
    )


class EventsSettings(Section):
    """The log of what the bot did, for `acore stats`: figures and stable words, never what was said
    or by whom."""

    enabled: bool = Field(default=True, description="Whether it is written.")
    batch_size: Whole = Field(
        default=50, ge=1, le=10_000, description="How many events are one write to the disk."
    )
    batch_seconds: Seconds = Field(
        default=5.0, description="How long an event waits for others at most."
    )
    keep_days: Whole = Field(
        default=30, ge=1, le=3650, description="How many days with events are kept."
    )
    max_file_mib: Whole = Field(
        default=64, ge=1, le=65_536, description="How large a file may become, in MiB."
    )


class OperatorSettings(Section):
    """The operator's page of `acore run`: how it is doing, with /metrics, /healthz and /readyz."""

    enabled: bool = Field(default=True, description="Whether it is served.")
    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Where it listens. Beyond this machine it takes a token, and should stand "
        "behind a proxy that encrypts.",
    )
    port: Whole = Field(default=8642, ge=0, le=65_535, description="The port; 0 is any free one.")
    token: Key = Field(
        default=None,
        examples=["a-long-random-text"],
        description="Who knows it may look, 16 characters at least. ACORE_OPERATOR__TOKEN is the "
        "same.",
    )
    names: Texts = Field(
        default=(),
        examples=[["bot.example.org"]],
        description="Further names under which it may be reached, as through a proxy.",
    )


class Sections(Section):
    """What a file may hold: its sections."""

    data: DataSettings = Field(default_factory=DataSettings)
    chat: ChatSettings = Field(default_factory=ChatSettings)
    failover: FailoverSettings = Field(default_factory=FailoverSettings)
    queue: QueueSettings = Field(default_factory=QueueSettings)
    deduplication: DeduplicationSettings = Field(default_factory=DeduplicationSettings)
    response_cache: ResponseCacheSettings = Field(default_factory=ResponseCacheSettings)
    history_cache: HistoryCacheSettings = Field(default_factory=HistoryCacheSettings)
    providers: Mapping[Slug, ProviderSettings] = Field(default_factory=dict)
    budgets: BudgetSettings = Field(default_factory=BudgetSettings)
    privacy: PrivacySettings = Field(default_factory=PrivacySettings)
    files: FilesSettings = Field(default_factory=FilesSettings)
    discord: DiscordSettings = Field(default_factory=DiscordSettings)
    events: EventsSettings = Field(default_factory=EventsSettings)
    operator: OperatorSettings = Field(default_factory=OperatorSettings)


class Settings(Sections):
    """All settings, the file they were read from, and what the owner should know about it."""

    file: Path | None = None
    warnings: tuple[str, ...] = ()
