"""Custom topics beside the game, such as chat: a Channel answers the events of one client on one topic. No state is replicated."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

from msgspec import Struct
from msgspec.structs import replace

from .checks import DefinitionError, Mismatch, json_object, names_around, text
from .cluster import Cluster
from .core.effects import Presences
from .core.messages import Fields
from .phoenix.codec import MOST_BYTES_OF_A_NAME, Data
from .recovery import MOST_RECOVERED, LetIn, Recovery
from .rules import Rejected, Rule, called, check_method, rules_of
from .services.stream_view import Kept
from .services.streams import DAY_SECONDS, check_line
from .tracking import KEYS_AT_MOST, checked_meta, checked_name


class Push(Struct, frozen=True):
    """To this client alone."""

    event: str
    payload: Data


class Publish(Struct, frozen=True):
    """To everyone on the topic, on every pod, the sender too. ``kept``: for those who come back, on a channel with ``recover``."""

    event: str
    payload: Data
    kept: bool = True


class Track(Struct, frozen=True):
    """This client is present on the topic, until it leaves."""

    key: str
    meta: Fields


class Untrack(Struct, frozen=True):
    key: str


Sent = Push | Publish | Track | Untrack


class Channel:
    """What one client can do on topics such as ``room:1``. There is one instance for each client's join of a topic::

        class Room(Channel):
            topic = "room:*"          # a name, or a beginning and *

            @on("shout")
            def shout(self, payload):
                self.broadcast("shout", payload)

    Payloads are JSON objects or, as ``bytes``, binary: a method whose only parameter is ``payload: bytes`` takes what clients
    push as binary data; ``push``, ``broadcast`` and what a method returns may be bytes.

    Attributes may be assigned freely: they live as long as this client is joined. On an instance ``topic`` is the one joined.

    ``join``, ``leave`` and what answers events may be ``async def``, to await what ``self.cluster`` does; what the same client pushes on
    the topic meanwhile waits. A method has ten seconds.
    """

    topic: str = ""
    recover: ClassVar[int] = 0
    """So many of the last broadcasts are kept for who comes back, who gets those that it missed. 0: none; 1,000 at most."""
    recover_seconds: ClassVar[float] = 300.0
    """How old they may be then."""
    kept_seconds: ClassVar[float | None] = DAY_SECONDS
    """What is kept of a topic on which nothing was broadcast for so long is dropped. None: it is not."""
    player: str | None = None
    """Who the client is: the player that the token of its join, or of its socket, is for; None without one."""
    cluster: Cluster
    """What the cluster offers: names and more. Not there yet in ``__init__``."""
    outbox: list[Sent]
    """What the running call has sent; taken after every call, dropped if it raises."""
    _rules: ClassVar[dict[str, Rule]] = {}
    _is_own: ClassVar[bool] = False
    """The cluster's, for topics that a game's developer can't have."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _check_class(cls)
        cls._rules = rules_of(cls, Channel, names_around(), {}, _is_reserved, may_wait=True)
        if cls._rules and not cls.topic:
            raise DefinitionError(f'{cls.__name__} has no topic; write, for example, topic = "room:*"')

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.outbox = []
        self._keys: set[str] = set()  # tracked, and not untracked since

    def join(self, payload: Fields) -> Data | Coroutine[Any, Any, Data | None] | None:
        """Lets the client in, or raises Rejected. What it returns is the response to the join."""
        return None

    def leave(self) -> Coroutine[Any, Any, None] | None:
        """Runs when the client has left the topic or is gone."""

    def push(self, event: str, payload: Data) -> None:
        self.outbox.append(Push(_sendable(event), self._data(event, payload)))

    def broadcast(self, event: str, payload: Data, *, kept: bool = True) -> None:
        """``kept`` False, on a channel with ``recover``: this one has no offset, and who is not there misses it."""
        if self.recover and (kept or not isinstance(payload, bytes)):
            check_line(event, payload, kept and self._kept().stamped)
        self.outbox.append(Publish(_sendable(event), self._data(event, payload), kept))

    def track(self, key: str, meta: Fields | None = None) -> None:
        """The client is present on the topic under ``key`` (a player's name, say); again: with another ``meta``.

        All clients on the topic are sent Phoenix' ``presence_state`` and ``presence_diff``. It ends with ``untrack``, and when the
        client leaves; one who lost its socket stays for ``presenceGraceMilliseconds``, or until it is back anywhere. What does not
        fit (keys: 255 bytes; meta: an object of 4 KiB; 100 keys) is ``Rejected("bad presence")``.
        """
        checked = Track(checked_name(key, "key", "bad presence"), checked_meta(meta))
        checked_name(self.topic, "topic", "bad presence")
        if key not in self._keys and len(self._keys) >= KEYS_AT_MOST:
            raise Rejected("bad presence", detail=f"{KEYS_AT_MOST} keys are tracked for this client already")
        self._keys.add(key)
        self.outbox.append(checked)

    def untrack(self, key: str) -> None:
        self._keys.discard(key)
        self.outbox.append(Untrack(key))

    def presences(self) -> Presences:
        """Who is present on the topic, on all pods, as this call began: ``{key: {"metas": [{"phx_ref": …, **meta}]}}``."""
        return self.cluster.presences(self.topic)

    def _entered(self) -> None:
        """At the moment from which on broadcasts reach the client. What it pushes follows the join's answer."""

    def _kept(self) -> Kept:
        return Kept(self.recover, self.kept_seconds)

    def _welcome(self, offset: int, recovered: bool) -> Fields:
        """Added to the join's response at the moment from which on broadcasts after ``offset`` reach the client."""
        return {}

    def _data(self, event: str, payload: Data) -> Data:
        if not isinstance(payload, bytes):
            return json_object(payload)
        for name in (self.topic, event):
            if len(name.encode()) > MOST_BYTES_OF_A_NAME:
                raise ValueError(f"{name[:40]!r}… is too long to go with bytes: {MOST_BYTES_OF_A_NAME} bytes at most")
        return payload

    @classmethod
    def matches(cls, topic: str) -> bool:
        """Whether this class is the one for ``topic``: ``room:*`` is for ``room:1``, but not for ``room:``."""
        if cls.topic.endswith("*"):
            return len(topic) >= len(cls.topic) and topic.startswith(cls.topic[:-1])
        return topic == cls.topic


