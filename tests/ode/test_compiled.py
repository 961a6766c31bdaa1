"""Compiled solves: the gradients of the eager ones, nothing compiled twice, and the way out."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from symadj import odeint, solve
from symadj.calls.solving import Solution
from symadj.errors import FieldChangedError, IncompatibleError, InputError
from symadj.grad import Symplectic
from symadj.meters.meter import ProfilerMeter
from symadj.models.cnf import DensityField
from symadj.models.mlp import MLP
from symadj.ode import compiled, compiled_functions
from symadj.ode.compiled_functions import Functions
from symadj.ode.layout import StateLayout
from tests.devices import DEVICES

DOUBLE = torch.float64
BATCH, DIM = 40, 2


@pytest.fixture(scope="module")
def network() -> MLP:
    torch.manual_seed(0)
    return MLP(DIM, [16]).double()


class Plain(nn.Module):
    """A field that autograd differentiates."""

    def __init__(self, field: nn.Module) -> None:
        super().__init__()
        self.field = field

    def forward(self, t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return self.field(t, state)


def density(network: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(BATCH, DIM, dtype=DOUBLE, generator=generator)
    return DensityField(network, noise.to(next(network.parameters()).device))


def plain(network: nn.Module, seed: int = 0) -> nn.Module:
    return Plain(density(network, seed))


Flow = Callable[..., nn.Module]


@pytest.fixture(params=["whole steps", "stages"], scope="module")
def flow(request: pytest.FixtureRequest) -> Iterator[Flow]:
    """Small fields, whose steps are pulled back as a whole, or others that pass for large ones."""
    small = request.param == "whole steps"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled_functions, "_KNOWN", {})
        if not small:
            patch.setattr(compiled_functions, "SMALL", 0)
        yield density if small else plain


def gradients(field: nn.Module, y0: Any, times: list[float], **arguments: Any) -> list[Tensor]:
    start = [part.clone().requires_grad_() for part in y0]
    solution = solved(field, tuple(start), times, **arguments)
    total = sum((part[1:] * (k + 1)).sin().sum() for k, part in enumerate(solution.ys))
    assert isinstance(total, Tensor)
    return list(torch.autograd.grad(total, [start[0], *field.parameters()]))


def solved(field: Any, y0: Any, times: list[float], **arguments: Any) -> Solution:
    arguments = {"rtol": 1e-2, "atol": 1e-2, "method": "bosh3", **arguments}
    return solve(field, y0, torch.tensor(times, dtype=DOUBLE, device=y0[0].device), **arguments)


def start(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(BATCH, DIM, dtype=DOUBLE, generator=generator)
    return z, torch.zeros(BATCH, dtype=DOUBLE)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("store", ["steps", "stages"])
def test_gradients_are_those_of_frozen_grid_backpropagation(
    network: MLP, store: str, flow: Flow, device: str
) -> None:
    times = [0.0, 0.4, 1.0]
    # The network of the other tests stays where it is.
    field = flow(network if device == "cpu" else copy.deepcopy(network).to(device))
    y0 = tuple(part.to(device) for part in start())
    compiled = {"options": {"compile": True}, "gradient": Symplectic(store=store)}
    ours = solved(field, y0, times, **compiled)
    grid = [*ours.steps.t.tolist(), ours.steps.end]
    fixed = {"options": {"grid": grid}, "gradient": "backprop"}
    found = gradients(field, y0, times, **compiled)
    for mine, exact in zip(found, gradients(field, y0, times, **fixed), strict=True):
        torch.testing.assert_close(mine, exact, rtol=1e-12, atol=1e-12)


def test_other_times_tolerances_noise_and_weights_compile_nothing_anew(
    network: MLP, flow: Flow
) -> None:
    options = {"compile": True}
    gradients(flow(network), start(), [0.0, 1.0], options=options)
    before, seconds = Functions.made, compiled.compile_seconds()
    assert seconds > 0
    with torch.no_grad():
        for p in network.parameters():
            p.mul_(1.01)
    # A second flow of the same kind, too.
    network = copy.deepcopy(network)
    other = gradients(flow(network, 1), start(1), [0.2, 0.7], options=options, rtol=1e-4)
    assert Functions.made == before
    assert compiled.compile_seconds() == seconds
    eager = gradients(flow(network, 1), start(1), [0.2, 0.7], rtol=1e-4)
    for mine, theirs in zip(other, eager, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def test_evaluations_are_counted_as_in_an_eager_solve(network: MLP, flow: Flow) -> None:
    counts = []
    for options in ({}, {"compile": True}):
        solution = solved(flow(network), start(), [0.0, 1.0], options=options)
        solution.ys[0][-1].sum().backward()
        counts.append(solution.stats)
    assert counts[0] == counts[1]


def test_a_whole_step_is_pulled_back_in_the_memory_of_a_stage(network: MLP) -> None:
    peaks = []
    for limit in (0, compiled_functions.SMALL):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(compiled_functions, "_KNOWN", {})
            patch.setattr(compiled_functions, "SMALL", limit)
            for meter in (contextlib.nullcontext(), ProfilerMeter()):
                solution = solved(plain(network), start(), [0.0, 1.0], options={"compile": True})
                total = sum(part[-1].sum() for part in solution.ys)
                assert isinstance(total, Tensor)
                with meter:
                    torch.autograd.grad(total, list(network.parameters()))
        assert isinstance(meter, ProfilerMeter)
        peaks.append(meter.peak_bytes)
    assert peaks[1] < 1.2 * peaks[0]


def test_solves_without_gradients_are_not_compiled(network: MLP) -> None:
    before = Functions.made
    with torch.no_grad():
        solved(plain(network), start(), [0.0, 1.0], options={"compile": True}, method="dopri5")
    assert Functions.made == before


def test_large_fields_with_formulas_of_their_own_are_left_to_them(network: MLP) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled_functions, "_KNOWN", {})
        patch.setattr(compiled_functions, "SMALL", 0)
        with pytest.warns(UserWarning, match="DensityField is not compiled.*own formulas"):
            found = gradients(density(network), start(), [0.0, 1.0], options={"compile": True})
    exact = gradients(density(network), start(), [0.0, 1.0])
    for mine, theirs in zip(found, exact, strict=True):
        assert torch.equal(mine, theirs)


def test_a_plain_function_runs_without_compilation_and_says_so() -> None:
    w = torch.tensor(0.5, dtype=DOUBLE, requires_grad=True)
    y0 = torch.ones(3, dtype=DOUBLE)
    with pytest.warns(UserWarning, match=r"function is not compiled.*no torch\.nn\.Module"):
        ys = solved(lambda t, y: w * y, y0, [0.0, 1.0], options={"compile": True}).ys
    (found,) = torch.autograd.grad(ys[-1].sum(), w)
    (exact,) = torch.autograd.grad(solved(lambda t, y: w * y, y0, [0.0, 1.0]).ys[-1].sum(), w)
    assert abs(found - exact) < 1e-12


class Printing(nn.Module):
    """What depends on the numbers in a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(0.5, dtype=DOUBLE))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.w * y if float(y.detach().sum()) > -1e9 else y


