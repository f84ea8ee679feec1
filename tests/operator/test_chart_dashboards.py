"""The chart's Grafana dashboards beside what servers and operator export."""

from __future__ import annotations

import json
import re
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from gamecluster.shell.metrics import Metrics
from gamecluster_operator import health
from gamecluster_operator.handlers import Loop
from gamecluster_operator.queue import WorkQueue
from gamecluster_operator.watches import Watches

from .test_chart import CHART
from .world import World


def operators_figures() -> bytes:
    """Of a replica that leads."""
    world = World()
    loop = Loop(world.reconciler.settings, world.kube, world.store, WorkQueue(), world.reconciler)
    loop.listed.set()
    registry = CollectorRegistry()
    registry.register(health._Figures(health.Health(loop, Watches(), lambda: True, lambda: True)))
    return generate_latest(registry)


def metrics_used(dashboard: dict[str, Any]) -> set[str]:
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    asked += [variable["query"] for variable in dashboard["templating"]["list"]]
    return {name for text in asked for name in re.findall(r"\bgamecluster_[a-z_]+", text)}


def test_the_dashboards_ask_for_what_is_exported_and_for_all_of_it() -> None:
    exported = names_in(Metrics().text()) | names_in(operators_figures())
    used = {
        path.name: metrics_used(json.loads(path.read_text())) for path in sorted((CHART / "dashboards").glob("*.json"))
    }
    assert sorted(used) == ["games.json", "operator.json"]
    for name, asked in used.items():
        assert asked <= exported | {f"{metric}_bucket" for metric in exported}, f"{name}: {asked - exported}"
    assert exported <= {name.removesuffix("_bucket") for asked in used.values() for name in asked}


def test_the_panels_of_a_dashboard_do_not_lie_on_each_other() -> None:
    for path in (CHART / "dashboards").glob("*.json"):
        panels = json.loads(path.read_text())["panels"]
        places = [panel["gridPos"] for panel in panels]
        cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
        assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24, path.name
        assert len({panel["id"] for panel in panels}) == len(panels), path.name


def names_in(text: bytes) -> set[str]:
    """Of all metrics, those too that have no value yet."""
    return set(re.findall(r"^# TYPE (\S+)", text.decode(), re.MULTILINE))
