"""Hessians for tests: random families, a reader of SDPA sparse files, graph Laplacians."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.sparse

from bench.stationary_problems import wishart


def goe(d, rng):
    matrix = rng.standard_normal((d, d))
    return (matrix + matrix.T) / np.sqrt(2 * d)


def spiked(d, rng, spikes=(10.0, 7.0, 5.0)):
    axes = np.linalg.qr(rng.standard_normal((d, len(spikes))))[0]
    return 0.1 * goe(d, rng) + (axes * spikes) @ axes.T


FAMILIES = {"wishart": wishart, "goe": goe, "spiked": spiked}


def read_sdpa_sparse(path):
    """Right-hand side, block sizes and matrices F_0, F_1, … of an SDPA sparse file.

    Each matrix is a list of symmetric sparse blocks.
    """
    lines = [line for line in Path(path).read_text().splitlines() if line[:1] not in ('"', "*")]
    constraints = int(lines[0].split()[0])
    sizes = [abs(int(size)) for size in _numbers(lines[2])]
    right = np.array(_numbers(lines[3]), dtype=float)
    assert len(right) == constraints
    assert len(sizes) == int(lines[1].split()[0])
    entries = [[([], [], []) for _ in sizes] for _ in range(constraints + 1)]
    for line in lines[4:]:
        matrix, block, i, j, value = line.split()
        rows, columns, values = entries[int(matrix)][int(block) - 1]
        pairs = {(int(i) - 1, int(j) - 1), (int(j) - 1, int(i) - 1)}
        for row, column in pairs:
            rows.append(row)
            columns.append(column)
            values.append(float(value))
    matrices = [
        [
            scipy.sparse.csr_array((values, (rows, columns)), shape=(size, size))
            for (rows, columns, values), size in zip(blocks, sizes, strict=True)
        ]
        for blocks in entries
    ]
    return right, sizes, matrices


def _numbers(line):
    return line.translate(str.maketrans("{}(),", "     ")).split()


def random_regular_laplacian(d, degree, rng):
    """Laplacian of a random simple ``degree``-regular graph, a union of disjoint matchings."""
    adjacency = scipy.sparse.csr_array((d, d))
    for _ in range(degree):
        a, b = np.split(rng.permutation(d), 2)
        # pairs joined already swap partners with random others until there are none
        while (clash := np.asarray(adjacency[a, b]).ravel() > 0).any():
            for index in np.flatnonzero(clash):
                other = rng.integers(len(b))
                b[index], b[other] = b[other], b[index]
        ones = np.ones(len(a))
        matching = scipy.sparse.csr_array((ones, (a, b)), shape=(d, d))
        adjacency = scipy.sparse.csr_array(adjacency + matching + matching.T)
    return scipy.sparse.csr_array(scipy.sparse.diags_array(np.full(d, float(degree))) - adjacency)
