"""Compile a kernel for its callers alone: not optimised, no machine code.

Numba optimises every compiled function, turns it into machine code, and then links its LLVM module
into each caller, where both happen again. For a function that only compiled code calls, the first
time is for nothing. Without it our kernels compile in 23 s instead of 31, and run a little faster:
what is optimised only in its place is optimised for it.

Numba lets one replace passes of its pipeline; the library of a function is a part of it that may
move. Where it has, `LINKED_ONLY` is None and such functions are compiled like all others.
"""

from __future__ import annotations

import logging
from typing import Any

from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import LoweringPass, register_pass
from numba.core.typed_passes import NativeLowering

__all__ = ["LINKED_ONLY"]

_logger = logging.getLogger(__name__)

LINKED_ONLY: type[CompilerBase] | None = None
"""The pipeline, for ``numba.njit(pipeline_class=…)``."""

try:
    from numba import _dynfunc  # type: ignore[attr-defined]
    from numba.core.codegen import JITCodeLibrary

    _PARTS = ("_optimize_final_module", "_finalize_dynamic_globals", "_verify_declare_only_symbols")
    _known = all(hasattr(JITCodeLibrary, part) for part in _PARTS)
except ImportError:
    _known = False

if _known:

    class _Library(JITCodeLibrary):
        """Code that is linked into others and is not loaded itself."""

        def _optimize_final_module(self) -> None:
            pass

        def _finalize_final_module(self) -> None:
            self._finalize_dynamic_globals()
            self._verify_declare_only_symbols()
            self._finalized = True

    @register_pass(mutates_CFG=True, analysis_only=False)
    class _Lowering(LoweringPass):
        """Numba's lowering to a function that others find, with no code behind it to be called."""

        _name = "ccpsolve_linked_only"

        def __init__(self) -> None:
            LoweringPass.__init__(self)

        def run_pass(self, state: Any) -> bool:
            state.library = _Library(state.targetctx.codegen(), state.func_id.func_qualname)
            state.flags.no_compile = True
            NativeLowering().run_pass(state)
            lowered, libraries = state["cr"], (state.library,)
            function = lowered.fndesc
            module, address = function.lookup_module(), 0
            entry = _dynfunc.make_function(
                module, function.qualname, "", address, lowered.env, libraries
            )
            state.targetctx.insert_user_function(entry, function, libraries)
            state["cr"] = lowered._replace(cfunc=entry)
            return True

    class _LinkedOnly(CompilerBase):
        """Numba's pipeline with that lowering."""

        def define_pipelines(self) -> list[Any]:
            pipeline = DefaultPassBuilder.define_nopython_pipeline(self.state)
            place = [entry[0] for entry in pipeline.passes].index(NativeLowering)
            pipeline.passes[place] = (_Lowering, "lowering for callers alone")
            pipeline.finalize()
            return [pipeline]

    LINKED_ONLY = _LinkedOnly
else:
    _logger.debug("this Numba has another code library: helper kernels get machine code as well")