def test_a_module_that_does_not_compile_runs_without_and_says_so() -> None:
    field = Printing()
    y0 = torch.ones(3, dtype=DOUBLE)
    with pytest.warns(UserWarning, match="Printing is not compiled, because it cannot be traced"):
        ys = solved(field, y0, [0.0, 1.0], options={"compile": True}).ys
    (found,) = torch.autograd.grad(ys[-1].sum(), field.w)
    (exact,) = torch.autograd.grad(solved(field, y0, [0.0, 1.0]).ys[-1].sum(), field.w)
    assert abs(found - exact) < 1e-12
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solved(field, y0, [0.0, 1.0], options={"compile": True})


class Reaching(nn.Module):
    """A module that reaches a tensor where no other one can be put in its place."""

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.reached = (w,)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.reached[0] * y


def test_tensors_that_cannot_be_inputs_are_reached_without_compilation() -> None:
    w = torch.tensor(0.5, dtype=DOUBLE, requires_grad=True)
    y0 = torch.ones(3, dtype=DOUBLE)
    with pytest.warns(UserWarning, match="Reaching is not compiled, because it cannot be traced"):
        ys = solved(Reaching(w), y0, [0.0, 1.0], options={"compile": True}, params=[w]).ys
    (found,) = torch.autograd.grad(ys[-1].sum(), w)
    (exact,) = torch.autograd.grad(solved(Reaching(w), y0, [0.0, 1.0], params=[w]).ys[-1].sum(), w)
    assert abs(found - exact) < 1e-12


@pytest.mark.parametrize("gradient", ["backprop", "aca", "checkpoint", "adjoint"])
def test_other_methods_refuse_compilation(network: MLP, gradient: str) -> None:
    with pytest.raises(IncompatibleError, match=f"compile=true with gradient method {gradient}"):
        solved(density(network), start(), [0.0, 1.0], options={"compile": True}, gradient=gradient)


def test_compile_is_true_or_false(network: MLP) -> None:
    with pytest.raises(InputError, match="compile='yes'; it must be true or false"):
        solved(density(network), start(), [0.0, 1.0], options={"compile": "yes"})


