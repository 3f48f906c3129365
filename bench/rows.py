"""Results of a long benchmark in a CSV file that grows as they come, so that nothing is lost."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["append_csv", "read_csv", "write_csv"]

Row = TypeVar("Row")
_PARSERS: dict[str, Any] = {"int": int, "float": float, "str": str}


def write_csv(path: Path, rows: Sequence[Any], kind: type[Any]) -> None:
    """Write one line per row, a dataclass with plain fields, below a header."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerow([field.name for field in fields(kind)])
    append_csv(path, rows)


def append_csv(path: Path, rows: Sequence[Any]) -> None:
    """Add one line per row."""
    with path.open("a", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(astuple(row) for row in rows)


def read_csv(path: Path, kind: type[Row]) -> list[Row]:
    """Read what `write_csv` and `append_csv` have written."""
    parse = [_PARSERS[str(field.type)] for field in fields(kind)]  # type: ignore[arg-type]
    with path.open(newline="", encoding="utf-8") as file:
        lines = csv.reader(file)
        next(lines)
        return [
            kind(*[convert(entry) for convert, entry in zip(parse, line, strict=True)])
            for line in lines
        ]
