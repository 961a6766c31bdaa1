from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from symadj.config.compose import compose, run_settings
from symadj.config.schema import MeasureSettings
from symadj.errors import IncompatibleError, InputError, MemoryBudgetExceeded
from symadj.meters.meter import DispatchMeter, Meter, make_meter
from symadj.meters.step import Stopwatch, measure_memory
from symadj.ode.stats import SolveStats
from symadj.records.record import quartiles
from symadj.records.status import is_out_of_memory


@pytest.fixture(autouse=True, scope="module")
def _quick_collections() -> Iterator[None]:
    """Leaves out what other tests have imported, so that a collection takes no second."""
    gc.freeze()
    yield
    gc.unfreeze()


# A model whose memory can be counted by hand: y = exp(x w), all of 250 float32.


class Step:
    def __init__(self, optimizer_class: Any = torch.optim.SGD) -> None:
        self.weight = nn.Parameter(torch.full((250,), 0.5))
        self.x = torch.ones(250)
        self.optimizer = optimizer_class([self.weight], foreach=False)
        self.order: list[str] = []

    def forward(self) -> Tensor:
        self.order.append("forward")
        return (self.x * self.weight).exp().sum()

    def optimizer_step(self) -> None:
        assert self.weight.grad is not None
        self.order.append("optimizer")
        self.optimizer.step()

    def stats(self) -> SolveStats:
        assert self.weight.grad is not None
        self.order.append("stats")
        return SolveStats(output_bytes=1000, checkpoint_bytes=200)


def measured(step: Step, meter: Meter | None = None) -> dict[str, Any]:
    return measure_memory(
        step.forward, step.optimizer_step, meter or DispatchMeter(), lambda: step.stats()
    )


def test_a_step_is_measured_by_its_parts() -> None:
    step = Step()
    # exp keeps its result, of which the product's cotangent is made; the loss and its cotangent.
    peak = 2 * 1000 + 8
    assert measured(step) == {
        "meter": "dispatch",
        "peak_bytes": peak,
        "outputs_bytes": 1000,
        "checkpoints_bytes": 200,
        "graph_bytes": peak - 1200,
        "optimizer_bytes": 0,
        "reserved_bytes": None,
    }
    assert step.order == ["forward", "stats", "optimizer"]


def test_the_step_is_a_true_step_of_training() -> None:
    metered, plain = Step(torch.optim.Adam), Step(torch.optim.Adam)
    for _ in range(3):
        for step in (metered, plain):
            step.optimizer.zero_grad()
        measured(metered)
        plain.forward().backward()
        plain.optimizer_step()
    assert torch.equal(metered.weight, plain.weight)
    assert not torch.equal(metered.weight, torch.full((250,), 0.5))


def test_the_optimizer_s_state_is_its_own_part() -> None:
    step = Step(torch.optim.Adam)
    first = measured(step)
    step.optimizer.zero_grad()
    second = measured(step)
    assert first["peak_bytes"] == second["peak_bytes"] == 2008
    assert first["optimizer_bytes"] - second["optimizer_bytes"] >= 2 * 1000
    assert second["optimizer_bytes"] >= 1000


def test_without_an_optimizer_there_is_no_figure_for_it() -> None:
    step = Step()
    memory = measure_memory(step.forward, None, DispatchMeter(), step.stats)
    assert memory["optimizer_bytes"] is None
    assert step.order == ["forward", "stats"]


def test_the_rest_of_the_peak_is_never_negative() -> None:
    step = Step()
    memory = measure_memory(
        step.forward, None, DispatchMeter(), lambda: SolveStats(output_bytes=10**9)
    )
    assert memory["graph_bytes"] == 0


def test_a_step_beyond_the_budget_takes_no_optimizer_step() -> None:
    step = Step()
    with pytest.raises(MemoryBudgetExceeded) as raised:
        measured(step, DispatchMeter(budget=2000))
    assert is_out_of_memory(raised.value)
    assert step.order == ["forward"]
    assert torch.equal(step.weight, torch.full((250,), 0.5))


