"""Other names for the bot, by webhooks, on a simulated Discord."""

import asyncio
import base64
import functools
import inspect
import itertools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, Concatenate, NamedTuple, ParamSpec, cast

import aiohttp
import discord
import pytest
import simcord
from discord.http import Route
from hypothesis import example, given
from hypothesis import strategies as st
from tests.fakes.clock import SettableClock

from acore_bot.errors import TargetGone
from acore_bot.frontends.discord import webhooks
from acore_bot.frontends.discord.addresses import Address, ChannelAddress
from acore_bot.frontends.discord.outbox import Outbox
from acore_bot.frontends.discord.pace import EditPace
from acore_bot.frontends.discord.rest import InvalidRequests
from acore_bot.frontends.discord.translate import to_incoming
from acore_bot.frontends.discord.webhooks import (
    MOST_IN_A_CHANNEL,
    REFUSED_SECONDS,
    Masks,
    WebhookAddress,
    webhook_name,
)

P = ParamSpec("P")

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
JPEG = b"\xff\xd8\xff\xe0" + bytes(100)
NOBODY = {"parse": [], "replied_user": False}
MADE = "POST /channels/{}/webhooks"
LISTED = "GET /channels/{}/webhooks"


class Asked(NamedTuple):
    """A request."""

    what: str
    json: Any
    query: dict[str, Any]


Outcome = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


