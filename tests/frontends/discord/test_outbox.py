"""What leaves the bot, as a fake Discord receives it."""

import ast
import asyncio
import random
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import aiohttp
import discord
import discord.http
import pytest
from multidict import CIMultiDict
from tests.fakes.clock import SettableClock
from tests.fakes.desk import Client, Desk, opened
from tests.fakes.discord.faults import (
    MISSING_ACCESS,
    MISSING_PERMISSIONS,
    UNKNOWN_CHANNEL,
    UNKNOWN_MESSAGE,
    Delay,
    DropReply,
    Fail,
    Fault,
    Reset,
    TooMany,
)
from tests.fakes.discord.limits import Limit
from tests.fakes.discord.records import Request
from tests.fakes.discord.server import FakeDiscord
from tests.fakes.discord.things import Channel

import acore_bot.frontends.discord
from acore_bot.errors import TargetGone
from acore_bot.frontends.discord import outbox
from acore_bot.frontends.discord.addresses import ChannelAddress
from acore_bot.frontends.discord.drafts import NO_FILE, NOT_ACCEPTED, NOTHING
from acore_bot.frontends.discord.outbox import PATIENCE_SECONDS, Outbox
from acore_bot.frontends.discord.pace import EditPace
from acore_bot.frontends.discord.rest import InvalidRequests, PromptRatelimit

NOBODY = {"parse": [], "replied_user": False}


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """A desk."""
    async with opened() as desk:
        yield desk


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let discord.py's own pauses, of seconds, take no time."""

    async def sleep(_: float) -> None:
        await asyncio.sleep(0)

    names = {name: getattr(asyncio, name) for name in asyncio.__all__}
    monkeypatch.setattr(discord.http, "asyncio", SimpleNamespace(**{**names, "sleep": sleep}))


def hostile_texts() -> Iterator[str]:
    """Yield what a model might say to make people's phones ring."""
    # fmt: off
    forms = ("@everyone", "@here", "<@{}>", "<@!{}>", "<@&{}>", "@\u200beveryone",
             "@e\u200dveryone", "＠everyone", "@еveryone", "@every**one**")  # noqa: RUF001
    frames = ("{}", "{} {}", "> {}", "`{}`", "```\n{}\n```", "||{}||", "[{}](http://a.example)",
              "a{}b", "\\{}", "# {}")
    # fmt: on
    for form in forms:
        for frame in frames:
            yield frame.replace("{}", form)


async def test_s10_nobody_is_pinged(desk: Desk) -> None:
    """Two hundred hostile texts, sent, as replies, as edits and as names and words of files, notify
    nobody; every request says so, and that no link is to be previewed."""
    ada = desk.fake.add_user("Ada")
    asked = await desk.fake.say(ada, desk.channel, "hello")
    cases = 0
    for place, form in enumerate(hostile_texts()):
        text = form.replace("{}", str(ada.id))
        nonces = (f"{place}-{part}" for part in range(9))
        if place % 2:
            message_id = await desk.send(text, next(nonces), reply_to=asked.id)
        else:
            message_id = await desk.send(text, next(nonces))
        if place % 2:
            await desk.edit(message_id, f"{text}!")
        else:
            await desk.outbox.send(
                desk.address, text, nonce=next(nonces), file=(f"{text}/../a b.md", text)
            )
        cases += 2
    assert cases >= 200
    sent = [one for one in desk.fake.requests if one.method in {"POST", "PATCH"}]
    assert len(sent) == cases
    assert all(one.body["allowed_mentions"] == NOBODY for one in sent)
    assert all(one.body["flags"] == 4 for one in sent)
    assert not desk.fake.pings()
    names = {file.name for one in sent for file in one.files}
    assert names
    assert all(name.isascii() and not set("@<>/\\: ") & set(name) for name in names)


# Who asks Discord for anything by itself, and why that shows no text of a model's.
DIRECT = {
    "drafts.py": "words what the outbox sends, and sends nothing",
    "addresses.py": "does what the outbox tells it",
    "address.py": "does what the outbox tells it",
    "webhooks.py": "does what the outbox tells it, and names webhooks",
    "response.py": "says that an answer will come, and holds no text",
    "presses.py": "says that a button was heard, and holds no text",
    "panel.py": "shows settings to who manages them, disarmed, and mentions nobody",
}


