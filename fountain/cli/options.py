"""Which option stands for which parameter: the one place that knows both.

What lies below the command line names a parameter by its field in `fountain.config` (`wait_count`, `group.port`), in
texts between backticks; a person reads the option instead (`--wait`, `--group-port`), or the argument (HOST).
"""

from __future__ import annotations

import copy
import re
import shlex
from collections.abc import Mapping

from fountain.errors import FountainError

__all__ = ["OPTIONS", "command_line", "error_with_options", "with_options"]

OPTIONS = {
    # --- Of both commands
    "port": "--port",
    "open": "--open",
    "group.address": "--group",
    "group.is_broadcast": "--broadcast",
    "broadcast_address": "--broadcast-address",  # `group.address` where it is one of a broadcast
    "group.interface": "--interface",
    "group.port": "--group-port",
    "group.source": "--source",
    "group.key_path": "--key",
    "identity": "--identity",
    "pair": "--pair",
    # --- fountain-serve
    "paths": "PATH",
    "bind": "--bind",
    "data_port": "--data-port",
    "rate_bps": "--rate",
    "congestion_control": "--cc",
    "loss_tolerance": "--loss-tolerance",
    "mtu": "--mtu",
    "skip_unportable": "--skip-unportable",
    "releases": "--release",
    "allow": "--allow",
    "expect": "--expect",
    "idle_exit_s": "--idle-exit",
    "peer_count_max": "--max-peers",
    "code": "--code",
    "ttl": "--ttl",
    "wait_count": "--wait",
    "wait_time_s": "--wait-time",
    "min_rate_bps": "--min-rate",
    "oneway": "--oneway",
    "duration_s": "--duration",
    "pass_count": "--passes",
    "overhead": "--overhead",
    "plan_loss": "--plan-loss",
    # --- fountain-fetch
    "host": "HOST",
    "name": "NAME",
    "out": "-o",
    "timeout_s": "--timeout",
    "wait": "--wait",
    "overwrite": "--overwrite",
    "size_max": "--max-size",
    "loss_test": "--loss-test",
    "listen": "--listen",
    "free_size_min": "--keep-free",
    "hook": "--hook",
    "object_id": "--object",
    "server_key": "--server-key",
    "strict": "--strict",
    "unsigned": "--unsigned",
    "state": "--state",
    "root_signers": "--root-signers",
    "status": "--status",
    # --- fountain-sign
    "signing_key": "--key",
    "product": "--product",
    "release_version": "--version",
    "lifetime_s": "--expires",
    "verify": "--verify",
    "signers": "--signers",
    # --- code-report
    "symbol_counts": "--blocks",
    "trial_count": "--trials",
    "output": "--output",
}
_FIELD = re.compile("`(" + "|".join(map(re.escape, OPTIONS)) + ")`")


def with_options(text: str) -> str:
    """`text` with the option or the argument in the place of each parameter."""
    return _FIELD.sub(lambda match: OPTIONS[match[1]], text)


def error_with_options(error: FountainError) -> FountainError:
    """`error` in the words of the command line."""
    shown = copy.copy(error)
    shown.message, shown.hint = with_options(error.message), with_options(error.hint)
    return shown


def command_line(program: str, given: Mapping[str, object], *arguments: str) -> str:
    """The command that starts `program` with these parameters, safe to paste; one that is True has no value."""
    words = [program]
    for field, value in given.items():
        words += [OPTIONS[field], *([] if value is True else [str(value)])]
    guard = ["--"] * any(argument.startswith("-") for argument in arguments)
    return shlex.join([*words, *guard, *arguments])