class Reaction(Struct, frozen=True):
    """What one call led to. Not ``ok``: no outputs, ``response["reason"]`` says why; ``error`` is the traceback if it failed."""

    ok: bool
    response: Data
    outputs: list[Sent]
    error: str | None = None


Running = Coroutine[Any, Any, Reaction]


class ChannelRuntime:
    """One client's Channel: calls in, Reactions out, at once or, of an ``async`` method, to be awaited; one call at a time.
    ``raise_errors``: exceptions other than Rejected come through."""

    def __init__(
        self,
        channel_class: type[Channel],
        topic: str,
        cluster: Cluster,
        *,
        player: str | None = None,
        raise_errors: bool = False,
    ) -> None:
        if not channel_class.matches(topic):
            raise DefinitionError(
                f"{channel_class.__name__} is for the topic {channel_class.topic!r}, not for {topic!r}"
            )
        self._raise_errors = raise_errors
        self.channel = channel_class(topic)
        self.channel.cluster = cluster
        self.channel.player = player
        self._recovery = Recovery(self.channel, cluster.stream(topic)) if channel_class.recover else None

    def join(self, payload: Fields) -> Reaction | Running:
        if self._recovery is None:
            return self._run(self.channel.join, payload)
        try:
            has_to_wait = self._recovery.asks(payload)
        except Mismatch as error:
            return _refused({"reason": "bad payload", "detail": str(error)})
        return self._join(self._recovery, payload, has_to_wait)

    def let_in(self) -> LetIn | None:
        """What a client that has joined gets beside its response, at the moment from which on broadcasts reach it."""
        return self._recovery.let_in() if self._recovery is not None else None

    def entered(self) -> Reaction:
        """To be called at the moment from which on broadcasts reach the client."""
        self.channel._entered()
        return self._settle(None)

    def leave(self) -> Reaction | Running:
        return self._run(self.channel.leave)

    def ended(self) -> None:
        """What it held of the cluster is given back. After ``leave``, or when it has failed or was refused."""
        self.channel.cluster.ended()

    def push(self, event: str, payload: Data) -> Reaction | Running:
        """The client pushes ``event``."""
        try:
            rule, arguments = called(self.channel._rules, event, payload)
        except Rejected as refusal:
            return _refused(refusal.response)
        return self._run(rule.function, self.channel, **arguments)

    def lost(self, name: str) -> Reaction | Running:
        """A name that it had registered for itself was taken away; it is told if it has a method ``lost``."""
        return self._run(getattr(self.channel, "lost", lambda name: None), name)

    def gave_up(self, response: Fields) -> Reaction:
        """A call that was cancelled."""
        self.channel.outbox.clear()
        return _refused(response)

    def _run(self, rule: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Reaction | Running:
        try:
            returned = rule(*args, **kwargs)
            if inspect.iscoroutine(returned):
                return self._finish(returned)
            reaction = self._settle(returned)
        except Exception as error:
            return self._failed(error)
        return self._keep(self._recovery, reaction) if self._recovery and _kept(reaction) else reaction

    async def _finish(self, running: Coroutine[Any, Any, Any]) -> Reaction:
        try:
            reaction = self._settle(await running)
        except Exception as error:
            return self._failed(error)
        return await self._keep(self._recovery, reaction) if self._recovery else reaction

    async def _join(self, recovery: Recovery, payload: Fields, has_to_wait: bool) -> Reaction:
        try:
            if has_to_wait:
                await recovery.catch_up()
            returned: Any = self.channel.join(payload)
            reaction = self._settle(await returned if inspect.iscoroutine(returned) else returned)
            if isinstance(reaction.response, bytes):
                raise TypeError("the join of a channel with recover returns None or a dict: the cluster adds to it")
        except Exception as error:
            return self._failed(error)
        return await self._keep(recovery, reaction, is_join=True)

    async def _keep(self, recovery: Recovery, reaction: Reaction, is_join: bool = False) -> Reaction:
        """What was broadcast is committed before the client is answered, or the answer is why it can't be."""
        lines = _kept(reaction)
        try:
            if lines:
                await recovery.broadcast(lines, is_join)
        except Exception as error:
            return self._failed(error)
        others = [output for output in reaction.outputs if not (isinstance(output, Publish) and output.kept)]
        return replace(reaction, outputs=others)

    def _settle(self, returned: Any) -> Reaction:
        response = _response(returned)
        outputs = self.channel.outbox[:]
        self.channel.outbox.clear()
        return Reaction(True, response, outputs)

    def _failed(self, error: Exception) -> Reaction:
        self.channel.outbox.clear()
        if isinstance(error, Rejected):
            return _refused(error.response)
        if self._raise_errors:
            raise error
        return _refused({"reason": "internal error"}, "".join(traceback.format_exception(error)))


def _kept(reaction: Reaction) -> list[tuple[str, Fields]]:
    outputs = [output for output in reaction.outputs if isinstance(output, Publish) and output.kept]
    return [(output.event, output.payload) for output in outputs if not isinstance(output.payload, bytes)]


def _refused(response: Fields, error: str | None = None) -> Reaction:
    return Reaction(False, response, [], error)


def _response(returned: Any) -> Data:
    if isinstance(returned, bytes):
        return returned
    if returned is not None and not isinstance(returned, dict):
        raise TypeError(
            "a channel's method returns None, or a dict or bytes that are the response; "
            f"this one returned {type(returned).__name__}"
        )
    return json_object(returned) if returned else {}


def _is_reserved(event: str) -> bool:
    return event.startswith(("phx_", "presence_"))


def _sendable(event: str) -> str:
    if _is_reserved(event):
        raise ValueError(f"the event {event!r} is reserved")
    return text(event)


def _check_class(cls: type[Channel]) -> None:
    who = cls.__name__
    if not isinstance(cls.topic, str) or "*" in cls.topic[:-1] or cls.topic == "*":
        raise DefinitionError(
            f'{who}.topic: expected a name such as "lobby", or a beginning and * such as "room:*", got {cls.topic!r}'
        )
    if type(cls.recover) is not int or not 0 <= cls.recover <= MOST_RECOVERED:
        raise DefinitionError(
            f"{who}.recover: expected a number of broadcasts, at most {MOST_RECOVERED}, got {cls.recover!r}"
        )
    if (cls.topic.split(":")[0] in ("game", "phoenix", "player") or cls.topic[:1] == "$") and not cls._is_own:
        raise DefinitionError(f"{who}.topic: {cls.topic!r} is the cluster's own")
    for name in ("push", "broadcast", "outbox", "cluster", "player", "track", "untrack", "presences"):
        if name in vars(cls):
            raise DefinitionError(f"{who}.{name}: Channel itself has {name}; call it otherwise")
    check_method(cls, "join", 1, "(self, payload)", may_wait=True)
    check_method(cls, "leave", 0, "(self)", may_wait=True)
