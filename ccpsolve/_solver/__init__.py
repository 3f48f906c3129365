"""The algorithms behind :func:`ccpsolve.solve_ccp`, one a file."""
