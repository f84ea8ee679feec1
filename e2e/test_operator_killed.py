"""The operator's processes are killed (SIGKILL) in the middle of what they do: the next one finishes it, and there is one of everything."""

from __future__ import annotations

import copy
import json
from concurrent.futures import ThreadPoolExecutor

from .cluster import Namespace, wait_until
from .game import OWNED, Game
from .nodes import CTR, find_container, in_node

SMALL = 4


def processes(operator: Namespace) -> dict[str, tuple[str, str]]:
    """Of each of the operator's two pods: its node, and its container's id."""

    def look() -> dict[str, tuple[str, str]]:
        nodes = {pod["metadata"]["name"]: pod["spec"]["nodeName"] for pod in operator.get("pods")["items"]}
        assert len(nodes) == 2, nodes
        return {pod: (node, find_container(node, operator.name, pod, "operator")) for pod, node in nodes.items()}

    return wait_until("the processes of both of the operator's pods", look)


def working(operator: Namespace) -> str:
    """The pod whose process works, as its Lease says."""
    return str(operator.get("lease", "gamecluster-operator")["spec"]["holderIdentity"].rpartition("_")[0])


def transitions(operator: Namespace) -> int:
    return int(operator.get("lease", "gamecluster-operator")["spec"]["leaseTransitions"])


def kill(*found: tuple[str, str]) -> None:
    """All at once. One that has ended already is not there to be killed, which would be a mistake of the test."""
    kills = [(node, (*CTR, "tasks", "kill", "--signal", "SIGKILL", container)) for node, container in found]
    with ThreadPoolExecutor(len(kills)) as threads:
        list(threads.map(lambda kill: in_node(kill[0], *kill[1]), kills))


def wait_settled(game: Game) -> None:
    def look() -> bool:
        found = next(c for c in game.status()["conditions"] if c["type"] == "Reconciling")
        return (found["status"], found["reason"]) == ("False", "Settled")

    wait_until(f"{game.name} is settled", look, seconds=60)


def test_the_one_that_works_is_killed_in_the_middle_of_a_rollout(game: Game, operator: Namespace) -> None:
    game.wait_in_sync()
    epoch, pods, failovers = game.epoch(), game.pod_uids(), game.told()["Failover"]
    found, terms = processes(operator), transitions(operator)
    template = {"metadata": {"annotations": {"example.com/revision": "next"}}}
    with game.play(prefix="rolled") as play:
        patch = json.dumps({"spec": {"template": template}})
        game.namespace.kubectl("patch", "gc", game.name, "--type=merge", "-p", patch)
        wait_until("the first pod is deleted", lambda: game.is_any_pod_ending(), every=0.05)
        kill(found[working(operator)])
        wait_until("every pod is another", lambda: not game.pod_uids() & pods, seconds=180)
        wait_settled(game)
        game.wait_in_sync()
        play.goes_on()
    play.nothing_lost()
    assert transitions(operator) > terms, "another one works"
    assert game.epoch() - epoch == 1, "one change of leader"
    told = game.told()
    assert (told["RolloutStarted"], told["RolloutFinished"], told["Failover"]) == (1, 1, failovers)
    assert game.is_all_there() and len(game.pod_uids()) == 3


def test_all_of_them_are_killed_while_games_are_made_and_one_shrinks(
    game: Game, operator: Namespace, players: Namespace
) -> None:
    game.wait_in_sync()
    game.call(game.leader(), "/handoff", {"to": f"{game.name}-2"})
    wait_until("the last pod leads", lambda: game.leader() == f"{game.name}-2")
    failovers, found = game.told()["Failover"], processes(operator)
    small = [small_game(game, f"small-{i}", players) for i in range(SMALL)]
    with game.play(prefix="shrunk") as play:
        shrunk = {**game.manifest, "spec": {**game.manifest["spec"], "replicas": 1}}
        game.namespace.apply(
            *(one.manifest for one in small), shrunk
        )  # one after another: it is at work on the first ones
        kill(*found.values())
        made, pods = sum(len(one.objects()) for one in small), game.namespace.get("statefulset", game.name)
        for one in small:
            one.wait_ready(1, seconds=120)
        game.wait_pods(1)
        play.goes_on()
    play.nothing_lost()
    replicas = pods["spec"]["replicas"]
    print(
        f"  killed when {made} of {SMALL * len(OWNED)} objects were made, and the one that shrinks had {replicas} pods"
    )
    assert game.leader() == f"{game.name}-0" and game.told()["Failover"] == failovers
    for one in (game, *small):
        wait_settled(one)
        assert one.is_all_there() and len(one.pod_uids()) == 1
    for one in small:
        told = one.told()
        assert (told["Created"], told["LeaderElected"], told["Failover"], one.epoch()) == (1, 1, 0, 1)


def small_game(game: Game, name: str, players: Namespace) -> Game:
    manifest = copy.deepcopy({**game.manifest, "metadata": {"name": name}})
    manifest["spec"] |= {"replicas": 1}
    return Game(game.namespace, manifest, players)
