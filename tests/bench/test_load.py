"""The benchmark in miniature: it builds, runs and counts. Nothing here says how fast anything is."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from bench.build import Failed
from bench.run import Measured, once
from bench.scenarios import Kind, Scenario, Value
from bench.servers import GAMECLUSTER, LIMIT, LIMIT_COALESCING, ONE_NODE, PEER_SERVERS, Server

MISCHIEF = Path(__file__).with_name("mischief.py")


def measured(server: Server, **load: Value) -> Measured:
    arguments: dict[str, Value] = {"sockets": 20, "senders": 1, "size": 200, "warm-up": 0.1, "seconds": 0.5}
    arguments |= {name.replace("_", "-"): value for name, value in load.items()}
    return once(Scenario("miniature", "", Kind.fan_out, arguments, (server,), pinned=False), server)


@pytest.mark.parametrize(
    "server", [LIMIT, LIMIT_COALESCING, GAMECLUSTER, PEER_SERVERS["fastapi"]], ids=lambda s: s.name
)
def test_every_message_comes_to_all_once_and_in_order(server: Server) -> None:
    found = measured(server, in_flight=16)
    assert found.published > 16
    assert found.arrivals == found.published * 20
    assert (found.wrong, found.gaps, found.trouble) == (0, 0, "")
    assert found.whole_ms.count * 20 == found.latency_ms.count > 0
    assert found.server_cpu_seconds > 0


@pytest.mark.parametrize("server", [LIMIT_COALESCING, GAMECLUSTER], ids=lambda s: s.name)
def test_rooms_hear_their_own_members_only(server: Server) -> None:
    found = measured(server, rooms=4, senders=5)
    assert found.published > 20
    assert found.arrivals == found.published * 5
    assert (found.wrong, found.gaps, found.trouble) == (0, 0, "")


def test_players_are_answered_and_all_see_every_move() -> None:
    found = measured(ONE_NODE, sockets=6, senders=6, size=0, rate=10, seconds=1)
    assert found.published == found.answered >= 6 * 10
    assert (found.wrong, found.held, found.trouble) == (0, 0, "")
    assert found.latency_ms.count == found.whole_ms.count * 6


def test_a_refused_move_is_no_lost_one() -> None:
    strict = replace(ONE_NODE, environment={"GAMECLUSTER_LIMIT_MESSAGES_PER_SECOND": "2"})
    found = measured(strict, sockets=2, senders=2, size=0, rate=20, seconds=1)
    assert found.refused > 0 and "rate limited" in found.trouble
    assert (found.lost, found.answered + found.refused) == (0, found.published)


def test_a_server_that_loses_doubles_and_reorders_is_found_out() -> None:
    server = Server("mischief", "plain", lambda port, data: [sys.executable, str(MISCHIEF), str(port)], lambda: "")
    found = measured(server, sockets=3, in_flight=4, patience=1)
    assert (found.lost, found.doubled, found.reordered) == (3, 3, 3)
    assert found.wrong == 9


def test_a_socket_that_the_server_ends_counts_as_lost() -> None:
    server = Server("mischief", "phoenix", PEER_SERVERS["fastapi"].command, lambda: "")
    with pytest.raises(Failed, match="no upgrade"):
        measured(server)
