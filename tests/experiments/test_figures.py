"""Figures of experiments: differences at the same seed, levels, captions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer

from harness import Drawn, Results
from harness.figures import Level, Panel, method_lines
from harness.paired import interval
from harness.results import draw
from symadj.figures.style import new_figure

OFFSETS = {"backprop": 0.0, "symplectic": 0.25, "adjoint": -1.0}
NOISE = (0.0, 5.0, 17.0, 60.0)


def runs() -> pd.DataFrame:
    """Values whose seeds differ by far more than the methods do."""
    rows = [
        {"status": "ok", "grad": grad, "seed": seed, "atol": atol, "metrics.test/nll": value}
        for grad, offset in OFFSETS.items()
        for seed, noise in enumerate(NOISE)
        for atol in (1e-4, 1e-2)
        # The adjoint's difference grows with the tolerance and is not the same for all seeds.
        for value in [100 + noise + offset * (1 + 10 * atol * (grad == "adjoint") * (1 + seed))]
    ]
    return pd.DataFrame(rows)


def drawn(ax: Axes) -> dict[str, ErrorbarContainer]:
    return {str(c.get_label()): c for c in ax.containers if isinstance(c, ErrorbarContainer)}


def points(container: ErrorbarContainer) -> np.ndarray:
    return np.asarray(container.lines[0].get_xydata(), dtype=float)


def bars(container: ErrorbarContainer) -> np.ndarray:
    """[n, 2]: the ends of the bars."""
    (lines,) = container.lines[2]
    return np.array([segment[:, 1] for segment in lines.get_segments()])


def test_differences_at_the_same_seed_leave_the_seeds_noise_out() -> None:
    panel = Panel("nll", "NLL less backprop's (nats)", log=False, relative_to="backprop")
    (ax,) = method_lines(runs(), "atol", "atol", [panel]).axes
    lines = drawn(ax)
    assert set(lines) == {"symplectic", "adjoint"}
    np.testing.assert_allclose(points(lines["symplectic"]), [[1e-4, 0.25], [1e-2, 0.25]])
    adjoint = [-1.0 - 10 * 1e-2 * (1 + seed) for seed in range(len(NOISE))]
    assert points(lines["adjoint"])[1, 1] == pytest.approx(np.mean(adjoint))
    np.testing.assert_allclose(bars(lines["adjoint"])[1], interval(adjoint))
    assert [text.get_text() for text in ax.texts] == ["backprop"]


def test_a_ratio_is_the_geometric_mean_over_pairs() -> None:
    frame = runs()
    frame["metrics.test/nll"] = 10.0 ** frame["seed"] * frame["grad"].map(
        {"backprop": 1.0, "symplectic": 2.0, "adjoint": 100.0}
    )
    panel = Panel("nll", "to backprop's", relative_to="backprop", ratio=True)
    (ax,) = method_lines(frame, "atol", "atol", [panel]).axes
    lines = drawn(ax)
    np.testing.assert_allclose(points(lines["symplectic"])[:, 1], 2.0)
    np.testing.assert_allclose(points(lines["adjoint"])[:, 1], 100.0)
    assert ax.get_yscale() == "log"
    assert any(set(np.asarray(line.get_ydata())) == {1.0} for line in ax.lines)


def test_small_and_large_differences_share_an_axis() -> None:
    panel = Panel("nll", "NLL less backprop's (nats)", relative_to="backprop")
    (ax,) = method_lines(runs(), "atol", "atol", [panel]).axes
    assert ax.get_yscale() == "symlog"


def test_a_single_seed_has_points_and_no_bars() -> None:
    frame = runs()
    one = frame.loc[frame["seed"] == 0]
    panel = Panel("nll", "NLL less backprop's (nats)", log=False, relative_to="backprop")
    (ax,) = method_lines(pd.DataFrame(one), "atol", "atol", [panel]).axes
    assert drawn(ax)["symplectic"].lines[2] == ()


def test_levels_are_lines_with_a_name() -> None:
    panel = Panel("nll", "NLL (nats)", log=False, levels=[Level(3.5, "truth")])
    (ax,) = method_lines(runs(), "atol", "atol", [panel]).axes
    assert [text.get_text() for text in ax.texts] == ["truth"]
    assert any(set(np.asarray(line.get_ydata())) == {3.5} for line in ax.lines)
    assert set(drawn(ax)) == set(OFFSETS)


def test_figures_have_their_captions_beside_them(tmp_path: Path) -> None:
    results = Results("cpu", pd.DataFrame(), ["A mixture, 8-d.", "Measured on X, symadj abc."])
    with_caption = {"a": (new_figure(1, 1), "What it\nshows."), "b": new_figure(1, 1)}
    draw(results, Drawn(figures=with_caption), tmp_path)
    assert {"a.png", "a.pdf", "b.png"} <= {path.name for path in tmp_path.iterdir()}
    text = (tmp_path / "figures.md").read_text()
    assert "![a](a.png)\n\n**a**: What it shows.\n" in text
    assert text.endswith("\n\nA mixture, 8-d.\n\nMeasured on X, symadj abc.\n")
    draw(results, Drawn(figures={"b": new_figure(1, 1)}), tmp_path / "none")
    assert not (tmp_path / "none" / "figures.md").exists()
