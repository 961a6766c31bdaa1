"""What a run says on standard output: a header before, a summary after."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from symadj.ode.settings import SolverSettings
from symadj.records.environment import device_name
from symadj.records.record import RunRecord
from symadj.run.parts import Parts
from symadj.units import format_bytes


def header(parts: Parts, directory: Path, devices: int = 1) -> str:
    """Data, model, solver, gradient method, device and directory, a line each."""
    data = parts.data
    sizes = ", ".join(f"{len(getattr(data, s)):,} {s}" for s in ("train", "val", "test"))
    name = type(parts.model).__name__
    dtype = str(parts.dtype).removeprefix("torch.")
    device = f"{parts.device} ({device_name(parts.device)}), {torch.get_num_threads()} threads"
    if devices > 1:
        device = f"{devices} processes, each with a share of every batch; {device}"
    return _lines(
        [
            ("data", f"{data.name}, {data.dim} dimensions: {sizes}"),
            ("", data.note),
            ("model", f"{name}, {parts.parameter_count():,} parameters, {dtype}"),
            ("solver", solver_line(parts.integrator.solver)),
            ("gradient", parts.integrator.gradient.name),
            ("device", device),
            ("run", str(directory)),
        ]
    )


def solver_line(solver: SolverSettings) -> str:
    """The solver with what decides its steps."""
    if solver.adaptive:
        return f"{solver.method}, adaptive, rtol {solver.rtol:g}, atol {solver.atol:g}"
    if solver.num_steps is not None:
        return f"{solver.method}, {solver.num_steps} fixed steps"
    if solver.step_size is not None:
        return f"{solver.method}, fixed steps of {solver.step_size:g}"
    return f"{solver.method}, on a given grid"


def summary(record: RunRecord, directory: Path) -> str:
    """The outcome: metrics, costs, and where the files are."""
    written = sorted(
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    )
    lines = [("status", record.status)]
    if record.error is not None:
        lines.append(("error", record.error["message"]))
    lines += [(name, f"{_figure(value)}{_unit(name)}") for name, value in record.metrics.items()]
    lines += _costs(record)
    lines += [("written", str(directory)), ("", ", ".join(written))]
    return _lines(lines)


def _costs(record: RunRecord) -> list[tuple[str, str]]:
    lines = [("iterations", f"{record.iterations:,}")]
    timed = record.seconds.get("iteration", {})
    if timed.get("median") is not None:
        text = (
            f"{timed['median']:.4g} per iteration (median; quartiles {timed['q1']:.4g} to "
            f"{timed['q3']:.4g}), {record.seconds['total']:.1f} in all"
        )
        lines.append(("seconds", text))
    if "compile" in record.seconds:
        text = f"{record.seconds['compile']:.1f}, in no iteration's seconds"
        lines.append(("compilation, s", text))
    if record.memory is not None:
        m, devices = record.memory, record.environment.get("devices", 1)
        whose = "" if devices == 1 else f", the most that one of {devices} processes needed"
        text = (
            f"peak {format_bytes(m['peak_bytes'])} in a training step ({m['meter']} meter{whose}): "
            f"outputs {format_bytes(m['outputs_bytes'])}, checkpoints "
            f"{format_bytes(m['checkpoints_bytes'])}, graph and work space "
            f"{format_bytes(m['graph_bytes'])}"
        )
        lines.append(("memory", text))
    if any(record.evaluations.values()):  # not where training makes no solve
        e = record.evaluations
        text = (
            f"{e['forward']:,} forward, {e['recomputed']:,} recomputed, "
            f"{e['with_graph']:,} with graph, {e['vjps']:,} vector-Jacobian products"
        )
        lines.append(("evaluations", text))
        steps = f"{record.steps['accepted']:,} accepted, {record.steps['rejected']:,} rejected"
        lines.append(("steps", steps))
    return lines


def _figure(value: float) -> str:
    """Four decimals; four digits where decimals would show none of them, or too many."""
    if value.is_integer():
        return f"{value:.0f}" if abs(value) < 1e6 else f"{value:.4g}"
    return f"{value:.4f}" if 0.01 <= abs(value) < 1e6 else f"{value:.4g}"


def _unit(metric: str) -> str:
    if metric.endswith("bits_per_dim"):
        return " bits/dim"
    return " nats" if "nll" in metric else ""


def _lines(pairs: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"  {name:<18} {text}".rstrip() for name, text in pairs if text)
