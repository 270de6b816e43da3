"""A Discord of our own on loopback, REST and gateway, for tests of what goes over the wire.

    async with FakeDiscord() as discord:            # discord.py now talks to it, unmodified
        guild = discord.add_guild("home")
        channel = guild.add_text_channel("talk")
        ada = discord.add_user("Ada")
        ...                                         # start a bot with discord.token
        await discord.say(ada, channel, f"{discord.bot_user.mention} hello")
        await discord.until(lambda: len(discord.visible(channel)) == 2)

**World.** `add_user`, `add_guild` (then `guild.add_text_channel`, `add_thread`, `add_role`,
`add_member`, `remove_bot`), `open_dm`, `add_group`. A channel can `deny` and `allow` the bot
permissions, and be deleted by `delete`. The n-th guild, from 0, belongs to shard n modulo their
count.

**Acts.** `say`, `edit_message`, `delete_message`; connected clients hear of all. They see content
only as the real one lets them.

**Interactions.** `interact` lets somebody use a command, a form or a button, by its raw data, and
returns what will become of it: whether and when it was acknowledged, within the three seconds that
Discord waits, its `texts`, its `whispers`.

**Webhooks.** Those that the bot makes are in `webhooks.by_id`, and what they post in the channel.

**Limits.** `limits.by_route["edit_message"] = Limit(5, 5.0)` and the like; `limits.everything`;
`limits.invalid_requests`. Windows are fixed and count by `clock`.

**Faults.** `fault("create_message", [None, DropReply()])`: the second send from now on; or a
callable from a `Request` to a fault or None; `"*"` for all routes. See `faults` for what there is,
`routes` for the routes' names. `gateway` can `close`, `reconnect`, `invalidate`, `silence`, `drop`,
`refuse_resumes`, `refuse_connections`, `refuse_identifies`; `gateway.granted_intents` says which
privileged intents the bot may ask for. `latency_seconds` delays every REST answer, by `sleep`.

**Records.** `requests` (and `requests_to` a route), `identifies`, `resumes`, `typing`,
`violations`, `edits_in_flight_max` by message id, `limits.invalid_lately()`; what is `visible` in a
channel, the bot's `answers`, a `message` by its id, its `history`; and whom the bot's messages
would have pinged: `pings`. `until` waits for a change here that makes something true: it does not
look again when something changes elsewhere, such as in the client.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import NamedTuple, Self

import yarl
from aiohttp import web
from discord.gateway import DiscordWebSocket
from discord.http import Route
from tests.fakes.discord.faults import Faults, Script
from tests.fakes.discord.gateway import Gateway, Identified, Resumed
from tests.fakes.discord.interactions import COMMAND, Interaction, Interactions
from tests.fakes.discord.limits import Limits
from tests.fakes.discord.mentions import Pings, pings_of
from tests.fakes.discord.payloads import JSON
from tests.fakes.discord.records import Changes, Request
from tests.fakes.discord.rest import PREFIX, Rest
from tests.fakes.discord.routes import Routes
from tests.fakes.discord.things import Channel, File, Guild, Message, Revision, User
from tests.fakes.discord.webhooks import Webhooks
from tests.fakes.discord.world import World

_MAX_REQUEST_BYTES = 25 * 1024 * 1024


class Visible(NamedTuple):
    """A message as people see it."""

    id: int
    author: User
    text: str


class FakeDiscord:
    """The server, to be used as an async context manager.

    `clock` and `sleep` are in seconds of a monotonic clock; `wall_clock`, in seconds since 1970,
    dates messages and makes their ids.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.url = ""
        self.world = World(clock, wall_clock)
        self.limits = Limits(clock, wall_clock)
        self.faults = Faults()
        self._changes = Changes()
        self.gateway = Gateway(self.world, clock, self._changes)
        self._routes = Routes(self.world, self.gateway, clock)
        self.interactions = Interactions(
            self.world, self._routes, clock, self.gateway.push_interaction
        )
        self.webhooks = Webhooks(self.world, self._routes)
        self.rest = Rest(
            self.world,
            self._routes,
            self.limits,
            self.faults,
            self._changes,
            clock=clock,
            sleep=sleep,
        )
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=_MAX_REQUEST_BYTES)
        application.router.add_get("/gateway", self.gateway.serve)
        application.router.add_get("/attachments/{channel}/{id}/{name}", self._serve_file)
        application.router.add_route("*", f"{PREFIX}/{{path:.*}}", self.rest.serve)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        # Before the rest is cleaned up: a server waits for open websockets otherwise.
        self._stack.callback(self.gateway.drop)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = _address(runner)
        self.gateway.url = self.url.replace("http", "ws", 1) + "/gateway"
        self._redirect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    # Addresses, and who the bot is.

    @property
    def api_url(self) -> str:
        """Where REST is, with the version."""
        return self.url + PREFIX

    @property
    def gateway_url(self) -> str:
        """Where the gateway is."""
        return self.gateway.url

    @property
    def token(self) -> str:
        """The bot's token; any other is refused."""
        return self.world.token

    @property
    def bot_user(self) -> User:
        """The bot."""
        return self.world.bot

    # World.

    def add_user(self, name: str, *, is_bot: bool = False) -> User:
        """Add somebody."""
        return self.world.add_user(name, is_bot=is_bot)

    def add_guild(self, name: str, *, owner: User | None = None) -> Guild:
        """Add a guild of which the bot is a member. Without an owner, it gets one of its own."""
        return self.world.add_guild(name, owner=owner)

    def open_dm(self, user: User) -> Channel:
        """Return the private chat of a user and the bot."""
        return self.world.open_dm(user)

    def add_group(self, name: str) -> Channel:
        """Add the chat of a group of people, who can bring the bot along."""
        return self.world.add_group(name)

    # Acts.

    async def say(
        self,
        user: User,
        channel: Channel,
        text: str = "",
        *,
        reply_to: Message | None = None,
        ping: bool = True,
        mentions: Iterable[User] = (),
        attachments: Sequence[File] = (),
        forward_of: Message | None = None,
        webhook: bool = False,
    ) -> Message:
        """Let somebody say something. A reply pings whom it replies to unless `ping` is False.
        `mentions` that the text does not have are put at its head. With `webhook`, a webhook says
        it that has the user's name."""
        missing = [one.mention for one in mentions if one.mention not in text]
        text = " ".join([*missing, text]).strip()
        allowed = {"parse": ["everyone", "roles", "users"], "replied_user": ping}
        message = self.world.post(
            self.world.webhook_of(user) if webhook else user,
            channel,
            text,
            reply_to=reply_to,
            forward_of=forward_of,
            files=attachments,
            pings=pings_of(text, allowed, reply_to.author.id if reply_to else None),
            is_from_webhook=webhook,
        )
        await asyncio.sleep(0)
        return message

    async def edit_message(self, message: Message, text: str) -> None:
        """Let its author change what a message says."""
        self.world.edit(message, text)
        await asyncio.sleep(0)

    async def delete_message(self, message: Message) -> None:
        """Let somebody delete a message."""
        self.world.delete(message)
        await asyncio.sleep(0)

    async def interact(
        self,
        user: User,
        channel: Channel,
        data: JSON,
        *,
        kind: int = COMMAND,
        permissions: int = 0,
        message: Message | None = None,
    ) -> Interaction:
        """Let somebody use a command, a form or, under a message, a button. `permissions` are
        those of the person in the channel."""
        interaction = self.interactions.begin(
            user, channel, data, kind=kind, permissions=permissions, message=message
        )
        await asyncio.sleep(0)
        return interaction

    def fault(self, route: str, script: Script) -> None:
        """Let a route fail as a script tells."""
        self.faults.script(route, script)

    # Records.

    @property
    def requests(self) -> list[Request]:
        """All REST requests, in order."""
        return self.rest.requests

    @property
    def identifies(self) -> list[Identified]:
        """All sessions that clients began or wanted to begin."""
        return self.gateway.identifies

    @property
    def resumes(self) -> list[Resumed]:
        """All sessions that clients wanted to go on with."""
        return self.gateway.resumes

    @property
    def violations(self) -> list[str]:
        """Where a message's form broke a rule."""
        return self._routes.violations

    @property
    def typing(self) -> list[tuple[int, float]]:
        """Channel id and time of each typing that the bot showed."""
        return self._routes.typing

    @property
    def edits_in_flight_max(self) -> dict[int, int]:
        """How many edits were in flight at once, at the most, by message id."""
        return self.rest.edits_in_flight_max

    @property
    def latency_seconds(self) -> float:
        """How long every REST answer takes."""
        return self.rest.latency_seconds

    @latency_seconds.setter
    def latency_seconds(self, seconds: float) -> None:
        self.rest.latency_seconds = seconds

    def requests_to(self, route: str) -> list[Request]:
        """Return the requests to a route, in order."""
        return [request for request in self.requests if request.route == route]

    def visible(self, channel: Channel) -> list[Visible]:
        """Return what people see in a channel, oldest first."""
        return [
            Visible(one.id, one.author, one.text)
            for one in channel.messages.values()
            if not one.is_deleted
        ]

    def answers(self, channel: Channel) -> list[str]:
        """Return the texts of the bot's messages in a channel, oldest first."""
        return [one.text for one in self.visible(channel) if one.author is self.bot_user]

    def messages_of_bot(self) -> list[Message]:
        """Return all that the bot ever said, oldest first, what is deleted too."""
        said = (
            one for channel in self.world.channels.values() for one in channel.messages.values()
        )
        return sorted((one for one in said if one.author is self.bot_user), key=lambda one: one.id)

    def message(self, message_id: int) -> Message:
        """Return a message by its id, even if it is deleted. Raises `KeyError`."""
        for channel in self.world.channels.values():
            if message_id in channel.messages:
                return channel.messages[message_id]
        raise KeyError(message_id)

    def history(self, message: Message) -> tuple[Revision, ...]:
        """Return what a message said, and since when."""
        return tuple(message.revisions)

    def pings(self) -> list[Pings]:
        """Return whom the bot's messages pinged, in order; those that pinged nobody are left
        out."""
        return [message.pings for message in self.messages_of_bot() if message.pings]

    async def until(self, predicate: Callable[[], object], *, seconds: float = 10.0) -> None:
        """Wait until something is true that a change here makes true. Raises `AssertionError`
        after `seconds` of real time."""
        await self._changes.until(predicate, seconds)

    def _redirect(self) -> None:
        """Let discord.py, in this process, talk to this fake until it is closed."""
        self._stack.callback(setattr, Route, "BASE", Route.BASE)
        self._stack.callback(
            setattr, DiscordWebSocket, "DEFAULT_GATEWAY", DiscordWebSocket.DEFAULT_GATEWAY
        )
        Route.BASE = self.api_url
        DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(self.gateway_url)

    async def _serve_file(self, request: web.Request) -> web.Response:
        wanted = int(request.match_info["id"])
        for channel in self.world.channels.values():
            for message in channel.messages.values():
                for attachment in message.attachments:
                    if attachment.id == wanted:
                        file = attachment.file
                        return web.Response(body=file.content, content_type=file.media_type)
        return web.Response(status=404)


def _address(runner: web.AppRunner) -> str:
    host, port = runner.addresses[0][:2]
    return f"http://{host}:{port}"
