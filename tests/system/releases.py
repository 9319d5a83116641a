"""A publisher for tests of real commands: a key of ssh-keygen's, signed releases, and the words that receivers need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from fountain.storage.release_files import ReleaseFiles
from tests.trust.support import make_key, public_words

__all__ = ["Publisher"]


class Publisher:
    """Signs what it is given as versions of the product `gateway`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.key = make_key(folder)
        self.signers = folder / "allowed_signers"
        self.allow(self.key)

    def allow(self, *keys: Path) -> None:
        """Let these keys sign, and no others."""
        lines = [f'gateway namespaces="release@fountain-udp" {public_words(key)}\n' for key in keys]
        self.signers.write_text("".join(lines))

    def another_key(self, name: str) -> Path:
        """A key that nobody allows yet."""
        return make_key(self.folder, name)

    def publish(self, path: Path, version: int, *keys: Path, product: str = "gateway") -> list[str]:
        """Sign `path`: the words that serve it."""
        words = ["--product", product, "--version", str(version), "--expires", "90d"]
        for key in keys or (self.key,):
            words += ["--key", str(key)]
        subprocess.run(
            [sys.executable, "-m", "fountain", "sign", str(path), *words], check=True, capture_output=True, timeout=120
        )
        return [str(path), "--release", str(ReleaseFiles.beside(path).release)]

    def words(self, state: Path) -> list[str]:
        """The words of a receiver that takes what is published, and remembers it in `state`."""
        return ["--signers", str(self.signers), "--product", "gateway", "--state", str(state)]
