"""`ssh-keygen -Y sign`, for keys that it alone can use: locked ones through the agent, and those on a token."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from fountain.cli.text import system_words
from fountain.errors import LocalError

__all__ = ["sign_with_ssh_keygen"]

_PATIENCE_S = 120  # A token may wait for a finger.
_ASKING = ("SSH_ASKPASS", "DISPLAY", "WAYLAND_DISPLAY")


def sign_with_ssh_keygen(key: Path, message: bytes, namespace: bytes, variables: Mapping[str, str]) -> bytes:
    """The armored signature of `message` by the key in a file, or by the agent for it. Nothing asks for a passphrase.

    Raises:
        LocalError: there is no ssh-keygen, or it could not sign.
    """
    environment = {name: value for name, value in variables.items() if name not in _ASKING}
    command = ["ssh-keygen", "-Y", "sign", "-f", str(key), "-n", namespace.decode("ascii")]
    try:
        done = subprocess.run(
            command,
            input=message,
            capture_output=True,
            env={**environment, "SSH_ASKPASS_REQUIRE": "never"},
            start_new_session=True,  # Without a terminal it asks nobody.
            timeout=_PATIENCE_S,
            check=False,
        )
    except FileNotFoundError as error:
        hint = "Install openssh-client, or sign with an ed25519 key without a passphrase."
        raise LocalError(f"The key {key} is locked, and there is no ssh-keygen that could use it.", hint) from error
    except subprocess.TimeoutExpired as error:
        raise LocalError(f"ssh-keygen did not sign within {_PATIENCE_S} s.", "Is the agent waiting?") from error
    except OSError as error:
        raise LocalError(f"ssh-keygen cannot be run: {system_words(error)}.") from error
    if done.returncode:
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()
        said = f": {words[-1].rstrip('.')}" if words else ""
        hint = f"Is the key locked? Give it to the agent first: ssh-add {key}"
        raise LocalError(f"ssh-keygen could not sign with {key}{said}.", hint)
    return done.stdout
