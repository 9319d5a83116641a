"""Keys, signatures and verdicts of the real ssh-keygen, beside ours."""

from __future__ import annotations

import shutil
import subprocess
from datetime import datetime, timezone
from pathlib import Path

import pytest

from fountain.errors import UntrustedError
from fountain.trust.release import NAMESPACE, check_release
from fountain.trust.signers import AllowedSigners
from fountain.trust.sshsig import dearmor, parse_signature

SSH_KEYGEN = shutil.which("ssh-keygen")
NEEDS_SSH_KEYGEN = pytest.mark.skipif(SSH_KEYGEN is None, reason="ssh-keygen is not installed: openssh-client")
NOW = datetime(2026, 11, 28, 12, tzinfo=timezone.utc)


def keygen(*words: str | Path, stdin: bytes = b"", environment: dict[str, str] | None = None) -> bytes:
    """What `ssh-keygen` with these words writes to stdout."""
    command = ["ssh-keygen", *map(str, words)]
    return subprocess.run(command, input=stdin, env=environment, capture_output=True, check=True, timeout=60).stdout


def make_key(folder: Path, name: str = "key", kind: str = "ed25519", passphrase: str = "") -> Path:
    """A new private key; its public one stands beside it."""
    path = folder / name
    keygen("-q", "-t", kind, "-N", passphrase, "-C", f"comment of {name}", "-f", path)
    return path


def name_of(key: Path) -> str:
    """The fingerprint of a key, as ssh-keygen prints it."""
    return keygen("-lf", key.with_name(key.name + ".pub")).decode().split()[1]


def public_words(key: Path) -> str:
    """The kind and the base64 of a public key."""
    return " ".join(key.with_name(key.name + ".pub").read_text().split()[:2])


def keygen_sign(key: Path, record: bytes, namespace: str = NAMESPACE.decode()) -> bytes:
    """The signature file that ssh-keygen makes of `record`."""
    return keygen("-Y", "sign", "-q", "-f", key, "-n", namespace, stdin=record)


def keygen_accepts(
    folder: Path, record: bytes, armored: bytes, signers: bytes, principal: str, now: datetime = NOW
) -> bool:
    """Whether `ssh-keygen -Y verify` finds a signature good."""
    (folder / "record.sig").write_bytes(armored)
    (folder / "signers").write_bytes(signers)
    command = ["ssh-keygen", "-Y", "verify", "-f", str(folder / "signers"), "-I", principal]
    command += ["-n", NAMESPACE.decode(), "-s", str(folder / "record.sig"), f"-Overify-time={now:%Y%m%d%H%M%SZ}"]
    return subprocess.run(command, input=record, capture_output=True, check=False, timeout=60).returncode == 0


def we_accept(record: bytes, armored: bytes, signers: bytes, product: str | None, now: datetime = NOW) -> bool:
    """Whether we find a release good; any error but our own ends the test."""
    try:
        check_release(record, parse_signature(dearmor(armored)), AllowedSigners.parse(signers), now, product)
    except UntrustedError:
        return False
    return True
