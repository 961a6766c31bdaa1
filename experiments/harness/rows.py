"""Rows of benchmarks that are a gradient method with settings of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Rows = Mapping[str, Sequence[str]]

ADJOINT_FULL: Rows = {"adjoint_full": ("grad=adjoint", "grad.seminorm=false")}
"""The adjoint method with the parameters' integral in its error estimate, as it was published and
as torchdiffeq has it by default; symadj's default leaves that out."""


def rows_setting(rows: Rows) -> str:
    """The setting `rows` of a benchmark: by label what differs from the other rows."""
    listed = ",".join(f"{label}:{list(changes)!r}" for label, changes in rows.items())
    return f"rows={{{listed}}}"
