"""The gateway: who may listen, what they hear, and everything that may befall them."""

import asyncio
import itertools
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import WSCloseCode, WSMsgType, web
from tests.fakes.discord import payloads
from tests.fakes.discord.intents import (
    DIRECT_MESSAGES,
    GUILD_MESSAGES,
    GUILD_PRESENCES,
    GUILDS,
    MESSAGE_CONTENT,
    PRIVILEGED,
    application_flags,
    readability,
)
from tests.fakes.discord.payloads import JSON
from tests.fakes.discord.records import Changes
from tests.fakes.discord.sessions import Connection, Session, encoder
from tests.fakes.discord.things import Channel, Guild, Message, Subject
from tests.fakes.discord.world import World

RECONNECT, INVALID_SESSION, HELLO, HEARTBEAT_ACK = 7, 9, 10, 11

AUTHENTICATION_FAILED, INVALID_SEQUENCE, RATE_LIMITED = 4004, 4007, 4008
INVALID_SHARD, DISALLOWED_INTENTS = 4010, 4014
# After these, there is nothing left to resume.
_ENDING = {4003, AUTHENTICATION_FAILED, INVALID_SEQUENCE, 4009, 4010, 4011, 4012, 4013, 4014}


@dataclass(frozen=True)
class Identified:
    """A client began a session. `refused_with` is the close code if it was not let in."""

    time: float
    shard: int
    shard_count: int
    intents: int
    refused_with: int | None


@dataclass(frozen=True)
class Resumed:
    """A client wanted to go on with a session after the event numbered `sequence`."""

    time: float
    session_id: str
    sequence: int
    is_accepted: bool


