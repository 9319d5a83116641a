"""From what the protocol says went wrong to the error that a person reads."""

from __future__ import annotations

import traceback
from pathlib import Path

from fountain.errors import (
    FountainError,
    IncompleteError,
    LocalError,
    NobodyAnsweredError,
    RefusedError,
    UntrustedError,
    UsageError,
)
from fountain.protocol.group.standstill import Standstill
from fountain.protocol.session.client_events import Failure, Trouble
from fountain.storage.paths import printable
from fountain.wire.control import OfferBody, RefusalReason

__all__ = [
    "DEFECT_HINT",
    "KEPT_HINT",
    "changed_error",
    "described_defect",
    "fetch_failure",
    "local_error",
    "other_object_error",
    "preparing_error",
    "refusal_error",
    "standstill_error",
]

KEPT_HINT = "What was received is kept: run the same command again to go on."
_NEW_ID_HINT = "If it was changed on purpose, ask for its new id, and give that in `object_id`."
DEFECT_HINT = "This is a bug in fountain: please report it, with this message."


def fetch_failure(
    trouble: Trouble, host: str, port: int, timeout_s: float, name: str | None = None, *, is_pinned: bool = False,
    is_paired: bool = False,
) -> FountainError:  # fmt: skip
    """The error of a fetch that fails of `trouble`; `name` is what was asked for; a pinned object has an id, and a
    paired fetch a code.
    """
    data_port = trouble.offer.data_port if trouble.offer else port + 1
    match trouble.failure:
        case Failure.UNREACHABLE:
            return NobodyAnsweredError(
                f"{host} says that nothing listens on UDP port {port}.",
                "Start fountain-serve there, give its `port`, or add `wait` to wait for it.",
            )
        case Failure.NOBODY:
            return NobodyAnsweredError(
                f"No server answered at {host} port {port} within {timeout_s:g} s.",
                "Check the address, that fountain-serve runs there, and that its firewall lets the port in; "
                "`wait` keeps asking.",
            )
        case Failure.PREPARING:
            return preparing_error(host)
        case Failure.NO_DATA:
            return NobodyAnsweredError(
                f"{host} answered on port {port}, but no data came from its port {data_port} within {timeout_s:g} s.",
                f"Let UDP port {data_port} through the firewalls between here and there, too.",
            )
        case Failure.TOO_LARGE:
            return NobodyAnsweredError(
                f"Small packets come from port {data_port} of {host}, but none with data came within {timeout_s:g} s.",
                "They are probably too large for the path (MTU): start the server with a lower `mtu`, such as 1280.",
            )
        case Failure.NOT_SENT:
            return NobodyAnsweredError(
                f"{host} answers, but reports that it has sent no data within {timeout_s:g} s.",
                "It may be busy: read what the server shows, or wait longer with `timeout_s`.",
            )
        case Failure.REPLACED:
            return _replaced_error(trouble, host, name)
        case Failure.LISTED:
            return UsageError(f"{host} serves several objects.", "Give the `name` of one of them.", field="name")
        case Failure.SEAL:
            return _seal_error(server_is_open=bool(trouble.offer and trouble.offer.open))
        case Failure.UNTRUSTED:
            hint = "Serve a release that is signed by a key in that file."
            return UntrustedError(f"{host} offers nothing that `signers` allows.", hint)
        case Failure.UNPROVED:
            return _unproved_error(host, trouble.offer)
        case Failure.OTHER_KEY:
            hint = "Compare it with what fountain-serve prints there."
            return UntrustedError(f"{host} proved another key than the expected one.", hint)
        case Failure.CODELESS | Failure.CODE_NEEDED | Failure.OTHER_CODE:
            return _code_error(trouble.failure, host)
        case Failure.OTHER_OBJECT:
            return other_object_error(host, trouble.offer)
        case Failure.REFUSED:
            is_missing = is_pinned and trouble.refusal is RefusalReason.NO_SUCH_OBJECT
            error = _missing_object_error(host) if is_missing else refusal_error(trouble.refusal, name)
            if is_paired and trouble.refusal is RefusalReason.SERVER_FULL:
                hint = "Wait until that has ended, half a minute if it was cut off, or ask for a code of your own."
                error = RefusedError("Somebody else is fetching with this code.", hint)
            return IncompleteError(error.message, f"{error.hint} {KEPT_HINT}") if trouble.has_data else error
        case _:
            return _incomplete(trouble.failure, host, port, data_port, timeout_s)


