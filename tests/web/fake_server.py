"""A cluster of make-believe nodes for the client's tests: one shared game, real sockets, and misbehaviour on demand.

Runs in a process of its own: commands are JSON lines on stdin, `{"node": 0, "do": "silent"}`; each is answered by a line
on stdout when it is done. The first line on stdout says where the nodes are.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

WEB = Path(__file__).parents[2] / "server" / "gamecluster" / "web"
TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css"}
ANSWERS_KEPT = 32
LONGEST_SILENCE_SECONDS = 20

Frame = list[Any]
Fields = dict[str, Any]


class No(Exception):
    """An error reply."""

    def __init__(self, reason: str, **more: object) -> None:
        super().__init__(reason)
        self.response = {"reason": reason, **more}


@dataclass
class Player:
    stay: int
    nonce: str
    client: Client
    n: int = 0
    answers: dict[int, Fields] = field(default_factory=dict)


class FakeGame:
    """Counter and Arena in one: `add` adds to totals[player].value, `move` moves ships[player]. The game's, or a room's."""

    def __init__(self, topic: str = "game") -> None:
        self.topic = topic
        self.epoch, self.seq, self.stays = 1, 0, 0
        self.state: dict[str, dict[str, Fields]] = {"totals": {}, "ships": {}}
        self.players: dict[str, Player] = {}
        self.applied: list[tuple[str, int | None, Any]] = []
        self.history: list[tuple[int, int, list[Any]]] = []
        self.welcomes: list[str] = []

    def join(self, client: Client, payload: Fields) -> tuple[Fields, Client | None]:
        name, token, nonce = payload["player"], payload.get("token"), payload.get("nonce")
        player, replaced = self.players.get(name), None
        if token and token.split(".")[0] != "fake":
            raise No("bad token")
        if resumed := player is not None:
            if token != f"fake.{player.stay}" and nonce != player.nonce:
                raise No("player taken")
            player.nonce = nonce
            replaced = player.client if player.client is not client else None
            player.client = client
        else:
            self.stays += 1
            known = int(token.split(".")[1]) if token and self.topic != "game" else self.stays
            player = self.players[name] = Player(known, nonce, client)
            self.change([["totals", name, {"value": 0}], ["ships", name, {"x": 400.0, "y": 300.0}]])
        answer = {"player": name, "token": f"fake.{player.stay}", "n": player.n, "resumed": resumed}
        missed = self.missed(payload.get("epoch"), payload.get("seq")) if resumed else None
        brought: Fields = {"state": self.state} if missed is None else {"ops": missed}
        self.welcomes += brought
        return {**answer, "epoch": self.epoch, "seq": self.seq, **brought}, replaced

    def missed(self, epoch: Any, seq: Any) -> list[Any] | None:
        """All ops after that position, if it is one of this game's."""
        ends = [(e, s) for e, s, _ in self.history]
        if (epoch, seq) not in ends:
            return None
        return [op for _, _, ops in self.history[ends.index((epoch, seq)) + 1 :] for op in ops]

    def move(self, client: Client, event: str, payload: Fields) -> Fields:
        """The response, or No; remembered by the player's own count."""
        name, player = next(((k, p) for k, p in self.players.items() if p.client is client), (None, None))
        if name is None or player is None:
            raise No("not joined")
        n = payload.get("n")
        if n is None:
            return self.apply(name, event, payload)
        if n in player.answers:
            return player.answers[n]
        if n != player.n + 1:
            raise No("gap", expected=player.n + 1)
        player.n = n
        answer = self.apply(name, event, payload)
        player.answers = {k: v for k, v in {**player.answers, n: answer}.items() if k > n - ANSWERS_KEPT}
        return answer

    def apply(self, name: str, event: str, payload: Fields) -> Fields:
        if event == "add":
            value = self.state["totals"][name]["value"] + payload["amount"]
            self.change([["totals", name, {"value": value}]])
        elif event == "move" and {payload.get("dx"), payload.get("dy")} <= {-1, 0, 1}:
            ship = self.state["ships"][name]
            x, y = ship["x"] + 5 * payload["dx"], ship["y"] + 5 * payload["dy"]
            self.change([["ships", name, {"x": min(800.0, max(0.0, x)), "y": min(600.0, max(0.0, y))}]])
        elif event == "boom":
            for client in self.clients():
                client.send([None, None, self.topic, "boom", {"by": name}])
        else:
            return {"refused": "too fast" if event == "move" else "unknown event"}
        self.applied.append((name, payload.get("n"), payload.get("id")))
        return {"epoch": self.epoch, "seq": self.seq}

    def change(self, ops: list[Any]) -> None:
        self.seq += 1
        self.history.append((self.epoch, self.seq, ops))
        for table, key, fields in ops:
            self.state[table][key] = {**self.state[table].get(key, {}), **fields}
        for client in self.clients():
            client.send([None, None, self.topic, "patch", {"epoch": self.epoch, "seq": self.seq, "ops": ops}])

    def clients(self) -> list[Client]:
        return [player.client for player in self.players.values() if self.topic in player.client.topics]


