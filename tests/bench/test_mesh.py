"""The mesh's bench in miniature: what must hold of its counts. Nothing here says how much anything costs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from bench.mesh import measured
from bench.pods import Pod
from bench.virtual import Host, VirtualLoop
from bench.workloads import WORKLOADS, Everywhere, Moves, Options, Rooms, Workload

from bench import mesh

SHORT = Options(seconds=0.5, moves=200, broadcasts=200, players=6)


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=list(WORKLOADS))
def test_nothing_is_lost_and_a_peer_is_written_to_at_most_once_a_turn(workload: type[Workload]) -> None:
    found = measured(workload, 4, SHORT)
    assert found.wrong == 0
    assert [pod.is_leader for pod in found.pods].count(True) == 1
    for pod in found.pods:
        counts = pod.counts
        assert 0 < counts.writes <= 3 * counts.turns
        assert counts.reads > 0 and counts.cpu_seconds > 0
        assert 0 < pod.sent.total() < counts.bytes_out
    assert abs(sum(pod.counts.bytes_out - pod.counts.bytes_in for pod in found.pods)) < 10_000  # what is on its way


def test_a_topic_that_one_pod_hears_is_sent_to_no_other() -> None:
    class OnOnePod(Rooms):
        def make_topics(self) -> dict[str, list[Pod]]:
            return {"room": [self.cluster.pods[2]]}

    found = measured(OnOnePod, 4, SHORT)
    assert found.wrong == 0
    assert [pod.received["Publish"] for pod in found.pods if pod is not found.pods[2]] == [0, 0, 0]
    assert [pod.broadcasts.total() for pod in found.pods if pod is not found.pods[2]] == [0, 0, 0]
    assert 40 < found.pods[2].broadcasts.total() < found.asked


def test_a_topic_that_all_hear_crosses_each_of_the_publishers_links_once() -> None:
    found = measured(Everywhere, 4, SHORT)
    assert sum(pod.broadcasts.total() for pod in found.pods) == 3 * found.asked > 3 * 60


def test_a_broadcast_that_did_not_come_is_found_out() -> None:
    class Forgetful(Everywhere):
        def wrong(self) -> int:
            self.cluster.pods[0].broadcasts["everyone"] -= 1
            return super().wrong()

    assert measured(Forgetful, 3, SHORT).wrong == 1


def test_moves_of_other_pods_go_to_the_leader_and_its_own_do_not() -> None:
    found = measured(Moves, 3, SHORT)
    leader = next(pod for pod in found.pods if pod.is_leader)
    assert leader.sent["Forward"] == 0
    assert leader.received["Forward"] == sum(pod.sent["Forward"] for pod in found.pods) > 20


def test_the_command_prints_a_row_for_the_leader_and_one_for_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert mesh.main(["--pods", "1", "3", "--seconds", "0.2", "--rounds", "1", "--players", "3"]) == 0
    printed = capsys.readouterr().out
    assert "Not counted" in printed and "load average" in printed and "WRONG" not in printed
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in printed.splitlines() if line.startswith("| ")]
    assert [row for row in rows if row[0].isdigit()] == [["1", "leader"], ["3", "leader"], ["3", "others"]] * 4


class Heard(asyncio.Protocol):
    """Keeps when what came."""

    def __init__(self) -> None:
        self.came: list[tuple[float, bytes]] = []
        self.transport: Any = None
        self.lost_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.came.append((round(asyncio.get_running_loop().time(), 6), data))

    def connection_lost(self, error: Exception | None) -> None:
        self.lost_at = asyncio.get_running_loop().time()


def test_data_comes_in_order_after_the_delay_and_is_one_read_of_each_moment() -> None:
    async def talk() -> None:
        near, far, accepted = Host("10.0.0.1"), Host("10.0.0.2"), Heard()
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(loop.create_server(lambda: accepted, far.address, 1), context=far.context)]
        await asyncio.gather(*tasks)
        dialled = loop.create_task(loop.create_connection(Heard, far.address, 1), context=near.context)
        transport, _ = await dialled
        began = loop.time()
        transport.write(b"a")
        await asyncio.sleep(0)
        transport.write(b"b")
        await asyncio.sleep(0.0001)
        transport.write(b"c")
        transport.close()
        await asyncio.sleep(0.01)
        assert accepted.came == [
            (round(began + 0.0003, 6), b"a"),
            (round(began + 0.0003, 6), b"b"),
            (round(began + 0.0004, 6), b"c"),
        ]
        assert accepted.lost_at == pytest.approx(began + 0.0004)
        assert (near.counts.writes, near.counts.bytes_out, far.counts.reads, far.counts.bytes_in) == (3, 3, 2, 3)
        with pytest.raises(ConnectionRefusedError):
            await loop.create_task(loop.create_connection(Heard, far.address, 2), context=near.context)

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(0.0001, 0.0003)) as runner:
        runner.run(talk())


def test_a_hosts_time_is_that_of_its_own_callbacks() -> None:
    async def work() -> None:
        busy, lazy = Host("10.0.0.1"), Host("10.0.0.2")
        loop = asyncio.get_running_loop()
        loop.call_later(1, lambda: sum(range(300_000)), context=busy.context)
        loop.call_later(1, lambda: None, context=lazy.context)
        sum(range(300_000))
        await asyncio.sleep(2)
        assert busy.counts.cpu_seconds > 0.001 > lazy.counts.cpu_seconds > 0
        assert (busy.counts.turns, lazy.counts.turns) == (1, 1)

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(0.0001, 0.0001)) as runner:
        runner.run(work())
