"""REST refuses what Discord refuses, with its codes, limits and headers."""

import asyncio

import pytest
from tests.fakes.clock import SettableClock
from tests.fakes.discord.faults import MISSING_ACCESS, TooMany
from tests.fakes.discord.limits import Limit
from tests.fakes.discord.mentions import Pings
from tests.fakes.discord.plain_client import Api
from tests.fakes.discord.server import FakeDiscord
from tests.fakes.discord.things import Channel

# Limits.


async def test_a_channel_takes_five_messages_in_five_seconds(
    api: Api, fake: FakeDiscord, channel: Channel, clock: SettableClock
) -> None:
    """The window begins with its first message, tells how it stands, and then begins anew."""
    clock.advance(0.5)
    for n in range(5):
        assert (await api.send(channel))[0] == 200
        assert api.headers["X-RateLimit-Limit"] == "5"
        assert api.headers["X-RateLimit-Remaining"] == str(4 - n)
        assert api.headers["X-RateLimit-Reset-After"] == f"{5 - n:.3f}"
        clock.advance(1)
    clock.advance(-0.5)
    status, body = await api.send(channel)
    assert (status, body["retry_after"], body["global"]) == (429, 0.5, False)
    assert (api.headers["X-RateLimit-Scope"], api.headers["Via"]) == ("user", "1.1 google")
    clock.advance(0.5)
    assert (await api.send(channel))[0] == 200
    assert [request.time for request in fake.requests_to("create_message")][-2:] == [5.0, 5.5]


async def test_each_channel_and_route_has_a_window_of_its_own(
    api: Api, fake: FakeDiscord, channel: Channel
) -> None:
    """Sends, edits and other channels do not use up each other's places; and a limit can be set."""
    fake.limits.by_route["edit_message"] = Limit(1, 5.0)
    message_id = await api.sent(channel)
    for _ in range(4):
        await api.sent(channel)
    bucket = api.headers["X-RateLimit-Bucket"]
    assert (await api.send(channel))[0] == 429
    assert (await api.edit(channel, message_id, "y"))[0] == 200
    assert api.headers["X-RateLimit-Bucket"] != bucket
    assert (await api.edit(channel, message_id, "z"))[0] == 429
    assert channel.guild is not None
    assert (await api.send(channel.guild.add_text_channel("other")))[0] == 200
    assert api.headers["X-RateLimit-Bucket"] == bucket


async def test_all_routes_share_the_global_limit(
    api: Api, fake: FakeDiscord, clock: SettableClock
) -> None:
    """The 51st request of a second is refused, whatever it asks."""
    for _ in range(50):
        assert (await api.ask("GET", "/users/@me"))[0] == 200
    status, body = await api.ask("GET", "/gateway/bot")
    assert (status, body["global"], body["retry_after"]) == (429, True, 1.0)
    assert api.headers["X-RateLimit-Scope"] == "global"
    clock.advance(1)
    assert (await api.ask("GET", "/users/@me"))[0] == 200


async def test_too_many_invalid_requests_are_a_ban(
    api: Api, fake: FakeDiscord, channel: Channel, clock: SettableClock
) -> None:
    """401, 403 and 429 count for ten minutes, 429 of a shared limit and 404 do not; who has too
    many is not even answered in JSON."""
    fake.limits.invalid_requests = 3
    fake.fault("create_message", [MISSING_ACCESS, TooMany(1), TooMany(1, "shared")])
    assert [(await api.send(channel))[0] for _ in range(3)] == [403, 429, 429]
    assert (await api.ask("GET", "/channels/1"))[0] == 404
    assert fake.limits.invalid_lately() == 2
    api.token = "another"
    assert await api.ask("GET", "/users/@me") == (401, {"message": "401: Unauthorized", "code": 0})
    api.token = fake.token
    assert await api.send(channel) == (429, "error code: 1015")
    assert "Via" not in api.headers
    clock.advance(600)
    assert (await api.send(channel))[0] == 200


# What a message may be.


