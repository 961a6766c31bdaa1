"""The problems of `experiments/users`: the same field and the same loss in torch and in JAX."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import peers
from symadj.bench.cases import groups
from symadj.bench.measure import measure
from symadj.bench.problem import BenchProblem, Reference
from symadj.config.bench import bench_settings, compose_bench
from symadj.records.record import RunRecord
from users import fields

SHAPES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "convolutional": (lambda: fields.Convolutional(6, 3, gain=2.0), (2, 6, 5, 4)),
    "hamiltonian": (lambda: fields.Hamiltonian(4, [5, 6], gain=2.0), (3, 4)),
    "attention": (lambda: fields.Attention(8, 2, gain=2.0), (2, 5, 8)),
    "latent": (lambda: fields.Latent(3, [5, 6], gain=2.0), (4, 3)),
    "stiff": (lambda: fields.Stiff(3, [5, 6], gain=2.0), (4, 3)),
}


def in_jax(module: nn.Module) -> tuple[Callable[..., Any], dict[str, Any]]:
    """A module's twin and its weights, in float64."""
    module.double()
    for parameter in module.parameters():
        # What a normalisation scales and adds must be seen too.
        torch.nn.init.normal_(parameter, std=0.5)
    weights = {name: p.detach().numpy() for name, p in module.named_parameters()}
    return importlib.import_module("users.jax_fields").jax_field(module), weights


def same(ours: Tensor, theirs: Any) -> None:
    torch.testing.assert_close(
        torch.from_numpy(np.array(theirs)), ours.detach(), rtol=1e-12, atol=1e-13
    )


@pytest.fixture
def double() -> Any:
    pytest.importorskip("diffrax")
    precision = importlib.import_module("symadj.bench.peers.diffrax_peer").precision
    with precision(torch.float64):
        yield


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.usefixtures("double")
def test_a_field_in_jax_is_that_in_torch(name: str) -> None:
    make, shape = SHAPES[name]
    module = make()
    twin, weights = in_jax(module)
    y = torch.randn(shape, dtype=torch.float64)
    same(module(torch.tensor(0.25), y), twin(0.25, y.detach().numpy(), weights))


@pytest.mark.slow
@pytest.mark.usefixtures("double")
def test_a_flow_in_jax_is_that_in_torch() -> None:
    module = fields.Flow(3, [5, 6])
    twin, weights = in_jax(module)
    z, noise = torch.randn(2, 4, 3, dtype=torch.float64)
    module.noise = noise
    ours = module(torch.tensor(0.25), (z, z[:, 0]))
    for one, other in zip(
        ours, twin(0.25, (z.detach().numpy(), None), weights, noise.numpy()), strict=True
    ):
        same(one, other)


def test_a_flow_has_the_trace_of_its_jacobian() -> None:
    module = fields.Flow(2, [5], gain=2.0).double()
    z = torch.randn(1, 2, dtype=torch.float64)
    trace = torch.zeros(())
    for module.noise in torch.eye(2, dtype=torch.float64).unsqueeze(1):
        trace = trace - module(torch.tensor(0.25), (z.clone(), z[:, 0]))[1][0]

    def f(z: Tensor) -> Tensor:
        return module.net(torch.cat([z, torch.full_like(z[:, :1], 0.25)], 1))

    jacobian: Any = torch.autograd.functional.jacobian(f, z)
    torch.testing.assert_close(trace, jacobian[0, :, 0].trace())


def test_a_gain_multiplies_weights_alone() -> None:
    torch.manual_seed(0)
    plain = fields.Convolutional(8)
    torch.manual_seed(0)
    scaled = fields.Convolutional(8, gain=3.0)
    torch.testing.assert_close(scaled.conv1.weight, 3 * plain.conv1.weight)
    for name in ("conv1.bias", "norm.weight"):
        torch.testing.assert_close(scaled.get_parameter(name), plain.get_parameter(name))


def test_a_stiff_field_decays_at_known_rates() -> None:
    torch.manual_seed(0)
    module = fields.Stiff(4, [5], fastest=1e3)
    rates = torch.linalg.eigvalsh(module.decay.detach().double())
    expected = -torch.tensor([1e3, 1e2, 1e1, 1.0], dtype=torch.float64)
    torch.testing.assert_close(rates, expected, rtol=1e-4, atol=1e-3)
    assert module.decay.detach().diag().abs().min() > 1.5  # no axis is one of the state's


def records_of(name: str) -> dict[str, RunRecord]:
    """The rows of a problem of the smoke preset, with a loose tolerance."""
    [command] = [c for c in peers.smoke(None).commands if c.labels["data"] == name]  # pyright: ignore[reportArgumentType]
    chosen = [o for o in command.overrides if not o.startswith(("grads=", "rows=", "profile="))]
    config = compose_bench([*chosen, "grads=[symplectic]", "isolate=false"], command.config_dir)
    settings = replace(bench_settings(config), repeats=1)
    (group,) = groups(config, settings)
    reference = Reference.of(BenchProblem.of(group.neutral))
    return {record.grad: record for record in measure(group.cases, settings, reference)}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    # XLA takes long for an implicit solver.
    [pytest.param(n, marks=[pytest.mark.heavy] * (n == "stiff")) for n in peers.USERS],
)
def test_all_software_solves_the_same_problem(name: str) -> None:
    pytest.importorskip("diffrax")
    pytest.importorskip("torchdiffeq")
    records = records_of(name)
    others = set() if name == "stiff" else {"torchdiffeq", "torchdiffeq adjoint"}
    assert set(records) == {"symplectic", "diffrax", *others}
    for record in records.values():
        assert record.status == "ok", record.error
        assert record.metrics["loss"] == pytest.approx(records["diffrax"].metrics["loss"], rel=1e-3)
    own_outputs = {"diffrax"} if name == "latent" else set()
    # The equations of implicit steps are solved to 1e-12, which is not all that there is to them.
    tolerance = 1e-10 if name == "stiff" else 1e-12
    for label in records.keys() - {"torchdiffeq adjoint"} - own_outputs:
        assert records[label].metrics["gradient_error_float64"] < tolerance, label


def test_every_problem_has_a_configuration_of_its_own() -> None:
    found = {path.stem for path in (Path(peers.CONFIGS) / "experiment").glob("*.yaml")}
    assert found == set(peers.USERS)
