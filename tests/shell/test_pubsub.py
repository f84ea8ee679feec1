"""What carries broadcasts, each the real thing, passes the same tests; then what is each one's own."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import pytest
from redis.asyncio import Redis
from tests.shell.node import free_ports
from tests.shell.stores import Server

from gamecluster.core.effects import Deliver
from gamecluster.core.events import Published
from gamecluster.core.messages import incarnation
from gamecluster.core.node import Node, NodeConfig
from gamecluster.settings import Settings
from gamecluster.shell.driver import Driver
from gamecluster.shell.lease import MemoryLease
from gamecluster.shell.mesh import Mesh
from gamecluster.shell.metrics import Metrics
from gamecluster.shell.pubsub import PubSub, open_pubsub
from gamecluster.shell.pubsub.broker import BrokerPubSub, Times
from gamecluster.shell.pubsub.link import BrokerError, Heard, Link
from gamecluster.shell.pubsub.mesh import MeshPubSub
from gamecluster.shell.pubsub.outgoing import Letter
from gamecluster.shell.pubsub.postgresql import INCOMING_AT_MOST, PostgresqlLink
from gamecluster.shell.pubsub.redis import RedisLink
from gamecluster.shell.storage import cluster_key

BROKERS = ("redis", "postgresql")
TOPIC = "room:1"
SOON = Times(answer=2.0, check=0.2, again=0.02, again_at_most=0.2)
ROW_SECONDS = 0.5


class Pod:
    """One node, with all between its clients and the wire. It is its own hub, and records what its clients are sent."""

    def __init__(self, settings: Settings, times: Times | None) -> None:
        self.heard: list[Deliver] = []
        self.settings = settings
        self.metrics = Metrics()
        me = incarnation(settings.node, "uid", 1)
        node = Node(me, NodeConfig(), None, random.Random(1), asyncio.get_running_loop().time())
        self.driver = Driver(node, MemoryLease(), self.metrics)
        self.mesh = Mesh(settings, me, self.driver.dispatch)
        self.pubsub: PubSub
        if times is None:
            self.pubsub = open_pubsub(settings, me, self.mesh, self.driver.decide, self.deliver, self.metrics)
        else:
            self.pubsub = BrokerPubSub(self._link, me, self.deliver, self.metrics, random.Random(1), times)
        self.driver.connect(self.mesh, self, self.pubsub)  # type: ignore[arg-type]
        self._tasks = [asyncio.create_task(part.run()) for part in (self.mesh, self.pubsub)]

    def _link(self, heard: Heard) -> Link:
        settings, cluster = self.settings, cluster_key(self.settings)
        if settings.pubsub.startswith("redis"):
            return RedisLink(settings.pubsub, cluster, settings.node, heard)
        return PostgresqlLink(settings.pubsub, cluster, settings.node, heard, kept_seconds=ROW_SECONDS)

    def deliver(self, effect: Deliver) -> None:
        self.heard.append(effect)

    async def join(self, topic: str = TOPIC) -> None:
        joined = asyncio.Event()
        self.driver.want(topic, joined.set)
        async with asyncio.timeout(5):
            await joined.wait()

    def leave(self, topic: str = TOPIC) -> None:
        self.driver.want_no_more(topic)

    def shout(self, text: str | bytes, topic: str = TOPIC) -> None:
        payload = text if isinstance(text, bytes) else f'"{text}"'.encode()
        self.driver.dispatch(Published(topic, "shout", payload, isinstance(text, bytes)))

    def texts(self) -> list[str]:
        return [said.payload.decode().strip('"') for said in self.heard]

    async def hears(self, *texts: str) -> None:
        await until(lambda: all(text in self.texts() for text in texts), f"{self.settings.node} hears {texts}")

    @property
    def is_up(self) -> bool:
        return b"gamecluster_pubsub_up 1.0" in self.metrics.text()

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)


async def until(met: Callable[[], Any], what: str, seconds: float = 20.0) -> None:
    try:
        async with asyncio.timeout(seconds):
            while not met():  # noqa: ASYNC110 (conditions of any kind)
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"not within {seconds:g} s: {what}") from None


class World:
    """Pods of one kind. Only those of the mesh know each other."""

    def __init__(self, kind: str, request: pytest.FixtureRequest, folder: Path) -> None:
        self.kind = kind
        self.pods: list[Pod] = []
        self._cluster = f"game-{random.getrandbits(40)}"
        self._folder = folder
        self.server: Server | None = request.getfixturevalue(kind) if kind in BROKERS else None

    async def add(self, times: Times = SOON, cluster: str = "") -> Pod:
        number = len(self.pods)
        own: dict[str, Any] = {"node": f"pod-{number}", "name": cluster or self._cluster}
        if self.server:
            settings = Settings(**own, pubsub=self.server.url)
        else:
            port, mesh, admin = free_ports(3)
            key = self._folder / "key"
            key.write_text("k" * 32)
            peers = tuple(f"127.0.0.1:{pod.settings.mesh_port}" for pod in self.pods) or ("127.0.0.1:9",)
            settings = Settings(
                **own,
                port=port,
                mesh_port=mesh,
                admin_port=admin,
                mesh_key_file=key,
                peers=peers,
                lease=f"file:{self._folder / 'lease'}",
            )
        self.pods.append(Pod(settings, times if self.server else None))
        await until(lambda: self.pods[-1].is_up, "a pod is up")
        await until(self._is_linked, "the pods are linked")
        return self.pods[-1]

    async def add_some(self, count: int) -> list[Pod]:
        return [await self.add() for _ in range(count)]

    async def remove(self, pod: Pod) -> None:
        self.pods.remove(pod)
        await pod.end()

    def _is_linked(self) -> bool:
        names = [pod.settings.name for pod in self.pods]
        return bool(self.server) or all(
            len(pod.mesh.peers()) == names.count(pod.settings.name) - 1 for pod in self.pods
        )


@pytest.fixture
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    world = World(request.param, request, tmp_path)
    yield world
    for pod in world.pods:
        await pod.end()
    gc.collect()  # the clients' leftovers: in Python 3.11.7 their end in the midst of compiling fails the compiler


every = pytest.mark.parametrize("world", ["mesh", *BROKERS], indirect=True)
brokers = pytest.mark.parametrize("world", BROKERS, indirect=True)


@every
class TestEveryPubSub:
    async def test_who_is_on_the_topic_hears_it_once_on_every_pod(self, world: World) -> None:
        pods = await world.add_some(3)
        for pod in pods:
            await pod.join()
        pods[0].shout("hello")
        assert pods[0].texts() == ["hello"], "its own clients hear it at once"
        pods[1].shout("end")
        for pod in pods:
            await pod.hears("hello", "end")
        assert all(sorted(pod.texts()) == ["end", "hello"] for pod in pods)
        assert Deliver(TOPIC, "shout", b'"hello"', False) in pods[2].heard

    async def test_a_pod_without_a_subscriber_is_not_sent_it(self, world: World) -> None:
        speaker, other, listener = await world.add_some(3)
        await other.join("room:2")
        await listener.join()
        for number in range(20):
            speaker.shout(str(number))
        speaker.shout("end", "room:2")
        await listener.hears("19")
        await other.hears("end")
        assert other.texts() == ["end"]

    async def test_after_the_last_client_has_left_nothing_comes(self, world: World) -> None:
        speaker, listener = await world.add_some(2)
        await listener.join()
        await listener.join("room:2")
        speaker.shout("first")
        await listener.hears("first")
        listener.leave()
        await listener.join("room:3")
        await listener.join("room:4")  # by now the broker knows that the first topic was left
        speaker.shout("second")
        speaker.shout("end", "room:2")
        await listener.hears("end")
        assert listener.texts() == ["first", "end"]

    async def test_who_has_joined_misses_nothing_from_then_on(self, world: World) -> None:
        speaker, listener = await world.add_some(2)
        for number in range(30):
            await listener.join(f"room:{number}")
            speaker.shout(str(number), f"room:{number}")
        await listener.hears("29")
        assert listener.texts() == [str(number) for number in range(30)]

    async def test_a_topic_that_is_left_and_joined_again_is_heard(self, world: World) -> None:
        speaker, listener = await world.add_some(2)
        for number in range(30):
            await listener.join()
            speaker.shout(str(number))
            await listener.hears(str(number))
            listener.leave()
        await listener.join()
        speaker.shout("end")
        await listener.hears("end")

    async def test_binary_data_comes_as_it_was(self, world: World) -> None:
        speaker, listener = await world.add_some(2)
        await listener.join()
        data = bytes(range(256))
        speaker.shout(data)
        await until(lambda: listener.heard, "it comes")
        assert listener.heard == [Deliver(TOPIC, "shout", data, True)]

    @pytest.mark.parametrize("size", [5_900, 6_100, 7_900, 8_100, 100_000, 1_000_000])
    async def test_large_data_comes_as_it_was(self, world: World, size: int) -> None:
        speaker, listener = await world.add_some(2)
        await listener.join()
        data = random.Random(size).randbytes(size)
        speaker.shout(data)
        await until(lambda: listener.heard, "it comes")
        assert listener.heard == [Deliver(TOPIC, "shout", data, True)]

    @pytest.mark.parametrize("topic", ["room:ключ ☃ \x00 'quoted\" {1}", "room:" + "long" * 100, "room:"])
    async def test_any_name_of_a_topic_will_do(self, world: World, topic: str) -> None:
        speaker, listener = await world.add_some(2)
        await listener.join(topic)
        speaker.shout("☃", topic)
        await listener.hears("☃")
        assert listener.heard[0].topic == topic

    async def test_each_pods_messages_come_in_its_order_however_large(self, world: World) -> None:
        pods = await world.add_some(3)
        for pod in pods:
            await pod.join()
        padding = random.Random(3)
        for number in range(150):
            for pod in pods:
                pod.shout(f"{pod.settings.node} {number} {'x' * padding.choice((1, 100, 9_000))}")
            if number % 10 == 0:
                await asyncio.sleep(0)
        await until(lambda: all(len(pod.heard) == 450 for pod in pods), "all comes everywhere")
        for pod in pods:
            for name in ("pod-0", "pod-1", "pod-2"):
                said = [int(text.split()[1]) for text in pod.texts() if text.startswith(name)]
                assert said == list(range(150))

    async def test_the_same_words_again_are_another_message(self, world: World) -> None:
        speaker, listener = await world.add_some(2)
        await listener.join()
        for _ in range(10):
            speaker.shout("again")
        speaker.shout("end")
        await listener.hears("end")
        assert listener.texts() == ["again"] * 10 + ["end"]

    async def test_two_clusters_do_not_hear_each_other(self, world: World) -> None:
        ours, theirs = await world.add(), await world.add(cluster="other")
        mate = await world.add()
        for pod in (ours, mate, theirs):
            await pod.join()
        ours.shout("ours")
        theirs.shout("theirs")
        await mate.hears("ours")
        other_mate = await world.add(cluster="other")
        await other_mate.join()
        ours.shout("more of ours")
        theirs.shout("more of theirs")
        await other_mate.hears("more of theirs")
        await mate.hears("more of ours")
        assert mate.texts() == ["ours", "more of ours"] and theirs.texts() == ["theirs", "more of theirs"]

    async def test_a_pod_that_comes_later_hears_what_is_said_from_then_on(self, world: World) -> None:
        speaker = await world.add()
        await speaker.join()
        speaker.shout("before")
        late = await world.add()
        await late.join()
        speaker.shout("after")
        await late.hears("after")
        assert late.texts() == ["after"]

    async def test_a_pod_that_goes_is_no_burden_to_the_others(self, world: World) -> None:
        speaker, listener, gone = await world.add_some(3)
        for pod in (speaker, listener, gone):
            await pod.join()
        await world.remove(gone)
        speaker.shout("still here")
        await listener.hears("still here")
        assert gone.heard == []


@brokers
class TestBroker:
    async def test_one_that_dies_leaves_local_delivery_alone_and_is_used_when_it_is_back(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        speaker, listener = await world.add_some(2)
        for pod in (speaker, listener):
            await pod.join()
            await pod.join("room:2")
        assert world.server
        with caplog.at_level(logging.INFO, "gamecluster.pubsub"):
            world.server.stop()
            try:
                await until(lambda: not (speaker.is_up or listener.is_up), "both have noticed")
                speaker.shout("to my own")
                assert speaker.texts() == ["to my own"]
                async with asyncio.timeout(0.2):
                    await listener.join("room:3")
                await until(lambda: "is down" in caplog.text, "it is said")
            finally:
                world.server.start()
            await until(lambda: speaker.is_up and listener.is_up, "both are back")
        warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
        assert len(warnings) == 2 and all("is down: " in line for line in warnings), "once for each pod"
        assert caplog.text.count("is back after") == 2
        for topic in (TOPIC, "room:2", "room:3"):
            speaker.shout(f"again on {topic}", topic)
            await listener.hears(f"again on {topic}")

    async def test_one_that_hangs_is_found_out_and_used_when_it_goes_on(self, world: World) -> None:
        speaker, listener = [await world.add(replace(SOON, answer=0.5)) for _ in range(2)]
        await listener.join()
        assert world.server
        world.server.signal(signal.SIGSTOP)
        try:
            began = asyncio.get_running_loop().time()
            await listener.join("room:9")
            assert asyncio.get_running_loop().time() - began < 1.0, "no join waits long for a broker"
            await until(lambda: not (speaker.is_up or listener.is_up), "both have noticed")
            speaker.shout("to my own")
            assert speaker.texts() == ["to my own"]
        finally:
            world.server.signal(signal.SIGCONT)
        await until(lambda: speaker.is_up and listener.is_up, "both are back")
        speaker.shout("back", "room:9")
        await listener.hears("back")

    async def test_one_that_is_not_there_at_first_is_said_and_used_when_it_comes(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert world.server
        world.server.stop()
        try:
            adding = asyncio.create_task(world.add())
            await until(lambda: "is down" in caplog.text, "it is said")
            (pod,) = world.pods
            assert not pod.is_up and not adding.done()
            async with asyncio.timeout(0.2):
                await pod.join()
        finally:
            world.server.start()
        await adding
        other = await world.add()
        other.shout("hello")
        await pod.hears("hello")

    async def test_what_is_said_shortly_before_it_is_back_is_said_to_all(self, world: World) -> None:
        """Pods find back one after the other: only who is there hears it."""
        speaker = await world.add(replace(SOON, again=1.0, again_at_most=1.0))
        listener = await world.add()
        await listener.join()
        assert world.server
        world.server.stop()
        try:
            await until(lambda: not (speaker.is_up or listener.is_up), "both have noticed")
        finally:
            world.server.start()
        await until(lambda: listener.is_up, "the listener is back")
        speaker.shout("while you were away")
        await listener.hears("while you were away")

    async def test_what_a_pod_says_last_goes_out(self, world: World) -> None:
        speaker, listener = await world.add_some(2)
        await listener.join()
        for number in range(1000):
            speaker.shout(str(number))
        await speaker.pubsub.flush()
        await world.remove(speaker)
        await listener.hears("999")
        assert len(listener.heard) == 1000

    async def test_what_no_pod_has_sent_harms_nobody(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        speaker, listener = await world.add_some(2)
        await listener.join()
        await say_nonsense(world)
        await until(lambda: "what no node has sent" in caplog.text, "it is said")
        speaker.shout("after")
        await listener.hears("after")

    async def test_pods_that_end_leave_no_trace(self, world: World) -> None:
        pods = await world.add_some(3)
        for pod in pods:
            for number in range(5):
                await pod.join(f"room:{number}")
        pods[0].shout(b"x" * 100_000, "room:1")
        await until(lambda: pods[1].heard, "it comes")
        assert len((await traces(world)).links) >= 3
        for pod in pods[:2]:
            await world.remove(pod)
        await until_traces(world, lambda found: not found.rows, "rows are gone")
        pods[2].leave("room:1")
        await until_traces(world, lambda found: not any(b"room:1" in name for name in found.channels), "it is left")
        await world.remove(pods[2])
        await until_traces(world, lambda found: found == Traces(), "nothing is left")


@dataclass
class Traces:
    """What a broker knows of pods: their connections' names, channels with a subscriber (Redis), rows (PostgreSQL)."""

    links: list[str] = field(default_factory=list)
    channels: list[Any] = field(default_factory=list)
    rows: int = 0


