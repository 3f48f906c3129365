"""Max-cut problems of SDPLIB 1.2: the program without gradient term at H = 2F₀ = L/2."""

import os
from pathlib import Path

import numpy as np
import pytest

from ccpsolve.stationary import stationary_preconditioner
from tests.ccpsolve.stationary.problems import read_sdpa_sparse

FOLDER = Path(os.environ.get("SDPLIB", Path(__file__).parents[4] / "shared/data/sdplib"))
OPTIMA = {"mcp100": 226.1574, "mcp124-1": 141.9905, "mcp250-1": 317.2643}

EXAMPLE = """"a comment
 2 = mDIM
 1 = nBLOCK
 3
{1.0, 1.0}
0 1 1 2 0.5
0 1 3 3 -1
1 1 1 1 1
2 1 2 2 1
"""


def test_reader(tmp_path):
    path = tmp_path / "example.dat-s"
    path.write_text(EXAMPLE)
    right, sizes, matrices = read_sdpa_sparse(path)
    np.testing.assert_array_equal(right, [1, 1])
    assert sizes == [3]
    expected = np.array([[0, 0.5, 0], [0.5, 0, 0], [0, 0, -1]])
    np.testing.assert_array_equal(matrices[0][0].toarray(), expected)
    np.testing.assert_array_equal(matrices[2][0].toarray(), np.diag([0, 1, 0]))


@pytest.mark.parametrize("name", OPTIMA)
def test_published_optimum_is_inside(name):
    path = FOLDER / f"{name}.dat-s"
    if not path.exists():
        pytest.skip(f"{name} is not here; set SDPLIB to the folder of SDPLIB files")
    right, _, matrices = read_sdpa_sparse(path)
    np.testing.assert_array_equal(right, 1)
    H = 2 * matrices[0][0]
    d = H.shape[0]
    sp = stationary_preconditioner(np.zeros(d), H, 1.0, gradient_term=False)
    assert sp.gap <= 1e-6
    digits = 0.5e-4  # the optimum is published to four decimals
    assert sp.dual - digits <= OPTIMA[name] <= sp.primal + digits
    sp.verify()
