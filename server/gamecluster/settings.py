"""Environment → one frozen ``Settings``, checked when built. The table of variables in docs/configuration.md is made from it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .errors import ConfigurationError

PREFIX = "GAMECLUSTER_"
DATA_DIR = Path(".gamecluster")


def _variable(help: str, parse: Callable[[str], Any] = str, **kwargs: Any) -> Any:
    return field(metadata={"help": help, "parse": parse}, **kwargs)


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError(f"a whole number from {low} to {high}") from None
        if not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return value

    return parse


def _one_of(*values: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in values:
            raise ValueError(" or ".join(values))
        return text

    return parse


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _name(text: str) -> str:
    if not text or len(text) > 63 or not all(c.isascii() and (c.isalnum() or c == "-") for c in text):
        raise ValueError("a DNS label: letters, digits and dashes, at most 63")
    return text


def _switch(text: str) -> bool:
    if text.lower() not in ("on", "off", "true", "false", "1", "0"):
        raise ValueError("on or off")
    return text.lower() in ("on", "true", "1")


def _storage(text: str) -> str:
    kind, _, rest = text.partition(":")
    is_url = kind in ("redis", "rediss", "postgresql", "postgres") and rest.startswith("//") and len(rest) > 2
    if text == "memory:" or kind == "volume" or is_url:
        return text
    raise ValueError("memory:, volume:<folder>, redis://… or postgresql://…")


def _pubsub(text: str) -> str:
    kind, separator, _ = text.partition("://")
    if text == "mesh" or (separator and kind in ("redis", "rediss", "postgresql", "postgres") and _has_server(text)):
        return text
    raise ValueError(
        "mesh, redis://<host>:<port>, rediss://<host>:<port> or postgresql://<user>@<host>:<port>/<database>"
    )


def _has_server(url: str) -> bool:
    """PostgreSQL's may name several, or a socket in its query."""
    parts = urlsplit(url)
    if parts.scheme.startswith("postgres"):
        return bool(parts.netloc) or "host=" in parts.query
    try:
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _without_password(text: str) -> str:
    return re.sub(r"//[^/]*@", "//…@", text)


def _lease(text: str) -> str:
    kind, _, rest = text.partition(":")
    if (kind == "file" and rest) or (kind == "kubernetes" and rest.count("/") == 1 and all(rest.split("/"))):
        return text
    raise ValueError("file:<path> or kubernetes:<namespace>/<name>")


