"""Compiled code on disk is never taken for other code, and a process starts fast with it."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ccpsolve
from ccpsolve import _kernel_cache, _lapack

PACKAGE = Path(ccpsolve.__file__).parent

CALLEE = """
from numba import types
from ccpsolve._linking import exported

@exported(types.float64(types.{kind}))
def scaled(x):
    return {factor} * x
"""

CALLER = """
from ccpsolve._numba import jit
from ccpsolve.callee import scaled

@jit
def twice(x):
    return scaled(scaled(x))
"""

ASK = """
from ccpsolve.caller import twice
print(twice(1.0), sum(twice._cache_hits.values()))
"""

SOLVE = """
import time
started = time.process_time()
from ccpsolve import solve_ccp
imported = time.process_time()
solution = solve_ccp([[2.0, 0.0], [0.0, -1.0]], [[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
print(imported - started, time.process_time() - imported, solution.status.name)
"""


def run(script, folder=None, **environment):
    """Run a script in a fresh process, with the package of the folder; return its words."""
    folder = str(folder or PACKAGE.parent)
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={"PYTHONPATH": folder, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_an_edited_kernel_is_not_called_by_code_compiled_for_the_old_one(tmp_path):
    """An older cache once ended in a segmentation fault: kernels are linked by name."""
    copy = tmp_path / "ccpsolve"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "caller.py").write_text(CALLER)
    found = []
    for kind, factor in (("float64", 3.0), ("int64", 40.0), ("float64", 3.0)):
        (copy / "callee.py").write_text(CALLEE.format(kind=kind, factor=factor))
        found.append(run(ASK, tmp_path))
    compiled, cached = "0", "1"
    assert found == [["9.0", compiled], ["1600.0", compiled], ["9.0", cached]]


@pytest.mark.skipif(_kernel_cache.IndexDataCacheFile is None, reason="this Numba hides its cache")
def test_processes_that_write_in_turns_do_not_mix_their_code(tmp_path):
    files = {source: _kernel_cache._CacheFile(str(tmp_path), "f", source) for source in "ab"}
    keys = [(signature, ("cpu",)) for signature in ("float64", "int64")]
    for key in keys:
        for source, file in files.items():
            assert file.load(key) is None
            file.save(key, f"{source} {key}")
    for key in keys:
        for source, file in files.items():
            assert file.load(key) == f"{source} {key}"


def test_code_under_another_key_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(_kernel_cache, "_digest", lambda content: "the same for all")
    file = _kernel_cache._CacheFile(str(tmp_path), "f", "source")
    file.save("key", "code")
    assert file.load("other") is None
    assert file.load("key") == "code"


def test_kernels_for_kernels_refuse_calls_from_python():
    with pytest.raises(TypeError, match="gemv is compiled for calls from kernels"):
        _lapack.gemv(np.eye(2), np.ones(2), np.ones(2))


def test_a_fresh_process_starts_fast():
    """CPU seconds. The import loads NumPy, SciPy, Numba and the kernels, the call nothing more."""
    run(SOLVE)  # fills the cache
    importing, solving, status = run(SOLVE)
    assert status == "SOLVED"
    assert float(importing) < 1.0
    assert float(solving) < 0.3


@pytest.mark.slow
def test_compilation_from_nothing_is_short(tmp_path):
    compiling, solving, status = run(SOLVE, NUMBA_CACHE_DIR=str(tmp_path))
    assert status == "SOLVED"
    assert float(compiling) + float(solving) < 25.0


def test_a_bare_import_loads_no_library():
    words = run("import sys, ccpsolve; print('numba' in sys.modules, 'scipy' in sys.modules)")
    assert words == ["False", "False"]
