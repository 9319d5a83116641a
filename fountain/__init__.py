"""fountain: one file to many machines over UDP, by RaptorQ codes.

The public names. Each is loaded when it is first asked for, so that `import fountain` stays light and a command can
print its help without loading numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from fountain._version import __version__

if TYPE_CHECKING:
    from fountain.config import FetchConfig, FleetConfig, GroupConfig, OnewayConfig, ServeConfig
    from fountain.engine.receiving.fetch import fetch
    from fountain.engine.serving.serve import serve
    from fountain.errors import (
        DiskFullError,
        FountainError,
        HostileNameError,
        IncompleteError,
        IntegrityError,
        LocalError,
        NameClashError,
        NobodyAnsweredError,
        PeersMissingError,
        RefusedError,
        StorageError,
        TransportError,
        UsageError,
    )

__all__ = [
    "DiskFullError",
    "FetchConfig",
    "FleetConfig",
    "FountainError",
    "GroupConfig",
    "HostileNameError",
    "IncompleteError",
    "IntegrityError",
    "LocalError",
    "NameClashError",
    "NobodyAnsweredError",
    "OnewayConfig",
    "PeersMissingError",
    "RefusedError",
    "ServeConfig",
    "StorageError",
    "TransportError",
    "UsageError",
    "__version__",
    "fetch",
    "serve",
]

_HOMES = {
    "FetchConfig": "fountain.config",
    "FleetConfig": "fountain.config",
    "GroupConfig": "fountain.config",
    "OnewayConfig": "fountain.config",
    "ServeConfig": "fountain.config",
    "fetch": "fountain.engine.receiving.fetch",
    "serve": "fountain.engine.serving.serve",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES.get(name, "fountain.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