def _code_error(failure: Failure, host: str) -> FountainError:
    """The error of a fetch with a code from a server without one, or with another one, or the other way round."""
    match failure:
        case Failure.CODE_NEEDED:
            return RefusedError(
                f"{host} gives its object only to a client that knows its code.",
                "Add `pair`, and type the code that fountain-serve shows there.",
            )
        case Failure.CODELESS:
            return UntrustedError(
                f"{host} answers without a code, and only a server that knows yours is the right one.",
                "See whether fountain-serve runs there with `pair`. If it does, somebody else answers in its place.",
            )
        case _:
            return UntrustedError(
                f"{host} has another code by now, or others answer in its place.",
                f"Ask for the code that fountain-serve shows there now. {KEPT_HINT}",
            )


def _incomplete(failure: Failure | None, host: str, port: int, data_port: int, timeout_s: float) -> FountainError:
    """The error of a transfer that had begun."""
    match failure:
        case Failure.CUT_OFF:
            return IncompleteError(
                f"{host} answers on port {port}, but nothing has come from its port {data_port} for {timeout_s:g} s.",
                f"Let UDP port {data_port} through the firewalls between here and there. {KEPT_HINT}",
            )
        case Failure.NOT_HEARD:
            return IncompleteError(
                f"{host} still sends, but its port {port} has answered nothing for {timeout_s:g} s.",
                f"Let UDP port {port} through the firewalls between here and there, in both directions. {KEPT_HINT}",
            )
        case Failure.STALLED:
            return IncompleteError(
                f"{host} answers, but for {timeout_s:g} s it has sent nothing that is missing here.",
                f"If the path has changed, packets may be too large for it now: lower the server's `mtu`. {KEPT_HINT}",
            )
        case Failure.UNSTEADY:
            return IncompleteError(
                f"{host} answers, but for {2 * timeout_s:g} s each of its streams ended or stopped within seconds.",
                f"Read what the server shows, and check whether firewalls drop some of the packets. {KEPT_HINT}",
            )
        case Failure.SOURCE_CHANGED:
            return changed_error(host)
        case Failure.CONGESTED:
            return IncompleteError(
                f"{host} stopped sending: for half a minute most of what it sent was lost on the way.",
                "If the path is slow or other traffic fills it, start the server with a lower `rate_bps`. If nothing "
                "arrives, use a lower `mtu`. If the link always loses many packets, use a higher `loss_tolerance` or "
                f"`congestion_control` fixed. {KEPT_HINT}",
            )
        case Failure.STOPPED:
            return IncompleteError(
                f"{host} stopped serving in the middle of the transfer, and did not come back within {timeout_s:g} s.",
                KEPT_HINT,
            )
        case _:
            return IncompleteError(f"{host} fell silent for {timeout_s:g} s in the middle of the transfer.", KEPT_HINT)


def changed_error(host: str) -> FountainError:
    """The error of an object whose file changed at the server."""
    return IncompleteError(
        f"The file changed on {host} while it was being served.", "Start the server again and fetch the new file."
    )


def standstill_error(cause: Standstill, timeout_s: float) -> IncompleteError:
    """What is wrong where a group is heard, and nothing comes of it."""
    match cause:
        case Standstill.DEAF:
            return IncompleteError(
                f"Announces of the group arrive, but for {timeout_s:g} s none of its data packets has arrived.",
                "Check this machine's firewall, the switch (IGMP), and the server's `mtu`.",
            )
        case Standstill.UNHEARD:
            return IncompleteError(
                f"Packets of the group arrive, but for {timeout_s:g} s its server has answered no report from here.",
                "Let the server's control port through the firewalls between here and there, in both directions.",
            )
        case _:
            return IncompleteError(
                f"The group sends, but for {timeout_s:g} s it has sent nothing that is missing here.",
                "Another receiver may slow the group down: read what the server shows.",
            )


def described_defect(error: Exception) -> str:
    """What was raised that nobody foresaw, and where: as much as a report of it needs."""
    stack = traceback.extract_tb(error.__traceback__)
    place = f" in {Path(stack[-1].filename).name}, line {stack[-1].lineno}" if stack else ""
    return f"{type(error).__name__}{place}: {error}"


