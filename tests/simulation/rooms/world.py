"""Pods that hold rooms, in one thread: virtual time, processes that die and pause, a mesh, the GameState, players.

Everything follows from the plan's seed: one heap of things to do, and random numbers from it alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Any, assert_never

import msgspec

from gamecluster.core import effects as do
from gamecluster.core import events as happened
from gamecluster.core.effects import RoomEffect
from gamecluster.core.events import Event, LinkDown, LinkUp, PeerSaid, RoomEvent, SaidInRoom
from gamecluster.core.messages import Ack, Append, Fields, Hello, Incarnation, InRoom, Install, Promised, incarnation
from gamecluster.core.replication import Log
from gamecluster.core.rooms import Rooms
from gamecluster.services.tenure import Tenure

from ..clients import Answered, Client
from ..network import Network, Weather
from ..transcript import Transcript
from . import invariants
from .games import Kinds
from .invariants import Violated
from .life import Life
from .master import Master
from .placer import Placer
from .schedule import Moment, Plan
from .truth import Truth

TICK = happened.Ticked()
TURN_ENDED = happened.TurnEnded()
STORM = 200_000
"""Far more than ever happens in one call of ``run_until``: messages that multiply are noticed."""
HELLO_TICKS = 5


class World:
    def __init__(self, plan: Plan, transcript: Transcript | None, watched: Watched) -> None:
        self.plan = plan
        self.now = 0.0
        self.transcript = transcript or Transcript()
        self.random = Random(f"{plan.seed}/rooms/world")
        self.truth = Truth()
        self.kinds = Kinds(plan, Random(f"{plan.seed}/rooms/games"))
        self.lives: dict[Incarnation, Life] = {}
        self.clients: list[Client] = []
        self.counts: Counter[str] = Counter()
        self.is_quiet = False
        self.traps: dict[Moment, list[Callable[[Life | None], None]]] = {}
        self._watched = watched
        self._heap: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._order = 0
        self._absent: list[tuple[str, bool]] = []
        self._boots: Counter[str] = Counter()
        self._pods: Counter[str] = Counter()
        weather = Weather(plan.typical_delay, plan.slow_share, 0.2)
        self.network = Network(self, Random(f"{plan.seed}/rooms/network"), weather)
        self.master = Master(self, Random(f"{plan.seed}/rooms/master"), plan.flaky)
        self.placer = Placer(self, Random(f"{plan.seed}/rooms/placer"))
        for index in range(plan.pods):
            self.at(self.random.uniform(0, 0.2), self.start, f"p{index}")

    # --- time

    def at(self, when: float, do: Callable[..., object], *args: Any) -> None:
        self._order += 1
        heappush(self._heap, (when, self._order, do, args))

    def run_until(self, end: float) -> None:
        heap, last = self._heap, self._order + STORM
        while heap and heap[0][0] <= end:
            self.now, _, act, args = heappop(heap)
            act(*args)
            if self._order > last:
                raise Violated("storm", f"{STORM} things to do, and it is only {self.now:.4f} s")
        self.now = end

    # --- processes

    def start(self, name: str, same_pod: bool = True) -> Life:
        """A process of pod ``name``: its next life, or the first one of a new pod of that name."""
        if not same_pod or not self._pods[name]:
            self._pods[name] += 1
        pod = f"{self._pods[name]}"
        self._boots[f"{name}/{pod}"] += 1
        me = incarnation(name, pod, self._boots[f"{name}/{pod}"])
        random, plan = self.random, self.plan
        life = Life(me, name, random.uniform(0, 1e6), random.uniform(0.98, 1.02), plan.suspect_after)
        now = life.clock(self.now)
        own = Random(f"{plan.seed}/{me}")
        life.rooms = Rooms(me, self.kinds, own, life.members, Tenure(), now, plan.suspect_after)
        self.lives[me] = life
        self.transcript.note(self.now, f"{me} starts")
        self.network.add(me)
        self.master.add(life)
        self.at(self.now + random.uniform(0, plan.tick), self._tick, life)
        return life

    def start_later(self, wait: float, name: str, same_pod: bool) -> None:
        self._absent.append((name, same_pod))
        self.at(self.now + wait, self._come_back, name, same_pod)

    @property
    def absent(self) -> list[str]:
        """Pods that will come back."""
        return [name for name, _ in self._absent]

    def start_absent(self) -> None:
        """Those that were to come back later come back now."""
        for name, same_pod in list(self._absent):
            self._come_back(name, same_pod)

    def _come_back(self, name: str, same_pod: bool) -> None:
        if (name, same_pod) in self._absent:
            self._absent.remove((name, same_pod))
            self.start(name, same_pod)

    def end(self, life: Life, why: str, loudly: bool = True) -> None:
        """The process is gone, with its memory. ``loudly``: its sockets are closed by its kernel."""
        self.transcript.note(self.now, f"{life} ends: {why}")
        life.alive = False
        life.queue.clear()
        self.network.remove(life.incarnation, loudly)
        for client in life.clients.values():
            if client.pod == life.incarnation and loudly:
                client.lost()
        life.asked.clear()

    def pause(self, life: Life) -> None:
        self.transcript.note(self.now, f"{life} is paused")
        life.pauses += 1

    def resume(self, life: Life) -> None:
        """All that came in the meantime is there at once; the timer may be first or last."""
        life.pauses -= 1
        if not life.runs:
            return
        self.transcript.note(self.now, f"{life} goes on, {len(life.queue)} events wait")
        if self.random.random() < 0.5:
            self._step(life, TICK)
        while life.queue and life.runs:
            act, args = life.queue.popleft()
            act(*args)

    def living(self) -> list[Life]:
        return [life for life in self.lives.values() if life.alive]

    def drain(self, life: Life, comes_back: bool) -> None:
        life.draining = True
        life.comes_back = life.comes_back and comes_back
        life.members.drain()
        self.tell_life(life, happened.DrainRequested())

    def _tick(self, life: Life) -> None:
        if not life.alive:
            return
        if life.runs:
            life.membership.ticked(life.clock(self.now))
            self.master.hears(life)
            life.ticks += 1
            if life.ticks % HELLO_TICKS == 0:
                self._greet(life)
            self._step(life, TICK)
            self._go_if_drained(life)
        self.at(self.now + self.plan.tick * self.random.uniform(0.95, 1.05), self._tick, life)

    def _greet(self, life: Life) -> None:
        for peer in life.membership.linked():
            self.network.send(life.incarnation, peer, Hello(None, life.draining, True, 0, None))

    def _go_if_drained(self, life: Life) -> None:
        """Nothing that is committed names it any more, and it knows."""
        if not life.draining or life.incarnation not in self.master.draining or life.rooms.here():
            return
        if any(life.incarnation in (r.holder, *r.backups, *r.joining) for r in self.master.placements.values()):
            return
        self.counts["drained"] += 1
        self.end(life, "drained")
        if life.comes_back:
            self.start_later(self.random.uniform(0.1, 1.0), life.name, False)

    # --- what network and clients need

    def give(self, to: Incarnation, act: Callable[..., None], *args: Any) -> None:
        life = self.lives[to]
        if not life.alive:
            return
        if life.pauses or life.queue:
            life.queue.append((act, args))
        else:
            act(*args)

    def hear(self, to: Incarnation, event: Event) -> None:
        """From the network, as the node takes it."""
        life = self.lives[to]
        if not life.alive:
            return
        now, membership = life.clock(self.now), life.membership
        match event:
            case PeerSaid(peer, Hello() as hello):
                membership.heard(peer, now)
                membership.said_hello(peer, hello)
            case PeerSaid(peer, InRoom() as message):
                membership.heard(peer, now)
                self._step(life, SaidInRoom(peer, message))
            case LinkUp(peer):
                membership.link_up(peer, event.url, event.revision, now)
                self._step(life, event)
            case LinkDown(peer):
                membership.link_down(peer, event.reason, now)
                self._step(life, event)
            case _:
                raise AssertionError(event)

    def is_reachable(self, who: Incarnation) -> bool:
        return self.lives[who].runs

    def revision_of(self, who: Incarnation) -> str:
        return "a"

    def doors(self) -> list[Incarnation]:
        return [life.incarnation for life in self.lives.values() if life.alive and not life.draining]

    def open(self, pod: Incarnation, client: Client) -> int:
        life = self.lives[pod]
        life.connections += 1
        life.clients[life.connections] = client
        return life.connections

    def ask(self, client: Client, room: str, make: Callable[[int], Any], answered: Answered) -> None:
        """In order on one connection, like the answers."""
        pod = client.pod
        assert pod is not None
        client.sending = max(client.sending, self.now + self._client_delay())
        self.at(client.sending, self.give, pod, self._ask, pod, client, room, make, answered)

    def _ask(self, pod: Incarnation, client: Client, room: str, make: Callable[[int], Any], answered: Answered) -> None:
        life = self.lives[pod]
        life.requests += 1
        life.asked[life.requests] = (client, room, answered)
        self._step(life, msgspec.structs.replace(make(life.requests), room=room))

    def tell(self, pod: Incarnation, room: str, event: Any) -> None:
        self.tell_life(self.lives[pod], msgspec.structs.replace(event, room=room))

    def tell_life(self, life: Life, event: RoomEvent) -> None:
        if self.traps and isinstance(event, happened.Placed):
            self._spring(Moment.placed, life)
        self.give(life.incarnation, self._step, life, event)

    def wish(self, client: Client, room: str, n: int | None) -> Fields:
        """What a move brings about beside itself: somebody walks to another room, or the room ends."""
        plan, rooms = self.plan, self.kinds.all
        chance = Random(f"{plan.seed}/{client.player}/{n}") if n is not None else self.random
        walks, ends = chance.random() < plan.walks, chance.random() < plan.ends
        to = chance.choice([*rooms, "match-nowhere"] if plan.demanded else [*rooms, "nothing"])
        if self.is_quiet:
            return {}
        wish: Fields = {"to": to} if walks and to != room else {}
        if (client.player, n) == ("player0", 1) and len(self.truth.chains[room]) == 1:
            wish["people"] = plan.people
        return {**wish, **({"ends": True} if ends else {}), **({"scores": True} if chance.random() < 0.1 else {})}

    def note(self, text: str) -> None:
        self.transcript.note(self.now, text)

    def violated(self, invariant: str, text: str) -> None:
        raise Violated(invariant, text)

    def _client_delay(self) -> float:
        return self.random.uniform(0.0005, 0.004)

    # --- one step of one pod

    def log_of(self, life: Life, room: str) -> Log | None:
        log: Log | None = life.rooms.log(room)
        return log

    def _step(self, life: Life, event: RoomEvent) -> None:
        if not life.alive:
            return
        if event is not TICK and event is not TURN_ENDED:
            self.transcript.event(self.now, life.incarnation, event)
        self._watched.begin()
        effects: list[RoomEffect] = life.rooms.handle(event, life.clock(self.now))
        self._check_logs(life)
        shown: dict[str, None] = {}
        for effect in effects:
            self.transcript.effect(self.now, life.incarnation, effect)
            room = self._carry_out(life, effect)
            if room is not None:
                shown[room] = None
        for room in shown:
            invariants.check_shown(self, life, room)

    def _check_logs(self, life: Life) -> None:
        for log, entries in self._watched.take():
            room = self._watched.room_of(life, log)
            if entries is None:
                invariants.check_install(self, life, room, log)
            else:
                invariants.check_commits(self, life, room, entries)

    def _carry_out(self, life: Life, effect: RoomEffect) -> str | None:
        """Returns of which room subscribers were shown something."""
        match effect:
            case do.SendPeer(peer, InRoom() as message):
                invariants.check_message(self.truth, life, peer, message)
                self.network.send(life.incarnation, peer, message)
                self._spring(_moment(message), life)
            case do.SendPeer():
                raise Violated("message", f"{life} sends {effect}")
            case do.Answer():
                self._answer(life, effect)
                self._spring(Moment.answer, life)
            case do.DeliverPatch() | do.DeliverState():
                return self._deliver(life, effect)
            case do.FlushSoon():
                turn = self.random.choice((0.0, self.random.uniform(0, 0.001)))
                self.at(self.now + turn, self.give, life.incarnation, self._step, life, TURN_ENDED)
            case do.Replace(connection, _, room):
                owner = life.clients.get(connection)
                if owner is not None and (owner.pod, owner.connection) == (life.incarnation, connection):
                    owner.lost()
            case do.EndRoom(room):
                self._closed(life, room)
            case do.CallService():
                self.master.ask(life, effect)
                self._spring(Moment.call, life)
            case do.Say(_, text):
                if "Traceback" in text:
                    raise Violated("rule", text)
            case do.Deliver():
                pass
            case _:
                assert_never(effect)
        return None

    def _deliver(self, life: Life, effect: do.DeliverPatch | do.DeliverState) -> str | None:
        """As a topic, which is there while somebody here has joined it."""
        room, clients = effect.room, self._in(life, effect.room)
        if not any(client.connection in life.joined[room] for client in clients):
            life.joined.pop(room, None)
            return None
        invariants.check_delivery(self.truth, life, effect)
        for client in clients:
            if client.joined:
                client.saw(effect.epoch, effect.seq)
        return room

    def _in(self, life: Life, room: str) -> list[Client]:
        here = life.clients.items()
        at = [c for connection, c in here if (c.pod, c.connection) == (life.incarnation, connection)]
        return [client for client in at if getattr(client, "room", None) == room]

    def _closed(self, life: Life, room: str) -> None:
        life.joined.pop(room, None)
        for client in self._in(life, room):
            client.lost()

    def _answer(self, life: Life, answer: do.Answer) -> None:
        asked = life.asked.pop(answer.request, None)
        if asked is None:
            raise Violated("answer", f"{life} answered request {answer.request} twice, or it was never asked: {answer}")
        client, room, answered = asked
        invariants.check_answer(self.truth, life, room, answer)
        if answer.join:  # the shell adds the state
            life.shown[room] = {name: dict(rows) for name, rows in life.rooms.visible_tables(room).items()}
            life.delivered[room] = (0, 0)
            life.joined[room].add(asked[0].connection)
        client.receiving = max(client.receiving, self.now + self._client_delay())
        self.at(client.receiving, answered, answer.ok, answer.response)

    def _spring(self, moment: Moment | None, life: Life) -> None:
        """Faults that wait for a moment strike right after the step in which it came."""
        if self.traps and moment is not None:
            for strike in self.traps.pop(moment, ()):
                self.at(self.now, strike, life)


class Watched:
    """What the logs of all rooms do in one step, from wherever. ``entries`` None: a snapshot came."""

    def __init__(self) -> None:
        self._done: list[tuple[Log, list[Any] | None]] = []
        self._rooms: dict[int, tuple[Log, str]] = {}

    def begin(self) -> None:
        self._done = []

    def take(self) -> list[tuple[Log, list[Any] | None]]:
        done, self._done = self._done, []
        return done

    def committed(self, log: Log, entries: list[Any]) -> None:
        if entries:
            self._done.append((log, entries))

    def installed(self, log: Log) -> None:
        self._done.append((log, None))

    def room_of(self, life: Life, log: Log) -> str:
        found = self._rooms.get(id(log))
        if found is not None:
            return found[1]
        for room in life.rooms._rooms.values():
            if room.log is log:
                self._rooms[id(log)] = (log, room.id)
                return str(room.id)
        raise LookupError(f"a log of no room at {life}")


def _moment(message: InRoom) -> Moment | None:
    match message.body:
        case Promised():
            return Moment.promise
        case Append(_, _, entries) if entries:
            return Moment.append
        case Ack():
            return Moment.acknowledge
        case Install():
            return Moment.install
        case _:
            return None
