"""Channels that keep what they broadcast: over pods that follow one log, each at its own pace, nobody is told anything twice or never."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import hypothesis
import msgspec
import pytest
from hypothesis import strategies as st
from tests.shell.fakes import FakeBackend, FakeClient, FakeClock, FakeSocket

from gamecluster import Channel, Rejected, on
from gamecluster.chat import Chat
from gamecluster.checks import DefinitionError, json_object
from gamecluster.core.effects import Deliver
from gamecluster.core.messages import Fields, Incarnation
from gamecluster.core.replication import apply
from gamecluster.phoenix.codec import Vsn
from gamecluster.rules import Outcome
from gamecluster.services import Services
from gamecluster.settings import Settings
from gamecluster.shell.clients import Hub
from gamecluster.shell.joins import Tokens
from gamecluster.shell.metrics import Metrics

KEY = b"k" * 32
TOPIC = "room:1"


class Room(Channel):
    topic = "room:*"
    recover = 5

    def join(self, payload: Fields) -> Fields:
        self.greets = payload.get("greets")
        if self.greets:
            self.broadcast("joined", {"who": self.greets})
        return {"welcome": True}

    def leave(self) -> None:
        if self.greets:
            self.broadcast("left", {"who": self.greets})

    @on("shout")
    def shout(self, text: str) -> Fields:
        self.broadcast("shout", {"text": text})
        self.push("noted", {"text": text})
        return {"heard": text}

    @on("twice")
    async def twice(self) -> None:
        self.broadcast("shout", {"text": "one"})
        self.broadcast("shout", {"text": "two"})

    @on("type")
    def type(self) -> None:
        self.broadcast("typing", {}, kept=False)
        self.broadcast("sketch", b"\x01", kept=False)

    @on("wrong")
    def wrong(self, payload: bytes) -> None:
        self.broadcast("drawn", payload)

    @on("taken")
    def taken(self) -> None:
        self.broadcast("shout", {"offset": 7})


class Log:
    """The leader's services, and what they have made. ``reason``: why nobody can be asked."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.services = Services(lambda: self.seconds, random.Random(3))
        self.entries: list[tuple[Outcome, Pod, asyncio.Future[Fields]]] = []
        self.reason: str | None = None
        self.pods: list[Pod] = []

    def pod(self) -> Pod:
        self.pods.append(Pod(self))
        return self.pods[-1]

    def commit(self) -> None:
        for pod in self.pods:
            pod.commit()


class Pod(FakeBackend):
    """One that has committed the log as far as ``seen``."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self.tables = {}
        self.log = log
        self.seen = 0
        self.clock = FakeClock()
        self.tokens = Tokens(KEY, "arena", wall_clock=lambda: 1.7e9)
        settings = Settings(node="arena-0", name="arena", limit_messages_per_second=10_000)
        self.hub = Hub(settings, self, [Room], self.tokens, Metrics(), self.clock)

    def ask(self, service: str, verb: str, args: Fields) -> asyncio.Future[Fields]:
        answer: asyncio.Future[Fields] = asyncio.get_running_loop().create_future()
        if self.log.reason is not None:
            answer.set_exception(Rejected(self.log.reason))
            return answer
        sent = json_object(args)
        self.log.entries.append((self.log.services.call(service, verb, sent, Incarnation("a_b_1")), self, answer))
        return answer

    def commit(self, count: int = 1000) -> None:
        """The next entries: tables first, then answers and broadcasts, as a node's effects come."""
        entries = self.log.entries[self.seen : self.seen + count]
        self.seen += len(entries)
        for outcome, _, _ in entries:
            apply(self.tables, outcome.ops)
        for outcome, pod, answer in entries:
            if pod is self and outcome.ok:
                answer.set_result({**outcome.response, "epoch": 1, "seq": 1})
            elif pod is self:
                reason = dict(outcome.response)
                answer.set_exception(Rejected(reason.pop("reason"), **reason))
            for said in outcome.broadcasts:
                self.hub.deliver(Deliver(said.topic, said.event, msgspec.json.encode(said.payload)))

    def install(self) -> None:
        """A snapshot of all that there is: its broadcasts never come."""
        tables: dict[str, Any] = {}
        for outcome, _, _ in self.log.entries:
            apply(tables, outcome.ops)
        self.tables, self.seen = tables, len(self.log.entries)
        for follower in self.followers:
            follower(None)

    def client(self, player: str | None = None) -> FakeClient:
        socket = FakeSocket(self.clock)
        token = self.tokens.sign(player, "s1") if player else None
        return FakeClient(self.hub, self.clock, self.hub.connect(socket, Vsn.V2, token), socket)


