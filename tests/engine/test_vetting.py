"""What a receiver keeps of what it trusts: files that change under it, floors, lists of signers, and hooks."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from fountain.config import TrustConfig
from fountain.engine.receiving.hooks import Hooks
from fountain.engine.receiving.vetting import Vetting
from fountain.errors import StorageError, UntrustedError
from fountain.events import Warned
from fountain.limits import NS
from fountain.storage.received import PendingHook, ReceivedList, ReceivedState
from fountain.trust.release import NAMESPACE, SIGNERS_NAMESPACE, Release
from fountain.trust.sshsig import fingerprint, sign
from fountain.wire.control import OfferBody
from fountain.wire.signed import SignedText
from tests.engine.keeping import KeepingObserver
from tests.trust.test_judgement import KEY, OTHER_KEY, STRANGER, line, public
from tests.wire.golden import BODY

NOW = datetime(2026, 11, 28, 12, tzinfo=timezone.utc)
DAY = timedelta(days=1)


class Box:
    """A machine that takes releases of the product `gateway`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.signers, self.roots = folder, folder / "signers", folder / "roots"
        self.signers.write_text(line(KEY))
        self.roots.write_text(line(OTHER_KEY, "fountain-signers", 'namespaces="signers@fountain-udp"'))
        self.now, self.now_ns = NOW, 10 * NS
        self.content = folder / "content"

    def vetting(self, *, has_roots: bool = False) -> Vetting:
        roots = self.roots if has_roots else None
        config = TrustConfig(signers=self.signers, product="gateway", state=self.folder / "state", root_signers=roots)
        return Vetting(config, lambda: self.now)

    def offer(self, version: int, *, issued: datetime = NOW, object_id: bytes = b"") -> OfferBody:
        return offered("gateway", version, KEY, NAMESPACE, issued, object_id)

    def a_list(self, version: int, text: str, *keys: object) -> OfferBody:
        """A list of signers, whose content lies in `content`."""
        self.content.write_text(text)
        offer = offered("fountain-signers", version, OTHER_KEY, SIGNERS_NAMESPACE, NOW)
        assert offer.release is not None
        signatures = [sign(key, offer.release.text, SIGNERS_NAMESPACE).pack() for key in keys or (OTHER_KEY,)]  # type: ignore[arg-type]
        return replace(offer, release=SignedText(offer.release.text, tuple(signatures)))

    def judge(self, vetting: Vetting, offer: OfferBody) -> str:
        """Why an offer is not taken; empty where it is."""
        self.now_ns = max(self.now_ns, time.monotonic_ns()) + 2 * NS
        judgement = vetting.judge(offer, self.now_ns)
        return "" if judgement.error is None else judgement.error.message


def offered(
    product: str, version: int, key: object, namespace: bytes, issued: datetime, object_id: bytes = b""
) -> OfferBody:  # fmt: skip
    object_id = object_id or version.to_bytes(32, "big")
    text = Release(product, version, object_id, issued, issued + 90 * DAY).pack()
    return replace(
        BODY,
        object_id=object_id,
        release=SignedText(text, (sign(key, text, namespace).pack(),)),  # type: ignore[arg-type]
    )


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def test_what_was_taken_is_known_to_the_next_start_and_to_another_process(box: Box) -> None:
    first, second = box.vetting(), box.vetting()
    first.take(box.offer(42), box.content)
    assert box.judge(second, box.offer(41)) == "gateway 41 is older than 42."
    assert box.judge(box.vetting(), box.offer(41)) == "gateway 41 is older than 42."
    with pytest.raises(UntrustedError, match=r"gateway 41 is older than 42\."):
        second.take(box.offer(41), box.content)
    assert box.judge(second, box.offer(42)) == ""


def test_a_release_is_outdated_when_a_newer_one_of_its_product_was_taken(box: Box) -> None:
    vetting = box.vetting()
    assert not vetting.is_outdated("gateway 1")
    vetting.take(box.offer(42), box.content)
    for checked in (vetting, box.vetting()):
        assert checked.is_outdated("gateway 41")
        for release in ("gateway 42", "gateway 43", "sensor 41", "gateway", "gateway -1", ""):
            assert not checked.is_outdated(release), release


def test_of_two_that_are_taken_at_once_the_older_one_fails(box: Box) -> None:
    first, second = box.vetting(), box.vetting()
    assert box.judge(first, box.offer(42)) == box.judge(second, box.offer(43)) == ""
    second.take(box.offer(43), box.content)
    with pytest.raises(UntrustedError, match=r"gateway 42 is older than 43\."):
        first.take(box.offer(42), box.content)


