"""``kubectl`` with its current context: how the commands that take ``-n NAMESPACE`` reach Kubernetes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from .errors import ConfigurationError

ANSWER_SECONDS = 30.0
SERVER_PODS = "app.kubernetes.io/component=server,app.kubernetes.io/instance="


def ask(*arguments: str) -> str:
    """What it prints. Raises ConfigurationError with its last line, which is the one that says why."""
    try:
        done = subprocess.run(
            ["kubectl", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ANSWER_SECONDS,
            check=False,
            start_new_session=True,  # a Ctrl-C is for us: what we undo because of it goes through kubectl, too
        )
    except FileNotFoundError:
        raise missing() from None
    except subprocess.TimeoutExpired:
        raise ConfigurationError(f"kubectl did not answer within {ANSWER_SECONDS:.0f} s") from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ConfigurationError(f"kubectl: {said[-1].removeprefix('error: ')}")
    return done.stdout


def show(arguments: Sequence[str]) -> int:
    """Lets it print for itself; returns its exit code."""
    sys.stdout.flush()
    try:
        return subprocess.run(["kubectl", *arguments], check=False).returncode
    except FileNotFoundError:
        raise missing() from None


def missing() -> ConfigurationError:
    return ConfigurationError("-n NAMESPACE CLUSTER needs kubectl, which is not in the PATH")
