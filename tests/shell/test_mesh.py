from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
import uvloop

from gamecluster.core.events import LinkDown, LinkUp, PeerSaid
from gamecluster.core.messages import (
    Append,
    Hello,
    Incarnation,
    Install,
    Message,
    Position,
    Publish,
    incarnation,
)
from gamecluster.errors import ConfigurationError
from gamecluster.settings import Settings
from gamecluster.shell import mesh_link
from gamecluster.shell.handshake import Greeting
from gamecluster.shell.mesh import Mesh, MeshEvent, Times, _address_of, _told_host
from gamecluster.shell.mesh_link import Address, Link

QUICK = Times(silence=0.6, gossip=0.3, forget=1.0, tend=0.01)
HELLO = Hello(None, False, True, 3, None)


def numbered(n: int) -> Publish:
    return Publish("room:1", "shout", str(n).encode())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 (conditions of any kind)
            await asyncio.sleep(0.002)


@dataclass
class Node:
    """A mesh in this process, and what it told."""

    name: str
    folder: Path
    peers: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    boot: int = 1
    cluster: str = "arena"
    key: str = "k" * 32
    times: Times = QUICK
    events: list[MeshEvent] = field(default_factory=list)
    on_event: Callable[[MeshEvent], None] | None = None
    topics: tuple[str, ...] = ("room:1", "t")

    def __post_init__(self) -> None:
        key_file = self.folder / f"key-{self.key[:1]}-{len(self.key)}"
        key_file.write_text(self.key + "\n")
        settings = Settings(
            node=self.name,
            name=self.cluster,
            port=self.port - 1 if self.port > 65000 else self.port + 1,
            admin_port=self.port - 2 if self.port > 65000 else self.port + 2,
            mesh_port=self.port,
            peers=self.peers,
            lease="file:unused",
            mesh_key_file=key_file,
            url=f"ws://{self.name}",
            revision="r1",
        )
        self.me = incarnation(self.name, f"uid-{self.name}", self.boot)
        self.mesh = Mesh(settings, self.me, self._heard, self.times)
        for topic in self.topics:
            self.mesh.interests.want(topic, lambda: None)

    def _heard(self, event: MeshEvent) -> None:
        self.events.append(event)
        if self.on_event:
            self.on_event(event)

    @property
    def at(self) -> str:
        return f"127.0.0.1:{self.port}"

    def linked(self) -> set[Incarnation]:
        return {view.incarnation for view in self.mesh.peers()}

    def said(self) -> list[Message]:
        return [event.message for event in self.events if isinstance(event, PeerSaid)]

    def ups(self) -> list[Incarnation]:
        return [event.peer for event in self.events if isinstance(event, LinkUp)]

    def downs(self) -> list[LinkDown]:
        return [event for event in self.events if isinstance(event, LinkDown)]

    def link_to(self, other: Node) -> Link:
        link = self.mesh._table.get(other.me)
        assert link is not None
        return link


@contextlib.asynccontextmanager
async def running(*nodes: Node) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(node.mesh.run(), name=node.name) for node in nodes]
    try:
        yield
    finally:
        await stop(*tasks)


async def stop(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task


# --- links and messages


async def test_two_nodes_link_and_say_things_in_order(tmp_path: Path) -> None:
    a = Node("a", tmp_path)
    b = Node("b", tmp_path, peers=(a.at,))
    async with running(a, b):
        await until(lambda: a.linked() and b.linked())
        assert a.events[0] == LinkUp(b.me, "ws://b", "r1")
        sent: list[Message] = [HELLO, *(numbered(n) for n in range(1000))]
        for message in sent:
            b.mesh.send(a.me, message)
        await until(lambda: len(a.said()) == len(sent))
        assert a.said() == sent
        assert a.mesh.peers()[0].address == ("127.0.0.1", b.port)


async def test_a_broadcast_goes_only_where_somebody_hears_it(tmp_path: Path) -> None:
    a, b = Node("a", tmp_path, topics=()), Node("b", tmp_path)
    c = Node("c", tmp_path, peers=(a.at, b.at), topics=())
    heard: list[str] = []
    async with running(a, b, c):
        await until(lambda: {a.me, b.me} == c.linked() and c.mesh.interests.hears(b.me, "room:1"))
        await until(lambda: not c.mesh.interests.hears(a.me, "room:1"))
        for number in range(3):
            c.mesh.send(a.me, numbered(number))
            c.mesh.send(b.me, numbered(number))
        await until(lambda: len(b.said()) == 3)
        a.mesh.interests.want("room:1", lambda: heard.append("wanted"))
        assert heard == []
        await until(lambda: heard)
        c.mesh.send(a.me, numbered(3))
        await until(lambda: a.said())
        assert a.said() == [numbered(3)]
        a.mesh.interests.want_no_more("room:1")
        await until(lambda: not c.mesh.interests.hears(a.me, "room:1"))


@contextlib.asynccontextmanager
async def watched_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Node, Node, list[int]]]:
    """Two linked nodes, and for each write of the second to the first how many frames it had."""
    a = Node("a", tmp_path)
    b = Node("b", tmp_path, peers=(a.at,))
    async with running(a, b):
        await until(lambda: a.linked() and b.linked())
        writes: list[int] = []
        link = b.link_to(a)
        write = link._write
        monkeypatch.setattr(link, "_write", lambda *frames: (writes.append(len(frames)), write(*frames)))
        yield a, b, writes


