from __future__ import annotations

import re
from pathlib import Path

import msgspec
from bench.run import Measured, Percentiles, Run
from bench.scenarios import NAMED
from bench.servers import GAMECLUSTER, LIMIT, Server
from bench.table import remarks, table

NOTHING = Percentiles(count=0, p50=0, p99=0, max=0)
QUIET = Measured(
    **{name: 0 for name in Measured.__struct_fields__}
    | {"seconds": 2.0, "trouble": ""}
    | dict.fromkeys(("latency_ms", "whole_ms", "answer_ms"), NOTHING)
)
FAN_OUT = NAMED["fanout-1000"]


def run(server: Server, round: int, deliveries: int, **more: float) -> Run:
    found = msgspec.structs.replace(QUIET, deliveries=deliveries, server_cpu_seconds=2.0, **more)
    return Run(FAN_OUT, server, round, 0.1, found)


def test_a_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    runs = [
        *(run(LIMIT, i, deliveries) for i, deliveries in enumerate((100, 200, 400))),
        *(run(GAMECLUSTER, i, deliveries) for i, deliveries in enumerate((90, 100, 360))),
    ]
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in table(runs).splitlines()]
    assert rows[2:] == [["limit", "100 (50–200)", "1.00"], ["gamecluster", "50 (45–180)", "0.90"]]


def test_a_busy_generator_and_a_shared_machine_are_said() -> None:
    quiet, busy = (
        run(LIMIT, 0, 100, own_cpu_seconds=1.7),
        run(LIMIT, 1, 100, own_cpu_seconds=1.9, others_cpu_seconds=0.8),
    )
    assert remarks([quiet]) == []
    shared, bottleneck = remarks([quiet, busy])
    assert "Other programs used 0.0 to 0.4 of the cores" in shared
    assert "THE LOAD GENERATOR WAS THE BOTTLENECK: 95% of its core (fanout-1000, limit, round 2)" in bottleneck


def test_what_went_wrong_is_said() -> None:
    (line,) = remarks([run(LIMIT, 0, 100, lost=2, doubled=1)])
    assert line.startswith("WRONG: 2 lost or not there in time, 1 doubled, 0 out of order")


def test_a_scenario_can_be_cut_short_but_not_one_that_is_not_timed() -> None:
    assert FAN_OUT.lasting(1.0).load["seconds"] == 1.0
    assert NAMED["idle"].lasting(1.0) == NAMED["idle"]


def test_the_page_tells_of_every_scenario_and_no_other() -> None:
    page = (Path(__file__).parents[2] / "docs/performance.md").read_text()
    [section] = re.findall(r"\| scenario \| is \|\n(.*?)\n(?:\n|$)", page, re.S)
    told = {name for row in section.splitlines()[1:] for name in re.findall(r"`([^`]+)`", row.split("|")[1])}
    assert told == set(NAMED)
