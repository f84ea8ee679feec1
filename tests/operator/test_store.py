from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gamecluster_operator import labels as names
from gamecluster_operator.labels import FIELD_MANAGER, Object
from gamecluster_operator.sighting import sighting_of
from gamecluster_operator.store import Store


def service(version: int, name: str = "arena", text: str = "", cluster: str = "arena") -> Object:
    meta = {"name": name, "namespace": "games", "resourceVersion": str(version), "labels": {names.INSTANCE: cluster}}
    return {"kind": "Service", "metadata": meta, "spec": text}


def listed(store: Store, kind: str, namespace: str | None, version: int, *pages: list[Object]) -> list[str]:
    """Whose objects it tells of."""
    listing = store.listing(kind, namespace)
    told = [key for page in pages for key in listing.page(sighting_of(obj) for obj in page)]
    return sorted(cluster for _, cluster in [*told, *listing.end(version)])


def seen(store: Store) -> list[str]:
    return [obj["spec"] for obj in store.of_cluster(("games", "arena"))]


def test_older_and_repeated_news_is_none() -> None:
    store = Store()
    assert store.put(service(5, text="new"))
    assert not store.put(service(5, text="again"))
    assert not store.put(service(4, text="old"))
    assert seen(store) == ["new"]


def test_what_was_deleted_does_not_come_back_by_an_older_sighting() -> None:
    store = Store()
    store.put(service(5))
    assert store.drop(service(6))
    assert not store.put(service(5))
    assert store.put(service(7, text="made anew"))
    assert not store.drop(service(6)), "the deletion of its predecessor"
    assert seen(store) == ["made anew"]


def test_a_list_tells_what_the_watches_missed() -> None:
    store = Store()

    def own(version: int, name: str) -> Object:
        return service(version, name, cluster=name)

    for name in ("changed", "vanished", "same"):
        store.put(own(5, name))
    store.put(own(30, "newer than the list"))
    news = listed(store, "Service", None, 20, [own(9, "changed"), own(5, "same")], [own(8, "missed")])
    assert news == ["changed", "missed", "vanished"]
    assert {name for _, _, name in store._objects} == {"changed", "same", "missed", "newer than the list"}


def test_a_list_of_one_namespace_says_nothing_of_others() -> None:
    store = Store()
    store.put(service(5))
    assert listed(store, "Service", "elsewhere", 20, []) == []
    assert listed(store, "Pod", None, 20, []) == []
    assert len(seen(store)) == 1


def test_whatever_changes_of_a_cluster_gives_it_another_number() -> None:
    store = Store()
    numbers = [store.change_of(("games", "arena"))]
    for step in (service(5), service(6), service(7, "another")):
        store.put(step)
        numbers.append(store.change_of(("games", "arena")))
    store.drop(service(8, "another"))
    numbers.append(store.change_of(("games", "arena")))
    store.put(service(9, cluster="other"))
    assert len({*numbers, store.change_of(("games", "arena"))}) == 5, "of an empty one it is the first number again"
    assert not store.put(service(9, cluster="other"))


def test_only_our_own_managed_fields_are_kept() -> None:
    store = Store()
    ours = {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {}}
    others = [{"manager": "kubectl"}, {**ours, "operation": "Update"}, {**ours, "subresource": "status"}]
    obj = service(1)
    obj["metadata"]["managedFields"] = [ours, *others]
    store.put(obj)
    assert store.of_cluster(("games", "arena"))[0]["metadata"]["managedFields"] == [ours]


sightings = st.lists(st.tuples(st.sampled_from(["put", "drop"]), st.integers(1, 9)), max_size=12)


@given(sightings, st.randoms())
def test_the_order_of_news_does_not_matter(happened: list[tuple[str, int]], random: object) -> None:
    by_version = {version: what for what, version in happened}
    shuffled = list(by_version.items()) * 2
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    store = Store()
    for version, what in shuffled:
        (store.put if what == "put" else store.drop)(service(version, text=str(version)))
    last = max(by_version, default=0)
    assert seen(store) == ([str(last)] if by_version.get(last) == "put" else [])
