"""Runs the node: events go in, effects are carried out. All on one event loop; the node's decisions never wait.

========================= =============================================================
effect                    done by
========================= =============================================================
SendPeer                  the mesh
FlushSoon                 the mesh, before it writes what the turn has sent
ReadRecord, WriteRecord   a task on the Lease with a deadline; its outcome is an event
Store, LoadStored         a task on the storage; its outcome is an event
Answer                    the hub of this pod's clients, or ``calls``, for whom it is
Deliver…, Replace         the hub
PresenceChanged           the hub
DeliverRows               whoever follows the services' tables
Say                       the log
Drained                   ``drained`` is set
========================= =============================================================
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, Protocol, assert_never

from msgspec.structs import replace

from ..core.durability import Kept
from ..core.effects import (
    Answer,
    Deliver,
    DeliverPatch,
    DeliverRows,
    DeliverState,
    Drained,
    Effect,
    EndRoom,
    FlushSoon,
    Level,
    LoadStored,
    PresenceChanged,
    Presences,
    ReadRecord,
    Replace,
    Say,
    SendPeer,
    Store,
    WriteRecord,
)
from ..core.events import (
    Event,
    Published,
    RecordConflicted,
    RecordRead,
    RecordReadFailed,
    RecordUnanswered,
    RecordWritten,
    StorageLooked,
    Stored,
    StoredLoaded,
    StoredUnreadable,
    StoreFailed,
    Ticked,
    TurnEnded,
)
from ..core.messages import Fields, Incarnation, Message, Op, Position, Record, Tables, name_of
from ..core.roster import Groups, Roster
from ..core.view import ClusterView
from ..errors import GameClusterError
from ..services.names import TOPIC as NAMES_TOPIC
from ..services.standings import Standings
from .calls import Calls
from .held_names import HeldNames
from .interests import Interests
from .lease import Lease, LeaseConflict
from .metrics import Metrics
from .pods import Pods
from .pubsub import PubSub
from .pubsub.mesh import MeshPubSub
from .questions import Questions
from .resume import Game, History, missed
from .rooms import RoomHost, RoomKinds
from .storage import Storage
from .storage.memory import MemoryStorage

TICK_SECONDS = 0.02
STALL_SECONDS = 0.25
LEASE_ANSWER_SECONDS = 2.5
"""Above the stores' own deadline, for one that hangs."""
LEASE_READ_EVERY_SECONDS = 1.0
LEASE_WATCH_AGAIN_SECONDS = 1.0
LIVENESS_SECONDS = 10.0
STORAGE_LOOK_SECONDS = 2.0
STORAGE_LOOK_AGAIN_SECONDS = 0.5

log = logging.getLogger("gamecluster.node")

LEVELS = {Level.debug: logging.DEBUG, Level.info: logging.INFO, Level.warning: logging.WARNING}

TURN_ENDED = TurnEnded()


class NodeFailed(GameClusterError):
    """Our fault: the node raised. Its state can't be trusted, so the process ends and others take over."""


class StateMachine(Protocol):
    """``core.node.Node``."""

    me: Incarnation

    @property
    def log(self) -> History: ...

    @property
    def is_leader(self) -> bool: ...

    def handle(self, event: Event, now: float) -> list[Effect]: ...

    def position(self) -> Position: ...

    def visible_tables(self) -> Tables: ...

    @property
    def roster(self) -> Roster: ...

    def view(self) -> ClusterView: ...

    def reachable(self, now: float) -> list[Incarnation]: ...

    def staying(self, now: float) -> list[Incarnation]: ...

    def url_of(self, pod: Incarnation) -> str | None: ...

    @property
    def suspect_after(self) -> float: ...

    def gone_for(self, peer: Incarnation, now: float) -> float: ...


class PeerLinks(Protocol):
    """``mesh.Mesh``."""

    @property
    def interests(self) -> Interests: ...

    @property
    def questions(self) -> Questions: ...

    def send(self, peer: Incarnation, message: Message) -> None: ...

    def before_turn_ends(self, then: Callable[[], None]) -> None: ...


