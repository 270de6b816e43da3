"""What Discord refuses for good ends the bot with one sentence; all else does not."""

from types import SimpleNamespace
from typing import Any

import aiohttp
import discord
import pytest

from acore_bot.errors import FrontendRefused
from acore_bot.frontends.discord.refusals import refusal

FATAL_CODES = (4004, 4010, 4011, 4012, 4013, 4014)
PASSING_CODES = (1000, 1001, 1006, 4000, 4001, 4002, 4003, 4005, 4007, 4008, 4009)


def closed(code: int) -> discord.ConnectionClosed:
    """Make the error for a close of the gateway."""
    socket: Any = SimpleNamespace(close_code=code)
    return discord.ConnectionClosed(socket, shard_id=0, code=code)


def answered(status: int) -> discord.HTTPException:
    """Make the error for an answer of REST."""
    response: Any = SimpleNamespace(status=status, reason="no")
    return discord.HTTPException(response, "no")


@pytest.mark.parametrize("code", FATAL_CODES)
def test_r7_a_fatal_close_is_a_refusal_with_a_remedy(code: int) -> None:
    """Whoever reads it knows what it was and what to do; supervisors learn it by the exit code."""
    refused = refusal(closed(code))
    assert isinstance(refused, FrontendRefused)
    assert refused.exit_code == 3
    assert refused.sentence.endswith(".")
    assert refused.remedy.endswith(".")


@pytest.mark.parametrize("error", [discord.LoginFailure("no"), answered(401), closed(4004)])
def test_a_wrong_token_says_where_to_get_one(error: Exception) -> None:
    """However Discord says it, it means the token."""
    refused = refusal(error)
    assert refused is not None
    assert "token" in refused.sentence
    assert "discord.com/developers" in refused.remedy


@pytest.mark.parametrize("error", [discord.PrivilegedIntentsRequired(0), closed(4014)])
def test_a_refused_intent_names_the_switch_and_the_setting(error: Exception) -> None:
    """Either of the two mends it."""
    refused = refusal(error)
    assert refused is not None
    assert "Message Content Intent" in refused.remedy
    assert "discord.message_content = false" in refused.remedy


@pytest.mark.parametrize(
    "error",
    [
        *map(closed, PASSING_CODES),
        *map(answered, (403, 404, 429, 500, 502, 503)),
        discord.GatewayNotFound(),  # type: ignore[no-untyped-call]
        aiohttp.ClientError(),
        OSError(),
    ],
)
def test_what_may_pass_is_no_refusal(error: Exception) -> None:
    """Outages, limits and resets are for trying again."""
    assert refusal(error) is None
