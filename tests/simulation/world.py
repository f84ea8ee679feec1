"""A whole cluster in one thread: virtual time, processes that die and pause, a mesh, a Lease, players.

Everything follows from the plan's seed: one heap of things to do, and random numbers from it alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from heapq import heappop, heappush
from math import inf
from random import Random
from typing import Any, assert_never

from msgspec.structs import replace

from gamecluster.core import effects as do
from gamecluster.core import events as happened
from gamecluster.core.durability import Kept
from gamecluster.core.effects import Effect
from gamecluster.core.events import Event
from gamecluster.core.messages import (
    Ack,
    Append,
    Asleep,
    Fields,
    Incarnation,
    Install,
    Position,
    Promised,
    Record,
    Tables,
    incarnation,
    pod_of,
)
from gamecluster.core.node import Node, NodeConfig
from gamecluster.services import Services
from gamecluster_operator.labels import pod_name

from . import invariants, loss
from .clients import Answered, Client
from .crowd import Crowd
from .games import CounterGame, GuestBook
from .invariants import Ledger, Violated
from .lease import VACANT, LeaseApi
from .life import Life
from .network import Network, Weather
from .schedule import Family, Moment, Plan
from .standin import CLUSTER, Operator, PodObject
from .storage import Storage
from .transcript import Transcript

TICK = happened.Ticked()
TURN_ENDED = happened.TurnEnded()
STORM = 300_000
"""Far more than ever happens in one call of ``run_until``: messages that multiply are noticed."""

MakeNode = Callable[[Incarnation, Plan, Random, float, str], Any]


def real_node(
    me: Incarnation, plan: Plan, random: Random, now: float, revision: str, services: Services | None = None
) -> Any:
    config = NodeConfig(
        suspect_after=plan.suspect_after,
        replicas=plan.replicas,
        revision=revision,
        takeover=plan.takeover,
        lease_duration=plan.lease_duration,
        renew_every=plan.lease_duration / 3,
        storage=plan.storage,
        durable=plan.durable,
        leave_alone_after=inf
        if plan.storage is Kept.nowhere
        else 0.5,  # else it goes with the only copy, as it was told
        awaits_newcomers=Random(f"{plan.seed}/awaits").random() < 0.5,
    )
    grace = 1e6 if plan.family is Family.clocks else 30.0  # a clock that jumps would end stays
    game = GuestBook(plan.grace) if plan.leaves else CounterGame(grace)
    if services is None and plan.speakers:
        services = Services(lambda: 0.0, Random(f"{plan.seed}/{me}/services"))
    return Node(me, config, game, random, now, services)


class World:
    def __init__(self, plan: Plan, transcript: Transcript | None = None, make_node: MakeNode = real_node) -> None:
        self.plan = plan
        self.now = 0.0
        self.transcript = transcript or Transcript()
        self.random = Random(f"{plan.seed}/world")
        self.ledger = Ledger()
        self.lives: dict[Incarnation, Life] = {}
        self.clients: list[Client] = []
        self.said: dict[tuple[str, int], str] = {}
        self.counts: Counter[str] = Counter()
        self.traps: dict[Moment, list[Callable[[Life | None], None]]] = {}
        self._make_node = make_node
        self._heap: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._order = 0
        self._absent: list[tuple[str, bool]] = []
        self._boots: Counter[str] = Counter()
        self._pods: Counter[str] = Counter()
        self.safe_until = 0  # the last entry that no total loss may undo
        self.sleepers: set[str] | None = None  # pods that went because the game is to sleep; None: it is to be awake
        self._objects: dict[str, str] = {}  # name → UID of the pods that there are
        self.storage = Storage(self, Random(f"{plan.seed}/storage"), plan.storage, self.ledger.chain, self._tell_life)
        weather = Weather(plan.typical_delay, plan.slow_share, 0.2, ordered=plan.ordered)
        if not plan.ordered:
            weather.loss, weather.doubling = 0.02, 0.02
        self.network = Network(self, Random(f"{plan.seed}/network"), weather)
        self.lease = LeaseApi(self, Random(f"{plan.seed}/lease"), self._landed, plan.flaky)
        self.crowd = Crowd(self, Random(f"{plan.seed}/crowd"), plan.tracks)
        self.operator: Operator | None = None
        if plan.operator is not None:
            self.operator = Operator(self, Random(f"{plan.seed}/operator"), plan.operator)
            self.lease.store.record = replace(VACANT, never_held=plan.storage is Kept.nowhere)
        for index in range(plan.pods):
            name = f"p{index}" if plan.operator is None else pod_name(CLUSTER, index)
            self.at(self.random.uniform(0, 0.3), self.start, name)

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
        pod = f"{self._pods[name]}" if self.plan.operator is None else f"{name}.{self._pods[name]}"
        self._objects[name] = pod
        self._boots[f"{name}/{pod}"] += 1
        me = incarnation(name, pod, self._boots[f"{name}/{pod}"])
        for earlier in self.lives.values():
            earlier.is_certified_dead |= pod_of(earlier.incarnation) == pod_of(me)
        random = self.random
        life = Life(me, name, random.choice(("a", "b")), random.uniform(0, 1e6), random.uniform(*self.plan.clocks))
        self.lives[me] = life
        life.run(self._make_node(me, self.plan, Random(f"{self.plan.seed}/{me}"), life.clock(self.now), life.revision))
        self.transcript.note(self.now, f"{me} starts")
        self.network.add(me)
        self.at(self.now + random.uniform(0, self.plan.tick), self._tick, life)
        self._read(life, True)
        if self.plan.storage is not Kept.nowhere:
            self.storage.look(life)
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
        life.ended_at = self.now if loudly else None
        life.queue.clear()
        self.network.remove(life.incarnation, loudly)
        for client in life.clients.values():
            if client.pod == life.incarnation and loudly:
                client.lost()
        life.asked.clear()

    def pause(self, life: Life) -> None:
        self.transcript.note(self.now, f"{life} is paused")
        life.pauses += 1
        life.paused_at = self.now

    def resume(self, life: Life) -> None:
        """All that came in the meantime is there at once; the timer may be first or last."""
        life.pauses -= 1
        life.paused_at = self.now
        if not life.runs:
            return
        self.transcript.note(self.now, f"{life} goes on, {len(life.queue)} events wait")
        if self.random.random() < 0.5:
            self._step(life, TICK)
        while life.queue and life.runs:
            act, args = life.queue.popleft()
            act(*args)

    def may_lose(self, victims: set[Incarnation]) -> bool:
        """No total loss: every set that may be in force keeps a living member."""
        return all(
            any(self.lives[m].alive and m not in victims for m in members) for members in self.lease.possible_sets()
        )

    def living(self) -> list[Life]:
        return [life for life in self.lives.values() if life.alive]

    def _tick(self, life: Life) -> None:
        if not life.alive:
            return
        if not life.pauses:
            self._step(life, TICK)
        self.at(self.now + self.plan.tick * self.random.uniform(0.95, 1.05), self._tick, life)

    def _read(self, life: Life, again: bool = False) -> None:
        """The shell's own reads of the Lease, every second, and those that the node asks for."""
        if not life.alive:
            return
        if not life.pauses or not again:
            self.lease.read(life.incarnation, lambda answer: self.give(life.incarnation, self._step, life, answer))
        if again:
            self.at(self.now + self.random.uniform(0.9, 1.1), self._read, life, True)

    # --- what network, lease and clients need

    def give(self, to: Incarnation, act: Callable[..., None], *args: Any) -> None:
        life = self.lives[to]
        if not life.alive:
            return
        if life.pauses or life.queue:
            life.queue.append((act, args))
        else:
            act(*args)

    def hear(self, to: Incarnation, event: Event) -> None:
        life = self.lives[to]
        if life.alive:
            self._step(life, event)

    def is_reachable(self, who: Incarnation) -> bool:
        return self.lives[who].runs

    def revision_of(self, who: Incarnation) -> str:
        return self.lives[who].revision

    def doors(self) -> list[Incarnation]:
        return [life.incarnation for life in self.lives.values() if life.alive and not life.draining]

    def open(self, pod: Incarnation, client: Client) -> int:
        life = self.lives[pod]
        life.connections += 1
        life.clients[life.connections] = client
        return life.connections

    def ask(self, client: Client, make: Callable[[int], Event], answered: Answered) -> None:
        """In order on one connection, like the answers."""
        pod = client.pod
        assert pod is not None
        client.sending = max(client.sending, self.now + self._client_delay())
        self.at(client.sending, self.give, pod, self._ask, pod, client, make, answered)

    def _ask(self, pod: Incarnation, client: Client, make: Callable[[int], Event], answered: Answered) -> None:
        life = self.lives[pod]
        life.requests += 1
        event = make(life.requests)
        life.asked[-life.requests if isinstance(event, happened.Called) else life.requests] = (client, answered)
        self._step(life, event)

    def tell(self, pod: Incarnation, event: Event) -> None:
        self.give(pod, self.hear, pod, event)

    def tell_in_order(self, client: Client, event: Event) -> None:
        assert client.pod is not None
        client.sending = max(client.sending, self.now + self._client_delay())
        self.at(client.sending, self.tell, client.pod, event)

    def played(self, stay: str, response: Fields) -> None:
        invariants.check_played(self.ledger, stay, response)

    def copy(self, pod: Incarnation) -> Tables:
        return self.lives[pod].log.tables

    def is_there(self, pod: Incarnation) -> bool:
        return self.lives[pod].alive

    def truth(self) -> Tables:
        return self.ledger.shadow

    def was_undone(self, position: tuple[int, int]) -> bool:
        return Position(*position) in self.ledger.undone

    # --- what the operator needs

    def pods(self) -> list[PodObject]:
        newest = {pod_of(life.incarnation): life for life in self.lives.values()}
        found = []
        for name, uid in self._objects.items():
            boots = self._boots[f"{name}/{uid}"]
            found.append(PodObject(name, uid, boots, newest.get(f"{name}_{uid}")))
        return found

    def note(self, text: str) -> None:
        self.transcript.note(self.now, text)

    def decided(self, seen: Record, lost: tuple[Incarnation, ...], stored: tuple[int, int] | None) -> None:
        self.note(f"the operator takes {lost} for lost, and {stored} for stored")
        if alive := [who for who in lost if self.lives[who].alive and not self.lives[who].abandoned]:
            raise Violated("rule 9", f"the operator takes {alive} for dead: {seen}")

    def violated(self, invariant: str, text: str) -> None:
        raise Violated(invariant, text)

    def _client_delay(self) -> float:
        return self.random.uniform(0.0005, 0.004)

    # --- one step of one node

    def _step(self, life: Life, event: Event) -> None:
        if not life.alive:
            return
        if event is not TICK and event is not TURN_ENDED:
            self.transcript.event(self.now, life.incarnation, event)
        effects = life.node.handle(event, life.clock(self.now))
        invariants.check_commits(self.ledger, life, self.lease, self.lives, self.now)
        if life.undone is not None:
            self._begin_again(life)
        if not effects:
            return
        shown = False
        for effect in effects:
            self.transcript.effect(self.now, life.incarnation, effect)
            shown |= self._carry_out(life, effect)
        if shown:
            invariants.check_shown(self.ledger, life)
        if self.traps:
            self._spring(life, effects)

    def _carry_out(self, life: Life, effect: Effect) -> bool:
        """Returns whether subscribers were shown something."""
        match effect:
            case do.SendPeer(peer, message):
                invariants.check_message(self.ledger, life, effect)
                self.network.send(life.incarnation, peer, message)
            case do.Answer():
                self._answer(life, effect)
            case do.DeliverPatch() | do.DeliverState():
                if isinstance(effect, do.DeliverState):
                    life.shown = {name: dict(rows) for name, rows in life.node.visible_tables().items()}
                    for client in self._at(life):
                        client.begins_again()
                invariants.check_delivery(self.ledger, life, effect)
                for client in life.clients.values():
                    if client.pod == life.incarnation and client.joined:
                        client.saw(effect.epoch, effect.seq)
                return True
            case do.FlushSoon():
                turn = self.random.choice((0.0, self.random.uniform(0, 0.001)))
                self.at(self.now + turn, self.give, life.incarnation, self._step, life, TURN_ENDED)
            case do.ReadRecord():
                self._read(life)
            case do.Store():
                self.storage.write(life, effect)
            case do.LoadStored():
                self.storage.load(life)
            case do.WriteRecord(request, record):
                self._write(life, request, record)
            case do.Replace(connection, _):
                owner = life.clients.get(connection)
                if owner is not None and (owner.pod, owner.connection) == (life.incarnation, connection):
                    owner.lost()
            case do.Drained():
                self._drained(life)
            case do.PresenceChanged():
                self.crowd.told(life, effect)
            case do.Deliver(topic, _, payload):
                for client in self._at(life):
                    client.hears(topic, payload)
            case do.DeliverRows() | do.Say():
                pass
            case _:
                assert_never(effect)
        return False

    def _at(self, life: Life) -> list[Client]:
        here = life.clients.items()
        return [c for connection, c in here if (c.pod, c.connection) == (life.incarnation, connection)]

    def _answer(self, life: Life, answer: do.Answer) -> None:
        asked = life.asked.pop(answer.request, None)
        if asked is None:
            raise Violated("I5", f"{life} answered request {answer.request} twice, or it was never asked: {answer}")
        invariants.check_answer(self.ledger, life, answer)
        client, answered = asked
        client.receiving = max(client.receiving, self.now + self._client_delay())
        self.at(client.receiving, answered, answer.ok, answer.response)

    def _tell_life(self, life: Life, event: Event) -> None:
        self.give(life.incarnation, self._step, life, event)

    def _begin_again(self, life: Life) -> None:
        """After a total loss: what is undone has to be less than what may be."""
        undone, life.undone = life.undone or [], None
        self.counts["undone"] += len(undone)
        self.note(f"the game goes on at {self.ledger.last}, by {life}; {len(undone)} entries are undone")
        if undone and self.ledger.era in self.ledger.woken:
            raise Violated("asleep", f"{life} woke the game, and {undone} had been committed")
        loss.check_loss(self, life, undone)
        for client in self.clients:
            client.rolled_back(self.ledger.shadow)

    def _write(self, life: Life, request: int, record: Record) -> None:
        self.lease.write(
            life.incarnation,
            request,
            record,
            lambda answer: self.give(life.incarnation, self._step, life, answer),
        )
        current = self.lease.record
        begins = current.never_held or current.restore or current.asleep is not None
        if record.version == current.version and self.ledger.entries and not begins:
            why = f"{life} sends a write of the record with it"
            invariants.check_held_by_all(self.ledger, self.ledger.last, [record.in_sync], self.lives, why)

    def _landed(self, writer: Incarnation, before: Record, after: Record) -> None:
        self.transcript.note(
            self.now, f"landed, by {writer}: v{after.version} e{after.epoch} {after.holder} {after.in_sync}"
        )
        invariants.check_record(self.ledger, before, after, writer, self.lives, self.now)
        if after.asleep is not None:
            self._check_last_word(after.asleep)
        if after.holder is not None and self.lives[after.holder].undone is not None:
            self._begin_again(self.lives[after.holder])
        self.counts["landed"] += 1
        for strike in self.traps.pop(Moment.land, ()):
            self.at(self.now, strike, self.lives.get(writer))

    def _check_last_word(self, asleep: Asleep) -> None:
        stored = self.storage.content(self.lives[asleep.by]).end
        if not asleep.position == stored == self.ledger.last:
            raise Violated("asleep", f"{asleep}, and {stored} is stored, and {self.ledger.last} was committed")
        self.counts["asleep"] += 1

    def _drained(self, life: Life) -> None:
        if not life.draining:
            raise Violated("drain", f"{life} drained unasked")
        sets = [members for members in self.lease.possible_sets() if life.incarnation in members]
        if any(not any(self.lives[m].alive for m in members if m != life.incarnation) for members in sets):
            raise Violated("drain", f"{life} is drained, and a set that may be in force has nobody else alive")
        self.counts["drained"] += 1
        self.end(life, "drained")
        self._objects.pop(life.name, None)
        if life.comes_back:
            self.start_later(self.random.uniform(0.1, 1.0), life.name, False)

    def _spring(self, life: Life, effects: list[Effect]) -> None:
        """Faults that wait for a moment strike right after the step in which it came."""
        for effect in effects:
            moment = _moment(effect)
            if moment is not None:
                for strike in self.traps.pop(moment, ()):
                    self.at(self.now, strike, life)


def _moment(effect: Effect) -> Moment | None:
    match effect:
        case do.WriteRecord():
            return Moment.write
        case do.Answer():
            return Moment.answer
        case do.SendPeer(_, Promised()):
            return Moment.promise
        case do.SendPeer(_, Append(_, _, entries)) if entries:
            return Moment.append
        case do.SendPeer(_, Ack()):
            return Moment.acknowledge
        case do.SendPeer(_, Install()):
            return Moment.install
        case _:
            return None
