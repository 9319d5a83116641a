"""What a stream costs: packets sent against those that an ideal code would need."""

from __future__ import annotations

import pytest

from fountain.limits import NS
from fountain.net.address import Address
from fountain.testing import Link, World, payload
from fountain.wire.control import MAGIC

MS = NS // 1000
SEEDS = (1, 2, 3)
OVERHEAD_MAX = 1.02


def sent_share(seed: int, *, loss: float, one_way_ns: int, symbol_count: int, block_count: int, rate_bps: int) -> float:
    """Data packets sent for each that an ideal code would have had to send."""
    world = World(seed)
    size = block_count * symbol_count * 64
    source = world.source(payload(size, seed), symbol_size=64, block=symbol_count)
    server = world.serve(source, rate_bps=rate_bps)
    client = world.fetch()
    out = world.link("server", "client", Link(loss=loss, delay_ns=one_way_ns))
    world.link("client", "server", Link(delay_ns=one_way_ns))
    sent_count = 0

    def count(datagram: bytes, source_address: Address, target: Address) -> None:
        nonlocal sent_count
        sent_count += source_address[0] == "server" and datagram[:4] != MAGIC

    world.taps.append(count)
    assert world.run(lambda: client.is_done)
    assert client.sink is not None
    assert client.sink.result == source.content
    assert out.lost_count
    assert not server.sender.failures
    ideal = (source.geometry.symbol_count + -(-len(source.manifest_bytes) // 64)) / (1 - loss)
    return sent_count / ideal


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("one_way_ns", [MS // 2, 25 * MS], ids=["round-trip-1-ms", "round-trip-50-ms"])
def test_loss_of_a_tenth_costs_a_tenth(seed: int, one_way_ns: int) -> None:
    share = sent_share(seed, loss=0.1, one_way_ns=one_way_ns, symbol_count=64, block_count=200, rate_bps=20_000_000)
    assert share <= OVERHEAD_MAX
