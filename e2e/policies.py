"""Keeps the cluster's NetworkPolicies, as a network plugin would: kind's network lets everything through.

Every node's kernel gets one chain of iptables rules for what it forwards to pods. Written from what the API says of policies,
namespaces and pods as they are now, and not from how the operator makes them; it knows what these use, and refuses the rest.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from .cluster import run
from .nodes import control_plane, in_node, workers

CHAIN = "E2E-POLICIES"
Object = dict[str, Any]


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """For the pods that there are now. A node's own packets to its pods, such as probes, are not asked about."""
    nodes = [control_plane(), *workers()]
    lines = rules(_all("networkpolicies"), _all("namespaces"), _all("pods"))
    table = "\n".join(["*filter", f":{CHAIN} - [0:0]", *lines, f"-I FORWARD -j {CHAIN}", "COMMIT", ""])
    laid: list[str] = []
    try:
        for node in nodes:
            run("docker", "exec", "--interactive", node, "iptables-restore", "--noflush", stdin=table)
            laid.append(node)
        yield
    finally:
        for node in laid:
            in_node(
                node, "sh", "-euc", f"iptables -w -D FORWARD -j {CHAIN}; iptables -w -F {CHAIN}; iptables -w -X {CHAIN}"
            )


def rules(policies: list[Object], namespaces: list[Object], pods: list[Object]) -> list[str]:
    """What a pod that any policy selects is sent is dropped, unless one of them lets it in."""
    labels = {namespace["metadata"]["name"]: namespace["metadata"]["labels"] for namespace in namespaces}
    running = [pod for pod in pods if pod["status"].get("podIP") and not pod["spec"].get("hostNetwork")]
    lines = [f"-A {CHAIN} -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN"]
    for pod in running:
        ours = [policy for policy in policies if _selects(policy, pod)]
        to = f"-A {CHAIN} -d {pod['status']['podIP']}"
        allowed = [way for policy in ours for way in _ways(policy, running, labels)]
        lines += [f"{to} {way} -j RETURN" for way in allowed]
        lines += [f"{to} -j DROP"] if ours else []
    return lines


def _ways(policy: Object, pods: list[Object], labels: dict[str, dict[str, str]]) -> Iterator[str]:
    home = policy["metadata"]["namespace"]
    for rule in policy["spec"].get("ingress", []):
        assert rule.keys() <= {"from", "ports"} and rule["ports"]
        peers = rule.get("from") or [None]
        for port in rule["ports"]:
            assert port.keys() == {"protocol", "port"} and isinstance(port["port"], int)
            to = f"-p {port['protocol'].lower()} --dport {port['port']}"
            for peer in peers:
                sources = [f"-s {pod['status']['podIP']}" for pod in pods if peer and _is(peer, pod, home, labels)]
                yield from (f"{source} {to}" for source in (sources if peer else [""]))


def _is(peer: Object, pod: Object, home: str, labels: dict[str, dict[str, str]]) -> bool:
    """Without a namespaceSelector it is one of the policy's own namespace, without a podSelector it is any."""
    assert peer.keys() <= {"namespaceSelector", "podSelector"}
    namespace = pod["metadata"]["namespace"]
    near = _matches(peer["namespaceSelector"], labels[namespace]) if "namespaceSelector" in peer else namespace == home
    return near and _matches(peer.get("podSelector", {}), pod["metadata"].get("labels", {}))


def _selects(policy: Object, pod: Object) -> bool:
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    is_near = policy["metadata"]["namespace"] == pod["metadata"]["namespace"]
    return is_near and _matches(policy["spec"]["podSelector"], pod["metadata"].get("labels", {}))


def _matches(selector: Object, present: dict[str, str]) -> bool:
    assert selector.keys() <= {"matchLabels"}
    wanted: dict[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= present.items()


def _all(kind: str) -> list[Object]:
    items: list[Object] = json.loads(run("kubectl", "get", kind, "--all-namespaces", "-o", "json"))["items"]
    return items
