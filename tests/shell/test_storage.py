"""All storages, each the real one, pass the same tests; then what is each one's own."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from tests.shell.stores import Server

from gamecluster.core.effects import Store
from gamecluster.core.messages import Entry, Position, Tables, incarnation
from gamecluster.settings import Settings
from gamecluster.shell.serve import begin_alone
from gamecluster.shell.storage import (
    Loaded,
    SnapshotHead,
    Storage,
    StorageBroken,
    StorageError,
    cluster_key,
    encode_snapshot,
    open_storage,
    replay,
)
from gamecluster.shell.storage.memory import MemoryStorage
from gamecluster.shell.storage.postgresql import PostgresqlStorage
from gamecluster.shell.storage.redis import RedisStorage
from gamecluster.shell.storage.volume import FILE, VolumeStorage

SHARED = ("memory", "redis", "postgresql")
SERVERS = ("redis", "postgresql")


class Made:
    """A storage of one kind, and the way to open it again as another process does."""

    def __init__(self, kind: str, request: pytest.FixtureRequest, folder: Path) -> None:
        self.kind = kind
        self._folder = folder
        self._memory = MemoryStorage()
        self._name = f"{request.node.name}"
        self._opened: list[Storage] = []
        self.server: Server | None = request.getfixturevalue(kind) if kind in SERVERS else None
        self.storage = self.open()

    def open(self, answer_seconds: float = 5.0, name: str = "") -> Storage:
        match self.kind:
            case "volume":
                made: Storage = VolumeStorage(self._folder / (name or "kept"), syncs=True)
            case "redis":
                assert self.server
                made = RedisStorage(self.server.url, name or self._name, answer_seconds)
            case "postgresql":
                assert self.server
                made = PostgresqlStorage(self.server.url, name or self._name, answer_seconds)
            case _:
                made = MemoryStorage() if name else self._memory
        self._opened.append(made)
        return made

    async def close(self) -> None:
        for storage in self._opened:
            await storage.close()


@pytest.fixture
async def made(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Made]:
    made = Made(request.param, request, tmp_path)
    yield made
    await made.close()
    gc.collect()  # the clients' leftovers: in Python 3.11.7 their end in the midst of compiling fails the compiler


every = pytest.mark.parametrize("made", ["volume", *SHARED], indirect=True)
shared = pytest.mark.parametrize("made", SHARED, indirect=True)
served = pytest.mark.parametrize("made", SERVERS, indirect=True)


def at(seq: int, epoch: int = 1) -> Position:
    return Position(epoch, seq)


def entry(seq: int, value: int, epoch: int = 1) -> Entry:
    return Entry(epoch, seq, [("totals", "bob", {"value": value})], [], [])


def state(value: int) -> Tables:
    return {"totals": {"bob": {"value": value, "name": "Bob ☃"}}, "empty": {}}


def begin(value: int = 0, seq: int = 0, epoch: int = 1, writer: int = 1, more: list[Entry] | None = None) -> Store:
    return Store(writer, at(seq, epoch), state(value), more or [])


def follow(base: Position, entries: list[Entry], writer: int = 1) -> Store:
    return Store(writer, base, None, entries)


async def value(storage: Storage) -> int:
    loaded = await storage.load()
    assert loaded is not None
    stored: int = loaded.tables["totals"]["bob"]["value"]
    return stored


@every
class TestEveryStorage:
    async def test_one_that_is_new_holds_nothing(self, made: Made) -> None:
        assert await made.storage.position() is None
        assert await made.storage.load() is None

    async def test_a_snapshot_and_what_follows_it_come_back_in_another_process(self, made: Made) -> None:
        await made.storage.write(begin(7, seq=4))
        await made.storage.write(follow(at(4), [entry(5, 8), entry(6, 9)]))
        await made.storage.write(follow(at(6), [Entry(1, 7, [("totals", "eve", {"value": 1})], [], [])]))
        again = made.open()
        assert await again.position() == at(7)
        assert await again.load() == Loaded(
            at(7), {"totals": {"bob": {"value": 9, "name": "Bob ☃"}, "eve": {"value": 1}}, "empty": {}}
        )

    async def test_a_snapshot_comes_with_entries_in_one_write(self, made: Made) -> None:
        await made.storage.write(begin(1, seq=0, more=[entry(1, 2), entry(2, 3)]))
        assert await made.storage.position() == at(2)
        assert await value(made.open()) == 3

    async def test_a_new_snapshot_replaces_all(self, made: Made) -> None:
        await made.storage.write(begin(1, more=[entry(1, 2)]))
        await made.storage.write(begin(50, seq=9))
        await made.storage.write(follow(at(9), [entry(10, 51)]))
        assert await made.storage.position() == at(10)
        assert await value(made.open()) == 51

    async def test_entries_that_do_not_follow_are_refused_and_change_nothing(self, made: Made) -> None:
        await made.storage.write(begin(1, more=[entry(1, 2)]))
        with pytest.raises(StorageError):
            await made.storage.write(follow(at(7), [entry(8, 99)]))
        assert await made.storage.position() == at(1)
        assert await value(made.open()) == 2
        await made.storage.write(begin(5, seq=8))
        await made.storage.write(follow(at(8), [entry(9, 6)]))
        assert await value(made.open()) == 6

    async def test_a_thousand_entries_are_one_write(self, made: Made) -> None:
        await made.storage.write(begin(0))
        await made.storage.write(follow(at(0), [entry(seq, seq) for seq in range(1, 1001)]))
        assert await made.storage.position() == at(1000)
        assert await value(made.open()) == 1000

    async def test_an_entry_that_deletes_is_applied(self, made: Made) -> None:
        await made.storage.write(begin(1, more=[Entry(1, 1, [("totals", "bob", None)], [], [])]))
        loaded = await made.storage.load()
        assert loaded is not None and loaded.tables["totals"] == {}

    async def test_clusters_do_not_see_each_other(self, made: Made) -> None:
        await made.storage.write(begin(1))
        assert await made.open(name="other").position() is None


@shared
class TestSharedStorage:
    async def test_who_led_before_can_write_nothing_any_more(self, made: Made) -> None:
        await made.storage.write(begin(1, writer=1, more=[entry(1, 2)]))
        heir = made.open()
        await heir.write(begin(1, writer=2, more=[entry(1, 2), entry(2, 3, epoch=2)]))
        for late in (follow(at(1), [entry(2, 99)]), begin(98, seq=50), follow(at(2, 2), [entry(3, 97)])):
            with pytest.raises(StorageError, match="fenced off"):
                await made.storage.write(late)
        assert await value(heir) == 3

    async def test_a_new_leader_cuts_off_what_was_never_committed(self, made: Made) -> None:
        await made.storage.write(begin(1, writer=1, more=[entry(1, 2), entry(2, 66)]))
        await made.open().write(begin(2, seq=1, writer=2, more=[entry(2, 3, epoch=2)]))
        assert await made.storage.position() == at(2, 2)
        assert await value(made.storage) == 3

    async def test_a_snapshot_that_comes_late_undoes_nothing(self, made: Made) -> None:
        await made.storage.write(begin(1, more=[entry(1, 2), entry(2, 3)]))
        with pytest.raises(StorageError, match="older"):
            await made.storage.write(begin(1, seq=1))
        assert await value(made.storage) == 3


@served
class TestServer:
    async def test_one_that_is_not_there_is_said_in_time_and_used_when_it_is_back(self, made: Made) -> None:
        await made.storage.write(begin(1))
        assert made.server
        made.server.stop()
        try:
            async with asyncio.timeout(10):
                with pytest.raises(StorageError):
                    await made.storage.write(follow(at(0), [entry(1, 2)]))
                with pytest.raises(StorageError):
                    await made.storage.position()
        finally:
            made.server.start()
        assert await made.storage.position() == at(0)
        await made.storage.write(follow(at(0), [entry(1, 2)]))
        assert await value(made.storage) == 2

    async def test_one_that_hangs_is_given_up_in_time(self, made: Made) -> None:
        storage = made.open(answer_seconds=0.5)
        await storage.write(begin(1))
        assert made.server
        made.server.signal(signal.SIGSTOP)
        try:
            async with asyncio.timeout(5):
                with pytest.raises(StorageError, match=r"no answer within|Timeout|timed"):
                    await storage.write(follow(at(0), [entry(1, 2)]))
        finally:
            made.server.signal(signal.SIGCONT)
        await asyncio.wait_for(_until_writable(storage), 20)
        assert await value(storage) == 5

    async def test_a_journal_with_a_hole_is_not_taken_for_the_state(self, made: Made) -> None:
        await made.storage.write(begin(1, more=[entry(1, 2)]))
        await made.storage.write(follow(at(1), [entry(3, 4)]))
        with pytest.raises(StorageBroken):
            await made.storage.load()


async def _until_writable(storage: Storage) -> None:
    """The write that was not answered may have landed or not: a snapshot says all anew."""
    while True:
        try:
            return await storage.write(begin(5, seq=9))
        except StorageError:
            await asyncio.sleep(0.05)


class TestVolume:
    async def test_a_torn_end_is_cut_off_and_said(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        first = VolumeStorage(tmp_path, syncs=True)
        await first.write(begin(1, more=[entry(1, 2), entry(2, 3)]))
        await first.close()
        whole = (tmp_path / FILE).read_bytes()
        for cut in (1, 5, 20):
            (tmp_path / FILE).write_bytes(whole[:-cut])
            caplog.clear()
            with caplog.at_level(logging.WARNING):
                again = VolumeStorage(tmp_path, syncs=True)
                assert await again.position() == at(1)
            assert "cut off" in caplog.text
            await again.write(follow(at(1), [entry(2, 77)]))
            assert await value(again) == 77
            await again.close()
            assert await value(VolumeStorage(tmp_path, syncs=True)) == 77

    async def test_a_flipped_bit_is_noticed(self, tmp_path: Path) -> None:
        first = VolumeStorage(tmp_path, syncs=True)
        await first.write(begin(1, more=[entry(1, 2), entry(2, 3)]))
        await first.close()
        raw = bytearray((tmp_path / FILE).read_bytes())
        raw[-3] ^= 1
        (tmp_path / FILE).write_bytes(raw)
        assert await VolumeStorage(tmp_path, syncs=True).position() == at(1)

    async def test_a_damaged_snapshot_is_never_taken_for_an_empty_disk(self, tmp_path: Path) -> None:
        (tmp_path / FILE).write_bytes(b"\0" * 100)
        storage = VolumeStorage(tmp_path, syncs=True)
        with pytest.raises(StorageBroken, match="damaged"):
            await storage.position()
        with pytest.raises(StorageBroken):
            await storage.load()
        await storage.write(begin(1))
        assert await value(storage) == 1
        assert (tmp_path / FILE).with_suffix(".broken").read_bytes() == b"\0" * 100

    async def test_what_a_crash_left_of_a_new_snapshot_is_of_no_account(self, tmp_path: Path) -> None:
        first = VolumeStorage(tmp_path, syncs=False)
        await first.write(begin(4))
        (tmp_path / FILE).with_suffix(".new").write_bytes(b"half")
        assert await value(VolumeStorage(tmp_path, syncs=False)) == 4

    async def test_a_new_life_does_not_replace_what_is_there_by_something_older(self, tmp_path: Path) -> None:
        await VolumeStorage(tmp_path, syncs=True).write(begin(1, more=[entry(1, 2), entry(2, 3)]))
        later = VolumeStorage(tmp_path, syncs=True)
        with pytest.raises(StorageError, match="older than what is there"):
            await later.write(begin(1, seq=1))
        assert await value(later) == 3

    async def test_a_look_and_a_write_do_not_get_in_each_others_way(self, tmp_path: Path) -> None:
        storage = VolumeStorage(tmp_path, syncs=True)
        await storage.write(begin(0))
        for seq in range(1, 30):
            look, _ = await asyncio.gather(storage.position(), storage.write(follow(at(seq - 1), [entry(seq, seq)])))
            assert look in (at(seq - 1), at(seq))

    async def test_a_disk_that_hangs_is_given_up_and_not_asked_again_until_it_answers(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / FILE)  # reading it waits for a writer
        storage = VolumeStorage(tmp_path, syncs=True, answer_seconds=0.2)
        with pytest.raises(StorageError, match="does not answer within"):
            await storage.write(begin(1))
        with pytest.raises(StorageError, match="still does not answer"):
            await storage.position()
        writer = os.open(tmp_path / FILE, os.O_WRONLY)
        (tmp_path / FILE).unlink()
        os.close(writer)
        await asyncio.wait_for(_until_writable(storage), 10)
        assert await value(VolumeStorage(tmp_path, syncs=True)) == 5

    async def test_a_folder_that_can_not_be_written_is_an_error_that_names_it(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(StorageError, match="file"):
            await VolumeStorage(tmp_path / "file" / "inner", syncs=True).write(begin(1))

    async def test_without_syncs_what_was_written_outlives_the_process(self, tmp_path: Path) -> None:
        first = VolumeStorage(tmp_path, syncs=False)
        await first.write(begin(1))
        await first.write(follow(at(0), [entry(1, 2)]))
        assert await value(VolumeStorage(tmp_path, syncs=False)) == 2  # the first one was never closed


@pytest.mark.parametrize(
    ("named", "kind"),
    [
        ("memory:", MemoryStorage),
        ("volume:", VolumeStorage),
        ("redis://127.0.0.1:1/0", RedisStorage),
        ("postgresql://game@127.0.0.1:1/x", PostgresqlStorage),
    ],
)
async def test_the_settings_name_the_storage(named: str, kind: type, tmp_path: Path) -> None:
    storage = open_storage(Settings(node="a-0", storage=named, data_dir=tmp_path))
    try:
        assert isinstance(storage, kind)
        if kind is VolumeStorage:
            await storage.write(begin(1))
            assert (tmp_path / "storage" / FILE).exists()
    finally:
        await storage.close()


def test_clusters_of_one_name_in_two_namespaces_are_kept_apart() -> None:
    assert cluster_key(Settings(node="a-0", name="a", lease="kubernetes:north/a-gamestate")) == "north/a"
    assert cluster_key(Settings(node="a-0", name="a", lease="file:/x")) == "a"


async def test_a_node_without_a_lease_begins_with_what_it_has_stored(tmp_path: Path) -> None:
    me = incarnation("a-0", "u", 2)
    storage = VolumeStorage(tmp_path, syncs=True)
    fresh = await (await begin_alone(me, storage)).read()
    assert fresh is not None and fresh.never_held
    await storage.write(begin(7, seq=4, epoch=3))
    again = await (await begin_alone(me, storage)).read()
    assert again is not None and again.restore and (again.holder, again.epoch) == (me, 1003)
    await storage.close()


@pytest.mark.parametrize("count", [0, 1, 15, 16, 999, 1000, 1001, 2016])
def test_a_snapshot_that_is_encoded_in_parts_is_a_snapshot(count: int) -> None:
    tables = {"empty": {}, "$board:wins:1": {f"p{i}": {"score": i, "at": 1.5} for i in range(count)}, "é": {"a": {}}}
    encoded = encode_snapshot(Position(3, 70_000), tables)
    assert replay(encoded, []) == Loaded(Position(3, 70_000), tables)
    assert msgspec.msgpack.decode(encoded, type=SnapshotHead).position == Position(3, 70_000)
