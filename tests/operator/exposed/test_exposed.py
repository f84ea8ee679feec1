"""Clients come in by a real controller, over what the operator made: an Ingress, and routes of the Gateway API. Traefik's are tried."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Awaitable, Callable

import pytest
from websockets.exceptions import InvalidStatus

from .client import Socket
from .conftest import GAME, HOST, World
from .traefik import SILENCE_SECONDS

OTHER = "other.example.com"
SHARED = f"wss://{HOST}/socket"


async def until(look: Callable[[], Awaitable[bool]], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not await look():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        await asyncio.sleep(0.1)


async def is_served(world: World) -> bool:
    """The controller knows the host and each pod's path."""
    paths = ["/servers", *(f"/{pod.name}/servers" for pod in world.kubelet.pods)]
    return all([(await world.outside.get(HOST, path))[0] == 200 for path in paths])


async def plays(socket: Socket, player: str) -> None:
    """Joins, and is answered to three moves as the only one who makes them."""
    await socket.ask("game", "phx_join", {"player": player, "nonce": f"nonce of {player}"})
    values = [(await socket.ask("game", "add", {"amount": 2, "n": n}))["value"] for n in (1, 2, 3)]
    assert values == [2, 4, 6]


async def test_a_client_joins_and_moves_by_the_shared_address(exposed: World) -> None:
    await until(lambda: is_served(exposed), "the game is served")
    async with exposed.outside.socket(SHARED) as socket:
        certificate = socket.connection.transport.get_extra_info("peercert")
        assert ("DNS", HOST) in certificate["subjectAltName"], "the Secret's"
        await plays(socket, f"shared {id(socket)}")


async def test_the_addresses_that_servers_names_lead_to_these_very_pods(exposed: World) -> None:
    await until(lambda: is_served(exposed), "the game is served")
    listed = json.loads((await exposed.outside.get(HOST, "/servers"))[1])["servers"]
    pods = {pod.name: pod for pod in exposed.kubelet.pods}
    assert {one["name"]: one["url"] for one in listed} == {name: f"wss://{HOST}/{name}/socket" for name in pods}
    for one in listed:
        before = {name: pod.connections() for name, pod in pods.items()}
        async with exposed.outside.socket(one["url"]) as socket:
            await plays(socket, f"at {one['name']} {id(socket)}")
            came = {name: pod.connections() - before[name] for name, pod in pods.items()}
        assert {name for name, count in came.items() if count > 0} == {one["name"]}


async def test_a_socket_without_traffic_outlives_the_controllers_time_outs(exposed: World) -> None:
    await until(lambda: is_served(exposed), "the game is served")
    async with exposed.outside.socket(SHARED) as socket:
        assert await socket.stays(3 * SILENCE_SECONDS)
        await socket.ask("phoenix", "heartbeat", {})


async def test_pages_of_the_host_may_connect_and_others_may_not(exposed: World) -> None:
    """At each pod, without ``allowedOrigins``: the controller hands the host on."""
    await until(lambda: is_served(exposed), "the game is served")
    for pod in exposed.kubelet.pods:
        url = f"wss://{HOST}/{pod.name}/socket"
        async with exposed.outside.socket(url, origin=f"https://{HOST}") as socket:
            await socket.ask("phoenix", "heartbeat", {})
        with pytest.raises(InvalidStatus, match="403"):
            async with exposed.outside.socket(url, origin=f"https://{OTHER}"):
                pass


async def test_other_hosts_and_pods_that_are_not_there_are_not_found(exposed: World) -> None:
    await until(lambda: is_served(exposed), "the game is served")
    assert (await exposed.outside.get(OTHER, "/servers", trusting=True))[0] == 404
    with pytest.raises(InvalidStatus, match="404"):
        async with exposed.outside.socket(f"wss://{HOST}/counter-7/socket"):
            pass
    with pytest.raises(ssl.SSLCertVerificationError):
        await exposed.outside.get(OTHER, "/servers")


async def test_the_gateway_took_every_route(exposed: World) -> None:
    if not exposed.names("httproutes"):
        assert exposed.names("ingresses") == {GAME}
        return
    assert exposed.names("httproutes") == {GAME, *(pod.name for pod in exposed.kubelet.pods)}

    async def taken() -> bool:
        routes = exposed.get("httproutes")["items"]
        parents = [parent for route in routes for parent in route.get("status", {}).get("parents", [])]
        said = [{c["type"]: c["status"] for c in parent["conditions"]} for parent in parents]
        return len(said) == len(routes) and all(s["Accepted"] == s["ResolvedRefs"] == "True" for s in said)

    await until(taken, "every route is accepted")