async def until_traces(world: World, met: Callable[[Traces], bool], what: str) -> None:
    async with asyncio.timeout(20):
        while not met(found := await traces(world)):
            assert found is not None, what
            await asyncio.sleep(0.02)


async def traces(world: World) -> Traces:
    assert world.server
    if world.kind == "redis":
        async with Redis.from_url(world.server.url) as client:
            names = [str(entry["name"]) for entry in await client.client_list()]
            channels = await client.pubsub_channels()
            return Traces([name for name in names if name.startswith("gamecluster-")], list(channels))
    connection = await asyncpg.connect(world.server.url)
    try:
        names = await connection.fetch(
            "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'gamecluster%'"
        )
        rows = await connection.fetchval("SELECT count(*) FROM gamecluster_pubsub")
        return Traces([row[0] for row in names], rows=rows)
    finally:
        await connection.close()


async def say_nonsense(world: World) -> None:
    """On the topic's channel, as somebody else could who has the broker's password."""
    assert world.server
    cluster = cluster_key(world.pods[0].settings)
    if world.kind == "redis":
        async with Redis.from_url(world.server.url) as client:
            assert await client.publish(f"gamecluster:{cluster}:topic:{TOPIC}", b"nonsense") == 1
        return
    connection = await asyncpg.connect(world.server.url)
    try:
        channel = PostgresqlLink(world.server.url, cluster, "x", lambda _: None)._channel(TOPIC)
        for said in ("nonsense", "=%%%", "=bm9uc2Vuc2U=", "@nowhere", ""):
            await connection.execute("SELECT pg_notify($1, $2)", channel, said)
    finally:
        await connection.close()