def test_a_key_that_is_removed_in_the_middle_of_a_download_ends_it(box: Box) -> None:
    vetting = box.vetting()
    assert box.judge(vetting, box.offer(42)) == ""
    box.signers.write_text(line(STRANGER))
    vetting._looked_ns = -NS
    with pytest.raises(UntrustedError, match="does not list for gateway"):
        vetting.take(box.offer(42), box.content)
    assert box.vetting()._floors == {}


def test_a_file_of_signers_that_is_missing_is_looked_for_by_its_path(box: Box) -> None:
    """The hint used to speak of a directory that must be created."""
    box.signers.unlink()
    with pytest.raises(StorageError) as raised:
        box.vetting()
    assert (raised.value.message, raised.value.hint) == (
        f"Cannot read {box.signers}: No such file or directory.",
        "Check the path.",
    )


def test_a_file_of_signers_that_is_gone_allows_nobody_until_it_is_back(box: Box) -> None:
    vetting = box.vetting()
    box.signers.rename(box.folder / "away")
    assert "does not list for gateway" in box.judge(vetting, box.offer(42))
    (box.folder / "away").rename(box.signers)
    assert box.judge(vetting, box.offer(42)) == ""


def test_a_release_that_expires_in_the_middle_of_a_download_is_not_taken_unless_it_was_signed_again(box: Box) -> None:
    vetting = box.vetting()
    assert box.judge(vetting, box.offer(42)) == ""
    box.now = NOW + 91 * DAY
    with pytest.raises(UntrustedError, match="gateway 42 expired"):
        vetting.take(box.offer(42), box.content)
    assert box.judge(vetting, box.offer(42, issued=NOW + 80 * DAY)) == ""
    vetting.take(box.offer(42), box.content)
    assert box.vetting()._floors["gateway"].release.issued == NOW + 80 * DAY


def test_what_is_here_and_was_signed_again_makes_it_later(box: Box) -> None:
    vetting = box.vetting()
    vetting.take(box.offer(42), box.content)
    assert box.judge(vetting, box.offer(42, issued=NOW + DAY / 2)) == ""
    box.now = NOW - 3650 * DAY
    assert box.judge(box.vetting(), box.offer(43, issued=NOW + DAY)) == ""
    assert "issued in the future" in box.judge(box.vetting(), box.offer(43, issued=NOW + 2 * DAY))


def test_that_what_is_here_has_expired_is_told_once(box: Box) -> None:
    vetting = box.vetting()
    assert vetting.poll_overdue(0) is None
    vetting.take(box.offer(42), box.content)
    assert vetting.poll_overdue(0) is None
    box.now = NOW + 90 * DAY
    error = vetting.poll_overdue(0)
    assert error is not None
    assert error.message.startswith("gateway 42, the newest release that was here, expired at 2027-02-26T12:00:00Z")
    assert vetting.poll_overdue(0) is None
    vetting.take(box.offer(43, issued=NOW + 90 * DAY), box.content)
    assert vetting.poll_overdue(0) is None
    box.now = NOW + 180 * DAY
    assert vetting.poll_overdue(0) is not None


def test_a_state_that_is_damaged_takes_nothing(box: Box) -> None:
    box.vetting().take(box.offer(42), box.content)
    state = box.folder / "state" / "gateway" / "state"
    for octets in (b"", b"\0" * 200, state.read_bytes()[:-2], state.read_bytes().replace(b"gateway", b"sensor")):
        state.write_bytes(octets)
        with pytest.raises(StorageError, match="is damaged"):
            box.vetting()


def test_a_state_that_is_damaged_meanwhile_lets_nothing_old_in_and_nothing_new_get_its_place(box: Box) -> None:
    vetting = box.vetting()
    vetting.take(box.offer(42), box.content)
    (box.folder / "state" / "gateway" / "state").write_bytes(b"")
    assert box.judge(vetting, box.offer(41)) == "gateway 41 is older than 42."
    assert box.judge(vetting, box.offer(43)) == ""
    with pytest.raises(StorageError, match="is damaged"):
        vetting.take(box.offer(43), box.content)


