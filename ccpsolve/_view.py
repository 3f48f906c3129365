"""Arrays around memory that exists, inside compiled code.

Numba's ``reshape`` calls a function of its run-time library that looks for a layout without a copy.
In a contiguous vector there is nothing to look for, and in problems of order 3 those calls took a
tenth of a solve. Its ``carray`` is not to be had in code that counts no references.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["view"]


def view(source: Any, shape: tuple[int, ...]) -> Any:
    """Return the array of that shape in the memory of a contiguous vector, or at an address.

    In compiled code nothing is checked, and nothing keeps the memory.
    """
    return np.reshape(source, shape)


def _view(_typing: Any, source: Any, shape: Any) -> Any:
    result = types.Array(source.dtype, len(shape), "C")

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, sizes = arguments
        if isinstance(source, types.Array):
            data = context.make_array(source)(context, builder, data).data
        sizes = context.cast(builder, sizes, shape, types.UniTuple(types.intp, len(shape)))
        sizes = cgutils.unpack_tuple(builder, sizes)
        number = context.get_abi_sizeof(context.get_data_type(source.dtype))
        strides = [context.get_constant(types.intp, number)]
        for size in sizes[:0:-1]:
            strides.insert(0, builder.mul(size, strides[0]))
        array = context.make_array(result)(context, builder)
        context.populate_array(
            array,
            data=data,
            shape=cgutils.pack_array(builder, sizes),
            strides=cgutils.pack_array(builder, strides),
            itemsize=strides[-1],
            meminfo=None,
        )
        return array._getvalue()

    return result(source, shape), generate


if not config.DISABLE_JIT:  # type: ignore[attr-defined]
    view = intrinsic(_view)  # type: ignore[assignment]
