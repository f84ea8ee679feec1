"""Keys in files: of the mesh, and of players' tokens."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path

from ..errors import ConfigurationError
from .handshake import KEY_BYTES_AT_LEAST


def read_key(path: Path, variable: str) -> bytes:
    """A key of 32 bytes or more from a file: random bytes, or text, of which a line's end is no part. Raises ConfigurationError."""
    try:
        key = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{variable}={path}: can't be read ({error.strerror})") from error
    if key.isascii():
        key = key.strip()
    if len(key) < KEY_BYTES_AT_LEAST:
        raise ConfigurationError(
            f"{variable}={path}: {len(key)} bytes; expected {KEY_BYTES_AT_LEAST} random bytes or more"
        )
    return key


def player_key(player_key_file: Path | None, mesh_key_file: Path | None) -> bytes:
    """The key that signs tokens: the file's, else one that all pods derive from the mesh key, else a passing one."""
    if player_key_file is not None:
        return read_key(player_key_file, "GAMECLUSTER_PLAYER_KEY_FILE")
    if mesh_key_file is not None:
        mesh_key = read_key(mesh_key_file, "GAMECLUSTER_MESH_KEY_FILE")
        return hmac.digest(mesh_key, b"gamecluster player key", hashlib.sha256)
    return secrets.token_bytes(KEY_BYTES_AT_LEAST)
