"""Warns of a key that others than its owner can read or replace."""

from __future__ import annotations

from fountain.config import GroupConfig
from fountain.events import Observer, Warned
from fountain.storage.key import key_exposure

__all__ = ["warn_of_exposure"]


def warn_of_exposure(where: GroupConfig, observer: Observer) -> None:
    """Say once who else has the key of a group: a secret that others have is none."""
    found = key_exposure(where.key_path) if where.key_path is not None else None
    if found is not None:
        observer.handle(Warned(found, f"chmod 600 {where.key_path}, and a new key if others have used this machine."))
