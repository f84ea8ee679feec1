"""The topics that a game developer's Channel classes answer for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import assert_never

from ..builtin import BUILT_IN
from ..channel import Channel, ChannelRuntime, Publish, Push, Reaction, Track, Untrack
from ..cluster import Cluster
from ..core.authority import PLAYERS
from ..core.effects import Deliver
from ..core.events import Published, Tracked, TrackerEnded, Untracked
from ..core.messages import Fields, Position, Space
from ..facades.names import LOST, Said, Then
from ..phoenix.codec import Data, NotBinary, encode_json
from ..phoenix.session import JoinRequested, Leaving, LeftTopic, Pushed
from .connection import Backend, Connection, Perform
from .joins import Tokens, Unwelcome, checked, read_player
from .presence import Presence
from .recovering import Recovering
from .seat import Seat
from .topics import Topics

log = logging.getLogger("gamecluster.channels")


class ChannelTopics:
    """A topic goes to the first of ``classes`` that matches, or of those that are built in."""

    def __init__(
        self,
        classes: Sequence[type[Channel]],
        backend: Backend,
        topics: Topics,
        tokens: Tokens,
        presence: Presence,
        perform: Perform,
    ) -> None:
        self._classes = (*classes, *BUILT_IN)
        self._tokens = tokens
        self._backend = backend
        self._topics = topics
        self._presence = presence
        self._perform = perform
        self._recovering = Recovering(backend.rows, topics, self._begin_again)
        backend.follow(self._recovering.changed)

    def serves(self, topic: str) -> bool:
        return self._class_for(topic) is not None

    def join(self, connection: Connection, asked: JoinRequested) -> None:
        channel_class = self._class_for(asked.topic)
        assert channel_class is not None, "the session asks for topics that are served only"
        try:
            payload = checked(asked.payload)
            player = self.player_of(payload, connection.token)
        except Unwelcome as error:
            self._perform(connection, connection.session.refuse_join(asked.channel, error.response))
            return
        cluster = Cluster(self._backend)
        seat = Seat(ChannelRuntime(channel_class, asked.topic, cluster, player=player))
        cluster.enter = partial(self._called_by_name, connection, seat, asked)
        connection.channels[asked.channel] = seat
        seat.run(lambda: seat.runtime.join(payload), lambda reaction: self._joined(connection, seat, asked, reaction))

    def push(self, connection: Connection, pushed: Pushed) -> None:
        seat = connection.channels[pushed.channel]
        if seat.is_full:
            response = {"reason": "overloaded"}
            self._perform(connection, connection.session.reply(pushed.channel, pushed.ref, False, response))
            return
        seat.run(
            lambda: seat.runtime.push(pushed.event, pushed.payload),
            lambda reaction: self._pushed(connection, seat, pushed, reaction),
        )

    def position(self, effect: Deliver) -> Position | None:
        """Of a broadcast that some clients may know already."""
        return self._recovering.position(effect)

    def left(self, connection: Connection, left: LeftTopic) -> None:
        self._unsubscribe(left.topic, connection, left.channel)
        seat = connection.channels.pop(left.channel, None)
        if seat is not None:
            seat.is_gone = True
            self._end_tracking(connection, seat, left.channel, wanted=left.why is Leaving.left)
            seat.drop_waiting()
            if seat.is_in:
                self._leave(connection, seat, left.channel, left.topic)

    def player_of(self, payload: Fields, connection_token: str | None) -> str | None:
        """Raises Unwelcome."""
        return read_player(payload, connection_token, self._tokens, self._stay)

    def _stay(self, player: str) -> str | None:
        row = self._backend.rows(PLAYERS).get(player)
        return row["stay"] if row else None

    def _joined(self, connection: Connection, seat: Seat, asked: JoinRequested, reaction: Reaction) -> None:
        if reaction.ok:
            seat.is_in = True
            if seat.is_gone:
                self._leave(connection, seat, asked.channel, asked.topic)
            else:
                self._backend.want(asked.topic, lambda: self._let_in(connection, seat, asked, reaction))
            return
        connection.channels.pop(asked.channel, None)
        seat.runtime.ended()
        if reaction.error is not None:
            _log_crash(asked.topic, "join", reaction.error)
            self._perform(connection, connection.session.crash_topic(asked.channel))
        else:
            self._perform(connection, connection.session.refuse_join(asked.channel, reaction.response))

    def _let_in(self, connection: Connection, seat: Seat, asked: JoinRequested, reaction: Reaction) -> None:
        channel, topic = asked.channel, asked.topic
        if channel not in connection.channels:  # it has left meanwhile
            self._unsubscribe(topic, connection, channel)
            return
        self._topics.subscribe(topic, connection)
        let_in, response = seat.runtime.let_in(), reaction.response
        if let_in is not None and not isinstance(response, bytes):
            self._recovering.joined(topic, connection, channel, let_in)
            response = {**response, **let_in.response}
        self._perform(connection, connection.session.accept_join(channel, response))
        for event, payload in let_in.following if let_in is not None else ():
            self._push(connection, channel, topic, event, payload)
        self._send_outputs(connection, channel, topic, reaction)
        self._send_outputs(connection, channel, topic, seat.runtime.entered())
        if channel in connection.channels:  # the client reads what it is sent
            self._presence.joined(topic, connection, channel)

    def _begin_again(self, connection: Connection, channel: int, topic: str) -> None:
        """What it has missed is for its next join to tell."""
        self.left(connection, LeftTopic(channel, topic, Leaving.lost))
        self._perform(connection, connection.session.crash_topic(channel))

    def _pushed(self, connection: Connection, seat: Seat, pushed: Pushed, reaction: Reaction) -> None:
        if reaction.error is not None:
            _log_crash(pushed.topic, pushed.event, reaction.error)
            self._crash(connection, seat, pushed.channel, pushed.topic)
            return
        self._send_outputs(connection, pushed.channel, pushed.topic, reaction)
        reply = connection.session.reply(pushed.channel, pushed.ref, reaction.ok, reaction.response)
        self._perform(connection, reply)

    def _crash(self, connection: Connection, seat: Seat, channel: int, topic: str) -> None:
        if not seat.is_gone:
            seat.is_gone = True
            seat.drop_waiting()
            del connection.channels[channel]
            self._end_tracking(connection, seat, channel, wanted=False)
            self._unsubscribe(topic, connection, channel)
            seat.runtime.ended()
            self._perform(connection, connection.session.crash_topic(channel))

    def _called_by_name(
        self, connection: Connection, seat: Seat, asked: JoinRequested, event: str, payload: Fields, then: Then
    ) -> None:
        """As if its client had pushed it, but for who is answered."""

        def settle(reaction: Reaction) -> None:
            if reaction.error is not None:
                then(Said(False, reaction.response if isinstance(reaction.response, dict) else {}, reaction.error))
                self._crash(connection, seat, asked.channel, asked.topic)
                return
            self._send_outputs(connection, asked.channel, asked.topic, reaction)
            response = reaction.response
            if isinstance(response, bytes):
                then(Said(False, {"reason": "binary", "detail": "a call by name is answered with a dict"}))
            else:
                then(Said(reaction.ok, response))

        if seat.is_full or seat.is_gone:
            then(Said(False, {"reason": "overloaded" if seat.is_full else "unknown name"}))
        else:
            runtime = seat.runtime
            seat.run(lambda: runtime.lost(payload["name"]) if event == LOST else runtime.push(event, payload), settle)

    def _leave(self, connection: Connection, seat: Seat, channel: int, topic: str) -> None:
        def then(reaction: Reaction) -> None:
            seat.runtime.ended()
            if reaction.error is not None:
                _log_crash(topic, "leave", reaction.error)
            self._send_outputs(connection, channel, topic, reaction)

        seat.run(seat.runtime.leave, then)

    def _unsubscribe(self, topic: str, connection: Connection, channel: int) -> None:
        self._topics.unsubscribe(topic, connection)
        self._recovering.left(topic, connection, channel)
        self._presence.left(topic, connection)
        if not self._topics.has(topic):
            self._backend.want_no_more(topic)

    def _send_outputs(self, connection: Connection, channel: int, topic: str, reaction: Reaction) -> None:
        for output in reaction.outputs:
            match output:
                case Push(event, payload):
                    self._push(connection, channel, topic, event, payload)
                case Publish(event, payload):
                    is_binary = isinstance(payload, bytes)
                    data = payload if isinstance(payload, bytes) else encode_json(payload)
                    self._backend.dispatch(Published(topic, event, data, is_binary))
                case Track(key, meta):
                    if (seat := connection.channels.get(channel)) is not None:  # it has not left meanwhile
                        seat.is_tracked = True
                        by = connection.number, channel
                        self._backend.dispatch(Tracked(Space.presence, topic, key, by, meta))
                case Untrack(key):
                    self._backend.dispatch(Untracked(Space.presence, topic, key, (connection.number, channel)))
                case _:
                    assert_never(output)

    def _end_tracking(self, connection: Connection, seat: Seat, channel: int, wanted: bool) -> None:
        if seat.is_tracked:
            self._backend.dispatch(TrackerEnded((connection.number, channel), wanted))

    def _push(self, connection: Connection, channel: int, topic: str, event: str, payload: Data) -> None:
        try:
            self._perform(connection, connection.session.push(channel, event, payload))
        except NotBinary as error:
            self._topics.cannot_send(topic, str(error))

    def _class_for(self, topic: str) -> type[Channel] | None:
        for channel_class in self._classes:
            if channel_class.matches(topic):
                return channel_class
        return None


def _log_crash(topic: str, event: str, traceback: str) -> None:
    log.warning("channel %r failed in %r\n%s", topic, event, traceback)
