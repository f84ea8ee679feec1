"""``kubectl port-forward``, kept up: it ends with the container behind it, and whenever that refuses a connection."""

from __future__ import annotations

import re
import subprocess
import threading

from ..kubectl import missing

FIRST_SECONDS = 10.0
RETRY_SECONDS = 0.2
SAYS = re.compile(rb"Forwarding from 127\.0\.0\.1:(\d+)")


class Forward:
    """A port of a pod on a port of this machine, until it is closed. The pod may be away, and another of its name may come.

    ``port``: kubectl chooses it at first and has it again each time; 0 while there was no pod yet."""

    def __init__(self, namespace: str, pod: str, port: int) -> None:
        self.port = 0
        self._command = ["kubectl", "-n", namespace, "port-forward", "--address=127.0.0.1", f"pod/{pod}"]
        self._there = port
        self._tried = threading.Event()
        self._closing = threading.Event()
        self._process = self._start()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Until the port is there, or there turned out to be no pod yet."""
        self._tried.wait(FIRST_SECONDS)

    def close(self) -> None:
        self._closing.set()
        self._process.terminate()
        self._thread.join(timeout=5)

    def _keep(self) -> None:
        while True:
            with self._process as process:
                for line in process.stdout or ():
                    if said := SAYS.match(line):
                        self.port = int(said[1])
                        self._tried.set()
            self._tried.set()
            if self._closing.wait(RETRY_SECONDS):
                return
            self._process = self._start()
            if self._closing.is_set():  # which may have been too early for this one
                self._process.terminate()

    def _start(self) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                [*self._command, f"{self.port or ''}:{self._there}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C ends the run in an orderly way, which needs the way to the pods
            )
        except FileNotFoundError:
            raise missing() from None
