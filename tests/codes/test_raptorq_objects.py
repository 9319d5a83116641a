"""Objects of several source blocks and sub-blocks, against the packets and the OTI of other implementations."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
import raptorq
from numpy.typing import NDArray

from fountain.codes.raptorq import RaptorQ
from tests.codes.partitions import ObjectInformation, default_information, joined, source_blocks
from tests.codes.vectors import load, object_data

CASES = load("blocks")["cases"]
EACH_CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
REPAIR_COUNT = 6  # of each block, in `all_packets_sha256`


def case_object(case: dict[str, Any]) -> tuple[bytes, ObjectInformation]:
    data = object_data(case["case"], case["F"])
    assert hashlib.sha256(data).hexdigest() == case["data_sha256"]
    return data, ObjectInformation(case["F"], case["T"], case["Z"], case["N"], case["Al"])


def packets(number: int, source: NDArray[np.uint8], esis: range) -> list[bytes]:
    """Packets of block `number`: payload ID and symbol."""
    rows = np.empty((len(esis), source.shape[1]), dtype=np.uint8)
    RaptorQ().encoder(source).encode(np.array(esis, dtype=np.uint32), rows)
    return [bytes([number]) + esi.to_bytes(3, "big") + row.tobytes() for esi, row in zip(esis, rows)]


@EACH_CASE
def test_packets_of_every_block_equal_those_of_other_implementations(case: dict[str, Any]) -> None:
    data, information = case_object(case)
    expected = {block["sbn"]: block for block in case["blocks"]}
    everything = hashlib.sha256()
    for number, source in enumerate(source_blocks(data, information)):
        count = len(source)
        made = packets(number, source, range(count + REPAIR_COUNT))
        everything.update(b"".join(made))
        if number not in expected:
            continue
        block = expected[number]
        assert count == block["K"]
        assert hashlib.sha256(b"".join(made[:count])).hexdigest() == block["source_packets_sha256"]
        for entry in block["repair"]:
            assert hashlib.sha256(made[entry["esi"]]).hexdigest() == entry["sha256"], f"block {number}"
    if "all_packets_sha256" in case:
        assert everything.hexdigest() == case["all_packets_sha256"]


@EACH_CASE
def test_an_object_comes_back_from_its_blocks(case: dict[str, Any]) -> None:
    data, information = case_object(case)
    blocks = source_blocks(data, information)
    assert joined(blocks, information) == data
    for number, source in enumerate(blocks[:3]):
        count = len(source)
        esis = np.arange(count // 20 + 1, count + count // 20 + 3, dtype=np.uint32)
        rows = np.empty((len(esis), source.shape[1]), dtype=np.uint8)
        RaptorQ().encoder(source).encode(esis, rows)
        decoder = RaptorQ().decoder(count, source.shape[1])
        slots = decoder.reserve(esis)
        decoder.slab[slots] = rows
        decoder.commit(esis, slots)
        assert decoder.decode().need == 0
        assert (decoder.slab[:count] == source).all(), f"block {number}"


@EACH_CASE
def test_the_information_of_an_object_packs_as_other_implementations_do(case: dict[str, Any]) -> None:
    _, information = case_object(case)
    assert information.pack().hex() == case["oti_hex"]
    assert ObjectInformation.parse(bytes.fromhex(case["oti_hex"])) == information


def test_the_default_geometry_is_that_of_other_implementations() -> None:
    for object_size, packet_size, size, blocks, sub_blocks, alignment, oti in load("oti_defaults")["rows"]:
        information = ObjectInformation(object_size, size, blocks, sub_blocks, alignment)
        assert default_information(object_size, packet_size) == information
        assert information.pack().hex() == oti


def test_the_wheel_decodes_an_object_of_two_blocks_and_of_two_sub_blocks_from_our_packets() -> None:
    for case in CASES:
        if case["case"] not in ("blocks-z2-odd", "blocks-n2"):
            continue
        data, information = case_object(case)
        foreign = raptorq.Decoder.with_defaults(len(data), case["mtu"])
        result = None
        for number, source in enumerate(source_blocks(data, information)):
            lost = len(source) // 10
            for packet in packets(number, source, range(lost, len(source) + lost + 2)):
                result = foreign.decode(packet) or result
        assert result == data
