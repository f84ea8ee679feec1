from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gamecluster_operator import labels as names
from gamecluster_operator import manifests, spec
from gamecluster_operator.record import Incarnation, Record, read, write
from gamecluster_operator.spec import GameCluster

from . import golden
from .test_expose import exposures
from .world import game_cluster

EXAMPLES = Path(__file__).parents[2] / "examples"


def cluster(**changes: Any) -> GameCluster:
    return spec.parse(game_cluster(**changes))


@pytest.mark.parametrize("name", [path.stem for path in sorted(EXAMPLES.glob("*.yaml"))])
def test_the_examples_give_these_objects(name: str) -> None:
    body = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())
    body["metadata"] |= {"namespace": "games", "uid": f"uid-of-{name}"}
    assert spec.problems(body) == []
    parsed = spec.parse(body)
    lease = manifests.vacant_lease(parsed, 0, (), never_held=True)
    keys = manifests.secret(parsed, lambda: "random")
    golden.check(name, [*manifests.applied(parsed, parsed.replicas), lease, keys])


@given(st.integers(1, 100), exposures)
def test_whatever_the_spec_every_object_is_owned_labelled_and_has_a_name_of_its_own(
    n: int, expose: dict[str, Any]
) -> None:
    made = cluster(replicas=n, expose=expose)
    objects = [
        *manifests.applied(made, n),
        manifests.secret(made, lambda: "x"),
        manifests.vacant_lease(made, 0, (), True),
    ]
    assert len({(o["kind"], o["metadata"]["name"]) for o in objects}) == len(objects)
    for obj in objects:
        meta = obj["metadata"]
        assert meta["labels"][names.INSTANCE] == "arena" and meta["labels"][names.MANAGED_BY] == names.FIELD_MANAGER
        assert [owner["uid"] for owner in meta["ownerReferences"]] == ["uid-of-arena"]


def test_building_twice_gives_the_same() -> None:
    assert manifests.applied(cluster(), 3) == manifests.applied(cluster(), 3)


def test_no_two_keys_are_alike() -> None:
    texts = iter(["a", "b", "c"])
    data = manifests.secret(cluster(), lambda: next(texts))["data"]
    assert len(set(data.values())) == 3


incarnations = st.builds(
    lambda n, u, b: Incarnation(f"arena-{n}_{u}_{b}"), st.integers(0, 9), st.uuids(), st.integers(1, 99)
)


@given(st.none() | incarnations, st.integers(0, 10**6), st.lists(incarnations, max_size=4), st.booleans())
def test_a_record_written_to_a_lease_is_read_from_it(
    holder: Incarnation | None, epoch: int, in_sync: list[Incarnation], never_held: bool
) -> None:
    from datetime import UTC, datetime

    lease = manifests.vacant_lease(cluster(), 3, [Incarnation("arena-0_x_1")], never_held=True)
    lease["metadata"]["resourceVersion"] = "41"
    wanted = Record(41, holder, epoch, tuple(in_sync), never_held)
    assert read(write(lease, wanted, datetime.now(UTC))) == wanted