async def turn() -> None:
    for _ in range(6):
        await asyncio.sleep(0)


@dataclass
class Page:
    """A client as the browser's: remembers how far it has come, and asks for the rest."""

    topic: str = TOPIC
    client: FakeClient | None = None
    at: Fields = field(default_factory=dict)
    events: list[tuple[str, Fields]] = field(default_factory=list)
    replies: list[Fields] = field(default_factory=list)
    joins: list[Fields] = field(default_factory=list)
    errors: int = 0

    async def join(self, pod: Pod, player: str | None = None, **payload: Any) -> Fields:
        self.client = pod.client(player)
        if self.at:
            payload["recover"] = {"epoch": self.at["epoch"], "offset": self.at["offset"]}
        self._send("j", "phx_join", payload)
        await turn()
        self.log = pod.log
        if not self.hear():
            pod.log.commit()
            await turn()
            self.hear()
        return self.replies[-1]

    def push(self, event: str, payload: Fields | None = None) -> None:
        self._send(event, event, payload or {})

    def _send(self, ref: str, event: str, payload: Fields) -> None:
        self.client.hub.received(self.client.connection, json.dumps(["j", ref, self.topic, event, payload]))

    def hear(self) -> bool:
        heard = self.client.hear()
        for _, ref, _, event, payload in heard:
            if event == "phx_reply":
                self.replies.append(payload)
                if ref == "j" and payload["status"] == "ok":
                    self._joined(payload["response"])
            elif event == "phx_error":
                self.errors += 1
            else:
                self._take(event, payload)
        return bool(heard)

    def lose(self) -> None:
        self.hear()
        self.client.hub.disconnected(self.client.connection)

    def offsets(self) -> list[int]:
        return [payload["offset"] for _, payload in self.events if "offset" in payload]

    def _joined(self, response: Fields) -> None:
        recovery = response["recovery"]
        self.joins.append(recovery)
        for line in recovery["missed"]:
            self.events.append((line["event"], line["payload"]))
        self.at = {"epoch": recovery["epoch"], "offset": recovery["offset"]}

    def _take(self, event: str, payload: Fields) -> None:
        self.events.append((event, payload))
        if "offset" in payload:
            self.at = {"epoch": payload["epoch"], "offset": payload["offset"]}


