"""RaptorQ exactly as RFC 6330, with one sub-block (N = 1): systematic, K up to 56403, reception overhead near zero.

Two engines stand behind one interface, and `cost` picks:

- the dense engine (`generator`) for few symbols: rows of the generator matrix, and one small inverse;
- the plan engine (`plan`, over `codes.solver`) for many: inactivation decoding, structure before data.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from fountain.codes.raptorq.decoder import RaptorQDecoder
from fountain.codes.raptorq.encoder import RaptorQEncoder
from fountain.codes.raptorq.generator import GENERATOR_SYMBOL_COUNT_MAX, prepare_generator
from fountain.codes.raptorq.parameters import parameters_for
from fountain.codes.raptorq.plan import encoding_plan
from fountain.limits import BLOCK_SYMBOL_COUNT_MAX

__all__ = ["RaptorQ"]


class RaptorQ:
    """The code as the rest of fountain sees it (`fountain.codes.api.Code`)."""

    name = "raptorq"
    profile_id = hashlib.sha256(b"fountain/raptorq/rfc6330/1").digest()[:8]
    systematic = True
    symbol_count_max = BLOCK_SYMBOL_COUNT_MAX

    def prepare(self, symbol_count: int) -> None:
        """Compute and cache the plan, and the generator where K is small enough for one, for blocks of K symbols."""
        parameters = parameters_for(symbol_count)
        if parameters.K_prime <= GENERATOR_SYMBOL_COUNT_MAX:
            prepare_generator(parameters)
        else:
            encoding_plan(parameters)

    def encoder(self, source: NDArray[np.uint8]) -> RaptorQEncoder:
        """Encoder of `source`, uint8[K, T], which must not change while the encoder lives."""
        return RaptorQEncoder(source)

    def decoder(self, symbol_count: int, symbol_size: int, slab: NDArray[np.uint8] | None = None) -> RaptorQDecoder:
        """Decoder of a block of K symbols of T octets."""
        return RaptorQDecoder(symbol_count, symbol_size, slab)
