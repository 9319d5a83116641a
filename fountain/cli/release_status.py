"""`fountain-fetch --status`: which release of a product was here last, and until when it is good."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fountain.cli.arguments import refuse
from fountain.cli.environment import Environment
from fountain.cli.exit_status import ExitStatus
from fountain.cli.options import OPTIONS
from fountain.errors import StorageError, UsageError
from fountain.storage.kept_state import KeptState, state_directory

__all__ = ["show_status"]

_TAKEN = {"status", "product", "state"}


def show_status(given: Mapping[str, Any], words: Sequence[str], env: Environment) -> ExitStatus:
    """Write what is known of a product.

    Raises:
        UsageError: more is asked for.
        StorageError: the state cannot be read, or is damaged.
        UntrustedError: what was here last has expired.
    """
    from fountain.trust.floor import split_floor, state_size_max
    from fountain.trust.release import TIME_FORMAT, is_product

    refuse(
        given, [name for name in given if name in OPTIONS.keys() - _TAKEN], "cannot go with `status`", "Leave it out."
    )
    if words:
        raise UsageError(f"{words[0]!r} is one argument too many.", "`status` asks no server.")
    product = given.get("product")
    if product is None or not is_product(product):
        raise UsageError("`status` needs `product`.", "Name the product that this machine takes.", field="product")
    parent = given.get("state") or state_directory(env.variables)
    octets = KeptState.look(parent, product, state_size_max(product))
    if octets is None:
        env.stdout.write_line(json.dumps({}) if given["json"] else f"{product}: no release was taken yet")
        return ExitStatus.DONE
    found = split_floor(octets, product)
    if found is None:
        raise StorageError(f"The state of {product} is damaged.", "Restore it.", field="state")
    floor, release = found[0], found[0].release
    if given["json"]:
        env.stdout.write_line(json.dumps(release.record(floor.signer)))
    elif not given["quiet"]:
        times = f"issued {release.issued:{TIME_FORMAT}}, expires {release.expires:{TIME_FORMAT}}"
        env.stdout.write_line(f"{release}: signed by the key {floor.signer}, {times}")
    error = floor.expiry(env.now_utc())
    if error is not None:
        raise error
    return ExitStatus.DONE