@pytest.mark.parametrize(
    ("body", "status", "code", "violations"),
    [
        ({"content": "x" * 2000}, 200, None, 0),
        ({"content": "x" * 2001}, 400, 50035, 1),
        ({"content": "🦊" * 1000}, 200, None, 0),
        ({"content": "🦊" * 1001}, 200, None, 1),
        ({"content": ""}, 400, 50006, 1),
        ({"content": " \n"}, 400, 50006, 1),
        ({"content": "x", "nonce": "n" * 25}, 200, None, 0),
        ({"content": "x", "nonce": "n" * 26}, 400, 50035, 1),
        ({"content": "x", "allowed_mentions": {"parse": ["users"], "users": ["1"]}}, 400, 50035, 1),
        ({"content": "x", "allowed_mentions": {"users": ["1"] * 101}}, 400, 50035, 1),
        ({"content": "x", "message_reference": {"message_id": "1"}}, 400, 50035, 0),
        (
            {"content": "x", "message_reference": {"message_id": "1", "fail_if_not_exists": False}},
            200,
            None,
            0,
        ),
    ],
)
async def test_the_form_of_a_message_is_checked(
    api: Api,
    channel: Channel,
    body: dict[str, object],
    status: int,
    code: int | None,
    violations: int,
) -> None:
    """What breaks a rule is refused by its code and noted; too many UTF-16 units are noted only."""
    answered, answer = await api.ask("POST", f"/channels/{channel.id}/messages", body)
    assert (answered, answer.get("code")) == (status, code)
    assert len(api.fake.violations) == violations
    assert len(api.fake.visible(channel)) == (status == 200)


async def test_an_enforced_nonce_sends_once(
    api: Api, fake: FakeDiscord, channel: Channel, clock: SettableClock
) -> None:
    """The same nonce returns the first message, for some minutes and if that is asked."""
    first = await api.sent(channel, "one", nonce="1-1", enforce_nonce=True)
    assert await api.sent(channel, "two", nonce="1-1", enforce_nonce=True) == first
    assert await api.sent(channel, "three", nonce="1-1") != first
    clock.advance(300)
    assert await api.sent(channel, "four", nonce="1-1", enforce_nonce=True) != first
    assert fake.answers(channel) == ["one", "three", "four"]


async def test_pings_are_recorded(api: Api, fake: FakeDiscord, channel: Channel) -> None:
    """Without allowed_mentions all is parsed; with them, what they say; an edit counts as well."""
    ada = fake.add_user("Ada")
    said = await fake.say(ada, channel, "hello")
    reply = {"message_reference": {"message_id": str(said.id)}}
    text = f"@everyone {ada.mention}"
    await api.send(channel, text)
    await api.send(channel, text, allowed_mentions={"parse": []}, **reply)
    await api.send(channel, "yes", allowed_mentions={"parse": [], "replied_user": True}, **reply)
    quiet = await api.sent(channel, "quiet", flags=4)
    await api.edit(channel, quiet, ada.mention)
    await api.edit(channel, quiet, "quiet again")
    everyone, nobody, answered, edited = fake.messages_of_bot()
    assert everyone.pings == Pings(everyone=True, users=frozenset({ada.id}))
    assert not nobody.pings
    assert answered.pings == edited.pings == Pings(users=frozenset({ada.id}))
    assert len(fake.pings()) == 3
    assert edited.flags == 4


async def test_previews_of_links_can_be_suppressed_later(
    api: Api, fake: FakeDiscord, channel: Channel
) -> None:
    """An edit may set a message's flags, and leaves them alone otherwise."""
    message_id = await api.sent(channel)
    path = f"/channels/{channel.id}/messages/{message_id}"
    await api.ask("PATCH", path, {"flags": 4})
    await api.edit(channel, message_id, "y")
    assert (fake.message(message_id).flags, fake.answers(channel)) == (4, ["y"])
    with pytest.raises(KeyError):
        fake.message(1)


# Whom and what it is about.


async def test_missing_permissions_are_refused(
    api: Api, fake: FakeDiscord, channel: Channel
) -> None:
    """What the bot may not do is refused with 403, in a channel's threads too, until allowed."""
    assert channel.guild is not None
    thread = channel.guild.add_thread(channel, "thread")
    message_id = await api.sent(channel)
    channel.deny("send_messages", "send_messages_in_threads")
    assert await api.send(channel) == (403, {"message": "Missing Permissions", "code": 50013})
    assert (await api.send(thread))[0] == 403
    assert (await api.ask("POST", f"/channels/{channel.id}/typing"))[0] == 403
    assert (await api.edit(channel, message_id, "still mine"))[0] == 200
    channel.allow("send_messages")
    assert (await api.send(channel))[0] == 200
    channel.deny("read_message_history")
    assert (await api.ask("GET", f"/channels/{channel.id}/messages"))[1]["code"] == 50013
    reference = {"message_id": str(message_id)}
    assert (await api.send(channel, message_reference=reference))[1]["code"] == 160002
    channel.deny("view_channel")
    assert (await api.edit(channel, message_id, "x"))[1]["code"] == 50001
    assert (await api.send(thread))[1]["code"] == 50001
    with pytest.raises(ValueError, match="fly"):
        channel.deny("fly")


