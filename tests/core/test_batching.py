"""What a turn of the loop makes leaves in one message for each peer, and is acknowledged with one."""

from __future__ import annotations

from gamecluster.core import effects as do
from gamecluster.core import events as happened
from gamecluster.core.messages import Ack, Append, Entry, Follow, Incarnation, Install, Position, Promised, name_of
from gamecluster.core.node import Node
from gamecluster.core.replication import HISTORY

from .cluster import Cluster

MOVES = 10


def sent(effects: list[do.Effect], kind: type) -> list[tuple[str, object]]:
    return [(name_of(e.peer), e.message) for e in effects if isinstance(e, do.SendPeer) and type(e.message) is kind]


def moves(node: Node, count: int = MOVES) -> list[do.Effect]:
    """Bob's, in one turn of ``node``."""
    found: list[do.Effect] = []
    for request in range(1000, 1000 + count):
        found += node.handle(happened.PlayerMoved(request, 1, "bob", "add", {"amount": 1}, None), 10.0)
    return found


def appended(node: Node, peer: Incarnation, effects: list[do.Effect]) -> Append:
    [message] = [e.message for e in effects if isinstance(e, do.SendPeer) and e.peer == peer]
    assert isinstance(message, Append)
    return message


def playing() -> tuple[Cluster, Node, Node]:
    """Bob plays on the leader, which is a-0."""
    cluster = Cluster()
    cluster.join("a-0")
    assert cluster.leader() == "a-0"
    return cluster, cluster.nodes["a-0"], cluster.nodes["a-1"]


def test_all_moves_of_a_turn_leave_in_one_message_for_each_peer() -> None:
    _, leader, _ = playing()
    during = moves(leader)
    assert sent(during, Append) == []
    assert during.count(do.FlushSoon()) == 1
    ended = leader.handle(happened.TurnEnded(), 10.0)
    assert [(p, len(a.entries)) for p, a in sent(ended, Append) if isinstance(a, Append)] == [
        ("a-1", MOVES),
        ("a-2", MOVES),
    ]
    assert leader.handle(happened.TurnEnded(), 10.0) == []


def test_what_came_in_one_turn_is_acknowledged_once_and_told_as_committed_with_what_is_new() -> None:
    cluster, leader, follower = playing()
    first = appended(leader, follower.me, [*moves(leader, 4), *leader.handle(happened.TurnEnded(), 10.0)])
    second = appended(leader, follower.me, [*moves(leader, 6), *leader.handle(happened.TurnEnded(), 10.0)])
    taken = [
        *follower.handle(happened.PeerSaid(leader.me, first), 10.0),
        *follower.handle(happened.PeerSaid(leader.me, second), 10.0),
    ]
    assert sent(taken, Ack) == []
    [(_, ack)] = sent(follower.handle(happened.TurnEnded(), 10.0), Ack)
    assert ack == Ack(leader.epoch, second.entries[-1].position, False)
    other = cluster.nodes["a-2"]
    leader.handle(happened.PeerSaid(other.me, ack), 10.0)
    committing = leader.handle(happened.PeerSaid(follower.me, ack), 10.0)
    assert len([e for e in committing if isinstance(e, do.Answer)]) == 10
    third = appended(leader, follower.me, [*moves(leader, 1), *leader.handle(happened.TurnEnded(), 10.0)])
    assert (len(third.entries), third.committed) == (1, second.entries[-1].seq)


def test_an_announcement_of_what_was_acknowledged_already_is_not_answered() -> None:
    _, leader, follower = playing()
    end = leader.log.last
    again = Append(leader.epoch, end, [], end.seq)
    assert follower.handle(happened.PeerSaid(leader.me, again), 10.0) == []


def test_no_acknowledgement_goes_to_a_leader_after_another_was_promised() -> None:
    """The other may cut off what this one would count as held."""
    cluster, leader, follower = playing()
    append = appended(leader, follower.me, [*moves(leader, 1), *leader.handle(happened.TurnEnded(), 10.0)])
    follower.handle(happened.PeerSaid(leader.me, append), 10.0)
    other = cluster.nodes["a-2"]
    promising = follower.handle(happened.PeerSaid(other.me, Follow(leader.epoch + 1)), 10.0)
    [(_, promised)] = sent(promising, Promised)
    assert isinstance(promised, Promised) and promised.last == append.entries[-1].position
    assert sent(follower.handle(happened.TurnEnded(), 10.0), Ack) == []


def test_nothing_is_trimmed_that_was_not_sent() -> None:
    """A turn may make, and commit, more entries than are kept: a snapshot for each peer would make more of them."""
    _, leader, _ = playing()
    count = HISTORY + 100
    for _ in range(count):
        leader.log.append(Entry(leader.epoch, leader.log.last.seq + 1, [], [], []))
    leader.log.commit(leader.log.last.seq)
    ended = leader.handle(happened.TurnEnded(), 10.0)
    assert [(p, len(a.entries)) for p, a in sent(ended, Append) if isinstance(a, Append)] == [
        ("a-1", count),
        ("a-2", count),
    ]
    assert sent(ended, Install) == []
    assert not leader.log.has(Position(leader.epoch, leader.log.last.seq - HISTORY - 1))
    assert leader.log.has(Position(leader.epoch, leader.log.last.seq - HISTORY))