def test_s10_there_is_no_other_way_out() -> None:
    """No other module of the front end sends, edits, or replies but through the outbox."""
    ways = {"respond", "send_message", "edit_message", "send_modal", "edit_original_response",
            "create_thread", "publish", "defer", "forward", "send_files", "execute_webhook",
            "handle_message_parameters", "start_thread_with_message", "request"}  # fmt: skip
    # These are names of ours as well, so who is asked counts.
    ours = re.compile(r"(^|\.)(_?outbox|self|_response|send|edit)(\.|$)")
    folder = Path(acore_bot.frontends.discord.__file__).parent
    found = [
        f"{path.name}:{node.lineno} {asked}"
        for path in folder.rglob("*.py")
        if path.name not in {"outbox.py", "rest.py", *DIRECT}
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name)
        for asked in [ast.unparse(node.func)]
        for way in [asked.rpartition(".")[2]]
        if way in ways or (way in {"send", "edit", "reply"} and not ours.search(asked))
    ]
    assert not found


async def test_links_are_shown_whole(desk: Desk) -> None:
    """Whatever is sent or edited hides no address."""
    message_id = await desk.send("[bank.com](http://evil.example)")
    assert desk.fake.answers(desk.channel) == ["bank.com <http://evil.example>"]
    await desk.edit(message_id, "[bank.com](http://evil.example/2)")
    assert desk.fake.answers(desk.channel) == ["bank.com <http://evil.example/2>"]


@pytest.mark.parametrize("text", ["", " \n ", "\u200b"])
async def test_nothing_is_never_sent(desk: Desk, text: str) -> None:
    """A text that shows nothing becomes an ellipsis, since Discord refuses it."""
    message_id = await desk.send(text)
    await desk.edit(message_id, text)
    sent = [one.body["content"] for one in desk.fake.requests if one.method != "GET"]
    assert sent == [NOTHING, NOTHING]


async def test_a_file_arrives_whole_after_a_second_try(desk: Desk) -> None:
    """A file is sent anew, from its beginning, when a try fails."""
    desk.fake.fault("create_message", [Fail(503), Reset()])
    await desk.outbox.send(desk.address, "Here.", nonce="1-0", file=("answer.md", "é" * 1000))
    last = desk.fake.requests[-1]
    assert [(file.name, file.content.decode()) for file in last.files] == [
        ("answer.md", "é" * 1000)
    ]


async def test_r3_exactly_once(desk: Desk) -> None:
    """When the answer to every fifth send is lost after Discord performed it, five hundred triggers
    have five hundred answers."""
    desk.fake.fault("create_message", lambda one: DropReply() if one.turn % 5 == 0 else None)
    ids = [await desk.send(f"answer {trigger}", f"{trigger}-0") for trigger in range(500)]
    assert desk.fake.answers(desk.channel) == [f"answer {trigger}" for trigger in range(500)]
    assert len(set(ids)) == 500


async def test_r11_a_bad_day(desk: Desk) -> None:
    """When a third of all requests meet one of seven faults, all of two thousand messages arrive,
    once each."""
    chance = random.Random(11)
    faults: list[Fault] = [Fail(status) for status in (500, 502, 503, 504, 524)]
    faults += [TooMany(40.0), Reset(), DropReply()]

    def befall(_: Request) -> Fault | None:
        return chance.choice(faults) if chance.random() < 0.05 * len(faults) else None

    desk.fake.fault("create_message", befall)
    desk.is_timeless = True  # many wait side by side
    channels = [desk.fake.add_guild(f"{n}").add_text_channel("talk") for n in range(20)]

    async def fill(channel: Channel) -> None:
        for n in range(100):
            await desk.outbox.send(ChannelAddress(channel.id), f"{n}", nonce=f"{channel.id}-{n}")

    async with asyncio.TaskGroup() as group:
        for channel in channels:
            group.create_task(fill(channel))
    for channel in channels:
        assert desk.fake.answers(channel) == [f"{n}" for n in range(100)]


async def test_an_edit_is_repeated(desk: Desk) -> None:
    """An edit lands although its first tries break in different ways, with growing pauses."""
    message_id = await desk.send("a")
    desk.fake.fault("edit_message", [Fail(503), Reset(), DropReply(), Fail(503)])
    await desk.edit(message_id, "b")
    assert desk.fake.answers(desk.channel) == ["b"]
    assert len(desk.pauses) == 4
    bounds = [(0.25 * 2**tries, 0.5 * 2**tries) for tries in range(4)]
    assert all(low <= pause <= high for pause, (low, high) in zip(desk.pauses, bounds, strict=True))


