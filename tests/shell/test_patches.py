"""State patches at the game's rate: when they are sent, what is in them, and that every client's copy stays right."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.shell.fakes import FakeBackend, FakeClient, FakeClock
from tests.shell.test_clients import Stage

from gamecluster.core.effects import Answer, Deliver, DeliverPatch, DeliverState
from gamecluster.core.messages import Entry, Op, Position, Tables
from gamecluster.core.replication import Log, apply
from gamecluster.shell import topics
from gamecluster.shell.outbox import text_frame
from gamecluster.shell.patches import Patches
from gamecluster.shell.resume import missed

RATE = 50
SLOT = 1 / RATE


class Sent:
    """Patches at a rate, with a clock by hand and a record of what was sent when."""

    def __init__(self, rate: int = RATE) -> None:
        self.clock = FakeClock()
        self.began = self.clock.now
        self.log: list[tuple[float, int, list[Op]]] = []
        self.patches = Patches(rate, self.clock, self._send)

    def _send(self, position: Position, ops: list[Op]) -> None:
        self.log.append((round((self.clock.now - self.began) / SLOT, 3), position.seq, ops))

    def commit(self, seq: int, *ops: Op, epoch: int = 1) -> None:
        self.patches.add(Position(epoch, seq), list(ops or [("ships", "p1", {"x": seq})]))

    def wait(self, slots: float) -> None:
        self.clock.wait(slots * SLOT)

    @property
    def when(self) -> list[tuple[float, int]]:
        return [(slot, seq) for slot, seq, _ in self.log]


def test_the_first_patch_after_a_quiet_time_waits_for_nothing_and_nothing_runs_after_it() -> None:
    sent = Sent()
    for _ in range(3):
        sent.commit(1)
        assert len(sent.log) == 1 and sent.clock.timers == []
        sent.log.clear()
        sent.wait(1.5)


def test_what_follows_within_a_slot_is_one_patch_at_its_end() -> None:
    sent = Sent()
    sent.commit(1)
    for seq in (2, 3, 4):
        sent.wait(0.25)
        sent.commit(seq, ("ships", "p1", {"x": seq}), ("ships", f"p{seq}", {"y": seq}))
        assert len(sent.clock.timers) == 1
    sent.wait(10)
    assert sent.log[1:] == [
        (
            1.0,
            4,
            [
                ("ships", "p1", {"x": 4}),
                ("ships", "p2", {"y": 2}),
                ("ships", "p3", {"y": 3}),
                ("ships", "p4", {"y": 4}),
            ],
        )
    ]
    assert sent.clock.timers == []


def test_at_full_load_there_is_one_patch_in_each_slot() -> None:
    sent = Sent()
    for seq in range(1000):
        sent.commit(seq)
        sent.wait(0.01)
    assert len(sent.log) == 10
    assert [slot for slot, _ in sent.when] == [float(n) for n in range(10)]


def test_a_late_patch_does_not_make_the_next_one_late() -> None:
    """A game that ticks as often as it patches: else a single late tick would delay all that come after it."""
    sent = Sent()
    for seq, at in enumerate((0.0, 1.0, 2.6, 3.0, 4.0, 5.0)):
        sent.wait(at - (sent.clock.now - sent.began) / SLOT + 1e-9)
        sent.commit(seq)
    assert sent.when == [(0.0, 0), (1.0, 1), (2.6, 2), (3.0, 3), (4.0, 4), (5.0, 5)]


def test_a_rate_of_zero_holds_nothing_back() -> None:
    sent = Sent(rate=0)
    for seq in range(5):
        sent.commit(seq)
    assert [seq for _, seq, _ in sent.log] == list(range(5)) and sent.clock.timers == []


def test_a_patch_is_of_one_epoch() -> None:
    sent = Sent()
    sent.commit(1)
    sent.commit(2, ("ships", "p1", {"x": 2}))
    sent.commit(3, ("ships", "p2", {"x": 3}), epoch=2)
    assert sent.log[1:] == [(0.0, 2, [("ships", "p1", {"x": 2})])]
    sent.wait(1)
    assert sent.log[2:] == [(1.0, 3, [("ships", "p2", {"x": 3})])]


def test_a_flush_sends_what_waits_and_the_slot_stays() -> None:
    sent = Sent()
    sent.commit(1)
    sent.commit(2)
    sent.wait(0.5)
    sent.patches.flush()
    assert sent.clock.timers == []
    sent.patches.flush()
    sent.commit(3)
    sent.wait(10)
    assert sent.when == [(0.0, 1), (0.5, 2), (1.0, 3)]


def test_what_is_dropped_is_not_sent() -> None:
    sent = Sent()
    sent.commit(1)
    sent.commit(2)
    sent.patches.drop()
    assert sent.clock.timers == []
    sent.wait(1)
    assert sent.when == [(0.0, 1)]


# --- through the hub


def test_a_movers_answer_does_not_wait_for_the_patch() -> None:
    stage = Stage(patch_rate=RATE)
    client = stage.client()
    client.join_game(stage.backend)
    stage.hub.deliver_patch(DeliverPatch(1, 11, []))
    client.say("g", "2", "game", "move", {"n": 1})
    client.hear()
    stage.hub.answer(Answer(stage.backend.last_request, True, {"epoch": 1, "seq": 12}))
    stage.hub.deliver_patch(DeliverPatch(1, 12, [("ships", "p1", {"x": 5.0})]))
    assert [frame[3] for frame in client.hear()] == ["phx_reply"]
    stage.clock.wait(SLOT)
    assert [frame[4] for frame in client.hear()] == [{"epoch": 1, "seq": 12, "ops": [["ships", "p1", {"x": 5.0}]]}]


def test_a_patch_of_many_commits_is_encoded_once_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(patch_rate=RATE)
    clients = [stage.client() for _ in range(3)]
    for number, client in enumerate(clients):
        client.join_game(stage.backend, f"p{number}")
    encoded: list[bytes] = []
    monkeypatch.setattr(topics, "text_frame", lambda data: encoded.append(data) or text_frame(data))
    for seq in range(11, 31):
        stage.hub.deliver_patch(DeliverPatch(1, seq, [("ships", "p1", {"x": seq})]))
    stage.clock.wait(SLOT)
    assert len(encoded) == 2
    assert [[frame[4]["seq"] for frame in client.hear()] for client in clients] == [[11, 30]] * 3


def test_an_event_of_the_game_does_not_overtake_what_was_committed_before_it() -> None:
    stage = Stage(patch_rate=RATE)
    client = stage.client()
    client.join_game(stage.backend)
    client.say("r", "r", "room:1", "phx_join", {})
    stage.hub.deliver_patch(DeliverPatch(1, 11, []))
    stage.hub.deliver_patch(DeliverPatch(1, 12, []))
    stage.hub.deliver(Deliver("room:1", "chat", b"{}"))
    stage.hub.deliver(Deliver("game", "boom", b"{}"))
    stage.hub.deliver_patch(DeliverPatch(1, 13, []))  # of the commit that the event belongs to
    stage.clock.wait(SLOT)
    told = [(frame[2], frame[4].get("seq", frame[3])) for frame in client.hear()]
    assert [what for topic, what in told if topic == "game"] == [11, 12, "boom", 13]
    assert [what for topic, what in told if topic == "room:1"] == ["chat"]


def test_the_whole_state_takes_the_place_of_what_waits() -> None:
    stage = Stage(patch_rate=RATE)
    client = stage.client()
    client.join_game(stage.backend)
    stage.hub.deliver_patch(DeliverPatch(1, 11, []))
    stage.hub.deliver_patch(DeliverPatch(1, 12, [("ships", "lost", {})]))
    stage.backend.at = Position(2, 12)
    stage.hub.deliver_state(DeliverState(2, 12))
    stage.hub.deliver_patch(DeliverPatch(2, 13, []))
    stage.clock.wait(10 * SLOT)
    told = [(frame[3], frame[4]["epoch"], frame[4]["seq"]) for frame in client.hear()]
    assert told == [("patch", 1, 11), ("state", 2, 12), ("patch", 2, 13)]


def test_nothing_waits_where_nobody_is_in_the_game() -> None:
    stage = Stage(patch_rate=RATE)
    for seq in range(11, 15):
        stage.hub.deliver_patch(DeliverPatch(1, seq, []))
    assert stage.clock.timers == []


# --- whatever happens, a copy is the state at its position


class Pod(FakeBackend):
    """Commits what it is told, as a node that follows, and keeps the state at every position."""

    def __init__(self) -> None:
        super().__init__()
        self.log = Log()
        self.epoch = 1
        self.states: dict[Position, Tables] = {}
        self._remember()

    def commit(self, entries: list[list[Op]]) -> DeliverPatch | None:
        """As ``core.node`` delivers them."""
        shown: list[Op] = []
        for ops in entries:
            self.log.append(Entry(self.epoch, self.log.last.seq + 1, ops, [], []))
            self.log.commit(self.log.last.seq)
            self._remember()
            shown += [op for op in ops if not op[0].startswith("$")]
        return DeliverPatch(*self._at, shown) if shown else None

    def install(self) -> DeliverState:
        """Another pod's state takes the place of this one's, in a later epoch."""
        self.epoch += 1
        self.log.install(Position(self.epoch, self.log.last.seq + 3), {"ships": {"p0": {"x": 99}}})
        self._remember()
        return DeliverState(*self._at)

    def position(self) -> Position:
        return self.log.committed

    def visible_tables(self) -> Tables:
        return {name: rows for name, rows in self.log.tables.items() if not name.startswith("$")}

    def missed(self, since: Position) -> list[Op] | None:
        return missed(self.log, since, self.visible_tables())

    @property
    def _at(self) -> tuple[int, int]:
        return self.log.committed.epoch, self.log.committed.seq

    def _remember(self) -> None:
        self.states[self.log.committed] = filled(copy.deepcopy(self.visible_tables()))


class Copy:
    """A client's copy of the state, as ``web/game.js`` keeps it; ``log``: what it was sent, by position."""

    def __init__(self, pod: Pod) -> None:
        self.pod = pod
        self.position = Position(0, 0)
        self.tables: Tables = {}
        self.patches = 0
        self.is_behind = False
        """It has not read for a while: it hears events before what it missed of the state."""

    def take(self, frame: list[Any]) -> None:
        _, _, topic, event, payload = frame
        if topic != "game":
            return
        match event:
            case "phx_reply":
                self._take(payload["response"], is_join=True)
            case "patch" | "state":
                self.patches += event == "patch"
                self._take(payload, is_join=False)
            case "told" if not self.is_behind:
                before = Position(*payload["before"])
                assert self.position >= before, f"told of what came after {before} at {self.position}"
                assert self.position < Position(*payload["commit"])

    def _take(self, said: dict[str, Any], is_join: bool) -> None:
        at = Position(said["epoch"], said["seq"])
        assert at > self.position or (is_join and at == self.position), f"{at} after {self.position}"
        self.position = at
        if "state" in said:
            self.tables = said["state"]
        else:
            apply(self.tables, [tuple(op) for op in said["ops"]])
        assert filled(self.tables) == self.pod.states[at], f"the copy is not the state at {at}"