def test_a_list_counts_from_the_moment_that_it_is_taken(box: Box) -> None:
    vetting = box.vetting(has_roots=True)
    assert box.judge(vetting, box.a_list(1, line(STRANGER))) == ""
    vetting.take(box.a_list(1, line(STRANGER)), box.content)
    for again in (vetting, box.vetting(has_roots=True)):
        assert "does not list for gateway" in box.judge(again, box.offer(42))
        by_stranger = offered("gateway", 42, STRANGER, NAMESPACE, NOW)
        assert box.judge(again, by_stranger) == ""
    box.signers.write_text("")
    assert box.judge(box.vetting(has_roots=True), by_stranger) == ""


def test_a_list_that_allows_nobody_is_not_taken(box: Box) -> None:
    vetting = box.vetting(has_roots=True)
    for text in ("", "# reset gateway 1\n", "gateway ssh-rsa AAAA\n"):
        with pytest.raises(UntrustedError, match="is no list of signers"):
            vetting.take(box.a_list(1, text), box.content)
    assert box.judge(vetting, box.offer(42)) == ""


def test_a_list_lowers_a_version_that_is_too_high_once(box: Box) -> None:
    vetting = box.vetting(has_roots=True)
    vetting.take(box.offer(9_000), box.content)
    text = line(KEY) + "# reset gateway 41\n#reset sensor 3\n"
    vetting.take(box.a_list(1, text), box.content)
    assert box.judge(vetting, box.offer(40)) == "gateway 40 is older than 41."
    assert box.judge(vetting, box.offer(41)) == ""
    vetting.take(box.offer(50), box.content)
    again = box.vetting(has_roots=True)
    assert box.judge(again, box.offer(49)) == "gateway 49 is older than 50."
    assert not (box.folder / "state" / "sensor").exists()


def test_a_line_of_a_list_lowers_once_and_nothing_that_came_after_the_list(box: Box) -> None:
    """The same list, taken again by whoever plays it back, used to open the way to older releases."""
    vetting = box.vetting(has_roots=True)
    vetting.take(box.offer(9_000), box.content)
    text = line(KEY) + "# reset gateway 41\n"
    vetting.take(box.a_list(1, text), box.content)
    vetting.take(box.offer(50), box.content)  # Issued in the same second: the line alone decides.
    for again in (vetting, box.vetting(has_roots=True)):
        again.take(box.a_list(1, text), box.content)
        assert box.judge(again, box.offer(42)) == "gateway 42 is older than 50."
    vetting.take(box.a_list(2, text + line(STRANGER)), box.content)
    assert box.judge(box.vetting(has_roots=True), box.offer(42)) == "gateway 42 is older than 50."
    vetting.take(box.offer(60, issued=NOW + timedelta(seconds=1)), box.content)
    vetting.take(box.a_list(3, line(KEY) + "# reset gateway 43\n"), box.content)
    assert box.judge(box.vetting(has_roots=True), box.offer(44)) == "gateway 44 is older than 60."


def test_an_older_list_does_not_come_back(box: Box) -> None:
    vetting = box.vetting(has_roots=True)
    vetting.take(box.a_list(2, line(STRANGER)), box.content)
    assert box.judge(vetting, box.a_list(1, line(KEY))) == "fountain-signers 1 is older than 2."
    with pytest.raises(UntrustedError, match="older than 2"):
        vetting.take(box.a_list(1, line(KEY)), box.content)


def root(key: object) -> str:
    return line(key, "fountain-signers", 'namespaces="signers@fountain-udp"')  # type: ignore[arg-type]


def test_root_keys_change_by_a_list_that_an_old_and_a_new_one_signed(box: Box) -> None:
    vetting, new = box.vetting(has_roots=True), line(KEY) + root(STRANGER)
    with pytest.raises(UntrustedError, match="has no signature by a root key that it lists"):
        vetting.take(box.a_list(1, new), box.content)
    assert "does not list for fountain-signers" in box.judge(vetting, box.a_list(1, new, STRANGER))
    vetting.take(box.a_list(1, new, OTHER_KEY, STRANGER), box.content)
    for again in (vetting, box.vetting(has_roots=True)):
        assert "does not list for fountain-signers" in box.judge(again, box.a_list(2, new))
        assert box.judge(again, box.a_list(2, new, STRANGER)) == ""
    with pytest.raises(UntrustedError, match="names no root keys, and the list before it did"):
        vetting.take(box.a_list(2, line(KEY), STRANGER), box.content)
    vetting.take(box.a_list(2, new, STRANGER), box.content)
    assert box.judge(vetting, box.offer(42)) == ""


