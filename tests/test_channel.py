"""Channels: what one client's calls give, and what a wrong declaration is told."""

from __future__ import annotations

import random

import pytest

from gamecluster import Channel, Rejected, on
from gamecluster.channel import ChannelRuntime, Publish, Push
from gamecluster.cluster import Cluster, MemoryBackend
from gamecluster.game import DefinitionError
from gamecluster.services import Services

ALONE = Cluster(MemoryBackend(Services(lambda: 0.0, random.Random(1))))


class Room(Channel):
    topic = "room:*"
    heard = 0

    def join(self, payload):
        if payload.get("banned"):
            raise Rejected("banned")
        self.push("hello", {"topic": self.topic})
        return {"you": payload.get("name")}

    def leave(self):
        self.broadcast("left", {})

    @on("shout")
    def shout(self, payload):
        self.heard += 1
        self.broadcast("shout", payload)

    @on("whisper")
    def whisper(self, to: str, text: str = "psst") -> dict[str, str]:
        self.push("whispered", {"to": to})
        if text == "no":
            raise Rejected("rude")
        if text == "bug":
            raise LookupError("a bug")
        return {"text": text}

    @on("odd")
    def odd(self):
        return 5


@pytest.fixture
def client() -> ChannelRuntime:
    return ChannelRuntime(Room, "room:1", ALONE)


def test_a_call_gives_its_response_and_outputs_in_order(client):
    reaction = client.join({"name": "ann"})
    assert (reaction.ok, reaction.response) == (True, {"you": "ann"})
    assert reaction.outputs == [Push("hello", {"topic": "room:1"})]
    shout = client.push("shout", {"any": [1, {"thing": None}]})
    assert (shout.ok, shout.response) == (True, {})
    assert shout.outputs == [Publish("shout", {"any": [1, {"thing": None}]})]
    assert client.leave().outputs == [Publish("left", {})]


class Sketch(Channel):
    topic = "sketch:*"

    def join(self, payload):
        return b"hello"

    @on("draw")
    def draw(self, payload: bytes) -> bytes:
        self.broadcast("drawn", payload)
        self.push("drew", payload[:1])
        return payload[::-1]

    @on("say")
    def say(self, text: str) -> None:
        self.broadcast("said", {"text": text})


def test_bytes_go_in_and_out_as_they_are():
    client = ChannelRuntime(Sketch, "sketch:1", ALONE)
    assert client.join({}).response == b"hello"
    reaction = client.push("draw", b"\xff\x00")
    assert (reaction.ok, reaction.response) == (True, b"\x00\xff")
    assert reaction.outputs == [Publish("drawn", b"\xff\x00"), Push("drew", b"\xff")]
    assert client.push("draw", {}).response == {"reason": "bad payload", "detail": "expected bytes, got dict"}
    assert client.push("say", b"").response == {
        "reason": "bad payload",
        "detail": "payload: expected an object, got bytes",
    }
    assert ChannelRuntime(Room, "room:1", ALONE).push("shout", b"").response["detail"] == "expected dict, got bytes"


def test_a_name_that_does_not_fit_into_a_binary_frame_is_a_mistake_that_says_so():
    long = ChannelRuntime(Sketch, "sketch:" + "\u00e9" * 125, ALONE)
    assert "255 bytes at most" in long.push("draw", b"\x01").error
    assert long.push("say", {"text": "x"}).ok
    with pytest.raises(ValueError, match="255 bytes at most"):
        ChannelRuntime(Sketch, "sketch:1", ALONE).channel.push("e" * 256, b"")


def test_each_client_has_its_own_instance(client):
    client.push("shout", {})
    client.push("shout", {})
    assert client.channel.heard == 2
    assert ChannelRuntime(Room, "room:1", ALONE).channel.heard == 0


def test_the_outbox_is_empty_after_every_call(client):
    client.push("whisper", {"to": "bob"})
    assert client.channel.outbox == []
    client.push("whisper", {"to": "bob", "text": "no"})
    assert client.channel.outbox == []


