"""Groups on the command line: options become a configuration, and what cannot go together is said in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from fountain.config import (
    FetchConfig,
    FleetConfig,
    GroupConfig,
    OnewayConfig,
    ServeConfig,
    TrustConfig,
)
from fountain.errors import IncompleteError, NameClashError, UsageError
from fountain.events import PeerReason, ReceiverOutcome, ReceiverResult
from tests.cli.stage import Outcome, Stage, failing, offered, receiver_result

ADDRESS = "239.63.30.1"
GROUP = GroupConfig(address=ADDRESS)
EVERYBODY = GroupConfig(address="255.255.255.255", is_broadcast=True)


def serve_config(*argv: str) -> ServeConfig:
    stage = Stage()
    result = stage.serve("a", *argv)
    assert result.status == 0, result.err
    (config,) = stage.configs
    assert isinstance(config, ServeConfig)
    return config


def fetch_config(*argv: str) -> FetchConfig:
    stage = Stage()
    result = stage.fetch(*argv)
    assert result.status == 0, result.err
    (config,) = stage.configs
    assert isinstance(config, FetchConfig)
    return config


# --- What is configured ------------------------------------------------------------------------------------


def test_a_group_alone_has_the_defaults_of_groups() -> None:
    assert serve_config("--group", ADDRESS) == ServeConfig(
        paths=(Path("a"),), rate_bps=100_000_000, fleet=FleetConfig(group=GROUP)
    )
    assert fetch_config("--group", ADDRESS) == FetchConfig(group=GROUP)


def test_without_a_group_nothing_of_groups_is_configured() -> None:
    assert serve_config() == ServeConfig(paths=(Path("a"),))
    assert fetch_config("HOST") == FetchConfig(host="HOST")


def test_options_of_a_server_become_its_group() -> None:
    where = f"--group {ADDRESS} -i eth0 --group-port 7000 --key group.key --ttl 4"
    how = "--rate 2G --cc fixed --wait 8 --wait-time 2m --min-rate 10M --expect 30"
    config = serve_config(*where.split(), *how.split())
    assert config.fleet == FleetConfig(
        group=GroupConfig(address=ADDRESS, interface="eth0", port=7000, key_path=Path("group.key")),
        ttl=4,
        congestion_control="fixed",
        wait_count=8,
        wait_time_s=120.0,
        min_rate_bps=10_000_000,
    )
    assert (config.rate_bps, config.expect) == (2_000_000_000, 30)
    assert config.congestion_control == "tolerant"  # of single peers


def test_options_of_a_fetch_become_its_group(tmp_path: Path) -> None:
    where = f"--group ff15::63:30 --interface 10.0.0.1 --source fd00::5 --key group.key -o {tmp_path}"
    limits = ["--max-size", "4.5GB", "--keep-free", "500M"]
    assert fetch_config(*where.split(), "--listen", "--unsigned", "--hook", "reboot now", *limits) == FetchConfig(
        out=tmp_path,
        group=GroupConfig(address="ff15::63:30", interface="10.0.0.1", source="fd00::5", key_path=Path("group.key")),
        listen=True,
        hook="reboot now",
        size_max=4_500_000_000,
        free_size_min=500_000_000,
        trust=TrustConfig(unsigned=True),
    )


def test_options_of_signed_releases_become_what_a_fetch_trusts(tmp_path: Path) -> None:
    signed = ["--signers", "who", "--product", "gateway", "--state", str(tmp_path)]
    trust = TrustConfig(signers=Path("who"), product="gateway", state=tmp_path)
    assert fetch_config("HOST", *signed) == FetchConfig(host="HOST", trust=trust)
    group = GroupConfig(address="239.63.30.1")
    assert fetch_config("--group", "239.63.30.1", "--listen", "--hook", "x", *signed) == FetchConfig(
        group=group, listen=True, hook="x", trust=trust
    )


@pytest.mark.parametrize(
    ("argv", "end"),
    [
        ("", OnewayConfig()),
        ("--duration 2m", OnewayConfig(duration_s=120.0)),
        ("--passes 3 --plan-loss 0.2", OnewayConfig(pass_count=3, plan_loss=0.2)),
        ("--overhead 0.3", OnewayConfig(overhead=0.3)),
    ],
)
def test_a_one_way_stream_has_one_end_and_a_fixed_rate(argv: str, end: OnewayConfig) -> None:
    fleet = serve_config("--broadcast", "--oneway", *argv.split()).fleet
    assert fleet == FleetConfig(group=EVERYBODY, oneway=end)
    assert fleet.control_name == "fixed"


def test_a_broadcast_goes_to_everybody_or_to_the_network_that_is_named() -> None:
    assert fetch_config("--broadcast").group == EVERYBODY
    named = fetch_config("--broadcast", "--broadcast-address", "192.168.1.255").group
    assert named == GroupConfig(address="192.168.1.255", is_broadcast=True)


def test_with_a_group_the_first_argument_is_the_name() -> None:
    config = fetch_config("--group", ADDRESS, "image.iso", "--wait")
    assert (config.host, config.name, config.wait) == ("", "image.iso", True)


def test_several_paths_may_go_to_a_group() -> None:
    assert serve_config("b", "--group", ADDRESS).paths == (Path("a"), Path("b"))


# --- What is refused ---------------------------------------------------------------------------------------

NEEDS_GROUP = "needs --group or --broadcast."
ON_GROUP = f"--group {ADDRESS}"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--interface eth0", f"--interface {NEEDS_GROUP}"),
        ("--group-port 7000", f"--group-port {NEEDS_GROUP}"),
        ("--key k", f"--key {NEEDS_GROUP}"),
        ("--broadcast-address 10.0.0.255", "--broadcast-address needs --broadcast."),
        (f"{ON_GROUP} --broadcast-address 10.0.0.255", "--broadcast-address needs --broadcast."),
        (f"{ON_GROUP} --broadcast", "--group and --broadcast cannot go together."),
        (f"{ON_GROUP} --open", "--open cannot go with a group."),
        (f"{ON_GROUP} --group-port 0", "--group-port 0 is out of range."),
        (f"{ON_GROUP} --group-port 65536", "--group-port 65536 is out of range."),
        ("--group 10.0.0.1", "10.0.0.1 is not a multicast group."),
        ("--group fleet", "The address 'fleet' is not an IP address."),
        ("--group ff02::1%eth0", "The address 'ff02::1%eth0' names an interface."),
        ("--broadcast --broadcast-address 239.1.1.1", "239.1.1.1 is not a broadcast address."),
        ("--broadcast --broadcast-address fe80::1", "fe80::1 is not a broadcast address."),
    ],
)
def test_both_commands_refuse_what_is_no_group(argv: str, message: str) -> None:
    for result, prog in ((Stage().serve("a", *argv.split()), "serve"), (fetch_refusal(argv), "fetch")):
        first, second = result.err.splitlines()
        assert (result.status, result.out) == (2, "")
        assert first == f"fountain-{prog}: {message}"
        assert second.startswith("  hint: ")


def fetch_refusal(argv: str) -> object:
    needs_host = ON_GROUP not in argv and "--broadcast" not in argv.split() and "--group" not in argv.split()
    return Stage().fetch(*["HOST"] * needs_host, *argv.split())


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--ttl 2", f"--ttl {NEEDS_GROUP}"),
        ("--wait 2", f"--wait {NEEDS_GROUP}"),
        ("--wait-time 2", f"--wait-time {NEEDS_GROUP}"),
        ("--min-rate 2M", f"--min-rate {NEEDS_GROUP}"),
        ("--oneway", f"--oneway {NEEDS_GROUP}"),
        ("--duration 5", f"--duration {NEEDS_GROUP}"),
        ("--cc tfmcc", "--cc tfmcc needs a group."),
        (f"{ON_GROUP} --cc tolerant", "--cc tolerant is for single peers."),
        (f"{ON_GROUP} --cc tfmcc --oneway", "--cc tfmcc cannot go with --oneway."),
        ("--broadcast --ttl 1", "--ttl works only with a multicast group."),
        (f"{ON_GROUP} --ttl 0", "--ttl 0 is out of range."),
        (f"{ON_GROUP} --ttl 256", "--ttl 256 is out of range."),
        (f"{ON_GROUP} --wait 0", "--wait needs at least one receiver."),
        (f"{ON_GROUP} --wait-time 0", "--wait-time needs a time above zero."),
        (f"{ON_GROUP} --min-rate 101M", "--min-rate is above --rate."),
        (f"{ON_GROUP} --wait 5 --expect 1", "--wait 5 waits for more receivers than --expect 1 names."),
        (f"{ON_GROUP} --group-port 6330", "The group port is also another port of the server."),
        (f"{ON_GROUP} --duration 5", "--duration needs --oneway."),
        (f"{ON_GROUP} --plan-loss 0.1", "--plan-loss needs --oneway."),
        (f"{ON_GROUP} --oneway --wait 1", "--wait cannot go with --oneway."),
        (f"{ON_GROUP} --oneway --expect 1", "--expect cannot go with --oneway."),
        (f"{ON_GROUP} --oneway --min-rate 1M", "--min-rate cannot go with --oneway."),
        (f"{ON_GROUP} --oneway --idle-exit 9", "--idle-exit cannot go with --oneway."),
        (f"{ON_GROUP} --oneway --passes 1 --duration 5", "A one-way stream can have only one end."),
        (f"{ON_GROUP} --oneway --passes 0", "--passes needs at least one pass."),
        (f"{ON_GROUP} --oneway --duration 0", "--duration needs a time above zero."),
        (f"{ON_GROUP} --oneway --plan-loss 0.95", "--plan-loss 0.95 is out of range."),
    ],
)
def test_a_server_refuses_what_cannot_go_together(argv: str, message: str) -> None:
    stage = Stage()
    status, out, err = stage.serve("a", *argv.split())
    first, second = err.splitlines()
    assert (status, out, stage.configs) == (2, "", [])
    assert first == f"fountain-serve: {message}"
    assert second.startswith("  hint: ")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("HOST --source 10.0.0.1", f"--source {NEEDS_GROUP}"),
        ("HOST --listen", "--listen needs a group."),
        ("HOST --hook x", "--hook needs --listen."),
        (f"{ON_GROUP} --hook x", "--hook needs --listen."),
        (f"{ON_GROUP} --listen --hook x", "--hook needs --signers."),
        (f"{ON_GROUP} --listen --unsigned", "--unsigned works only with --hook."),
        (f"{ON_GROUP} --listen --hook x --unsigned --signers a --product b", "--unsigned cannot go with --signers."),
        ("HOST --signers who", "--signers needs --product."),
        ("HOST --product gateway", "--product needs --signers."),
        ("HOST --state here", "--state needs --signers."),
        ("HOST --signers who --product Gateway", "'Gateway' is not the name of a product."),
        (f"{ON_GROUP} --keep-free 1G", "--keep-free needs --listen."),
        ("HOST --keep-free 1G", "--keep-free needs --listen."),
        ("HOST --max-size much", "--max-size: 'much' is not a size."),
        (f"{ON_GROUP} --listen image.iso", "--listen takes every object, and no NAME."),
        (f"{ON_GROUP} HOST image.iso", "'image.iso' is one argument too many."),
        (f"{ON_GROUP} 10.0.0.1", "With a group there is no HOST, and 10.0.0.1 would be a NAME."),
        (f"{ON_GROUP} --port 6330", "--port works only with HOST."),
        (f"{ON_GROUP} --source host", "The source 'host' is not an IP address."),
        (f"{ON_GROUP} --source fd00::1", f"fd00::1 cannot be the source of group {ADDRESS}."),
        (f"{ON_GROUP} --source 239.1.1.1", f"239.1.1.1 cannot be the source of group {ADDRESS}."),
        ("--broadcast --source 10.0.0.1", "--source works only with a multicast group."),
    ],
)
def test_a_fetch_refuses_what_cannot_go_together(argv: str, message: str) -> None:
    stage = Stage()
    status, out, err = stage.fetch(*argv.split())
    first, second = err.splitlines()
    assert (status, out, stage.configs) == (2, "", [])
    assert first == f"fountain-fetch: {message}"
    assert second.startswith("  hint: ")


@pytest.mark.parametrize(
    "make",
    [
        lambda: FetchConfig(),
        lambda: FetchConfig(host="HOST", group=GROUP),
        lambda: FetchConfig(host="HOST", listen=True),
        lambda: FetchConfig(group=GROUP, open=True),
        lambda: FleetConfig(group=EVERYBODY, ttl=2),
        lambda: FleetConfig(group=GROUP, congestion_control="tfmcc", oneway=OnewayConfig()),
        lambda: ServeConfig(paths=(Path("a"),), congestion_control="tfmcc"),
        lambda: FleetConfig(group=GROUP, congestion_control="tolerant"),
        lambda: FleetConfig(group=GROUP, min_rate_bps=-1),
        lambda: FleetConfig(group=GROUP, oneway=OnewayConfig(), wait_count=2),
        lambda: OnewayConfig(overhead=-0.1),
        lambda: ServeConfig(paths=(Path("a"),), expect=1, fleet=FleetConfig(group=GROUP, oneway=OnewayConfig())),
    ],
)
def test_a_library_gets_the_same_errors(make: object) -> None:
    with pytest.raises(UsageError) as raised:
        make()  # type: ignore[operator]
    assert raised.value.hint
    assert raised.value.field


def test_listening_takes_a_directory_alone(tmp_path: Path) -> None:
    stage = Stage()
    result = stage.fetch("--group", ADDRESS, "--listen", "-o", str(tmp_path / "new"))
    assert (result.status, stage.configs) == (6, [])
    assert f"{tmp_path / 'new'} is not a directory.\n  hint: --listen takes any number of objects" in result.err


# --- How it ends -------------------------------------------------------------------------------------------


def test_a_listener_that_is_stopped_ends_as_a_server_does() -> None:
    def engine(_observer: object, _stop: object) -> Outcome:
        stage.interrupt()
        return Outcome()

    stage = Stage(engine)
    assert stage.fetch("--group", ADDRESS, "--listen").status == 130
    assert stage.fetch("--group", ADDRESS).status == 0


def test_a_listener_is_offered_no_command_that_would_be_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "image.iso").touch()
    clash = NameClashError("image.iso exists already.", "Move it away.")
    argv = ("--group", ADDRESS)
    assert "hint: Move it away.\n" in Stage(failing(clash, offered())).fetch(*argv, "--listen").err
    named = Stage(failing(clash, offered())).fetch(*argv).err
    assert f"replace it by name: fountain-fetch --overwrite --group {ADDRESS} image.iso\n" in named


def silent(*hosts: str) -> tuple[ReceiverResult, ...]:
    """Receivers that fell silent."""
    return tuple(receiver_result(host, state=ReceiverOutcome.SILENT, reason=PeerReason.SILENT) for host in hosts)


@pytest.mark.parametrize(
    ("outcome", "status", "message"),
    [
        (Outcome(30, 30), 0, ""),
        (Outcome(30, 30, silent("pc31")), 0, ""),
        (Outcome(0, None), 0, ""),
        (
            Outcome(28, 30, silent("pc1", "pc2")),
            8,
            "28 of 30 expected peers have the object; not done: pc1 (silent), pc2 (silent).",
        ),
        (Outcome(28, 30), 8, "28 of 30 expected peers have the object."),
        (Outcome(2, None, silent("pc1")), 8, "Some receivers do not have everything; not done: pc1 (silent)."),
    ],
)
def test_whoever_is_known_and_not_done_is_named(outcome: Outcome, status: int, message: str) -> None:
    result = Stage(lambda _observer, _stop: outcome).serve("a", "--group", ADDRESS)
    assert result.status == status
    assert message in result.err
    assert bool(result.err) == bool(message)


def test_an_error_names_twenty_receivers_at_most() -> None:
    outcome = Outcome(0, 500, silent(*(f"pc{number}" for number in range(500))))
    err = Stage(lambda _observer, _stop: outcome).serve("a", "--group", ADDRESS).err
    assert "pc19 (silent) and 480 more.\n" in err


def test_an_interrupted_server_of_a_group_is_130_and_names_them_too() -> None:
    def engine(_observer: object, _stop: object) -> Outcome:
        stage.interrupt()
        return Outcome(1, None, silent("pc2"))

    stage = Stage(engine)
    result = stage.serve("a", "--group", ADDRESS)
    assert result.status == 130
    assert "not done: pc2 (silent)." in result.err


def test_an_incomplete_one_way_fetch_is_status_4() -> None:
    error = IncompleteError("The stream ended at 97%.", "The same command goes on when it is sent again.")
    assert Stage(failing(error)).fetch("--group", ADDRESS).status == 4
