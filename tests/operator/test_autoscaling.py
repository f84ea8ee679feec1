from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gamecluster_operator.autoscaling import GAP_SECONDS, LIMITED_SECONDS, Decision, Load, ask, decide, load_of, scaled
from gamecluster_operator.observed import ObservedPod, Telling, telling
from gamecluster_operator.record import Incarnation
from gamecluster_operator.spec import Autoscaling

from .world import NAMESPACE, World

WISH = Autoscaling(2, 6, connections_per_pod=100, players_per_pod=50, up_seconds=30, down_seconds=300)


def run(loads: Sequence[tuple[float, Load]], current: int = 3, wish: Autoscaling = WISH) -> list[tuple[float, int]]:
    """What was decided at which time, from an operator that knows nothing."""
    made, before = [], None
    for at, load in loads:
        before = decide(wish, at, load, before.replicas if before else current, before)
        made.append((at, before.replicas))
    return made


def steady(load: Load, seconds: int, start: int = 0) -> list[tuple[float, Load]]:
    return [(float(at), load) for at in range(start, start + seconds + 1, 10)]


def test_more_is_made_once_more_was_asked_for_during_the_whole_window() -> None:
    busy = Load((200, 200, 60), 10)
    assert run(steady(busy, 30)) == [(0, 3), (10, 3), (20, 3), (30, 5)]


def test_players_count_too() -> None:
    assert ask(WISH, Load((0, 0), 201)) == 5
    assert ask(replace(WISH, players_per_pod=0), Load((0, 0), 201)) == 0


def test_a_peak_shorter_than_the_window_changes_nothing() -> None:
    peak = [*steady(Load((300, 300), 0), 20), *steady(Load((100, 100, 100), 0), 0, 30)]
    assert {replicas for _, replicas in run([*peak, *steady(Load((300, 300), 0), 20, 40)])} == {3}


def test_up_goes_to_the_least_and_down_to_the_most_that_was_asked_for_in_the_window() -> None:
    up = [(0.0, Load((600,), 0)), (15.0, Load((401,), 0)), (30.0, Load((600,), 0))]
    assert run(up)[-1] == (30, 5)
    down = [(0.0, Load((0,), 0)), *((float(t), Load((0,) if t % 100 else (301,), 0)) for t in range(50, 301, 50))]
    assert run(down, current=5)[-1] == (300, 4)


def test_the_number_of_pods_whose_connections_are_not_known_never_goes_down() -> None:
    assert {n for _, n in run(steady(Load((0, None), 0), 3000))} == {3}
    assert {n for _, n in run(steady(Load((0, 0), None), 3000))} == {3}
    assert run(steady(Load((500, None), None), 30))[-1] == (30, 5), "what is known is enough to go up"


def test_who_did_not_look_for_a_while_begins_a_new_window() -> None:
    idle = Load((0,), 0)
    seen = [(0.0, idle), (GAP_SECONDS + 1, idle), *((float(t), idle) for t in range(100, 361, 20))]
    assert run(seen)[-1] == (360, 3)
    assert run([*seen, (362.0, idle)])[-1] == (362, 2)


def test_new_bounds_hold_at_once() -> None:
    for current, allowed in ((1, 2), (9, 6)):
        made = decide(WISH, 0, Load((None,), None), current, None)
        assert made.replicas == allowed and made.reason == "autoscaling allows 2 to 6 pods"


def test_the_reason_tells_the_load_and_the_window() -> None:
    first = decide(WISH, 0, Load((250, 250), 10), 3, None)
    made = decide(WISH, 30, Load((250, 260), 11), 3, first)
    assert made.reason == (
        "for 30 s the load asked for 5 or more, now with 510 connections at 100 for each pod and 11 players at 50"
    )
    news = scaled(3, 5, made.reason, "17")
    assert (news.reason, news.once) == ("ScaledUp", "17/3/5") and news.message.startswith("from 3 to 5 pods: for 30 s")
    assert scaled(5, 3, "", "18").reason == "ScaledDown"


