from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from gamecluster.core.messages import incarnation
from gamecluster.shell import discovery
from gamecluster.shell.discovery import AddressBook, discover, is_address, split
from gamecluster.shell.mesh_link import Address

ONE, TWO = ("10.0.0.1", 4100), ("10.0.0.2", 4100)
PEER = incarnation("arena-1", "uid", 1)


def book() -> AddressBook:
    return AddressBook(random.Random(7))


def linked_nowhere(peer: object) -> Address | None:
    return None


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 (conditions of any kind)
            await asyncio.sleep(0.002)


# --- the book


def test_an_address_is_due_once_until_its_dial_has_ended() -> None:
    addresses = book()
    addresses.publish("list", [ONE], 0.0)
    assert addresses.due(0.0, linked_nowhere) == [ONE]
    assert addresses.due(100.0, linked_nowhere) == []
    addresses.dialled(ONE, 100.0, "refused")
    assert addresses.due(101.0, linked_nowhere) == [ONE]


def test_the_wait_after_failures_doubles_from_50_ms_to_a_second_with_jitter() -> None:
    addresses = book()
    addresses.publish("list", [ONE], 0.0)
    now, waits = 0.0, []
    for _ in range(12):
        assert addresses.due(now, linked_nowhere) == [ONE]
        addresses.dialled(ONE, now, "refused")
        waits.append(addresses._entries[ONE].not_before - now)
        assert addresses.due(now + waits[-1] * 0.99, linked_nowhere) == []
        now += waits[-1]
    for n, wait in enumerate(waits):
        bound = min(0.05 * 2**n, 1.0)
        assert bound / 2 <= wait <= bound
    assert len({round(wait, 6) for wait in waits[6:]}) > 1


def test_an_address_of_a_linked_pod_is_not_dialled_and_is_at_once_when_the_link_is_lost() -> None:
    addresses = book()
    addresses.publish("list", [ONE, TWO], 0.0)
    addresses.belongs(ONE, PEER, 0.0)
    assert addresses.due(0.0, lambda peer: ONE if peer == PEER else None) == [TWO]
    addresses.lost(PEER, 10.0)
    assert addresses.due(10.0 + 0.05, linked_nowhere) == [ONE]


def test_the_nodes_own_address_is_left_alone_for_a_minute() -> None:
    addresses = book()
    addresses.publish("list", [ONE], 0.0)
    assert addresses.due(0.0, linked_nowhere) == [ONE]
    addresses.is_own(ONE, 0.0)
    addresses.dialled(ONE, 0.0, "it is this very node")
    assert addresses.due(59.0, linked_nowhere) == []
    assert addresses.due(61.0, linked_nowhere) == [ONE]


def test_a_learned_address_is_forgotten_after_a_minute_without_success_a_published_one_is_not() -> None:
    addresses = book()
    addresses.publish("list", [ONE], 0.0)
    addresses.learn(TWO, 0.0)
    for second in range(0, 59, 2):
        for address in addresses.due(float(second), linked_nowhere):
            addresses.dialled(address, float(second), "refused")
    assert TWO in addresses
    addresses.due(61.0, linked_nowhere)
    assert TWO not in addresses and ONE in addresses


def test_the_address_of_a_link_is_kept_and_that_of_a_former_life_is_forgotten() -> None:
    addresses = book()
    for address in (ONE, TWO):
        addresses.learn(address, 0.0)
        addresses.belongs(address, PEER, 0.0)
    for second in range(0, 130, 5):
        addresses.due(float(second), lambda peer: TWO)
    assert TWO in addresses and ONE not in addresses


def test_an_address_that_dns_no_longer_gives_is_forgotten_after_a_minute() -> None:
    addresses = book()
    addresses.publish("dns", [ONE, TWO], 0.0)
    addresses.publish("dns", [ONE], 100.0)
    for second in range(100, 170, 10):
        for address in addresses.due(float(second), linked_nowhere):
            addresses.dialled(address, float(second), "refused")
    assert ONE in addresses and TWO not in addresses


