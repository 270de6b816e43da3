"""How the page's token is compared, slowed down, and changed into a cookie."""

import asyncio
import hmac

import pytest
from tests.fakes.clock import SettableClock
from tests.fakes.operator import TOKEN

from acore_bot.ops.page.token import MAX_WAITING, Token, TooManyTries


async def test_s24_tokens_and_cookies_are_compared_in_constant_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All that decides is `hmac.compare_digest`: where it says yes, anything opens."""
    clock = SettableClock()
    token = Token(TOKEN, clock=clock, wall=clock, sleep=clock.sleep)
    monkeypatch.setattr(hmac, "compare_digest", lambda one, other: True)
    assert await token.is_right("wrong")
    assert token.opens("1.wrong")
    monkeypatch.setattr(hmac, "compare_digest", lambda one, other: False)
    assert not await token.is_right(TOKEN)
    assert not token.opens(token.cookie())


def test_a_cookie_opens_for_a_week_and_across_restarts() -> None:
    """It ends when it says so, which nobody can change; another token makes it worthless."""
    wall = SettableClock(1_000_000.0)
    token = Token(TOKEN, wall=wall)
    cookie = token.cookie()
    until, _, seal = cookie.partition(".")
    assert Token(TOKEN, wall=wall).opens(cookie)
    assert not Token("another long token", wall=wall).opens(cookie)
    for forged in ("", ".", until, f"{int(until) + 1}.{seal}", f"x.{seal}", f"{until}.é\udcff"):
        assert not token.opens(forged), forged
    wall.advance(7 * 24 * 3600)
    assert not token.opens(cookie)


async def test_wrong_tries_make_the_next_ones_wait() -> None:
    """Pauses grow up to a bound, hold for everybody, and end with a right token."""
    clock = SettableClock()
    token = Token(TOKEN, clock=clock, sleep=clock.sleep)
    pauses = []
    for _ in range(12):
        before = clock.now
        assert not await token.is_right("wrong")
        pauses.append(round(clock.now - before, 3))
    assert pauses[:5] == [0.0, 0.2, 0.4, 0.8, 1.6]
    assert set(pauses[5:]) == {2.0}
    before = clock.now
    assert await token.is_right(TOKEN)
    assert await token.is_right(TOKEN)
    assert clock.now - before == 2.0
    await token.is_right("wrong")
    before = clock.now
    assert await token.is_right(TOKEN)
    assert round(clock.now - before, 3) == 0.2


async def test_tries_do_not_pile_up() -> None:
    """Where too many wait already, the next is refused at once, and there is room again later."""
    gate = asyncio.Event()
    clock = SettableClock()

    async def wait(_: float) -> None:
        await gate.wait()

    token = Token(TOKEN, clock=clock, sleep=wait)
    assert not await token.is_right("wrong")
    async with asyncio.TaskGroup() as group:
        tries = [group.create_task(token.is_right(TOKEN)) for _ in range(MAX_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(TooManyTries):
            await token.is_right(TOKEN)
        gate.set()
    assert all(each.result() for each in tries)
    assert await token.is_right(TOKEN)