def test_the_profiler_s_figures_have_its_name() -> None:
    memory = measured(Step(), make_meter("profiler"))
    assert (memory["meter"], memory["peak_bytes"]) == ("profiler", 2008)


# Out of memory


def test_the_allocator_s_refusal_is_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(raised.value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (MemoryBudgetExceeded("too much"), True),
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("DefaultCPUAllocator: can't allocate memory"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_out_of_memory_is_told_from_other_errors(error: BaseException, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


# Time


def test_laps_of_a_stopwatch_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks: Iterator[float] = iter([10.0, 11.5, 11.75])
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    watch = Stopwatch(torch.device("cpu"))
    assert (watch.lap(), watch.lap()) == (1.5, 0.25)


def test_a_stopwatch_waits_for_the_gpu_at_each_lap(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    watch = Stopwatch(torch.device("cuda", 1))
    watch.lap()
    assert waited == [torch.device("cuda", 1)] * 2


def test_quartiles_are_exported_here_too() -> None:
    assert quartiles([4.0, 1.0, 3.0, 2.0, 5.0]) == {"median": 3.0, "q1": 2.0, "q3": 4.0, "n": 5}


# Settings


def test_metered_iterations_follow_the_warm_up_and_are_not_timed() -> None:
    settings = MeasureSettings(every=5, iterations=3, warmup=2)
    settings.check()
    iterations = range(1, 31)
    assert [i for i in iterations if settings.meters(i)] == [3, 8, 13]
    assert [i for i in iterations if not settings.times(i)] == [1, 2, 3, 8, 13]


def test_iterations_of_the_warm_up_are_never_metered() -> None:
    settings = MeasureSettings(every=1, iterations=2, warmup=3)
    assert [i for i in range(1, 31) if settings.meters(i)] == [4, 5]


def test_no_meter_times_every_iteration_after_the_warm_up() -> None:
    settings = MeasureSettings(memory="none", every=1)
    assert not any(settings.meters(i) for i in range(1, 31))
    assert [i for i in range(1, 31) if not settings.times(i)] == [1]
    assert settings.meter(torch.device("cpu")) is None


def test_the_settings_make_their_meter_with_its_budget() -> None:
    settings = MeasureSettings(memory="profiler", memory_budget="64MiB")
    settings.check()
    meter = settings.meter(torch.device("cpu"))
    assert meter is not None
    assert (meter.name, meter.budget) == ("profiler", 64 * 1024**2)
    with pytest.raises(IncompatibleError):
        MeasureSettings(memory="cuda").meter(torch.device("cpu"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"memory": "dispach"}, r"measure\.memory='dispach'.*Did you mean 'dispatch'\?"),
        ({"every": 0}, r"measure\.every=0; .* whole number from 1 to"),
        ({"iterations": -1}, r"measure\.iterations=-1"),
        ({"warmup": -1}, r"measure\.warmup=-1"),
        ({"memory_budget": "64Mib/s"}, r"measure\.memory_budget='64Mib/s'; .* size such as 64MiB"),
        ({"memory_budget": "64MB2"}, r"measure\.memory_budget='64MB2'"),
        ({"memory": "none", "memory_budget": "1MB"}, r"nothing keeps the budget"),
        ({"memory_budget": "0"}, r"measure\.memory_budget='0'; .* at least 8"),
    ],
)
def test_settings_out_of_range_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MeasureSettings(**values).check()


def test_the_settings_are_a_schema_for_configurations() -> None:
    config = compose("train")
    settings = run_settings({**config, "measure": {"memory_budget": 65536, "every": 7}}).measure
    meter = settings.meter(torch.device("cpu"))
    assert meter is not None
    assert (settings.every, meter.budget) == (7, 65536)
    with pytest.raises(InputError, match=r"measure\.every='often'"):
        run_settings({**config, "measure": {"every": "often"}})