class Gateway:
    """See `tests.fakes.discord.server` for what tests may do with it.

    `granted_intents` are those of the privileged intents that the owner of the bot switched on.
    """

    def __init__(self, world: World, clock: Callable[[], float], changes: Changes) -> None:
        self.url = ""
        self.shards = 1
        self.heartbeat_seconds = 41.25
        self.granted_intents = PRIVILEGED
        self.identifies: list[Identified] = []
        self.resumes: list[Resumed] = []
        self.received: list[JSON] = []
        self.sessions: dict[str, Session] = {}
        self.connections: list[Connection] = []
        self.refused_resumes = 0
        self.refused_connections = 0
        self.identify_refusals: deque[int] = deque()
        self._world = world
        self._clock = clock
        self._changes = changes
        self._session_numbers = itertools.count(1)
        world.listeners.append(self._on_event)

    # What a test may do to it.

    def close(self, code: int, *, shard: int | None = None) -> None:
        """Close all connections, or one shard's, with a code. As the real one has it, a few codes
        end the session as well."""
        for connection in self._connections_of(shard):
            if code in _ENDING and connection.session is not None:
                self.sessions.pop(connection.session.id, None)
            connection.close(code)

    def reconnect(self, *, shard: int | None = None) -> None:
        """Ask clients to connect anew and to resume (op 7)."""
        for connection in self._connections_of(shard):
            connection.send(RECONNECT, None)

    def invalidate(self, *, resumable: bool, shard: int | None = None) -> None:
        """Tell clients that their session is invalid (op 9); it lives on if it is resumable."""
        for connection in self._connections_of(shard):
            if not resumable and connection.session is not None:
                self.sessions.pop(connection.session.id, None)
            connection.send(INVALID_SESSION, resumable)

    def silence(self, *, shard: int | None = None) -> None:
        """Send nothing more on the present connections, no heartbeat's answer either."""
        for connection in self._connections_of(shard):
            connection.is_silent = True

    def drop(self, *, shard: int | None = None) -> None:
        """Reset the TCP connections."""
        for connection in self._connections_of(shard):
            connection.drop()

    def refuse_resumes(self, count: int = 1) -> None:
        """Answer the next resumes with an invalid session, which is gone then."""
        self.refused_resumes += count

    def refuse_connections(self, count: int = 1) -> None:
        """Answer the next attempts to connect with 503."""
        self.refused_connections += count

    def refuse_identifies(self, code: int, count: int = 1) -> None:
        """Close the next connections that identify, with a code such as 4004 or 4011."""
        self.identify_refusals.extend([code] * count)

    def push_interaction(self, channel: Channel, body: JSON) -> None:
        """Tell of an interaction, which needs no intent: one session alone hears of it."""
        for session in list(self.sessions.values()):
            if session.holds(channel.guild):
                session.push("INTERACTION_CREATE", body)
        self._changes.note()

    # How it serves.

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve one connection until it ends."""
        if self.refused_connections:
            self.refused_connections -= 1
            return web.Response(status=503)
        encode = encoder(request.query.get("compress"))
        # A client that is about to lose its connection does not answer a close.
        websocket = web.WebSocketResponse(timeout=1.0, compress=False)
        await websocket.prepare(request)
        connection = Connection(websocket, request, encode)
        self.connections.append(connection)
        self._changes.note()
        connection.send(HELLO, {"heartbeat_interval": int(self.heartbeat_seconds * 1000)})
        try:
            await self._talk(connection)
        finally:
            self._forget(connection)
        return websocket

    async def _talk(self, connection: Connection) -> None:
        async with asyncio.TaskGroup() as tasks:
            writer = tasks.create_task(self._write(connection))
            async for message in connection.websocket:
                if message.type is WSMsgType.TEXT:
                    self._receive(connection, message.data)
            if connection.close_code is None:
                writer.cancel()

    async def _write(self, connection: Connection) -> None:
        try:
            await connection.write()
        except ConnectionError:
            return  # The reader sees the end as well.

    def _forget(self, connection: Connection) -> None:
        self.connections.remove(connection)
        session = connection.session
        if session is not None and session.connection is connection:
            session.connection = None
            is_over = connection.websocket.close_code in {WSCloseCode.OK, WSCloseCode.GOING_AWAY}
            if is_over and connection.close_code is None:
                self.sessions.pop(session.id, None)
        self._changes.note()

    def _connections_of(self, shard: int | None) -> list[Connection]:
        return [
            one
            for one in self.connections
            if shard is None or (one.session and one.session.shard == shard)
        ]

    def _receive(self, connection: Connection, text: str) -> None:
        now = self._clock()
        times = connection.received_at
        if len(text.encode()) > 4096:
            connection.close(4002)
        elif len(times) == times.maxlen and now - times[0] < 60:
            connection.close(RATE_LIMITED)
        else:
            times.append(now)
            self._obey(connection, json.loads(text))
        self._changes.note()

    def _obey(self, connection: Connection, message: JSON) -> None:
        self.received.append(message)
        data = message["d"]
        match message["op"]:
            case 1:
                connection.send(HEARTBEAT_ACK, None)
            case 2:
                self._identify(connection, data)
            case 6:
                self._resume(connection, data)
            case 8 if connection.session is not None:
                self._send_members(connection.session, data)

    def _identify(self, connection: Connection, data: JSON) -> None:
        shard, shard_count = data.get("shard", (0, 1))
        code = self._refusal(data, shard, shard_count)
        intents = data["intents"]
        self.identifies.append(Identified(self._clock(), shard, shard_count, intents, code))
        if code is not None:
            connection.close(code)
            return
        session_id = f"session-{next(self._session_numbers)}"
        session = Session(session_id, shard, shard_count, intents)
        self._replace(session)
        connection.attach(session, 0)
        session.push("READY", self._ready_json(session))
        for guild in self._guilds_of(session) if intents & GUILDS else ():
            session.push("GUILD_CREATE", self._guild_json(session, guild))

    def _refusal(self, data: JSON, shard: int, shard_count: int) -> int | None:
        if self.identify_refusals:
            return self.identify_refusals.popleft()
        if data["token"] != self._world.token:
            return AUTHENTICATION_FAILED
        if not 0 <= shard < shard_count:
            return INVALID_SHARD
        if data["intents"] & PRIVILEGED & ~self.granted_intents:
            return DISALLOWED_INTENTS
        return None

    def _replace(self, session: Session) -> None:
        """Keep a new session, and forget those that nobody served on its shard any more."""
        self.sessions = {
            known.id: known
            for known in self.sessions.values()
            if known.connection is not None or known.shard != session.shard
        }
        self.sessions[session.id] = session

    def _guilds_of(self, session: Session) -> list[Guild]:
        guilds = self._world.guilds.values()
        return [one for one in guilds if one.bot_is_member and session.holds(one)]

    def _ready_json(self, session: Session) -> JSON:
        unavailable = [{"id": str(g.id), "unavailable": True} for g in self._guilds_of(session)]
        return {
            "v": 10,
            "user": payloads.user_json(self._world.bot),
            "guilds": unavailable,
            "session_id": session.id,
            "resume_gateway_url": self.url,
            "shard": [session.shard, session.shard_count],
            "application": {
                "id": str(self._world.bot.id),
                "flags": application_flags(self.granted_intents),
            },
            "private_channels": [],
        }

    def _resume(self, connection: Connection, data: JSON) -> None:
        session = self.sessions.get(data["session_id"])
        is_known = session is not None and data["token"] == self._world.token
        is_accepted = is_known and not self.refused_resumes
        sequence = data["seq"] or 0
        self.resumes.append(Resumed(self._clock(), data["session_id"], sequence, is_accepted))
        if session is None or not is_accepted:
            self.refused_resumes = max(0, self.refused_resumes - 1)
            self.sessions.pop(data["session_id"], None)
            connection.send(INVALID_SESSION, False)
        elif sequence > len(session.events):
            connection.close(INVALID_SEQUENCE)
        else:
            connection.attach(session, sequence)
            session.push("RESUMED", {})

    def _send_members(self, session: Session, data: JSON) -> None:
        guild = self._world.guilds[int(data["guild_id"])]
        wanted = {int(one) for one in data.get("user_ids", ())} or guild.members.keys()
        members = [payloads.full_member_json(guild.members[one]) for one in wanted]
        chunk = {"guild_id": str(guild.id), "members": members, "chunk_index": 0, "chunk_count": 1}
        session.push("GUILD_MEMBERS_CHUNK", chunk | {"nonce": data.get("nonce")})

    # What happens in the world.

    def _on_event(self, event: str, subject: Subject) -> None:
        for session in list(self.sessions.values()):
            if isinstance(subject, Message):
                self._push_message(session, event, subject)
            elif isinstance(subject, Channel):
                self._push_channel(session, event, subject)
            elif session.wants(GUILDS, 0, subject):
                session.push(event, self._guild_event_json(session, event, subject))
        self._changes.note()

    def _push_message(self, session: Session, event: str, message: Message) -> None:
        channel = message.channel
        if not session.wants(GUILD_MESSAGES, DIRECT_MESSAGES, channel.guild):
            return
        if channel.guild and not (channel.may("view_channel") and channel.guild.bot_is_member):
            return
        if event == "MESSAGE_DELETE":
            session.push(event, payloads.deletion_json(message))
        else:
            has_content = bool(session.intents & MESSAGE_CONTENT)
            readable = readability(self._world, has_content=has_content)
            session.push(event, payloads.gateway_message_json(message, readable))

    def _push_channel(self, session: Session, event: str, channel: Channel) -> None:
        is_ours = channel.guild is not None and channel.guild.bot_is_member
        if is_ours and session.wants(GUILDS, 0, channel.guild):
            is_new = {"newly_created": True} if event == "THREAD_CREATE" else {}
            session.push(event, payloads.channel_json(channel) | is_new)

    def _guild_event_json(self, session: Session, event: str, guild: Guild) -> JSON:
        if event == "GUILD_DELETE":
            return {"id": str(guild.id)}
        # Without `unavailable`, a client takes the guild for one that it has just joined.
        return {k: v for k, v in self._guild_json(session, guild).items() if k != "unavailable"}

    def _guild_json(self, session: Session, guild: Guild) -> JSON:
        return payloads.guild_json(guild, with_members=bool(session.intents & GUILD_PRESENCES))
