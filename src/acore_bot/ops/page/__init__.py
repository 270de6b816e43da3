"""The operator's page: how the bot is, what it did and what it cost, in a browser."""

from acore_bot.ops.page.options import PageOptions, Sources
from acore_bot.ops.page.server import OperatorPage

__all__ = ["OperatorPage", "PageOptions", "Sources"]