def test_a_limit_that_is_felt_stays_told_for_a_while() -> None:
    felt = decide(WISH, 0, Load((9000,), 0), 6, None)
    assert felt.is_limited()
    assert decide(WISH, LIMITED_SECONDS, Load((0,), 0), 6, felt).is_limited()
    assert not decide(WISH, LIMITED_SECONDS + 1, Load((0,), 0), 6, felt).is_limited()
    assert not decide(WISH, 0, Load((9000,), 0), 5, None).is_limited(), "it is still on its way"


def test_a_pod_without_a_process_has_no_connections_and_one_that_the_leader_does_not_know_may_have_any() -> None:
    told = Telling(Incarnation("arena-0_x_1"), players=7, loads=(("arena-0", 4), ("arena-1", 5)))
    pods = [ObservedPod(f"arena-{n}", f"uid{n}", running=n != 3) for n in range(4)]
    assert load_of(pods, told) == Load((4, 5, None, 0), 7)
    assert load_of(pods, None) == Load((None, None, None, 0), None)


def test_the_leaders_account_has_the_connections_of_those_that_it_hears() -> None:
    nodes: list[dict[str, Any]] = [
        {"name": "arena-0", "incarnation": "arena-0_x_1", "state": "alive", "connections": 4},
        {"name": "arena-1", "incarnation": "arena-1_x_1", "state": "suspected", "connections": 5},
    ]
    told = telling({"self": "arena-0", "nodes": nodes})
    assert told is not None and told.loads == (("arena-0", 4),)


counts = st.lists(st.none() | st.integers(0, 1000), min_size=1, max_size=6).map(tuple)
loads = st.builds(Load, counts, st.none() | st.integers(0, 500))
wishes = st.builds(
    lambda low, more, up, down, players: Autoscaling(low, low + more, 100, players, up, down),
    st.integers(1, 5),
    st.integers(0, 5),
    st.integers(0, 60),
    st.integers(0, 400),
    st.sampled_from([0, 50]),
)
histories = st.lists(st.tuples(st.integers(1, 45), loads), min_size=1, max_size=60)


@given(wishes, histories, st.data())
def test_whatever_the_load_the_number_is_within_bounds_and_never_changes_twice_within_a_window(
    wish: Autoscaling, history: list[tuple[int, Load]], data: st.DataObject
) -> None:
    current = data.draw(st.integers(wish.min_replicas, wish.max_replicas))
    now, changed_at, before = 0.0, 0.0, None
    for step, load in history:
        now += step
        started = before is None
        made = decide(wish, now, load, current, before)
        if started:
            changed_at = now
        assert wish.min_replicas <= made.replicas <= wish.max_replicas
        if made.replicas != current:
            window = wish.up_seconds if made.replicas > current else wish.down_seconds
            assert now - changed_at >= window and made.reason
            assert made.replicas > current or (None not in load.connections)
            changed_at = now
        current, before = made.replicas, made


@given(wishes, histories, counts, st.integers(0, 500), st.integers(0, 500), st.integers(0, 300), st.data())
def test_more_load_never_gives_fewer_pods(
    wish: Autoscaling,
    history: list[tuple[int, Load]],
    connections: tuple[int | None, ...],
    players: int,
    more_players: int,
    more: int,
    data: st.DataObject,
) -> None:
    current = data.draw(st.integers(wish.min_replicas, wish.max_replicas))
    now, before = 0.0, None
    for step, load in history:
        now += step
        before = decide(wish, now, load, current, before)
        current = before.replicas
    less = decide(wish, now + 10, Load(connections, players), current, before)
    busier = tuple(None if count is None else count + more for count in connections)
    assert decide(wish, now + 10, Load(busier, players + more_players), current, before).replicas >= less.replicas


# --- the whole operator -------------------------------------------------------------------------------------------------