async def test_all_that_is_sent_in_one_turn_leaves_in_one_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched_link(tmp_path, monkeypatch) as (a, b, writes):
        for n in range(100):
            b.mesh.send(a.me, numbered(n))
        await until(lambda: len(a.said()) == 100)
        assert writes == [1]


async def test_what_is_sent_at_the_turns_end_leaves_in_the_same_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched_link(tmp_path, monkeypatch) as (a, b, writes):

        def end() -> None:
            b.mesh.send(a.me, numbered(1))
            if len(ends) < 2:
                b.mesh.before_turn_ends(end)
            ends.append(len(writes))

        ends: list[int] = []
        b.mesh.send(a.me, numbered(0))
        b.mesh.before_turn_ends(end)
        await until(lambda: len(a.said()) == 4)
        assert writes == [1, 1, 1] and ends == [0, 1, 2], "what is asked for at a turn's end is for the next"


async def test_a_message_for_many_is_encoded_once(tmp_path: Path) -> None:
    nodes = [Node("a", tmp_path)]
    nodes += [Node(name, tmp_path, peers=(nodes[0].at,)) for name in "bc"]
    a, b, c = nodes
    async with running(*nodes):
        await until(lambda: len(a.linked()) == 2)
        encoded: list[Message] = []
        encode = a.mesh._encode
        a.mesh._encode = lambda message: (encoded.append(message), encode(message))[1]  # type: ignore
        for peer in (b.me, c.me):
            a.mesh.send(peer, HELLO)
        await until(lambda: b.said() and c.said())
        assert encoded == [HELLO]


async def test_a_big_snapshot_and_what_follows_it_arrive(tmp_path: Path) -> None:
    a = Node("a", tmp_path)
    b = Node("b", tmp_path, peers=(a.at,))
    install = Install(1, Position(1, 5), {"ships": {str(n): {"x": "y" * 1000} for n in range(8000)}})
    async with running(a, b):
        await until(lambda: a.linked() and b.linked())
        b.mesh.send(a.me, install)
        b.mesh.send(a.me, Append(1, Position(1, 5), [], 5))
        await until(lambda: len(a.said()) == 2)
        assert a.said() == [install, Append(1, Position(1, 5), [], 5)]


async def test_sending_to_a_node_without_a_link_is_dropped(tmp_path: Path) -> None:
    a = Node("a", tmp_path)
    async with running(a):
        await until(lambda: hasattr(a.mesh, "_loop"))
        a.mesh.send(incarnation("b", "uid", 1), HELLO)
        assert a.events == []


async def test_what_is_sent_from_within_the_link_up_arrives(tmp_path: Path) -> None:
    a = Node("a", tmp_path)
    b = Node("b", tmp_path, peers=(a.at,))
    for node in (a, b):
        node.on_event = lambda event, node=node: (  # type: ignore
            node.mesh.send(event.peer, HELLO) if isinstance(event, LinkUp) else None
        )
    async with running(a, b):
        await until(lambda: a.said() and b.said())


# --- finding each other


async def test_nodes_that_know_one_peer_find_all(tmp_path: Path) -> None:
    seed = Node("m", tmp_path)
    others = [Node(name, tmp_path, peers=(seed.at,)) for name in ("a", "b", "z")]
    nodes = [seed, *others]
    async with running(*nodes):
        await until(lambda: all(len(node.linked()) == 3 for node in nodes))
        for node in nodes:
            assert node.linked() == {other.me for other in nodes if other is not node}


