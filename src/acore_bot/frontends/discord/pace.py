"""When each message may be edited: one scheduler for all conversations.

A channel here is whatever has limits of its own: a webhook, and the answers to an interaction, too.
Discord says in the headers of every answer how many edits a channel has left (`remaining`), and
when its window ends (`resets_at`), after which there are `limit` again. From the window's first
edit to its end we spread the rest evenly, and keep the last one for a final text, which then goes
out at once. Just before the end nobody needs that one any more, so an ordinary edit takes it, and
the next, with a new window, follows sooner than usual: its price is small, and it makes what is
shown about a tenth younger than leaving the last one unused.

    |e        e        e        e       e|   e        e  …      5 edits in 5 s, e is an edit
    0        1.23     2.46     3.69   4.92   5.5     6.8

All requests share a global limit. Ordinary edits and typing are sent one by one at even distances
and leave a part of it to posts and final texts, which wait for nothing but the limit itself.

Each channel's waiting edits are a heap: final ones first, in the order of their coming, then the
message that was not changed for longest. The channels are in two more: those that have to wait, by
the moment at which they may go on, and those that only wait for the global limit, by the same order
as edits. What is outdated in these two is left there and skipped (`version`). So every step costs
the logarithm of what waits.
"""

import asyncio
import itertools
import math
import re
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Literal, TypeAlias

Rank: TypeAlias = Literal[0, 1]
URGENT: Rank = 0  # posts and final texts
ORDINARY: Rank = 1  # other edits, and typing

# A final text that comes when the last edit is spent waits for this long at the most.
SPARE_SECONDS = 0.08
# Discord counts when a request arrives, which may be a bit sooner after the last than it was sent.
GLOBAL_WINDOW_SECONDS = 1.05
# As many posts and final texts as were sent of late find a place at once, up to this: they come in
# crowds, and ordinary edits can wait.
MOST_KEPT = 4
# What bots commonly see; it holds until Discord said otherwise, or if somebody drops its headers.
ASSUMED_INTERVAL_SECONDS = 1.25
UNUSED_SECONDS = 300.0
MAX_SHOWN = 64
# Who is told to edit does so at once or, finding nothing new to show, not at all.
UNCLAIMED_SECONDS = 1.0
_EDIT_PATH = re.compile(r"/messages/(\d+)$")


@dataclass(slots=True, eq=False)
class _Shown:
    """One message that grows. Who holds the lock is editing it."""

    changed_at: float
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(slots=True, eq=False)
class _Waiting:
    """Somebody who wants to send a request. Who has waited `since` earlier goes first in a rank: an
    ordinary edit since the message's latest change, all else since it was asked for."""

    rank: Rank
    since: float
    order: int
    message_id: int
    granted: asyncio.Future[None]

    def __lt__(self, other: "_Waiting") -> bool:
        mine = (self.rank, self.since, self.order)
        return mine < (other.rank, other.since, other.order)


