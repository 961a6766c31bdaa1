"""Density estimation: the loss, the metrics of a split, the pictures, and that it learns."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from symadj import Integrator, SolverSettings
from symadj.data.base import VectorData
from symadj.data.digits import Digits
from symadj.data.table import Table
from symadj.data.toy2d import Toy2D
from symadj.errors import InputError
from symadj.models.cnf import CNF, ContinuousFlow
from symadj.models.multiscale import MultiscaleCNF
from symadj.tasks.density import EXACT, Density, tighter
from tests.grad.variants import GENERAL

RK4 = SolverSettings("rk4", num_steps=4)


def integrator() -> Integrator:
    return Integrator(RK4)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(model: CNF, data: VectorData, seed: int = 0) -> dict[str, Figure]:
    return Density().figures(model, data, integrator(), generator(seed))


def image_of(figure: Figure, axes: int) -> np.ndarray:
    return np.asarray(figure.axes[axes].images[0].get_array())


def test_the_loss_is_the_mean_negative_log_likelihood() -> None:
    model, x = CNF(3, hidden=(8,), trace="exact"), torch.randn(6, 3)
    loss = Density().loss(model, x, integrator())
    torch.testing.assert_close(loss, -model.log_prob(x, integrator()).sum() / 6)
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def seeded(
    task: Density, model: ContinuousFlow, x: Tensor, gradient: str, solver: SolverSettings = RK4
) -> Tensor:
    torch.manual_seed(7)
    return task.loss(model, x, Integrator(solver, gradient))


def test_the_regularised_loss_adds_the_weighted_means_of_the_costs() -> None:
    model, x = CNF(3, hidden=(8,), components=2).double(), torch.randn(6, 3).double()
    losses = [
        seeded(Density(kinetic=kinetic, jacobian=jacobian), model, x, "backprop")
        for kinetic, jacobian in ((0, 0), (0.5, 0), (0, 0.25), (0.5, 0.25))
    ]
    torch.manual_seed(7)
    _, (_, kinetic, jacobian) = model.carry(x, integrator(), ("kinetic", "jacobian"))
    added = [loss - losses[0] for loss in losses[1:]]
    k, j = 0.5 * kinetic.mean(), 0.25 * jacobian.mean()
    torch.testing.assert_close(added, [k, j, k + j], rtol=1e-12, atol=1e-12)
    assert min(k.item(), j.item()) > 1e-4


def test_without_weights_the_state_of_the_solve_is_that_of_the_likelihood(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    solve, parts = Integrator.solve, []

    def watched(self: Integrator, func, y0, t, params=None):
        parts.append(len(y0))
        return solve(self, func, y0, t, params)

    monkeypatch.setattr(Integrator, "solve", watched)
    model, x = CNF(3, hidden=(8,)), torch.randn(6, 3)
    for kinetic, jacobian in ((0, 0), (0.1, 0), (0, 0.1), (0.1, 0.1)):
        Density(kinetic=kinetic, jacobian=jacobian).loss(model, x, integrator())
    assert parts == [2, 3, 3, 4]


@pytest.mark.parametrize("trace", ["hutchinson", "exact"])
@pytest.mark.parametrize("images", [False, True])
@pytest.mark.parametrize("gradient", sorted(set(GENERAL) - {"adjoint", "auto", "backprop"}))
def test_gradients_of_the_regularised_loss_are_those_of_backprop(
    gradient: str, images: bool, trace: str
) -> None:
    model = (
        MultiscaleCNF((4, 4), scales=2, hidden=(2,), trace=trace)
        if images
        else CNF(3, hidden=(8, 8), components=2, batch_norm=True, trace=trace)
    ).double()
    x = torch.randn(4, 16 if images else 3, dtype=torch.float64)
    task = Density(kinetic=0.3, jacobian=0.2)
    loose = SolverSettings("dopri5", rtol=1e-1, atol=1e-1)
    parameters = list(model.parameters())
    expected, ours = (
        torch.autograd.grad(seeded(task, cast("ContinuousFlow", model), x, name, loose), parameters)
        for name in ("backprop", gradient)
    )
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("wrong", [{"kinetic": -1.0}, {"jacobian": float("nan")}])
def test_a_weight_out_of_range_is_refused_by_name(wrong: dict) -> None:
    with pytest.raises(InputError, match=f"^{next(iter(wrong))}="):
        Density(**wrong)


def test_a_flow_without_costs_is_refused_where_they_are_asked_for() -> None:
    class Other(nn.Module):
        def log_prob(self, x: Tensor) -> Tensor:
            return x.sum(-1)

    Density().bind(Toy2D(size=20), Other(), integrator())
    with pytest.raises(InputError, match=r"task\.jacobian.*Other"):
        Density(jacobian=0.1).bind(Toy2D(size=20), Other(), integrator())


def test_metrics_are_means_over_rows_whatever_the_batches_are() -> None:
    data = Digits()
    model, x = CNF(64, hidden=(16,)), data.val[:10].float()
    task = Density(check_tolerance=None)
    whole = task.test(model, x, data, integrator(), batch_size=10)
    parts = task.test(model, x, data, integrator(), batch_size=4)
    log_prob = model.log_prob(x, integrator(), exact=True)
    assert whole["nll"] == pytest.approx(-log_prob.mean().item(), rel=1e-6)
    assert whole["bits_per_dim"] == pytest.approx(
        data.bits_per_dim(x, log_prob).mean().item(), rel=1e-6
    )
    assert parts == pytest.approx(whole, rel=1e-6)
    assert set(whole) == {"nll", "bits_per_dim"}
    assert task.monitor in whole


def test_the_estimate_is_used_where_the_exact_trace_is_not_asked_for() -> None:
    data = Toy2D(size=50)
    model = CNF(2, hidden=(8,))

    def nll(seed: int, *, exact: bool) -> float:
        torch.manual_seed(seed)
        task = Density()
        score = task.test if exact else task.evaluate
        return score(model, data.val, data, integrator(), 50)["nll"]

    assert nll(0, exact=False) == nll(0, exact=False) != nll(1, exact=False)
    assert nll(0, exact=True) == nll(1, exact=True)


@pytest.mark.parametrize(("dim", "exact"), [(2, True), (EXACT, True), (EXACT + 1, False)])
def test_the_tests_trace_is_exact_where_a_point_has_few_entries(dim: int, exact: bool) -> None:
    data = VectorData("x", *(torch.zeros(2, dim) for _ in range(3)), note="")
    task = Density()
    task.bind(data, CNF(dim, hidden=(2,)), integrator())
    assert task.exact_test is exact
    for told in (True, False):
        task = Density(exact_test=told)
        task.bind(data, CNF(dim, hidden=(2,)), integrator())
        assert task.exact_test is told


def test_images_are_drawn_real_beside_sampled() -> None:
    data = Digits()
    model = CNF(64, hidden=(16,))
    figures = draw(model, data)
    assert set(figures) == {"samples"}
    sheet = figures["samples"]
    real, sampled = sheet.axes
    assert "real" in real.get_title()
    assert "sampled" in sampled.get_title()
    first = image_of(sheet, 0)[1:9, 1:9]
    np.testing.assert_allclose(first, data.to_images(data.test[:1])[0].numpy(), atol=1e-6)
    assert np.array_equal(image_of(sheet, 1), image_of(draw(model, data)["samples"], 1))
    assert not np.array_equal(image_of(sheet, 1), image_of(draw(model, data, 1)["samples"], 1))


def test_a_plane_shows_the_density_where_the_points_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """With log p(x) = -|x - c|^2 the map's largest cell must hold c."""
    data = Toy2D("moons", size=200)
    model = CNF(2, hidden=(8,))
    centre = torch.tensor([1.3, -0.7])
    monkeypatch.setattr(
        CNF, "log_prob", lambda self, x, integrator, exact: -(x - centre).square().sum(-1)
    )
    figure = draw(model, data)["density"]
    ax = next(ax for ax in figure.axes if ax.images)
    density = np.asarray(ax.images[0].get_array())
    x0, x1, y0, y1 = ax.images[0].get_extent()
    row, column = np.unravel_index(density.argmax(), density.shape)
    width, height = (x1 - x0) / density.shape[1], (y1 - y0) / density.shape[0]
    assert x0 + column * width <= centre[0] <= x0 + (column + 1) * width
    assert y0 + row * height <= centre[1] <= y0 + (row + 1) * height
    low, high = data.test.amin(0), data.test.amax(0)
    assert x0 < low[0]
    assert y0 < low[1]
    assert x1 > high[0]
    assert y1 > high[1]


