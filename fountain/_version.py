"""The version, in its one place: the build, the commands and the documentation read it here."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
