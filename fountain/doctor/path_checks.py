"""What the doctor looks at between this machine and a host: name, route, MTU, and a server that answers."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from fountain.doctor.finding import Command, Finding, fine, note, problem
from fountain.doctor.network_checks import interface_of
from fountain.errors import FountainError
from fountain.limits import DATA_OVERHEAD_SIZE, NS
from fountain.net.address import Address, resolve, text
from fountain.net.probe import Answer, exchange, route_source, try_path_mtu
from fountain.storage.system import read_system_text
from fountain.wire.control import (
    NONCE_SIZE,
    TOKEN_SIZE,
    Hello,
    Listing,
    Offer,
    Refusal,
    Retry,
    parse_handshake,
    parse_header,
)
from fountain.wire.reject import Reject

__all__ = ["check_path"]

_RESOLVE_PATIENCE_S = 5.0
_ANSWER_PATIENCE_S = 0.5
_TRY_COUNT = 3
_TARGET_COUNT_MAX = 4  # A name with more addresses than that would make everybody wait.
_UDP_HEADER_SIZE = 8

_Record = Offer | Listing | Refusal


@dataclass(frozen=True)
class _Server:
    """A server that answered: its record, and the shortest of a few round trips."""

    record: _Record
    round_trip_ns: int


def check_path(host: str, port: int) -> Iterator[Finding]:
    """Everything about `host`, as far as one check can stand on the one before."""
    targets = _resolve(host, port)
    if isinstance(targets, Finding):
        yield targets
        return
    yield fine("name", f"{host} is {', '.join(dict.fromkeys(address[0] for address in targets))}", is_remote=True)
    silent: list[tuple[str, str]] = []
    for target in targets[:_TARGET_COUNT_MAX]:
        source = route_source(target)
        if not source:
            silent.append((f"there is no route to {target[0]}", f"ip route get {target[0]}"))
            continue
        name = interface_of(source)
        where = f" on {name}, {_interface_text(name)}" if name else ""
        yield fine("route", f"to {target[0]} from {source}{where}", is_remote=True)
        mtu = try_path_mtu(target)
        if mtu:
            yield fine("path MTU", f"{mtu} bytes to {target[0]}: no router drops packets of this size", is_remote=True)
        server = _ask(target)
        if isinstance(server, _Server):
            yield from _server_findings(server, target, mtu)
        else:
            if server:
                trouble = f"the host is up, but no server listens on {text(target)}"
            else:
                trouble = f"{text(target)} does not answer: the host is off, or a firewall blocks it"
            silent.append((trouble, f"ssh {target[0]} fountain-serve PATH"))
    is_enough = len(silent) < len(targets[:_TARGET_COUNT_MAX])  # One address of a host is all that a fetch needs.
    for sentence, mend in silent:
        yield (note if is_enough else problem)("server", sentence, mend, is_remote=True)


def _resolve(host: str, port: int) -> list[Address] | Finding:
    """The addresses of `host`; a name server that does not answer is not waited for."""
    found: list[Address] = []
    failure: list[FountainError] = []

    def look_up() -> None:
        try:
            found.extend(resolve(host, port))
        except FountainError as error:
            failure.append(error)

    thread = threading.Thread(target=look_up, name="resolve", daemon=True)
    thread.start()
    thread.join(_RESOLVE_PATIENCE_S)
    if failure:
        return problem("name", failure[0].message, f"getent hosts {host}", is_remote=True)
    if not found:
        message = f"no name server answered in {_RESOLVE_PATIENCE_S:g} s for {host}"
        return problem("name", message, f"getent hosts {host}", is_remote=True)
    return found


def _interface_text(name: str) -> str:
    mtu = read_system_text(f"/sys/class/net/{name}/mtu")
    speed = read_system_text(f"/sys/class/net/{name}/speed")
    return f"MTU {mtu}" + (f", {speed} Mbit/s" if speed.isdecimal() else "")


# --- A server -----------------------------------------------------------------------------------------------


def _server_findings(server: _Server, target: Address, mtu: int) -> Iterator[Finding]:
    round_trip = f"round trip {server.round_trip_ns / 1e6:.2f} ms"
    yield fine("server", f"{text(target)} {_described(server.record)}; {round_trip}", is_remote=True)
    if isinstance(server.record, Offer):
        yield from _packet_findings(server.record, target, mtu)


def _ask(target: Address) -> _Server | Answer | None:
    """A server, or the answer of its host that there is none, or nothing."""
    record: _Record | None = None
    shortest, token = NS * 3600, bytes(TOKEN_SIZE)
    for _ in range(_TRY_COUNT):
        hello = Hello(secrets.token_bytes(NONCE_SIZE), token=token)
        answer = exchange(target, hello.encode(), _ANSWER_PATIENCE_S)
        if answer is not None and answer.refused:
            return answer
        reply = _parse(answer, hello.nonce)
        if isinstance(reply, Retry):
            token = reply.token
        elif reply is not None and answer is not None:
            record, shortest = reply, min(shortest, answer.round_trip_ns)
    return None if record is None else _Server(record, shortest)


def _parse(answer: Answer | None, nonce: bytes) -> _Record | Retry | None:
    header = parse_header(answer.data) if answer is not None else Reject.TRUNCATED
    if answer is None or isinstance(header, Reject):
        return None
    record = parse_handshake(answer.data, *header)
    return record if isinstance(record, Offer | Listing | Refusal | Retry) and record.nonce == nonce else None


def _described(record: _Record) -> str:
    if isinstance(record, Listing):
        return f"serves {record.page_count} pages of objects" if record.page_count > 1 else _listed(record)
    if isinstance(record, Refusal):
        return f"answers, but refuses: {record.reason.name.lower().replace('_', ' ')}"
    kind = "open" if record.body.open else "sealed"
    return f"serves {record.body.name!r}, {record.body.object_size:,} bytes, {kind}"


def _listed(record: Listing) -> str:
    return f"serves {len(record.entries)} objects"


def _packet_findings(offer: Offer, target: Address, mtu: int) -> Iterator[Finding]:
    """Whether the packets of this server fit the path."""
    header_size = (40 if ":" in target[0] else 20) + _UDP_HEADER_SIZE
    size = offer.body.symbol_size + DATA_OVERHEAD_SIZE + header_size
    if not mtu or size <= mtu:
        yield fine("packet size", f"{size} bytes with all headers", is_remote=True)
    else:
        message = f"{size} bytes with all headers, more than the path takes: packets are cut up or lost"
        yield problem("packet size", message, Command("fountain-serve", {"mtu": mtu}, ("PATH",)), is_remote=True)
