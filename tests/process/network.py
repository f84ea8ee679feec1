"""A network of namespaces for one cluster: every node has its own address, and any direction between any two can be cut.

It needs Linux, ``ip`` (iproute2) and either root or user namespaces. Nothing of it is visible outside of the process that makes it (started
by ``unshare --net``), and nothing outlives that process. A cut is silent, as a broken switch is: the sender's neighbour entry names a
hardware address that nobody has, so packets leave and never arrive, and no socket is told.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence

HUB = "hub"
NOWHERE = "02:00:00:00:ff:ff"
SETUP_SECONDS = 5.0


def inside(module: str, arguments: Sequence[str]) -> list[str]:
    """The command line that runs ``python -m module`` within a network of its own. Raises OSError if the kernel lets nobody."""
    for missing in (program for program in ("unshare", "nsenter", "ip") if not shutil.which(program)):
        raise OSError(f"{missing} is not in the PATH: install util-linux and iproute2")
    for way in (["unshare", "--net"], ["unshare", "--user", "--map-root-user", "--net"]):
        if subprocess.run([*way, "true"], capture_output=True, check=False).returncode == 0:
            return [*way, sys.executable, "-m", module, *arguments]
    raise OSError("the kernel allows no network namespace: run as root, or allow user namespaces")


class Network:
    """Places ``0`` … ``count - 1`` and the hub, where the calling process is; all reach each other at first."""

    def __init__(self, count: int) -> None:
        self._holders: list[subprocess.Popen[bytes]] = []
        self._cut: set[tuple[object, object]] = set()
        _run("ip", "link", "set", "lo", "up")
        _run("ip", "link", "add", "br0", "address", self.hardware(HUB), "type", "bridge")
        _run("ip", "address", "add", f"{self.address(HUB)}/24", "dev", "br0")
        _run("ip", "link", "set", "br0", "up")
        self.places: list[object] = [*range(count), HUB]
        for place in range(count):
            self._holders.append(_holder())
            self._join(place)
        for one in self.places:
            for other in self.places:
                if one != other:
                    self._neighbour(one, other, self.hardware(other))

    def address(self, place: object) -> str:
        return "10.77.0.1" if place == HUB else f"10.77.0.{10 + int(str(place))}"

    def hardware(self, place: object) -> str:
        return "02:00:00:00:00:01" if place == HUB else f"02:00:00:00:01:{10 + int(str(place)):02x}"

    def within(self, place: object, *command: str) -> list[str]:
        """The command, to be run at this place."""
        if place == HUB:
            return list(command)
        return ["nsenter", f"--target={self._holders[int(str(place))].pid}", "--net", *command]

    def cut(self, senders: Iterable[object], receivers: Iterable[object], both_ways: bool = True) -> None:
        """From now on nothing that these send arrives at those; ``both_ways``: nor the other way."""
        for sender in senders:
            for receiver in receivers:
                for one, other in [(sender, receiver), (receiver, sender)][: 2 if both_ways else 1]:
                    if one != other and (one, other) not in self._cut:
                        self._cut.add((one, other))
                        self._neighbour(one, other, NOWHERE)

    def heal(self) -> None:
        for one, other in self._cut:
            self._neighbour(one, other, self.hardware(other))
        self._cut.clear()

    def reset(self, place: object, port: int) -> int:
        """Ends all TCP connections of this place from or to a port, with an RST to the other side; returns how many."""
        ended = _run(*self.within(place, "ss", "-HK", "-tn", f"( sport = :{port} or dport = :{port} )"))
        return len(ended.splitlines())

    def close(self) -> None:
        """Namespaces end with the last process in them."""
        for holder in self._holders:
            holder.communicate(timeout=SETUP_SECONDS)

    def _join(self, place: int) -> None:
        holder = str(self._holders[place].pid)
        peer = ["peer", "name", "eth0", "address", self.hardware(place), "netns", holder]
        _run("ip", "link", "add", f"v{place}", "type", "veth", *peer)
        _run("ip", "link", "set", f"v{place}", "master", "br0", "up")
        _run(*self.within(place, "ip", "link", "set", "lo", "up"))
        _run(*self.within(place, "ip", "address", "add", f"{self.address(place)}/24", "dev", "eth0"))
        _run(*self.within(place, "ip", "link", "set", "eth0", "up"))

    def _neighbour(self, one: object, other: object, hardware: str) -> None:
        device = "br0" if one == HUB else "eth0"
        entry = [self.address(other), "lladdr", hardware, "dev", device, "nud", "permanent"]
        _run(*self.within(one, "ip", "neighbour", "replace", *entry))


def _holder() -> subprocess.Popen[bytes]:
    """A process that keeps a network namespace until its stdin closes, with its maker at the latest."""
    holder = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    own, deadline = os.readlink("/proc/self/ns/net"), time.monotonic() + SETUP_SECONDS
    while os.readlink(f"/proc/{holder.pid}/ns/net") == own:
        if holder.poll() is not None or time.monotonic() > deadline:
            raise OSError("no network namespace could be made")
        time.sleep(0.005)
    return holder


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