async def test_a_node_never_links_to_itself(tmp_path: Path) -> None:
    port = free_port()
    a = Node("a", tmp_path, peers=(f"127.0.0.1:{port}", f"localhost:{port}"), port=port)
    b = Node("b", tmp_path, peers=(a.at,))
    async with running(a, b):
        await until(lambda: a.linked() == {b.me})
        assert all(event.peer == b.me for event in a.events)
        own = a.mesh._book._entries[("127.0.0.1", port)]
        await until(lambda: own.not_before > a.mesh._loop.time() + 30)


async def test_two_addresses_of_one_peer_make_one_link(tmp_path: Path) -> None:
    port = free_port()
    b = Node("b", tmp_path, port=port)
    a = Node("a", tmp_path, peers=(b.at, f"localhost:{port}", f"dns:localhost:{port}", f"127.0.0.2:{port}"))
    async with running(a, b):
        await until(lambda: a.linked() and b.linked())
        await until(lambda: not any(entry.dialling for entry in a.mesh._book._entries.values()))
        assert a.ups() == [b.me] and b.ups() == [a.me]


# --- one link per pair


async def test_simultaneous_dials_end_in_one_common_link_and_nothing_flaps(tmp_path: Path) -> None:
    for _ in range(15):
        ports = free_port(), free_port()
        a = Node("a", tmp_path, peers=(f"127.0.0.1:{ports[1]}",), port=ports[0])
        b = Node("b", tmp_path, peers=(f"127.0.0.1:{ports[0]}",), port=ports[1])
        async with running(a, b):
            await until(lambda a=a, b=b: a.linked() and b.linked())
            await until(lambda a=a, b=b: not (a.mesh._strangers or b.mesh._strangers))
            a.mesh.send(b.me, HELLO)
            b.mesh.send(a.me, HELLO)
            await until(lambda a=a, b=b: a.said() and b.said())
            assert not a.downs() and not b.downs()
            assert len(a.ups()) == len(b.ups()) == 1
            ends = [link._transport.get_extra_info("sockname") for link in (a.link_to(b), b.link_to(a))]  # type: ignore
            others = [link._transport.get_extra_info("peername") for link in (a.link_to(b), b.link_to(a))]  # type: ignore
            assert ends == others[::-1]


# --- deaths and faults


async def test_a_restarted_peer_is_down_and_then_up_as_another(tmp_path: Path) -> None:
    a = Node("a", tmp_path)
    b = Node("b", tmp_path, peers=(a.at,))
    async with running(a):
        first = asyncio.create_task(b.mesh.run())
        await until(a.linked)
        again = Node("b", tmp_path, peers=(a.at,), boot=2)
        second = asyncio.create_task(again.mesh.run())  # while the older link still stands
        try:
            await until(lambda: a.linked() == {again.me})
            kinds = [(type(event), event.peer) for event in a.events]
            assert kinds == [(LinkUp, b.me), (LinkDown, b.me), (LinkUp, again.me)]
            await until(lambda: b.downs())
            await until(lambda: any("older life" in e.last_failure for e in b.mesh._book._entries.values()))
            assert a.linked() == {again.me}
        finally:
            await stop(first, second)


async def test_a_killed_process_is_down_at_once(tmp_path: Path) -> None:
    a = Node("a", tmp_path, times=Times())
    async with running(a):
        await until(lambda: hasattr(a.mesh, "_loop"))
        child = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, __file__, "b", str(tmp_path), a.at],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        try:
            await until(a.linked, 20)
            child.send_signal(signal.SIGKILL)
            killed = time.monotonic()
            await until(a.downs)
            assert time.monotonic() - killed < 1.0
        finally:
            child.kill()
            child.wait()


async def test_a_silent_link_is_closed_and_dialled_again(tmp_path: Path) -> None:
    a = Node("a", tmp_path)
    b = Node("b", tmp_path, peers=(a.at,), times=Times(silence=60, gossip=60, tend=0.01))
    a.times = QUICK
    a.mesh._times = Times(silence=0.3, gossip=60, tend=0.01)
    async with running(a, b):
        await until(lambda: len(a.ups()) >= 2 and a.downs())
        assert a.downs()[0].reason == "silent for 0.3 s"


