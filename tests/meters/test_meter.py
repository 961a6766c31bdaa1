from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from symadj import odeint
from symadj.errors import IncompatibleError, InputError, MemoryBudgetExceeded, SymadjError
from symadj.meters.meter import (
    METERS,
    CudaMeter,
    DispatchMeter,
    Meter,
    ProfilerMeter,
    make_meter,
)
from tests.devices import DEVICES, needs_cuda
from tests.grad.variants import GENERAL


@pytest.fixture(autouse=True, scope="module")
def _quick_collections() -> Iterator[None]:
    """Leaves out what other tests have imported, so that a collection takes no second."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(params=["dispatch", "profiler"])
def meter(request: pytest.FixtureRequest) -> Iterator[Meter]:
    meter = make_meter(request.param)
    yield meter
    # A meter that was left is left for good: the next one can be entered.
    with make_meter(request.param):
        pass


class Gated(nn.Module):
    """A layer through which cotangents come back on three ways and meet."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.tanh(self.linear(x)) * torch.sigmoid(x)


def mlp(width: int, depth: int) -> nn.Module:
    layers = [[nn.Linear(width, width), nn.Tanh()] for _ in range(depth)]
    return nn.Sequential(*[layer for pair in layers for layer in pair])


def loss_step(net: nn.Module, x: Tensor) -> None:
    net(x).square().mean().backward()


def energy_step(net: nn.Module, x: Tensor) -> None:
    y = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(net(y).sum(), y, create_graph=True)
    slope.square().sum().backward()


@pytest.mark.parametrize("step", [loss_step, energy_step])
@pytest.mark.parametrize(
    ("net", "width", "batch"),
    [
        (mlp(8, 2), 8, 16),
        (mlp(64, 4), 64, 100),
        (mlp(100, 3), 100, 10),
        (nn.Sequential(*[Gated(64) for _ in range(4)]), 64, 100),
        (nn.Sequential(nn.Linear(64, 64), nn.SiLU(), nn.LayerNorm(64), nn.Mish()), 64, 100),
    ],
    ids=["tiny", "mlp", "weights", "gated", "kernels"],
)
def test_the_dispatch_meter_agrees_with_the_profiler(
    net: nn.Module, width: int, batch: int, step: Callable[[nn.Module, Tensor], None]
) -> None:
    x = torch.randn(batch, width)
    peaks, lives = [], []
    for meter in (DispatchMeter(), ProfilerMeter()):
        net.zero_grad()
        with meter:
            step(net, x)
        peaks.append(meter.peak_bytes)
        lives.append(meter.live_bytes())
    assert peaks[0] == pytest.approx(peaks[1], rel=1e-3)
    assert lives[0] == lives[1] == sum(p.numel() * 4 for p in net.parameters())


def test_the_peak_is_what_was_live_at_once_above_what_was_live_before(meter: Meter) -> None:
    before = torch.ones(10_000)
    with meter:
        one = before + before
        two = before + before
        del one
        three = before + before
    assert (meter.peak_bytes, meter.live_bytes()) == (80_000, 80_000)
    assert meter.reserved_bytes is None
    del two, three


def test_every_entry_starts_anew(meter: Meter) -> None:
    with meter:
        kept = torch.zeros(10_000)
    with meter:
        torch.zeros(250)
    assert (meter.peak_bytes, meter.live_bytes()) == (1000, 0)
    with meter:
        pass
    assert (meter.peak_bytes, meter.live_bytes()) == (0, 0)
    assert kept.sum() == 0


def test_figures_do_not_grow_over_entries(meter: Meter) -> None:
    net, x = mlp(16, 2), torch.randn(30, 16)
    peaks = set()
    for _ in range(4):
        net.zero_grad()
        with meter:
            loss_step(net, x)
        peaks.add(meter.peak_bytes)
    assert len(peaks) == 1


def fail_after_allocating() -> float:
    kept = torch.zeros(250)
    return len(kept) / 0


def test_the_figures_of_a_block_that_raised_are_its_own(meter: Meter) -> None:
    with pytest.raises(ZeroDivisionError), meter:
        fail_after_allocating()
    assert meter.peak_bytes == 1000


def test_a_meter_inside_its_own_block_is_refused(meter: Meter) -> None:
    with meter:
        with pytest.raises(SymadjError, match="running already"), meter:
            pytest.fail("entered twice")
        kept = torch.zeros(250)
    # The refusal left the outer block as it was.
    assert meter.peak_bytes == 1000
    del kept


