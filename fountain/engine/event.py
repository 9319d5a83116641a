"""The base of everything that the engine tells."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Event"]


@dataclass(frozen=True)
class Event:
    """Base of all events. `fountain.cli` writes each as a JSON object: the class name in snake_case is its `event`."""
