"""What clients are told of who is on their topics, and what a Channel may track."""

from __future__ import annotations

from typing import Any

import pytest
from tests.shell.fakes import FakeBackend, FakeClient, FakeClock, FakeSocket

from gamecluster import Channel, Rejected, on
from gamecluster.core.effects import PresenceChanged, Presences
from gamecluster.core.events import Event, Tracked, TrackerEnded
from gamecluster.core.messages import Incarnation, Space
from gamecluster.core.tracker import Told, Tracker
from gamecluster.demo import Room as DemoRoom
from gamecluster.phoenix.codec import Vsn
from gamecluster.settings import Settings
from gamecluster.shell.clients import Hub
from gamecluster.shell.joins import Tokens
from gamecluster.shell.metrics import Metrics
from gamecluster.testing import room

TOPIC = "room:1"


class Room(Channel):
    topic = "room:*"

    def join(self, payload: dict[str, Any]) -> dict[str, Any] | None:
        if "name" in payload:
            self.track(payload["name"], payload.get("meta"))
        if payload.get("banned"):
            raise Rejected("banned")
        return {"before": sorted(self.presences())}

    @on("be")
    def be(self, key: str, meta: dict[str, Any]) -> None:
        self.track(key, meta)

    @on("hide")
    def hide(self, key: str) -> None:
        self.untrack(key)

    @on("break")
    def fail(self) -> None:
        raise LookupError("a bug")


class OnePod(FakeBackend):
    """The tracker of a real node, and the end of its turn by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.tracker = Tracker(Incarnation("arena-0_u_1"), grace=0.5)

    def dispatch(self, event: Event) -> None:
        super().dispatch(event)
        if isinstance(event, Told):
            self.tracker.told(event, 0.0)

    def presences(self, topic: str) -> Presences:
        return self.tracker.roster.presences(topic)


class Stage:
    def __init__(self) -> None:
        self.clock, self.backend, self.metrics = FakeClock(), OnePod(), Metrics()
        tokens = Tokens(b"k" * 32, "arena")
        self.hub = Hub(Settings(node="arena-0"), self.backend, [Room], tokens, self.metrics, self.clock)

    def client(self, vsn: Vsn = Vsn.V2) -> FakeClient:
        socket = FakeSocket(self.clock)
        return FakeClient(self.hub, self.clock, self.hub.connect(socket, vsn), socket)

    def join(self, **payload: Any) -> FakeClient:
        client = self.client()
        client.say("1", "1", TOPIC, "phx_join", payload)
        return client

    def end_turn(self) -> None:
        for effect in self.backend.tracker.turn_ended((), 0.0):
            assert isinstance(effect, PresenceChanged)
            self.hub.presence_changed(effect)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def metas(found: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Without refs."""
    return {
        key: [{k: v for k, v in meta.items() if k != "phx_ref"} for meta in at["metas"]] for key, at in found.items()
    }


def test_a_newcomer_is_told_all_with_itself_and_the_others_the_difference(stage: Stage) -> None:
    ann = stage.client()
    [reply] = ann.say("1", "1", TOPIC, "phx_join", {"name": "ann", "meta": {"level": 3}})
    assert reply[3:] == ["phx_reply", {"status": "ok", "response": {"before": []}}]
    stage.end_turn()
    [[join_ref, ref, topic, event, state]] = ann.hear()
    assert (join_ref, ref, topic, event) == ("1", None, TOPIC, "presence_state")
    assert metas(state) == {"ann": [{"level": 3}]} and isinstance(state["ann"]["metas"][0]["phx_ref"], str)

    bob, eve = stage.join(name="bob"), stage.join(name="eve")
    stage.end_turn()
    [[join_ref, _, _, event, diff]] = ann.hear()
    assert (join_ref, event, diff["leaves"]) == (None, "presence_diff", {})
    assert metas(diff["joins"]) == {"bob": [{}], "eve": [{}]}
    for client in bob, eve:
        [[_, _, _, event, state]] = client.hear()
        assert event == "presence_state" and set(state) == {"ann", "bob", "eve"}
        assert state["bob"] == diff["joins"]["bob"]


