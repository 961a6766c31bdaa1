"""Fields that differentiate themselves: the same cotangents as autograd's."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from symadj import odeint
from symadj.models.cnf import DensityField
from symadj.models.energy import EnergyMLP
from symadj.models.energy_conv import EnergyConv
from symadj.models.hnn import HNN
from symadj.models.layers import LAYERS, ConcatSquash
from symadj.models.mlp import MLP
from symadj.models.residual import Residual
from symadj.models.vjp import row_blocks
from symadj.models.vjp.linearised import linearised_layers
from symadj.ode.field import Field
from symadj.ode.gradients import ParameterGradients
from symadj.ode.layout import State, StateLayout

DOUBLE = torch.float64
DIM, BATCH, T = 4, 7, 0.3


def flow(network: nn.Module) -> nn.Module:
    return DensityField(network, torch.randn(BATCH, DIM, dtype=DOUBLE))


FIELDS: dict[str, Callable[[], nn.Module]] = {
    **{layer: lambda layer=layer: flow(MLP(DIM, [5, 6], "tanh", layer)) for layer in LAYERS},
    "softplus": lambda: flow(MLP(DIM, [5, 6], "softplus")),
    "one hidden layer": lambda: flow(MLP(DIM, [5])),
    "no hidden layer": lambda: flow(MLP(DIM, [])),
    "residual": lambda: flow(Residual(MLP(DIM, [5]))),
    "skew energy": lambda: EnergyConv(0.2, "skew", [5, 6]),
    "dissipative energy": lambda: EnergyConv(0.2, "dissipative", [5]),
    "Hamiltonian": lambda: HNN(DIM, [5, 6]),
}


def shaken(module: nn.Module) -> nn.Module:
    for p in module.double().parameters():
        nn.init.normal_(p, std=0.6)
    return module


def state_of(module: nn.Module) -> State:
    z = torch.randn(BATCH, DIM, dtype=DOUBLE)
    return (z, torch.randn(BATCH, dtype=DOUBLE)) if isinstance(module, DensityField) else z


def both_ways(module: nn.Module, *, own: bool = True) -> tuple[list[Tensor], list[Tensor]]:
    """Cotangents of the state and of all parameters, by `pull_back` and by autograd."""
    torch.manual_seed(1)
    state = state_of(module)
    layout = StateLayout.of(state)
    y = layout.flatten(state)
    w = torch.randn_like(y)
    field = Field(module, layout)
    assert (field._own_pull_back is not None) == own
    gradients = ParameterGradients(field.params)
    # Sums that are there already are added to.
    gradients.add([torch.ones_like(p) for p in field.params])
    mu = field.pull_back(T, y, w, gradients)
    ours = [mu, *(torch.zeros(()) if g is None else g - 1 for g in gradients.sums)]
    _, of_y, of_params = field.value_and_vjp(T, y, w)
    theirs = [of_y, *(torch.zeros(()) if g is None else g for g in of_params)]
    return ours, theirs


def test_rows_come_once_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = [torch.zeros(6, 2, dtype=DOUBLE)]
    for total in (0, 1, 2, 7, 12):
        rows = torch.arange(2.0 * total, dtype=DOUBLE).view(total, 2)
        for size, threads in itertools.product((0.5, 1, 2, 5), (1, 2, 3)):
            work_in(monkeypatch, rows=size, threads=threads)
            shares = row_blocks.shares_of(rows, maps)
            blocks = [block for (block,) in row_blocks.row_blocks(shares, maps, rows)]
            assert torch.equal(row_blocks.rows_of(blocks), rows)
            assert all(block.shape[-2] <= max(size, 1) for block in blocks if block.dim() == 3)
            assert total == 0 or all(block.numel() for block in blocks)


def assert_equal(ours: list[Tensor], theirs: list[Tensor]) -> None:
    assert any(bool((g != 0).any()) for g in theirs)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other.expand_as(mine), rtol=1e-12, atol=1e-12)


def work_in(monkeypatch: pytest.MonkeyPatch, *, rows: float = 1000, threads: int = 1) -> None:
    """Blocks of so many rows for a thread, and a share for each of so many threads."""
    monkeypatch.setattr(row_blocks, "BLOCK_BYTES", int(rows * 2 * 6 * 8))
    monkeypatch.setattr(row_blocks, "SHARED", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)


@pytest.mark.parametrize("threads", [1, 2, 3, 40])
@pytest.mark.parametrize("rows", [1, 3, 1000])
@pytest.mark.parametrize("name", FIELDS)
def test_pull_back_is_autograds_product(
    name: str, rows: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    work_in(monkeypatch, rows=rows, threads=threads)
    torch.manual_seed(0)
    assert_equal(*both_ways(shaken(FIELDS[name]())))


@pytest.mark.parametrize("layer", LAYERS)
def test_maps_have_the_same_bits_with_and_without_graph(layer: str) -> None:
    torch.manual_seed(0)
    layers = [LAYERS[layer](n, m) for n, m in ((3, 40), (40, 40), (40, 3))]
    for t in torch.rand(20):
        exact = [m for one in layers for m in one.affine(t)]
        with torch.no_grad():
            found = linearised_layers(layers, t).maps
        assert all(torch.equal(a, b) for a, b in zip(found, exact, strict=True))


@pytest.mark.parametrize("name", FIELDS)
def test_autograd_is_not_asked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    module = shaken(FIELDS[name]())
    layout = StateLayout.of(state := state_of(module))
    y = layout.flatten(state)
    field = Field(module, layout)
    monkeypatch.setattr(torch.autograd, "grad", None)
    field.pull_back(T, y, y, ParameterGradients(field.params))
    assert (field.stats.vjps, field.stats.with_graph) == (1, 1)


def test_frozen_parameters_get_nothing() -> None:
    module = shaken(FIELDS["concatsquash"]())
    for name, p in module.named_parameters():
        p.requires_grad_("layers.1" in name and "gate" not in name)
    ours, theirs = both_ways(module)
    assert len(ours) == 4
    assert_equal(ours, theirs)


@pytest.mark.parametrize("threads", [1, 2])
def test_values_without_graph_do_not_depend_on_the_blocks(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("concatsquash", "skew energy"):
        module = shaken(FIELDS[name]())
        state = state_of(module)
        t = torch.tensor(T, dtype=DOUBLE)
        with torch.no_grad():
            whole = module(t, state)
            with monkeypatch.context() as changed:
                work_in(changed, rows=3, threads=threads)
                parts = module(t, state)
        graph = module(t, state)
        for a, b, c in zip(whole, parts, graph, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-13)
            torch.testing.assert_close(a, c, rtol=1e-13, atol=1e-13)


class Doubled(MLP):
    """A subclass that knows nothing of the tangent's derivative."""

    def tangent(self, t: Tensor, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
        f, df = super().tangent(t, x, dx)
        return 2 * f, 2 * df


class Shifted(DensityField):
    """A subclass with another value."""

    def forward(self, t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        f, change = super().forward(t, state)
        return f.sin(), change


class Sharper(ConcatSquash):
    """A layer with another map."""

    def affine(self, t: Tensor) -> tuple[Tensor, Tensor]:
        weight, bias = super().affine(t)
        return weight * t, bias


def test_a_subclass_with_another_value_is_left_to_autograd() -> None:
    torch.manual_seed(0)
    noise = torch.randn(BATCH, DIM, dtype=DOUBLE)
    assert_equal(*both_ways(shaken(Shifted(MLP(DIM, [5]), noise)), own=False))
    assert_equal(*both_ways(shaken(flow(Doubled(DIM, [5]))), own=False))
    net = MLP(DIM, [5])
    net.layers[0] = Sharper(DIM, 5)
    assert_equal(*both_ways(shaken(flow(net))))


def test_hooks_and_parametrizations_are_left_to_autograd() -> None:
    torch.manual_seed(0)
    energy = EnergyMLP(3, [5])
    module = shaken(FIELDS["skew energy"]())
    module.get_submodule("energy").local = shaken(energy)
    nn.utils.parametrizations.weight_norm(energy._linear()[0])
    assert_equal(*both_ways(module, own=False))
    hooked = shaken(FIELDS["Hamiltonian"]())
    hooked.register_forward_hook(lambda module, inputs, value: value.sin())
    assert_equal(*both_ways(hooked, own=False))


def test_an_instance_with_a_forward_of_its_own_is_left_to_autograd() -> None:
    torch.manual_seed(0)
    module = shaken(FIELDS["Hamiltonian"]())
    plain = module.forward
    module.forward = lambda t, u: plain(t, u).sin()
    assert_equal(*both_ways(module, own=False))


def test_tensors_beside_the_parameters_are_left_to_autograd() -> None:
    torch.manual_seed(0)
    noise = torch.randn(BATCH, DIM, dtype=DOUBLE, requires_grad=True)
    module = shaken(DensityField(MLP(DIM, [5]), noise))
    state = state_of(module)
    times = torch.tensor([0.0, 0.5], dtype=DOUBLE)
    grid = {"num_steps": 2}
    found, exact = (
        torch.autograd.grad(
            odeint(module, state, times, method="rk4", options=grid, gradient=gradient)[1][
                -1
            ].sum(),
            noise,
        )[0]
        for gradient in ("symplectic", "backprop")
    )
    torch.testing.assert_close(found, exact, rtol=1e-12, atol=1e-12)


class Own(nn.Module):
    """A network of the user's, without tangents, that captures a tensor."""

    def __init__(self, captured: Tensor) -> None:
        super().__init__()
        self.linear = nn.Linear(DIM, DIM, dtype=DOUBLE)
        self.scale = lambda: captured

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return torch.tanh(self.linear(x)) * self.scale()


def test_a_network_of_the_users_in_a_flow_keeps_what_it_captures() -> None:
    captured = torch.tensor(1.5, dtype=DOUBLE, requires_grad=True)
    module = flow(Own(captured))
    times = torch.tensor([0.0, 0.5], dtype=DOUBLE)
    ys = odeint(module, state_of(module), times, method="rk4", options={"num_steps": 2})
    (found,) = torch.autograd.grad(ys[1][-1].sum(), captured)
    assert found != 0
