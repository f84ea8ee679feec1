"""The short way in: whom it lets in, what it leaves to uvicorn, and that both ways end alike."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httptools
import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from websockets.frames import Opcode

from gamecluster.shell.opening import HANDSHAKE_BYTES, Entry, Opening, ShortWay, read_opening
from gamecluster.shell.sockets import Upgrade, Wire

from .node import Running, running, until
from .test_sockets import masked, raw, request
from .transport import Noting

FIREFOX = b"""GET /socket/websocket?vsn=2.0.0&token=a%20b HTTP/1.1
Host: play.example:4000
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0
Accept: */*
Accept-Language: en-US,en;q=0.5
Accept-Encoding: gzip, deflate, br, zstd
Sec-WebSocket-Version: 13
Origin: http://play.example:4000
Sec-WebSocket-Protocol: phoenix, base64url.bearer.phx.eA
Sec-WebSocket-Extensions: permessage-deflate
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
Connection: keep-alive, Upgrade
Cookie: a=b; c="d"
Pragma: no-cache
Upgrade: websocket

""".replace(b"\n", b"\r\n")

NOT_PLAIN = {
    "another method": request(method="POST"),
    "a longer method": request(method="GETS"),
    "an absolute target": request("http://localhost/socket/websocket"),
    "a fragment": request("/socket/websocket#a"),
    "a space in the target": request("/a b"),
    "not ASCII in the target": request("/ä"),
    "HTTP/1.0": request().replace(b"HTTP/1.1", b"HTTP/1.0"),
    "no upgrade": request(upgrade="h2c"),
    "an upgrade of somebody else": request(connection="keep-alive"),
    "a body": request(content_length="2"),
    "a body in chunks": request(transfer_encoding="chunked"),
    "a question": request(expect="100-continue"),
    "another version": request(sec_websocket_version="8"),
    "a bad key": request(sec_websocket_key="short"),
    "a header twice": request(Host="again"),
    "a tab": request(x_note="a\tb"),
    "not ASCII": request(x_note="ä"),
    "a folded line": request(x_note="a\r\n b"),
    "an empty name": request().replace(b"host:", b":"),
    "a space before a colon": request().replace(b"host:", b"host :"),
    "no colon": request().replace(b"host:", b"host"),
    "a bare line feed": request().replace(b"\r\nhost", b"\nhost"),
    "a bare carriage return": request(x_note="a\rb"),
    "a zero": request(x_note="a\0b"),
    "an end that is missing": request()[:-1],
    "an empty line before": b"\r\n" + request(),
    "too much": request(x_note="x" * HANDSHAKE_BYTES),
    "nothing": b"",
}


class Heard:
    """What uvicorn's parser makes of a request."""

    def __init__(self, data: bytes) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        parser = httptools.HttpRequestParser(self)
        with pytest.raises(httptools.HttpParserUpgrade) as raised:
            parser.feed_data(data)
        self.size = raised.value.args[0]
        self.method = parser.get_method()
        self.version = parser.get_http_version()

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))


def check_is_what_uvicorn_reads(opening: Opening, data: bytes) -> None:
    heard = Heard(data)
    path, _, query = heard.url.partition(b"?")
    assert (heard.method, heard.version, path, query) == (b"GET", "1.1", opening.path, opening.query)
    assert heard.headers == list(opening.headers.items())
    assert heard.size == opening.size


@pytest.mark.parametrize("early", [b"", masked(Opcode.TEXT, "early")])
@pytest.mark.parametrize(
    "data", [FIREFOX, request(), request("/?"), request(upgrade="WebSocket", connection="upgrade")]
)
def test_what_browsers_and_clients_send_is_plain(data: bytes, early: bytes) -> None:
    opening = read_opening(data + early)
    assert opening is not None and opening.size == len(data)
    assert opening.accept == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    check_is_what_uvicorn_reads(opening, data + early)


@pytest.mark.parametrize("data", NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_what_has_to_be_looked_at_more_closely_is_not(data: bytes) -> None:
    assert read_opening(data) is None


ODD = st.sampled_from([*b"\r\n\t\0 :?#%,;=/Aaz09-_\x7f\x80\xff"])


@hypothesis.settings(max_examples=1000, deadline=None)
@given(
    st.sampled_from([FIREFOX, request()]),
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from(["insert", "replace", "delete"]), ODD), max_size=3),
)
def test_what_is_plain_is_read_as_uvicorn_reads_it(data: bytes, changes: list[tuple[float, str, int]]) -> None:
    changed = bytearray(data)
    for where, what, byte in changes:
        at = int(where * (len(changed) - 1))
        changed[at : at + (what != "insert")] = b"" if what == "delete" else bytes([byte])
    opening = read_opening(bytes(changed))
    if opening is not None:
        check_is_what_uvicorn_reads(opening, bytes(changed))


class Calling(Noting):
    """A connection whose first bytes are ``data``, on a transport that only notes. ``entry``: what the door says."""

    def __init__(self, data: bytes, is_let_in: bool = True) -> None:
        super().__init__()
        self.heard: list[bytes] = []
        self.connections: set[Any] = set()
        self.asked: list[Opening] = []
        self.entry = Entry("phoenix", lambda wire: self) if is_let_in else None
        config: Any = SimpleNamespace(
            **{"loaded": True, "loaded_app": self.application, "ws_protocol_class": Upgrade, "ws_max_size": 1000},
            **{"root_path": "", "asgi_version": "3.0", "limit_concurrency": None, "timeout_keep_alive": 5},
        )
        state: Any = SimpleNamespace(connections=self.connections, tasks=set(), default_headers=[])
        self.protocol = ShortWay(self.door, config, state, {})
        self.protocol.connection_made(self)
        if data:
            self.protocol.data_received(data)

    def door(self, opening: Opening) -> Entry | None:
        self.asked.append(opening)
        return self.entry

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.close"})

    # as the client
    def text(self, data: bytes) -> None:
        self.heard.append(data)


async def test_who_is_let_in_has_a_wire_at_once_and_what_came_along_is_read() -> None:
    early = masked(Opcode.TEXT, "one") + masked(Opcode.TEXT, "two")
    calling = Calling(request() + early[:-2])
    assert isinstance(calling.protocol, Wire) and calling.connections == {calling.protocol}
    assert calling.written.startswith(b"HTTP/1.1 101 ") and calling.written.endswith(b": phoenix\r\n\r\n")
    assert calling.heard == [b"one"]
    calling.protocol.data_received(early[-2:])
    assert calling.heard == [b"one", b"two"]


async def test_whom_the_door_does_not_let_in_is_left_to_uvicorn() -> None:
    calling = Calling(request(), is_let_in=False)
    assert len(calling.asked) == 1 and not calling.written
    assert isinstance(calling.protocol, Upgrade) and calling.connections == {calling.protocol}

    async def is_refused() -> bool:
        return calling.is_closed

    await until(is_refused)
    assert calling.written.startswith(b"HTTP/1.1 403 ")


async def test_a_request_that_comes_in_pieces_is_left_to_uvicorn() -> None:
    calling = Calling(request()[:30])
    assert isinstance(calling.protocol, HttpToolsProtocol) and calling.connections == {calling.protocol}
    calling.protocol.data_received(request()[30:])
    assert isinstance(calling.protocol, Upgrade) and not calling.asked


async def test_a_connection_that_says_nothing_ends_with_the_server() -> None:
    calling = Calling(b"")
    assert calling.connections == {calling.protocol}
    calling.protocol.shutdown()
    assert calling.is_closed
    calling.protocol.connection_lost(None)
    assert not calling.connections


LONG_WAY = {"x_note": "a\tb"}


ASKED: list[tuple[str, dict[str, str]]] = [
    ("/socket/websocket?vsn=2.0.0", {}),
    ("/socket/websocket", {}),
    ("/arena-0/socket/websocket?vsn=2.0.0", {}),
    ("/arena-1/socket/websocket?vsn=2.0.0", {}),
    ("/socket/websocket/?vsn=2.0.0", {}),
    ("/socket%2Fwebsocket?vsn=2.0.0", {}),
    ("/socket/websocket?vsn=9.0.0&vsn=2.0.0", {}),
    ("/socket/websocket?vsn=2.0.0&vsn=9.0.0", {}),
    ("/socket/websocket?vsn=2%2E0.0", {}),
    ("/socket/websocket?vsn=", {}),
    ("/socket/websocket?vsn=2.0.0", {"origin": "https://evil.example"}),
    ("/socket/websocket?vsn=2.0.0", {"origin": "http://LOCALHOST"}),
    ("/socket/websocket?vsn=2.0.0", {"origin": "https://allowed.example"}),
    ("/socket/websocket?vsn=2.0.0", {"sec_websocket_protocol": "phoenix"}),
    ("/socket/websocket?vsn=2.0.0", {"sec_websocket_protocol": "a ,phoenix, base64url.bearer.phx.%%%"}),
    ("/socket/websocket?vsn=2.0.0", {"sec_websocket_protocol": "other"}),
]


async def test_both_ways_say_the_same(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "url": "wss://play.example/arena-0/socket",
        "allowed_origins": ("https://allowed.example",),
    }
    seen = set()
    async with running(tmp_path, **options) as node:
        for path, changes in ASKED:
            short, long = request(path, **changes), request(path, **changes, **LONG_WAY)
            assert read_opening(short) is not None and read_opening(long) is None
            answer = await answered(node, short)
            assert answer == await answered(node, long), (path, changes)
            seen.add(answer[:12])
    assert seen == {b"HTTP/1.1 101", b"HTTP/1.1 403", b"HTTP/1.1 404"}


async def answered(node: Running, handshake: bytes) -> bytes:
    async with raw(node, handshake) as client, asyncio.timeout(5):
        head = await client.reader.readuntil(b"\r\n\r\n")
        return head if b" 101 " in head else head + await client.reader.read()


@pytest.mark.parametrize("changes", [{}, LONG_WAY])
async def test_a_full_node_refuses_on_both_ways(tmp_path: Path, changes: dict[str, str]) -> None:
    async with running(tmp_path, limit_connections=1) as node, raw(node, request(**changes)) as first:
        assert (await first.head())[0] == 101
        async with raw(node, request(**changes)) as second:
            assert (await second.head())[0] == 503


@pytest.mark.parametrize("changes", [{}, LONG_WAY])
async def test_a_token_comes_along_on_both_ways(tmp_path: Path, changes: dict[str, str]) -> None:
    join = masked(Opcode.TEXT, '["1","1","game","phx_join",{}]')
    async with running(tmp_path) as node, raw(node, request(**changes)) as first:
        assert (await first.head())[0] == 101
        first.send(join)
        told = (await first.message())[4]["response"]
        async with raw(node, request(f"/socket/websocket?vsn=2.0.0&token={told['token']}", **changes)) as second:
            assert (await second.head())[0] == 101
            second.send(join)
            again = (await second.message())[4]["response"]
            assert (again["player"], again["resumed"]) == (told["player"], True)
