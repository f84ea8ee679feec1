"""Servers of a test module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.shell.stores import Server, postgresql_server, redis_server, server_folder


@pytest.fixture(scope="module")
def redis() -> Iterator[Server]:
    with server_folder() as folder, redis_server(folder) as server:
        yield server


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Server]:
    with server_folder() as folder, postgresql_server(folder) as server:
        yield server
