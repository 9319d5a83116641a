"""RaptorQ against answers of other implementations: every octet that fountain sends is the RFC's."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fountain.codes.raptorq import RaptorQ
from fountain.codes.raptorq import decoder as decoder_module
from fountain.codes.raptorq import encoder as encoder_module
from fountain.codes.raptorq.equations import binary_equations, hdpc_targets
from fountain.codes.raptorq.parameters import Parameters, parameters_for
from fountain.codes.raptorq.plan import encoding_plan, make_plan, run_plan
from fountain.field import aligned_rows, fold_rows, row_set
from tests import naive
from tests.codes.vectors import load, object_data, packet, rows_of, source_block

CASES = [case for name in ("t8", "t64", "t1280", "misc_t") for case in load(name)["cases"]]
LADDER = load("ladder")["rows"]
ENGINES = ("dense", "plan")
HDPC_MATRIX_MAX = 5008  # An identity matrix above takes long to fold, and the ladder covers every K' anyway.


def encode(source: NDArray[np.uint8], esis: list[int]) -> NDArray[np.uint8]:
    out = np.empty((len(esis), source.shape[1]), dtype=np.uint8)
    RaptorQ().encoder(source).encode(np.array(esis, dtype=np.uint32), out)
    return out


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_packets_equal_those_of_other_implementations(
    case: dict[str, Any], engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine == "dense" and case["K_prime"] > encoder_module.GENERATOR_SYMBOL_COUNT_MAX:
        pytest.skip("no generator matrix is kept for so large a K'")
    monkeypatch.setattr(encoder_module, "dense_encode_is_cheaper", lambda *_: engine == "dense")
    source = source_block(case)
    entries = case["repair"] + case["repair_far"]
    esis = [entry["esi"] for entry in entries]
    for entry, symbol in zip(entries, encode(source, esis)):
        digest = hashlib.sha256(packet(entry["esi"], symbol)).hexdigest()
        assert digest == entry["sha256"], f"ESI {entry['esi']}"
    packets = b"".join(packet(esi, symbol) for esi, symbol in enumerate(encode(source, list(range(case["K"])))))
    assert hashlib.sha256(packets).hexdigest() == case["source_packets_sha256"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_parameters_are_those_of_table_2(case: dict[str, Any]) -> None:
    parameters = parameters_for(case["K"])
    for name in ("K_prime", "J", "S", "H", "W", "L", "P", "P1", "B"):
        assert getattr(parameters, name) == case[name], name


@pytest.mark.parametrize(
    "case", [case for case in CASES if "intermediate_symbols_sha256" in case], ids=lambda case: case["case"]
)
def test_intermediate_symbols_equal_those_of_a_dense_elimination(case: dict[str, Any]) -> None:
    source = source_block(case)
    parameters = parameters_for(case["K"])
    plan = encoding_plan(parameters)
    space = aligned_rows(plan.scratch_row_count, case["T"])
    run_plan(plan, row_set(source), plan.given_rows, case["K"], case["T"], space)
    digest = hashlib.sha256(space[: parameters.L].tobytes()).hexdigest()
    assert digest == case["intermediate_symbols_sha256"]


@pytest.mark.parametrize("rows", rows_of(len(LADDER)))
def test_rows_of_table_2_give_the_symbols_of_other_implementations(rows: range) -> None:
    for row in rows:
        count, k_prime, near, far = LADDER[row]
        assert parameters_for(count).K_prime == k_prime
        source = np.frombuffer(object_data(f"ladder-k{count}", count), dtype=np.uint8).reshape(count, 1)
        esis = [*range(count, count + 24), 65536 + count, (1 << 20) + 7, (1 << 24) - 1]
        assert encode(source, esis).tobytes().hex() == near + far, f"K = {count}"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_block_is_decodable_exactly_when_its_equations_have_full_rank(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder_module, "dense_decode_is_cheaper", lambda *_: engine == "dense")
    for group in load("decode_sets")["sets"]:
        count, size = group["K"], group["T"]
        source = np.frombuffer(object_data(f"decode-{count}", count * size), dtype=np.uint8).reshape(count, size)
        symbols = encode(source, group["esis"])
        decoder = RaptorQ().decoder(count, size)
        solved_at = None
        for number, esi in enumerate(group["esis"]):
            name = np.array([esi], dtype=np.uint32)
            slot = decoder.reserve(name)
            decoder.slab[slot[0]] = symbols[number]
            decoder.commit(name, slot)
            if decoder.decode().need == 0:
                solved_at = number + 1
                break
        assert solved_at == group["needed"], f"K = {count}, {group['mode']}, {group['esis']}"
        if solved_at is not None:
            assert decoder.slab[:count].tobytes() == source.tobytes()


def test_structure_matches_the_tuples_and_matrices_of_other_implementations() -> None:
    for k_prime, total, b, p, p1, u, tuples in load("structure")["tuples"]:
        parameters = parameters_for(k_prime)
        assert (total, b, p, p1) == (parameters.L, parameters.B, parameters.P, parameters.P1)
        assert u == parameters.P - parameters.H
        isis = [0, 1, 2, k_prime - 1, k_prime, k_prime + 1, 65536, 1000003, (1 << 24) - 1]
        start, columns = binary_equations(parameters, np.array(isis, dtype=np.int64))
        for row, (d, a, b, d1, a1, b1) in enumerate(tuples):
            expected = naive.encoding_columns(parameters.W, p, p1, d, a, b, d1, a1, b1)
            assert columns[start[row] : start[row + 1]].tolist() == expected
    for case in load("structure")["matrices"]:
        parameters = parameters_for(case["K_prime"])
        if case["K_prime"] <= HDPC_MATRIX_MAX:
            assert hashlib.sha256(hdpc_matrix(parameters).tobytes()).hexdigest() == case["hdpc_sha256"]
        start, columns = binary_equations(parameters, np.arange(case["K_prime"], dtype=np.int64))
        digest = hashlib.sha256()
        for row in range(case["K_prime"]):
            listed = columns[start[row] : start[row + 1]].astype("<u2")
            digest.update(len(listed).to_bytes(2, "little") + listed.tobytes())
        assert digest.hexdigest() == case["genc_sha256"]


def hdpc_matrix(parameters: Parameters) -> NDArray[np.uint8]:
    """G_HDPC by the kernel that the plan engine uses on symbols, here run over the identity matrix."""
    width = parameters.K_prime + parameters.S
    targets = hdpc_targets(parameters)
    sums = np.zeros((parameters.H, width), dtype=np.uint8)
    identity = np.eye(width, dtype=np.uint8)
    fold_rows(row_set(sums), row_set(identity), np.arange(width, dtype=np.int32), targets, width)
    return sums


@pytest.mark.parametrize("count", [10, 60, 300])
@pytest.mark.parametrize("surplus", [0, 1, 5, 12, 60])
def test_any_set_of_symbols_gives_the_same_intermediate_symbols(count: int, surplus: int, seed: int) -> None:
    """With more equations than unknowns the HDPC rows are needed less and less, and from H more on not at all."""
    generator = np.random.default_rng(seed)
    parameters = parameters_for(count)
    source = generator.integers(0, 256, (parameters.K_prime, 20), dtype=np.uint8)
    plan = encoding_plan(parameters)
    space = aligned_rows(plan.scratch_row_count, 64)
    run_plan(plan, row_set(source), plan.given_rows, len(source), 20, space)
    isis = generator.permutation(4 * count)[: parameters.K_prime + surplus]
    given = encode(source, isis.tolist())
    other, missing = make_plan(parameters, isis)
    if other is None:
        assert surplus < 2
        assert missing > 0
        return
    again = aligned_rows(other.scratch_row_count, 64)
    run_plan(other, row_set(given), other.given_rows, len(given), 20, again)
    assert (again[: parameters.L, :20] == space[: parameters.L, :20]).all()
