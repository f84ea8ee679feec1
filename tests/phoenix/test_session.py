"""What a socket's session answers, frame by frame, and that no order of events breaks it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gamecluster.phoenix.codec import NotBinary, ProtocolError, Vsn
from gamecluster.phoenix.session import (
    JoinRequested,
    Leaving,
    LeftTopic,
    Output,
    Pushed,
    Send,
    Session,
)


def serves(topic: str) -> bool:
    return topic == "game" or topic.startswith("room:")


class Client:
    """A session with a client's hand on it; ``out`` turns frames into plain JSON."""

    def __init__(self, vsn: Vsn = Vsn.V2) -> None:
        self.session = Session(vsn, serves, now=0.0)

    def say(self, *frame: Any) -> list[Any]:
        return plain(self.session.receive(self.session.decode(json.dumps(list(frame)), now=0.0)))

    def join(self, topic: str, join_ref: str = "1") -> int:
        [request] = self.say(join_ref, join_ref, topic, "phx_join", {})
        assert isinstance(request, JoinRequested)
        self.session.accept_join(request.channel, {})
        return request.channel


def plain(outputs: list[Output]) -> list[Any]:
    return [json.loads(o.frame) if isinstance(o, Send) else o for o in outputs]


def ok(join_ref: Any, ref: Any, topic: str, response: Any = None) -> list[Any]:
    return [join_ref, ref, topic, "phx_reply", {"status": "ok", "response": response or {}}]


def error(join_ref: Any, ref: Any, topic: str, reason: str) -> list[Any]:
    return [join_ref, ref, topic, "phx_reply", {"status": "error", "response": {"reason": reason}}]


def test_a_heartbeat_is_answered() -> None:
    assert Client().say(None, "9", "phoenix", "heartbeat", {}) == [ok(None, "9", "phoenix")]


def test_a_join_is_asked_of_the_application_and_its_answer_carries_both_refs() -> None:
    client = Client()
    assert client.say("1", "2", "room:1", "phx_join", {"name": "x"}) == [JoinRequested(1, "room:1", {"name": "x"})]
    assert plain(client.session.accept_join(1, {"n": 3})) == [ok("1", "2", "room:1", {"n": 3})]


def test_refs_keep_their_json_type() -> None:
    client = Client()
    client.say(1, 2, "room:1", "phx_join", {})
    assert plain(client.session.accept_join(1, {})) == [ok(1, 2, "room:1")]


def test_a_refused_join_is_not_joined() -> None:
    client = Client()
    client.say("1", "1", "room:1", "phx_join", {})
    assert plain(client.session.refuse_join(1, {"reason": "no"})) == [error("1", "1", "room:1", "no")]
    assert client.say("1", "2", "room:1", "shout", {}) == [error(None, "2", "room:1", "unmatched topic")]


def test_an_unknown_topic_and_an_event_on_a_topic_not_joined_are_unmatched() -> None:
    client = Client()
    assert client.say("1", "1", "lobby", "phx_join", {}) == [error(None, "1", "lobby", "unmatched topic")]
    assert client.say("1", "2", "room:1", "shout", {}) == [error(None, "2", "room:1", "unmatched topic")]
    assert client.say(None, "3", "phoenix", "other", {}) == [error(None, "3", "phoenix", "unmatched topic")]


def test_a_push_is_handed_over_and_its_reply_carries_the_joins_join_ref() -> None:
    client = Client()
    channel = client.join("room:1", "4")
    assert client.say(None, "5", "room:1", "shout", {"a": 1}) == [Pushed(channel, "room:1", "5", "shout", {"a": 1})]
    assert plain(client.session.reply(channel, "5", False, {"reason": "r"})) == [error("4", "5", "room:1", "r")]


def test_a_server_push_carries_the_join_ref_and_no_ref() -> None:
    client = Client()
    channel = client.join("room:1", "4")
    assert plain(client.session.push(channel, "news", {"a": 1})) == [["4", None, "room:1", "news", {"a": 1}]]


