from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from symadj import GRADIENTS, InputError, Integrator, NonFiniteError, SolverSettings
from symadj.errors import NonFiniteLoss
from symadj.grad import Adjoint
from symadj.guide import Sampler, Source, Step, Weights
from symadj.guide.descent import LBFGS, Adam
from tests.guide.fields import STEPS, Swirl, heun3, loss, noise, sampler

EXACT = sorted(
    name for name, kind in GRADIENTS.items() if kind.exact and name not in ("auto", "reversible")
)


def close(ours: Tensor, theirs: Tensor) -> bool:
    return bool((ours - theirs).norm() <= 1e-10 * theirs.norm())


def written_out(field: nn.Module, x: Tensor, t: float, steps: int) -> Tensor:
    x = x.detach().requires_grad_()
    [gradient] = torch.autograd.grad(loss(heun3(field, x, t, 1.0, steps)).sum(), [x])
    return gradient


@pytest.mark.parametrize("grad", EXACT)
@pytest.mark.parametrize(("t", "steps"), [(0.0, None), (0.5, 3), (2 / 3, 1)])
def test_the_gradient_is_that_of_frozen_steps(grad: str, t: float, steps: int | None) -> None:
    ours = sampler(grad)
    losses, gradient = ours.value_and_gradient(loss, noise(), t, steps)
    frozen = written_out(Swirl(), noise(), t, steps or STEPS)
    assert close(gradient, frozen)
    assert close(losses, loss(heun3(Swirl(), noise(), t, 1.0, steps or STEPS)))


@pytest.mark.parametrize("method", ["alf", "reversible_heun", "reversible"])
def test_the_reversible_method_gives_the_gradient_of_backprop(method: str) -> None:
    found = [
        sampler(grad, method).value_and_gradient(loss, noise())[1]
        for grad in ("reversible", "backprop")
    ]
    assert close(*found)


@pytest.mark.parametrize("grad", EXACT)
def test_adaptive_steps_have_the_gradient_of_their_frozen_grid(grad: str) -> None:
    solver = SolverSettings("bosh3", 1e-3, 1e-3)
    integrator = Integrator(solver, grad)
    _, gradient = Sampler(Swirl(), integrator).value_and_gradient(loss, noise())
    t = torch.tensor([0.0, 1.0], dtype=torch.float64)
    grid = integrator.solve(Swirl(), noise(), t).steps.grid
    again = Sampler(Swirl(), Integrator(SolverSettings("bosh3", grid=grid), "backprop"))
    assert len(grid) > 3
    assert close(gradient, again.value_and_gradient(loss, noise())[1])


@pytest.mark.parametrize("grad", EXACT)
@pytest.mark.parametrize("last", [None, 2, STEPS])
def test_the_weights_get_the_gradient_of_the_last_steps(grad: str, last: int | None) -> None:
    field, reference = Swirl(), Swirl()
    Weights(last=last).backward(sampler(grad, field=field), loss, noise())
    taken = last or STEPS
    t = (STEPS - taken) / STEPS
    with torch.no_grad():
        x = heun3(reference, noise(), 0.0, t, STEPS - taken) if taken < STEPS else noise()
    loss(heun3(reference, x, t, 1.0, taken)).mean().backward()
    for ours, theirs in zip(field.parameters(), reference.parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert close(ours.grad, theirs.grad)


@pytest.mark.parametrize("grad", EXACT)
@pytest.mark.parametrize("n", [0, 2, None])
def test_guided_sampling_is_what_its_formula_says(grad: str, n: int | None) -> None:
    guided = Step(strength=0.05, n=n, normalise=False)(sampler(grad), loss, noise())
    field, x, h = Swirl(), noise(), 1 / STEPS
    for k in range(STEPS):
        t = k / STEPS
        if n == 0:
            leaf = x.detach().requires_grad_()
            estimate = leaf + (1 - t) * field(x.new_tensor(t), leaf)
            [gradient] = torch.autograd.grad(loss(estimate).sum(), [leaf])
        else:
            gradient = written_out(field, x, t, n or STEPS - k)
        with torch.no_grad():
            x = heun3(field, x, t, t + h, 1) - h * 0.05 * gradient
    assert close(guided.x1, x)
    assert close(guided.losses, loss(x))
    assert torch.equal(guided.path[-1], guided.x1)
    assert torch.equal(guided.path[0], noise())


def test_a_normalised_pull_has_the_strength_as_its_length() -> None:
    still = Sampler(lambda t, x: 0 * x, Integrator(SolverSettings("euler", num_steps=4)))
    x1 = Step(strength=0.3, n=0)(still, lambda x: 50 * x[:, 0], noise()).x1
    torch.testing.assert_close(noise() - x1, torch.tensor([[0.3, 0.0]] * 5, dtype=torch.float64))


@pytest.mark.parametrize(
    ("way", "near"), [(Source(evaluations=25), 1e-6), (Source("adam", 60, 0.1), 0.3)]
)
def test_the_noise_of_a_point_is_found(way: Source, near: float) -> None:
    """The points are samples, so there is noise that leads to them."""
    goal = sampler().sample(noise(10)[5:])

    def distance(x: Tensor) -> Tensor:
        return (x - goal).square().sum(1)

    seen: list[float] = []
    guided = way(sampler(), distance, noise(), lambda _, losses: seen.append(float(losses.mean())))
    assert len(seen) == way.uses(sampler())
    assert guided.losses.mean() < near * seen[0]
    assert seen[0] > 0.1
    assert torch.equal(guided.x1, sampler().sample(guided.x0))
    assert torch.equal(guided.losses, distance(guided.x1))


@pytest.mark.parametrize("way", [Source(evaluations=9), Source("adam", 5, 0.1), Step(0.5, n=2)])
def test_a_sample_is_guided_as_it_would_be_alone(way: Source | Step) -> None:
    together = way(sampler(), loss, noise()).x1
    alone = [way(sampler(), loss, row[None]).x1 for row in noise()]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-9, atol=1e-9)


