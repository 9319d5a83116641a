"""A code of your own over the real network: `python examples/own_code.py`. docs/guides/own-code.md explains it.

A random linear code over GF(2): symbols 0 .. K-1 are the source, each other one is the sum of a random half of it."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np

import fountain


def coefficients(count: int, esi: int) -> np.ndarray:
    """Which of `count` source symbols the symbol `esi` sums, bool[K]: both sides must always draw the same."""
    if esi < count:
        return np.arange(count) == esi
    octets = hashlib.shake_128(b"%d/%d" % (count, esi)).digest(-(-count // 8))
    return np.unpackbits(np.frombuffer(octets, dtype=np.uint8), count=count).astype(bool)


class RandomLinear:
    """What `fountain.Code` asks for."""

    name, profile_id = "random-linear", b"RLC-GF2a"  # 8 octets that change whenever a symbol does
    systematic, symbol_count_max = True, 256

    def prepare(self, symbol_count: int) -> None: ...  # nothing can be computed ahead

    def encoder(self, source: np.ndarray) -> SimpleNamespace:
        def encode(esis: np.ndarray, out: np.ndarray) -> None:
            for row, esi in zip(out, esis.tolist()):
                np.bitwise_xor.reduce(source[coefficients(len(source), esi)], axis=0, out=row)

        return SimpleNamespace(encode=encode)

    def decoder(self, symbol_count: int, symbol_size: int, slab: np.ndarray | None = None) -> Decoder:
        return Decoder(symbol_count, symbol_size, slab, systematic=True)


class Decoder(fountain.SlabDecoder):
    """Gaussian elimination. SlabDecoder knows what stands where: source symbols in slab[:K], others behind them."""

    def _solve(self) -> int:
        K, slab, is_known = self.symbol_count, self.slab, self.row_esi[: self.symbol_count] >= 0
        missing, repair = np.flatnonzero(~is_known), K + np.flatnonzero(self.row_esi[K:] >= 0)
        system = np.array([coefficients(K, esi) for esi in self.row_esi[repair].tolist()]).reshape(-1, K)
        sums = [slab[at] ^ np.bitwise_xor.reduce(slab[:K][row & is_known]) for at, row in zip(repair, system)]
        left, sums = system[:, missing], np.array(sums, dtype=np.uint8).reshape(-1, self.symbol_size)
        for column in range(len(missing)):
            found = column + np.flatnonzero(left[column:, column])
            if not len(found):
                return 1  # one more symbol, please: the slab is as it was
            left[[column, found[0]]], sums[[column, found[0]]] = left[[found[0], column]], sums[[found[0], column]]
            others = left[:, column] & (np.arange(len(left)) != column)
            left[others], sums[others] = left[others] ^ left[column], sums[others] ^ sums[column]
        slab[missing] = sums[: len(missing)]
        return 0


if __name__ == "__main__":
    fountain.register(RandomLinear())
    folder = Path(tempfile.mkdtemp())
    (folder / "sent").write_bytes(os.urandom(3_000_000))
    with fountain.Server(folder / "sent", bind="127.0.0.1", port=0, code="random-linear") as server:
        fountain.fetch("127.0.0.1", port=server.port, out=folder / "got", loss_test=0.1, on_event=print)
    assert (folder / "got").read_bytes() == (folder / "sent").read_bytes()