def local_error(error: Exception) -> FountainError:
    """`error`, raised in the course of one transfer, as an error that ends this transfer alone."""
    if isinstance(error, FountainError):
        return error
    if isinstance(error, MemoryError):
        return LocalError("There is not enough memory.", "Close other programs, or raise the limits of this one.")
    return LocalError(f"The transfer ended with an unexpected error: {described_defect(error)}.", DEFECT_HINT)


def _replaced_error(trouble: Trouble, host: str, name: str | None) -> FountainError:
    if trouble.offer is None:
        shown = "the object that was begun" if name is None else f"'{printable(name)}'"
        return IncompleteError(f"{host} is there, but does not serve {shown} any more.", KEPT_HINT)
    shown, size = printable(trouble.offer.name), trouble.offer.object_size
    return IncompleteError(
        f"{host} now serves another '{shown}', of {size:,} bytes, in place of the one that was begun.",
        "Run the same command again to fetch that one. What was received of the old one is kept.",
    )


def _unproved_error(host: str, offer: OfferBody | None) -> UntrustedError:
    """The error of a fetch from a server that does not prove to have the key that it should have."""
    hint = "Somebody else may answer in its place. See whether fountain-serve runs there with its `identity`."
    if offer is not None and not offer.identified:
        return UntrustedError(f"{host} answers without proving its key, and this fetch needs the proof.", hint)
    if offer is not None:
        hint += f" Both sides must have `open`, or neither: the server {'has' if offer.open else 'does not have'} it."
    return UntrustedError(f"{host} did not prove the expected key.", hint)


def preparing_error(host: str) -> NobodyAnsweredError:
    """The error of a server that is not ready for too long, or reports it no more."""
    return NobodyAnsweredError(
        f"{host} reported that it reads its files or compiles, but it has not become ready.",
        "Check whether fountain-serve still runs there and what it shows, or add `wait` to keep asking.",
    )


def other_object_error(source: str, offer: OfferBody | None) -> UntrustedError:
    """The error of a fetch of one object alone, in whose place `source` has another one."""
    shown = "another object" if offer is None else f"another '{printable(offer.name)}', {offer.object_id.hex()}"
    return UntrustedError(f"{source} offers {shown}, and not the object of the id in `object_id`.", _NEW_ID_HINT)


def _missing_object_error(host: str) -> UntrustedError:
    """The error of a fetch of one object alone, from a server that does not have it."""
    return UntrustedError(f"{host} does not have the object of the id in `object_id`.", _NEW_ID_HINT)


def refusal_error(reason: RefusalReason | None, name: str | None = None) -> FountainError:
    """The error of a refusal."""
    match reason:
        case RefusalReason.NO_SUCH_OBJECT:
            if name is None:  # It was begun in a group.
                return RefusedError("The server does not have that object.", "Run it again to fetch what it has now.")
            return RefusedError(
                f"The server has no object named '{printable(name)}'.", "Run it without `name` to list its objects."
            )
        case RefusalReason.SERVER_FULL:
            return RefusedError(
                "The server has as many peers as it accepts.",
                "Try again later, or raise `peer_count_max` on the server.",
            )
        case RefusalReason.KEY_MISMATCH:
            return RefusedError(
                "The server serves only peers that have its key, and this fetch does not have it.",
                "Join its group with the same key: give its `group.address` and `group.key_path`.",
            )
        case RefusalReason.NOT_ALLOWED:
            return RefusedError(
                "The server serves only clients whose key it lists, and this client proved none of these keys.",
                "Give the `identity` that its list has (fountain-serve `allow`). It goes only to a server whose key is "
                "known: give `server_key` at first.",
            )
        case RefusalReason.WRONG_CODE:
            return RefusedError(
                "The code is wrong: the server has another one.",
                "Compare it with what fountain-serve shows there, and try again; after three wrong ones it ends. If "
                "both are the same, somebody between you and the server answers in its place.",
            )
        case RefusalReason.SOURCE_CHANGED:
            return RefusedError("The server's file changed.", "Start the server again.")
        case _:
            return RefusedError("The server refused the request.", "Try again; check both sides' options.")


def _seal_error(*, server_is_open: bool) -> FountainError:
    if server_is_open:
        return RefusedError(
            "The server sends without encryption (`open`), and this side did not agree to that.",
            "Add `open` here, or start the server without it.",
        )
    return RefusedError(
        "The server encrypts, and this side asked for `open`.", "Leave `open` out here, or start the server with it."
    )