def test_a_refusal_sends_nothing(client):
    reaction = client.push("whisper", {"to": "bob", "text": "no"})
    assert (reaction.ok, reaction.response, reaction.outputs, reaction.error) == (False, {"reason": "rude"}, [], None)
    assert client.join({"banned": True}).response == {"reason": "banned"}


def test_a_bug_is_an_internal_error_with_its_traceback(client):
    reaction = client.push("whisper", {"to": "bob", "text": "bug"})
    assert (reaction.ok, reaction.response, reaction.outputs) == (False, {"reason": "internal error"}, [])
    assert 'raise LookupError("a bug")' in reaction.error
    assert "this one returned int" in client.push("odd", {}).error


@pytest.mark.parametrize(
    ("event", "payload", "response"),
    [
        ("wisper", {}, {"reason": "unknown event", "known": ["odd", "shout", "whisper"]}),
        ("whisper", {}, {"reason": "bad payload", "detail": "to: expected str, got nothing"}),
        ("whisper", {"to": 4}, {"reason": "bad payload", "detail": "to: expected str, got int"}),
        ("odd", {"x": 1}, {"reason": "bad payload", "detail": "x: expected no fields, got int"}),
        ("shout", [1], {"reason": "bad payload", "detail": "expected dict, got list"}),
        ("shout", {"x": float("nan")}, {"reason": "bad payload", "detail": "['x']: expected float, got nan"}),
    ],
)
def test_what_does_not_fit_is_refused_before_the_rule(client, event, payload, response):
    reaction = client.push(event, payload)
    assert (reaction.ok, reaction.response, reaction.error) == (False, response, None)
    assert client.channel.heard == 0


def test_topics_match_by_name_or_beginning():
    assert Room.matches("room:1")
    assert Room.matches("room:a:b")
    assert not Room.matches("room:")
    assert not Room.matches("rooms")
    assert not Room.matches("room")

    class Lobby(Channel):
        topic = "lobby"

    assert Lobby.matches("lobby")
    assert not Lobby.matches("lobby:1")
    with pytest.raises(DefinitionError, match="Room is for the topic 'room:\\*', not for 'lobby'"):
        ChannelRuntime(Room, "lobby", ALONE)


def test_reserved_events_are_not_sent(client):
    for send in client.channel.push, client.channel.broadcast:
        for event in "phx_reply", "presence_diff":
            with pytest.raises(ValueError, match="is reserved"):
                send(event, {})


def without_topic():
    class Wrong(Channel):
        @on("say")
        def say(self, payload): ...


def star_in_the_middle():
    class Wrong(Channel):
        topic = "a:*:b"


def an_inner_topic():
    class Wrong(Channel):
        topic = "$names"


def the_games_topic():
    class Wrong(Channel):
        topic = "game"


def reserved_event():
    class Wrong(Channel):
        topic = "a"

        @on("phx_leave")
        def say(self, payload): ...


def untyped():
    class Wrong(Channel):
        topic = "a"

        @on("say")
        def say(self, text): ...


def join_that_yields():
    class Wrong(Channel):
        topic = "a"

        async def join(self, payload):
            yield


def join_without_payload():
    class Wrong(Channel):
        topic = "a"

        def join(self): ...


def own_push():
    class Wrong(Channel):
        topic = "a"
        push = 4


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (without_topic, "Wrong has no topic"),
        (star_in_the_middle, "Wrong.topic: expected a name"),
        (the_games_topic, "'game' is the cluster's own"),
        (an_inner_topic, "'$names' is the cluster's own"),
        (reserved_event, "the event 'phx_leave' is reserved"),
        (untyped, "Wrong.say: the parameter text has no type"),
        (join_that_yields, "Wrong.join must be an ordinary def"),
        (join_without_payload, r"Wrong.join must take (self, payload)"),
        (own_push, "Wrong.push: Channel itself has push"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_each_mistake_is_told_when_the_class_is_defined(mistake, message):
    with pytest.raises(DefinitionError) as error:
        mistake()
    assert message in str(error.value)


def test_events_of_the_game_topic_are_free_on_other_topics():
    class Free(Channel):
        topic = "free"

        @on("state")
        def state(self, payload): ...

    assert ChannelRuntime(Free, "free", ALONE).push("state", {}).ok