@dataclass(eq=False)
class Client:
    node: FakeNode
    socket: ServerConnection
    topics: dict[str, Any] = field(default_factory=dict)  # topic → join_ref

    def send(self, frame: Frame) -> None:
        self.node.sending.put_nowait((self, json.dumps(frame)))

    def handle(self, frame: Frame) -> None:
        join_ref, ref, topic, event, payload = frame
        try:
            response = self.respond(topic, event, payload, join_ref)
            status = "error" if "refused" in response else "ok"
            response = {"reason": response["refused"]} if status == "error" else response
        except No as no:
            status, response = "error", no.response
        if response is not None and not (self.node.swallow > 0 and event == "add"):
            self.send([join_ref, ref, topic, "phx_reply", {"status": status, "response": response}])
        elif self.node.swallow > 0:
            self.node.swallow -= 1

    def respond(self, topic: str, event: str, payload: Fields, join_ref: Any) -> Fields:
        game = self.node.cluster.game_on(topic)
        if topic == "phoenix":
            return {}
        if event == "phx_join":
            if not game and not topic.startswith(("room:", "player:", "matchmaker")):
                raise No("unmatched topic")
            if game and self.node.refusal and self.node.refused_topic in ("", topic):
                raise No(self.node.refusal)
            response, replaced = game.join(self, payload) if game else ({}, None)
            self.topics[topic] = join_ref
            if replaced and topic in replaced.topics:
                replaced.send([replaced.topics[topic], None, topic, "phx_close", {}])
                replaced.topics.pop(topic)
            return response
        if topic not in self.topics:
            raise No("unmatched topic")
        if event == "phx_leave":
            self.topics.pop(topic)
            if game:
                self.node.cluster.left.append([self.node.name, topic])
                game.players = {k: p for k, p in game.players.items() if p.client is not self}
            return {}
        if topic == "matchmaker":
            self.node.cluster.asked.append([event, payload])
            return self.node.cluster.answers.get(event, {})
        if game:
            if self.node.refusals_of_moves > 0:
                self.node.refusals_of_moves -= 1
                raise No(self.node.refusal_of_moves)
            return game.move(self, event, payload)
        for node in self.node.cluster.nodes:
            for client in node.clients:
                if topic in client.topics:
                    client.send([None, None, topic, event, payload])
        return {}


class FakeNode:
    def __init__(self, cluster: FakeCluster, name: str) -> None:
        self.cluster, self.name, self.port = cluster, name, 0
        self.clients: set[Client] = set()
        self.sending: asyncio.Queue[tuple[Client, str]] = asyncio.Queue(10_000)
        self.server: Server | None = None
        self.listed = True
        self.behave()

    def behave(self) -> None:
        self.silent, self.late, self.refusal, self.swallow = False, 0.0, "", 0
        self.refused_topic = ""
        self.refusals_of_moves, self.refusal_of_moves = 0, ""

    async def start(self) -> None:
        self.behave()
        self.server = await serve(self.talk, "127.0.0.1", self.port, process_request=self.http, ping_interval=None)
        self.port = self.server.sockets[0].getsockname()[1]
        self.sender = asyncio.create_task(self.send_all())

    async def die(self) -> None:
        """As a killed process: the sockets are reset, the port refuses."""
        if self.server:
            self.server.close(close_connections=False)
        for client in list(self.clients):
            client.socket.transport.abort()
        self.sender.cancel()

    async def close_clients(self, code: int) -> None:
        for client in list(self.clients):
            await client.socket.close(code)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/socket"

    async def http(self, connection: ServerConnection, request: Request) -> Response | None:
        path = request.path.split("?")[0]
        if self.silent:
            await asyncio.sleep(LONGEST_SILENCE_SECONDS)
        if path.startswith("/socket"):
            return None
        if path == "/servers":
            servers = [{"name": node.name, "url": node.url} for node in self.cluster.nodes if node.listed]
            return answer(json.dumps({"servers": servers}).encode(), "application/json")
        page = WEB / (path.strip("/") or "index.html")
        if page.suffix in TYPES and page.is_file() and page.parent == WEB:
            return answer(page.read_bytes(), TYPES[page.suffix])
        return connection.respond(HTTPStatus.NOT_FOUND, "no such page\n")

    async def talk(self, socket: ServerConnection) -> None:
        client = Client(self, socket)
        self.clients.add(client)
        try:
            async for text in socket:
                if not self.silent:
                    client.handle(json.loads(text))
        except ConnectionClosed:
            pass
        finally:
            self.clients.discard(client)

    async def send_all(self) -> None:
        while True:
            client, text = await self.sending.get()
            if self.late:
                await asyncio.sleep(self.late)
            if not self.silent:
                with contextlib.suppress(Exception):
                    await client.socket.send(text)