class Counting(nn.Module):
    """What counts its calls, and may let that count."""

    def __init__(self, weight: float = 0.0) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(0.5, dtype=DOUBLE))
        self.weight = weight
        self.calls = 0

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        self.calls += 1
        return self.w * y + self.weight * self.calls


def test_a_module_that_counts_its_calls_is_compiled_once() -> None:
    field, y0 = Counting(), torch.ones(3, dtype=DOUBLE)
    (exact,) = torch.autograd.grad(solved(field, y0, [0.0, 1.0]).ys[-1].sum(), field.w)
    made = []
    for _ in range(2):
        ys = solved(field, y0, [0.0, 1.0], options={"compile": True}).ys
        (found,) = torch.autograd.grad(ys[-1].sum(), field.w)
        assert abs(found - exact) < 1e-12
        made.append(Functions.made)
    assert made[0] == made[1]


def test_a_module_whose_calls_count_is_refused() -> None:
    field, y0 = Counting(weight=0.1), torch.ones(3, dtype=DOUBLE)
    ys = solved(field, y0, [0.0, 1.0], options={"compile": True}).ys
    with pytest.raises(FieldChangedError, match="counts its calls"):
        torch.autograd.grad(ys[-1].sum(), field.w)


class Keeping(Counting):
    """What keeps its last value."""

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        self.last = super().forward(t, y)
        return self.last


def test_a_module_that_keeps_its_value_runs_without_compilation() -> None:
    field, y0 = Keeping(), torch.ones(3, dtype=DOUBLE)
    with pytest.warns(UserWarning, match="Keeping is not compiled.*does it keep its last value"):
        ys = solved(field, y0, [0.0, 1.0], options={"compile": True}).ys
    (found,) = torch.autograd.grad(ys[-1].sum(), field.w)
    (exact,) = torch.autograd.grad(solved(field, y0, [0.0, 1.0]).ys[-1].sum(), field.w)
    assert abs(found - exact) < 1e-12


def test_random_numbers_and_in_place_changes_run_without_compilation() -> None:
    class Dropping(Counting):
        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return self.w * nn.functional.dropout(y, 0.4)

    class Spoiling(Counting):
        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return self.w * y.mul_(0.5)

    y0 = torch.ones(3, dtype=DOUBLE)
    for kind, words in ((Dropping, "draws random numbers"), (Spoiling, "its state in place")):
        field, found = kind(), []
        for compiles in (True, False):
            torch.manual_seed(0)
            with pytest.warns(match=words) if compiles else contextlib.nullcontext():
                ys = solved(field, y0, [0.0, 1.0], options={"compile": compiles}).ys
            found += torch.autograd.grad(ys[-1].sum(), field.w)
        assert torch.equal(*found)
        assert torch.equal(y0, torch.ones_like(y0))


class Density(nn.Module):
    """A continuous normalizing flow whose trace autograd takes inside the field."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(DIM, 5), nn.Tanh(), nn.Linear(5, DIM)).double()
        self.noise: Tensor | None = None
        self.scale = 1.0

    def forward(self, t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        z = state[0]
        with torch.enable_grad():
            z.requires_grad_(True)
            f = self.net(z) * torch.cos(self.scale * t)
            (moved,) = torch.autograd.grad(f, z, self.noise, create_graph=True)
        assert self.noise is not None
        return f, -(moved * self.noise).sum(-1)


class Hamiltonian(nn.Module):
    """dy/dt = J grad H(y)."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 1, bias=False)).double()

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        with torch.enable_grad():
            y = y.requires_grad_(True)
            (slope,) = torch.autograd.grad(self.net(y).sum(), y, create_graph=True)
        return torch.cat([slope[:, 1:], -slope[:, :1]], -1) * torch.cos(t)


class Convolutions(nn.Module):
    """A block of a convolutional network."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(2, 2, 3, padding=1).double() for _ in range(2))
        self.norm = nn.GroupNorm(1, 2).double()

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        y = nn.functional.softplus(self.norm(self.first(y)) + t)
        return torch.tanh(self.second(y))


class Attention(nn.Module):
    """Attention of two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True).double()

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(self.attention(y, y, y, need_weights=False)[0] + t * y)


class Bare(nn.Module):
    """A field of a tensor as one of a tuple."""

    def __init__(self, field: nn.Module) -> None:
        super().__init__()
        self.field = field

    def forward(self, t: Tensor, state: tuple[Tensor]) -> tuple[Tensor]:
        return (self.field(t, state[0]),)