@dataclass(slots=True, eq=False)
class _Channel:
    """What is known of a channel's edits. `limit` is None until an answer told it, and `unused` is
    the least that one told of this window."""

    limit: int | None = None
    unused: int = 0
    window_seconds: float = 0.0
    resets_at: float = -math.inf
    edited_at: float = -math.inf
    held_until: float = -math.inf
    used_at: float = 0.0
    version: int = 0
    waiting: list[_Waiting] = field(default_factory=list)
    shown: dict[int, _Shown] = field(default_factory=dict)
    # Who was told to edit and has no answer yet, and until when we believe that they will: for ever
    # once they began.
    flying: dict[int, float] = field(default_factory=dict)

    def remaining(self, now: float) -> int:
        """How many edits may still be sent in this window, at least."""
        return max(self.unused - sum(until > now for until in self.flying.values()), 0)

    def opens_at(self, rank: Rank, now: float) -> float:
        """When the next edit of this rank may be sent, if nothing else happens before."""
        return max(self._opens_at(rank, now), self.held_until)

    def _opens_at(self, rank: Rank, now: float) -> float:
        if self.limit is None:
            answered_at = max(self.flying.values(), default=-math.inf)
            pause = ASSUMED_INTERVAL_SECONDS if rank != URGENT else 0.0
            return max(answered_at, self.edited_at + pause)
        if now >= self.resets_at:
            return self._reopens_at(rank)
        remaining = self.remaining(now)
        if not remaining:
            return self._reopens_at(rank)
        if rank == URGENT or self.limit == 1:
            return now
        # Even distances, such that the last edit falls on the end of the window.
        left = self.resets_at - SPARE_SECONDS - self.edited_at
        return self.edited_at + left / remaining

    def _reopens_at(self, rank: Rank) -> float:
        if rank == URGENT:
            return self.resets_at
        assert self.limit is not None
        half = self.window_seconds / max(self.limit - 1, 1) / 2
        return max(self.resets_at, self.edited_at + half)

    def spend(self, message_id: int, now: float) -> None:
        """Count an edit that is sent now."""
        if self.limit is not None and now >= self.resets_at:
            self.unused, self.resets_at = self.limit, now + self.window_seconds
        self.edited_at = now
        self.flying[message_id] = now + UNCLAIMED_SECONDS
        if message_id in self.shown:
            self.shown[message_id].changed_at = now

    def learn(self, message_id: int, headers: Mapping[str, str], now: float) -> None:
        """Believe what an answer says."""
        limit, remaining = int(headers["X-RateLimit-Limit"]), int(headers["X-RateLimit-Remaining"])
        seconds = float(headers["X-RateLimit-Reset-After"])
        if abs(now + seconds - self.resets_at) < self.window_seconds / 2:
            remaining = min(remaining, self.unused)  # answers may overtake each other
            seconds_in_all = max(self.window_seconds, seconds)
        else:
            seconds_in_all = seconds
        self.limit, self.unused = limit, remaining
        self.window_seconds, self.resets_at = seconds_in_all, now + seconds
        self.flying.pop(message_id, None)

    def land(self, message_id: int) -> None:
        """Count an edit that is over, if no answer told of it."""
        if self.flying.pop(message_id, None):
            self.unused = max(self.unused - 1, 0)

    def is_unused(self, now: float) -> bool:
        """Whether nobody has needed this channel for long."""
        is_idle = not self.waiting and all(until < now for until in self.flying.values())
        return is_idle and now - self.used_at > UNUSED_SECONDS

    def forget_unused(self, now: float) -> None:
        """Forget messages whose last edit never came."""
        if len(self.shown) > MAX_SHOWN:
            for message_id, shown in list(self.shown.items()):
                if now - shown.changed_at > UNUSED_SECONDS and not shown.lock.locked():
                    del self.shown[message_id]
                    self.flying.pop(message_id, None)

    def next_waiting(self) -> _Waiting | None:
        """Whose turn is next."""
        while self.waiting and self.waiting[0].granted.done():
            heappop(self.waiting)  # cancelled
        return self.waiting[0] if self.waiting else None