def test_the_prior_keeps_the_norm_of_the_noise() -> None:
    """Without another term the norm goes to its mode, sqrt(d - 1)."""
    x0 = noise(4, 6)
    still = Sampler(lambda t, x: 0 * x, Integrator(SolverSettings("euler", num_steps=1)))
    guided = Source(evaluations=30, prior=1.0)(still, lambda x: 0 * x[:, 0], x0)
    torch.testing.assert_close(guided.x0.norm(dim=1), torch.full((4,), 5.0).double().sqrt())


@pytest.mark.parametrize("last", [None, 1])
def test_training_through_the_sampler_lowers_the_loss(last: int | None) -> None:
    field = Swirl()
    before = loss(sampler(field=field).sample(noise())).mean()
    way = Weights(iterations=20, lr=0.03, last=last)
    guided = way(sampler(field=field), loss, noise())
    assert guided.losses.mean() < 0.5 * before
    assert all(p.grad is None and p.requires_grad for p in field.parameters())
    assert torch.equal(guided.x0, noise())


def test_everything_is_the_same_again() -> None:
    for way in (Source(evaluations=4), Step(0.5), Weights(iterations=3)):
        first, again = (way(sampler(field=Swirl()), loss, noise()).x1 for _ in range(2))
        assert torch.equal(first, again)


def test_adaptive_steps_are_guided_between_intervals() -> None:
    way, tight = Step(0.5, n=None, intervals=3), SolverSettings("dopri5", 1e-8, 1e-8)
    adaptive = way(Sampler(Swirl(), Integrator(tight)), loss, noise())
    fine = way(sampler(method="rk4", num_steps=30), loss, noise())
    torch.testing.assert_close(adaptive.x1, fine.x1, rtol=0, atol=1e-5)


def test_time_may_run_the_other_way() -> None:
    field = Swirl()
    solver = Integrator(SolverSettings("heun3", num_steps=STEPS))
    backward = Sampler(lambda t, x: -field(1 - t, x), solver, t0=1.0, t1=0.0)
    for way in (Source(evaluations=3), Step(0.5, n=2), Step(0.5, n=0)):
        ours = way(backward, loss, noise()).x1
        torch.testing.assert_close(ours, way(sampler(field=field), loss, noise()).x1)


def test_the_loose_continuous_adjoint_is_another_gradient() -> None:
    exact = sampler().value_and_gradient(loss, noise())[1]
    coarse = Sampler(Swirl(), Integrator(SolverSettings("heun3", num_steps=2), Adjoint()))
    fine = Sampler(Swirl(), Integrator(SolverSettings("heun3", num_steps=2)))
    off = coarse.value_and_gradient(loss, noise())[1] - fine.value_and_gradient(loss, noise())[1]
    assert off.norm() > 1e-4 * exact.norm()


