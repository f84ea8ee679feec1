"""How two nodes admit each other by a shared key, and how their link is sealed afterwards. Sans-I/O: frames in and out.

======== =========================== ========================= ==================================================
side     on                          goes to                   sends
======== =========================== ========================= ==================================================
dialler  (start)                     opened                    Opening: protocol version, nonce
acceptor Opening                     challenged                Challenge: nonce, greeting, proof as acceptor
dialler  Challenge, proof right      greeted                   nothing yet: the caller decides with the greeting
dialler  confirm()                   done                      Proof: greeting, proof as dialler
acceptor Proof, right                done                      nothing: the caller accepts by its first sealed frame
any      anything else, or Refusal   failed (HandshakeFailed)  Refusal with the reason, where there is one to give
======== =========================== ========================= ==================================================

A proof is HMAC-SHA256 with the mesh key over role, both nonces and the greetings: a recording proves nothing to a fresh
nonce, and no side can be made to answer its own challenge. ``docs/decisions/mesh-handshake.md`` has the reasons.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from enum import StrEnum
from typing import ClassVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

from ..core.messages import Incarnation, boot_of, pod_of
from ..errors import GameClusterError

PROTOCOL = 1
NONCE_BYTES = 32
KEY_BYTES_AT_LEAST = 32
FRAME_BYTES_AT_MOST = 16 * 1024
"""What a stranger may make us read."""


class HandshakeFailed(GameClusterError):
    """The peer is not admitted, or did not admit us. ``refusal`` is the frame that tells it why, None if it knows."""

    def __init__(self, reason: str, refusal: bytes | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.refusal = refusal


class SealBroken(GameClusterError):
    """A frame is not what the peer sent next on this link."""


class Greeting(Struct, frozen=True, array_like=True):
    """Who speaks. ``host`` is empty when the node listens on every address: the peer knows where it came from."""

    cluster: str
    incarnation: Incarnation
    host: str
    port: int
    url: str | None
    revision: str


class Opening(Struct, frozen=True, array_like=True, tag="gamecluster-opening"):
    version: int
    nonce: bytes


class Challenge(Struct, frozen=True, array_like=True, tag="gamecluster-challenge"):
    nonce: bytes
    greeting: bytes
    proof: bytes


class Proof(Struct, frozen=True, array_like=True, tag="gamecluster-proof"):
    greeting: bytes
    proof: bytes


class Refusal(Struct, frozen=True, array_like=True, tag="gamecluster-refusal"):
    reason: str


Frame = Opening | Challenge | Proof | Refusal
_frames = msgspec.msgpack.Decoder(Frame)
_greetings = msgspec.msgpack.Decoder(Greeting)
_encode = msgspec.msgpack.encode


class State(StrEnum):
    new = "new"
    opened = "opened"
    challenged = "challenged"
    greeted = "greeted"
    done = "done"
    failed = "failed"


class Seal:
    """Encrypts and authenticates every frame of one link by AES-256-GCM, each direction with its own key and counter.

    A frame that was changed, left out, repeated or moved does not open.
    """

    OVERHEAD_BYTES: ClassVar[int] = 16

    def __init__(self, sending: bytes, receiving: bytes) -> None:
        self._sending, self._receiving = AESGCM(sending), AESGCM(receiving)
        self._sent = self._received = 0

    def seal(self, plain: bytes) -> bytes:
        self._sent += 1
        return self._sending.encrypt(self._sent.to_bytes(12, "big"), plain, None)

    def open(self, frame: bytes) -> bytes:
        self._received += 1
        try:
            return self._receiving.decrypt(self._received.to_bytes(12, "big"), frame, None)
        except InvalidTag:
            raise SealBroken("a frame with a broken seal") from None


class Handshake:
    """One side of one handshake. Ends in ``state`` done, with ``peer`` and ``seal`` set, or in HandshakeFailed."""

    def __init__(self, key: bytes, me: Greeting, dialling: bool) -> None:
        if len(key) < KEY_BYTES_AT_LEAST:
            raise ValueError(f"a mesh key has at least {KEY_BYTES_AT_LEAST} bytes")
        self.state = State.new
        self.peer: Greeting | None = None
        self.seal: Seal | None = None
        self._key = key
        self._me = me
        self._dialling = dialling
        self._nonce = os.urandom(NONCE_BYTES)
        self._said = _encode(me)
        self._transcript = b""

    def open(self) -> bytes:
        """The dialler's first frame."""
        self.state = State.opened
        self._transcript = _encode(Opening(PROTOCOL, self._nonce))
        return self._transcript

    def receive(self, frame: bytes) -> bytes | None:
        """Takes the peer's next frame; what it returns is to be sent. Raises HandshakeFailed."""
        try:
            message = _frames.decode(frame)
        except msgspec.DecodeError as error:
            raise self._failed(f"not a frame of this handshake: {error}") from None
        match self.state, message:
            case _, Refusal():
                self.state = State.failed
                raise HandshakeFailed(f"refused by the peer: {message.reason[:200]}")
            case State.new, Opening() if not self._dialling:
                return self._challenge(frame, message)
            case State.opened, Challenge():
                self._check_challenge(message)
                return None
            case State.challenged, Proof():
                self._check_proof(message)
                return None
            case _:
                raise self._failed(f"{type(message).__name__} out of turn")

    def confirm(self) -> bytes:
        """The dialler wants this link: its last frame."""
        proof = self._proof("dialler", self._said)
        self._finish(self._said)
        return _encode(Proof(self._said, proof))

    def refuse(self, reason: str) -> bytes:
        self.state = State.failed
        return _encode(Refusal(reason))

    def _challenge(self, frame: bytes, opening: Opening) -> bytes:
        if opening.version != PROTOCOL:
            raise self._failed(f"mesh protocol {opening.version}, this node speaks {PROTOCOL}")
        if len(opening.nonce) != NONCE_BYTES:
            raise self._failed("a nonce of the wrong length")
        self._transcript = frame + self._nonce
        answer = Challenge(self._nonce, self._said, self._proof("acceptor", self._said))
        self._transcript += self._said
        self.state = State.challenged
        return _encode(answer)

    def _check_challenge(self, challenge: Challenge) -> None:
        self._transcript += challenge.nonce
        self._check("acceptor", challenge.greeting, challenge.proof)
        self._transcript += challenge.greeting
        self.state = State.greeted

    def _check_proof(self, proof: Proof) -> None:
        self._check("dialler", proof.greeting, proof.proof)
        self._finish(proof.greeting)

    def _check(self, role: str, greeting: bytes, proof: bytes) -> None:
        if not hmac.compare_digest(proof, self._proof(role, greeting)):
            raise self._failed("another mesh key")
        try:
            self.peer = _greetings.decode(greeting)
            boot_of(self.peer.incarnation), pod_of(self.peer.incarnation)
        except (msgspec.DecodeError, ValueError, IndexError) as error:
            raise self._failed(f"a greeting that can't be read: {error}") from None
        if self.peer.cluster != self._me.cluster:
            raise self._failed(f"cluster {self.peer.cluster!r}, this node is of {self._me.cluster!r}")

    def _proof(self, role: str, greeting: bytes) -> bytes:
        return self._derive(f"proof of the {role}", self._transcript, greeting)

    def _finish(self, greeting: bytes) -> None:
        self._transcript += greeting
        keys = [self._derive(f"key of the {role}", self._transcript, b"") for role in ("dialler", "acceptor")]
        self.seal = Seal(*(keys if self._dialling else reversed(keys)))
        self.state = State.done

    def _derive(self, purpose: str, *parts: bytes) -> bytes:
        digest = hmac.new(self._key, f"gamecluster mesh {PROTOCOL}: {purpose}".encode(), hashlib.sha256)
        for part in parts:
            digest.update(len(part).to_bytes(4, "big") + part)
        return digest.digest()

    def _failed(self, reason: str) -> HandshakeFailed:
        return HandshakeFailed(reason, self.refuse(reason))