def test_two_dispatch_meters_read_their_own_blocks() -> None:
    with DispatchMeter() as outer:
        kept = torch.zeros(250)
        with DispatchMeter() as inner:
            torch.zeros(500)
    assert (inner.peak_bytes, outer.peak_bytes) == (2000, 3000)
    del kept


def test_the_profiler_meter_leaves_a_running_profiler_alone() -> None:
    with (
        torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile,
        pytest.raises(SymadjError, match="profiler is running already"),
        ProfilerMeter(),
    ):
        pytest.fail("entered")
    assert profile is not None
    with ProfilerMeter() as meter:
        torch.zeros(250)
    assert meter.peak_bytes == 1000


def test_the_dispatch_meter_reads_inside_its_block_and_follows_it_after() -> None:
    with DispatchMeter() as meter:
        kept = torch.zeros(250)
        assert (meter.peak_bytes, meter.live_bytes()) == (1000, 1000)
    del kept
    assert (meter.peak_bytes, meter.live_bytes()) == (1000, 0)


def test_the_profiler_meter_says_that_it_reads_at_the_end() -> None:
    with ProfilerMeter() as meter, pytest.raises(SymadjError, match="before its block ends"):
        meter.live_bytes()


def test_garbage_from_before_makes_no_difference(meter: Meter) -> None:
    gc.disable()
    try:
        cycle: list[object] = [torch.zeros(10_000)]
        cycle.append(cycle)
        del cycle
        with meter:
            gc.collect()
    finally:
        gc.enable()
    assert (meter.peak_bytes, meter.live_bytes()) == (0, 0)


# Budget


def test_a_step_beyond_its_budget_is_out_of_memory_and_leaves_the_next_one_unhurt(
    meter: Meter,
) -> None:
    net, x = mlp(16, 3), torch.randn(100, 16)
    with meter:
        loss_step(net, x)
    needed = meter.peak_bytes
    net.zero_grad()
    meter.budget = needed - 1
    with pytest.raises(MemoryBudgetExceeded, match=rf"{needed} bytes.*{needed - 1} bytes"), meter:
        loss_step(net, x)
    net.zero_grad()
    meter.budget = needed
    with meter:
        loss_step(net, x)
    assert meter.peak_bytes == needed


def test_the_dispatch_meter_stops_at_once() -> None:
    done: list[Tensor] = []
    meter = DispatchMeter(budget=1000)

    def block() -> None:
        with meter:
            done.append(torch.zeros(250))
            done.append(torch.zeros(1))
            pytest.fail("went on")

    with pytest.raises(MemoryBudgetExceeded) as raised:
        block()
    assert "aten.zeros" in str(raised.value)
    assert meter.peak_bytes == 1004
    done.clear()
    del raised
    gc.collect()
    assert meter.live_bytes() == 0


def test_an_error_of_the_block_is_not_replaced_by_the_budget_s() -> None:
    with pytest.raises(ZeroDivisionError), ProfilerMeter(budget=1):
        fail_after_allocating()


# Compiled functions


@pytest.mark.filterwarnings("ignore:.torch.jit.script.:DeprecationWarning")
def test_a_compiled_function_runs_uncompiled_under_the_dispatch_meter() -> None:
    calls = []

    def backend(module: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        calls.append(module)
        return module.forward

    compiled = torch.compile(lambda x: x.sin() * 2, backend=backend)
    x = torch.ones(250)
    compiled(x)
    assert len(calls) == 1
    with DispatchMeter() as meter:
        compiled(torch.ones(3, 250))
    assert len(calls) == 1
    assert meter.peak_bytes == 3 * 3000
    compiled(torch.ones(2, 2, 2))
    assert len(calls) == 2


# Choice


def test_auto_is_the_device_s_own_meter() -> None:
    assert isinstance(make_meter("auto", "cpu"), DispatchMeter)
    assert make_meter("auto", torch.device("cpu"), 10).budget == 10
    assert isinstance(make_meter("profiler"), ProfilerMeter)
    assert [make_meter(name).name for name in ("dispatch", "profiler")] == ["dispatch", "profiler"]


def test_an_unknown_meter_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"Did you mean 'dispatch'\?") as raised:
        make_meter("dispach")
    assert all(name in str(raised.value) for name in METERS)


def test_a_meter_of_another_device_is_refused() -> None:
    with pytest.raises(IncompatibleError, match="'cuda' does not read the device cpu"):
        make_meter("cuda", "cpu")
    with pytest.raises(IncompatibleError, match="'dispatch' does not read the device cuda"):
        make_meter("dispatch", "cuda")
    with pytest.raises(InputError, match="no meter reads the device meta"):
        make_meter("auto", "meta")


