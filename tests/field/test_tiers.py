"""Tiers: how one is chosen, and that each becomes the instructions it is named for, on this processor or not."""

from __future__ import annotations

import os
import subprocess
import sys

import llvmlite.binding as llvm
import pytest
from llvmlite import ir

from fountain.errors import UsageError
from fountain.field.matrix import ACTIVE, emit_tile, host_features
from fountain.field.tiers import TIERS, Tier, choose, tier_named

EVERYTHING = {feature: True for tier in TIERS for feature in tier.features if feature != "neon"}

# Tier -> target triple, and what must and must not stand in its assembly.
ASSEMBLY = {
    "gfni512": ("x86_64-unknown-linux-gnu", ["vgf2p8affineqb", "zmm"], ["pshufb"]),
    "gfni256": ("x86_64-unknown-linux-gnu", ["vgf2p8affineqb", "ymm"], ["zmm", "pshufb"]),
    "avx2": ("x86_64-unknown-linux-gnu", ["vpshufb", "ymm"], ["zmm", "gf2p8"]),
    "ssse3": ("x86_64-unknown-linux-gnu", ["pshufb", "xmm"], ["ymm", "gf2p8"]),
    "neon": ("aarch64-unknown-linux-gnu", ["tbl"], []),
    "portable": ("x86_64-unknown-linux-gnu", ["xmm"], ["ymm", "pshufb", "gf2p8"]),
}
MOVES_FROM_STACK_MAX = 16  # A tile whose sums do not fit the registers would move hundreds.


def assembly(tier: Tier, triple: str) -> str:
    """What LLVM makes of one tile of the full width, optimised for a processor with just this tier's features."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    module = ir.Module()
    module.triple = triple
    word = ir.IntType(64)
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [word] * 7), "tile")
    builder = ir.IRBuilder(function.append_basic_block())
    emit_tile(builder, tier, tier.rows, 2, list(function.args))
    builder.ret_void()
    features = ",".join(f"+{feature}" for feature in tier.features)
    machine = llvm.Target.from_triple(triple).create_target_machine(features=features, opt=3)
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    builder_of_passes = llvm.create_pass_builder(machine, options)
    builder_of_passes.getModulePassManager().run(parsed, builder_of_passes)
    return str(machine.emit_assembly(parsed))


@pytest.mark.parametrize("tier", TIERS, ids=lambda tier: tier.name)
def test_a_tier_becomes_the_instructions_it_is_named_for(tier: Tier) -> None:
    triple, wanted, unwanted = ASSEMBLY[tier.name]
    try:
        llvm.initialize_all_targets()
        llvm.Target.from_triple(triple)
    except RuntimeError:
        pytest.skip(f"this llvmlite cannot generate code for {triple}")
    text = assembly(tier, triple)
    assert all(word in text for word in wanted)
    assert not any(word in text for word in unwanted)


@pytest.mark.parametrize("name", ["gfni512", "neon"])
def test_the_sums_of_a_tile_stay_in_registers(name: str) -> None:
    tier = tier_named(name)
    triple = ASSEMBLY[name][0]
    lines = assembly(tier, triple).splitlines()
    stack = "(%rsp)" if "x86" in triple else "[sp"
    vectors = [line for line in lines if stack in line and ("mm" in line or " q" in line)]
    assert len(vectors) <= MOVES_FROM_STACK_MAX


def test_the_best_tier_that_the_processor_has_is_chosen() -> None:
    assert choose(EVERYTHING).name == "gfni512"
    assert choose({"gfni": True, "avx2": True, "ssse3": True}).name == "gfni256"
    assert choose({"avx2": True, "ssse3": True, "gfni": False}).name == "avx2"
    assert choose({"ssse3": True}).name == "ssse3"
    assert choose({"neon": True}).name == "neon"
    assert choose({}).name == "portable"


def test_the_environment_can_ask_for_a_lesser_tier() -> None:
    assert choose(EVERYTHING, "ssse3").name == "ssse3"


def test_a_tier_that_the_processor_lacks_is_refused() -> None:
    with pytest.raises(UsageError, match="no gfni"):
        choose({"avx2": True}, "gfni256")


def test_an_unknown_tier_is_refused_with_the_names_of_all() -> None:
    with pytest.raises(UsageError, match="unknown tier, 'mmx'") as caught:
        choose(EVERYTHING, "mmx")
    assert "portable" in caught.value.hint


def test_numba_knows_tiers_apart() -> None:
    assert len({len(tier.tag) for tier in TIERS}) == len(TIERS)


ROUND_TRIP = """
import hashlib, numpy as np
from fountain.codes.raptorq import RaptorQ
from fountain.field.matrix import ACTIVE
source = (np.arange(60 * 100) * 7919 % 251).astype(np.uint8).reshape(60, 100)
for first in (10, 60):
    esis = np.arange(first, first + 62, dtype=np.uint32)
    rows = np.empty((62, 100), np.uint8)
    RaptorQ().encoder(source).encode(esis, rows)
    decoder = RaptorQ().decoder(60, 100)
    slots = decoder.reserve(esis)
    decoder.slab[slots] = rows
    decoder.commit(esis, slots)
    assert decoder.decode().need == 0 and (decoder.slab[:60] == source).all()
print(ACTIVE.name, hashlib.sha256(rows).hexdigest())
"""


def test_every_tier_that_runs_here_encodes_and_decodes_the_same() -> None:
    features = host_features()
    digests = {}
    for tier in TIERS:
        if all(features.get(feature) for feature in tier.features):
            environment = {**os.environ, "FOUNTAIN_SIMD": tier.name}
            command = [sys.executable, "-c", ROUND_TRIP]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
            assert done.returncode == 0, done.stderr
            name, digests[tier.name] = done.stdout.split()
            assert name == tier.name
    assert "portable" in digests
    assert ACTIVE.name in digests
    assert len(set(digests.values())) == 1
