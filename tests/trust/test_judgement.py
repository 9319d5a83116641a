"""What a receiver takes: every octet of text and signature counts, and no clock or order of events lowers the floor."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fountain.limits import NS
from fountain.trust.floor import FLOOR_SIZE_MAX, Floor
from fountain.trust.judgement import KNOWN_COUNT_MAX, VERIFY_COUNT_MAX, Judge, Judgement
from fountain.trust.release import NAMESPACE, SIGNERS_NAMESPACE, VERSION_MAX, Release
from fountain.trust.signers import AllowedSigners
from fountain.trust.sshsig import fingerprint, pack_public_key, sign
from fountain.wire.control import OfferBody
from fountain.wire.signed import SignedText
from tests.wire.golden import BODY

NOW = datetime(2026, 11, 28, 12, tzinfo=timezone.utc)
DAY = timedelta(days=1)
KEY, OTHER_KEY, STRANGER = (Ed25519PrivateKey.from_private_bytes(bytes([count] * 32)) for count in (1, 2, 3))
OBJECT, OTHER_OBJECT = bytes([7] * 32), bytes([8] * 32)


def public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def line(key: Ed25519PrivateKey, product: str = "gateway", options: str = 'namespaces="release@fountain-udp"') -> str:
    from base64 import b64encode

    return f"{product} {options} ssh-ed25519 {b64encode(pack_public_key(public(key))).decode()}\n"


SIGNERS = AllowedSigners.parse((line(KEY) + line(OTHER_KEY)).encode())


def a_release(version: int = 42, object_id: bytes = OBJECT, **fields: object) -> Release:
    return replace(Release("gateway", version, object_id, NOW, NOW + 90 * DAY), **fields)  # type: ignore[arg-type]


def offered(
    release: Release, *keys: Ed25519PrivateKey, namespace: bytes = NAMESPACE, object_id: bytes = OBJECT
) -> OfferBody:  # fmt: skip
    """An offer of the object with the release, signed by `keys`."""
    text = release.pack()
    signatures = tuple(sign(key, text, namespace).pack() for key in keys or (KEY,))
    return replace(BODY, object_id=object_id, release=SignedText(text, signatures))


def judged(
    offer: OfferBody, floor: Release | None = None, clock: datetime = NOW, signers: AllowedSigners = SIGNERS
) -> Judgement:  # fmt: skip
    floors = {} if floor is None else {"gateway": Floor(floor, fingerprint(public(KEY)))}
    return Judge({"gateway": signers}).judge(offer, floors, clock, 0)


def refused(judgement: Judgement, words: str) -> None:
    assert not judgement.is_trusted
    assert judgement.error is not None
    assert words in judgement.error.message


def test_what_was_signed_is_taken_with_the_name_of_its_key() -> None:
    judgement = judged(offered(a_release()))
    assert judgement == Judgement(a_release(), fingerprint(public(KEY)), (public(KEY),))
    assert judgement.is_trusted


def test_each_octet_of_the_text_and_of_each_signature_counts() -> None:
    offer = offered(a_release())
    assert offer.release is not None
    text, (signature,) = offer.release.text, offer.release.signatures
    for at in range(len(text)):
        for bit in (1, 0x20, 0x80):
            wrong = text[:at] + bytes([text[at] ^ bit]) + text[at + 1 :]
            assert not judged(replace(offer, release=SignedText(wrong, (signature,)))).is_trusted, at
    for at in range(len(signature)):
        wrong = signature[:at] + bytes([signature[at] ^ 1]) + signature[at + 1 :]
        assert not judged(replace(offer, release=SignedText(text, (wrong,)))).is_trusted, at


def test_records_of_another_form_are_no_releases() -> None:
    text = a_release().pack()
    wrong = [
        text.replace(b"\n", b"\r\n"), text + b"more: 1\n", text + b"\n", text[:-1], b" " + text,
        text.replace(b"42", b"0"), text.replace(b"42", b"042"), text.replace(b"42", str(VERSION_MAX + 1).encode()),
        text.replace(b"gateway", b"g" * 64), text.replace(b"gateway", b"Gateway"), text + b"x" * (257 - len(text)),
    ]  # fmt: skip
    for octets in wrong:
        signed = SignedText(octets, (sign(KEY, octets, NAMESPACE).pack(),))
        refused(judged(replace(BODY, object_id=OBJECT, release=signed)), "This is no release record.")


def test_an_offer_without_a_release_is_not_taken() -> None:
    refused(judged(replace(BODY, release=None)), "'hello.txt' is offered without a signed release.")


def test_the_key_the_product_and_the_namespace_must_be_right() -> None:
    refused(
        judged(offered(a_release(), STRANGER)), f"Signed by the key {fingerprint(public(STRANGER))}, which `signers`"
    )
    refused(judged(offered(a_release(), namespace=SIGNERS_NAMESPACE)), "is for the namespace 'signers@fountain-udp'")
    other = judged(offered(a_release(product="sensor")))
    refused(other, "This is a release of sensor, not of gateway.")
    assert other.is_foreign
    only_sensor = AllowedSigners.parse(line(KEY, "sensor").encode())
    refused(judged(offered(a_release()), signers=only_sensor), "which `signers` does not list for gateway")
    pattern = AllowedSigners.parse(line(KEY, "gate*").encode())
    assert judged(offered(a_release()), signers=pattern).is_trusted
    elsewhere = AllowedSigners.parse(line(KEY, options='namespaces="file"').encode())
    refused(judged(offered(a_release()), signers=elsewhere), "allows it for other namespaces")


def test_a_key_that_has_expired_signs_nothing_and_a_clock_that_is_behind_does_not_help_it() -> None:
    gone = AllowedSigners.parse(line(KEY, options='valid-before="20261201Z"').encode())
    assert judged(offered(a_release()), signers=gone).is_trusted
    refused(judged(offered(a_release()), clock=NOW + 30 * DAY, signers=gone), "it is not valid any more")
    known = a_release(41, OTHER_OBJECT, issued=NOW + 30 * DAY, expires=NOW + 90 * DAY)
    refused(judged(offered(a_release()), floor=known, signers=gone), "it is not valid any more")


def test_one_good_signature_of_two_is_enough() -> None:
    assert judged(offered(a_release(), STRANGER, OTHER_KEY)).signer == fingerprint(public(OTHER_KEY))
    assert judged(offered(a_release(), KEY, STRANGER)).signer == fingerprint(public(KEY))
    refused(judged(offered(a_release(), STRANGER, STRANGER)), "does not list")


def test_the_object_is_the_one_that_was_signed() -> None:
    refused(judged(offered(a_release(), object_id=OTHER_OBJECT)), "with an object that was not signed as such")


@pytest.mark.parametrize(
    ("version", "is_taken"), [(1, False), (41, False), (42, True), (43, True), (VERSION_MAX, True)]
)
def test_nothing_below_the_floor_is_taken(version: int, is_taken: bool) -> None:
    judgement = judged(offered(a_release(version)), floor=a_release(42))
    assert judgement.is_trusted == is_taken
    if not is_taken:
        refused(judgement, f"gateway {version} is older than 42.")


def test_another_object_under_the_same_version_is_an_alarm() -> None:
    judgement = judged(offered(a_release(42, OTHER_OBJECT), object_id=OTHER_OBJECT), floor=a_release(42))
    refused(judgement, f"Two different objects are signed as gateway 42: the key {fingerprint(public(KEY))}")


def test_the_same_release_may_be_signed_again() -> None:
    again = a_release(issued=NOW + DAY / 2, expires=NOW + 180 * DAY)
    assert judged(offered(again), floor=a_release()).is_trusted
    assert judged(offered(a_release()), floor=again).is_trusted
    floor, renewed = Floor(a_release(), "SHA256:" + "a" * 43), Floor(again, "SHA256:" + "b" * 43)
    assert floor.raised(renewed) is renewed
    assert renewed.raised(floor) is renewed


@pytest.mark.parametrize(
    ("clock", "version", "words"),
    [
        (datetime(1970, 1, 1, tzinfo=timezone.utc), 43, ""),
        (datetime(1970, 1, 1, tzinfo=timezone.utc), 41, "older than 42"),
        (NOW + 3650 * DAY, 43, "expired"),
        (NOW + 3650 * DAY, 41, "expired"),
        (NOW, 41, "older than 42"),
    ],
)
def test_a_wrong_clock_does_not_lower_the_floor(clock: datetime, version: int, words: str) -> None:
    judgement = judged(offered(a_release(version)), floor=a_release(42), clock=clock)
    assert judgement.is_trusted == (not words)
    if words:
        refused(judgement, words)


def test_a_new_machine_whose_clock_is_in_1970_waits_until_it_is_set() -> None:
    refused(judged(offered(a_release()), clock=datetime(1970, 1, 1, tzinfo=timezone.utc)), "issued in the future")


@pytest.mark.parametrize(
    ("clock", "words"),
    [
        (NOW + 90 * DAY - timedelta(seconds=1), ""),
        (NOW + 90 * DAY, "gateway 42 expired at 2027-02-26T12:00:00Z."),
        (NOW - DAY + timedelta(seconds=1), ""),
        (NOW - DAY, "gateway 42 was issued in the future"),
    ],
)
def test_a_release_is_valid_from_a_day_before_it_was_issued_until_it_expires(clock: datetime, words: str) -> None:
    judgement = judged(offered(a_release()), clock=clock)
    assert judgement.is_trusted == (not words)
    if words:
        refused(judgement, words)


def test_texts_that_are_known_cost_nothing_and_others_are_limited() -> None:
    judge, good = Judge({"gateway": SIGNERS}), offered(a_release())
    assert judge.judge(good, {}, NOW, NS).is_trusted
    for count in range(VERIFY_COUNT_MAX + 10):
        judgement = judge.judge(offered(a_release(100 + count), STRANGER), {}, NOW, NS)
        assert (judgement.error is not None) == (count < VERIFY_COUNT_MAX - 1), count
        assert not judgement.is_trusted
    assert judge.judge(good, {}, NOW, NS).is_trusted
    assert judge.judge(offered(a_release(999)), {}, NOW, NS) == Judgement()
    assert judge.judge(offered(a_release(999)), {}, NOW, 2 * NS).is_trusted
    assert len(judge._known) <= KNOWN_COUNT_MAX


def test_a_line_that_is_removed_counts_at_once() -> None:
    judge, good = Judge({"gateway": SIGNERS}), offered(a_release())
    assert judge.judge(good, {}, NOW, 0).is_trusted
    judge.signers["gateway"] = AllowedSigners.parse(line(OTHER_KEY).encode())
    refused(judge.judge(good, {}, NOW, 0), "does not list")


def test_a_floor_is_written_and_read_in_one_way() -> None:
    floor = Floor(a_release(VERSION_MAX, product="g" * 63), fingerprint(public(KEY)))
    octets = floor.pack()
    assert Floor.parse(octets) == floor
    assert len(octets) <= FLOOR_SIZE_MAX
    for at in range(len(octets)):
        assert Floor.parse(octets[:at]) is None
        wrong = Floor.parse(octets[:at] + bytes([octets[at] ^ 0x80]) + octets[at + 1 :])
        assert wrong is None, at
    assert Floor.parse(octets + b"\n") is None
    assert Floor.parse(b"") is None
