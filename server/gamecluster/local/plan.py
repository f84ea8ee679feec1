"""What ``gamecluster up`` is going to run: worked out and checked before anything is started."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import manifest
from ..errors import ConfigurationError
from ..settings import PREFIX, Settings

HOST = "127.0.0.1"
MAX_NODES = 20
NODE_COMMAND = (sys.executable, "-m", "gamecluster.local.node")
OWN_VARIABLES = (
    "NODE",
    "NAME",
    "POD_UID",
    "TARGETS",
    "HOST",
    "PORT",
    "MESH_PORT",
    "ADMIN_PORT",
    "URL",
    "PEERS",
    "LEASE",
)
OWN_FILES = ("DATA_DIR", "MESH_KEY_FILE", "PLAYER_KEY_FILE")


@dataclass(frozen=True)
class NodePlace:
    """Where node ``index`` is found."""

    name: str
    port: int

    @property
    def mesh_address(self) -> str:
        return f"{HOST}:{self.port + 100}"

    @property
    def admin_url(self) -> str:
        return f"http://{HOST}:{self.port + 200}"

    @property
    def socket_url(self) -> str:
        return f"ws://{HOST}:{self.port}/socket"

    @property
    def ports(self) -> tuple[int, int, int]:
        return self.port, self.port + 100, self.port + 200


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One local cluster. ``environment`` is what all its nodes share. ``restores``: a total loss begins with what is stored."""

    name: str
    count: int
    port: int
    data: Path
    environment: Mapping[str, str]
    restart: bool = True
    restores: bool = True
    command: Sequence[str] = NODE_COMMAND

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(self.environment[PREFIX + "TARGETS"].split(","))

    @property
    def lease(self) -> Path:
        return self.data / "lease.json"

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/"

    @property
    def storage(self) -> str:
        return self.environment.get(PREFIX + "STORAGE") or "memory:"

    @property
    def keeps(self) -> bool:
        """There is a storage beyond the nodes' memory."""
        return self.storage != "memory:"

    def place(self, index: int) -> NodePlace:
        return NodePlace(f"{self.name}-{index}", self.port + 1 + index)

    def node_environment(self, index: int, others: Iterable[int]) -> dict[str, str]:
        """The whole environment of node ``index``, which is to find the nodes ``others``."""
        place = self.place(index)
        own = {
            "NODE": place.name,
            "PORT": str(place.port),
            "URL": place.socket_url,
            "PEERS": ",".join(self.place(other).mesh_address for other in others if other != index),
            "DATA_DIR": str((self.data / place.name).absolute()),
        }
        kind, _, folder = self.storage.partition(":")
        if kind == "volume" and folder:  # one folder each
            own["STORAGE"] = f"volume:{Path(folder).absolute() / place.name}"
        return {**self.environment, **{PREFIX + name: value for name, value in own.items()}}


def make(
    targets: Sequence[str],
    file: Path | None,
    *,
    nodes: int | None,
    port: int,
    data: Path | None,
    restart: bool,
    environment: Mapping[str, str],
) -> Plan:
    """The plan for the arguments of ``gamecluster up``. Raises ConfigurationError."""
    if file and targets:
        raise ConfigurationError("give targets or a manifest, not both: the manifest has its own under spec.targets")
    _refuse_own_variables(environment)
    read = manifest.read(file) if file else None
    name = read.metadata.name if read else "game" if targets else "arena"
    count = nodes if nodes is not None else read.spec.replicas if read else 3
    check_count(count)
    if not 1024 <= port <= 65_000:
        raise ConfigurationError(f"--port {port}: expected a port from 1024 to 65000")
    folder = data or Path(".gamecluster") / name
    shared = {
        **(read.environment if read else {PREFIX + "TARGETS": ",".join(targets or manifest.DEMO_TARGETS)}),
        **environment,
        PREFIX + "NAME": name,
        PREFIX + "HOST": HOST,
        PREFIX + "LEASE": f"file:{(folder / 'lease.json').absolute()}",
        PREFIX + "MESH_KEY_FILE": str((folder / "mesh.key").absolute()),
        PREFIX + "PLAYER_KEY_FILE": str((folder / "player.key").absolute()),
    }
    allowed = [part for part in shared.get(PREFIX + "ALLOWED_ORIGINS", "").split(",") if part]
    shared[PREFIX + "ALLOWED_ORIGINS"] = ",".join([*allowed, *_own_origins(port)])
    for field, kind in (("pubsub", read.spec.pubsub.type), ("storage", read.spec.storage.type)) if read else ():
        if kind in ("Redis", "PostgreSQL") and not shared.get(PREFIX + field.upper()):
            raise ConfigurationError(
                f"{file}: spec.{field}.type is {kind}, whose address is in a Secret on Kubernetes: "
                f"set {PREFIX}{field.upper()} to {kind.lower()}://… here"
            )
    restores = read is None or read.spec.game_state.on_total_loss != "Reset"
    plan = Plan(name=name, count=count, port=port, data=folder, environment=shared, restart=restart, restores=restores)
    Settings.from_env(plan.node_environment(0, range(count)))
    return plan


def check_count(count: int, least: int = 1) -> None:
    if not least <= count <= MAX_NODES:
        raise ConfigurationError(f"{count} nodes: a local cluster has from {least} to {MAX_NODES}")


def check_ports(plan: Plan, indexes: Iterable[int], *, entrance: bool) -> None:
    """Raises ConfigurationError that names each port in use, so that nothing is started halfway."""
    wanted = [(plan.port, "the shared entrance")] if entrance else []
    for index in indexes:
        place = plan.place(index)
        roles = ("clients", "the mesh", "admin")
        wanted += [(port, f"{place.name}, {role}") for port, role in zip(place.ports, roles, strict=True)]
    taken = [f"{port} ({who})" for port, who in wanted if not _is_free(port)]
    if taken:
        raise ConfigurationError(
            f"in use on {HOST}: port {', port '.join(taken)}. End what listens there (`ss -ltnp` shows it), "
            f"or choose other ports: `gamecluster up --port {plan.port + 1000}`"
        )


def prepare_folder(plan: Plan) -> None:
    """The data folder with the cluster's keys, which only this user can read."""
    try:
        plan.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("mesh.key", "player.key"):
            path = plan.data / name
            if not path.exists():
                with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
                    out.write(secrets.token_hex(32))
    except OSError as error:
        raise ConfigurationError(f"--data {plan.data}: {error.strerror}") from None


def _refuse_own_variables(environment: Mapping[str, str]) -> None:
    for name in (*OWN_VARIABLES, *OWN_FILES):
        if environment.get(PREFIX + name):
            raise ConfigurationError(
                f"{PREFIX}{name} is set, but `gamecluster up` gives each node its own: unset it "
                "(targets, --port, --data and the manifest are the way to choose)"
            )


def _own_origins(port: int) -> list[str]:
    """A page that came through one port may connect to all of them."""
    ports = range(port, port + MAX_NODES + 1)
    return [f"http://{host}:{p}" for host in (HOST, "localhost") for p in ports]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