class TestPostgresql:
    async def test_pods_that_come_at_once_agree_on_the_table(self, postgresql: Server) -> None:
        await drop_table(postgresql)
        links = [PostgresqlLink(postgresql.url, "race", f"pod-{n}", lambda _: None) for n in range(8)]
        try:
            await asyncio.gather(*(link.open() for link in links))
        finally:
            await asyncio.gather(*(link.close() for link in links))

    async def test_who_may_not_make_the_table_is_told_so(self, postgresql: Server) -> None:
        await drop_table(postgresql)
        connection = await asyncpg.connect(postgresql.url)
        await connection.execute(
            "DROP ROLE IF EXISTS guest; CREATE ROLE guest LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC"
        )
        await connection.close()
        link = PostgresqlLink(postgresql.url.replace("game@", "guest@"), "c", "pod", lambda _: None)
        try:
            with pytest.raises(BrokerError, match="permission denied for schema public"):
                await link.open()
        finally:
            await link.close()

    async def test_rows_that_have_expired_go_and_others_stay(self, postgresql: Server) -> None:
        link = PostgresqlLink(postgresql.url, "c", "pod", lambda _: None, kept_seconds=0.2)
        lasting = PostgresqlLink(postgresql.url, "c", "pod", lambda _: None, kept_seconds=60)
        connection = await asyncpg.connect(postgresql.url)
        try:
            for one in (link, lasting):
                await one.open()
                await one.send([Letter(TOPIC, b"x" * 9000), Letter(TOPIC, b"small")])
            count = "SELECT count(*) FROM gamecluster_pubsub WHERE id LIKE $1 || '%'"
            async with asyncio.timeout(10):
                while await connection.fetchval(count, link._own_rows):
                    await link.tend()
            assert await connection.fetchval(count, lasting._own_rows) == 1
        finally:
            for one in (link, lasting):
                await one.close()
            await connection.execute("TRUNCATE gamecluster_pubsub")
            await connection.close()

    async def test_a_pod_that_does_not_keep_up_is_cut_off_and_begins_anew(self, postgresql: Server) -> None:
        heard: list[bytes] = []
        link = PostgresqlLink(postgresql.url, "c", "pod", heard.append)
        try:
            await link.open()
            for number in range(INCOMING_AT_MOST + 1):
                link._take(f"={number}")
            with pytest.raises(ExceptionGroup) as raised:
                await link.listen()
            assert raised.group_contains(BrokerError, match="more than this node takes")
        finally:
            await link.close()