@pytest.fixture
def by_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small fields pass for large ones, which compile sooner."""
    monkeypatch.setattr(compiled_functions, "SMALL", 0)


def made(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return kind()


def compiled_and_exact(field: nn.Module, y0: Any) -> None:
    """Holds the compiled gradients to frozen-grid backpropagation."""
    times = [0.0, 0.4, 1.0]
    arguments = {"method": "heun", "gradient": Symplectic(store="stages")}
    arguments["options"] = {"compile": True}
    steps = solved(field, y0, times, **arguments).steps
    fixed = {"options": {"grid": steps.grid}, "gradient": "backprop", "method": "heun"}
    found = gradients(field, y0, times, **arguments)
    for mine, exact in zip(found, gradients(field, y0, times, **fixed), strict=True):
        torch.testing.assert_close(mine, exact, rtol=1e-12, atol=1e-12)


def replace_noise(field: Density, batch: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    field.noise = torch.randn(batch, DIM, dtype=DOUBLE, generator=generator)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (Hamiltonian, (3, 2)),
        pytest.param(Convolutions, (2, 2, 4, 4), marks=pytest.mark.heavy),
        pytest.param(Attention, (2, 3, 4), marks=pytest.mark.heavy),
    ],
)
def test_modules_of_every_kind_are_compiled(
    kind: type[nn.Module], shape: tuple[int, ...], by_stages: None
) -> None:
    generator = torch.Generator().manual_seed(5)
    y0 = (torch.randn(shape, dtype=DOUBLE, generator=generator),)
    before = Functions.made
    compiled_and_exact(Bare(made(kind)), y0)
    assert Functions.made > before


def test_the_size_of_a_field_with_autograd_inside_a_module_is_counted() -> None:
    """Three rows through 2-5-1 and back to the state: 3 (10 + 5) 2 products."""
    field, y = made(Hamiltonian), torch.ones(3, 2, dtype=DOUBLE)

    def evaluate() -> object:
        return field(torch.zeros(()), y.detach().requires_grad_())

    layout = StateLayout.of(y)
    assert compiled_functions._multiplications(Hamiltonian, layout, "a key", evaluate) == 90


@pytest.mark.heavy
def test_a_bare_state_with_autograd_inside_is_compiled(by_stages: None) -> None:
    field, y0 = made(Hamiltonian), torch.randn(3, 2, dtype=DOUBLE)
    before, found = Functions.made, []
    for options, gradient in (({"compile": True}, "symplectic"), ({}, "backprop")):
        fixed = {**options, "num_steps": 3}
        ys = odeint(
            field, y0, torch.tensor([0.0, 1.0]), method="heun", options=fixed, gradient=gradient
        )
        found.append(torch.autograd.grad(ys[-1].sum(), list(field.parameters())))
    assert Functions.made > before
    for mine, exact in zip(*found, strict=True):
        torch.testing.assert_close(mine, exact, rtol=1e-12, atol=1e-12)


@pytest.mark.heavy
def test_noise_batches_and_attributes_of_a_flow_with_autograd_inside(by_stages: None) -> None:
    field = made(Density)
    assert isinstance(field, Density)
    counts = []
    for batch, scale in ((7, 1.0), (7, 1.0), (5, 1.0), (9, 1.0), (9, 2.0)):
        z, logp = start(batch)
        replace_noise(field, batch, len(counts))
        field.scale = scale
        before = Functions.made
        compiled_and_exact(field, (z[:batch], logp[:batch]))
        counts.append(Functions.made - before)
    first, again, second, third, other = counts
    # New noise compiles nothing, the second batch size once more and for all others; a new value
    # of an attribute is another function.
    assert (first > 0, again, second > 0, third, other > 0) == (True, 0, True, 0, True)


class Outer(nn.Module):
    """A model that solves, to be compiled as a whole."""

    def __init__(self, gradient: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()
        self.gradient = gradient

    def forward(self, y0: Tensor) -> Tensor:
        times = torch.tensor([0.0, 0.6, 1.0], dtype=DOUBLE)
        return odeint(
            lambda t, y: self.net(y) * torch.cos(3 * t), self.net(y0), times,
            rtol=1e-6, atol=1e-6, gradient=self.gradient,
        )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("gradient", ["symplectic", "adjoint", "backprop"])
def test_a_compiled_model_around_a_solve(gradient: str) -> None:
    model = Outer(gradient)
    compiled_model = torch.compile(model)
    params = list(model.parameters())
    for seed in range(4):
        y0, _ = start(seed)
        y0 = torch.cat([y0, y0[:, :1]], 1)
        ours, exact = compiled_model(y0), model(y0)
        torch.testing.assert_close(ours, exact, rtol=1e-10, atol=1e-10)
        found = torch.autograd.grad(ours.sin().sum(), params)
        for mine, other in zip(found, torch.autograd.grad(exact.sin().sum(), params), strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-9)
