"""The doctor: a line for each check, the command that mends it, and a status for scripts."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fountain.cli.doctor import _as_lines, doctor_parser, main
from fountain.cli.environment import Environment
from fountain.cli.exit_status import ExitStatus
from fountain.doctor import checks as doctor
from fountain.doctor import machine_checks, network_checks, path_checks
from fountain.doctor.checks import Examination, examine
from fountain.doctor.finding import Command, Finding, Verdict, fine, note, problem
from fountain.engine.runtime import kernel_facts
from fountain.errors import TransportError
from fountain.geometry import symbol_size_for_mtu
from fountain.net.address import Address
from fountain.net.endpoint import open_endpoint
from fountain.net.probe import Answer, Segmentation
from fountain.wire.control import Hello, Listing, Offer, OfferBody, Refusal, RefusalReason
from tests.cli.stage import Result, Stage

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "guides" / "doctor.md"
TARGET = ("192.0.2.1", 6330)


def run(monkeypatch: pytest.MonkeyPatch, *argv: str, found: tuple[Finding, ...] = ()) -> Result:
    """The command over a machine where exactly these things are found."""
    asked: list[Examination] = []

    def script(examination: Examination) -> Iterator[Finding]:
        asked.append(examination)
        return iter(found)

    monkeypatch.setattr(doctor, "examine", script)
    stage = Stage()
    status = main(argv, stage.env)
    return Result(status, stage.stdout.getvalue(), stage.stderr.getvalue())


# --- The command --------------------------------------------------------------------------------------------


def test_every_finding_is_a_line_and_its_mending_command_stands_alone_below(monkeypatch: pytest.MonkeyPatch) -> None:
    found = (fine("clock", "steady"), note("disk", "small", "rm core"), problem("sockets", "none"))
    lines = run(monkeypatch, found=found).out.splitlines()
    assert [line.split() for line in lines] == [
        ["ok", "clock", "steady"],
        ["note", "disk", "small"],
        ["rm", "core"],
        ["problem", "sockets", "none"],
        ["1", "problem", "and", "1", "note", "among", "3", "checks."],
    ]


def test_quiet_leaves_out_what_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    found = (fine("clock", "steady"), note("disk", "small"))
    assert run(monkeypatch, "--quiet", found=found).out.split() == ["note", "disk", "small"]


def test_json_has_an_object_for_each_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    found = (fine("clock", "steady"), problem("server", "silent", "ssh", is_remote=True))
    assert [json.loads(line) for line in run(monkeypatch, "--json", found=found).out.splitlines()] == [
        {"check": "clock", "verdict": "ok", "text": "steady", "mend": "", "is_remote": False},
        {"check": "server", "verdict": "problem", "text": "silent", "mend": "ssh", "is_remote": True},
    ]


@pytest.mark.parametrize(
    ("found", "status"),
    [
        ((fine("a", "b"),), ExitStatus.DONE),
        ((note("a", "b"),), ExitStatus.DONE),
        ((note("a", "b"), problem("c", "d")), ExitStatus.LOCAL),
        ((problem("a", "b", is_remote=True),), ExitStatus.NOBODY_ANSWERED),
        ((problem("a", "b", is_remote=True), problem("c", "d")), ExitStatus.LOCAL),
    ],
)
def test_the_status_shows_whose_problem_it_is(
    monkeypatch: pytest.MonkeyPatch, found: tuple[Finding, ...], status: int
) -> None:
    assert run(monkeypatch, found=found).status == status


def test_a_host_cannot_move_the_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b" not in run(monkeypatch, found=(fine("server", "serves \x1b[2J"),)).out


@pytest.mark.parametrize("argv", [["a", "b"], ["--port", "0"], ["--data-port", "65536"], ["--no-such"], [""]])
def test_wrong_usage_is_status_2(monkeypatch: pytest.MonkeyPatch, argv: list[str]) -> None:
    done = run(monkeypatch, *argv)
    assert done.status == 2
    assert done.err.startswith("python -m fountain doctor: ")


def test_options_become_the_examination(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Examination] = []
    monkeypatch.setattr(doctor, "examine", lambda examination: asked.append(examination) or iter(()))
    env: Environment = Stage(platform="win32").env
    assert main(["h", "--port", "7000", "--data-port", "7001"], env) == 0
    (examination,) = asked
    assert (examination.host, examination.port, examination.data_port) == ("h", 7000, 7001)
    assert "7000-7001" in examination.firewall_lines[0]


def test_help_loads_nothing_heavy() -> None:
    probe = (
        "import sys; from fountain.cli.main import main; status = main(['doctor', '--help']);"
        "print(status, {'numpy', 'numba', 'rich', 'cryptography', 'blake3'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: python -m fountain doctor [OPTIONS] [HOST]")
    assert done.stdout.splitlines()[-1] == "0 set()"


def test_the_page_has_exactly_the_options_of_the_command() -> None:
    told = set(re.findall(r"^\| `(--[a-z-]+)", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    known = {option for option in doctor_parser()._option_string_actions if option.startswith("--")}
    assert told == known - {"--help", "--version"}


# --- This machine -------------------------------------------------------------------------------------------


def test_a_real_machine_is_examined_without_an_error() -> None:
    found = list(examine(Examination()))
    checks = {finding.check for finding in found}
    assert {"versions", "receive buffer", "kernel cache", "cipher", "clock", "sleep", "disk", "port 6330"} <= checks
    assert all(finding.text and "\n" not in f"{finding.text}{finding.mend}" for finding in found)


def test_the_page_explains_every_check_of_a_real_machine() -> None:
    told = set(re.findall(r"^\| `([^`]+)`", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert {finding.check for finding in examine(Examination(host="127.0.0.1"))} <= told


@pytest.mark.parametrize(
    ("granted", "verdict"),
    [(4 << 20, Verdict.OK), ((4 << 20) - 1, Verdict.NOTE), (1 << 20, Verdict.NOTE), ((1 << 20) - 1, Verdict.PROBLEM)],
)
def test_small_buffers_come_with_the_setting_that_enlarges_them(
    monkeypatch: pytest.MonkeyPatch, granted: int, verdict: Verdict
) -> None:
    monkeypatch.setattr(network_checks.sys, "platform", "linux")
    monkeypatch.setattr(network_checks, "granted_buffer_sizes", lambda: (granted, 1 << 20))
    finding = next(network_checks.check_buffers())
    assert finding.verdict is verdict
    assert finding.mend == ("" if verdict is Verdict.OK else "sudo sysctl -w net.core.rmem_max=4194304")


def test_a_machine_without_sockets_has_one_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> tuple[int, int]:
        raise TransportError("No socket could be opened.", "Look at it.")

    monkeypatch.setattr(network_checks, "granted_buffer_sizes", refuse)
    assert list(network_checks.check_buffers()) == [problem("sockets", "No socket could be opened.", "Look at it.")]


def test_datagrams_that_were_dropped_are_read_from_the_counters() -> None:
    table = "Ip: x\nIp: 1\nUdp: InDatagrams RcvbufErrors SndbufErrors\nUdp: 7 12 3\nUdpLite: RcvbufErrors\nUdpLite: 5"
    assert network_checks._dropped_count(table) == 12
    assert network_checks._dropped_count("") is None


def test_a_kernel_without_segmentation_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_checks.sys, "platform", "linux")
    monkeypatch.setattr(network_checks, "try_segmentation", lambda: Segmentation(True, False))
    verdicts = {finding.check: finding.verdict for finding in network_checks.check_segmentation()}
    assert verdicts == {"UDP_SEGMENT": Verdict.OK, "UDP_GRO": Verdict.NOTE}


def test_nothing_is_tried_on_a_loopback_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_checks.sys, "platform", "linux")
    monkeypatch.setattr(network_checks, "route_source", lambda address: "")
    (finding,) = network_checks.check_segmentation()
    assert (finding.check, finding.verdict) == ("loopback", Verdict.PROBLEM)


def test_a_port_that_is_taken_is_found_with_whoever_has_it() -> None:
    endpoint = open_endpoint("")
    (finding,) = network_checks.check_ports([endpoint.local_address[1]])
    endpoint.close()
    assert finding.verdict is Verdict.NOTE
    assert finding.text.startswith("taken")
    assert next(network_checks.check_ports([endpoint.local_address[1]])).verdict is Verdict.OK


@pytest.mark.parametrize(
    ("active", "better", "verdict"),
    [
        ("gfni512", [], Verdict.OK),
        ("avx2", [("gfni512", "gfni and avx512f"), ("gfni256", "gfni")], Verdict.OK),
        ("portable", [("ssse3", "ssse3")], Verdict.PROBLEM),
        ("avx2", [("gfni512", "")], Verdict.NOTE),
    ],
)
def test_slow_vector_instructions_are_reported_with_what_is_missing(
    active: str, better: list[tuple[str, str]], verdict: Verdict
) -> None:
    finding = machine_checks._vector_finding(active, better, active)
    assert finding.verdict is verdict
    assert all(missing in finding.text for _, missing in better[-1:])
    assert (finding.mend == "unset FOUNTAIN_SIMD") == (verdict is Verdict.NOTE)


def test_a_cold_kernel_cache_is_noted_and_a_warm_one_is_fine(tmp_path: Path) -> None:
    assert machine_checks._cache_finding([tmp_path / "new" / "a"], 0, 9).verdict is Verdict.NOTE
    assert machine_checks._cache_finding([tmp_path], 9, 9).verdict is Verdict.OK


def test_kernels_that_cannot_be_kept_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_facts, "cache_trouble", lambda: "No space left on device")
    finding = list(machine_checks.check_kernels())[-1]
    assert (finding.check, finding.verdict) == ("kernel cache", Verdict.PROBLEM)
    assert "No space left" in finding.text


def test_a_forced_version_of_igmp_is_noted_with_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    table = (
        "Idx\tDevice    : Count Querier\tGroup\n4\teth0      :     1      V2\n\t\t010000E0 1 0:0 0\n5\teth1 : 1 V3\n"
    )
    monkeypatch.setattr(network_checks, "read_system_text", lambda path: "2")
    first, second = network_checks._membership_findings(table, ["eth0", "eth1"])
    assert (first.verdict, first.mend) == (Verdict.NOTE, "sudo sysctl -w net.ipv4.conf.eth0.force_igmp_version=0")
    assert second.verdict is Verdict.OK


def test_a_strict_reverse_path_filter_matters_only_beside_another_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_checks, "read_system_text", lambda path: "1" if "eth0" in path else "0")
    (alone,) = network_checks._reverse_path_findings(["eth0"])
    (beside,) = network_checks._reverse_path_findings(["eth0", "eth1"])
    assert alone.verdict is Verdict.OK
    assert (beside.verdict, beside.mend) == (Verdict.NOTE, "sudo sysctl -w net.ipv4.conf.eth0.rp_filter=2")


# --- The way to a host --------------------------------------------------------------------------------------


def offer_body(mtu: int) -> OfferBody:
    return OfferBody(
        object_id=bytes(32), server_public=bytes(32), key_index=0, profile_id=bytes(8), object_size=5_000,
        manifest_size=100, symbol_size=symbol_size_for_mtu(mtu), block_symbol_limit=1002, data_port=6331,
        is_directory=False, name="image.iso", open=False,
    )  # fmt: skip


def path_to(
    monkeypatch: pytest.MonkeyPatch, answer: object, *, mtu: int = 1500, targets: tuple[Address, ...] = (TARGET,)
) -> list[Finding]:
    """What is found on the way to a host whose answer to a Hello is `answer` (of a Hello's nonce), from a script."""

    def exchange(address: Address, question: bytes, _patience_s: float) -> Answer | None:
        if address != targets[-1]:
            return None
        hello = Hello.parse(question, 0)
        assert isinstance(hello, Hello)
        return answer(hello.nonce) if callable(answer) else None

    monkeypatch.setattr(path_checks, "resolve", lambda host, port: list(targets))
    monkeypatch.setattr(path_checks, "route_source", lambda address: "192.0.2.9")
    monkeypatch.setattr(path_checks, "try_path_mtu", lambda address: mtu)
    monkeypatch.setattr(path_checks, "exchange", exchange)
    return list(path_checks.check_path("h", 6330))


def answered(record: Offer | Listing | Refusal) -> Answer:
    return Answer(record.encode(), 1_500_000)


def test_a_server_is_reported_with_its_object_and_round_trip(monkeypatch: pytest.MonkeyPatch) -> None:
    found = path_to(monkeypatch, lambda nonce: answered(Offer(nonce, bytes(20), offer_body(1500))))
    assert {finding.verdict for finding in found} == {Verdict.OK}
    assert found[-2].text == "192.0.2.1:6330 serves 'image.iso', 5,000 bytes, sealed; round trip 1.50 ms"


def test_packets_that_the_path_does_not_take_come_with_the_option_that_cuts_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = path_to(monkeypatch, lambda nonce: answered(Offer(nonce, bytes(20), offer_body(1500))), mtu=1400)
    assert found[-1].verdict is Verdict.PROBLEM
    assert found[-1].mend == Command("fountain-serve", {"mtu": 1400}, ("PATH",))
    assert _as_lines(found[-1])[1].strip() == "fountain-serve --mtu 1400 PATH"


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (lambda nonce: Listing(nonce, 0, 1, (("a", 1), ("b", 2))), "serves 2 objects"),
        (lambda nonce: Refusal(nonce, RefusalReason.NO_SUCH_OBJECT), "refuses: no such object"),
    ],
)
def test_other_answers_are_a_server_too(monkeypatch: pytest.MonkeyPatch, record: object, words: str) -> None:
    assert callable(record)
    found = path_to(monkeypatch, lambda nonce: answered(record(nonce)))
    assert found[-1].verdict is Verdict.OK
    assert words in found[-1].text


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "does not answer"),
        (lambda nonce: Answer(refused=True), "no server listens"),
        (lambda nonce: Answer(b"garbage"), "does not answer"),
        (lambda nonce: answered(Refusal(bytes(16), RefusalReason.NO_SUCH_OBJECT)), "does not answer"),
    ],
)
def test_a_host_without_a_server_is_a_problem(monkeypatch: pytest.MonkeyPatch, answer: object, words: str) -> None:
    found = path_to(monkeypatch, answer)
    assert (found[-1].check, found[-1].verdict) == ("server", Verdict.PROBLEM)
    assert words in found[-1].text
    assert all(finding.is_remote for finding in found)


def test_one_address_of_several_that_answers_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = (("2001:db8::1", 6330), TARGET)
    found = path_to(monkeypatch, lambda nonce: answered(Offer(nonce, bytes(20), offer_body(1500))), targets=targets)
    assert Verdict.PROBLEM not in {finding.verdict for finding in found}
    assert found[-1].verdict is Verdict.NOTE


def test_a_host_that_is_not_known_ends_the_check_of_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(host: str, port: int) -> list[Address]:
        raise TransportError(f"The host '{host}' is not known.")

    monkeypatch.setattr(path_checks, "resolve", resolve)
    assert list(path_checks.check_path("h", 6330)) == [
        problem("name", "The host 'h' is not known.", "getent hosts h", is_remote=True)
    ]