SCALING = {"minReplicas": 2, "maxReplicas": 5, "targetConnectionsPerPod": 100}


def tell(world: World, *connections: int) -> None:
    """Every pod says that there are so many at each."""
    named = tuple((f"arena-{n}", count) for n, count in enumerate(connections))
    for uid, told in list(world.pods.tells.items()):
        world.pods.tells[uid] = replace(told, loads=named)


async def looks(world: World, seconds: int) -> None:
    for _ in range(0, seconds, 10):
        await world.look(10)


def size(world: World) -> int:
    return int(world.kube.one("StatefulSet", "arena")["spec"]["replicas"])


async def test_the_stateful_set_follows_the_load_and_the_spec_stays_as_it_was() -> None:
    world = World(autoscaling=SCALING)
    await world.play()
    tell(world, 150, 150, 101)
    await looks(world, 60)
    assert size(world) == 5 and world.kube.one("GameCluster", "arena")["spec"]["replicas"] == 3
    assert "ScaledUp" in world.events and "Scaled" not in world.events
    assert any("from 3 to 5 pods: for 30 s the load asked for 5 or more" in said for said in world.said)


async def test_before_pods_go_the_game_state_is_handed_over() -> None:
    world = World(autoscaling=SCALING)
    await world.play()
    world.hold(2, 2, 0, 1, 2)
    tell(world, 10, 10, 10)
    await looks(world, 290)
    assert world.pods.handed_off == [] and size(world) == 3
    await looks(world, 20)
    assert world.pods.handed_off == [("arena-2", "arena-0")] and size(world) == 3
    world.hold(0, 3, 0, 1)
    tell(world, 10, 10, 10)
    await world.look(2)
    assert size(world) == 2 and "ScaledDown" in world.events


async def test_with_a_silent_pod_none_is_removed() -> None:
    world = World(autoscaling=SCALING)
    await world.play()
    tell(world, 0, 0)
    await looks(world, 600)
    assert size(world) == 3


async def test_what_more_than_max_would_be_needed_for_is_said() -> None:
    world = World(autoscaling={**SCALING, "maxReplicas": 3})
    await world.play()
    assert world.condition("ScalingLimited") == ("False", "WithinBounds")
    tell(world, 400, 400, 400)
    await looks(world, 20)
    assert world.condition("ScalingLimited") == ("True", "TooManyReplicas")
    assert "3 that autoscaling.maxReplicas allows" in world.message("ScalingLimited")
    world.edit(autoscaling=None)
    await world.look(10)
    assert world.condition("ScalingLimited")[0] == "absent"


async def test_an_operator_that_starts_anew_takes_the_number_that_there_is() -> None:
    world = World(autoscaling=SCALING)
    await world.play()
    tell(world, 150, 150, 101)
    await looks(world, 60)
    world.restart_operator()
    await world.look()
    assert size(world) == 5


async def test_a_stateful_set_that_somebody_deletes_or_shrinks_gets_its_number_back() -> None:
    world = World(autoscaling=SCALING)
    await world.play()
    tell(world, 150, 150, 101)
    await looks(world, 60)
    await world.kube.merge("StatefulSet", NAMESPACE, "arena", {"spec": {"replicas": 1}})
    await world.look(1)
    assert size(world) == 5
    world.kube.remove("StatefulSet", "arena")
    await world.look(1)
    assert size(world) == 5


async def test_a_steady_load_writes_nothing() -> None:
    world = World(autoscaling=SCALING)
    await world.play()
    tell(world, 60, 60, 90)
    await world.settle()
    await looks(world, 400)
    assert world.kube.writes == []


def test_a_decision_is_small_however_long_it_goes_on() -> None:
    before: Decision | None = None
    for at in range(0, 3000, 10):
        before = decide(WISH, at, Load((100 + at % 200,), 0), before.replicas if before else 3, before)
    assert before is not None and len(repr(before)) < 400