def test_a_stale_join_ref_is_dropped_silently() -> None:
    client = Client()
    client.join("room:1", "1")
    assert client.say("0", "5", "room:1", "shout", {}) == []
    assert client.say("0", "6", "room:1", "phx_leave", {}) == []
    assert client.say(1, "7", "room:1", "shout", {}) == []
    assert client.say("1", "8", "room:1", "shout", {}) != []


def test_a_leave_is_answered_and_then_closed_with_ref_equal_to_join_ref() -> None:
    client = Client()
    channel = client.join("room:1", "1")
    assert client.say("1", "6", "room:1", "phx_leave", {}) == [
        ok("1", "6", "room:1"),
        ["1", "1", "room:1", "phx_close", {}],
        LeftTopic(channel, "room:1", Leaving.left),
    ]
    assert client.session.reply(channel, "5", True, {}) == []


def test_leaving_a_topic_not_joined_is_ok() -> None:
    assert Client().say("1", "6", "room:1", "phx_leave", {}) == [ok("1", "6", "room:1")]


def test_a_second_join_is_answered_first_and_then_the_old_one_is_closed() -> None:
    client = Client()
    old = client.join("room:1", "1")
    left, request = client.say("2", "2", "room:1", "phx_join", {})
    assert left == LeftTopic(old, "room:1", Leaving.replaced)
    assert plain(client.session.accept_join(request.channel, {})) == [
        ok("2", "2", "room:1"),
        ["1", "1", "room:1", "phx_close", {}],
    ]


def test_an_answer_to_a_join_that_was_replaced_goes_nowhere() -> None:
    client = Client()
    [first] = client.say("1", "1", "room:1", "phx_join", {})
    _, second = client.say("2", "2", "room:1", "phx_join", {})
    assert client.session.accept_join(first.channel, {}) == []
    assert client.session.refuse_join(first.channel, {}) == []
    assert plain(client.session.accept_join(second.channel, {}))[0] == ok("2", "2", "room:1")
    assert client.session.accept_join(second.channel, {}) == []


def test_pushes_before_the_joins_answer_are_held_in_order() -> None:
    client = Client()
    [request] = client.say("1", "1", "room:1", "phx_join", {})
    assert client.say("1", "2", "room:1", "a", {}) == []
    assert client.say(None, "3", "room:1", "b", {}) == []
    assert plain(client.session.accept_join(request.channel, {})) == [
        ok("1", "1", "room:1"),
        Pushed(request.channel, "room:1", "2", "a", {}),
        Pushed(request.channel, "room:1", "3", "b", {}),
    ]


def test_what_was_held_for_a_join_that_is_refused_is_unmatched() -> None:
    client = Client()
    [request] = client.say("1", "1", "room:1", "phx_join", {})
    client.say("1", "2", "room:1", "a", {})
    assert plain(client.session.refuse_join(request.channel, {"reason": "no"})) == [
        error("1", "1", "room:1", "no"),
        error(None, "2", "room:1", "unmatched topic"),
    ]


def test_what_is_held_is_bounded() -> None:
    client = Client()
    client.say("1", "1", "room:1", "phx_join", {})
    for n in range(100):
        assert client.say("1", n, "room:1", "a", {}) == []
    assert client.say("1", "x", "room:1", "a", {}) == [error("1", "x", "room:1", "join is pending")]


def test_leaving_before_the_joins_answer_ends_the_join() -> None:
    client = Client()
    [request] = client.say("1", "1", "room:1", "phx_join", {})
    assert client.say("1", "2", "room:1", "phx_leave", {}) == [
        ok("1", "2", "room:1"),
        ["1", "1", "room:1", "phx_close", {}],
        LeftTopic(request.channel, "room:1", Leaving.left),
    ]
    assert client.session.accept_join(request.channel, {}) == []


def test_the_hundred_and_first_channel_is_refused_and_a_rejoin_is_not() -> None:
    client = Client()
    for n in range(100):
        client.join(f"room:{n}")
    assert client.say("1", "1", "room:100", "phx_join", {}) == [error("1", "1", "room:100", "too many channels joined")]
    assert isinstance(client.say("2", "2", "room:5", "phx_join", {})[-1], JoinRequested)


