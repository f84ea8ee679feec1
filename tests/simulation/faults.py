"""Carries a plan's faults out. Whom one strikes is found when it strikes, from its ``pick`` and the state of the world.

None of them may end the last living member of a set that may be in force: that would be a total loss, for which other rules hold.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import assert_never

from gamecluster.core.events import DrainRequested, HandOffRequested
from gamecluster.core.messages import Incarnation
from gamecluster.core.view import StorageState
from gamecluster_operator.labels import pod_name

from . import probe
from .life import Life
from .loss import safe_until
from .network import Pair
from .schedule import Family, Fault, Kind
from .standin import CLUSTER
from .world import World


class Trouble:
    def __init__(self, world: World) -> None:
        self._world = world
        self._over = False
        self._lasting = 0
        self._undo: dict[int, Callable[[], None]] = {}
        for fault in world.plan.faults:
            world.at(fault.at, self._due, fault)

    def end(self) -> None:
        """From now on nothing goes wrong any more: whatever lasts is put right."""
        self._over = True
        self._world.traps.clear()
        for undo in list(self._undo.values()):
            undo()
        self._undo.clear()

    def _due(self, fault: Fault) -> None:
        if self._over:
            return
        if fault.moment is None:
            self._strike(fault, None)
        else:
            self._world.traps.setdefault(fault.moment, []).append(partial(self._strike, fault))

    def _strike(self, fault: Fault, actor: Life | None) -> None:
        """``actor``: who did what the fault was waiting for."""
        if self._over:
            return
        world = self._world
        victim = self._victim(fault, actor)
        if victim is None:
            return
        who = victim.incarnation
        world.counts[fault.kind] += 1
        world.transcript.note(world.now, f"fault: {fault} strikes {who}")
        match fault.kind:
            case Kind.kill:
                self._kill([victim], fault)
            case Kind.kill_most:
                self._kill_most(victim, fault)
            case Kind.lose:
                self._kill([victim], fault, loudly=False)
            case Kind.recreate:
                self._cut_off([who], fault.seconds)
                if victim.comes_back:
                    victim.comes_back = False
                    world.start_later(0.2, victim.name, False)
            case Kind.pause:
                world.pause(victim)
                self._later(fault.seconds, lambda: world.resume(victim))
            case Kind.cut:
                for other in self._others(victim)[: 1 + fault.pick // 64 % 2]:
                    world.network.cut(who, other)
            case Kind.isolate:
                self._cut_off([who], fault.seconds)
            case Kind.halves:
                living = self._everyone(fault)
                self._cut_off(living[: len(living) // 2], fault.seconds)
            case Kind.one_way:
                outward = [(who, other) for other in self._others(victim)]
                pairs = outward if fault.pick & 64 else [(there, here) for here, there in outward]
                self._block(pairs[: 1 + fault.pick // 128 % len(pairs)] if pairs else [], fault.seconds)
            case Kind.ring:
                self._block(_ring(self._everyone(fault)), fault.seconds)
            case Kind.slow:
                self._slow_network(fault)
            case Kind.lease_slow | Kind.lease_flaky | Kind.lease_away:
                self._trouble_lease(fault)
            case Kind.lease_unreachable:
                some = self._everyone(fault)
                self._hide_lease(some[: 1 + fault.pick // 256 % len(some)], fault.seconds)
            case Kind.lease_delete:
                if world.lease.delete() and world.operator is None:
                    self._later(fault.seconds, world.lease.recreate)
            case Kind.lease_lower:
                world.lease.lower()
            case Kind.hand_off:
                others = self._others(victim)
                to = world.lives[others[fault.pick // 64 % len(others)]].name if others and fault.pick & 32 else None
                world.tell(who, HandOffRequested(to))
            case Kind.drain:
                self._drain(victim, comes_back=True)
            case Kind.scale_up:
                name = f"q{fault.pick % 997}"
                if len(world.living()) < 7 and name not in {life.name for life in world.lives.values()}:
                    world.start(name)
            case Kind.scale_down:
                self._drain(victim, comes_back=False)
            case Kind.reconnect:
                for client in world.clients:
                    if client.pod is not None:
                        client.hang_up()
            case Kind.kill_set:
                self._kill_set(fault)
            case Kind.hibernate:
                self._hibernate(fault)
            case Kind.abandon:
                self._leave_alone(victim, fault)
            case Kind.operator_away | Kind.operator_blind | Kind.operator_slow:
                self._trouble_operator(fault)
            case Kind.storage_fail | Kind.storage_flaky | Kind.storage_slow | Kind.storage_unreadable:
                self._trouble_storage(fault)
            case Kind.clock_jump:
                victim.jump(fault.seconds * 4)
            case _:
                assert_never(fault.kind)

    # --- whom it strikes

    def _victim(self, fault: Fault, actor: Life | None) -> Life | None:
        """The leader, who did what was waited for, or anyone: as ``pick`` says."""
        living = self._world.living()
        holder = self._world.lease.record.holder
        match fault.pick % 4:
            case 0 if holder is not None and self._world.lives[holder].alive:
                return self._world.lives[holder]
            case 1 if actor is not None and actor.alive:
                return actor
            case _:
                return living[fault.pick // 4 % len(living)] if living else None

    def _others(self, life: Life) -> list[Incarnation]:
        return [other.incarnation for other in self._world.living() if other is not life]

    def _everyone(self, fault: Fault) -> list[Incarnation]:
        living = [life.incarnation for life in self._world.living()]
        turn = fault.pick // 16 % max(1, len(living))
        return living[turn:] + living[:turn]

    # --- how

    def _kill(self, victims: list[Life], fault: Fault, loudly: bool = True) -> None:
        world = self._world
        if not world.may_lose({v.incarnation for v in victims}):
            return
        for index, victim in enumerate(victims):
            world.end(victim, "killed" if loudly else "machine lost", loudly)
            if victim.comes_back:
                wait = fault.seconds * (1 + index) * (1.0 if loudly else 2.0)
                world.start_later(wait, victim.name, loudly)

    def _kill_most(self, spared: Life, fault: Fault) -> None:
        """All but one, at one instant. Somebody may have to be spared in the place of the chosen one."""
        living = self._world.living()
        turn = living.index(spared)
        for candidate in living[turn:] + living[:turn]:
            victims = [life for life in living if life is not candidate]
            if self._world.may_lose({v.incarnation for v in victims}):
                self._kill(victims, fault)
                return

    def _kill_set(self, fault: Fault) -> None:
        """A total loss. Their pods come back, or others in their place."""
        world = self._world
        loudly = fault.pick & 16 == 0
        members = {m for some in world.lease.possible_sets() for m in some}
        victims = [life for life in world.living() if life.incarnation in members or fault.pick & 32]
        if not any(life.incarnation in members for life in victims):
            return
        world.safe_until = max(world.safe_until, safe_until(world))
        for victim in victims:
            world.end(victim, "killed with all others", loudly)
            world.start_later(fault.seconds * world.random.uniform(0.5, 1.5), victim.name, loudly)

    def _hibernate(self, fault: Fault) -> None:
        """As the operator does it: all but the first pod go, then that, when it leads alone and its storage works."""
        world = self._world
        if world.sleepers is not None:
            return
        world.sleepers = set()
        self._go_on_going(world.sleepers)
        self._later(fault.seconds, self._wake)

    def _go_on_going(self, sleepers: set[str]) -> None:
        world, first = self._world, pod_name(CLUSTER, 0)
        if world.sleepers is not sleepers:
            return
        living = [life for life in world.living() if not life.abandoned]
        others = [life for life in living if life.name != first]
        for life in others or [life for life in living if self._may_go_last(life)]:
            if not life.draining:
                life.draining, life.comes_back = True, False
                sleepers.add(life.name)
                world.tell(life.incarnation, DrainRequested())
        world.at(world.now + 0.2, self._go_on_going, sleepers)

    def _may_go_last(self, life: Life) -> bool:
        record = self._world.lease.record
        works = life.node.view().storage is StorageState.ready
        return record.holder is None or (record.holder == life.incarnation and life.node.is_leader and works)

    def _wake(self) -> None:
        world = self._world
        sleepers, world.sleepers = world.sleepers or set(), None
        world.counts["woken asleep" if world.lease.record.asleep else "woken"] += 1
        for name in sorted(sleepers):
            going = [life for life in world.living() if life.name == name]
            for life in going:
                life.comes_back = True
            if not going and name not in world.absent:
                world.start_later(world.random.uniform(0.0, 2.0), name, False)

    def _leave_alone(self, leader: Life, fault: Fault) -> None:
        """First it shrinks its set to itself, then it loses the API server too, and its pod is replaced."""
        world = self._world
        if world.lease.record.holder != leader.incarnation:
            return
        others = self._others(leader)
        self._cut_off([leader.incarnation], fault.seconds)
        self._hide_lease(others, 2.5)
        self._world.at(world.now + 2.5, self._abandon, leader, fault)

    def _abandon(self, leader: Life, fault: Fault) -> None:
        world = self._world
        if self._over or not leader.alive or world.lease.possible_sets() != [(leader.incarnation,)]:
            return
        if probe.is_alone_by_choice(leader.node):  # rule 11 is not for it
            return
        world.transcript.note(world.now, f"{leader} is alone, and given up")
        world.counts["abandoned"] += 1
        self._hide_lease([leader.incarnation], fault.seconds)
        leader.abandoned, leader.comes_back = True, False
        world.start(leader.name, same_pod=False)
        self._cut_off([leader.incarnation], fault.seconds)

    def _trouble_operator(self, fault: Fault) -> None:
        operator = self._world.operator
        if operator is None:
            return
        if fault.kind is Kind.operator_away:
            operator.restart()
            operator.away += 1

            def undo() -> None:
                operator.away -= 1

        elif fault.kind is Kind.operator_blind:
            everyone = self._everyone(fault)
            some = everyone[: 1 + fault.pick // 256 % len(everyone)]
            operator.blind.update(some)

            def undo() -> None:
                operator.blind.subtract(some)

        else:
            operator.slow += 2.0

            def undo() -> None:
                operator.slow -= 2.0

        self._later(fault.seconds, undo)

    def _trouble_storage(self, fault: Fault) -> None:
        storage, world = self._world.storage, self._world
        if fault.kind is Kind.storage_fail:
            storage.failing += 1

            def undo() -> None:
                storage.failing -= 1
                storage.well_since = world.now

        elif fault.kind is Kind.storage_flaky:
            storage.flaky += 0.5

            def undo() -> None:
                storage.flaky -= 0.5
                storage.well_since = world.now

        elif fault.kind is Kind.storage_slow:
            storage.slow += 0.3

            def undo() -> None:
                storage.slow -= 0.3
                storage.well_since = world.now

        else:
            storage.unreadable += 1

            def undo() -> None:
                storage.unreadable -= 1

        self._later(fault.seconds, undo)

    def _drain(self, victim: Life, comes_back: bool) -> None:
        staying = [life for life in self._world.living() if not life.draining and life is not victim]
        fewest = 1 if self._world.plan.family is Family.scaling else 2
        if victim.draining or len(staying) < fewest:
            return
        victim.draining = True
        victim.comes_back = victim.comes_back and comes_back
        self._world.tell(victim.incarnation, DrainRequested())

    def _cut_off(self, some: list[Incarnation], seconds: float) -> None:
        others = [life.incarnation for life in self._world.living() if life.incarnation not in some]
        self._block([pair for a in some for b in others for pair in ((a, b), (b, a))], seconds)

    def _block(self, pairs: list[Pair], seconds: float) -> None:
        network = self._world.network
        network.block(pairs)
        self._later(seconds, lambda: network.unblock(pairs))

    def _slow_network(self, fault: Fault) -> None:
        weather = self._world.network.weather
        weather.slow_share += 0.3

        def undo() -> None:
            weather.slow_share -= 0.3

        self._later(fault.seconds, undo)

    def _trouble_lease(self, fault: Fault) -> None:
        lease, now = self._world.lease, self._world.now
        if fault.kind is Kind.lease_away:
            lease.away_until = max(lease.away_until, now + fault.seconds)

            def undo() -> None:
                lease.away_until = min(lease.away_until, self._world.now)

        elif fault.kind is Kind.lease_slow:
            lease.slow += 0.5

            def undo() -> None:
                lease.slow -= 0.5

        else:
            lease.flaky += 0.5

            def undo() -> None:
                lease.flaky -= 0.5

        self._later(fault.seconds, undo)

    def _hide_lease(self, some: list[Incarnation], seconds: float) -> None:
        unreachable = self._world.lease.unreachable_for
        unreachable.update(some)
        self._later(seconds, lambda: unreachable.subtract(some))

    def _later(self, seconds: float, undo: Callable[[], None]) -> None:
        """Undone after ``seconds``, or when all trouble ends."""
        self._lasting += 1
        key = self._lasting
        self._undo[key] = undo

        def due() -> None:
            if self._undo.pop(key, None) is not None:
                undo()

        self._world.at(self._world.now + seconds, due)


def _ring(living: list[Incarnation]) -> list[Pair]:
    """Blocks all but the links between neighbours, in both directions."""
    count = len(living)
    return [
        (a, b)
        for i, a in enumerate(living)
        for j, b in enumerate(living)
        if a != b and (i - j) % count not in (1, count - 1)
    ]