def answer(body: bytes, kind: str) -> Response:
    headers = Headers({"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"})
    return Response(200, "OK", headers, body)


class FakeCluster:
    def __init__(self, nodes: int = 3) -> None:
        self.game = FakeGame()
        self.rooms: dict[str, FakeGame] = {}
        self.left: list[list[str]] = []
        self.asked: list[Any] = []
        self.answers: dict[str, Fields] = {}
        self.nodes = [FakeNode(self, f"fake-{i}") for i in range(nodes)]

    async def start(self) -> None:
        for node in self.nodes:
            await node.start()

    def game_on(self, topic: str) -> Any:
        """A room is made with the first join."""
        if topic.startswith("game:"):
            return self.rooms.setdefault(topic, FakeGame(topic))
        return self.game if topic == "game" else None

    async def obey(self, command: Fields) -> Fields:
        match command["do"]:
            case "look":
                where = [len(node.clients) for node in self.nodes]
                players = {k: {"n": p.n, "stay": p.stay} for k, p in self.game.players.items()}
                game = self.game
                seen = {"state": game.state, "applied": game.applied, "welcomes": game.welcomes}
                rooms = {topic: {"state": r.state, "applied": r.applied} for topic, r in self.rooms.items()}
                return {
                    **seen,
                    "clients": where,
                    "players": players,
                    "rooms": rooms,
                    "left": self.left,
                    "asked": self.asked,
                }
            case "say":  # an event on a topic, to everyone there
                for client in [c for node in self.nodes for c in node.clients if command["topic"] in c.topics]:
                    join_ref = client.topics[command["topic"]] if command["event"] == "phx_close" else None
                    client.send([join_ref, None, command["topic"], command["event"], command.get("payload", {})])
            case "answers":  # of the matchmaker, by event
                self.answers = command["answers"]
            case "forget":  # as if the cluster were another one
                self.game = FakeGame()
                self.game.stays = 1000
            case "fail over":
                self.game.epoch += 1
                self.game.change([])
            case "forget history":
                self.game.history.clear()
            case "patch":  # a frame of any position, to everyone
                for client in self.game.clients():
                    client.send([None, None, "game", "patch", command["patch"]])
            case verb:
                await self.node_does(self.nodes[command["node"]], verb, command)
        return {}

    async def node_does(self, node: FakeNode, verb: str, command: Fields) -> None:
        match verb:
            case "die":
                await node.die()
            case "start":
                await node.start()
            case "close":
                await node.close_clients(command["code"])
            case (
                "silent"
                | "late"
                | "refusal"
                | "refused_topic"
                | "swallow"
                | "listed"
                | "refusals_of_moves"
                | "refusal_of_moves"
            ):
                setattr(node, verb, command["value"])
            case "behave":
                node.behave()
            case _:
                raise ValueError(verb)


async def main(nodes: int) -> None:
    cluster = FakeCluster(nodes)
    await cluster.start()
    print(json.dumps([{"name": node.name, "url": node.url, "port": node.port} for node in cluster.nodes]), flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        print(json.dumps(await cluster.obey(json.loads(line))), flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 3))
