"""Single traces that chance would need very long to find: faults put exactly where they hurt."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gamecluster.core.events import Event, PlayerJoined, PlayerMoved
from gamecluster.core.messages import Incarnation

from .life import Life
from .schedule import Family, Moment, plan
from .world import World


def test_a_move_without_n_is_run_once_though_its_first_entry_comes_back() -> None:
    """Its entry is only in ``second``'s tail when ``first`` takes over, and ``first`` dies before that tail is cut off."""
    world = settled()
    leader, first, second = (world.lives[m] for m in world.lease.record.in_sync)
    learner = next(life for life in world.living() if life.incarnation not in world.lease.record.in_sync)
    answers = ask(world, learner, lambda n: PlayerJoined(n, 1, "ann", None, "nonce"))
    world.run_until(world.now + 0.5)
    assert [ok for ok, _ in answers] == [True]

    world.network.block(directions(leader, first, learner))
    moved = ask(world, learner, lambda n: PlayerMoved(n, 1, "ann", "add", {"amount": 1}, None))
    world.run_until(world.now + 0.05)
    assert second.log.last > first.log.last
    world.traps[Moment.append] = [lambda actor: world.network.block(directions(first, second))]
    world.end(leader, "killed")
    world.run_until(world.now + 0.06)
    assert first.node.is_leader and learner.node.epoch == first.node.epoch
    assert second.log.last.epoch < first.node.epoch
    world.end(first, "killed")
    world.run_until(world.now + 3.0)

    assert second.node.is_leader
    assert len(moved) == 1
    assert world.ledger.shadow["totals"]["ann"]["value"] == 1


def settled() -> World:
    calm = plan(1, Family.kills)
    world = World(replace(calm, pods=4, replicas=3, ordered=True, typical_delay=0.001, slow_share=0.0, faults=()))
    world.run_until(4.0)
    assert len(world.lease.record.in_sync) == 3
    return world


def directions(source: Life, *targets: Life) -> list[tuple[Incarnation, Incarnation]]:
    return [(source.incarnation, target.incarnation) for target in targets]


class Socket:
    """As much of a client as the world needs to hand an answer on."""

    receiving = 0.0


def ask(world: World, life: Life, make: Any) -> list[tuple[bool, Any]]:
    answers: list[tuple[bool, Any]] = []
    life.requests += 1
    life.asked[life.requests] = (Socket(), lambda ok, response: answers.append((ok, response)))  # type: ignore[assignment]
    event: Event = make(life.requests)
    world.hear(life.incarnation, event)
    return answers