@pytest.mark.parametrize("budget", [0, -1])
def test_a_budget_of_nothing_is_refused(budget: int) -> None:
    with pytest.raises(InputError, match="at least 1"):
        make_meter("auto", "cpu", budget)


# CUDA: the allocator hands out multiples of 512 bytes.


@needs_cuda
def test_the_cuda_meter_reads_the_allocator() -> None:
    before = torch.ones(1024, device="cuda")
    meter = make_meter("auto", "cuda")
    assert isinstance(meter, CudaMeter)
    with meter:
        one = before + before
        del one
        kept = torch.zeros(2048, device="cuda")
    assert (meter.peak_bytes, meter.live_bytes()) == (8192, 8192)
    assert meter.reserved_bytes is not None
    assert meter.reserved_bytes >= 0
    del kept
    assert meter.live_bytes() == 0
    with meter:
        pass
    assert (meter.peak_bytes, meter.live_bytes()) == (0, 0)


@needs_cuda
def test_the_cuda_meter_reserves_anew_at_each_entry() -> None:
    meter = make_meter("cuda", "cuda")
    reserved = []
    for _ in range(2):
        with meter:
            torch.zeros(2**24, device="cuda")
        assert meter.peak_bytes == 2**26
        reserved.append(meter.reserved_bytes)
    assert reserved[0] == reserved[1] >= 2**26


@needs_cuda
def test_the_cuda_meter_checks_its_budget_at_the_end() -> None:
    with pytest.raises(MemoryBudgetExceeded, match="8192 bytes"), make_meter("cuda", "cuda", 8191):
        torch.zeros(2048, device="cuda")


@needs_cuda
def test_a_second_cuda_meter_on_a_device_is_refused() -> None:
    with (
        make_meter("cuda", "cuda:0"),
        pytest.raises(SymadjError, match="running already"),
        make_meter("cuda", "cuda:0"),
    ):
        pytest.fail("entered")


@needs_cuda
def test_the_profiler_meter_reads_a_cuda_device() -> None:
    net, x = mlp(64, 3).cuda(), torch.randn(100, 64, device="cuda")
    loss_step(net, x)  # workspaces of the libraries are made once
    peaks = []
    for name in ("cuda", "profiler"):
        net.zero_grad()
        with make_meter(name, "cuda") as meter:
            loss_step(net, x)
        peaks.append(meter.peak_bytes)
    assert peaks[1] == pytest.approx(peaks[0], rel=0.02)


def peak_by_hand(step: Callable[[], object], device: str) -> int:
    """The peak of a step by torch's own account: the allocator's counters, or the profiler's."""
    gc.collect()
    if device == "cpu":
        with ProfilerMeter() as profiler:
            step()
        return profiler.peak_bytes
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def solve_step(gradient: str, device: str) -> Callable[[], None]:
    """A forward and backward pass of a flow without formulas of its own, weights included."""
    torch.manual_seed(0)
    net = mlp(64, 3).to(device)
    y0 = torch.randn(256, 64).to(device).requires_grad_()
    t = torch.tensor([0.0, 1.0], device=device)

    def step() -> None:
        net.zero_grad()
        y0.grad = None
        field = lambda t, y: net(y)  # noqa: E731
        steps = {"num_steps": 8}
        ys = odeint(field, y0, t, method="rk4", options=steps, gradient=gradient,
                    params=tuple(net.parameters()))  # fmt: skip
        ys[-1].square().sum().backward()

    step()  # libraries make their workspaces once
    net.zero_grad()
    y0.grad = None
    return step


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("gradient", GENERAL)
def test_every_method_s_peak_is_that_of_torch_s_own_counters(gradient: str, device: str) -> None:
    step = solve_step(gradient, device)
    with make_meter("auto", device) as meter:
        step()
    metered = meter.peak_bytes
    again = solve_step(gradient, device)
    assert metered == pytest.approx(peak_by_hand(again, device), rel=0.01)
    assert metered > 0


@pytest.mark.parametrize("device", DEVICES)
def test_methods_that_keep_less_have_lower_peaks(device: str) -> None:
    peaks = {}
    for gradient in GENERAL:
        step = solve_step(gradient, device)
        with make_meter("auto", device) as meter:
            step()
        peaks[gradient] = meter.peak_bytes
    assert peaks["symplectic"] < peaks["aca"] < 0.5 * peaks["checkpoint"]
    assert peaks["adjoint"] < 0.5 * peaks["checkpoint"]
    assert peaks["checkpoint"] <= 1.1 * peaks["backprop"]