def _peers(text: str) -> tuple[str, ...]:
    peers = _list(text)
    for peer in peers:
        host, _, port = peer.removeprefix("dns:").rpartition(":")
        if not host or not port.isdigit():
            raise ValueError("a list of host:port, or dns:<headless name>:<port>")
    return peers


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that one node is told. Every field is the variable ``GAMECLUSTER_<FIELD NAME>``."""

    node: str = _variable("this node's name, unique in the cluster (on Kubernetes: the pod's name)", _name)
    name: str = _variable("the cluster's name", _name, default="gamecluster")
    pod_uid: str = _variable("what tells two pods of one name apart; kept in the data folder if not given", default="")
    targets: tuple[str, ...] = _variable(
        "`module:Class` or `file.py:Class`, several by commas: a Game, Channels, Singletons", _list, default=()
    )
    host: str = _variable("address to listen on", default="127.0.0.1")
    port: int = _variable("client port (WebSocket and page)", _integer(1, 65335), default=4000)
    mesh_port: int = _variable("port for other nodes; default: client port + 100", _integer(0, 65535), default=0)
    admin_port: int = _variable(
        "port for probes, metrics and look-ups; default: client port + 200", _integer(0, 65535), default=0
    )
    url: str = _variable(
        "WebSocket address under which clients reach this very node, for `/servers`; a path before `/socket` is taken off",
        default="",
    )
    peers: tuple[str, ...] = _variable(
        "other nodes: list of host:port, or `dns:<headless name>:<port>`", _peers, default=()
    )
    lease: str = _variable(
        "where the GameState's Lease is: `file:<path>` or `kubernetes:<namespace>/<name>`", _lease, default=""
    )
    data_dir: Path = _variable(
        "folder that outlives the process (an emptyDir): holds the boot counter", Path, default=DATA_DIR
    )
    mesh_key_file: Path | None = _variable(
        "file with the key that admits nodes to the mesh (32 bytes or more)", Path, default=None
    )
    player_key_file: Path | None = _variable(
        "file with the key that signs players' tokens (32 bytes or more)", Path, default=None
    )
    admin_token: str = _variable("bearer token for the admin port; required off loopback", default="")
    allowed_origins: tuple[str, ...] = _variable(
        "origins of web pages that may connect, beside the server's own; `*` for all", _list, default=()
    )
    gamestate_replicas: int = _variable("size of the in-sync set that is aimed at", _integer(1, 9), default=3)
    suspect_after_milliseconds: int = _variable(
        "silence after which a node is suspected; half of it without an acknowledgement, and others do not wait for it any more",
        _integer(100, 60_000),
        default=500,
    )
    lease_duration_seconds: int = _variable(
        "written to the Lease; renewed three times as often", _integer(3, 600), default=15
    )
    alone_without_api: str = _variable(
        "what the last in-sync node does when its companions were lost and the Lease has not answered for its duration: "
        "`stop` committing, as the game may be restored elsewhere, or `continue`, at the risk of two games until the Lease answers",
        _one_of("stop", "continue"),
        default="stop",
    )
    takeover: bool = _variable(
        "whether replicas take over from a dead leader themselves (off: only the backstop does)", _switch, default=True
    )
    pubsub: str = _variable(
        "what carries channels' broadcasts between nodes: `mesh` (the nodes themselves), `redis://…`, `rediss://…` or `postgresql://…`",
        _pubsub,
        default="mesh",
    )
    storage: str = _variable(
        "where the GameState is kept beyond the pods' memory: `memory:` (nowhere), `volume:<folder>` (a folder of this node's own; "
        "without a name `storage` in its data folder), `redis://…` or `postgresql://…` (one for all nodes)",
        _storage,
        default="memory:",
    )
    durability: str = _variable(
        "`memory`: a commit waits for the other nodes' memory only; `storage`: it waits for the leader's storage, too",
        _one_of("memory", "storage"),
        default="memory",
    )
    limit_messages_per_second: int = _variable(
        "messages a second that a client may send; bursts of twice that", _integer(1, 100_000), default=60
    )
    limit_frame_bytes: int = _variable("largest frame a client may send", _integer(128, 16_777_216), default=65_536)
    limit_connections: int = _variable(
        "client connections that this node accepts", _integer(1, 1_000_000), default=10_000
    )
    presence_grace_milliseconds: int = _variable(
        "a player whose socket, or node, is lost and who is back within it never left for the others",
        _integer(0, 60_000),
        default=500,
    )
    revision: str = _variable("the pod template's revision; a hand-over prefers a node of the newest", default="")
    log_format: str = _variable("`text` or `json`", _one_of("text", "json"), default="text")
    log_level: str = _variable("`debug`, `info` or `warning`", _one_of("debug", "info", "warning"), default="info")

    @classmethod
    def from_env(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Reads ``GAMECLUSTER_*``. Raises ConfigurationError, which names the variable and what would be valid."""
        env = os.environ if environment is None else environment
        known = {PREFIX + f.name.upper(): f for f in fields(cls)}
        for variable in env:
            if variable.startswith(PREFIX) and variable not in known:
                raise ConfigurationError(
                    f"{variable} is not a variable of a node; there are: {', '.join(sorted(known))}"
                )
        values: dict[str, Any] = {}
        for variable, f in known.items():
            text = env.get(variable, "").strip()
            if not text:
                continue
            try:
                values[f.name] = f.metadata["parse"](text)
            except ValueError as error:
                raise ConfigurationError(f"{variable}={_without_password(text)!r}: expected {error}") from None
        if "node" not in values:
            raise ConfigurationError(
                f"{PREFIX}NODE is missing: give this node a name that is unique in the cluster, such as arena-0"
            )
        return cls(**values)

    def __post_init__(self) -> None:
        object.__setattr__(self, "mesh_port", self.mesh_port or self.port + 100)
        object.__setattr__(self, "admin_port", self.admin_port or self.port + 200)
        if len({self.port, self.mesh_port, self.admin_port}) < 3:
            raise ConfigurationError(f"{PREFIX}PORT, _MESH_PORT and _ADMIN_PORT must differ")
        if self.peers and not self.mesh_key_file:
            raise ConfigurationError(
                f"{PREFIX}PEERS needs {PREFIX}MESH_KEY_FILE: nodes admit each other by a shared key"
            )
        if self.peers and not self.lease:
            raise ConfigurationError(f"{PREFIX}PEERS needs {PREFIX}LEASE: without it two nodes could both lead")
        if not self.is_loopback and not self.admin_token:
            raise ConfigurationError(
                f"{PREFIX}HOST={self.host} is not loopback, so the admin port needs {PREFIX}ADMIN_TOKEN (any long random text)"
            )
        if self.durability == "storage" and self.storage == "memory:":
            raise ConfigurationError(
                f"{PREFIX}DURABILITY=storage needs {PREFIX}STORAGE: volume:<folder>, redis://… or postgresql://…"
            )
        if self.suspect_after_milliseconds * 4 > self.lease_duration_seconds * 1000:
            raise ConfigurationError(
                f"{PREFIX}LEASE_DURATION_SECONDS={self.lease_duration_seconds} must be at least four times "
                f"{PREFIX}SUSPECT_AFTER_MILLISECONDS={self.suspect_after_milliseconds}"
            )

    @property
    def is_loopback(self) -> bool:
        return self.host in ("127.0.0.1", "::1", "localhost")

    @property
    def suspect_after_seconds(self) -> float:
        return self.suspect_after_milliseconds / 1000


def variables() -> list[tuple[str, str, str]]:
    """(variable, default, meaning) of every setting, for the documentation."""
    rows = []
    for f in fields(Settings):
        default = "" if f.name == "node" or f.default is None else f.default
        text = ",".join(default) if isinstance(default, tuple) else str(default)
        rows.append((PREFIX + f.name.upper(), text, f.metadata["help"]))
    return rows