def test_the_counts_of_all_solves_are_added() -> None:
    ours = sampler()
    Step(0.5, n=2)(ours, loss, noise())
    stats = ours.integrator.take_stats()
    # Per step: 2 steps ahead with their gradient, and a step of 3 stages.
    assert stats.vjps == STEPS * 2 * 3
    assert stats.forward >= STEPS * 3 * 3
    assert ours.integrator.take_stats().forward == 0


@pytest.mark.parametrize(
    ("way", "solver", "said"),
    [
        (Step(), SolverSettings("dopri5"), "Give way.intervals, or solver.num_steps"),
        (Step(intervals=4), SolverSettings("rk4", num_steps=6), "must divide into the intervals"),
        (Step(), SolverSettings("rk4", grid=[0, 0.5, 1]), "solver.grid"),
        (Weights(last=7), SolverSettings("rk4", num_steps=6), "last=7 with solver.num_steps=6"),
        (Weights(last=1), SolverSettings("dopri5"), "solver.num_steps=null"),
    ],
)
def test_a_solver_that_does_not_go_with_a_way(
    way: Step | Weights, solver: SolverSettings, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        way(Sampler(Swirl(), Integrator(solver)), loss, noise())


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (lambda x: x.sum(), r"the loss of 5 samples is \(\); needed is a tensor of shape \(5,\)"),
        (lambda x: 3.0, "is float; needed"),
        (lambda x: x.detach().sum(1), "has no gradient"),
    ],
)
def test_a_loss_that_is_none(bad: object, said: str) -> None:
    for way in (Source(), Step()):
        with pytest.raises(InputError, match=said):
            way(sampler(), bad, noise())  # pyright: ignore[reportArgumentType]


def test_a_strength_that_is_too_much_names_the_step() -> None:
    for n in (0, 2):
        with pytest.raises(NonFiniteError, match=r"at step 2 of 6 .* below 1e\+24 \[") as info:
            Step(1e24, n=n)(sampler(), lambda x: x.pow(16).sum(1), noise())
        assert info.value.status == "nonfinite"
        assert info.value.steps == 1


def test_losses_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(NonFiniteError, match="loss of the samples"):
        Source()(sampler(), lambda x: loss(x) * torch.inf, noise())
    with pytest.raises(NonFiniteLoss, match="smaller lr"):
        Weights()(sampler(), lambda x: loss(x) * torch.inf, noise())


def test_weights_need_a_module_with_weights() -> None:
    still = Sampler(lambda t, x: -x, Integrator(SolverSettings("euler", num_steps=2)))
    with pytest.raises(InputError, match="has none that need a gradient"):
        Weights()(still, loss, noise())


def test_adam_is_that_of_torch() -> None:
    leaf = noise().requires_grad_()
    theirs, ours, x = torch.optim.Adam([leaf], lr=0.1), Adam(0.1), noise()
    for _ in range(5):
        theirs.zero_grad()
        loss(leaf).sum().backward()
        theirs.step()
        at = x.detach().requires_grad_()
        losses = loss(at)
        [gradient] = torch.autograd.grad(losses.sum(), [at])
        x = ours.next(x, losses.detach(), gradient)
    torch.testing.assert_close(x, leaf.detach())


def test_lbfgs_ends_a_quadratic_in_its_dimension() -> None:
    """Of every sample another one, badly scaled: steepest descent would take hundreds."""
    scales = torch.logspace(0, 3, 6, dtype=torch.float64) * torch.rand(4, 1).double().add(0.5)
    x, descent, least = noise(4, 6), LBFGS(1.0), torch.full((4,), torch.inf).double()
    for _ in range(60):
        losses = (scales * x.square()).sum(1) / 2
        least = torch.minimum(least, losses)
        x = descent.next(x, losses, scales * x)
    assert least.max() < 1e-10


def test_pairs_of_the_memory_are_the_samples_own() -> None:
    """A sample that has arrived keeps its memory while others go on."""
    x = torch.stack([torch.zeros(3), torch.ones(3)]).double()
    descent = LBFGS(0.5)
    for _, _ in itertools.product(range(3), range(2)):
        x = descent.next(x, x.square().sum(1), 2 * x)
        assert torch.isfinite(x).all()
    assert torch.equal(x[0], torch.zeros(3).double())
    assert x[1].norm() < 1e-6
