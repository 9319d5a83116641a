"""Every reader of octets that come from elsewhere: packets, bodies, manifests, journals, names."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from fountain.cli.text import escape_controls
from fountain.errors import HostileNameError
from fountain.integrity import digest
from fountain.protocol.group.channel import GroupChannel
from fountain.storage.journal import encode_journal, parse_journal
from fountain.storage.paths import check_name, printable
from fountain.trust.authorized_keys import AuthorizedKeys
from fountain.trust.known_hosts import KnownHosts
from fountain.trust.sshsig import key_words
from fountain.wire import manifest
from fountain.wire.control import (
    Hello,
    Listing,
    Offer,
    OfferBody,
    Refusal,
    Request,
    Retry,
    parse_handshake,
    parse_header,
)
from fountain.wire.group import Announce, GroupHeader, GroupReport, Plan
from fountain.wire.pairing import Pairing
from fountain.wire.reject import Reject
from fountain.wire.session import Bye, Ping, Pong, Proof, Report, RequestBody, SessionHeader, Stop, StopAck, parse_body
from fountain.wire.signed import SignedText
from tests.fuzz.mutation import mutated
from tests.wire import golden, group_golden
from tests.wire.test_manifest import a_file, a_tree

__all__ = ["PARSERS", "run_parsers"]


_BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # They turn the direction of what follows.

_HARMFUL = ("Cc", "Cs", "Zl", "Zp")


@dataclass(frozen=True)
class Parser:
    """`read` takes any octets and raises nothing; `seeds` are some that it accepts. True: these, too, are accepted."""

    name: str
    read: Callable[[bytes], bool]
    seeds: list[bytes]


def _accepts(parse: Callable[[bytes], object]) -> Callable[[bytes], bool]:
    """Whether `parse` gives a record; what it gives can be written again."""

    def read(data: bytes) -> bool:
        record = parse(data)
        if record is None or isinstance(record, Reject):
            return False
        encode = getattr(record, "encode", None)
        if encode is not None and not isinstance(record, str):
            encode()
        return True

    return read


def _packet(data: bytes) -> object:
    header = parse_header(data)
    if isinstance(header, Reject):
        return header
    record = parse_handshake(data, *header)
    return SessionHeader.parse(data, *header) if isinstance(record, Reject) else record


def _known_hosts(data: bytes) -> bool:
    return bool(KnownHosts.parse(data).of("server.example", 6330)[0])


def _authorized_keys(data: bytes) -> bool:
    return bool(AuthorizedKeys.parse(data).keys)


def _name(data: bytes) -> bool:
    text = data.decode(errors="surrogateescape")
    shown = escape_controls(printable(text))
    harmful = [
        letter for letter in shown if letter in _BIDI or unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")
    ]
    assert not harmful, f"{harmful} can do something to a terminal"
    with suppress(HostileNameError):
        check_name(text)
        return True
    return False


HANDSHAKE = [record.encode() for record in (*golden.HANDSHAKE.values(), *golden.FLAGGED)]
RELEASED_BODY = golden.RELEASED_OFFER.body
RELEASED_ANNOUNCE = replace(
    group_golden.ANNOUNCE, offer=replace(group_golden.ANNOUNCE.offer, release=golden.SIGNED_TEXT)
)
SESSIONS = [
    SessionHeader(kind, golden.SESSION, number).encode() + bytes(40)
    for kind, number, _, _ in golden.SESSION_PACKETS.values()
]
GROUPS = [
    GroupChannel(golden.GROUP_SESSION, None).wrap(kind, number, group_golden.RECORDS[body].encode() if body else b"")
    for kind, number, body in group_golden.PACKETS.values()
]
MANIFESTS = [golden.golden("manifest"), manifest.encode(a_file()), manifest.encode(a_tree())]
OBJECT_ID = digest(b"object")
JOURNALS = [encode_journal(OBJECT_ID, 100, range(count)) for count in (0, 1, 100)]
NAMES = [
    "hello.txt",
    "a/b/c",
    "..",
    "aux",
    "\x1b[31m",
    "\u202egpj.exe",
    "e\u0301",
    "\U0001f469\u200d\U0001f469",
    "\udce9",
]

KEY_WORDS = key_words(golden.PROOF.identity)
KNOWN_HOSTS = b"[server.example]:6330,[192.0.2.1]:* %s who\n@revoked * %s\n" % (KEY_WORDS, key_words(bytes(32)))
AUTHORIZED_KEYS = b'restrict,expiry-time="20991231Z" %s who\n' % KEY_WORDS

PARSERS = [
    Parser("packet", _accepts(_packet), [*HANDSHAKE, *SESSIONS]),
    Parser("hello", _accepts(lambda data: Hello.parse(data, 0)), [golden.HELLO.encode()]),
    Parser("offer", _accepts(lambda data: Offer.parse(data, 0)), [golden.OFFER.encode()]),
    Parser("offer body", _accepts(lambda data: OfferBody.parse(data, 1)), [golden.BODY.encode()]),
    Parser("released offer", _accepts(lambda data: Offer.parse(data, 2)), [golden.RELEASED_OFFER.encode()]),
    Parser("identified offer", _accepts(lambda data: Offer.parse(data, 4)), [golden.IDENTIFIED_OFFER.encode()]),
    Parser("paired offer", _accepts(lambda data: Offer.parse(data, 8)), [golden.PAIRED_OFFER.encode()]),
    Parser("paired request", _accepts(lambda data: Request.parse(data, 8)), [golden.PAIRED_REQUEST.encode()]),
    Parser("pairing", _accepts(Pairing.parse), [golden.PAIRING.encode()]),
    Parser("released body", _accepts(lambda data: OfferBody.parse(data, 2)), [RELEASED_BODY.encode()]),
    Parser("signed text", _accepts(SignedText.parse), [golden.SIGNED_TEXT.encode()]),
    Parser("listing", _accepts(lambda data: Listing.parse(data, 0)), [golden.LISTING.encode()]),
    Parser("refusal", _accepts(lambda data: Refusal.parse(data, 0)), [golden.REFUSAL.encode()]),
    Parser("retry", _accepts(lambda data: Retry.parse(data, 0)), [golden.RETRY.encode()]),
    Parser("request", _accepts(lambda data: Request.parse(data, 0)), [golden.REQUEST.encode()]),
    Parser(
        "request body",
        _accepts(RequestBody.parse),
        [golden.REQUEST_BODY.encode(), golden.IDENTIFIED_REQUEST_BODY.encode()],
    ),
    Parser("proof", _accepts(Proof.parse), [golden.PROOF.encode()]),
    Parser("known hosts", _known_hosts, [KNOWN_HOSTS]),
    Parser("authorized keys", _authorized_keys, [AUTHORIZED_KEYS]),
    Parser("report", _accepts(Report.parse), [golden.REPORT.encode()]),
    Parser("stop", _accepts(Stop.parse), [golden.STOP.encode()]),
    Parser("stop ack", _accepts(StopAck.parse), [b""]),
    Parser("bye", _accepts(Bye.parse), [golden.BYE.encode()]),
    Parser("ping", _accepts(Ping.parse), [golden.PING.encode()]),
    Parser("pong", _accepts(Pong.parse), [golden.PONG.encode()]),
    Parser("group header", _accepts(GroupHeader.parse), GROUPS),
    Parser(
        "announce",
        _accepts(lambda data: Announce.parse(data, open=True)),
        [group_golden.ANNOUNCE.encode(), RELEASED_ANNOUNCE.encode()],
    ),
    Parser("plan", _accepts(Plan.parse), [group_golden.PLAN.encode()]),
    Parser("group report", _accepts(GroupReport.parse), [group_golden.REPORT.encode()]),
    Parser(
        "manifest",
        _accepts(manifest.parse),
        [golden.golden("manifest"), manifest.encode(a_file()), manifest.encode(a_tree())],
    ),
    Parser("journal", _accepts(lambda data: parse_journal(data, OBJECT_ID, 100)), JOURNALS),
    Parser("name", _name, [name.encode(errors="surrogateescape") for name in NAMES]),
]


def run_parsers(count: int, seed: int) -> int:
    """Read so many inputs, in turn by each of PARSERS; how many were accepted."""
    draw = random.Random(seed)
    accepted = 0
    for at in range(count):
        parser = PARSERS[at % len(PARSERS)]
        octets = mutated(draw, parser.seeds)
        try:
            accepted += parser.read(octets)
        except Exception as error:
            raise AssertionError(f"{parser.name} of {octets.hex()} (input {at} of seed {seed})") from error
    for kind, (packet_type, _, body, _) in golden.SESSION_PACKETS.items():
        assert not isinstance(parse_body(packet_type, golden.BODIES[body].encode() if body else b""), Reject), kind
    return accepted
