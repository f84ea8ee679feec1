"""What a client must say to enter topic ``game`` or that of a room, and the token that proves a player from then on.

A token is a JWT, HS256 by the cluster's player key: ``{"sub": player, "aud": cluster name, "stay": id of the stay, "iat": …}``.
It has no end of its own: it is worth something as long as its stay lasts, which the leader knows. That of a stay in the game or a room is
good for the others: there the player begins in the same stay.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import TypeGuard

import jwt
from msgspec import Struct

from ..checks import Mismatch, json_object
from ..core.messages import Fields, Position
from ..errors import GameClusterError
from ..phoenix.codec import Data

LONGEST_NAME = 64


class Unwelcome(GameClusterError):
    """The player's fault. ``reason`` and ``detail`` are for the client."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.response: Fields = {"reason": reason, "detail": detail}


class GameJoin(Struct, frozen=True):
    """A join of the game or a room that may be asked of its leader. ``stay``: from the token, verified; ``since``: of the client's copy;
    ``compact``: it would have patches as bytes."""

    player: str
    stay: str | None
    nonce: str | None
    since: Position | None = None
    compact: bool = False


class Tokens:
    """Signs and verifies; ``wall_clock`` is Unix seconds."""

    def __init__(self, key: bytes, cluster: str, wall_clock: Callable[[], float] = time.time) -> None:
        self._key = key
        self._cluster = cluster
        self._wall_clock = wall_clock

    def sign(self, player: str, stay: str) -> str:
        claims = {"sub": player, "aud": self._cluster, "stay": stay, "iat": int(self._wall_clock())}
        return jwt.encode(claims, self._key, algorithm="HS256")

    def verify(self, token: str) -> tuple[str, str]:
        """Player and stay. Raises Unwelcome."""
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=["HS256"],
                audience=self._cluster,
                options={"require": ["sub", "aud", "stay"], "verify_iat": False},
            )
        except jwt.InvalidTokenError as error:
            raise Unwelcome("bad token", f"{error}; join without a token to begin anew") from None
        return _name(claims["sub"], "the token's sub"), _name(claims["stay"], "the token's stay")


def read_join(payload: Fields, connection_token: str | None, tokens: Tokens) -> GameJoin:
    """Parses the payload of a join of the game or a room. Raises Unwelcome, which says what would be right."""
    player, token, nonce = payload.get("player"), payload.get("token"), payload.get("nonce")
    if player is not None:
        player = _name(player, "player")
    if nonce is not None:
        nonce = _name(nonce, "nonce")
    if token is None:
        token = connection_token
    since, compact = read_position(payload), payload.get("patches") == "binary"
    if token is None:
        return GameJoin(player or f"player-{secrets.token_hex(4)}", None, nonce, since, compact)
    if not isinstance(token, str):
        raise Unwelcome("bad payload", f"token: expected the text of an earlier join's answer, got {_kind(token)}")
    owner, stay = tokens.verify(token)
    if player not in (None, owner):
        raise Unwelcome("bad token", "the token is another player's; join without a token to begin anew")
    return GameJoin(owner, stay, nonce, since, compact)


def read_player(
    payload: Fields, connection_token: str | None, tokens: Tokens, stay_of: Callable[[str], str | None]
) -> str | None:
    """Whose client joins a topic beside the game: None without a token. ``stay_of``: the stay of a player who is in the game.

    Raises Unwelcome for a token in ``payload`` that is not good (any more); the socket's is of no account then.
    """
    token = payload.get("token")
    if token is not None:
        if not isinstance(token, str):
            raise Unwelcome("bad payload", f"token: expected the text of the game's answer, got {_kind(token)}")
        return _player(token, tokens, stay_of)
    try:
        return _player(connection_token, tokens, stay_of) if connection_token else None
    except Unwelcome:
        return None


def _player(token: str, tokens: Tokens, stay_of: Callable[[str], str | None]) -> str:
    player, stay = tokens.verify(token)
    if stay_of(player) not in (None, stay):
        raise Unwelcome(
            "bad token", "it is of an earlier stay of the player; take the one of the last join of the game"
        )
    return player


def read_position(payload: Fields) -> Position | None:
    """Where the client's copy of the state ends. What is no position is no reason to refuse: such a client gets the state."""
    epoch, seq = payload.get("epoch"), payload.get("seq")
    if not _is_count(epoch) or not _is_count(seq):
        return None
    return Position(epoch, seq)


def checked(payload: Data) -> Fields:
    """A copy. JSON allows what the mesh can't carry: numbers beyond 64 bits, nesting without end. Raises Unwelcome, for binary data too."""
    try:
        return json_object(payload)
    except Mismatch as error:
        raise Unwelcome("bad payload", str(error)) from None


def take_count(payload: Fields) -> tuple[Fields, int | None]:
    """A move's payload without ``n``, and ``n``, the player's own count of moves. Raises Unwelcome."""
    if "n" not in payload:
        return payload, None
    n = payload["n"]
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise Unwelcome("bad payload", f"n: expected a whole number from 1, got {_kind(n)}")
    return {name: value for name, value in payload.items() if name != "n"}, n


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _name(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise Unwelcome("bad payload", f"{what}: expected a text of 1 to {LONGEST_NAME} characters, got {_kind(value)}")
    if not 1 <= len(value) <= LONGEST_NAME:
        raise Unwelcome("bad payload", f"{what}: expected 1 to {LONGEST_NAME} characters, got {len(value)}")
    if not value.isprintable() or value == "__proto__":
        raise Unwelcome("bad payload", f"{what}: expected printable characters, got {ascii(value)[:80]}")
    return value


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"{value:.6g}" if abs(value) < 10**300 else "a number far too large"
        case str():
            return "a text"
        case list():
            return "a list"
        case _:
            return "an object"
