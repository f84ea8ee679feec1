"""How long a patch of the demo's arena is, in JSON and as bytes: ``python -m tests.shell.patch_bytes``.

Ships of players with made-up names that moved along one or both axes; the whole WebSocket frame, uncompressed.
"""

from __future__ import annotations

import random
from time import perf_counter

from gamecluster.core.messages import Op, Position
from gamecluster.demo import Arena
from gamecluster.game import Runtime
from gamecluster.phoenix.codec import Vsn, encode_binary_broadcast, encode_broadcast, encode_json
from gamecluster.shell.compact import Schema
from gamecluster.shell.outbox import binary_frame, text_frame
from gamecluster.shell.patches import Merged

AT = Position(7, 123_456)
PLAYERS = 1000


def moves(count: int, seed: int = 1) -> tuple[Schema, list[Op]]:
    """What ``count`` ships of a full arena changed."""
    dice = random.Random(seed)
    runtime = Runtime(Arena, dice)
    players = [f"player-{dice.getrandbits(32):08x}" for _ in range(PLAYERS)]
    for player in players:
        assert runtime.join(player).ok
    steps = [(dx, dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1) if dx or dy]
    ops: list[Op] = []
    for player in dice.sample(players, count):
        dx, dy = dice.choice(steps)
        ops += runtime.move(player, "move", {"dx": dx, "dy": dy}).ops
    return Schema(runtime.fields()), Merged(ops).ops()


def in_json(ops: list[Op]) -> bytes:
    payload = encode_json({"epoch": AT.epoch, "seq": AT.seq, "ops": ops})
    return text_frame(encode_broadcast(Vsn.V2, "game", "patch", payload))


def in_bytes(schema: Schema, ops: list[Op]) -> bytes:
    payload = schema.encode(AT, ops)
    assert payload is not None
    return binary_frame(encode_binary_broadcast(Vsn.V2, "game", "patch", payload))


def microseconds(encode: object, *arguments: object) -> float:
    assert callable(encode)
    best = float("inf")
    for _ in range(50):
        began = perf_counter()
        encode(*arguments)
        best = min(best, perf_counter() - began)
    return best * 1e6


def main() -> None:
    print(f"{'ships':>6} {'JSON':>8} {'bytes':>8} {'ratio':>6} {'JSON µs':>8} {'bytes µs':>9}")
    for count in (1, 10, 100, 300, 1000):
        schema, ops = moves(count)
        json, compact = len(in_json(ops)), len(in_bytes(schema, ops))
        spent = microseconds(in_json, ops), microseconds(in_bytes, schema, ops)
        print(f"{count:6} {json:8} {compact:8} {compact / json:6.2f} {spent[0]:8.1f} {spent[1]:9.1f}")


if __name__ == "__main__":
    main()
