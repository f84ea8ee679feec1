"""Patches as bytes: what the server writes is what the browser's reader reads."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.web.test_client import node

from gamecluster.core.messages import Op, Position
from gamecluster.shell.compact import Schema
from gamecluster.shell.patches import Merged

CASES = 3000
FIELDS = {"ships": ["x", "y"], "__proto__": ["__proto__", "constructor"], "wide": [f"f{n}" for n in range(40)]}
TEXTS = [
    "",
    "p1",
    "p2",
    "p10",
    "__proto__",
    "\ufeffmark",
    "größe",
    "🚀🚀",
    "\0",
    "a" * 14,
    "a" * 15,
    "a" * 40,
    "x" * 300,
]
READER = """
import { readFileSync } from "node:fs";
import { readPatch } from %r;
const { schema, cases } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const wrong = cases.map(({ bytes, like }) => {
  const [read, wanted] = [readPatch(Uint8Array.from(Buffer.from(bytes, "hex")).buffer, schema), JSON.parse(like)].map(plain);
  return read === wanted ? null : { bytes, read, wanted };
});
function plain(value) {
  return JSON.stringify(value, (_, inner) => {
    if (Object.is(inner, -0)) return "minus zero";
    if (!inner || typeof inner !== "object" || Array.isArray(inner)) return inner;
    return ["object", ...Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1))];
  });
}
console.log(JSON.stringify(wrong.filter(Boolean).slice(0, 3)));
"""


class Dice:
    """Values of every kind that a game can have, the odd ones more often."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def text(self) -> str:
        dice = self.random
        return dice.choice([*TEXTS, "b" * dice.randrange(70_000 if dice.random() < 0.01 else 60)])

    def number(self) -> int | float:
        dice = self.random
        size = dice.choice([1, 5, 6, 7, 8, 15, 16, 31, 32, 53, 63])
        whole = (
            dice.choice([-1, 1]) * (2**size - dice.randrange(-2, 3))
            if size < 63
            else dice.choice([2**63 - 1, -(2**63)])
        )
        return dice.choice(
            [
                whole,
                float(whole),
                dice.uniform(-1e3, 1e3),
                dice.uniform(0, 1) * 1e300,
                0.0,
                -0.0,
                0.5,
                3e38,
                4e38,
                5e-324,
            ]
        )

    def value(self, depth: int = 3) -> Any:
        dice = self.random
        simple: list[Callable[[], Any]] = [
            lambda: None,
            lambda: True,
            lambda: False,
            self.number,
            self.number,
            self.text,
        ]
        if depth and dice.random() < 0.2:
            size = dice.choice([0, 1, 2, 15, 16, 17])
            if dice.random() < 0.5:
                return [self.value(depth - 1) for _ in range(size)]
            return {self.text() + str(n): self.value(depth - 1) for n in range(size)} | {"__proto__": 1}
        return dice.choice(simple)()

    def op(self) -> Op:
        dice = self.random
        table = dice.choice(list(FIELDS))
        names = dice.sample(FIELDS[table], dice.randrange(3))
        return table, self.text(), dice.choice([None, {name: self.value() for name in names}])

    def position(self) -> Position:
        return Position(*(self.random.choice([1, 127, 128, 2**32, 2**53 - 1]) for _ in range(2)))


def test_the_browser_reads_the_ops_that_were_written(tmp_path: Path) -> None:
    """As JSON would have brought them: the other way to tell the same."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice, schema = Dice(seed), Schema(FIELDS)
    cases: list[dict[str, Any]] = []
    for _ in range(CASES):
        at, ops = dice.position(), [dice.op() for _ in range(dice.random.randrange(12))]
        data = schema.encode(at, ops)
        assert data is not None
        cases.append(
            {"bytes": data.hex(), "like": json.dumps({"epoch": at.epoch, "seq": at.seq, "ops": in_order(ops)})}
        )
    (tmp_path / "cases.json").write_text(json.dumps({"schema": schema.told, "cases": cases}))
    reader = Path(__file__).parents[2] / "server" / "gamecluster" / "web" / "compact.js"
    (tmp_path / "read.mjs").write_text(READER % reader.as_uri())
    assert json.loads(node(str(tmp_path / "read.mjs"), str(tmp_path / "cases.json"))) == []


def in_order(ops: list[Op]) -> list[Op]:
    """As they are written: by table as it comes first, then by key."""
    tables = list(dict.fromkeys(table for table, _, _ in ops))
    return sorted(Merged(ops).ops(), key=lambda op: (tables.index(op[0]), op[1].encode()))
