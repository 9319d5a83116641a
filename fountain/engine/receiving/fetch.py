"""A fetch from start to end: the first Hello, the loop, and the end.

`fountain.engine.receiving.unicast_fetch` and `fountain.engine.receiving.group_fetch` have what comes between.

Nothing here loads the compiler or the kernels before the first Hello is under way: they take longer to load than most
answers take to come back.
"""

from __future__ import annotations

import platform
import secrets
import threading
import unicodedata
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from fountain.config import FetchConfig
from fountain.engine.receiving.identity import ReceiverIdentity, group_peer_id, single_peer_id
from fountain.engine.receiving.server_trust import FetchTrust, ServerTrust, group_server
from fountain.engine.receiving.whereabouts import Whereabouts
from fountain.engine.runtime.clock import STOP_CHECK_NS, now_ns
from fountain.engine.runtime.exposure import warn_of_exposure
from fountain.engine.runtime.standing import await_group, open_group
from fountain.errors import IncompleteError
from fountain.events import Fetched, Listening, Observer, Searching, Shield
from fountain.integrity import digest
from fountain.net.address import Address
from fountain.net.endpoint import Endpoint, open_endpoint
from fountain.net.waiting import Waker, wait
from fountain.protocol.session.client import ClientMachine
from fountain.protocol.session.client_common import ClientConfig
from fountain.sentences import Notice, warning
from fountain.storage.key import read_key
from fountain.wire.control import Want

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from fountain.engine.receiving.group_fetch import GroupFetch
    from fountain.engine.receiving.unicast_fetch import UnicastFetch
    from fountain.engine.receiving.vetting import Vetting
    from fountain.protocol.session.pairing import ClientPairing

__all__ = ["fetch"]


def fetch(config: FetchConfig, observer: Observer, stop: threading.Event) -> Fetched | None:
    """Fetch one object and return when it stands, verified, at its destination.

    From a group, listening, it takes every object that comes, and returns None once `stop` is set.

    Raises:
        FountainError: any of its kinds but PeersMissingError; what was received is kept unless it was worth nothing.
    """
    observer = Shield(observer)
    with ExitStack() as stack:
        waker = Waker()
        stack.callback(waker.close)
        begin = _begin_unicast if config.group is None else _begin_group
        course = begin(config, observer, stop, waker, stack)
        return None if course is None else _drive(course, stop, waker)


def _drive(course: UnicastFetch | GroupFetch, stop: threading.Event, waker: Waker) -> Fetched | None:
    while not course.is_over:
        now = now_ns()
        if stop.is_set():
            course.interrupt(now)
        deadline = course.step(now)
        if not course.is_over:
            wait(course.endpoints, min(deadline, now + STOP_CHECK_NS) - now_ns(), waker)
    return course.finish()


def _begin_unicast(
    config: FetchConfig, observer: Observer, stop: threading.Event, waker: Waker, stack: ExitStack
) -> UnicastFetch | GroupFetch | None:  # fmt: skip
    """Say Hello first: its answer then travels while everything else is loaded."""
    vetting, servers = _vetting(config), ServerTrust(config.trust, config.host, config.port)
    whereabouts = Whereabouts(config.host, config.port)
    targets = whereabouts.find(observer, stop, wait=config.wait)
    observer.handle(Searching(config.host, config.port, config.wait))
    endpoint = open_endpoint()
    stack.callback(endpoint.close)
    machine = _machine(config, targets, vetting, servers)
    _say_hello(machine, endpoint, targets)
    from fountain.engine.receiving.unicast_fetch import UnicastFetch

    trust = FetchTrust(vetting, servers)
    course = UnicastFetch(config, observer, stop, waker, machine, endpoint, whereabouts, trust)
    stack.callback(course.close)
    return course


def _begin_group(
    config: FetchConfig, observer: Observer, stop: threading.Event, waker: Waker, stack: ExitStack
) -> UnicastFetch | GroupFetch | None:  # fmt: skip
    """Join the group first: what is sent while everything else is loaded waits in the receive buffer."""
    where = config.group
    assert where is not None
    vetting = _vetting(config)
    key = read_key(where.key_path) if where.key_path is not None else None
    warn_of_exposure(where, observer)
    found = await_group(where, observer, stop) if config.wait or config.listen else open_group(where)
    if found is None:
        if config.listen:
            return None
        raise IncompleteError("The fetch was interrupted.")
    group, endpoint = found
    stack.callback(endpoint.close)
    servers = group_server(config.trust, group.address, group.port)
    answer = open_endpoint(family=group.family)
    stack.callback(answer.close)
    observer.handle(Listening(group.address, group.interface.name, group.port))
    if key is None and vetting is None:  # Nobody on the network can sign a release.
        observer.handle(warning(Notice.OPEN_GROUP))
    from fountain.engine.receiving.group_fetch import GroupFetch
    from fountain.engine.receiving.group_receiver import GroupPorts

    server_keys = None if servers is None else servers.keys
    peer_id = group_peer_id(config, group.interface.name)
    identity = ReceiverIdentity(peer_id, platform.node(), secrets.token_bytes(32), key, server_keys)
    trust = FetchTrust(vetting, servers)
    course = GroupFetch(config, observer, stop, waker, group, GroupPorts(endpoint, answer), identity, trust)
    stack.callback(course.close)
    return course


def _vetting(config: FetchConfig) -> Vetting | None:
    if config.trust.signers is None:
        return None
    from fountain.engine.receiving.vetting import Vetting

    return Vetting(config.trust)


def _machine(
    config: FetchConfig, targets: Sequence[Address], vetting: Vetting | None, servers: ServerTrust
) -> ClientMachine:  # fmt: skip
    want_kind, want = Want.ANY, bytes(32)
    trust = config.trust
    object_id = None if trust.object_id is None else bytes.fromhex(trust.object_id)
    if object_id is not None:
        want_kind, want = Want.OBJECT, object_id
    if config.name is not None:
        # Names are served in NFC; no object has one that is no UTF-8, and the server says so.
        name = unicodedata.normalize("NFC", config.name).encode(errors="surrogateescape")
        want_kind, want = Want.NAME, digest(name)
    client = ClientConfig(
        want_kind, want, open=config.open, wait=config.wait, timeout_ns=config.timeout_ns,
        peer_id=single_peer_id(config, targets), host=platform.node(), object_id=object_id,
        server_keys=servers.keys, identity=None if trust.identity is None else _identity(trust.identity),
        vet=None if vetting is None else vetting.vet, pairing=None if trust.pair is None else _pairing(trust.pair),
    )  # fmt: skip
    return ClientMachine(client, secrets.token_bytes(32), now_ns())


def _identity(path: Path) -> Ed25519PrivateKey:
    from fountain.engine.runtime.identity_file import read_identity

    return read_identity(path)


def _pairing(code: str) -> ClientPairing:
    from fountain.protocol.session.pairing import ClientPairing
    from fountain.trust.pair_code import parse_code
    from fountain.trust.spake import client_exchanges

    return ClientPairing(client_exchanges(parse_code(code)), secrets.token_bytes(32))


def _say_hello(machine: ClientMachine, endpoint: Endpoint, targets: Sequence[Address]) -> None:
    """Send the first Hello."""
    machine.handle_timeout(now_ns())
    while (waiting := machine.poll_datagram()) is not None:
        data = waiting.datagram
        for address in targets:
            endpoint.send(data, len(data), len(data), address)
