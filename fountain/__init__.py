"""fountain: one file to many machines over UDP, by RaptorQ codes.

The public names; docs/reference/api.md describes each. Each is loaded when it is first asked for, so that `import
fountain` stays light and a command can print its help without loading numpy. Everything else is private.
"""

from __future__ import annotations

from importlib import import_module

from fountain._version import __version__

TYPE_CHECKING = False  # That of typing, which takes most of the time that this takes to load.

if TYPE_CHECKING:
    from fountain.api import (
        Fetch,
        FetchOptions,
        Listener,
        ListenOptions,
        ServeOptions,
        Server,
        fetch,
        listen,
        serve,
    )
    from fountain.codes.api import (
        BlockDecoder,
        BlockEncoder,
        BlockProgress,
        Code,
        SlabDecoder,
    )
    from fountain.codes.registry import (
        register,
    )
    from fountain.config import (
        FleetConfig,
        GroupConfig,
        OnewayConfig,
    )
    from fountain.engine.serving.serve import (
        ServeSummary,
    )
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
        UntrustedError,
        UsageError,
    )
    from fountain.events import (
        AirTime,
        Announced,
        AskedToLeave,
        DigestComputed,
        EndReason,
        Event,
        Fetched,
        GroupOpened,
        GroupSummary,
        HookFinished,
        HookReported,
        InterfaceChanged,
        LeaveReason,
        LeftOut,
        Listed,
        Listening,
        ObjectServed,
        Offered,
        OnewayProgress,
        PairCodeDrawn,
        PairCodeProved,
        PairCodeRefused,
        PeerFinished,
        PeerGone,
        PeerJoined,
        PeerReason,
        PeerRefused,
        PeerSnapshot,
        PeersProgress,
        PeerState,
        Preparing,
        ReceiverOutcome,
        ReceiverResult,
        Reconnecting,
        Resumed,
        Searching,
        ServerProved,
        Serving,
        Stopped,
        TransferProgress,
        TransferState,
        Waiting,
        Warned,
    )
    from fountain.protocol.session.client_events import Interruption
    from fountain.sentences import (
        reason_of,
        sentence,
    )
    from fountain.wire.control import (
        RefusalReason,
    )

__all__ = [
    "AirTime",
    "Announced",
    "AskedToLeave",
    "BlockDecoder",
    "BlockEncoder",
    "BlockProgress",
    "Code",
    "DigestComputed",
    "DiskFullError",
    "EndReason",
    "Event",
    "Fetch",
    "FetchOptions",
    "Fetched",
    "FleetConfig",
    "FountainError",
    "GroupConfig",
    "GroupOpened",
    "GroupSummary",
    "HookFinished",
    "HookReported",
    "HostileNameError",
    "IncompleteError",
    "IntegrityError",
    "InterfaceChanged",
    "Interruption",
    "LeaveReason",
    "LeftOut",
    "Listed",
    "ListenOptions",
    "Listener",
    "Listening",
    "LocalError",
    "NameClashError",
    "NobodyAnsweredError",
    "ObjectServed",
    "Offered",
    "OnewayConfig",
    "OnewayProgress",
    "PairCodeDrawn",
    "PairCodeProved",
    "PairCodeRefused",
    "PeerFinished",
    "PeerGone",
    "PeerJoined",
    "PeerReason",
    "PeerRefused",
    "PeerSnapshot",
    "PeerState",
    "PeersMissingError",
    "PeersProgress",
    "Preparing",
    "ReceiverOutcome",
    "ReceiverResult",
    "Reconnecting",
    "RefusalReason",
    "RefusedError",
    "Resumed",
    "Searching",
    "ServeOptions",
    "ServeSummary",
    "Server",
    "ServerProved",
    "Serving",
    "SlabDecoder",
    "Stopped",
    "StorageError",
    "TransferProgress",
    "TransferState",
    "TransportError",
    "UntrustedError",
    "UsageError",
    "Waiting",
    "Warned",
    "__version__",
    "fetch",
    "listen",
    "reason_of",
    "register",
    "sentence",
    "serve",
]

# Where names are that are neither errors nor events.
_HOMES = {
    "fountain.api": [
        "Fetch",
        "FetchOptions",
        "ListenOptions",
        "Listener",
        "ServeOptions",
        "Server",
        "fetch",
        "listen",
        "serve",
    ],
    "fountain.codes.api": ["BlockDecoder", "BlockEncoder", "Code", "BlockProgress", "SlabDecoder"],
    "fountain.codes.registry": ["register"],
    "fountain.engine.serving.serve": ["ServeSummary"],
    "fountain.config": ["FleetConfig", "GroupConfig", "OnewayConfig"],
    "fountain.sentences": ["reason_of", "sentence"],
    "fountain.protocol.session.client_events": ["Interruption"],
    "fountain.wire.control": ["RefusalReason"],
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    usual = "fountain.errors" if name.endswith("Error") else "fountain.events"
    home = next((home for home, names in _HOMES.items() if name in names), usual)
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
