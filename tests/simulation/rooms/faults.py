"""Carries a plan's faults out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import assert_never

from gamecluster.core.messages import Incarnation, Placement

from ..network import Pair
from .life import Life
from .schedule import Fault, Kind
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
        world = self._world
        victim = self._victim(fault, actor)
        if self._over or victim is None:
            return
        who = victim.incarnation
        world.counts[fault.kind] += 1
        world.note(f"fault: {fault} strikes {who}")
        match fault.kind:
            case Kind.kill:
                self._kill([victim], fault)
            case Kind.lose:
                self._kill([victim], fault, loudly=False)
            case Kind.kill_room:
                self._kill_room(fault)
            case Kind.pause:
                world.pause(victim)
                self._later(fault.seconds, lambda: world.resume(victim))
            case Kind.cut:
                for other in self._others(victim)[: 1 + fault.pick // 64 % 2]:
                    world.network.cut(who, other)
            case Kind.isolate:
                self._cut_off([who], fault)
            case Kind.halves:
                living = self._everyone(fault)
                self._cut_off(living[: len(living) // 2], fault)
            case Kind.one_way:
                outward = [(who, other) for other in self._others(victim)]
                pairs = outward if fault.pick & 64 else [(there, here) for here, there in outward]
                self._block(pairs[: 1 + fault.pick // 128 % len(pairs)] if pairs else [], fault.seconds)
            case Kind.slow:
                self._slow_network(fault)
            case Kind.cut_master:
                some = self._everyone(fault)
                self._hide_master(some[: 1 + fault.pick // 256 % len(some)], fault.seconds)
            case Kind.master_away:
                world.master.go_away(min(fault.seconds, 1.5))
            case Kind.master_flaky:
                self._trouble_calls(fault)
            case Kind.suspect:
                if not world.master.is_away:
                    world.placer.suspect(who)
            case Kind.hand_over | Kind.shed:
                self._move(fault)
            case Kind.drain:
                self._drain(victim, comes_back=fault.pick & 32 == 0)
            case Kind.join:
                name = f"q{fault.pick % 997}"
                if len(world.living()) < 6 and name not in {life.name for life in world.lives.values()}:
                    world.start(name)
            case Kind.reconnect:
                for client in world.clients:
                    if client.pod is not None:
                        client.hang_up()
            case _:
                assert_never(fault.kind)

    # --- whom it strikes

    def _victim(self, fault: Fault, actor: Life | None) -> Life | None:
        """The holder of a room, who did what was waited for, or anyone: as ``pick`` says."""
        living = self._world.living()
        placement = self._placement(fault)
        match fault.pick % 4:
            case 0 if placement is not None and self._world.lives[placement.holder].alive:
                return self._world.lives[placement.holder]
            case 1 if actor is not None and actor.alive:
                return actor
            case _:
                return living[fault.pick // 4 % len(living)] if living else None

    def _placement(self, fault: Fault) -> Placement | None:
        placements = list(self._world.master.placements.values())
        return placements[fault.pick // 8 % len(placements)] if placements else None

    def _others(self, life: Life) -> list[Incarnation]:
        return [other.incarnation for other in self._world.living() if other is not life]

    def _everyone(self, fault: Fault) -> list[Incarnation]:
        living = [life.incarnation for life in self._world.living()]
        turn = fault.pick // 16 % max(1, len(living))
        return living[turn:] + living[:turn]

    # --- how

    def _kill(self, victims: list[Life], fault: Fault, loudly: bool = True) -> None:
        world = self._world
        for index, victim in enumerate(victims):
            world.end(victim, "killed" if loudly else "machine lost", loudly)
            if victim.comes_back:
                wait = fault.seconds * (1 + index) * (1.0 if loudly else 2.0)
                world.start_later(wait, victim.name, loudly)

    def _kill_room(self, fault: Fault) -> None:
        placement = self._placement(fault)
        if placement is not None:
            having = [self._world.lives[who] for who in (placement.holder, *placement.backups)]
            self._kill([life for life in having if life.alive], fault, loudly=fault.pick & 16 == 0)

    def _move(self, fault: Fault) -> None:
        world, placement = self._world, self._placement(fault)
        room = next((room for room, p in world.master.placements.items() if p is placement), None)
        if placement is None or room is None or not placement.backups or world.master.is_away:
            return
        backup = placement.backups[fault.pick // 32 % len(placement.backups)]
        how = {"to": backup} if fault.kind is Kind.hand_over else {"drop": [backup]}
        world.placer.place([{"id": room, "version": placement.version, **how}])

    def _drain(self, victim: Life, comes_back: bool) -> None:
        staying = [life for life in self._world.living() if not life.draining and life is not victim]
        if not victim.draining and len(staying) >= 2:
            self._world.drain(victim, comes_back)

    def _cut_off(self, some: list[Incarnation], fault: Fault) -> None:
        """Most often the GameState goes on among the others."""
        others = [life.incarnation for life in self._world.living() if life.incarnation not in some]
        self._block([pair for a in some for b in others for pair in ((a, b), (b, a))], fault.seconds)
        if fault.pick // 512 % 4:
            self._hide_master(some, fault.seconds)

    def _block(self, pairs: list[Pair], seconds: float) -> None:
        network = self._world.network
        network.block(pairs)
        self._later(seconds, lambda: network.unblock(pairs))

    def _hide_master(self, some: list[Incarnation], seconds: float) -> None:
        master = self._world.master
        for who in some:
            master.block(who)

        def undo() -> None:
            for who in some:
                master.unblock(who)

        self._later(seconds, undo)

    def _slow_network(self, fault: Fault) -> None:
        weather = self._world.network.weather
        weather.slow_share += 0.3

        def undo() -> None:
            weather.slow_share -= 0.3

        self._later(fault.seconds, undo)

    def _trouble_calls(self, fault: Fault) -> None:
        master = self._world.master
        master.flaky += 0.5

        def undo() -> None:
            master.flaky -= 0.5

        self._later(fault.seconds, undo)

    def _later(self, seconds: float, undo: Callable[[], None]) -> None:
        """Undone after ``seconds``, or when all trouble ends."""
        self._lasting += 1
        key = self._lasting
        self._undo[key] = undo

        def due() -> None:
            if self._undo.pop(key, None) is not None:
                undo()

        self._world.at(self._world.now + seconds, due)