def test_one_who_is_not_tracked_sees_who_is_and_is_not_seen(stage: Stage) -> None:
    stage.join(name="ann")
    stage.end_turn()
    watcher = stage.join()
    stage.end_turn()
    [[_, _, _, event, state]] = watcher.hear()
    assert event == "presence_state" and set(state) == {"ann"}


def test_a_topic_without_presence_says_nothing_of_it_until_somebody_is_tracked(stage: Stage) -> None:
    early, other = stage.join(), stage.join()
    stage.end_turn()
    assert early.hear() == other.hear() == []
    early.say("1", "2", TOPIC, "be", {"key": "late", "meta": {}})
    stage.end_turn()
    for client in early, other:
        [[_, _, _, event, state]] = client.hear()
        assert event == "presence_state" and set(state) == {"late"}, "a Presence takes diffs only after a state"
    stage.join(name="ann")
    stage.end_turn()
    assert [event for _, _, _, event, _ in early.hear()] == ["presence_diff"]


def test_a_new_meta_is_a_leave_and_a_join_that_names_the_former_ref(stage: Stage) -> None:
    ann = stage.join(name="ann")
    stage.end_turn()
    [[_, _, _, _, state]] = ann.hear()
    ann.say("1", "2", TOPIC, "be", {"key": "ann", "meta": {"away": True}})
    stage.end_turn()
    [[_, _, _, event, diff]] = ann.hear()
    former, now = state["ann"]["metas"][0], diff["joins"]["ann"]["metas"][0]
    assert event == "presence_diff" and diff["leaves"] == {"ann": {"metas": [former]}}
    assert (now["away"], now["phx_ref_prev"]) == (True, former["phx_ref"])
    ann.say("1", "3", TOPIC, "hide", {"key": "ann"})
    stage.end_turn()
    assert ann.hear()[0][4] == {"joins": {}, "leaves": {"ann": {"metas": [now]}}}


@pytest.mark.parametrize(("how", "wanted"), [("leave", True), ("lost", False), ("crash", False), ("again", False)])
def test_how_a_join_ends_says_whether_presence_lingers(stage: Stage, how: str, wanted: bool) -> None:
    ann = stage.join(name="ann")
    by = stage.backend.of(Tracked)[0].by
    match how:
        case "leave":
            ann.say("1", "2", TOPIC, "phx_leave", {})
        case "lost":
            stage.hub.disconnected(ann.connection)
        case "crash":
            ann.say("1", "2", TOPIC, "break", {})
        case "again":
            ann.say("2", "2", TOPIC, "phx_join", {"name": "ann"})
    assert stage.backend.of(TrackerEnded) == [TrackerEnded(by, wanted)]
    shown = stage.backend.presences(TOPIC)
    assert set(shown) == (set() if wanted else {"ann"})
    assert len(shown.get("ann", {"metas": []})["metas"]) <= 1, "the old one went with the new one"


def test_who_is_refused_or_left_before_the_answer_was_never_there(stage: Stage) -> None:
    stage.join(name="ann", banned=True)
    stage.backend.held = []
    eve = stage.join(name="eve")
    stage.hub.disconnected(eve.connection)
    for then in stage.backend.held:
        then()
    assert not stage.backend.of(Tracked) and not stage.backend.of(TrackerEnded)


def test_a_v1_client_is_told_in_its_own_form(stage: Stage) -> None:
    old = stage.client(Vsn.V1)
    old.hub.received(old.connection, b'{"topic":"room:1","event":"phx_join","payload":{"name":"old"},"ref":"1"}')
    old.hear()
    stage.end_turn()
    [state] = old.hear()
    assert (state["event"], state["ref"], set(state["payload"])) == ("presence_state", None, {"old"})