async def test_a_long_limit_is_waited_for(desk: Desk) -> None:
    """A limit that discord.py does not wait for is waited for here."""
    desk.fake.fault("create_message", [TooMany(100.0), TooMany(50.0)])
    await desk.send("a")
    assert desk.fake.answers(desk.channel) == ["a"]
    assert sum(desk.pauses) == pytest.approx(150, abs=2)


async def test_a_request_that_hangs_is_repeated(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Discord that accepts a request and says nothing is asked again."""
    monkeypatch.setattr(outbox, "TRY_SECONDS", 0.05)
    over = asyncio.Event()

    async def until_over(_: float) -> None:
        await over.wait()

    desk.fake.rest.sleep = until_over
    desk.fake.fault("create_message", [Delay(3600)])
    await desk.send("a")
    over.set()
    await desk.fake.until(lambda: all(one.finished_at for one in desk.fake.requests))
    assert desk.fake.answers(desk.channel) == ["a"]
    assert len(desk.fake.requests_to("create_message")) == 2


async def test_waiting_has_an_end(desk: Desk) -> None:
    """A limit that is longer than an answer may take is not waited for."""
    desk.fake.fault("create_message", [TooMany(PATIENCE_SECONDS + 1)])
    with pytest.raises(TargetGone):
        await desk.send("a")
    assert desk.pauses == []


async def test_trying_has_an_end(desk: Desk) -> None:
    """A Discord that does not work at all is given up, within the time of one answer."""
    desk.fake.fault("create_message", lambda _: Fail(503))
    with pytest.raises(TargetGone):
        await desk.send("a")
    assert len(desk.fake.requests_to("create_message")) <= 12
    assert desk.clock() <= PATIENCE_SECONDS
    assert not desk.outbox.is_muted(desk.channel.id)


async def test_a_closed_client_sends_nothing(desk: Desk) -> None:
    """After the client is closed everything is gone."""
    message_id = await desk.send("a")
    await desk.client.close()
    with pytest.raises(TargetGone):
        await desk.send("b", "2-0")
    with pytest.raises(TargetGone):
        await desk.edit(message_id, "b")
    assert not await desk.outbox.show_typing(desk.channel.id)


@pytest.mark.parametrize(
    "refusal",
    [UNKNOWN_MESSAGE, Fail(400, 50035, "Invalid Form Body"), Fail(403, 160002, "Cannot reply")],
)
async def test_who_asked_and_took_it_back_is_answered(desk: Desk, refusal: Fault) -> None:
    """If the message that is replied to cannot be, the answer comes without a reference."""
    desk.fake.fault("create_message", [refusal])
    await desk.send("a", reply_to=12345)
    assert desk.fake.answers(desk.channel) == ["a"]
    first, second = (one.body for one in desk.fake.requests_to("create_message"))
    assert first["message_reference"]["message_id"] == 12345
    assert first["message_reference"]["fail_if_not_exists"] is False
    assert "message_reference" not in second
    assert not desk.outbox.is_muted(desk.channel.id)


async def test_a_deleted_answer_is_gone_and_its_channel_is_not(desk: Desk) -> None:
    """Editing a message that somebody deleted ends its answer and nothing else."""
    message_id = await desk.send("a")
    await desk.fake.delete_message(desk.fake.messages_of_bot()[0])
    with pytest.raises(TargetGone):
        await desk.edit(message_id, "b")
    assert not desk.outbox.is_muted(desk.channel.id)


BLOCKED = Fail(400, 200000, "Message was blocked by automatic moderation")


@pytest.mark.parametrize("refusal", [BLOCKED, Fail(400, 50035), Fail(413, 40005), Fail(405)])
async def test_what_discord_rejects_is_said_to_be(desk: Desk, refusal: Fault) -> None:
    """In place of a text that Discord does not take there is a sentence, as a reply to the same
    message and with a nonce of its own; the channel is not left alone."""
    asked = await desk.fake.say(desk.fake.add_user("Ada"), desk.channel, "hello")
    faults = [refusal, refusal] if refusal == Fail(400, 50035) else [refusal]
    desk.fake.fault("create_message", faults)
    nonce = f"{2**63 - 1}-10"
    message_id = await desk.send("bad words", nonce, reply_to=asked.id)
    (shown,) = desk.fake.messages_of_bot()
    assert (shown.id, shown.text) == (message_id, NOT_ACCEPTED)
    assert shown.reply_to is (None if len(faults) > 1 else asked)
    *_, refused, said = (one.body["nonce"] for one in desk.fake.requests_to("create_message"))
    assert refused == nonce != said
    assert len(said) <= 25
    assert not desk.outbox.is_muted(desk.channel.id)


async def test_what_is_rejected_whatever_it_says_is_given_up(desk: Desk) -> None:
    """If not even the sentence is taken, the answer is gone; its channel is not."""
    desk.fake.fault("*", lambda _: BLOCKED)
    with pytest.raises(TargetGone):
        await desk.send("bad words")
    assert len(desk.fake.requests_to("create_message")) == 2
    desk.fake.faults.clear()
    message_id = await desk.send("good words", "2-0")
    desk.fake.fault("*", lambda _: BLOCKED)
    with pytest.raises(TargetGone):
        await desk.edit(message_id, "bad words")
    assert len(desk.fake.requests_to("edit_message")) == 2
    assert not desk.outbox.is_muted(desk.channel.id)


async def test_an_edit_that_discord_rejects_is_said_to_be(desk: Desk) -> None:
    """The sentence stands in its place, until another text is taken."""
    message_id = await desk.send("good")
    desk.fake.fault("edit_message", [BLOCKED])
    await desk.edit(message_id, "bad")
    assert desk.fake.answers(desk.channel) == [NOT_ACCEPTED]
    await desk.edit(message_id, "better")
    assert desk.fake.answers(desk.channel) == ["better"]


async def test_where_files_are_not_allowed_it_says_so(desk: Desk) -> None:
    """Without the permission to attach files, a message says that instead, and nothing is muted."""
    desk.channel.deny("attach_files")
    await desk.outbox.send(desk.address, "See the file.", nonce="1-0", file=("a.md", "long"))
    assert desk.fake.answers(desk.channel) == [NO_FILE]
    assert not desk.outbox.is_muted(desk.channel.id)


async def test_where_nothing_is_allowed_a_file_is_not_either(desk: Desk) -> None:
    """A channel that takes no message at all is left alone, whatever was to be sent."""
    desk.channel.deny("send_messages")
    with pytest.raises(TargetGone):
        await desk.outbox.send(desk.address, "See it.", nonce="1-0", file=("a.md", "long"))
    assert desk.outbox.is_muted(desk.channel.id)


@pytest.mark.parametrize("refusal", [MISSING_PERMISSIONS, MISSING_ACCESS, UNKNOWN_CHANNEL])
async def test_a_channel_that_refuses_is_left_alone(desk: Desk, refusal: Fault) -> None:
    """A refusal mutes a channel for a minute and for twice as long each time after, an hour at the
    most; a message that is taken makes all forgotten."""
    desk.fake.fault("create_message", lambda _: refusal)
    muted = []
    for turn in range(9):
        with pytest.raises(TargetGone):
            await desk.send("a", f"{turn}-0")
        began = desk.clock()
        while desk.outbox.is_muted(desk.channel.id):
            desk.clock.advance(30)
        muted.append(desk.clock() - began)
    assert muted == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    desk.fake.faults.clear()
    await desk.send("b", "b-0")
    desk.fake.fault("create_message", [refusal])
    with pytest.raises(TargetGone):
        await desk.send("c", "c-0")
    desk.clock.advance(60)
    assert not desk.outbox.is_muted(desk.channel.id)


async def test_nothing_leaves_for_a_muted_channel(desk: Desk) -> None:
    """While a channel is muted, nothing is sent, edited or typed there, and elsewhere all is."""
    other = desk.fake.add_guild("other").add_text_channel("talk")
    message_id = await desk.send("a")
    desk.fake.fault("create_message", [MISSING_ACCESS])
    with pytest.raises(TargetGone):
        await desk.send("b", "2-0")
    requests = len(desk.fake.requests)
    with pytest.raises(TargetGone):
        await desk.send("c", "3-0")
    with pytest.raises(TargetGone):
        await desk.edit(message_id, "c")
    assert not await desk.outbox.show_typing(desk.channel.id)
    assert len(desk.fake.requests) == requests
    await desk.outbox.send(ChannelAddress(other.id), "d", nonce="4-0")
    assert desk.fake.answers(other) == ["d"]


async def test_one_at_a_time_tries_a_channel_again(desk: Desk) -> None:
    """When a mute is over, one message finds out whether the channel takes any; who comes at the
    same time is told that it does not. What it does not find out leaves the question open."""
    desk.fake.fault("create_message", [MISSING_ACCESS, Delay(0.01), *[Fail(503)] * 12])
    with pytest.raises(TargetGone):
        await desk.send("a")
    desk.clock.advance(61)
    results = await asyncio.gather(
        *(desk.send("b", f"{n}-1") for n in range(20)), return_exceptions=True
    )
    assert sum(isinstance(one, TargetGone) for one in results) == 19
    assert not desk.outbox.is_muted(desk.channel.id)


async def test_a_try_without_an_answer_leaves_the_mute_over(desk: Desk) -> None:
    """If nobody said no, the next message may try again at once."""
    desk.fake.fault("create_message", [MISSING_ACCESS, *[Fail(503)] * 12])
    for nonce in ("1-0", "2-0"):
        with pytest.raises(TargetGone):
            await desk.send("a", nonce)
        desk.clock.advance(61 if nonce == "1-0" else 0)
    await desk.send("c", "3-0")
    assert desk.fake.answers(desk.channel) == ["c"]


async def test_r10_invalid_requests(desk: Desk) -> None:
    """A channel that refuses for half an hour and is gone for another costs fewer than a hundred
    invalid requests, however often somebody speaks there."""
    desk.fake.fault("*", lambda _: MISSING_PERMISSIONS if desk.clock() < 1800 else UNKNOWN_CHANNEL)
    for trigger in range(10_000):
        desk.clock.now = trigger * 0.36
        if not desk.outbox.is_muted(desk.channel.id):
            await desk.outbox.show_typing(desk.channel.id)
            with pytest.raises(TargetGone):
                await desk.send("a", f"{trigger}-0")
    assert 5 < sum(one.status in {403, 404} for one in desk.fake.requests) < 100


async def test_r10_everything_pauses_before_a_ban(caplog: pytest.LogCaptureFixture) -> None:
    """Beyond a number of invalid requests within ten minutes nothing is sent until ten more have
    passed, and the log says so once."""
    async with opened(most_invalid=20) as desk:
        desk.fake.fault("create_message", lambda _: MISSING_ACCESS)
        places = [desk.fake.add_guild(f"{n}").add_text_channel("talk") for n in range(40)]
        for place in places:
            with pytest.raises(TargetGone):
                await desk.outbox.send(ChannelAddress(place.id), "a", nonce="1-0")
        assert len(desk.fake.requests_to("create_message")) == 20
        assert desk.outbox.is_muted(desk.channel.id)
        assert not await desk.outbox.show_typing(desk.channel.id)
        assert sum("bans" in one.message for one in caplog.records) == 1
        desk.fake.faults.clear()
        desk.clock.advance(400)
        await desk.send("b")  # waits for the rest
        assert desk.clock() >= 600
        assert desk.fake.answers(desk.channel) == ["b"]


def test_r10_invalid_requests_are_forgotten() -> None:
    """What is older than ten minutes, and limits that we share with others, do not count."""
    clock = SettableClock()
    invalid = InvalidRequests(most=10, clock=clock)
    for _ in range(100):
        invalid.observe(403, None)
        invalid.observe(200, None)
        invalid.observe(404, None)
        for _ in range(20):
            invalid.observe(429, "shared")
        clock.advance(70)
    assert invalid.pause_seconds() == 0


async def test_when_we_stop_no_answer_begins_late(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A beginning that would have to wait for a limit is given up, whether it came before or after
    we were told; a message that ends an answer waits."""
    monkeypatch.setattr(outbox, "BEGINNING_SECONDS", 0.02)
    desk.fake.limits.by_route["create_message"] = Limit(1, 20.0)
    await desk.send("first")

    async def begin(nonce: str) -> int:
        return await desk.outbox.send(desk.address, "late", nonce=nonce, is_beginning=True)

    before = asyncio.create_task(begin("2-0"))
    await asyncio.sleep(0)
    desk.outbox.stop_growing()
    ending = asyncio.create_task(desk.send("end", "4-0"))
    for beginning in (before, begin("3-0")):
        with pytest.raises(TargetGone):
            await asyncio.wait_for(beginning, 5)
    assert not ending.done()
    ending.cancel()
    await asyncio.wait([ending])


async def test_who_uses_up_a_limit_has_its_answer_at_once(desk: Desk) -> None:
    """The last request that a limit allows is answered without a wait; the next one waits, and does
    so for a moment that discord.py knew."""
    desk.fake.limits.by_route["create_message"] = Limit(2, 0.3)
    for nonce in ("1-0", "2-0"):
        await desk.send("a", nonce)
    last = desk.fake.requests[-1]
    assert last.finished_at is not None
    assert asyncio.get_running_loop().time() - last.finished_at < 0.2
    await asyncio.gather(*(desk.send("b", f"{n}-1") for n in range(4)))
    assert not any(one.status == 429 for one in desk.fake.requests)
    assert len(desk.fake.answers(desk.channel)) == 6


async def test_answers_may_overtake_each_other() -> None:
    """An older answer, which comes late, does not renew a limit that is used up."""
    limit = PromptRatelimit(30.0)

    def answer(left: int) -> None:
        headers = {
            "X-RateLimit-Limit": "5",
            "X-RateLimit-Remaining": f"{left}",
            "X-RateLimit-Reset-After": "5",
        }
        response = SimpleNamespace(headers=CIMultiDict(headers))
        limit.update(cast("aiohttp.ClientResponse", response))

    async with limit:
        answer(4)
    async with limit, limit, limit:
        for left in (1, 2, 3):
            answer(left)
    assert limit.remaining == 1
    async with limit:
        answer(0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await limit.acquire()


async def test_two_clients_talk_to_two_discords(desk: Desk) -> None:
    """The address of one client is not that of another."""
    theirs = desk.fake.api_url
    async with FakeDiscord() as other:
        channel = other.add_guild("away").add_text_channel("talk")
        async with Client(EditPace(), InvalidRequests(), other.api_url) as client:
            await client.login(other.token)
            other_outbox = Outbox(client, EditPace(), InvalidRequests())
            await other_outbox.send(ChannelAddress(channel.id), "there", nonce="1-0")
            await desk.send("here")
    assert theirs == desk.fake.api_url
    assert other.answers(channel) == ["there"]
    assert desk.fake.answers(desk.channel) == ["here"]


async def test_the_pace_learns_from_what_is_on_the_wire(desk: Desk) -> None:
    """Edits of a message are spread over a real limit's window and none is refused."""
    desk.fake.limits.by_route["edit_message"] = Limit(5, 0.5)
    message_id = await desk.send("0")
    for n in range(1, 8):
        await desk.pace.ready(desk.channel.id, message_id)
        await desk.outbox.edit(desk.address, message_id, f"{n}")
    await desk.outbox.mend(desk.address, message_id, "end")
    times = [one.time for one in desk.fake.requests_to("edit_message")]
    assert not any(one.status == 429 for one in desk.fake.requests)
    assert times[2] - times[1] > 0.05
    assert desk.fake.answers(desk.channel) == ["end"]
    assert desk.fake.edits_in_flight_max[message_id] == 1


# Buttons, removals, and what goes to one person.

ROWS = [{"type": 1, "components": [{"type": 2, "style": 2, "label": "A", "custom_id": "a"}]}]


async def test_buttons_go_along_and_away(desk: Desk) -> None:
    """A message is sent with its buttons, with a file too; an edit shows those that it has, or
    none."""
    message_id = await desk.outbox.send(desk.address, "a", nonce="1-0", components=ROWS)
    await desk.outbox.send(desk.address, "b", nonce="2-0", components=ROWS, file=("c.md", "d"))
    await desk.pace.ready(desk.address.key, message_id)
    await desk.outbox.edit(desk.address, message_id, "c", components=ROWS)
    await desk.outbox.mend(desk.address, message_id, "d")
    shown = [one.body["components"] for one in desk.fake.requests if one.method != "GET"]
    assert shown == [ROWS, ROWS, ROWS, []]


async def test_a_message_without_buttons_says_nothing_of_any(desk: Desk) -> None:
    """What is sent plainly has no empty part."""
    await desk.send("a")
    assert "components" not in desk.fake.requests[-1].body


async def test_buttons_change_and_the_text_does_not(desk: Desk) -> None:
    """Other buttons can be shown without knowing the text; a refusal of them changes nothing."""
    message_id = await desk.send("a")
    await desk.outbox.show_components(desk.address, message_id, ROWS)
    body = desk.fake.requests[-1].body
    assert body["components"] == ROWS
    assert "content" not in body
    desk.fake.fault("edit_message", [Fail(400, 50035)])
    with pytest.raises(TargetGone):
        await desk.outbox.show_components(desk.address, message_id, [])
    assert desk.fake.answers(desk.channel) == ["a"]


async def test_a_text_that_is_rejected_keeps_its_buttons(desk: Desk) -> None:
    """So that an answer that Discord does not take can be given anew."""
    desk.fake.fault("create_message", [BLOCKED])
    await desk.outbox.send(desk.address, "bad", nonce="1-0", components=ROWS)
    assert desk.fake.answers(desk.channel) == [NOT_ACCEPTED]
    assert desk.fake.requests[-1].body["components"] == ROWS


async def test_a_message_is_removed_whatever_happens(desk: Desk) -> None:
    """A removal is repeated like a send; what is gone already is removed."""
    message_id = await desk.send("a")
    desk.fake.fault("delete_message", [Fail(503), Reset(), DropReply()])
    assert not desk.outbox.has_removed(message_id)
    await desk.outbox.remove(desk.address, message_id)
    assert desk.fake.answers(desk.channel) == []
    assert desk.outbox.has_removed(message_id)
    assert len(desk.fake.requests_to("delete_message")) == 4


async def test_a_removal_that_is_forbidden_mutes_nothing(desk: Desk) -> None:
    """That a message may not be removed says nothing of what else is allowed there."""
    said = await desk.fake.say(desk.fake.add_user("Ada"), desk.channel, "hello")
    with pytest.raises(TargetGone):
        await desk.outbox.remove(desk.address, said.id)
    await desk.send("a")
    assert desk.fake.answers(desk.channel) == ["a"]


async def test_a_whisper_goes_to_one_person(desk: Desk) -> None:
    """It is said in private, where links are as harmless, and nobody else reads it."""
    ada = desk.fake.add_user("Ada")
    await desk.outbox.whisper(ada.id, "[a](http://b.example)", nonce="1-0")
    assert desk.fake.answers(desk.fake.open_dm(ada)) == ["a <http://b.example>"]
    assert desk.fake.answers(desk.channel) == []


async def test_who_takes_no_private_messages_is_not_bothered(desk: Desk) -> None:
    """A refusal is believed for a while, and concerns that person alone."""
    ada, ben = desk.fake.add_user("Ada"), desk.fake.add_user("Ben")
    desk.fake.open_dm(ada).deny("send_messages")
    for nonce in ("1-0", "2-0"):
        with pytest.raises(TargetGone):
            await desk.outbox.whisper(ada.id, "a", nonce=nonce)
    assert len(desk.fake.requests_to("create_message")) == 1
    await desk.outbox.whisper(ben.id, "b", nonce="3-0")
    assert desk.fake.answers(desk.fake.open_dm(ben)) == ["b"]


async def test_a_private_chat_that_cannot_be_opened_is_left_alone(desk: Desk) -> None:
    """Whoever cannot be reached at all costs one request for a while."""
    desk.fake.fault("create_dm", lambda _: MISSING_ACCESS)
    for nonce in ("1-0", "2-0"):
        with pytest.raises(TargetGone):
            await desk.outbox.whisper(7, "a", nonce=nonce)
    assert len(desk.fake.requests_to("create_dm")) == 1


async def test_a_thread_is_begun_once(desk: Desk) -> None:
    """It stands under the message, although Discord's answer was lost."""
    said = await desk.fake.say(desk.fake.add_user("Ada"), desk.channel, "hello")
    desk.fake.fault("start_thread", [DropReply()])
    thread_id = await desk.outbox.open_thread(desk.channel.id, said.id, "a\nplan" + "n" * 200)
    assert thread_id == said.id
    first, _ = desk.fake.requests_to("start_thread")
    assert first.body["name"] == "a plan" + "n" * 94
    await desk.outbox.send(ChannelAddress(thread_id), "there", nonce="1-0")
    assert desk.fake.answers(desk.fake.world.channels[thread_id]) == ["there"]


@pytest.mark.parametrize("refusal", [MISSING_PERMISSIONS, Fail(400, 50024), UNKNOWN_MESSAGE])
async def test_where_there_can_be_no_thread_there_is_none(desk: Desk, refusal: Fault) -> None:
    """A refusal of a thread is no refusal of messages."""
    desk.fake.fault("start_thread", [refusal])
    assert await desk.outbox.open_thread(desk.channel.id, 7, "plans") is None
    await desk.send("a")
    assert desk.fake.answers(desk.channel) == ["a"]