def test_a_record_with_fewer_signatures_does_not_take_the_place_of_a_better_one(box: Box) -> None:
    """Anybody can strip one, or offer an older record of the same object: neither keeps it from being taken."""
    vetting, new = box.vetting(has_roots=True), line(KEY) + root(STRANGER)
    good = box.a_list(1, new, OTHER_KEY, STRANGER)
    assert box.judge(vetting, good) == ""
    assert box.judge(vetting, box.a_list(1, new, OTHER_KEY)) == ""
    vetting.take(good, box.content)
    content = box.offer(42)
    assert box.judge(vetting, box.offer(42, issued=NOW + DAY / 2)) == box.judge(vetting, content) == ""
    box.now = NOW + 90 * DAY
    vetting.take(content, box.content)
    assert box.vetting()._floors["gateway"].release.issued == NOW + DAY / 2


@pytest.mark.parametrize(
    "almost",
    [
        "* {}", 'fountain-* namespaces="signers@fountain-udp" {}', 'fountain-signers namespaces="*" {}',
        "fountain-signers {}", 'fountain-signers,gateway namespaces="signers@fountain-udp" {}',
    ],
)  # fmt: skip
def test_no_publisher_becomes_a_root_by_a_pattern(box: Box, almost: str) -> None:
    vetting = box.vetting(has_roots=True)
    words = line(STRANGER).split(" ", 2)[2]
    vetting.take(box.a_list(1, line(KEY) + almost.format(words)), box.content)
    assert "does not list for fountain-signers" in box.judge(vetting, box.a_list(2, line(KEY), STRANGER))
    assert box.judge(vetting, box.a_list(2, line(KEY))) == ""


def run(hooks: Hooks, is_over: Callable[[], bool]) -> None:
    limit = time.monotonic() + 20
    while not is_over():
        hooks.step(time.monotonic_ns())
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_hooks_learn_of_the_release_and_an_old_one_is_not_run_after_a_new_one(box: Box, tmp_path: Path) -> None:
    vetting, observer, out, log = box.vetting(), KeepingObserver(), tmp_path / "out", tmp_path / "log"
    out.mkdir()
    received = ReceivedList(out)
    command = (
        f'echo "$FOUNTAIN_PRODUCT $FOUNTAIN_VERSION $FOUNTAIN_SIGNER $FOUNTAIN_ATTEMPT" >> {shlex.quote(str(log))}'
    )
    hooks = Hooks(command, received, observer, 0, vetting.hook_variables)
    for version in (42, 43):
        vetting.take(box.offer(version), box.content)
        pending = PendingHook(version.to_bytes(32, "big"), "image", "")
        received.expect_hook(pending)
        hooks.begin(pending, out / "image", 0)
    run(hooks, lambda: not any(hooks.is_in_progress(version.to_bytes(32, "big")) for version in (42, 43)))
    assert log.read_text() == f"gateway 43 {fingerprint(public(KEY))} 1\n"
    assert received.state_of((42).to_bytes(32, "big")) is ReceivedState.HOOK_FAILED
    assert received.state_of((43).to_bytes(32, "big")) is ReceivedState.DONE
    (told,) = [event.message for event in observer.events if isinstance(event, Warned)]
    assert "is of a release that a newer one has replaced" in told


def test_hooks_of_a_product_run_one_at_a_time(box: Box, tmp_path: Path) -> None:
    """Also where the first one was left running by an earlier listener."""
    vetting, out, log = box.vetting(), tmp_path / "out", tmp_path / "log"
    out.mkdir()
    command = f"echo begin $FOUNTAIN_VERSION >> {log}; sleep 0.5; echo end $FOUNTAIN_VERSION >> {log}"
    earlier = Hooks(command, ReceivedList(out), KeepingObserver(), 0, vetting.hook_variables)
    received = earlier._received
    vetting.take(box.offer(42), box.content)
    old, new = (PendingHook(version.to_bytes(32, "big"), "image", "") for version in (42, 43))
    received.expect_hook(old)
    earlier.begin(old, out / "image", 0)
    earlier.step(0)
    earlier.close()
    vetting.take(box.offer(43), box.content)
    hooks = Hooks(command, ReceivedList(out), KeepingObserver(), 0, vetting.hook_variables)
    hooks.begin(new, out / "image", 0)
    run(hooks, lambda: not hooks.is_in_progress(new.object_id) and not hooks.is_in_progress(old.object_id))
    assert log.read_text().split("\n")[:-1] == ["begin 42", "end 42", "begin 43", "end 43"]
    hook = earlier._tasks[old.object_id].hook
    assert hook is not None
    assert hook.poll() == 0