async def test_a_link_with_anything_on_it_is_not_silent(tmp_path: Path) -> None:
    a = Node("a", tmp_path)
    b = Node("b", tmp_path, peers=(a.at,))
    async with running(a, b):
        await until(lambda: a.linked() and b.linked())
        until_then = time.monotonic() + 2 * QUICK.silence
        while time.monotonic() < until_then:
            a.mesh.send(b.me, HELLO)
            b.mesh.send(a.me, HELLO)
            heard = len(a.said())
            await until(lambda heard=heard: len(a.said()) > heard)
        assert not a.downs() and not b.downs()


async def test_a_node_whose_own_loop_stood_still_accuses_nobody(tmp_path: Path) -> None:
    a = Node("a", tmp_path)
    b = Node("b", tmp_path, peers=(a.at,))
    async with running(a, b):
        await until(lambda: a.linked() and b.linked())
        time.sleep(2 * QUICK.silence)  # noqa: ASYNC251 (both loops stand still, as a stopped process does)
        tended = a.mesh._loop.time()
        await until(lambda: a.link_to(b).heard >= tended and b.link_to(a).heard >= tended)
        assert not a.downs() and not b.downs()


async def test_undecodable_bytes_close_that_link_alone(tmp_path: Path) -> None:
    a = Node("a", tmp_path)
    b = Node("b", tmp_path, peers=(a.at,))
    c = Node("c", tmp_path, peers=(a.at,))
    async with running(a, b, c):
        await until(lambda: len(a.linked()) == 2 and b.linked())
        link = b.link_to(a)
        link._write(link._sealed(mesh_link.MESSAGES, b"\x91\x91\xa7nothing"))
        await until(a.downs)
        assert a.downs()[0].peer == b.me and a.downs()[0].reason.startswith("undecodable")
        assert c.me in a.linked()
        await until(lambda: len(a.linked()) == 2)
        assert [event.peer for event in a.downs()] == [b.me]


@pytest.mark.parametrize("rubbish", [b"GET / HTTP/1.1\r\n\r\n", b"\x00\x00\x00\x02\xc1\xc1", b"\xff" * 64])
async def test_a_stranger_gets_nowhere(tmp_path: Path, rubbish: bytes) -> None:
    a = Node("a", tmp_path)
    async with running(a):
        await until(lambda: hasattr(a.mesh, "_loop"))
        reader, writer = await connected(a)
        writer.write(rubbish)
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionResetError):
                await reader.read()
        writer.close()
        assert a.events == []


async def test_a_stranger_that_says_nothing_is_put_out(tmp_path: Path) -> None:
    a = Node("a", tmp_path, times=Times(handshake=0.1, tend=0.01))
    async with running(a):
        await until(lambda: hasattr(a.mesh, "_loop"))
        reader, writer = await connected(a)
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        writer.close()
        await until(lambda: not a.mesh._strangers)


async def connected(node: Node) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with asyncio.timeout(5):
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                return await asyncio.open_connection("127.0.0.1", node.port)
            await asyncio.sleep(0.002)


@pytest.mark.parametrize(
    ("odd", "reason"), [({"key": "x" * 32}, "another mesh key"), ({"cluster": "other"}, "cluster")]
)
async def test_a_node_of_another_key_or_cluster_is_refused_and_both_know_why(
    tmp_path: Path, odd: dict[str, str], reason: str
) -> None:
    ports = free_port(), free_port()
    a = Node("a", tmp_path, peers=(f"127.0.0.1:{ports[1]}",), port=ports[0])
    b = Node("b", tmp_path, peers=(f"127.0.0.1:{ports[0]}",), port=ports[1], **odd)  # type: ignore[arg-type]
    async with running(a, b):
        for node, other in ((a, b), (b, a)):
            entry = node.mesh._book._entries
            address = ("127.0.0.1", other.port)
            await until(lambda e=entry, at=address: at in e and reason in e[at].last_failure)
        assert not a.events and not b.events


async def test_a_peer_that_does_not_read_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mesh_link, "UNSENT_LIMIT_BYTES", 4 * mesh_link.MEBIBYTE)
    a = Node("a", tmp_path)
    b = Node("b", tmp_path, peers=(a.at,))
    async with running(a, b):
        await until(lambda: a.linked() and b.linked())
        b.link_to(a)._transport.pause_reading()  # type: ignore[union-attr]
        message = Publish("t", "e", b"x" * 100_000)
        async with asyncio.timeout(10):
            while not a.downs():
                a.mesh.send(b.me, message)
                await asyncio.sleep(0)
        assert "unsent" in a.downs()[0].reason