class EditPace:
    """Says when. `clock` is monotonic seconds, the same as the running loop's.

    `requests_per_second` is the global limit, of which what is not urgent takes 94 %.
    """

    def __init__(
        self, *, requests_per_second: int = 50, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._most: dict[Rank, int] = {
            URGENT: max(requests_per_second - 1, 1),
            ORDINARY: max(requests_per_second * 94 // 100, 1),
        }
        self._distance_seconds = 1 / self._most[ORDINARY]
        self._sent: deque[float] = deque(maxlen=requests_per_second)
        self._ordinary_sent_at = -math.inf
        self._urgent_sent: deque[float] = deque(maxlen=MOST_KEPT)
        self._held_until = -math.inf
        self._is_stopping = False
        self._order = itertools.count()
        self._channels: OrderedDict[int, _Channel] = OrderedDict()  # the last used one is last
        # The path of an edit by a webhook does not tell the channel, but the message does.
        self._edited: dict[int, _Channel] = {}
        self._timers: list[tuple[float, int, _Channel, int]] = []
        self._ready: list[tuple[_Waiting, _Channel | None, int]] = []
        self._alarm: asyncio.TimerHandle | None = None

    async def ready(self, channel_id: int, message_id: int, *, final: bool = False) -> None:
        """Return when a message may be edited, which has to follow at once."""
        channel, now = self._channel(channel_id), self._clock()
        channel.forget_unused(now)
        shown = channel.shown.setdefault(message_id, _Shown(now))
        if not shown.lock.locked():
            channel.flying.pop(message_id, None)  # it was told before, and found nothing to show
        rank = URGENT if final else ORDINARY
        # Final ones go in the order of their coming, or a young message would wait for all others.
        since = now if final else shown.changed_at
        waiting = self._waiting(rank, since, message_id)
        heappush(channel.waiting, waiting)
        self._reschedule(channel)
        try:
            await waiting.granted
        except asyncio.CancelledError:
            channel.flying.pop(message_id, None)
            waiting.granted.cancel()
            self._reschedule(channel)
            raise

    @asynccontextmanager
    async def editing(
        self, channel_id: int, message_id: int, *, final: bool = False
    ) -> AsyncIterator[None]:
        """Edit a message within this block, after `ready`. A second edit of it waits."""
        channel = self._channel(channel_id)
        shown = channel.shown.setdefault(message_id, _Shown(self._clock()))
        async with shown.lock:
            channel.flying[message_id] = math.inf
            self._edited[message_id] = channel
            try:
                yield
            finally:
                self._edited.pop(message_id, None)
                channel.land(message_id)
                if final:
                    channel.shown.pop(message_id, None)
                self._reschedule(channel)

    async def admit(self, *, urgent: bool = True) -> None:
        """Return when another request than an edit may be sent, which has to follow at once."""
        waiting = self._waiting(URGENT if urgent else ORDINARY, self._clock(), 0)
        heappush(self._ready, (waiting, None, 0))
        self._pump()
        await waiting.granted

    def stop_ordinary(self) -> None:
        """Grant nothing any more but posts and final texts. Who waits for anything else does so
        until cancelled."""
        self._is_stopping = True

    def note(self) -> None:
        """Count a request that was sent without asking."""
        self._sent.append(self._clock())

    def observe(self, method: str, path: str, status: int, headers: Mapping[str, str]) -> None:
        """Learn from an answer. `headers` have to be found whatever their letters' case."""
        if status == 429 and headers.get("X-RateLimit-Scope") == "global":
            self._held_until = self._clock() + _retry_after(headers)
        place = _EDIT_PATH.search(path) if method == "PATCH" else None
        if not place:
            return
        message_id, now = int(place[1]), self._clock()
        channel = self._edited.get(message_id)
        if channel is None:
            return  # an edit that asked nobody
        if "X-RateLimit-Remaining" in headers:
            channel.learn(message_id, headers, now)
        if status == 429:
            channel.held_until = now + _retry_after(headers)
        self._reschedule(channel)

    def __len__(self) -> int:
        """How many channels are remembered."""
        return len(self._channels)

    def _waiting(self, rank: Rank, since: float, message_id: int) -> _Waiting:
        granted = asyncio.get_running_loop().create_future()
        return _Waiting(rank, since, next(self._order), message_id, granted)

    def _channel(self, channel_id: int) -> _Channel:
        channel = self._channels.setdefault(channel_id, _Channel())
        channel.used_at = now = self._clock()
        self._channels.move_to_end(channel_id)
        # Two a time suffice to get rid of more than come.
        for stale_id, stale in list(itertools.islice(self._channels.items(), 2)):
            if stale.is_unused(now):
                del self._channels[stale_id]
        return channel

    def _reschedule(self, channel: _Channel) -> None:
        self._line_up(channel)
        self._pump()

    def _line_up(self, channel: _Channel) -> None:
        """Find out anew when a channel goes on."""
        channel.version += 1
        waiting = channel.next_waiting()
        if waiting is None:
            return
        at = channel.opens_at(waiting.rank, self._clock())
        if at < math.inf:  # otherwise an answer will bring us here again
            heappush(self._timers, (at, next(self._order), channel, channel.version))

    def _pump(self) -> None:
        """Let go whoever may, and come back when the next one might."""
        now = self._clock()
        while self._timers and self._timers[0][0] <= now:
            _, _, channel, version = heappop(self._timers)
            waiting = channel.next_waiting() if version == channel.version else None
            if waiting is not None:
                heappush(self._ready, (waiting, channel, version))
        next_at = self._timers[0][0] if self._timers else math.inf
        while self._ready:
            waiting, place, version = self._ready[0]
            if not waiting.granted.done() and (place is None or place.version == version):
                at = self._opens_at(waiting.rank, now)
                if at > now:
                    next_at = min(next_at, at)
                    break
                self._grant(waiting, place, now)
                next_at = self._timers[0][0] if self._timers else math.inf
            heappop(self._ready)
        self._set_alarm(next_at, now)

    def _grant(self, waiting: _Waiting, channel: _Channel | None, now: float) -> None:
        self._sent.append(now)
        if waiting.rank == ORDINARY:
            self._ordinary_sent_at = now
        else:
            self._urgent_sent.append(now)
        waiting.granted.set_result(None)
        if channel is not None:
            channel.spend(waiting.message_id, now)
            self._line_up(channel)

    def _opens_at(self, rank: Rank, now: float) -> float:
        """When the global limit lets through a request of this rank."""
        while self._sent and self._sent[0] <= now - GLOBAL_WINDOW_SECONDS:
            self._sent.popleft()
        at, most = self._held_until, self._most[rank]
        if rank == ORDINARY:
            if self._is_stopping:
                return math.inf
            kept = sum(sent > now - GLOBAL_WINDOW_SECONDS for sent in self._urgent_sent)
            most = max(most - kept, 1)
        if len(self._sent) >= most:
            at = max(at, self._sent[-most] + GLOBAL_WINDOW_SECONDS)
        if rank == ORDINARY:
            at = max(at, self._ordinary_sent_at + self._distance_seconds)
        return at

    def _set_alarm(self, at: float, now: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if at < math.inf:
            delay = max(at - now, 0.0)
            self._alarm = asyncio.get_running_loop().call_later(delay, self._pump)


def _retry_after(headers: Mapping[str, str]) -> float:
    # The first is exact, the other in whole seconds.
    return float(headers.get("X-RateLimit-Reset-After") or headers.get("Retry-After") or 1.0)