def test_a_table_of_two_columns_is_a_plane_with_their_names(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(40, 3))
    for columns in (2, 3):
        path = tmp_path / f"{columns}.csv"
        np.savetxt(
            path, rows[:, :columns], delimiter=",", header="u,v,w"[: 2 * columns - 1], comments=""
        )
    figures = draw(CNF(2, hidden=(8,)), Table(str(tmp_path / "2.csv")))
    assert (figures["density"].axes[0].get_xlabel(), figures["density"].axes[0].get_ylabel()) == (
        "u",
        "v",
    )
    assert draw(CNF(3, hidden=(8,)), Table(str(tmp_path / "3.csv"))) == {}


def test_figures_of_a_float64_model() -> None:
    assert set(draw(CNF(2, hidden=(8,)).double(), Toy2D(size=20))) == {"density"}


def test_a_flow_learns_the_scale_and_place_of_its_data() -> None:
    """The best NLL of N((2, -1), 0.5^2 I) is its entropy, 1 + log(2 pi 0.25) = 1.45 nats."""
    place = torch.tensor([2.0, -1.0])
    model, task = CNF(2, hidden=(16,), trace="exact"), Density()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    coarse = Integrator(SolverSettings("rk4", num_steps=2))
    losses = []
    for i in range(40):
        batch = place + 0.5 * torch.randn(100, 2, generator=generator(i))
        optimizer.zero_grad()
        loss = task.loss(model, batch, coarse)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 3
    assert 1.2 < losses[-1] < 1.8
    samples = model.inverse(torch.randn(500, 2, generator=generator()), coarse)
    torch.testing.assert_close(samples.mean(0), place, rtol=0, atol=0.25)
    torch.testing.assert_close(samples.std(0), torch.full((2,), 0.5), rtol=0.4, atol=0)