class ClientHub(Protocol):
    """``clients.Hub``."""

    def answer(self, effect: Answer) -> None: ...

    def deliver(self, effect: Deliver) -> None: ...

    def deliver_patch(self, effect: DeliverPatch) -> None: ...

    def deliver_state(self, effect: DeliverState) -> None: ...

    def replace(self, effect: Replace) -> None: ...

    def end_room(self, effect: EndRoom) -> None: ...

    def presence_changed(self, effect: PresenceChanged) -> None: ...


class Driver:
    """Create it within the running loop, ``connect`` it, then ``run`` it. ``tick_rate``: the game's, in Hz."""

    def __init__(
        self,
        node: StateMachine,
        lease: Lease,
        metrics: Metrics,
        tick_rate: int = 0,
        storage: Storage | None = None,
        kinds: RoomKinds | None = None,
    ) -> None:
        self.drained = asyncio.Event()
        self.pods: Pods
        self.calls = Calls(self.dispatch)
        self._followers: list[Callable[[list[Op] | None], None]] = []
        self.players_of_rooms: Callable[[], int] | None = None
        self.standings = Standings(self.rows)
        """All leaderboards, in order. ``standings.Order`` keeps them so."""
        self._node = node
        self._lease = lease
        self._storage = storage or MemoryStorage()
        self._metrics = metrics
        self._tick_seconds = tick_seconds(tick_rate)
        self._loop = asyncio.get_running_loop()
        self._mesh: PeerLinks
        self._hub: ClientHub
        self._pubsub: PubSub
        self._events: deque[Event] = deque()
        self._is_handling = False
        self._failure: asyncio.Future[None] = self._loop.create_future()
        self.rooms = RoomHost(node, kinds or RoomKinds((), random.Random()), self)
        self.follow(self.rooms.followed)
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_reading = False
        self._reads_again = False
        self._ticked_at = self._loop.time()

    def connect(self, mesh: PeerLinks, hub: ClientHub, pubsub: PubSub | None = None) -> None:
        """``pubsub`` None: the mesh."""
        self._mesh = mesh
        self._hub = hub
        self._pubsub = pubsub or MeshPubSub(mesh, self.decide)
        self.pods = Pods(self, mesh.questions)

    # --- views

    def position(self) -> Position:
        return self._node.position()

    def visible_tables(self) -> Tables:
        return self._node.visible_tables()

    def missed(self, since: Position) -> list[Op] | None:
        """What a client that was at ``since`` has not seen of the committed state; None: it needs all of it."""
        return missed(self._node.log, since, self._node.visible_tables())

    def view(self) -> ClusterView:
        """``players``: without a game, those of all rooms, as the leader knows."""
        view = self._node.view()
        return view if self.players_of_rooms is None else replace(view, players=self.players_of_rooms())

    # --- rooms

    def room(self, room: str) -> Game:
        """What this pod knows of the room's state."""
        return self.rooms.state(room)

    def how_to_open(self, room: str) -> Fields | None:
        return self.rooms.how_to_open(room)

    @property
    def has_rooms(self) -> bool:
        """Some would end, or lose a backup, with this pod."""
        return bool(self.rooms.machine.here())

    def players_in(self, room: str) -> int | None:
        """None: this pod has no copy of the room."""
        return self.rooms.machine.players(room)

    def url_of_room(self, room: str) -> str | None:
        """Where clients reach the pod that holds it."""
        placement = self.rooms.machine.placements.get(room)
        return self._node.url_of(placement.holder) if placement is not None else None

    def staying(self) -> list[Incarnation]:
        """Pods that are heard and are not about to go; this one first, if it stays."""
        return self._node.staying(self._loop.time())

    # --- the cluster's services

    @property
    def is_leader(self) -> bool:
        return self._node.is_leader

    @property
    def node(self) -> str:
        return name_of(self._node.me)

    @property
    def me(self) -> Incarnation:
        return self._node.me

    @property
    def names(self) -> HeldNames:
        return self.pods.names

    def ask_once(self, service: str, verb: str, args: Fields) -> Awaitable[Fields]:
        return self.pods.sessions.ask_once(service, verb, args)

    def everywhere(self, epoch: int, seq: int) -> Awaitable[Fields]:
        return self.pods.progress.everywhere(epoch, seq)

    def reachable(self) -> list[Incarnation]:
        return self._node.reachable(self._loop.time())

    def ask(self, service: str, verb: str, args: Fields) -> asyncio.Future[Fields]:
        return self.calls.ask(service, verb, args)

    def rows(self, table: str) -> Mapping[str, Fields]:
        """Committed rows of a service's table; not to be changed."""
        return self._node.log.tables.get(table, {})

    def follow(self, follower: Callable[[list[Op] | None], None]) -> None:
        """Has it called with every change of the services' tables, once committed; with None when all may be different."""
        self._followers.append(follower)

    # --- who is where

    def presences(self, topic: str) -> Presences:
        return self._node.roster.presences(topic)

    def groups(self) -> Groups:
        return self._node.roster.groups()

    # --- topics

    def want(self, topic: str, then: Callable[[], None]) -> None:
        self._pubsub.want(topic, then)

    def want_no_more(self, topic: str) -> None:
        self._pubsub.want_no_more(topic)

    @property
    def is_alive(self) -> bool:
        """The node ticks."""
        return not self._failure.done() and self._loop.time() - self._ticked_at < LIVENESS_SECONDS

    # --- events in, effects out

    def dispatch(self, event: Event) -> None:
        """Has the node decide and does what it says. From within an effect, the event waits for its turn."""
        self._events.append(event)
        if self._is_handling:
            return
        self._is_handling = True
        try:
            while self._events and not self._failure.done():
                event = self._events.popleft()
                if type(event) is Published:
                    self._pubsub.publish(event)
                elif not self.rooms.takes(event):
                    self.decide(event)
        finally:
            self._is_handling = False

    async def run(self) -> None:
        """Ticks and follows the Lease until cancelled. Raises NodeFailed, in a group, if the node does."""
        self._read_record()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._tick())
                tasks.create_task(self._poll_lease())
                tasks.create_task(self._watch_lease())
                tasks.create_task(self._look_at_storage())
                await asyncio.wait([self._failure])
                self._failure.result()
        finally:
            for task in self._tasks:
                task.cancel()

    def decide(self, event: Event) -> None:
        """Has the node decide at once. Only for what ``dispatch`` has given to the pubsub: all else goes through ``dispatch``."""
        try:
            effects = self._node.handle(event, self._loop.time())
        except Exception as error:
            self.fail("the node", event, error)
            return
        self.carry_out(effects)

    def carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            try:
                self._do(effect)
            except Exception:  # one client's or peer's message must not keep the other effects from being done
                log.exception("%s could not be done", type(effect).__name__)

    def fail(self, machine: str, event: object, error: Exception) -> None:
        """Its state can't be trusted any more."""
        log.critical("%s failed on %s: this process ends", machine, type(event).__name__, exc_info=error)
        if not self._failure.done():
            text = f"{type(error).__name__} on {type(event).__name__}: {error}"
            self._failure.set_exception(NodeFailed(text))

    def end_room(self, effect: EndRoom) -> None:
        self._hub.end_room(effect)

    def before_turn_ends(self, then: Callable[[], None]) -> None:
        self._mesh.before_turn_ends(then)

    def time(self) -> float:
        return self._loop.time()

    def _do(self, effect: Effect) -> None:
        match effect:
            case SendPeer(peer, message):
                self._mesh.send(peer, message)
            case Answer(request) if request < 0:
                self.calls.answered(effect)
            case Answer():
                self._hub.answer(effect)
            case DeliverRows(ops):
                self._tell_followers(ops)
            case DeliverPatch():
                self._hub.deliver_patch(effect)
            case Deliver(topic) if topic == NAMES_TOPIC:
                self.pods.names.delivered(effect)
            case Deliver():
                self._hub.deliver(effect)
            case DeliverState(room=room):
                if not room:
                    self._tell_followers(None)
                self._hub.deliver_state(effect)
            case Replace():
                self._hub.replace(effect)
            case PresenceChanged():
                self._hub.presence_changed(effect)
            case FlushSoon():
                self._mesh.before_turn_ends(self._end_turn)
            case ReadRecord():
                self._read_record()
            case WriteRecord(request, record):
                self._start(self._write(request, record))
            case Store():
                self._start(self._store(effect))
            case LoadStored():
                self._start(self._load())
            case Say(level, text):
                log.log(LEVELS[level], text)
            case Drained():
                self.drained.set()
            case _:
                assert_never(effect)

    def _tell_followers(self, ops: list[Op] | None) -> None:
        for follow in self._followers:
            try:
                follow(ops)
            except Exception:  # the others are to know all the same
                log.exception("who follows the services' tables could not take a change")

    def _end_turn(self) -> None:
        self.dispatch(TURN_ENDED)

    # --- time

    async def _tick(self) -> None:
        due = self._loop.time()
        while True:
            now = self._loop.time()
            if now - self._ticked_at > STALL_SECONDS:
                self._metrics.stalls.inc()
            self._ticked_at = now
            self.dispatch(Ticked())
            due += self._tick_seconds
            if due <= (now := self._loop.time()):  # late: no burst to make up for it
                due = now + self._tick_seconds
            await asyncio.sleep(due - now)

    # --- the Lease

    async def _poll_lease(self) -> None:
        while True:
            await asyncio.sleep(LEASE_READ_EVERY_SECONDS)
            self._read_record()

    async def _watch_lease(self) -> None:
        """A watch only says that it is time to read: what the node decides from comes from the store."""
        while True:
            try:
                await self._lease.watch(lambda _: self._read_record())
            except Exception as error:
                log.debug("watching the Lease: %s", error)
            await asyncio.sleep(LEASE_WATCH_AGAIN_SECONDS)

    def _read_record(self) -> None:
        """One read at a time; one that is asked for meanwhile starts after it."""
        if self._is_reading:
            self._reads_again = True
            return
        self._is_reading = True
        self._start(self._read())

    async def _read(self) -> None:
        event: Event
        try:
            async with asyncio.timeout(LEASE_ANSWER_SECONDS):
                event = RecordRead(await self._lease.read())
        except Exception as error:
            event = RecordReadFailed(_reason(error))
        self._count("read", event)
        self._is_reading = False
        again, self._reads_again = self._reads_again, False
        self.dispatch(event)
        if again:
            self._read_record()

    async def _write(self, request: int, record: Record) -> None:
        event: Event
        try:
            async with asyncio.timeout(LEASE_ANSWER_SECONDS):
                event = RecordWritten(request, await self._lease.write(record))
        except LeaseConflict:
            event = RecordConflicted(request)
        except Exception as error:  # it may have landed, or land later
            event = RecordUnanswered(request, _reason(error))
        self._count("write", event)
        self.dispatch(event)

    # --- the storage

    async def _look_at_storage(self) -> None:
        """What it holds is what a restore is decided from. Others may write to one that pods share."""
        if self._storage.kept is Kept.nowhere:
            return
        last_problem = ""
        while True:
            try:
                self.dispatch(StorageLooked(await self._storage.position()))
                last_problem, again = "", STORAGE_LOOK_SECONDS
            except Exception as error:
                problem, again = _reason(error), STORAGE_LOOK_AGAIN_SECONDS
                log.log(
                    logging.DEBUG if problem == last_problem else logging.WARNING, "looking at storage: %s", problem
                )
                last_problem = problem
            await asyncio.sleep(again)

    async def _store(self, store: Store) -> None:
        event: Event
        began = self._loop.time()
        try:
            await self._storage.write(store)
            event = Stored(store.last, len(store.entries))
            self._metrics.storage_seconds.observe(self._loop.time() - began)
        except Exception as error:
            event = StoreFailed(_reason(error))
        self._metrics.storage_requests.labels("write", type(event).__name__.lower()).inc()
        self.dispatch(event)

    async def _load(self) -> None:
        event: Event
        try:
            loaded = await self._storage.load()
            event = StoredLoaded(loaded.position, loaded.tables) if loaded else StoredUnreadable("nothing is stored")
        except Exception as error:
            event = StoredUnreadable(_reason(error))
        self._metrics.storage_requests.labels("read", type(event).__name__.lower()).inc()
        self.dispatch(event)

    def _count(self, verb: str, event: Event) -> None:
        self._metrics.lease_requests.labels(verb, type(event).__name__.removeprefix("Record").lower()).inc()

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def tick_seconds(tick_rate: int) -> float:
    """At most 20 ms, and a whole part of the game's tick, so that the game's ticks keep their rate."""
    if tick_rate <= 0:
        return TICK_SECONDS
    return 1 / tick_rate / math.ceil(1 / tick_rate / TICK_SECONDS)


def _reason(error: Exception) -> str:
    return "timed out" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}".removesuffix(": ")
