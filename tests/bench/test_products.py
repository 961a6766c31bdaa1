"""The matrix products of an iteration: counted by formula, and one by one."""

from __future__ import annotations

from typing import Any

import pytest
from torch.utils._python_dispatch import TorchDispatchMode

from symadj.bench.candidate import TorchCandidate
from symadj.bench.measure import measure
from symadj.bench.problem import BenchProblem, Reference
from symadj.bench.products import ProductsCandidate, widths_of
from symadj.config.bench import BenchSettings
from symadj.errors import IncompatibleError
from tests.bench.small import small_cases


class Multiplications(TorchDispatchMode):
    """Counts the scalar multiplications of the matrix products in its block."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__.rstrip("_")
        if name in ("mm", "addmm"):
            a, b = args[-2:]
            self.total += a.shape[0] * a.shape[1] * b.shape[1]
        return func(*args, **(kwargs or {}))


def candidate(*overrides: str) -> ProductsCandidate:
    (*_, case) = small_cases("grads=[]", "products=true", *overrides)
    return ProductsCandidate(BenchProblem.of(case.config))


@pytest.mark.parametrize(
    "overrides",
    [
        ("solver=midpoint", "solver.num_steps=3"),
        ("solver=dopri5", "model.hidden=[7,5]", "data.dim=3"),
        ("solver=dop853", "model.components=2", "model.activation=softplus"),
    ],
)
def test_they_are_those_of_an_iteration_of_symplectic(overrides: tuple[str, ...]) -> None:
    alone = candidate(*overrides)
    (case,) = small_cases("grads=[symplectic]", *overrides)
    iteration = TorchCandidate(BenchProblem.of(case.config))
    with Multiplications() as counted:
        iteration.evaluate()
    assert alone.products.multiplications() == counted.total
    with Multiplications() as made:
        alone.evaluate()
    assert made.total == counted.total


def test_a_row_has_seconds_and_steps_and_no_gradient() -> None:
    (case,) = small_cases("grads=[]", "products=true", "solver=midpoint", "solver.num_steps=3")
    reference = Reference.of(BenchProblem.of(case.config))
    (record,) = measure([case], BenchSettings(repeats=2, isolate=False), reference)
    assert record.status == "ok"
    assert record.seconds["iteration"]["n"] == 2
    assert record.steps == {"accepted": 3, "rejected": 0}
    assert record.memory is None
    assert set(record.metrics) == {"loss"}


def test_widths_go_from_the_inputs_to_the_outputs() -> None:
    (case,) = small_cases("model.hidden=[7,5]")
    model = BenchProblem.of(case.config).parts.model
    assert widths_of(model) == [2, 7, 5, 2]


@pytest.mark.parametrize("override", ["model.trace=exact", "model.residual=true"])
def test_models_with_other_products_are_refused(override: str) -> None:
    with pytest.raises(IncompatibleError, match="products=true"):
        candidate(override)
