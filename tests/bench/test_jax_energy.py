"""The energy network in JAX against ours; needs diffrax (pip install 'symadj[peers]')."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from symadj.bench.cases import Case, groups
from symadj.bench.measure import measure
from symadj.bench.problem import BenchProblem, Reference
from symadj.config.bench import BenchSettings, bench_settings, compose_bench
from symadj.errors import IncompatibleError
from symadj.models.energy_conv import EnergyField
from tests.bench.small import WAVES

pytest.importorskip("diffrax")

import jax  # pyright: ignore[reportMissingImports]

from symadj.bench.peers.diffrax_peer import precision
from symadj.bench.peers.jax_energy import JaxEnergy
from symadj.bench.peers.jax_solve import array, arrays

pytestmark = pytest.mark.slow  # XLA compiles for seconds


@pytest.fixture(autouse=True)
def of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SYMADJ_DATA", str(tmp_path))
    with precision(torch.float64):
        yield


def cases(*overrides: str) -> tuple[Case, ...]:
    config = compose_bench([*WAVES, "peers=[diffrax]", *overrides])
    (group,) = groups(config, bench_settings(config))
    return group.cases


@pytest.mark.parametrize("structure", ["skew", "dissipative"])
@pytest.mark.parametrize("formula", [True, False])
def test_field_and_its_derivatives_are_ours(structure: str, formula: bool) -> None:
    problem = BenchProblem.of(cases(f"model.structure={structure}", "model.kernel=5")[0].config)
    model = problem.parts.model
    assert isinstance(model, EnergyField)
    u = problem.batch[:, 0].requires_grad_()
    w = torch.randn_like(u)
    ours = model(torch.tensor(0.0), u)
    named = dict(model.named_parameters())
    expected = torch.autograd.grad((ours * w).sum(), [u, *named.values()])

    energy = JaxEnergy(problem, formula)
    theirs, pull = jax.vjp(lambda u, params: energy.field(0.0, u, params), array(u), arrays(model))
    of_u, of_params = pull(array(w))
    found = [of_u, *(of_params[name] for name in named)]
    np.testing.assert_allclose(np.asarray(theirs), ours.detach().numpy(), rtol=1e-12, atol=1e-12)
    for other, own in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.asarray(other), own.numpy(), rtol=1e-11, atol=1e-11)


def test_on_the_same_steps_its_gradient_is_ours() -> None:
    found = cases("solver=dopri5", "solver.rtol=1e-3", "solver.atol=1e-4")
    reference = Reference.of(BenchProblem.of(found[0].config))
    for record in measure(found, BenchSettings(repeats=1, isolate=False), reference):
        assert record.status == "ok", record.error
        assert record.metrics["gradient_error_float64"] < 1e-12
        assert record.metrics["gradient_error"] < 1e-6


def test_what_it_cannot_do_is_refused() -> None:
    given, longer, node = (
        BenchProblem.of(cases(*more)[0].config)
        for more in ((), ("task.horizon=2",), ("model=node_conv", "model.hidden=[6,5]"))
    )
    interval = JaxEnergy(given, formula=True).T
    assert interval == given.parts.data.dt
    with pytest.raises(IncompatibleError, match="horizon"):
        JaxEnergy(longer, formula=True)
    with pytest.raises(IncompatibleError, match="energy_conv"):
        JaxEnergy(node, formula=True)
