"""Plots of one run from its history: a DataFrame in, a Figure out."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Losses that fall by more than this are shown on a logarithmic axis.
_WIDE = 100.0


def loss_against_iteration(history: pd.DataFrame) -> Figure:
    """Training loss (a line through its running median) and validation, against the iteration.

    Args:
        history: as `symadj.records.history.read_history` gives it.
    """
    return _loss(history, "iteration", "iteration")


def loss_against_time(history: pd.DataFrame) -> Figure:
    """The same against wall-clock seconds, validation included."""
    return _loss(history, "wall", "seconds since the start")


def evaluations_per_iteration(history: pd.DataFrame) -> Figure:
    """Evaluations of the field by kind, and steps, of every iteration."""
    figure, axes = _figure(2)
    x = history["iteration"]
    kinds = {
        "forward": "forward",
        "recomputed": "recomputed without graph",
        "with_graph": "with graph",
    }
    for column, label in kinds.items():
        if (history[column] > 0).any():
            axes[0].plot(x, history[column], drawstyle="steps-mid", label=label, linewidth=1.2)
    axes[0].set_ylabel("evaluations")
    axes[1].plot(x, history["accepted"], drawstyle="steps-mid", label="accepted", linewidth=1.2)
    axes[1].plot(x, history["rejected"], drawstyle="steps-mid", label="rejected", linewidth=1.2)
    axes[1].set_ylabel("steps")
    axes[1].set_xlabel("iteration")
    for ax in axes:
        ax.set_ylim(bottom=0)
        ax.legend(frameon=False)
    return figure


def run_figures(history: pd.DataFrame) -> dict[str, Figure]:
    """All plots of a run that its history can give, by the stem of their file's name."""
    if history.empty:
        return {}
    figures = {
        "loss_iteration": loss_against_iteration(history),
        "loss_time": loss_against_time(history),
    }
    if (history["accepted"] > 0).any():  # not where training makes no solve
        figures["evaluations"] = evaluations_per_iteration(history)
    return figures


def _figure(rows: int) -> tuple[Figure, list[Axes]]:
    # Figure, not pyplot: no global state, nothing that needs a display.
    figure = Figure(figsize=(6.4, 2.0 + 2.0 * rows), layout="constrained")
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25)
    return figure, list(axes)


def _loss(history: pd.DataFrame, column: str, label: str) -> Figure:
    figure, (ax,) = _figure(1)
    loss = history["loss"]
    window = max(1, len(history) // 50)
    smooth = loss.rolling(window, center=True, min_periods=1).median()
    ax.plot(history[column], loss, color="C0", alpha=0.3, linewidth=0.8)
    ax.plot(history[column], smooth, color="C0", linewidth=1.6, label="training loss")
    for name in [c for c in history if c.startswith("val_")]:
        seen = history.dropna(subset=[name])
        if len(seen):
            ax.plot(
                seen[column], seen[name], "o-", color="C1", ms=3, label=f"validation {name[4:]}"
            )
    ax.set_xlabel(label)
    ax.set_ylabel("loss")
    values = loss.to_numpy()
    low, high = _bulk(values[np.isfinite(values)])
    if low > 0 and high > _WIDE * low:
        ax.set_yscale("log")
    else:
        margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
        ax.set_ylim(low - margin, high + margin)
    ax.legend(frameon=False)
    return figure


def _bulk(values: np.ndarray) -> tuple[float, float]:
    """The least loss, and the greatest but for a few wild ones, which may leave the picture."""
    if values.size == 0:
        return 0.0, 1.0
    return float(values.min()), float(np.quantile(values, 0.98 if values.size > 50 else 1))