async def drop_table(server: Server) -> None:
    connection = await asyncpg.connect(server.url)
    await connection.execute("DROP TABLE IF EXISTS gamecluster_pubsub; GRANT CREATE ON SCHEMA public TO PUBLIC")
    await connection.close()


class TestRedis:
    async def test_one_that_lets_nobody_publish_is_down_and_says_why(
        self, redis: Server, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with Redis.from_url(redis.url) as client:
            rules = ["+@all", "-publish"]
            await client.acl_setuser("mute", enabled=True, passwords=["+secret"], commands=rules, channels=["*"])
        link_url = redis.url.replace("redis://", "redis://mute:secret@")
        pod = Pod(Settings(node="pod-0", pubsub=link_url), SOON)
        try:
            await until(lambda: "is down" in caplog.text, "it is said")
            assert "no permissions" in caplog.text and "secret" not in caplog.text and not pod.is_up
        finally:
            await pod.end()

    async def test_a_wrong_password_is_said_without_it(self, redis: Server, caplog: pytest.LogCaptureFixture) -> None:
        pod = Pod(Settings(node="pod-0", pubsub=redis.url.replace("redis://", "redis://who:secret@")), SOON)
        try:
            await until(lambda: "is down" in caplog.text, "it is said")
            assert "invalid username-password" in caplog.text and "secret" not in caplog.text
        finally:
            await pod.end()


@pytest.mark.parametrize(
    ("named", "kind"),
    [
        ("mesh", MeshPubSub),
        ("redis://127.0.0.1:1/0", BrokerPubSub),
        ("postgresql://game@127.0.0.1:1/x", BrokerPubSub),
    ],
)
async def test_the_settings_name_what_carries(named: str, kind: type) -> None:
    pod = Pod(Settings(node="a-0", pubsub=named), None)
    try:
        assert isinstance(pod.pubsub, kind)
        assert pod.is_up is (kind is MeshPubSub)
        await pod.join()
        pod.shout("hello")
        assert pod.texts() == ["hello"]
    finally:
        await pod.end()