@pytest.fixture(autouse=True)
def wall(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The pods' wall clock."""
    clock = SimpleNamespace(seconds=1001.0)
    monkeypatch.setattr("gamecluster.recovery.time", SimpleNamespace(time=lambda: clock.seconds))
    return clock


@pytest.fixture
def log() -> Log:
    return Log()


async def test_what_is_broadcast_has_a_number_and_the_push_is_answered_once_it_is_committed(log):
    pod, other = log.pod(), log.pod()
    ann, ben = Page(), Page()
    assert await ann.join(pod) == {
        "status": "ok",
        "response": {"welcome": True, "recovery": {"epoch": "", "offset": 0, "recovered": False, "missed": []}},
    }
    await ben.join(other)
    ann.push("shout", {"text": "hi"})
    await turn()
    assert not ann.hear() and len(ann.replies) == 1
    log.commit()
    await turn()
    ann.hear(), ben.hear()
    assert ann.replies[-1] == {"status": "ok", "response": {"heard": "hi"}}
    epoch = log.services.streams._ledger.rows("$streams")[TOPIC]["epoch"]
    said = ("shout", {"text": "hi", "offset": 1, "epoch": epoch})
    assert ann.events == [said, ("noted", {"text": "hi"})] and ben.events == [said]


@pytest.mark.parametrize("reason", ["no leader", "unknown", "overloaded"])
async def test_what_cannot_be_committed_is_refused_with_the_reason_and_sent_to_nobody(log, reason):
    pod, ann = log.pod(), Page()
    await ann.join(pod)
    log.reason = reason
    ann.push("shout", {"text": "hi"})
    await turn()
    ann.hear()
    assert ann.replies[-1] == {"status": "error", "response": {"reason": reason}} and ann.events == []
    log.reason = None
    ann.push("shout", {"text": "again"})
    await turn()
    log.commit()
    await turn()
    ann.hear()
    assert [payload["text"] for _, payload in ann.events] == ["again", "again"]


async def test_what_one_call_broadcasts_is_committed_together_and_the_next_call_waits(log):
    pod, ann = log.pod(), Page()
    await ann.join(pod)
    ann.push("twice")
    ann.push("shout", {"text": "three"})
    await turn()
    assert len(log.entries) == 1
    log.commit()
    await turn()
    log.commit()
    await turn()
    ann.hear()
    assert [payload["text"] for event, payload in ann.events if event == "shout"] == ["one", "two", "three"]
    assert ann.offsets() == [1, 2, 3]


async def test_what_is_not_to_be_kept_goes_the_short_way(log):
    pod, ann = log.pod(), Page()
    await ann.join(pod)
    ann.push("type")
    await turn()
    assert [(p.event, p.payload) for p in pod.published] == [("typing", b"{}"), ("sketch", b"\x01")]
    assert log.entries == []


@pytest.mark.parametrize("event", ["taken", "wrong"])
async def test_what_could_not_be_kept_is_a_mistake_that_says_so(log, event, caplog):
    pod, ann = log.pod(), Page()
    await ann.join(pod)
    if event == "wrong":
        frame = bytes([0, 1, 1, len(TOPIC), 5]) + b"jw" + TOPIC.encode() + b"wrong" + b"\x01"
        pod.hub.received_binary(ann.client.connection, frame)
    else:
        ann.push(event)
    await turn()
    ann.hear()
    assert ann.errors == 1
    assert ("the cluster itself adds offset" if event == "taken" else "bytes can't be kept") in caplog.text


async def test_who_comes_back_gets_what_it_missed_on_whichever_pod(log):
    pod, other = log.pod(), log.pod()
    ann, ben = Page(), Page()
    await ann.join(pod), await ben.join(pod)
    await shout(log, ben, "1")
    ann.lose()
    for text in "234":
        await shout(log, ben, text)
    await ann.join(other)
    assert ann.joins[-1]["recovered"] and [line["offset"] for line in ann.joins[-1]["missed"]] == [2, 3, 4]
    await shout(log, ben, "5")
    ann.hear()
    assert ann.offsets() == [1, 2, 3, 4, 5]
    assert [p for _, p in ann.events] == [p for event, p in ben.events if event == "shout"], (
        "as everybody else heard it"
    )


@pytest.mark.parametrize("why", ["too many", "too old", "another epoch", "ahead of all"])
async def test_who_missed_what_is_gone_is_told_so(log, wall, why):
    pod, ann, ben = log.pod(), Page(), Page()
    await ann.join(pod), await ben.join(pod)
    await shout(log, ben, "1")
    ann.lose()
    for number in range(6 if why == "too many" else 2):
        await shout(log, ben, str(number))
    if why == "another epoch":
        ann.at["epoch"] = "0123456789"
    if why == "ahead of all":
        ann.at["offset"] = 99
    if why == "too old":
        wall.seconds += 300
    await ann.join(pod)
    assert ann.joins[-1] == {"epoch": ben.at["epoch"], "offset": ben.at["offset"], "recovered": False, "missed": []}
    await shout(log, ben, "on")
    ann.hear()
    assert ann.events[-1][1]["text"] == "on"


async def shout(log: Log, page: Page, text: str) -> None:
    page.push("shout", {"text": text})
    await turn()
    log.commit()
    await turn()
    page.hear()


async def test_a_pod_that_is_behind_catches_up_before_it_says_that_anything_is_gone(log):
    ahead, behind = log.pod(), log.pod()
    ann = Page()
    await ann.join(ahead)
    ann.push("shout", {"text": "1"})
    await turn()
    ahead.commit()
    await turn()
    ann.lose()
    assert ann.at["offset"] == 1 and behind.tables == {}
    await ann.join(behind)
    assert (ann.joins[-1]["recovered"], ann.joins[-1]["missed"]) == (True, [])
    ann.push("shout", {"text": "2"})
    await turn()
    log.commit()
    await turn()
    ann.hear()
    assert ann.offsets() == [1, 2]


async def test_without_a_leader_such_a_join_is_refused_and_any_other_is_not(log):
    pod, ann = log.pod(), Page()
    log.reason = "no leader"
    assert (await ann.join(pod))["status"] == "ok"
    ann.lose()
    ann.at = {"epoch": "0123456789", "offset": 3}
    assert await ann.join(pod) == {"status": "error", "response": {"reason": "no leader"}}


@pytest.mark.parametrize(
    "recover", [7, "x", {}, {"epoch": 1, "offset": 1}, {"epoch": "x"}, {"epoch": "x", "offset": True}], ids=str
)
async def test_what_is_no_place_in_a_stream_is_refused(log, recover):
    ann = Page()
    refused = await ann.join(log.pod(), recover=recover)
    assert refused["status"] == "error"
    assert refused["response"]["reason"] == "bad payload" and "recover" in refused["response"]["detail"]


async def test_a_client_hears_what_its_own_join_broadcast_and_nothing_before(log):
    pod, ann, ben = log.pod(), Page(), Page()
    await ann.join(pod, greets="ann")
    await ben.join(log.pod(), greets="ben")
    ann.hear()
    assert [payload["who"] for _, payload in ann.events] == ["ann", "ben"]
    assert [payload["who"] for _, payload in ben.events] == ["ben"]
    ben.lose()
    await turn()
    log.commit()
    await ben.join(pod, greets="ben")
    assert ben.offsets() == [2, 3, 4], "what was missed, its own leaving, and its own coming"


async def test_a_snapshot_skips_broadcasts_and_clients_are_told_them_all_the_same(log):
    pod, ann, ben = log.pod(), Page(), Page()
    await ann.join(pod), await ben.join(log.pod())
    await shout(log, ben, "1")
    for text in "23":
        ben.push("shout", {"text": text})
        await turn()
        log.pods[1].commit()
        await turn()
    pod.install()
    await shout(log, ben, "4")
    ann.hear()
    assert ann.offsets() == [1, 2, 3, 4] and ann.errors == 0


async def test_where_a_snapshot_skips_more_than_is_kept_clients_join_again_and_are_told(log):
    pod, ann, ben = log.pod(), Page(), Page()
    await ann.join(pod), await ben.join(log.pod())
    await shout(log, ben, "0")
    for number in range(1, 8):
        ben.push("shout", {"text": str(number)})
        await turn()
        log.pods[1].commit()
        await turn()
    pod.install()
    await turn()
    ann.hear()
    assert ann.errors == 1
    await ann.join(pod)
    assert ann.joins[-1]["recovered"] is False


async def test_who_knows_a_stream_of_another_epoch_hears_the_new_one_from_its_beginning(log):
    pod, ann, ben = log.pod(), Page(), Page()
    await ann.join(pod), await ben.join(log.pod())
    for text in "123":
        await shout(log, ben, text)
    carl = Page()
    await carl.join(pod)
    for seconds in (10**6, 10**8):
        log.seconds += seconds
        log.pods[0].ask("streams", "sweep", {})
    log.commit()
    await shout(log, ben, "anew")
    ann.hear(), carl.hear()
    assert carl.offsets() == [1] and ann.offsets() == [1, 2, 3, 1]
    assert carl.at["epoch"] == ann.at["epoch"] != ann.events[0][1]["epoch"]


async def test_who_joins_between_a_commit_and_its_broadcasts_is_told_them_once(log):
    pod, ann, ben, carl = log.pod(), Page(), Page(), Page()
    await ben.join(log.pod()), await carl.join(pod)
    await shout(log, ben, "1")
    ben.push("twice")
    await turn()
    late = log.entries[pod.seen :]
    for outcome, _, _ in late:
        apply(pod.tables, outcome.ops)
    await ann.join(pod, **{"recover": {"epoch": ben.at["epoch"], "offset": 1}})
    pod.commit()
    log.commit()
    await turn()
    await shout(log, ben, "4")
    ann.hear(), carl.hear()
    assert ann.offsets() == [2, 3, 4] and carl.offsets() == [1, 2, 3, 4]


@pytest.mark.parametrize("recover", [-1, 1001, True, "100"])
def test_how_many_are_kept_is_checked_when_the_class_is_defined(recover):
    with pytest.raises(DefinitionError, match="expected a number of broadcasts, at most 1000, got"):
        type("Wrong", (Channel,), {"topic": "wrong:*", "recover": recover, "__module__": __name__})


steps = st.lists(
    st.tuples(st.sampled_from(["shout", "commit", "leave", "join", "snapshot"]), st.integers(0, 2), st.integers(0, 2)),
    max_size=60,
)


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(steps)
def test_every_client_hears_every_line_once_in_the_same_order_wherever_it_goes(story):
    asyncio.run(play(story))


async def play(story: list[tuple[str, int, int]]) -> None:
    log = Log()
    Room.recover, kept = 1000, Room.recover
    try:
        pods = [log.pod() for _ in range(3)]
        pages = [Page() for _ in range(3)]
        for page, pod in zip(pages, pods, strict=True):
            await page.join(pod)
        crowd = Page()
        await crowd.join(pods[0])
        for number, (what, one, other) in enumerate(story):
            page, pod = pages[one], pods[other]
            if what == "shout":
                crowd.push("shout", {"text": str(number)})
            elif what == "commit":
                pod.commit(1)
            elif what == "snapshot":
                pod.install() if not any(p is pod for _, p, _ in log.entries[pod.seen :]) else pod.commit()
            elif page.client is not None:
                page.lose()
                await page.join(pod)
            await turn()
        for _ in range(len(story) + 2):
            log.commit()
            await turn()
        for page in (*pages, crowd):
            page.hear()
            assert all(join["recovered"] for join in page.joins[1:])
            assert page.errors == 0
        everything = [payload for outcome, _, _ in log.entries for payload in (b.payload for b in outcome.broadcasts)]
        shouts = [payload["text"] for payload in everything if "text" in payload]
        for page in pages:
            heard = [payload["text"] for event, payload in page.events if event == "shout"]
            assert heard == shouts, page.joins
            assert page.offsets() == list(range(1, len(everything) + 1))
    finally:
        Room.recover = kept


# --- chat


async def say(log: Log, page: Page, **payload: Any) -> Fields:
    page.push("say", payload)
    await turn()
    log.commit()
    await turn()
    page.hear()
    return page.replies[-1]


async def test_a_line_is_said_with_id_author_and_time_and_is_in_the_history(log):
    ann, ben = Page("chat:lobby"), Page("chat:lobby")
    assert (await ann.join(log.pod(), player="ann"))["response"]["messages"] == []
    assert await say(log, ann, body="hello") == {"status": "ok", "response": {"id": 1}}
    assert ann.events[0][0] == "said"
    said = ann.events[0][1]
    assert {name: said[name] for name in ("id", "from", "body", "at")} == {
        "id": 1,
        "from": "ann",
        "body": "hello",
        "at": 1_000_000,
    }
    response = (await ben.join(log.pods[0], history=1))["response"]
    assert response["messages"] == [{"id": 1, "from": "ann", "body": "hello", "at": 1_000_000}]
    assert response["recovery"]["offset"] == 1


async def test_history_is_paged_backwards(log):
    ann = Page("chat:lobby")
    await ann.join(log.pod(), player="ann", history=0)
    for number in range(1, 6):
        await say(log, ann, body=str(number))

    def page(**payload: Any) -> list[int]:
        ann.push("history", payload)
        ann.hear()
        return [message["id"] for message in ann.replies[-1]["response"]["messages"]]

    assert page(limit=2) == [4, 5]
    assert page(before=4, limit=2) == [2, 3]
    assert page(before=2, limit=10_000) == [1] and page(before=1) == []
    ann.push("history", {"limit": 0})
    ann.hear()
    assert "expected a number from 1 to 100" in ann.replies[-1]["response"]["detail"]


async def test_without_a_token_one_may_read_only(log):
    ann = Page("chat:lobby")
    await ann.join(log.pod())
    refused = await say(log, ann, body="hello")
    assert refused["response"]["reason"] == "token needed" and "the join of the game" in refused["response"]["detail"]


@pytest.mark.parametrize(
    ("payload", "reason", "detail"),
    [
        ({"body": "x" * 1001}, "too long", "body has 1001 characters; 1000 at most"),
        ({"body": " \n"}, "nothing to say", "body is empty"),
        ({"body": {"x": 1}}, "bad payload", "body: expected str, got dict"),
        ({}, "bad payload", "body: expected str, got nothing"),
        ({"body": "x", "nonce": ""}, "bad payload", "nonce: expected 1 to 64 characters, got 0"),
        ({"body": "x", "nonce": "n" * 65}, "bad payload", "nonce: expected 1 to 64 characters, got 65"),
    ],
    ids=str,
)
async def test_what_cannot_be_said_is_refused_with_what_would_be_right(log, payload, reason, detail):
    ann = Page("chat:lobby")
    await ann.join(log.pod(), player="ann")
    assert (await say(log, ann, **payload))["response"] == {"reason": reason, "detail": detail}
    assert log.entries == []


async def test_a_line_with_the_same_nonce_is_said_once_but_for_another_author(log):
    ann, ben = Page("chat:lobby"), Page("chat:lobby")
    await ann.join(log.pod(), player="ann"), await ben.join(log.pods[0], player="ben")
    answers = [await say(log, page, body="hi", nonce="1") for page in (ann, ann, ben)]
    assert [answer["response"] for answer in answers] == [{"id": 1}, {"id": 1}, {"id": 2}]
    ben.hear()
    assert ben.offsets() == [1, 2]


async def test_who_is_told_what_it_missed_does_not_get_it_as_history_too(log):
    ann, ben = Page("chat:lobby"), Page("chat:lobby")
    await ann.join(log.pod(), player="ann"), await ben.join(log.pod())
    await say(log, ann, body="1")
    ben.lose()
    await say(log, ann, body="2")
    response = (await ben.join(log.pods[0]))["response"]
    assert response["messages"] == [] and response["recovery"]["recovered"]
    assert [payload["body"] for _, payload in ben.events] == ["1", "2"]


async def test_a_class_of_ones_own_for_these_topics_comes_first(log):
    class Own(Chat):
        topic = "chat:*"

        def author(self) -> str:
            return "somebody"

    pod = log.pod()
    settings = Settings(node="arena-0", name="arena")
    pod.hub = Hub(settings, pod, [Own], pod.tokens, Metrics(), pod.clock)
    ann = Page("chat:lobby")
    await ann.join(pod)
    assert (await say(log, ann, body="hi"))["status"] == "ok"
    assert ann.events[0][1]["from"] == "somebody"