def test_a_channel_closed_by_the_server() -> None:
    client = Client()
    channel = client.join("room:1", "1")
    assert plain(client.session.close_topic(channel)) == [["1", "1", "room:1", "phx_close", {}]]
    assert client.say("1", "2", "room:1", "a", {}) == [error(None, "2", "room:1", "unmatched topic")]


def test_a_crash_is_an_error_and_the_topic_can_be_joined_again() -> None:
    client = Client()
    channel = client.join("room:1", "1")
    assert plain(client.session.crash_topic(channel)) == [
        ["1", "1", "room:1", "phx_error", {"reason": "channel_crash"}]
    ]
    client.join("room:1", "2")


def test_a_crash_in_join() -> None:
    client = Client()
    [request] = client.say("1", "1", "room:1", "phx_join", {})
    assert plain(client.session.crash_topic(request.channel)) == [error("1", "1", "room:1", "join crashed")]


def test_the_end_of_the_socket_leaves_every_topic() -> None:
    client = Client()
    a, b = client.join("room:1"), client.join("game")
    assert client.session.close() == [LeftTopic(a, "room:1", Leaving.lost), LeftTopic(b, "game", Leaving.lost)]
    assert client.session.close() == []
    assert client.session.push(a, "x", {}) == []


def test_sixty_seconds_without_data_are_too_long() -> None:
    session = Session(Vsn.V2, serves, now=100.0)
    assert session.idle_at >= 160.0
    assert session.idle_at < 160.1
    session.decode('[null,"1","phoenix","heartbeat",{}]', now=150.0)
    assert session.idle_at >= 210.0
    session.heard(200.0)
    session.heard(180.0)
    assert session.idle_at >= 260.0
    assert session.idle_at < 261.0


def test_a_malformed_frame_counts_as_data_and_raises() -> None:
    session = Session(Vsn.V2, serves, now=0.0)
    with pytest.raises(ProtocolError):
        session.decode("nonsense", now=50.0)
    assert session.idle_at >= 110.0


def test_v1_has_no_join_refs_and_null_refs_on_close_and_error() -> None:
    session = Session(Vsn.V1, serves, now=0.0)

    def say(event: str, ref: Any) -> list[Any]:
        frame = json.dumps({"topic": "room:1", "event": event, "payload": {}, "ref": ref})
        return plain(session.receive(session.decode(frame, now=0.0)))

    [request] = say("phx_join", 0)
    reply = {"topic": "room:1", "event": "phx_reply", "payload": {"status": "ok", "response": {}}, "ref": 0}
    assert plain(session.accept_join(request.channel, {})) == [reply]
    assert say("shout", 1) == [Pushed(request.channel, "room:1", 1, "shout", {})]
    assert say("phx_leave", 2)[:2] == [
        reply | {"ref": 2},
        {"topic": "room:1", "event": "phx_close", "payload": {}, "ref": None},
    ]


steps = st.one_of(
    st.tuples(
        st.just("say"),
        st.sampled_from([None, "1", "2"]),
        st.sampled_from(["room:1", "room:2", "lobby", "phoenix"]),
        st.sampled_from(["phx_join", "phx_leave", "heartbeat", "shout", "phx_close"]),
    ),
    st.tuples(
        st.sampled_from(["accept", "refuse", "reply", "push", "close", "crash"]),
        st.integers(1, 8),
    ),
)


