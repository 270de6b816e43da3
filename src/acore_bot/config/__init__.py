"""The knobs: every setting, where it comes from, and what is wrong with it.

`settings` is the page to read; `load` is what `app` and `cli` call.
"""

from acore_bot.config.example import example_toml
from acore_bot.config.files import find_file
from acore_bot.config.loading import load
from acore_bot.config.masking import masked_url
from acore_bot.config.providers import (
    EmbeddedSettings,
    OllamaSettings,
    OpenAISettings,
    OpenRouterSettings,
    PluginSettings,
    ProviderSettings,
    ScriptedSettings,
    TimeLimits,
    lacks_key,
)
from acore_bot.config.settings import ChatSettings, DataSettings, DiscordSettings, Settings

__all__ = [
    "ChatSettings",
    "DataSettings",
    "DiscordSettings",
    "EmbeddedSettings",
    "OllamaSettings",
    "OpenAISettings",
    "OpenRouterSettings",
    "PluginSettings",
    "ProviderSettings",
    "ScriptedSettings",
    "Settings",
    "TimeLimits",
    "example_toml",
    "find_file",
    "lacks_key",
    "load",
    "masked_url",
]