class Wire:
    """Stands before the simulated REST interface: notes what is asked, and lets it fail."""

    def __init__(self, client: discord.Client) -> None:
        self.asked: list[Asked] = []
        self.most_at_once = 0
        self._at_once = 0
        self._outcomes: list[tuple[str, Outcome]] = []
        self._request = client.http.request
        client.http.request = self.request  # type: ignore[method-assign]

    def befall(self, what: str, outcome: Outcome) -> None:
        """Let the next request whose method and path begin so end otherwise."""
        self._outcomes.append((what, outcome))

    def fail(self, what: str, error: BaseException) -> None:
        """Let the next request of that kind fail without being performed."""

        async def refuse(_: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401
            raise error

        self.befall(what, refuse)

    def answer(self, what: str, value: object) -> None:
        """Answer the next request of that kind without performing it."""

        async def reply(_: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401
            return value

        self.befall(what, reply)

    def whats(self) -> list[str]:
        """Say what was asked, without tokens, and forget it."""
        found = [one.what.rpartition("/simcord_webhook_")[0] or one.what for one in self.asked]
        self.asked.clear()
        return found

    async def request(self, route: Route, **more: Any) -> Any:  # noqa: ANN401
        """Perform a request, or not."""
        what = f"{route.method} {route.url.removeprefix(Route.BASE)}"
        self.asked.append(Asked(what, more.get("json"), more.get("params") or {}))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await asyncio.sleep(0)
            for place, (beginning, outcome) in enumerate(self._outcomes):
                if what.startswith(beginning):
                    del self._outcomes[place]
                    return await outcome(lambda: self._request(route, **more))
            return await self._request(route, **more)
        finally:
            self._at_once -= 1


class Stage:
    """A channel, the masks of the bot, and the outbox that uses them."""

    def __init__(self, env: simcord.Env, client: discord.Client) -> None:
        self.env = env
        self.client = client
        self.wire = Wire(client)
        self.clock = SettableClock()
        self.guild = env.create_guild()
        self.talk = self.guild.create_text_channel("talk")
        self.listed = LISTED.format(self.talk.id)
        self.made = MADE.format(self.talk.id)
        self.pace = EditPace(requests_per_second=1_000_000)
        self.outbox = self._open_outbox()
        self.masks = self.restart()
        self._nonces = itertools.count()

    def _open_outbox(self) -> Outbox:
        return Outbox(
            self.client, self.pace, InvalidRequests(), clock=self.clock, sleep=self.clock.sleep
        )

    def restart(self) -> Masks:
        """Forget all that the process knew."""
        self.masks = Masks(self.client, clock=self.clock)
        self.outbox = self._open_outbox()
        return self.masks

    async def wear(self, name: str, picture: bytes = b"") -> WebhookAddress:
        """Return the address of a name, which there must be."""
        address = await self.masks.address_for(self.talk.id, name, picture)
        assert address is not None
        return address

    async def say(self, address: Address, text: str) -> int:
        """Send something."""
        return await self.outbox.send(address, text, nonce=f"1-{next(self._nonces)}")

    async def edit(self, address: Address, message_id: int, text: str) -> None:
        """Edit something."""
        await self.pace.ready(address.key, message_id, final=True)
        await self.outbox.edit(address, message_id, text, final=True)

    def shown(self) -> list[tuple[str, str]]:
        """Say what people see: who said what."""
        return [(one.author.name, one.content) for one in self.talk.history()]

    def names(self) -> list[str]:
        """Name the channel's webhooks."""
        there = self.env.backend.webhooks.values()
        return [one.name for one in there if one.channel_id == self.talk.id]


@asynccontextmanager
async def opened() -> AsyncIterator[Stage]:
    """Open a stage."""
    client = discord.AutoShardedClient(intents=discord.Intents.all(), max_messages=None)
    async with simcord.run(client, shard_count=1) as env:
        yield Stage(env, client)


def staged(test: Callable[Concatenate[Stage, P], Awaitable[None]]) -> Callable[P, Awaitable[None]]:
    """Open a stage for a test and in its own context, which the simulation needs."""

    @functools.wraps(test)
    async def run(*args: P.args, **named: P.kwargs) -> None:
        async with opened() as stage:
            await test(stage, *args, **named)

    stage, *others = inspect.signature(test).parameters.values()
    assert stage.name == "stage"
    run.__signature__ = inspect.Signature(others)  # type: ignore[attr-defined]
    return run


def refusal(status: int, code: int = 0) -> discord.HTTPException:
    """Discord's no."""
    kinds = {403: discord.Forbidden, 404: discord.NotFound}
    kind = kinds.get(status, discord.DiscordServerError if status >= 500 else discord.HTTPException)
    response = SimpleNamespace(status=status, reason="no", headers={})
    return kind(cast("aiohttp.ClientResponse", response), {"code": code, "message": "no"})


# Under another name.


@staged
async def test_a_persona_speaks_under_its_own_name(stage: Stage) -> None:
    """A message is posted, edited and taken away under it, and the bot's own stays what it was."""
    address = await stage.wear("Ada")
    message_id = await stage.say(address, "Good day ▌")
    await stage.edit(address, message_id, "Good day.")
    await stage.say(ChannelAddress(stage.talk.id), "I am the bot.")
    assert stage.client.user is not None
    assert stage.shown() == [("Ada", "Good day."), (stage.client.user.name, "I am the bot.")]
    await stage.outbox.remove(address, message_id)
    assert len(stage.shown()) == 1
    assert not address.takes_replies


@staged
async def test_a_webhook_is_used_again(stage: Stage) -> None:
    """Each name has one, whoever asks and how often."""
    first = await stage.wear("Ada")
    other = await stage.wear("Ben")
    assert stage.wire.whats() == [stage.listed, stage.made, stage.made]
    assert (await stage.wear("Ada")).key == first.key
    assert (await stage.wear("Ben")).key == other.key
    assert stage.wire.whats() == []
    assert stage.names() == ["Ada", "Ben"]


@staged
async def test_a_webhook_is_found_after_a_restart(stage: Stage) -> None:
    """One list tells of all, and none is made twice."""
    key = (await stage.wear("Ada")).key
    stage.restart()
    stage.wire.whats()
    assert (await stage.wear("Ada")).key == key
    assert stage.wire.whats() == [stage.listed]


@staged
async def test_webhooks_of_others_are_left_alone(stage: Stage) -> None:
    """Neither those of people, nor of other applications, nor those that only follow a channel."""
    user = stage.client.user
    assert user is not None
    ours = {"type": 1, "name": "Ada", "token": "x", "avatar": None, "user": {"id": str(user.id)}}
    foreign = [
        ours | {"id": "1", "user": {"id": "77"}},
        ours | {"id": "2", "application_id": "77"},
        ours | {"id": "3", "type": 2},
        {key: value for key, value in ours.items() if key != "token"} | {"id": "4"},
        {"id": "5", "type": 1, "name": "Ada", "token": "x", "avatar": None},
    ]
    stage.wire.answer(stage.listed, foreign)
    address = await stage.wear("Ada")
    assert address.key > 5


@pytest.mark.parametrize(
    ("picture", "avatar"),
    [
        (b"", None),
        (PNG, f"data:image/png;base64,{base64.b64encode(PNG).decode()}"),
        (JPEG, f"data:image/jpeg;base64,{base64.b64encode(JPEG).decode()}"),
        (b"GIF89a", None),
    ],
)
@staged
async def test_a_picture_is_given_when_it_is_made(
    stage: Stage, picture: bytes, avatar: str | None
) -> None:
    """PNG and JPEG are; what is neither is as good as none."""
    await stage.wear("Ada", picture)
    await stage.wear("Ada", picture)
    assert [one.json for one in stage.wire.asked if one.what == stage.made] == [
        {"name": "Ada", "avatar": avatar}
    ]


@staged
async def test_a_picture_is_given_anew_after_a_restart(stage: Stage) -> None:
    """Once, for nobody can say which one a webhook bears; one without any needs nothing."""
    found = await stage.wear("Ada")
    user = stage.client.user
    assert user is not None
    data = {"id": str(found.key), "type": 1, "name": "Ada", "token": "x", "user": {"id": user.id}}
    for picture, avatar, changes in ((PNG, "abc", 1), (b"", "abc", 1), (b"", None, 0)):
        stage.restart()
        stage.wire.answer(stage.listed, [data | {"avatar": avatar}])
        stage.wire.answer(f"PATCH /webhooks/{found.key}", {})
        stage.wire.whats()
        for _ in range(3):
            assert (await stage.wear("Ada", picture)).key == found.key
        assert stage.wire.whats() == [
            stage.listed,
            *[f"PATCH /webhooks/{found.key}"] * changes,
        ]


@staged
async def test_the_same_name_with_another_picture_is_another(stage: Stage) -> None:
    """Two personas may have the same name, and do not take each other's picture."""
    keys = {(await stage.wear("Ada", picture)).key for picture in (PNG, JPEG, PNG, b"")}
    assert len(keys) == 3


@staged
async def test_a_thread_uses_its_channels_webhook(stage: Stage) -> None:
    """Every request says which thread is meant."""
    thread = stage.env.backend.create_thread(stage.talk.id, "plans", stage.env.backend.bot_user.id)
    await stage.env.settle()
    address = await stage.masks.address_for(thread.id, "Ada", b"")
    assert address is not None
    assert address.key == (await stage.wear("Ada")).key
    stage.wire.asked.clear()
    message_id = await stage.say(address, "one")
    await stage.edit(address, message_id, "two")
    await stage.outbox.remove(address, message_id)
    assert [one.query for one in stage.wire.asked] == [
        {"wait": "true", "thread_id": str(thread.id)},
        {"thread_id": str(thread.id)},
        {"thread_id": str(thread.id)},
    ]
    assert await stage.masks.address_of_message(thread.id, message_id) is address


@staged
async def test_s10_nobody_is_pinged_under_another_name(stage: Stage) -> None:
    """Two hundred hostile texts, posted, edited and with files, notify nobody and hide no link;
    none chooses another name than the webhook's."""
    address = await stage.wear("Ada")
    stage.wire.asked.clear()
    for place, text in enumerate(hostile_texts()):
        file = ("a.md", text) if place % 2 else None
        message_id = await stage.outbox.send(address, text, nonce=f"{place}-0", file=file)
        await stage.edit(address, message_id, f"{text}!")
    bodies = [one.json for one in stage.wire.asked if one.json]
    assert len(stage.wire.asked) == 200
    assert len(bodies) == 150
    assert all(body["allowed_mentions"] == NOBODY for body in bodies)
    assert all(body["flags"] == 4 for body in bodies)
    assert not any({"username", "avatar_url"} & body.keys() for body in bodies)
    messages = stage.talk.history()
    assert len(messages) == 100
    assert not any(one.mentions or one.role_mentions or one.mention_everyone for one in messages)
    assert not any("](" in one.content for one in messages)
    assert {one.author.name for one in messages} == {"Ada"}
    assert sum(bool(one.attachments) for one in messages) == 50


def hostile_texts() -> Iterator[str]:
    """Yield what a model might say to make people's phones ring."""
    # fmt: off
    forms = ("@everyone", "@here", "<@1>", "<@!1>", "<@&1>", "@\u200beveryone", "@e\u200dveryone",
             "＠everyone", "@еveryone", "@every**one**")  # noqa: RUF001
    frames = ("{}", "{} {}", "> {}", "`{}`", "```\n{}\n```", "||{}||", "[{}](http://a.example)",
              "a{}b", "\\{}", "# {}")
    # fmt: on
    yield from (frame.replace("{}", form) for form in forms for frame in frames)


@staged
async def test_s18_what_is_said_under_another_name_is_the_bots(stage: Stage) -> None:
    """The core hears it, if at all, as a bot's."""
    heard: list[discord.Message] = []

    async def on_message(message: discord.Message) -> None:
        heard.append(message)

    stage.client.event(on_message)
    await stage.say(await stage.wear("Ada"), "hello")
    await stage.env.settle()
    assert stage.client.user is not None
    (message,) = heard
    assert to_incoming(message, stage.client.user).author_is_bot


# Where that cannot be.


@staged
async def test_no_other_names_in_private_or_in_unknown_channels(stage: Stage) -> None:
    """There, nothing is asked for."""
    ada = stage.env.create_user("Ada")
    await ada.send_dm("hello")
    for channel_id in (ada.dm_channel.id, 1):
        assert await stage.masks.address_for(channel_id, "Ada", b"") is None
        assert await stage.masks.address_of_message(channel_id, 1) is None
    assert stage.wire.whats() == []


@pytest.mark.parametrize(
    ("permission", "lacking"),
    [
        ("manage_webhooks", "Manage Webhooks"),
        ("read_message_history", "Read Message History"),
    ],
)
@staged
async def test_without_the_permission_it_is_the_bots_own_name(
    stage: Stage, caplog: pytest.LogCaptureFixture, permission: str, lacking: str
) -> None:
    """Discord is not even asked, and the log says so once in ten minutes. Who may not read what was
    said is not sure to say a thing but once, and so wears no mask."""
    caplog.set_level(logging.INFO)
    assert stage.guild.me is not None
    denied = discord.PermissionOverwrite(**{permission: False})
    room = stage.guild.create_text_channel("room", overwrites={stage.guild.me: denied})
    for _ in range(3):
        assert await stage.masks.address_for(room.id, "Ada", b"") is None
        assert await stage.masks.address_of_message(room.id, 1) is None
        stage.clock.advance(REFUSED_SECONDS / 3 - 1)
    (told,) = (record.getMessage() for record in caplog.records if "own name" in record.msg)
    assert told == (
        f"In channel {room.id} everybody speaks under the bot's own name for 10 min: "
        f"the permission {lacking} is missing"
    )
    stage.clock.advance(10)
    assert await stage.masks.address_for(room.id, "Ada", b"") is None
    assert len([record for record in caplog.records if "own name" in record.msg]) == 2
    assert stage.wire.whats() == []


@pytest.mark.parametrize("asked", [LISTED, MADE])
@pytest.mark.parametrize(
    "error",
    [
        refusal(403, 50013),
        refusal(400, 30007),
        refusal(503),
        discord.RateLimited(99.0),
        aiohttp.ClientOSError(),
        TimeoutError(),
    ],
)
@staged
async def test_a_refusal_is_remembered_for_a_while(
    stage: Stage, caplog: pytest.LogCaptureFixture, asked: str, error: Exception
) -> None:
    """Nothing is asked meanwhile, and afterwards it may be possible."""
    stage.wire.fail(asked.format(stage.talk.id), error)
    for _ in range(3):
        assert await stage.masks.address_for(stage.talk.id, "Ada", b"") is None
    assert len(stage.wire.whats()) == (1 if asked is LISTED else 2)
    assert len([record for record in caplog.records if "own name" in record.msg]) == 1
    stage.clock.advance(REFUSED_SECONDS)
    await stage.wear("Ada")
    assert stage.wire.whats() == [stage.listed, stage.made]


@staged
async def test_an_answer_does_not_wait_long_for_its_name(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When Discord is slow, all who wait go on under the bot's own name."""
    monkeypatch.setattr(webhooks, "MAKING_SECONDS", 0.02)

    async def hang(_: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401
        await asyncio.Event().wait()

    stage.wire.befall(stage.made, hang)
    found = await asyncio.gather(
        *(stage.masks.address_for(stage.talk.id, name, b"") for name in ("Ada", "Ben", "Ada"))
    )
    assert found == [None, None, None]
    stage.wire.befall("GET /channels", hang)
    stage.restart()
    assert await stage.masks.address_of_message(stage.talk.id, 1) is None


@staged
async def test_a_client_that_is_closed_has_no_names(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What aiohttp says then is a refusal like any other; while it is open it is a fault."""
    stage.wire.fail(stage.listed, RuntimeError("Session is closed"))
    with pytest.raises(RuntimeError):
        await stage.masks.address_for(stage.talk.id, "Ada", b"")
    monkeypatch.setattr(stage.client, "is_closed", lambda: True)
    for _ in range(2):
        stage.wire.fail(stage.listed, RuntimeError("Session is closed"))
    assert await stage.masks.address_for(stage.talk.id, "Ada", b"") is None
    assert await stage.masks.address_of_message(stage.talk.id, 1) is None


# Few webhooks, and many who want them.


@staged
async def test_one_makes_them_at_a_time(stage: Stage) -> None:
    """Twenty answers at once, under five names, make five webhooks, one after the other."""
    names = [f"name {number % 5}" for number in range(20)]
    found = await asyncio.gather(*(stage.wear(name) for name in names))
    assert len({address.key for address in found}) == 5
    assert sorted(stage.names()) == sorted(set(names))
    assert stage.wire.most_at_once == 1


@staged
async def test_channels_do_not_wait_for_each_other(stage: Stage) -> None:
    """While Discord is slow about one, another gets its webhook."""
    gate = asyncio.Event()

    async def wait(perform: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401
        await gate.wait()
        return await perform()

    stage.wire.befall(stage.listed, wait)
    other = stage.guild.create_text_channel("other")
    async with asyncio.TaskGroup() as tasks:
        slow = tasks.create_task(stage.wear("Ada"))
        assert await stage.masks.address_for(other.id, "Ada", b"") is not None
        assert not slow.done()
        gate.set()


@staged
async def test_who_leaves_while_it_is_made_harms_nobody(stage: Stage) -> None:
    """The webhook that Discord made nonetheless is found, and not made twice."""
    performed = asyncio.Event()

    async def linger(perform: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401
        await perform()
        performed.set()
        await asyncio.Event().wait()

    stage.wire.befall(stage.made, linger)
    task = asyncio.ensure_future(stage.wear("Ada"))
    await performed.wait()
    other = asyncio.ensure_future(stage.wear("Ada"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await other
    assert stage.names() == ["Ada"]


@staged
async def test_a_full_channel_changes_the_one_used_longest_ago(stage: Stage) -> None:
    """Of ours, that is; whoever else has one keeps it."""
    for number in range(5):
        other = stage.guild.create_webhook(stage.talk, f"other {number}")
        stage.env.backend.webhooks[other.id].creator_id = stage.guild.owner.id
    ours = [await stage.wear(f"name {number}") for number in range(MOST_IN_A_CHANNEL - 5)]
    await stage.wear("name 0")
    stage.wire.whats()
    stage.wire.answer(f"PATCH /webhooks/{ours[1].key}", {})
    assert (await stage.wear("Ada", PNG)).key == ours[1].key
    (asked,) = stage.wire.asked
    assert asked.json["name"] == "Ada"
    assert asked.json["avatar"].startswith("data:image/png;base64,")
    stage.wire.answer(f"PATCH /webhooks/{ours[2].key}", {})
    assert (await stage.wear("name 1")).key == ours[2].key
    assert (await stage.wear("Ada", PNG)).key == ours[1].key


@staged
async def test_a_channel_full_of_others_has_no_room(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is made or changed there."""
    for number in range(MOST_IN_A_CHANNEL):
        other = stage.guild.create_webhook(stage.talk, f"other {number}")
        stage.env.backend.webhooks[other.id].creator_id = stage.guild.owner.id
    assert await stage.masks.address_for(stage.talk.id, "Ada", b"") is None
    assert stage.wire.whats() == [stage.listed]
    assert "there are 15 webhooks of others" in caplog.text


@staged
async def test_a_webhook_that_somebody_deleted_is_made_anew(stage: Stage) -> None:
    """The message that found out is refused, so that it can be said otherwise; the next ones are
    said under the name again."""
    address = await stage.wear("Ada")
    stage.env.backend.delete_webhook(address.key)
    with pytest.raises(TargetGone):
        await stage.say(address, "lost")
    again = await stage.wear("Ada")
    assert again.key != address.key
    await stage.say(again, "here")
    assert stage.shown() == [("Ada", "here")]


@staged
async def test_a_webhook_that_may_not_post_is_left_alone(stage: Stage) -> None:
    """As long as any other refusal."""
    address = await stage.wear("Ada")
    stage.wire.fail(f"POST /webhooks/{address.key}", refusal(403, 50001))
    with pytest.raises(TargetGone):
        await stage.say(address, "lost")
    assert await stage.masks.address_for(stage.talk.id, "Ada", b"") is None
    stage.clock.advance(REFUSED_SECONDS)
    await stage.wear("Ada")


@staged
async def test_few_channels_are_remembered(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were used longest ago are looked up again, and so are messages."""
    for bound in ("MAX_CHANNELS", "MAX_MESSAGES"):
        monkeypatch.setattr(webhooks, bound, 2)
    stage.restart()
    channels = [stage.guild.create_text_channel(f"channel-{number}") for number in range(3)]
    for channel in channels:
        address = await stage.masks.address_for(channel.id, "Ada", b"")
        assert address is not None
        await stage.say(address, "hello")
    stage.wire.whats()
    for place in (2, 1, 0, 1, 2):
        await stage.masks.address_for(channels[place].id, "Ada", b"")
    assert stage.wire.whats() == [LISTED.format(channels[place].id) for place in (0, 2)]
    messages = [channel.history()[-1].id for channel in channels]
    assert [one in stage.masks.posted for one in messages] == [False, True, True]


# Whose message it was.


@staged
async def test_a_message_leads_back_to_its_webhook(stage: Stage) -> None:
    """Nothing is asked for that."""
    address = await stage.wear("Ada")
    message_id = await stage.say(address, "one")
    stage.wire.whats()
    assert await stage.masks.address_of_message(stage.talk.id, message_id) is address
    assert stage.wire.whats() == []


@staged
async def test_a_message_leads_back_to_its_webhook_after_a_restart(stage: Stage) -> None:
    """Discord is asked who posted it; then it can be edited."""
    message_id = await stage.say(await stage.wear("Ada"), "one")
    stage.restart()
    address = await stage.masks.address_of_message(stage.talk.id, message_id)
    assert address is not None
    await stage.edit(address, message_id, "two")
    assert stage.shown() == [("Ada", "two")]


@staged
async def test_messages_of_others_lead_to_no_webhook(stage: Stage) -> None:
    """Not the bot's own, not those of people or of their webhooks, and not those that are gone."""
    await stage.wear("Ada")
    ben = stage.guild.add_member(stage.env.create_user("Ben"))
    other = stage.guild.create_webhook(stage.talk, "other")
    stage.env.backend.webhooks[other.id].creator_id = stage.guild.owner.id
    ids = [
        await stage.say(ChannelAddress(stage.talk.id), "the bot's"),
        (await ben.send(stage.talk, "Ben's")).id,
        (await other.send("a webhook's")).id,
        1,
    ]
    for message_id in ids:
        assert await stage.masks.address_of_message(stage.talk.id, message_id) is None


@staged
async def test_where_no_webhook_is_ours_no_message_is_looked_up(stage: Stage) -> None:
    """One list is enough for all messages of a channel."""
    for message_id in range(3):
        assert await stage.masks.address_of_message(stage.talk.id, message_id) is None
    assert stage.wire.whats() == [stage.listed]


# What may go wrong.


@pytest.mark.parametrize("is_performed", [True, False])
@staged
async def test_r3_exactly_once(stage: Stage, is_performed: bool) -> None:
    """Webhooks know no nonces, so a post of which nobody knows what became is looked for before it
    is repeated; what was said before, in the same words or before a restart, is not taken for
    it."""
    await stage.say(await stage.wear("Ada"), "hello")
    stage.restart()
    address = await stage.wear("Ada")
    first = await stage.say(address, "again")

    async def break_off(perform: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401
        if is_performed:
            await perform()
        raise aiohttp.ClientOSError

    stage.wire.befall(f"POST /webhooks/{address.key}", break_off)
    second = await stage.say(address, "again")
    assert [text for _, text in stage.shown()] == ["hello", "again", "again"]
    assert [one.id for one in stage.talk.history()][1:] == [first, second]
    await stage.edit(address, second, "once more")
    assert [text for _, text in stage.shown()] == ["hello", "again", "once more"]


@staged
async def test_r3_who_may_not_look_says_nothing_twice(stage: Stage) -> None:
    """What may stand there is given up, and under the bot's own name it is not said either."""
    address = await stage.wear("Ada")
    stage.wire.fail(f"POST /webhooks/{address.key}", aiohttp.ClientOSError())
    stage.wire.fail(f"GET /channels/{stage.talk.id}/messages", refusal(403, 50001))
    with pytest.raises(TargetGone):
        await stage.say(address, "one")
    assert address.may_have_posted
    assert stage.shown() == []


@staged
async def test_a_refusal_is_certain(stage: Stage) -> None:
    """Of what was refused, or was posted, everybody knows what became."""
    address = await stage.wear("Ada")
    await stage.say(address, "one")
    assert not address.may_have_posted
    stage.wire.fail(f"POST /webhooks/{address.key}", refusal(403, 50013))
    with pytest.raises(TargetGone):
        await stage.say(address, "two")
    assert not address.may_have_posted


@pytest.mark.parametrize("error", [refusal(503), None])
@staged
async def test_r3_looking_may_fail(stage: Stage, error: Exception | None) -> None:
    """Who cannot look just now tries once more. A file's words count as any message's."""
    address = await stage.wear("Ada")
    posting = f"POST /webhooks/{address.key}"
    stage.wire.fail(posting, aiohttp.ClientOSError())
    if error is not None:
        stage.wire.fail(f"GET /channels/{stage.talk.id}/messages", error)
    await stage.outbox.send(address, "one", nonce="1-0", file=("a.md", "a"))
    assert stage.shown() == [("Ada", "one")]


@staged
async def test_a_refused_text_is_not_looked_for(stage: Stage) -> None:
    """A refusal is certain: the text, or what stands in its place, is posted at once."""
    address = await stage.wear("Ada")
    stage.wire.fail(f"POST /webhooks/{address.key}", refusal(429))
    stage.wire.fail(f"POST /webhooks/{address.key}", refusal(400, 50035))
    await stage.say(address, "one")
    assert stage.shown() == [("Ada", "Discord did not accept my answer here.")]
    assert not any("/messages" in one.what for one in stage.wire.asked)


@staged
async def test_s16_no_token_is_told(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever has a webhook's token can speak by it, so it is in no log, no error and no repr."""
    caplog.set_level(logging.INFO)
    address = await stage.wear("Ada")
    token = stage.env.backend.webhooks[address.key].token
    message_id = await stage.say(address, "one")
    posting = f"POST /webhooks/{address.key}"
    stage.wire.fail(posting, aiohttp.ClientOSError())
    await stage.say(address, "two")
    stage.wire.fail(posting, refusal(403))
    with pytest.raises(TargetGone) as caught:
        await stage.say(address, "three")
    found = await stage.masks.address_of_message(stage.talk.id, message_id)
    stage.clock.advance(REFUSED_SECONDS)
    await stage.wear("Ada")
    kept = [one.ours for one in stage.masks._channels.values()]
    assert str(address.key) in repr(kept)
    told = [caplog.text, str(caught.value), *map(repr, (address, found, vars(stage.masks), kept))]
    assert caplog.text
    assert not any(token in one for one in told)


# Names.


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Ada", "Ada"),
        (" Miss\n Marple\t", "Miss Marple"),
        ("Clyde", "Cl-yde"),
        ("CLYDE of discord.Discord", "CL-YDE of dis-cord.Dis-cord"),
        ("ｄｉｓｃｏｒｄ", "dis-cord"),  # noqa: RUF001
        ("dis\u200bcord", "dis-cord"),
        ("\u202eAda", "Ada"),
        ("x" * 81, "x" * 80),
        ("", "someone"),
        ("\u200b", "someone"),
    ],
)
def test_a_name_is_one_that_discord_takes(name: str, shown: str) -> None:
    """One line, visible, at most 80 characters, and none of the words that Discord refuses."""
    assert webhook_name(name) == shown


@given(
    st.text()
    | st.lists(st.sampled_from(["dis", "cord", "cl", "yde", "İ", "\u017f", " "])).map("".join)
)
@example("İ" * 5 + "clyde")
@example("di\u017fcord")
def test_any_name_becomes_one_that_discord_takes(name: str) -> None:
    """Whatever it was."""
    shown = webhook_name(name)
    assert 1 <= len(shown) <= 80
    assert shown == " ".join(shown.split())
    assert not {"discord", "clyde"} & {shown.lower()[at:][:n] for at in range(99) for n in (5, 7)}
    assert webhook_name(shown) == shown