@settings(max_examples=200)
@given(st.lists(steps, max_size=40), st.sampled_from(Vsn))
def test_no_order_of_events_breaks_a_session(script: list[Any], vsn: Vsn) -> None:
    """Every message with a ref is answered at most once, and each join that was asked for ends exactly once."""
    session = Session(vsn, serves, now=0.0)
    joins: set[int] = set()
    ended: list[int] = []
    replies: list[Any] = []
    for ref, step in enumerate(script):
        match step:
            case ("say", join_ref, topic, event):
                frame = (
                    json.dumps([join_ref, ref, topic, event, {}])
                    if vsn is Vsn.V2
                    else json.dumps({"topic": topic, "event": event, "payload": {}, "ref": ref, "join_ref": join_ref})
                )
                outputs = session.receive(session.decode(frame, now=0.0))
            case ("accept", channel):
                outputs = session.accept_join(channel, {})
            case ("refuse", channel):
                outputs = session.refuse_join(channel, {})
            case ("reply", channel):
                outputs = session.reply(channel, None, True, {})
            case ("push", channel):
                outputs = session.push(channel, "e", {})
            case ("close", channel):
                outputs = session.close_topic(channel)
            case (_, channel):
                outputs = session.crash_topic(channel)
        for output in outputs:
            match output:
                case JoinRequested(channel=channel):
                    assert channel not in joins
                    joins.add(channel)
                case LeftTopic(channel=channel):
                    ended.append(channel)
                case Pushed(channel=channel):
                    assert channel in joins and channel not in ended
                case Send(frame=sent):
                    message = json.loads(sent)
                    _, its_ref, _, event, _ = (
                        message if vsn is Vsn.V2 else [None, message["ref"], 0, message["event"], 0]
                    )
                    if event == "phx_reply" and its_ref is not None:
                        replies.append(its_ref)
    ended += [left.channel for left in session.close()]
    assert len(ended) == len(set(ended))
    assert set(ended) <= joins
    assert len(replies) == len(set(replies))


# --- binary data


def binary_push(topic: str, event: str, data: bytes, join_ref: bytes = b"4", ref: bytes = b"5") -> bytes:
    texts = (join_ref, ref, topic.encode(), event.encode())
    return bytes((0, *map(len, texts))) + b"".join(texts) + data


def say_bytes(client: Client, frame: bytes) -> list[Output]:
    return client.session.receive(client.session.decode_binary(frame, now=0.0))


def test_bytes_are_handed_over_and_answered_in_binary_frames() -> None:
    client = Client()
    channel = client.join("room:1", "4")
    pushed = say_bytes(client, binary_push("room:1", "draw", b"\xff\x00"))
    assert pushed == [Pushed(channel, "room:1", "5", "draw", b"\xff\x00")]
    assert client.session.reply(channel, "5", True, b"\x00\xff") == [
        Send(b"\x01\x01\x01\x06\x0245room:1ok\x00\xff", is_binary=True)
    ]
    assert client.session.push(channel, "drawn", b"\x07") == [Send(b"\x00\x01\x06\x054room:1drawn\x07", is_binary=True)]


def test_a_join_may_be_asked_for_and_answered_with_bytes() -> None:
    client = Client()
    [asked] = say_bytes(client, binary_push("room:1", "phx_join", b"\x01", b"4", b"4"))
    assert asked == JoinRequested(1, "room:1", b"\x01")
    assert client.session.accept_join(1, b"hello") == [Send(b"\x01\x01\x01\x06\x0244room:1okhello", is_binary=True)]


def test_stale_and_unmatched_binary_pushes_are_treated_as_any() -> None:
    client = Client()
    client.join("room:1", "4")
    assert say_bytes(client, binary_push("room:1", "draw", b"", b"3")) == []
    assert plain(say_bytes(client, binary_push("room:2", "draw", b""))) == [
        error(None, "5", "room:2", "unmatched topic")
    ]
    assert client.say("4", "6", "room:1", "draw", {}) != []


def test_a_v1_client_is_told_that_it_can_not_have_bytes() -> None:
    client = Client(Vsn.V1)
    frame = json.dumps({"topic": "room:1", "event": "phx_join", "payload": {}, "ref": 1})
    [asked] = client.session.receive(client.session.decode(frame, now=0.0))
    assert isinstance(asked, JoinRequested)
    client.session.accept_join(asked.channel, {})
    [answer] = plain(client.session.reply(asked.channel, 2, True, b"\x01"))
    assert answer["payload"]["status"] == "error"
    assert (
        answer["payload"]["response"]["reason"] == "not binary" and "2.0.0" in answer["payload"]["response"]["detail"]
    )
    with pytest.raises(NotBinary):
        client.session.push(asked.channel, "drawn", b"\x01")
    with pytest.raises(ProtocolError):
        client.session.decode_binary(binary_push("room:1", "draw", b""), now=0.0)
