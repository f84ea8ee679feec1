"""As much of ``kubectl`` as ``gamecluster chaos -n`` needs, with a local cluster in the place of pods.

Pods are the nodes of the ``gamecluster up`` in FAKE_DATA. What a test wants otherwise is in the variables: FAKE_DENIED (rights, as
``verb resource``, by commas), FAKE_READY (the status of the condition), FAKE_RESTARTS (of every container), FAKE_AUTOSCALING (it
is on). It imports next to nothing: it is started many times.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from contextlib import suppress

Object = dict[str, object]
DATA = os.environ["FAKE_DATA"]
REPLICAS = f"{DATA}/replicas"
KIND = "gameclusters.gamecluster.dev"


def main(words: list[str]) -> int:
    namespace, words = words[1], words[2:]
    match words:
        case ["get", kind, "-o", "name"] if kind == KIND:
            print("gamecluster.gamecluster.dev/game" if namespace == "default" else "")
        case ["get", kind, name, "-o", _] if kind == KIND and (namespace, name) != ("default", "game"):
            return fail(f'Error from server (NotFound): {KIND} "{name}" not found')
        case ["get", kind, _, "-o", "json"] if kind == KIND:
            print(json.dumps(game_cluster()))
        case ["get", kind, _, "-o", path] if kind == KIND and path == f"jsonpath={{{counted_in()}}}":
            print(replicas())
        case ["get", "pod", _, "-o", path] if "restartCount" in path:
            print(os.environ.get("FAKE_RESTARTS", "0"))
        case ["auth", "can-i", verb, resource, *part]:
            right = " ".join([verb, "/".join([resource, *(p.partition("=")[2] for p in part)])])
            is_denied = right in os.environ.get("FAKE_DENIED", "").split(",")
            print("no" if is_denied else "yes")
            return int(is_denied)
        case ["exec", _, "-c", "server", "--", "printenv", _]:
            print("token")
        case ["exec", pod, "-c", "server", "--", "python", "-c", code, pid]:
            return execute(pod, code, pid)
        case ["delete", "pod", pod, "--wait=false"]:
            ask({"do": "stop", "node": pod})
            ask({"do": "start", "node": pod})
        case ["delete", "pod", pod, "--force", "--grace-period=0"]:
            ask({"do": "kill", "node": pod})
        case ["scale", what, count] if what == f"{KIND}/game":
            with open(REPLICAS, "w") as file:
                file.write(count.partition("=")[2])
            ask({"do": "scale", "count": replicas()})
        case ["port-forward", "--address=127.0.0.1", pod, ports]:
            here, there = (int(port or 0) for port in ports.split(":"))
            return forward(pod.removeprefix("pod/"), here, there)
        case _:
            return fail(f"error: this is not known here: {words}")
    return 0


def fail(text: str) -> int:
    print(text, file=sys.stderr)
    return 1


def ask(command: Object) -> list[Object]:
    """The nodes, after the supervisor has done it."""
    with socket.socket(socket.AF_UNIX) as control, control.makefile("rwb") as lines:
        control.connect(f"{DATA}/up.sock")
        lines.write(json.dumps(command).encode() + b"\n")
        lines.flush()
        nodes: list[Object] = json.loads(lines.readline())["nodes"]
        return nodes


def replicas() -> int:
    return int(open(REPLICAS).read()) if os.path.exists(REPLICAS) else 3


def port(name: str, kind: str) -> int | None:
    """Of the node's ``url`` or ``admin``; None if there is no such node."""
    found = [str(node[kind]) for node in ask({"do": "nodes"}) if node["name"] == name]
    return int(found[0].split("/")[2].rpartition(":")[2]) if found else None


def game_cluster() -> Object:
    with socket.create_connection(("127.0.0.1", port("game-0", "admin"))) as admin:
        admin.sendall(b"GET /cluster HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        answer = admin.makefile("rb").read()
    leader = json.loads(answer.partition(b"\r\n\r\n")[2])["leader"]
    ready = {"type": "Ready", "status": os.environ.get("FAKE_READY", "True"), "message": "so says the operator"}
    spec: Object = {"replicas": replicas()}
    if os.environ.get("FAKE_AUTOSCALING"):
        spec["autoscaling"] = {"maxReplicas": 5}
    return {"spec": spec, "status": {"leader": leader, "conditions": [ready]}}


def counted_in() -> str:
    return ".status.replicas" if os.environ.get("FAKE_AUTOSCALING") else ".spec.replicas"


def execute(pod: str, code: str, pid: str) -> int:
    """What runs in a container ends with it."""
    child = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-c", code, pid])
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if all(str(node["pid"]) != pid for node in ask({"do": "nodes"})):
            os.kill(child, 9)
            os.waitpid(child, 0)
            fail("command terminated with exit code 137")
            return 137
        time.sleep(0.02)
    return fail("command terminated with exit code 1")


def forward(pod: str, here: int, there: int) -> int:
    """Ends as soon as the pod refuses a connection, as the real one does."""
    from threading import Thread

    to = port(pod, "url" if there == 4000 else "admin")
    if to is None:
        return fail(f'Error from server (NotFound): pods "{pod}" not found')
    with socket.create_server(("127.0.0.1", here)) as server:
        print(f"Forwarding from 127.0.0.1:{server.getsockname()[1]} -> {there}", flush=True)
        while True:
            near, _ = server.accept()
            try:
                far = socket.create_connection(("127.0.0.1", to))
            except OSError:
                return fail("error: lost connection to pod")
            for source, sink in ((near, far), (far, near)):
                Thread(target=copy, args=(source, sink), daemon=True).start()


def copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):  # it may be closed already
        sink.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
