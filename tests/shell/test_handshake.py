from __future__ import annotations

import msgspec
import pytest

from gamecluster.core.messages import incarnation
from gamecluster.shell import handshake
from gamecluster.shell.handshake import Greeting, Handshake, HandshakeFailed, Opening, Seal, SealBroken, State

KEY = b"k" * 32


def greeting(name: str, cluster: str = "arena") -> Greeting:
    return Greeting(cluster, incarnation(name, "uid", 1), "127.0.0.1", 4100, f"ws://{name}", "r1")


def pair(acceptor_key: bytes = KEY, acceptor_cluster: str = "arena") -> tuple[Handshake, Handshake]:
    dialler = Handshake(KEY, greeting("a"), dialling=True)
    return dialler, Handshake(acceptor_key, greeting("b", acceptor_cluster), dialling=False)


def answer(side: Handshake, frame: bytes) -> bytes:
    reply = side.receive(frame)
    assert reply is not None
    return reply


def shake(dialler: Handshake, acceptor: Handshake) -> tuple[Seal, Seal]:
    assert dialler.receive(answer(acceptor, dialler.open())) is None
    assert acceptor.receive(dialler.confirm()) is None
    assert dialler.seal and acceptor.seal
    return dialler.seal, acceptor.seal


def test_both_sides_learn_who_the_other_is() -> None:
    dialler, acceptor = pair()
    shake(dialler, acceptor)
    assert dialler.peer == greeting("b")
    assert acceptor.peer == greeting("a")
    assert dialler.state == acceptor.state == State.done


def test_sealed_frames_pass_in_both_directions_and_are_not_readable() -> None:
    a, b = shake(*pair())
    for text in (b"one" * 10, b"two" * 10, b""):
        sealed = a.seal(text)
        assert not text or text not in sealed
        assert len(sealed) == len(text) + Seal.OVERHEAD_BYTES
        assert b.open(sealed) == text
        assert a.open(b.seal(text)) == text


def test_a_frame_that_is_changed_repeated_moved_or_reflected_does_not_open() -> None:
    def fresh() -> tuple[Seal, Seal, bytes, bytes]:
        a, b = shake(*pair())
        return a, b, a.seal(b"first"), a.seal(b"second")

    _, b, first, _ = fresh()
    with pytest.raises(SealBroken):
        b.open(first[:-1] + bytes([first[-1] ^ 1]))
    _, b, first, _ = fresh()
    assert b.open(first) == b"first"
    with pytest.raises(SealBroken):
        b.open(first)
    _, b, _, second = fresh()
    with pytest.raises(SealBroken):
        b.open(second)
    a, _, first, _ = fresh()
    with pytest.raises(SealBroken):
        a.open(first)


def test_each_link_has_keys_of_its_own() -> None:
    (a, _), (_, b) = shake(*pair()), shake(*pair())
    with pytest.raises(SealBroken):
        b.open(a.seal(b"x"))


def test_another_key_is_refused_with_the_reason_and_the_peer_is_told() -> None:
    dialler, acceptor = pair(acceptor_key=b"x" * 32)
    challenge = answer(acceptor, dialler.open())
    with pytest.raises(HandshakeFailed, match="another mesh key") as failure:
        dialler.receive(challenge)
    assert failure.value.refusal
    with pytest.raises(HandshakeFailed, match="refused by the peer: another mesh key") as told:
        acceptor.receive(failure.value.refusal)
    assert told.value.refusal is None
    assert dialler.seal is None and acceptor.seal is None


def test_a_dialler_without_the_key_is_refused_by_the_acceptor_too() -> None:
    dialler, acceptor = pair(acceptor_key=b"x" * 32)
    dialler.open()
    stranger = Handshake(KEY, greeting("a"), dialling=True)
    answer(acceptor, stranger.open())
    with pytest.raises(HandshakeFailed, match="another mesh key"):
        acceptor.receive(stranger.confirm())


def test_another_cluster_name_is_refused() -> None:
    dialler, acceptor = pair(acceptor_cluster="other")
    with pytest.raises(HandshakeFailed, match="cluster 'other', this node is of 'arena'"):
        dialler.receive(answer(acceptor, dialler.open()))


def test_another_protocol_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    dialler, acceptor = pair()
    monkeypatch.setattr(handshake, "PROTOCOL", 2)
    opening = dialler.open()
    monkeypatch.setattr(handshake, "PROTOCOL", 1)
    with pytest.raises(HandshakeFailed, match="mesh protocol 2, this node speaks 1"):
        acceptor.receive(opening)


def test_a_recorded_dialler_is_not_admitted_again() -> None:
    dialler, acceptor = pair()
    opening = dialler.open()
    dialler.receive(answer(acceptor, opening))
    proof = dialler.confirm()
    acceptor.receive(proof)
    later = Handshake(KEY, greeting("b"), dialling=False)
    answer(later, opening)
    with pytest.raises(HandshakeFailed, match="another mesh key"):
        later.receive(proof)


def test_a_recorded_acceptor_is_not_believed_again() -> None:
    dialler, acceptor = pair()
    challenge = answer(acceptor, dialler.open())
    later = Handshake(KEY, greeting("a"), dialling=True)
    later.open()
    with pytest.raises(HandshakeFailed, match="another mesh key"):
        later.receive(challenge)


def test_no_node_can_be_made_to_answer_its_own_challenge() -> None:
    """The challenge of a node, sent back to it as the proof of the one who dialled."""
    dialler, victim = pair()
    challenge = msgspec.msgpack.decode(answer(victim, dialler.open()), type=handshake.Challenge)
    with pytest.raises(HandshakeFailed, match="another mesh key"):
        victim.receive(msgspec.msgpack.encode(handshake.Proof(challenge.greeting, challenge.proof)))


def test_a_greeting_changed_on_the_way_is_refused() -> None:
    dialler, acceptor = pair()
    challenge = msgspec.msgpack.decode(answer(acceptor, dialler.open()), type=handshake.Challenge)
    forged = msgspec.structs.replace(challenge, greeting=msgspec.msgpack.encode(greeting("c")))
    with pytest.raises(HandshakeFailed, match="another mesh key"):
        dialler.receive(msgspec.msgpack.encode(forged))


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"GET / HTTP/1.1",
        msgspec.msgpack.encode({"a": 1}),
        msgspec.msgpack.encode(handshake.Proof(b"", b"")),
        msgspec.msgpack.encode(Opening(1, b"short")),
    ],
)
def test_what_is_no_opening_is_refused(frame: bytes) -> None:
    acceptor = Handshake(KEY, greeting("b"), dialling=False)
    with pytest.raises(HandshakeFailed) as failure:
        acceptor.receive(frame)
    assert failure.value.refusal
    assert acceptor.state is State.failed


def test_an_incarnation_that_is_none_is_refused() -> None:
    odd = msgspec.structs.replace(greeting("a"), incarnation="nobody")
    dialler, acceptor = Handshake(KEY, odd, dialling=True), Handshake(KEY, greeting("b"), dialling=False)
    dialler.receive(answer(acceptor, dialler.open()))
    with pytest.raises(HandshakeFailed, match="can't be read"):
        acceptor.receive(dialler.confirm())


def test_a_short_key_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least 32 bytes"):
        Handshake(b"short", greeting("a"), dialling=True)
