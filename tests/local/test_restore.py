"""With what a local cluster begins that has a storage."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from gamecluster.core.messages import Incarnation, Position, Record
from gamecluster.errors import ConfigurationError
from gamecluster.local import plan
from gamecluster.local.backstop import Told, is_total_loss
from gamecluster.local.lease import Store
from gamecluster.local.restore import ASK_SECONDS, Shelf, begin

A1, B1, C1 = (Incarnation(f"arena-{i}_u{i}_1") for i in range(3))
A2, B2, C2 = (Incarnation(f"arena-{i}_u{i}_2") for i in range(3))
NAMES = ("arena-0", "arena-1", "arena-2")
LOST = Record(17, A1, 7, (A1, B1))
UNDECIDED = Record(3, None, 0, ())


def shelf(epoch: int, seq: int) -> Shelf:
    return Shelf(True, Position(epoch, seq))


EMPTY, SILENT = Shelf(True), Shelf(False)


def test_who_has_stored_the_most_is_named_to_restore_it() -> None:
    shelves = {A2: shelf(6, 900), B2: shelf(7, 12), C2: shelf(7, 11)}
    assert begin(LOST, shelves, NAMES, 0.0, True) == Record(17, B2, 1007, (B2,), restore=True)


def test_it_is_waited_for_those_that_have_not_said_but_not_for_ever() -> None:
    shelves = {A2: SILENT, C2: shelf(7, 11)}
    assert begin(LOST, shelves, NAMES, ASK_SECONDS - 0.1, True) is None
    assert begin(LOST, shelves, NAMES, ASK_SECONDS, True) == Record(17, C2, 1007, (C2,), restore=True)


def test_nothing_is_thrown_away_while_one_that_was_in_sync_has_not_said() -> None:
    assert begin(LOST, {A2: EMPTY, B2: SILENT, C2: EMPTY}, NAMES, 1e6, True) is None
    assert begin(LOST, {A2: EMPTY, B2: EMPTY}, NAMES, ASK_SECONDS, True) == Record(17, None, 1007, (), never_held=True)


def test_where_nothing_is_stored_or_wanted_it_begins_afresh() -> None:
    fresh = Record(3, None, 1000, (), never_held=True)
    assert begin(UNDECIDED, {A1: EMPTY, B1: EMPTY, C1: EMPTY}, NAMES, 0.0, True) == fresh
    unwanted = begin(UNDECIDED, {A1: shelf(5002, 9), B1: EMPTY, C1: EMPTY}, NAMES, 0.0, False)
    assert unwanted == Record(3, None, 6002, (), never_held=True)


def test_a_new_lease_beside_an_old_storage_goes_on_above_all_that_was_stored() -> None:
    begun = begin(UNDECIDED, {A1: shelf(5002, 9), B1: EMPTY, C1: EMPTY}, NAMES, 0.0, True)
    assert begun == Record(3, A1, 6002, (A1,), restore=True)


def test_whatever_they_say_nobody_is_named_who_has_less_than_another() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    for _ in range(2000):
        shelves = {
            who: dice.choice([EMPTY, SILENT, shelf(dice.randrange(5), dice.randrange(9))]) for who in (A2, B2, C2)
        }
        begun = begin(LOST, shelves, NAMES, dice.uniform(0, 60), True)
        held = [s.stored for s in shelves.values() if s.stored]
        if begun is not None:
            assert begun.epoch > max([LOST.epoch, *(p.epoch for p in held)])
            assert begun.restore == bool(held) and begun.never_held == (not held)
            assert begun.holder is None or shelves[begun.holder].stored == max(held)


def test_a_loss_is_total_only_when_all_of_the_set_are_dead() -> None:
    assert not is_total_loss(LOST, {"arena-1": B1}, {})
    assert is_total_loss(LOST, {"arena-0": A2, "arena-2": C1}, {})
    assert is_total_loss(UNDECIDED, {"arena-0": A1}, {A1: Told()})
    assert not is_total_loss(Record(3, None, 0, (), never_held=True), {}, {})


def test_what_a_node_has_in_memory_is_not_restored_from_a_storage_though_the_lease_says_nothing() -> None:
    assert not is_total_loss(UNDECIDED, {"arena-0": A1}, {A1: Told(held=LOST)})


def test_it_goes_on_above_every_epoch_that_a_node_knows() -> None:
    begun = begin(LOST, {A2: EMPTY, B2: EMPTY, C2: EMPTY}, NAMES, 0.0, True, above=40)
    assert begun == Record(17, None, 1040, (), never_held=True)


def made(tmp_path: Path, **environment: str) -> plan.Plan:
    variables = {f"GAMECLUSTER_{name}": value for name, value in environment.items()}
    return plan.make((), None, nodes=2, port=4000, data=tmp_path, restart=True, environment=variables)


async def test_with_a_storage_no_node_claims_the_lease_before_it_was_looked_into(tmp_path: Path) -> None:
    store = Store(made(tmp_path, STORAGE="volume:"))
    assert await store.begin(keeps=True) is None
    begun = await store.read()
    assert begun is not None and not begun.never_held and begun.holder is None
    assert await store.write(Record(begun.version, A1, 8, (A1, B1)))
    assert await store.begin(keeps=True) is None
    again = await store.read()
    assert again is not None and (again.holder, again.in_sync, again.epoch, again.never_held) == (None, (), 8, False)


def test_every_node_has_a_folder_of_its_own(tmp_path: Path) -> None:
    cluster = made(tmp_path, STORAGE=f"volume:{tmp_path}/disk")
    folders = {cluster.node_environment(i, range(2))["GAMECLUSTER_STORAGE"] for i in range(2)}
    assert folders == {f"volume:{tmp_path}/disk/arena-0", f"volume:{tmp_path}/disk/arena-1"}
    assert made(tmp_path, STORAGE="volume:").node_environment(0, range(2))["GAMECLUSTER_STORAGE"] == "volume:"


def test_a_manifest_with_a_broker_needs_its_address(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(
        "apiVersion: gamecluster.dev/v1alpha1\nkind: GameCluster\nmetadata: {name: a}\n"
        "spec: {targets: ['m:C'], pubsub: {type: PostgreSQL, secretRef: {name: r}}}\n"
    )
    arguments = {"nodes": 1, "port": 4000, "data": tmp_path, "restart": True}
    with pytest.raises(
        ConfigurationError, match=r"spec\.pubsub\.type is PostgreSQL.*GAMECLUSTER_PUBSUB to postgresql://"
    ):
        plan.make((), file, environment={}, **arguments)
    url = "postgresql://127.0.0.1:1/x"
    begun = plan.make((), file, environment={"GAMECLUSTER_PUBSUB": url}, **arguments)
    assert begun.node_environment(0, range(1))["GAMECLUSTER_PUBSUB"] == url


def test_a_manifest_with_a_server_needs_its_address(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(
        "apiVersion: gamecluster.dev/v1alpha1\nkind: GameCluster\nmetadata: {name: a}\n"
        "spec: {targets: ['m:C'], storage: {type: Redis, secretRef: {name: r}}, gameState: {onTotalLoss: Reset}}\n"
    )
    arguments = {"nodes": 1, "port": 4000, "data": tmp_path, "restart": True}
    with pytest.raises(ConfigurationError, match="GAMECLUSTER_STORAGE to redis://"):
        plan.make((), file, environment={}, **arguments)
    begun = plan.make((), file, environment={"GAMECLUSTER_STORAGE": "redis://127.0.0.1:1"}, **arguments)
    assert begun.keeps and not begun.restores