async def test_a_person_can_close_the_private_chat(api: Api, fake: FakeDiscord) -> None:
    """Who takes no private messages cannot be sent any."""
    chat = fake.open_dm(fake.add_user("Ada"))
    chat.deny("send_messages")
    assert (await api.send(chat))[1]["code"] == 50007


async def test_what_is_not_there_is_unknown(api: Api, fake: FakeDiscord, channel: Channel) -> None:
    """Channels, messages, users, members and guilds that are not there have codes of their own."""
    said = await fake.say(fake.add_user("Ada"), channel, "hello")
    path = f"/channels/{channel.id}/messages/{said.id}"
    assert (await api.edit(channel, said.id, "mine now"))[1]["code"] == 50005
    assert (await api.ask("DELETE", path))[1]["code"] == 50013
    await fake.delete_message(said)
    mine = await api.sent(channel)
    assert (await api.ask("DELETE", f"/channels/{channel.id}/messages/{mine}"))[0] == 204
    assert channel.guild is not None
    for asked, code in (
        (path, 10008),
        (f"/channels/{channel.id}/messages/{mine}", 10008),
        ("/channels/1", 10003),
        ("/users/1", 10013),
        (f"/guilds/{channel.guild.id}/members/1", 10007),
        ("/guilds/1", 10004),
        ("/nothing/of/the/kind", 0),
    ):
        status, body = await api.ask("GET", asked)
        assert (status, body["code"]) == (404, code)
    channel.guild.remove_bot()
    assert (await api.send(channel))[1]["code"] == 50001


# Records.


async def test_edits_in_flight_are_counted(channel: Channel, api: Api, fake: FakeDiscord) -> None:
    """Two edits of one message at once are seen, and so is that there was one at a time."""
    one, two = await api.sent(channel), await api.sent(channel)
    held = asyncio.Event()

    async def wait(_: float) -> None:
        await held.wait()

    fake.rest.sleep = wait
    fake.latency_seconds = 1.0
    async with asyncio.TaskGroup() as tasks:
        for message_id in (one, one, two):
            tasks.create_task(api.edit(channel, message_id, "y"))
        await fake.until(lambda: len(fake.requests_to("edit_message")) == 3)
        held.set()
    await api.edit(channel, two, "z")
    assert fake.edits_in_flight_max == {one: 2, two: 1}


async def test_requests_are_recorded(api: Api, fake: FakeDiscord, channel: Channel) -> None:
    """A request is recorded with its route, what it named and said, and its connection."""
    message_id = await api.sent(channel, "one")
    await api.edit(channel, message_id, "two")
    send, edit = fake.requests
    assert (send.method, send.route, send.turn, send.status) == ("POST", "create_message", 1, 200)
    assert send.path == f"/channels/{channel.id}/messages"
    assert (edit.channel_id, edit.message_id) == (channel.id, message_id)
    assert edit.body == {"content": "two"}
    assert send.connection == edit.connection


async def test_commands_are_accepted(api: Api, fake: FakeDiscord) -> None:
    """An application's commands can be set, and come back with ids."""
    path = f"/applications/{fake.bot_user.id}/commands"
    status, commands = await api.ask("PUT", path, [{"name": "reset", "type": 1}])
    assert (status, commands[0]["name"]) == (200, "reset")
    assert int(commands[0]["id"])


async def test_the_identifies_that_are_left_are_told(api: Api, fake: FakeDiscord) -> None:
    """The address of the gateway comes with the number of shards and of identifies left."""
    fake.gateway.shards = 3
    _, body = await api.ask("GET", "/gateway/bot")
    assert (body["url"], body["shards"]) == (fake.gateway_url, 3)
    assert body["session_start_limit"]["remaining"] == 1_000