def test_only_so_many_addresses_are_learned() -> None:
    addresses = AddressBook(random.Random(7), learned_at_most=10)
    for n in range(1, 100):
        addresses.learn((f"10.0.1.{n}", 4100), 0.0)
    assert len(addresses) == 10


@pytest.mark.parametrize("address", [("", 4100), ("0.0.0.0", 4100), ("::", 1), ("example.com", 80), ("10.0.0.1", 0)])
def test_what_cannot_be_dialled_is_not_learned(address: Address) -> None:
    addresses = book()
    addresses.learn(address, 0.0)
    assert address not in addresses and not is_address(address)


def test_a_failure_is_news_once_until_it_changes() -> None:
    addresses = book()
    addresses.publish("list", [ONE], 0.0)
    news = []
    for failure in ("refused", "refused", "another mesh key", "another mesh key", None, "refused"):
        addresses.due(1000.0 * len(news), linked_nowhere)
        news.append(addresses.dialled(ONE, 1000.0 * len(news), failure))
    assert news == [True, False, True, False, False, True]


def test_addresses_may_be_of_both_kinds() -> None:
    assert split("10.0.0.1:4100") == ONE
    assert split("[::1]:4100") == ("::1", 4100)


# --- names


@contextlib.asynccontextmanager
async def discovering(*peers: str, into: AddressBook) -> AsyncIterator[None]:
    task = asyncio.create_task(discover(peers, into))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_listed_addresses_and_names_are_published() -> None:
    addresses = book()
    async with discovering("10.0.0.1:4100", "[::1]:4101", "dns:localhost:4102", "localhost:4103", into=addresses):
        await until(lambda: all(("127.0.0.1", port) in addresses for port in (4102, 4103)))
        assert ONE in addresses and ("::1", 4101) in addresses


async def test_what_a_name_stands_for_is_followed_and_failures_are_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(discovery, "FAST_SECONDS", 0.01)
    answers: list[list[Address] | Exception] = [[ONE], [ONE], *[socket.gaierror(-3, "try again")] * 3, [ONE, TWO]]
    asked: list[str] = []

    async def resolve(host: str, port: int) -> list[Address]:
        asked.append(f"{host}:{port}")
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(discovery, "resolve", resolve)
    addresses = book()
    with caplog.at_level(logging.INFO, logger=discovery.__name__):
        async with discovering("dns:arena-mesh:4100", into=addresses):
            await until(lambda: TWO in addresses)
    assert set(asked) == {"arena-mesh:4100"}
    texts = [record.message for record in caplog.records]
    assert len(texts) == 3 and "10.0.0.1" in texts[0] and "try again" in texts[1] and "10.0.0.2" in texts[2]


async def test_addresses_stay_published_while_dns_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "FAST_SECONDS", 0.01)
    asked = 0

    async def resolve(host: str, port: int) -> list[Address]:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise socket.gaierror(-2, "Name or service not known")
        return [ONE]

    monkeypatch.setattr(discovery, "resolve", resolve)
    addresses = book()
    async with discovering("dns:arena-mesh:4100", into=addresses):
        await until(lambda: asked > 5)
    addresses.due(1e9, linked_nowhere)
    assert ONE in addresses


async def test_names_are_asked_for_every_second_at_first_and_every_five_later(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    clock = 0.0

    async def resolve(host: str, port: int) -> list[Address]:
        return [ONE]

    async def sleep(seconds: float) -> None:
        nonlocal clock
        waits.append(seconds)
        clock += seconds
        if clock > 100:
            raise asyncio.CancelledError

    monkeypatch.setattr(discovery, "resolve", resolve)
    monkeypatch.setattr(discovery.asyncio, "sleep", sleep)
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: clock)
    with contextlib.suppress(asyncio.CancelledError):
        await discovery._follow_name("dns:a:1", "a", 1, book())
    assert waits[:60] == [1.0] * 60
    assert set(waits[60:]) == {5.0}