def filled(tables: Tables) -> Tables:
    return {name: rows for name, rows in tables.items() if rows}


fields = st.dictionaries(st.sampled_from("xyz"), st.integers(0, 3), max_size=3)
some_ops: st.SearchStrategy[list[Op]] = st.lists(
    st.tuples(st.sampled_from(["ships", "wins", "$players"]), st.sampled_from(["p0", "p1"]), st.none() | fields),
    max_size=4,
)
entries = st.lists(some_ops, min_size=1, max_size=3)
steps = st.one_of(
    st.tuples(st.just("commit"), entries),
    st.tuples(st.just("commit"), entries),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 0.5, 1.0, 2.5])),
    st.tuples(st.sampled_from(["join", "lose", "read", "block", "unblock"]), st.integers(0, 2)),
    st.tuples(st.just("tell"), entries),
    st.tuples(st.sampled_from(["new leader", "install"]), st.none()),
)


@pytest.mark.parametrize("rate", [0, RATE])
@hypothesis.settings(max_examples=300, deadline=None)
@given(script=st.lists(steps, max_size=40))
def test_every_copy_is_the_state_at_its_position_whatever_is_merged(rate: int, script: list[tuple[str, Any]]) -> None:
    pod = Pod()
    stage = Stage(pod, patch_rate=rate, limit_messages_per_second=100_000)
    copies = [Copy(pod) for _ in range(3)]
    clients: list[FakeClient | None] = [None] * 3
    began, forced = stage.clock.now, 0
    delivered = [Position(0, 0)]

    def read(index: int) -> None:
        for frame in client.hear() if (client := clients[index]) else []:
            copies[index].take(frame)

    def join(index: int) -> None:
        if clients[index] is not None:
            return
        clients[index] = client = stage.client()
        at = copies[index].position
        client.ask_game(f"p{index}", **({"epoch": at.epoch, "seq": at.seq} if at.epoch else {}))
        stage.hub.answer(Answer(pod.last_request, True, {"stay": "s", "resumed": at.epoch > 0}, join=True))

    def lose(index: int) -> None:
        if (client := clients[index]) is not None:
            stage.clock.turn()
            read(index)
            stage.hub.disconnected(client.connection)
            clients[index] = None
            copies[index].is_behind = False

    def block(index: int) -> None:
        if (client := clients[index]) is not None:
            stage.clock.turn()
            read(index)
            client.connection.full()
            copies[index].is_behind = True

    def unblock(index: int) -> None:
        if (client := clients[index]) is not None and copies[index].is_behind:
            client.connection.writable()
            read(index)
            copies[index].is_behind = False

    def tell(ops: list[list[Op]]) -> None:
        last = delivered[-1]  # entries of the system's own tables are not told
        patch = pod.commit(ops)
        payload = {"before": [last.epoch, last.seq], "commit": [pod.position().epoch, pod.position().seq]}
        stage.hub.deliver(Deliver("game", "told", json.dumps(payload).encode()))
        deliver(patch)

    def deliver(patch: DeliverPatch | None) -> None:
        if patch is not None:
            delivered.append(Position(patch.epoch, patch.seq))
            stage.hub.deliver_patch(patch)

    def install(_: None) -> None:
        state = pod.install()
        delivered.append(Position(state.epoch, state.seq))
        stage.hub.deliver_state(state)

    def new_leader(_: None) -> None:
        pod.epoch += 1

    do: dict[str, Callable[[Any], None]] = {
        "commit": lambda ops: deliver(pod.commit(ops)),
        "wait": lambda slots: stage.clock.wait(slots * SLOT),
        "join": join,
        "lose": lose,
        "read": read,
        "block": block,
        "unblock": unblock,
        "tell": tell,
        "new leader": new_leader,
        "install": install,
    }
    for what, how in script:
        do[what](how)
        forced += what in ("tell", "new leader", "install", "unblock")
    for index in range(3):
        unblock(index)
    stage.clock.wait(2 * SLOT)
    slots = (stage.clock.now - began) / SLOT
    for index, client in enumerate(clients):
        read(index)
        if client is not None:
            assert filled(copies[index].tables) == filled(pod.visible_tables())
        if rate:
            assert copies[index].patches <= slots + 1 + forced
    assert stage.clock.timers == []