async def test_a_stopped_node_takes_its_links_down_at_once(tmp_path: Path) -> None:
    a = Node("a", tmp_path)
    b = Node("b", tmp_path, peers=(a.at,))
    async with running(a):
        async with running(b):
            await until(a.linked)
        await until(a.downs, 1.0)
        assert a.downs() == [LinkDown(b.me, "closed by the peer")]


async def test_a_peer_that_moved_is_found_and_its_old_address_forgotten(tmp_path: Path) -> None:
    seed = Node("m", tmp_path)
    a = Node("a", tmp_path, peers=(seed.at,))
    b = Node("b", tmp_path, peers=(seed.at,))
    moved = Node("b", tmp_path, peers=(seed.at,), boot=2)
    async with running(seed, a):
        async with running(b):
            await until(lambda: b.me in a.linked())
        async with running(moved):
            await until(lambda: moved.me in a.linked())
            await until(lambda: ("127.0.0.1", b.port) not in a.mesh._book, 15)
            assert ("127.0.0.1", moved.port) in a.mesh._book
            assert ("127.0.0.1", seed.port) in a.mesh._book


# --- configuration


async def test_a_port_in_use_is_an_error_that_names_the_variable(tmp_path: Path) -> None:
    a = Node("a", tmp_path)
    async with running(a):
        _, writer = await connected(a)
        writer.close()
        with pytest.raises(ConfigurationError, match="GAMECLUSTER_MESH_PORT"):
            await Node("b", tmp_path, port=a.port).mesh.run()


def test_a_short_or_missing_key_is_an_error_that_names_the_variable(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"GAMECLUSTER_MESH_KEY_FILE.*: 5 bytes; expected 32"):
        Node("a", tmp_path, key="short")
    settings = Settings(node="a", mesh_key_file=tmp_path / "none")
    with pytest.raises(ConfigurationError, match="GAMECLUSTER_MESH_KEY_FILE"):
        Mesh(settings, incarnation("a", "uid", 1), lambda event: None)


async def test_a_node_without_a_key_is_alone() -> None:
    mesh = Mesh(Settings(node="a"), incarnation("a", "uid", 1), lambda event: None)
    task = asyncio.create_task(mesh.run())
    await until(lambda: hasattr(mesh, "_loop"))
    mesh.send(incarnation("b", "uid", 1), HELLO)
    assert mesh.peers() == [] and not task.done()
    await stop(task)


def test_a_listener_on_all_addresses_leaves_it_to_the_peer_to_see_where_it_is() -> None:
    def seen(host: str) -> Address:
        peer = Greeting("c", incarnation("b", "u", 1), _told_host(host), 4100, None, "")
        return _address_of(SimpleNamespace(peer=peer, remote_host="10.0.0.7"))  # type: ignore[arg-type]

    assert seen("0.0.0.0") == seen("::") == seen("arena-0.example") == ("10.0.0.7", 4100)
    assert seen("10.0.0.9") == ("10.0.0.9", 4100)


@pytest.mark.parametrize(
    "test",
    [
        test_two_nodes_link_and_say_things_in_order,
        test_a_big_snapshot_and_what_follows_it_arrive,
        test_nodes_that_know_one_peer_find_all,
        test_simultaneous_dials_end_in_one_common_link_and_nothing_flaps,
        test_a_restarted_peer_is_down_and_then_up_as_another,
        test_a_killed_process_is_down_at_once,
        test_a_silent_link_is_closed_and_dialled_again,
        test_a_node_whose_own_loop_stood_still_accuses_nobody,
        test_undecodable_bytes_close_that_link_alone,
        test_a_stopped_node_takes_its_links_down_at_once,
        test_a_port_in_use_is_an_error_that_names_the_variable,
    ],
)
def test_the_same_holds_on_uvloop(test: Callable[[Path], Coroutine[None, None, None]], tmp_path: Path) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test(tmp_path))


async def _child(name: str, folder: str, peer: str) -> None:
    node = Node(name, Path(folder), peers=(peer,), times=Times())
    await node.mesh.run()


if __name__ == "__main__":
    asyncio.run(_child(*sys.argv[1:4]))