LOOSE = SolverSettings("dopri5", rtol=1e-1, atol=1e-2)


def steep() -> CNF:
    """A flow that a loose solver gets wrong, whose trace is estimated."""
    model = CNF(2, hidden=(8,), components=2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    return model


def nlls(model: CNF, x: Tensor, solver: SolverSettings, exact: bool = False) -> Tensor:
    torch.manual_seed(5)
    return -model.log_prob(x, Integrator(solver), exact).detach()


@pytest.mark.parametrize("exact", [False, True])
def test_the_gap_is_that_to_a_tighter_solver_on_the_same_rows_and_noise(exact: bool) -> None:
    data, model = Toy2D(size=50), steep()
    task = Density(check_tolerance=1e9, check_factor=1e-3)
    score = task.test if exact else task.evaluate
    torch.manual_seed(5)
    found = score(model, data.val, data, Integrator(LOOSE), 20)
    after = torch.rand(1)
    torch.manual_seed(5)
    off = Density(check_tolerance=None)
    plain = (off.test if exact else off.evaluate)(model, data.val, data, Integrator(LOOSE), 20)
    assert torch.equal(after, torch.rand(1)), "the random numbers are those without the check"
    first = data.val[:20]
    own = nlls(model, first, LOOSE, exact).double().mean().item()
    tight = SolverSettings("dopri5", rtol=1e-4, atol=1e-5)
    expected = nlls(model, first, tight, exact).double().mean().item()
    assert abs(own - expected) > 1e-3
    assert found["nll_tighter"] == pytest.approx(expected, abs=1e-6)
    assert found["nll_gap"] == pytest.approx(own - expected, abs=1e-6)
    assert {name: found[name] for name in plain} == plain
    assert set(plain) == {"nll", "bits_per_dim"}
    assert (tuple(task.tracked), tuple(off.tracked)) == (("nll_tighter", "nll_gap"), ())


@pytest.mark.parametrize(
    ("solver", "factor", "field", "expected"),
    [
        (SolverSettings("rk4", num_steps=4), 0.1, "num_steps", 8),
        (SolverSettings("dopri5", num_steps=4), 1e-4, "num_steps", 28),
        (SolverSettings("euler", step_size=0.5), 0.1, "step_size", 0.05),
        (SolverSettings("rk4", grid=[0.0, 0.5, 2.0]), 0.1, "grid", [0.0, 0.25, 0.5, 1.25, 2.0]),
        (SolverSettings("dopri5", rtol=1e-3, atol=0.0), 0.1, "rtol", pytest.approx(1e-4)),
        (SolverSettings("dopri5", rtol=1e-3, atol=0.0), 0.1, "atol", 0.0),
        (SolverSettings("dopri5", rtol=1e-16), 0.1, "rtol", 1e-16),
        (SolverSettings("rk4", num_steps=9, max_steps=9), 0.1, "max_steps", 18),
    ],
)
def test_a_tighter_solver(
    solver: SolverSettings, factor: float, field: str, expected: object
) -> None:
    assert getattr(tighter(solver, factor), field) == expected


@pytest.mark.parametrize(
    ("solver", "named"),
    [
        (LOOSE, r"solver\.rtol=0\.1 solver\.atol=0\.01 and .* solver\.rtol=0\.01 solver\.atol"),
        (SolverSettings("rk4", num_steps=1), r"solver\.num_steps=1 and .* solver\.num_steps=2"),
        (SolverSettings("rk4", step_size=0.5), r"solver\.step_size=0\.5 and"),
        (SolverSettings("rk4", grid=[0.0, 1.0]), r"a solver\.grid of 1 steps and"),
    ],
)
def test_a_gap_beyond_the_bound_is_warned_of_once(solver: SolverSettings, named: str) -> None:
    data, model = Toy2D(size=50), steep()
    task = Density(check_tolerance=1e-6)
    torch.manual_seed(5)
    with pytest.warns(UserWarning, match=rf"(?s){named}.*task\.check_tolerance=1e-06 apart"):
        gap = task.evaluate(model, data.val, data, Integrator(solver), 50)["nll_gap"]
    assert abs(gap) > 1e-6
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        task.evaluate(model, data.val, data, Integrator(solver), 50)
        torch.manual_seed(5)
        within = Density(check_tolerance=2 * abs(gap))
        within.evaluate(model, data.val, data, Integrator(solver), 50)


def test_a_tighter_solve_that_fails_is_no_failure_of_the_run() -> None:
    data, model = Toy2D(size=50), steep()
    few = SolverSettings("dopri5", rtol=1e-1, atol=1e-1, max_steps=20)
    task = Density(check_factor=1e-9)
    with pytest.warns(UserWarning, match="nan with"):
        found = task.evaluate(model, data.val, data, Integrator(few), 50)
    assert math.isnan(found["nll_tighter"])
    assert math.isnan(found["nll_gap"])
    assert math.isfinite(found["nll"])


@pytest.mark.parametrize("wrong", [{"check_tolerance": -0.1}, {"check_factor": 1.0}])
def test_a_bound_or_factor_out_of_range_is_refused(wrong: dict) -> None:
    with pytest.raises(InputError, match=f"^{next(iter(wrong))}="):
        Density(**wrong)
