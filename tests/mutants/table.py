"""The mistakes: an exact text that occurs once in the package, what stands there instead, and why that matters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["MUTANTS", "Mutant"]


@dataclass(frozen=True)
class Mutant:
    """One mistake.

    `before` occurs once in `fountain/` and is replaced by `after`. `tests` are run first; then the seeds of `chaos`
    ("session", "group", or both).
    """

    name: str
    why: str
    before: str
    after: str
    tests: str
    chaos: str = ""

    def path(self, root: Path) -> Path:
        """The one file that has the text `before`.

        Raises:
            LookupError: none has it, or it occurs more than once.
        """
        found = [(path, path.read_text().count(self.before)) for path in sorted((root / "fountain").rglob("*.py"))]
        places = [path for path, count in found for _ in range(count)]
        if len(places) != 1:
            raise LookupError(f"{self.name}: its text occurs {len(places)} times: {self.before!r}")
        return places[0]


MUTANTS = (
    # --- Alive when they were first tried: the rule had no test -------------------------------------------------
    Mutant(
        "session-late-report", "a late Report is believed: old needs are sent again, and loss is counted twice",
        "if report.received_count < self.received_count:", "if report.received_count < 0:",
        "tests/protocol/test_sessions.py",
    ),
    Mutant(
        "group-future-report", "a group report that expects packets never sent shifts the counts of its receiver",
        "if report.expected_sequence > next_sequence:\n            # Forged", "if False:\n            # Forged",
        "tests/protocol/test_group_members.py",
    ),
    Mutant(
        "group-report-replay", "a recorded report of an earlier incarnation is accepted again",
        "return number > self._latest and number >> 32 <=",
        "return number & 0xFFFF_FFFF != self._latest & 0xFFFF_FFFF and number >> 32 <=",
        "tests/protocol/test_group_members.py",
    ),
    Mutant(
        "group-other-host-tried", "a stream that waits is left for one that another host announces and never sends",
        "return heard.channel.is_doubtful and heard.address[0] != same.machine.server[0]", "return False",
        "tests/world/test_open_groups.py",
    ),
    Mutant(
        "group-recording-holds", "recordings at full rate hold the places of a listener for as long as they last",
        "is_weak = is_slow or holder.is_idle(now_ns) or machine.is_unanswered(now_ns)",
        "is_weak = is_slow or holder.is_idle(now_ns)", "tests/world/test_keyless.py",
    ),
    Mutant(
        "group-no-other-host", "who heard a false server first never learns of the true one",
        "if not _is_elsewhere(heard, same) or heard.announce.flags & AnnounceFlag.ONEWAY:", "if True:",
        "tests/world/test_open_groups.py",
    ),
    Mutant(
        "group-deaf-stays", "a receiver that hears Plans but no data never leaves: the object is sent for ever",
        "sequence - member.reception.first_sequence >= NOTHING_COUNT", "False",
        "tests/protocol/test_group_members.py",
    ),
    Mutant(
        "group-grown-deaf-stays", "a receiver that hears no more data never leaves",
        "now_ns - deaf_since_ns >= DEAF_NS", "False",
        "tests/protocol/test_group_members.py",
    ),
    Mutant(
        "session-no-keepalive", "no Ping keeps the way through an address translator open",
        "self._keepalive_ns = now_ns + KEEPALIVE_NS\n        return session", "return None\n        return session",
        "tests/protocol/test_sessions.py",
    ),
    Mutant(
        "net-drop-counter-wraps", "after 2^32 drops the kernel's counter starts again, and drops become negative",
        "(count - self._drop_count) & 0xFFFFFFFF", "count - self._drop_count",
        "tests/net/test_linux.py",
    ),
    # --- Their twins on the other kind of stream ----------------------------------------------------------------
    Mutant(
        "session-future-report", "a Report that expects packets never sent is believed",
        "0 < report.expected_sequence <= self.sequence", "0 < report.expected_sequence",
        "tests/protocol/test_sessions.py", "session",
    ),
    Mutant(
        "session-replay", "a recorded control packet of a session is accepted again",
        "return body if self._replay.accept(header.sequence) else Reject.REPLAYED", "return body",
        "tests/protocol/test_sessions.py",
    ),
    Mutant(
        "session-nothing-comes", "a client of which nothing comes but Pings goes on for ever",
        "elif now_ns - self._missed_ns >= MISSED_NS:", "elif False:",
        "tests/protocol/test_missing_data.py", "session",
    ),
    Mutant(
        "group-late-report", "a report that others overtook sets its receiver back",
        "return number > self._latest and number >> 32 <=", "return number != self._latest and number >> 32 <=",
        "tests/protocol/test_group_members.py",
    ),
    Mutant(
        "group-receiver-deaf", "a receiver to which no data comes waits for ever",
        "return Standstill.DEAF", "return None",
        "tests/world/test_group_standstill.py",
    ),
    Mutant(
        "rate-drop-counter-wraps", "after 2^32 drops a receiver's counter starts again, and drops become negative",
        "(report.kernel_drop_count - self._dropped) & _WORD", "report.kernel_drop_count - self._dropped",
        "tests/protocol/test_congestion_feedback.py",
    ),
    # --- The core ---------------------------------------------------------------------------------------------
    Mutant(
        "replay-off-by-one", "the oldest number of the window is accepted twice",
        "if -ahead >= self._size:", "if -ahead > self._size:",
        "tests/protocol/test_numbers.py",
    ),
    Mutant(
        "cookie-expiry", "a cookie is good for ever",
        "if epoch not in (now_epoch", "if False and epoch not in (now_epoch",
        "tests/protocol/test_admission.py",
    ),
    Mutant(
        "breaker-never", "a stream of which most is lost is never ended",
        "self.has_tripped or self._bad_count >= _SLICE_COUNT", "self.has_tripped",
        "tests/protocol/test_congestion_breaker.py",
    ),
    Mutant(
        "lane-step", "two sessions of a server send the same repair symbols",
        "(base + index * _GOLDEN_STEP)", "(base + index)",
        "tests/protocol/test_admission.py",
    ),
    Mutant(
        "pace-doubled", "the sender sends twice its rate",
        "self._ready_ns += size * 8 * NS", "self._ready_ns += size * 4 * NS",
        "tests/protocol/test_admission.py", "session",
    ),
    Mutant(
        "damaged-row-kept", "a packet whose tag is wrong counts as a symbol",
        "kept = np.delete(np.arange(len(indices)), damaged)", "kept = np.arange(len(indices))",
        "tests/engine/test_unpacker.py tests/world/test_damage.py",
    ),
    Mutant(
        "group-tag", "anybody can write control packets of a group",
        "if not hmac.compare_digest(keyed_digest(self._control_key",
        "if False and not hmac.compare_digest(keyed_digest(self._control_key",
        "tests/protocol/test_group_channel.py",
    ),
    Mutant(
        "block-digest", "a block is written that is not what the manifest says",
        " or blake3(octets).digest() != self._manifest.digest(index)", "",
        "tests/storage/test_part.py",
    ),
    Mutant(
        "journal-without-sync", "the journal vouches for data that a power cut takes",
        "self._octets.sync(", "len(",
        "tests/storage/test_durability.py",
    ),
    Mutant(
        "links-followed", "a link that somebody puts into the part is written through",
        ' | getattr(os, "O_NOFOLLOW", 0)', "",
        "tests/storage/test_part.py",
    ),
    Mutant(
        "key-exhaustion", "one key seals more packets than AES-GCM may",
        "return 1 << 28 if", "return 1 << 38 if",
        "tests/protocol/test_session_keys.py tests/world/test_peers.py",
    ),
    # --- Sessions ---------------------------------------------------------------------------------------------
    Mutant(
        "session-gone-stays", "a session whose client has vanished is never ended",
        "if silent_ns >= GONE_NS or", "if",
        "tests/world/test_silence.py", "session",
    ),
    Mutant(
        "session-silent-streams", "data goes on to a client that has not reported for long",
        "elif silent_ns >= CLIENT_SILENT_NS:", "elif False:",
        "tests/world/test_silence.py", "session",
    ),
    Mutant(
        "session-sleeper-ended", "a server that was stopped for a minute ends all its sessions",
        "if late_ns >= LOOK_LATE_NS:\n                session", "if False:\n                session",
        "tests/protocol/test_sessions.py",
    ),
    Mutant(
        "session-any-pong", "any Pong proves the port, so that a stream can be turned on somebody else",
        "not self.is_given and number == self.challenge", "not self.is_given",
        "tests/protocol/test_places.py",
    ),
    Mutant(
        "session-unproved-flood", "a port that proved nothing gets the whole stream",
        "else max(0, min(room_count, self._packet_count_max - sent_count))", "else room_count",
        "tests/protocol/test_places.py",
    ),
    Mutant(
        "session-unproved-many", "many sessions that proved nothing send their first window to one address",
        "self._places.unproved_count(address[0]) >= UNPROVED_COUNT_MAX", "False",
        "tests/protocol/test_places.py",
    ),
    Mutant(
        "session-hold-ignored", "the time for which a client held an echo counts as round trip",
        "& _WORD) - hold_us", "& _WORD)",
        "tests/protocol/test_sessions.py", "session",
    ),
    Mutant(
        "session-stop-once", "a Stop whose acknowledgement was lost is not acknowledged again",
        "if isinstance(record, Stop):\n            ack",
        "if isinstance(record, Stop) and session is not None:\n            ack",
        "tests/protocol/test_sessions.py", "session",
    ),
    Mutant(
        "session-tombstones", "ended sessions are remembered without a bound",
        " and len(self._tombstones) <= TOMBSTONE_COUNT_MAX", "",
        "tests/protocol/test_sessions.py",
    ),
    Mutant(
        "session-held-report", "of Reports that wait, an older one takes the place of a newer one",
        "if self._waiting is None or sequence > self._waiting[0]:", "if True:",
        "tests/protocol/test_sessions.py",
    ),
    Mutant(
        "session-supersede", "a peer that is back takes a second place, and its old stream goes on",
        "if older is not None:\n            self._end(older", "if False:\n            self._end(older",
        "tests/protocol/test_sessions.py",
    ),
    Mutant(
        "session-place-of-equal", "a newcomer takes the place of an address that has no more than it",
        "counts[most] - counts.get(host, 0) < 2", "counts[most] - counts.get(host, 0) < 1",
        "tests/protocol/test_places.py",
    ),
    Mutant(
        "admission-burst", "an address has one Hello more at once than it may",
        "if finish_ns - now_ns > self._room_ns:", "if finish_ns - now_ns > self._room_ns + self._interval_ns:",
        "tests/protocol/test_floods.py",
    ),
    Mutant(
        "group-elsewhere", "what somebody elsewhere says in the name of a receiver is believed",
        "if member is not None and address[0] != member.address[0] and", "if False and member is not None and",
        "tests/protocol/test_group_members.py",
    ),
    Mutant(
        "group-leap", "one Announce of a high number shuts out all true ones",
        "and not self._rise.admit(now_ns, ahead)", "and not self._rise.admit(now_ns, 1)",
        "tests/protocol/test_server_signs.py",
    ),
    Mutant(
        "net-other-sender", "a datagram counts as the train's though another sent it",
        "received[3] == sender and", "received[3] == self._raw and",
        "tests/net/test_batch.py",
    ),
    Mutant(
        "admission-table", "addresses that somebody makes up fill the memory",
        "if len(self._finish) > ADDRESS_COUNT_MAX:", "if False:",
        "tests/protocol/test_floods.py",
    ),
    Mutant(
        "admission-cookie-forgotten", "a cookie that still lives opens a second session",
        "since_ns >= 2 * COOKIE_PERIOD_NS", "since_ns >= COOKIE_PERIOD_NS",
        "tests/protocol/test_floods.py",
    ),
    Mutant(
        "admission-old-keys", "who breaks into a server can open the streams of earlier hours",
        "self._keys.pop(index - 2, None)", "self._keys.pop(index - 40, None)",
        "tests/protocol/test_admission.py",
    ),
    Mutant(
        "patience-unsteady", "streams that bring a little and stand still go on for ever",
        "min(self.advanced_ns + self.timeout_ns, self.steady_ns + UNSTEADY_FACTOR * self.timeout_ns)",
        "self.advanced_ns + self.timeout_ns",
        "tests/protocol/test_patience.py",
    ),
    Mutant(
        "group-preparing-limit", "a made-up Preparing keeps the receivers of a group for ever",
        "if now_ns - self._since_ns < PREPARING_NS_MAX:", "if True:",
        "tests/engine/test_group_preparing.py",
    ),
    Mutant(
        "group-preparing-proof", "anybody can make the receivers of a server with a key wait",
        "if reject := reject or channel.verify(header, data, address, now_ns):", "if reject:",
        "tests/engine/test_group_preparing.py",
    ),
    Mutant(
        "patience-hint", "a forged Refusal ends a fetch that has a stream",
        "if self._suspicion is not None and not self.was_connected:", "if self._suspicion is not None:",
        "tests/protocol/test_patience.py", "session",
    ),
    Mutant(
        "proof-unchecked", "whoever answers is the server, whatever he has signed",
        "failure = None if session.fits(record) else Failure.UNPROVED", "failure = None",
        "tests/protocol/test_identity.py",
    ),
    Mutant(
        "proof-late", "data of a session counts before its server has proved its key",
        "if session is not None and not session.is_proved:", "if False:",
        "tests/protocol/test_identity.py",
    ),
    Mutant(
        "identity-stripped", "an Offer without a flag makes a client forget that it knows the server's key",
        "if is_needed and not offer.identified:", "if False:", "tests/protocol/test_identity.py",
    ),
    Mutant(
        "client-unsigned", "whoever names a listed key is served",
        "if not self._opener.is_signed(read):", "if not self._opener.lists(read):",
        "tests/protocol/test_identity.py",
    ),
    Mutant(
        "claimed-key", "whoever claims one listed key takes the signatures of all",
        "return (not claimed or self._claims.admit(claimed.hex(), now_ns)) and self._all.admit(now_ns)",
        "return self._all.admit(now_ns)",
        "tests/protocol/test_identity.py",
    ),
    Mutant(
        "carousel-under-way", "what a report has counted is taken to be on its way, and not sent again",
        "total += count - max(0, resolved - first)", "total += count",
        "tests/protocol/test_carousel.py", "session",
    ),
    Mutant(
        "carousel-open-limit", "a client can make the server keep any number of blocks open",
        "if len(self._open) >= min(self.open_limit, NEED_COUNT_MAX):", "if len(self._open) >= self.open_limit:",
        "tests/protocol/test_carousel.py",
    ),
    Mutant(
        "carousel-need", "a client that asks for 65,535 symbols of a block of ten gets them",
        "min(reported.get(entry.block, entry.symbol_count), 2 * entry.symbol_count)",
        "reported.get(entry.block, entry.symbol_count)",
        "tests/protocol/test_carousel.py",
    ),
    Mutant(
        "lane-repair-base", "a lane's repair symbols are source symbols",
        "base = symbol_count if self.systematic else 0", "base = 0",
        "tests/protocol/test_carousel.py",
    ),
    Mutant(
        "rate-loss-twice", "a packet that was only late counts as lost",
        "lost = min(report.missing_count, self._missing)", "lost = report.missing_count",
        "tests/protocol/test_congestion_feedback.py",
    ),
    Mutant(
        "rate-smoothing", "one sample moves the round trip by half (RFC 6298 says an eighth)",
        "self.smoothed_ns += (rtt_ns - self.smoothed_ns) // 8", "self.smoothed_ns += (rtt_ns - self.smoothed_ns) // 2",
        "tests/protocol/test_admission.py",
    ),
    Mutant(
        "numbers-expand", "half the number space ahead and behind are mistaken for each other",
        "if candidate + (1 << 31) <= expected:", "if candidate + (1 << 30) <= expected:",
        "tests/protocol/test_numbers.py",
    ),
    Mutant(
        "numbers-stale-window", "packets after a gap that wraps the window look like copies",
        "self._seen[: gap - before_end] = bytes(gap - before_end)", "pass",
        "tests/protocol/test_numbers.py",
    ),
    Mutant(
        "blocks-before-manifest", "a block is written before anybody knows what it should be",
        "if self.manifest_known or block & MANIFEST_BIT:\n                self._move",
        "if True:\n                self._move",
        "tests/protocol/test_blocks.py",
    ),
    # --- Groups -----------------------------------------------------------------------------------------------
    Mutant(
        "group-seal-ignored", "an open control packet is taken in a sealed group",
        "if header.open != self.open:", "if False:",
        "tests/protocol/test_group_channel.py",
    ),
    Mutant(
        "group-keys-shared", "two sessions of a group seal under one key and the same numbers",
        'derive(key, b"group data", session_id)', 'derive(key, b"group data")',
        "tests/protocol/test_group_channel.py",
    ),
    Mutant(
        "group-renew-late", "the last train under a key seals more packets than it may",
        "if self.sequence + limit > self._packet_count_max:", "if self.sequence > self._packet_count_max:",
        "tests/world/test_group_renewal.py",
    ),
    Mutant(
        "group-one-takes-all", "one address takes the places of all receivers",
        "or party.member_count >= PARTY_MEMBER_COUNT_MAX", "",
        "tests/protocol/test_group_members.py",
    ),
    Mutant(
        "group-cast-out-place", "an address that was sent away goes on taking places",
        "if now_ns < party.cast_out_until_ns and party.cast_out_count >= CAST_OUT_COUNT_MAX:", "if False:",
        "tests/protocol/test_group_members.py",
    ),
    Mutant(
        "group-round-trip-alone", "one receiver makes the whole group wait for eight seconds",
        "limit_ns = RTT_MAX_NS if is_alone else", "limit_ns = RTT_MAX_NS if True else",
        "tests/protocol/test_group_members.py",
    ),
    Mutant(
        "group-silent-counts", "everybody waits for a receiver that has vanished",
        "if member.is_expected and now_ns - member.heard_ns >= limit_ns:", "if False:",
        "tests/world/test_groups.py", "group",
    ),
    Mutant(
        "group-oneway-listens", "a one-way stream lets reports steer it",
        "elif self.membership is None:\n            self.rejects", "elif False:\n            self.rejects",
        "tests/world/test_group_oneway.py",
    ),
    Mutant(
        "group-passed-over", "a receiver that nothing comes for waits for ever",
        "return Standstill.PASSED_OVER if is_passed and", "return Standstill.PASSED_OVER if False and",
        "tests/world/test_group_standstill.py",
    ),
    Mutant(
        "group-rtt-sample", "a made-up echo time makes a round trip of minutes",
        "if not 0 <= sample_ns < RTT_MAX_NS:", "if not 0 <= sample_ns:",
        "tests/protocol/test_group_members.py",
    ),
    # --- Wire and keys ----------------------------------------------------------------------------------------
    Mutant(
        "wire-needs-twice", "a Report names one block twice, with two needs",
        "if len({block for block, _ in needs}) < need_count:", "if False:",
        "tests/protocol/test_packets.py",
    ),
    Mutant(
        "wire-runs-overlap", "runs of done blocks overlap",
        "if first <= end or count < 1 or", "if count < 1 or",
        "tests/protocol/test_packets.py",
    ),
    Mutant(
        "wire-hello-padding", "a Hello carries octets that no version knows",
        " or data[HEADER_SIZE + _HELLO.size :] != _PADDING", "",
        "tests/protocol/test_packets.py",
    ),
    Mutant(
        "wire-data-reserved", "a data packet whose reserved octet is set is taken",
        "if row[1] & ~FLAGS_KNOWN or row[27]:", "if row[1] & ~FLAGS_KNOWN:",
        "tests/wire/test_train.py",
    ),
    Mutant(
        "wire-parts-memory", "parts without the others fill the memory",
        "while len(self._pending) >= self._pending_count_max:", "while False:",
        "tests/wire/test_parts.py",
    ),
    Mutant(
        "wire-manifest-parent", "an entry of a tree hangs on itself",
        "(parents[1:] >= np.arange(1, count, dtype=np.uint32)).any()",
        "(parents[1:] > np.arange(1, count, dtype=np.uint32)).any()",
        "tests/wire/test_manifest.py",
    ),
    Mutant(
        "wire-manifest-dots", "a tree has an entry called `..`",
        "return not is_dot and not (", "return not is_dot or not (",
        "tests/wire/test_manifest.py",
    ),
    Mutant(
        "wire-manifest-hard-link", "a hard link points at a later entry",
        "if (targets >= links.astype(np.uint64)).any():", "if (targets > len(kinds) - 1).any():",
        "tests/wire/test_manifest.py",
    ),
    Mutant(
        "wire-manifest-size", "the entries of a manifest do not add up to its object",
        "return None if size == manifest.object_size else Reject.BAD_FIELD", "return None",
        "tests/wire/test_manifest.py",
    ),
    Mutant(
        "keys-transcript", "an Offer can be changed on its way without breaking the keys",
        "info=_LABEL + digest(transcript)", "info=_LABEL",
        "tests/protocol/test_session_keys.py",
    ),
    Mutant(
        "keys-shared-key", "whoever lacks the group's key can open a session",
        "salt=key or bytes(32)", "salt=bytes(32)",
        "tests/protocol/test_session_keys.py",
    ),
    # --- Storage ----------------------------------------------------------------------------------------------
    Mutant(
        "storage-rename-unsynced", "after a power cut the finished object has lost its name",
        "with Directory.open(self.destination.parent) as parent:\n                parent.sync()", "pass",
        "tests/storage/test_durability.py",
    ),
    Mutant(
        "storage-replace-unsynced", "after a power cut a replaced file is empty",
        "_sync(os.fsync, descriptor)\n        finally", "pass\n        finally",
        "tests/storage/test_durability.py",
    ),
    Mutant(
        "storage-missing-file", "blocks of a file that somebody removed count as there",
        "if vouched and len(missing):", "if False:",
        "tests/storage/test_part.py tests/storage/test_resume.py",
    ),
    Mutant(
        "storage-unproved", "what was damaged on the disk between two runs becomes the object",
        "unproven = sorted(self._unproven)", "unproven: list[int] = []",
        "tests/storage/test_part.py tests/storage/test_resume.py",
    ),
    Mutant(
        "storage-lock", "two processes write one part",
        "except BlockingIOError:\n        return Lock.TAKEN", "except BlockingIOError:\n        return Lock.HELD",
        "tests/storage/test_part.py tests/storage/test_resume.py",
    ),
    Mutant(
        "storage-short-write", "the rest of a short write goes to the wrong place",
        "done += os.pwrite(descriptor, view[done:], offset + done)",
        "done += os.pwrite(descriptor, view[done:], offset)",
        "tests/storage/test_trouble.py tests/storage/test_part.py",
    ),
    Mutant(
        "storage-journal-bound", "a record for a block that does not exist is believed",
        "if block < block_count and zlib", "if zlib",
        "tests/storage/test_part.py tests/storage/test_resume.py",
    ),
    Mutant(
        "storage-full-directory", "--overwrite replaces a directory that holds something",
        'return "" if _is_empty(destination) else', 'return "" if True else',
        "tests/storage/test_overwrite.py",
    ),
    Mutant(
        "storage-list-cut", "a line that was cut short spoils the one behind it",
        'self._is_cut = bool(text) and not text.endswith("\\n")', "self._is_cut = False",
        "tests/storage/test_received.py",
    ),
    Mutant(
        "storage-touched-file", "a file that changes while it is served is sent as it is now",
        "status.st_size == int(self.manifest.entries", "True or status.st_size == int(self.manifest.entries",
        "tests/storage/test_source.py",
    ),
    Mutant(
        "storage-zero-key", "32 zero octets are a key",
        " or not any(key)", "",
        "tests/storage/test_key.py",
    ),
    # --- Network ----------------------------------------------------------------------------------------------
    Mutant(
        "net-two-senders", "datagrams of two senders make one train",
        "if address != train.address or not 0 < length <= train.segment_size:",
        "if not 0 < length <= train.segment_size:",
        "tests/net/test_endpoints.py tests/net/test_linux.py",
    ),
    Mutant(
        "net-stash-senders", "what waits of two senders makes one train",
        "if address != train.address or not 0 < segment_size == len(octets)", "if not 0 < segment_size == len(octets)",
        "tests/net",
    ),
    Mutant(
        "net-short-segment", "a datagram behind a shorter one is read from the wrong place",
        "            and self.length % size == 0\n", "",
        "tests/net",
    ),
    Mutant(
        "net-queue-full", "a full queue of the interface makes the sender spin",
        "if error is not None and error.errno not in (*_FULL, _DROPPED):",
        "if error is not None and error.errno not in _FULL:",
        "tests/net",
    ),
    Mutant(
        "net-answer-address", "a server with several addresses answers from the wrong one",
        "return [(socket.IPPROTO_IP, _IP_PKTINFO, bytes(4) + info[4:8] + bytes(4))]", "return []",
        "tests/net/test_linux.py",
    ),
    # --- Engine -----------------------------------------------------------------------------------------------
    Mutant(
        "engine-forged-opens", "a forged packet opens a block, and takes the place of another",
        "if collector.would_open(block) and not", "if False and not",
        "tests/engine/test_unpacker.py tests/world/test_hostile_data.py",
    ),
    Mutant(
        "engine-recording", "a recorded packet brings a symbol into a block again",
        "slots[~fresh] = -1", "pass",
        "tests/engine/test_unpacker.py tests/world/test_hostile_data.py",
    ),
    Mutant(
        "engine-block-range", "a packet of a block that cannot be reaches the tables",
        "good &= columns.block[:count] < BLOCK_COUNT_MAX", "pass",
        "tests/engine/test_unpacker.py tests/fuzz",
    ),
    Mutant(
        "engine-memory", "more blocks are open than the memory is for",
        "min(OPEN_BLOCK_COUNT_MAX, room", "max(OPEN_BLOCK_COUNT_MAX, room",
        "tests/engine",
    ),
    Mutant(
        "engine-futile", "a source that is wrong is fetched for ever",
        "return bad.total() >= BAD_BLOCK_COUNT_MAX and", "return False and",
        "tests/engine tests/world/test_hostile_data.py",
    ),
    Mutant(
        "engine-hook-first", "a power cut while a hook runs loses it",
        "self._note(lambda: self._received.expect_hook(task.pending))  # Before", "pass  # Before",
        "tests/engine/test_hooks.py",
    ),
    Mutant(
        "engine-stock-size", "repair symbols made ahead take any memory",
        "if self._size + size > STOCK_SIZE_MAX:\n            return", "if False:\n            return",
        "tests/engine/test_stock.py",
    ),
    Mutant(
        "engine-workers-closed", "a job that ends after the end wakes a loop that is gone",
        "if self._is_closed:\n                    return", "if False:\n                    return",
        "tests/engine/test_workers.py",
    ),
    # --- Trust ------------------------------------------------------------------------------------------------
    Mutant(
        "trust-older", "an older release, signed in its time, is installed again",
        "if release.version < self.release.version:", "if release.version < 0:",
        "tests/trust/test_judgement.py",
    ),
    Mutant(
        "trust-other-object", "the record of one object lets another one in",
        "if release.object_id != offer.object_id:", "if False:",
        "tests/trust/test_judgement.py tests/engine/test_signed_listener.py",
    ),
    Mutant(
        "trust-clock", "a clock that is behind makes a key valid that has expired",
        "return max(clock, self.release.issued)", "return clock",
        "tests/trust/test_judgement.py",
    ),
    Mutant(
        "trust-late-floor", "a kill between hook and state forgets what was installed",
        "            self.vetting.take(offer, path)\n", "            pass\n",
        "tests/engine/test_crashes.py",
    ),
    Mutant(
        "trust-untrusted-place", "an Announce that nobody signed takes a place",
        "if not is_trusted and (same is not None or self._application.has(heard.offer) is None):", "if False:",
        "tests/engine/test_signed_listener.py",
    ),
    Mutant(
        "trust-offer-in-turn", "an Offer that may not be taken takes the turn of the true one",
        "if held is None and config.vet is not None and not (is_vetted :=",
        "if held is None and config.vet is not None and False and not (is_vetted :=",
        "tests/protocol/test_vetted_offers.py",
    ),
    Mutant(
        "trust-superseded-hook", "the hook of an old release that was cut off undoes what the new one has done",
        "if floor is None or floor.release.object_id != object_id:", "if floor is None:",
        "tests/engine/test_vetting.py",
    ),
    # --- Codes ------------------------------------------------------------------------------------------------
    Mutant(
        "codes-padding", "repair symbols of a block that Table 2 pads are taken for others",
        "coefficients = generator_rows(self._parameters, self.row_esi[repair] + self._padding)",
        "coefficients = generator_rows(self._parameters, self.row_esi[repair])",
        "tests/codes/test_raptorq_decoder.py",
    ),
    Mutant(
        "codes-guard-slot", "a foreign code makes the receiver write behind its slab",
        "slots.max() >= row_count", "slots.max() > row_count",
        "tests/codes/test_plugins.py",
    ),
    Mutant(
        "codes-esi-limit", "an ESI that does not exist takes a row",
        "if esi >= _ESI_LIMIT:", "if esi > _ESI_LIMIT:",
        "tests/codes/test_ledger.py",
    ),
    Mutant(
        "codes-encoder-esi", "an ESI that does not exist gets the symbol of another",
        "if not 0 <= np.bitwise_or.reduce(numbers) < ESI_LIMIT:",
        "if not 0 <= np.bitwise_and.reduce(numbers) < ESI_LIMIT:",
        "tests/codes/test_raptorq_decoder.py",
    ),
    Mutant(
        "codes-last-block", "the last block of an object is written with its padding",
        "return min(self.block_symbols(block) * self.symbol_size, self.object_size - self.block_offset(block))",
        "return self.block_symbols(block) * self.symbol_size",
        "tests/test_geometry.py",
    ),
    Mutant(
        "codes-lt-spike", "both sides of LT draw degrees of another distribution than its profile says",
        "return max(1, min(spike, (symbol_count + 1) // 2))", "return max(1, min(spike, symbol_count))",
        "tests/codes/test_lt_rows.py",
    ),
    Mutant(
        "codes-generator-cache", "generator matrices of all sizes stay in memory",
        "> _CACHE_SIZE_MAX:\n                _cache.popitem",
        "> 1000 * _CACHE_SIZE_MAX:\n                _cache.popitem",
        "tests/codes/test_raptorq_decoder.py",
    ),
    Mutant(
        "pair-guesses-uncounted", "a code stands as many guesses as anybody likes to make",
        "self.wrong_count += 1\n            self._number += 1", "self._number += 1",
        "tests/protocol/test_pairing.py",
    ),
    Mutant(
        "pair-client-answers-all", "somebody between the two has one guess with each Offer, without end",
        "return len(self._tried) < GUESS_COUNT_MAX", "return True",
        "tests/protocol/test_pairing.py",
    ),
    Mutant(
        "pair-key-forgotten", "each reconnection computes a key anew: one more guess for an attacker between the two",
        "if self._right is None:\n            self._right = key", "if key is None:\n            self._right = key",
        "tests/protocol/test_pairing.py",
    ),
    Mutant(
        "pair-element-kept", "a server tries any number of Requests with one element",
        "not pairing.is_current(shown)", "shown.number < 0",
        "tests/protocol/test_pairing.py",
    ),
    Mutant(
        "pair-second-way", "a server that is reached on two ways gets a wrong code twice",
        "self.is_refused = self._right is None", "self.is_refused = False",
        "tests/protocol/test_pairing.py",
    ),
    Mutant(
        "pair-wrong-code-waits", "a fetch with --wait asks on with a wrong code, until the guesses are spent",
        "if not common.config.wait or hint.refusal is RefusalReason.WRONG_CODE:", "if not common.config.wait:",
        "tests/protocol/test_pairing.py",
    ),
    Mutant(
        "pair-flag-stripped", "a client with a code takes the object from a server that has none",
        "            if pairing is not None:\n                return Failure.CODELESS\n", "",
        "tests/protocol/test_pairing.py",
    ),
    Mutant(
        "pair-complete-unproved", "a part that lacks nothing is finished before the server has proved the code",
        "if not offer.identified and offer.pairing is None:", "if not offer.identified:",
        "tests/world/test_pairing.py",
    ),
)  # fmt: skip
