"""Table of the study of problem families."""

from __future__ import annotations

import platform
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.ccp_report import markdown_table

if TYPE_CHECKING:
    from bench.ccp_families import Answer

__all__ = ["write_table"]

_FALLBACKS = ("interior point", "proximal newton")

_HEAD = """---
orphan: true
---

# Random problems with known solutions

`python -m bench.ccp_families` on {machine}, NumPy {numpy}: {count} problems, {failed} failures. A
failure is an exception, a status other than SOLVED, a natural residual above 1e-12 (evaluated
independently of the solver), or an error ‖X − X*‖ above the certified bound plus κ(β)·1e-15·‖X*‖,
the effect of rounding the data. "Error / bound" is the largest ratio of the two; "bounded" counts
the problems in which β was proved positive definite, without which there is no bound and the
solution need not be unique. Iterations are medians; seconds are those of all solves of the family,
certificates included, on a busy machine. The last columns count problems in which Newton's method
needed help.
"""


def write_table(path: Path, answers: list[Answer], max_order: int) -> str:
    """Write one line per family, those of higher orders apart; return the table."""
    header = ["family", "problems", "statuses", "worst residual", "worst error / bound", "bounded"]
    header += ["iterations", "seconds", *_FALLBACKS]
    groups: dict[str, list[Answer]] = {}
    for answer in answers:
        name = answer.family if answer.k <= max_order else f"all, k > {max_order}"
        groups.setdefault(name, []).append(answer)
    table = markdown_table(header, [[name, *_line(group)] for name, group in groups.items()])
    head = _HEAD.format(
        machine=platform.machine(),
        numpy=np.__version__,
        count=f"{len(answers):,}",
        failed=sum(bool(answer.failure) for answer in answers),
    )
    path.write_text("\n".join([head, table, *_failures(answers)]), encoding="utf-8")
    return table


def _failures(answers: list[Answer]) -> list[str]:
    return [
        f"- failed: {answer.family}, k = {answer.k}, seed {answer.seed}: {answer.failure}"
        for answer in answers
        if answer.failure
    ]


def _line(group: list[Answer]) -> list[str]:
    statuses = Counter(answer.status for answer in group)
    methods = Counter(answer.method for answer in group)
    ratios = [answer.ratio for answer in group if not np.isnan(answer.ratio)]
    return [
        f"{len(group):,}",
        ", ".join(f"{name} {count}" for name, count in statuses.most_common()),
        f"{max(answer.residual for answer in group):.1e}",
        f"{max(ratios):.2f}" if ratios else "–",
        f"{100.0 * np.mean([np.isfinite(answer.bound) for answer in group]):.1f} %",
        f"{np.median([answer.iterations for answer in group]):.0f}",
        f"{sum(answer.seconds for answer in group):.1f}",
        *[f"{methods[name]}" for name in _FALLBACKS],
    ]