@pytest.mark.parametrize(
    ("key", "meta", "detail"),
    [
        ("", {}, "key: expected 1 to 255 bytes, got 0"),
        ("é" * 128, {}, "key: expected 1 to 255 bytes, got 256"),
        (5, {}, "key: expected a text, got int"),
        ("__proto__", {}, "key: expected printable characters, got '__proto__'"),
        ("a\nb", {}, r"key: expected printable characters, got 'a\nb'"),
        ("ann", [1], "meta: expected dict, got list"),
        ("ann", {"phx_ref": "x"}, "meta: phx_ref is the cluster's own"),
        ("ann", {"text": "x" * 4090}, "meta: expected 4096 bytes of JSON at most, got 4101"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(key: Any, meta: Any, detail: str) -> None:
    tavern = room(Room, TOPIC)
    with pytest.raises(Rejected, match="bad presence") as refusal:
        tavern.join("client", name=key, meta=meta)
    assert refusal.value.response["detail"] == detail
    assert tavern.presences == {}


def test_a_client_has_a_hundred_keys_on_a_topic_at_most() -> None:
    tavern = room(Room, TOPIC)
    tavern.join("client")
    for number in range(100):
        tavern.push("client", "be", key=f"k{number}", meta={})
    tavern.push("client", "be", key="k7", meta={"again": True})
    with pytest.raises(Rejected, match="100 keys are tracked"):
        tavern.push("client", "be", key="one more", meta={})
    tavern.push("client", "hide", key="k7")
    tavern.push("client", "be", key="one more", meta={})
    assert len(tavern.presences) == 100


def test_a_room_without_a_cluster_knows_who_is_there() -> None:
    tavern = room(Room, TOPIC)
    tavern.join("one", name="ann", meta={"level": 3})
    assert tavern.join("two", name="bob") == {"before": ["ann"]}
    assert metas(tavern.presences) == {"ann": [{"level": 3}], "bob": [{}]}
    tavern.leave("one")
    tavern.join("one")
    assert set(tavern.presences) == {"bob"}
    assert tavern.received == {"one": [], "two": []}


def test_the_demo_room_tracks_the_player_or_a_made_up_guest_or_nobody() -> None:
    demo = room(DemoRoom, TOPIC)
    demo.join("one", player="ann")
    demo.join("two")
    demo.join("three", player="eve", presence=False)
    ann, guest = sorted(demo.presences)
    assert ann == "ann" and guest.startswith("guest-")
    with pytest.raises(Rejected, match="key: expected a text, got int"):
        demo.join("four", player=5)


class Guard(Channel):
    topic = "gate:*"

    def join(self, payload: dict[str, Any]) -> dict[str, Any]:
        groups = self.cluster.groups
        groups.create("towers")
        groups.join("guards", payload["name"])
        return {"guards": groups.local_members("guards"), "all": groups.all()}

    @on("rest")
    def rest(self, name: str) -> dict[str, Any]:
        self.cluster.groups.leave("guards", name)
        return {"guards": [list(member) for member in self.cluster.groups.members("guards")]}


def test_members_of_a_group_are_there_until_they_leave_or_their_channel_does() -> None:
    gate = room(Guard, "gate:1")
    assert gate.join("one", name="ann") == {"guards": ["ann"], "all": ["guards", "towers"]}
    assert gate.join("two", name="bob")["guards"] == ["ann", "bob"]
    gate.join("three", name="bob")
    assert gate.push("two", "rest", name="bob") == {"guards": [["test-0", "ann"], ["test-0", "bob"]]}
    assert gate.push("one", "rest", name="bob") == {"guards": [["test-0", "ann"], ["test-0", "bob"]]}, "not its own"
    gate.leave("three")
    assert gate.groups == {"guards": ["ann"], "towers": []}
    gate.leave("one")
    assert gate.groups == {"towers": []}
    with pytest.raises(Rejected, match="member: expected 1 to 255 bytes, got 0"):
        gate.join("four", name="")


def test_a_member_whose_join_was_refused_is_in_no_group() -> None:
    class Picky(Channel):
        topic = "picky"

        def join(self, payload: dict[str, Any]) -> None:
            self.cluster.groups.join("guards", "ann")
            raise Rejected("no")

    picky = room(Picky, "picky")
    with pytest.raises(Rejected):
        picky.join("one")
    assert picky.groups == {}


def test_a_crowd_is_one_frame_for_each_serializer(stage: Stage) -> None:
    ann = stage.join(name="ann")
    stage.end_turn()
    ann.hear()
    for number in range(50):
        stage.backend.dispatch(Tracked(Space.presence, TOPIC, f"p{number}", (9, number), {}))
    stage.end_turn()
    [[_, _, _, event, diff]] = ann.hear()
    assert event == "presence_diff" and len(diff["joins"]) == 50
