"""Flows: the sign of the log-determinant, normalised densities, inverses, and gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from symadj import Integrator, SolverSettings
from symadj.errors import InputError
from symadj.models.cnf import CNF, ContinuousFlow, standard_normal_logprob
from symadj.models.mlp import MLP

DOUBLE = torch.float64
TIGHT = SolverSettings("dopri5", rtol=1e-9, atol=1e-9)


def integrator(gradient: str = "symplectic", solver: SolverSettings = TIGHT) -> Integrator:
    return Integrator(solver, gradient)


class Linear(nn.Module):
    """dz/dt = A z, whose flow over time T is exp(T A) with log-determinant T tr A."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.matrix = nn.Parameter(torch.randn(3, 3, generator=generator, dtype=DOUBLE))

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        return z @ self.matrix.T


class Opaque(nn.Module):
    """Hides a network's `tangent`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        return self.network(t, z)


def test_a_linear_flow_has_the_density_of_its_normal_variable() -> None:
    """x = exp(-T A) z is normal with covariance M M^T, M = exp(-T A)."""
    network, T = Linear(), 0.7
    flow = ContinuousFlow([network], trace="exact", T=T)
    x = torch.randn(5, 3, dtype=DOUBLE)
    spread = torch.linalg.matrix_exp(-T * network.matrix.detach())
    expected = torch.distributions.MultivariateNormal(
        torch.zeros(3, dtype=DOUBLE), spread @ spread.T
    ).log_prob(x)
    torch.testing.assert_close(flow.log_prob(x, integrator()), expected, rtol=1e-7, atol=1e-7)


def test_delta_logp_is_minus_the_log_determinant() -> None:
    network, T = Linear(), 0.7
    flow = ContinuousFlow([network, network], T=T)
    x = torch.randn(5, 3, dtype=DOUBLE)
    z, delta_logp = flow(x, integrator(), exact=True)
    forward = torch.linalg.matrix_exp(2 * T * network.matrix)
    torch.testing.assert_close(z, x @ forward.T, rtol=1e-7, atol=1e-7)
    log_det = 2 * T * network.matrix.trace()
    torch.testing.assert_close(delta_logp, -log_det.expand(5), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("layer", ["plain", "concatsquash", "hyper"])
def test_the_density_of_a_random_net_integrates_to_one(layer: str) -> None:
    flow = CNF(2, hidden=(16, 16), components=2, layer=layer, trace="exact").to(DOUBLE)
    for p in flow.parameters():
        p.data *= 1.5
    n, half = 80, 9.0
    axis = (torch.arange(n, dtype=DOUBLE) + 0.5) / n * 2 * half - half
    cells = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        log_prob = flow.log_prob(cells, integrator(solver=SolverSettings(rtol=1e-6, atol=1e-6)))
    density = log_prob.exp()
    assert density.max() > 2 * density[(cells**2).sum(-1) < 1].min()  # far from N(0, I)
    assert density.sum().item() * (2 * half / n) ** 2 == pytest.approx(1, abs=1e-3)


def test_inverse_undoes_forward_through_all_components() -> None:
    flow = CNF(3, hidden=(8, 8), components=3, T=0.8).to(DOUBLE)
    x = torch.randn(6, 3, dtype=DOUBLE)
    z, _ = flow(x, integrator())
    assert (z - x).abs().max() > 0.1
    torch.testing.assert_close(flow.inverse(z, integrator()), x, rtol=0, atol=1e-6)


def stacked(batch_norm: bool, residual: bool = False, T: float = 0.8) -> CNF:
    """Two components, in evaluation, far from the identity."""
    flow = CNF(3, hidden=(8, 8), components=2, T=T, batch_norm=batch_norm, residual=residual)
    flow = flow.to(DOUBLE)
    with torch.no_grad():
        for p in flow.parameters():
            p.add_(0.3 * torch.randn_like(p))
        for _ in range(8):
            flow(2 + 3 * torch.randn(50, 3, dtype=DOUBLE), integrator(solver=FIXED))
    return flow.eval()


FIXED = SolverSettings("rk4", num_steps=4)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_inverting_and_mapping_again_returns_the_data(batch_norm: bool, residual: bool) -> None:
    flow, x = stacked(batch_norm, residual), 2 + 3 * torch.randn(20, 3, dtype=DOUBLE)
    z, _ = flow(x, integrator())
    assert (z - x).abs().max() > 0.5
    torch.testing.assert_close(flow.inverse(z, integrator()), x, rtol=0, atol=1e-6)
    again, _ = flow(flow.inverse(x, integrator()), integrator())
    torch.testing.assert_close(again, x, rtol=0, atol=1e-6)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_delta_logp_is_that_of_the_whole_maps_jacobian(batch_norm: bool, residual: bool) -> None:
    flow, x = stacked(batch_norm, residual), 2 + 3 * torch.randn(4, 3, dtype=DOUBLE)
    fine = integrator("backprop", SolverSettings("dop853", rtol=1e-12, atol=1e-12))
    x.requires_grad_()
    z, delta_logp = flow(x, fine, exact=True)
    rows = [torch.autograd.grad(z[:, i].sum(), x, retain_graph=True)[0] for i in range(3)]
    _, log_det = torch.linalg.slogdet(torch.stack(rows, dim=1))
    torch.testing.assert_close(delta_logp, -log_det, rtol=0, atol=1e-9)


def test_there_is_a_norm_before_each_component_and_a_last_one() -> None:
    flow = CNF(2, hidden=(4,), components=3, batch_norm=True)
    x = 7 + torch.randn(30, 2)
    z, _ = flow(x, integrator(solver=FIXED))
    torch.testing.assert_close(z.mean(0), torch.zeros(2), rtol=0, atol=1e-5)
    means = [norm.running_mean for norm in flow.norms]
    torch.testing.assert_close(means[0], 0.1 * x.mean(0))
    assert len(means) == 4
    with pytest.raises(InputError, match="one more than components"):
        ContinuousFlow(flow.networks, norms=list(flow.norms)[:3])


def test_options_that_are_off_add_nothing_to_the_weights() -> None:
    names = set(CNF(2, hidden=(4,)).state_dict())
    assert all(name.startswith("networks.0.layers.") for name in names)


def test_sampling_computes_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    flow = CNF(3, hidden=(8,))

    def refuse(*_: object) -> None:
        raise AssertionError("a tangent was computed")

    monkeypatch.setattr(MLP, "tangent", refuse)
    flow.inverse(torch.randn(4, 3), integrator(solver=SolverSettings()))


@pytest.mark.parametrize("gradient", ["symplectic", "aca", "checkpoint"])
def test_gradient_methods_agree_with_backprop_on_the_flows_loss(gradient: str) -> None:
    flow = CNF(3, hidden=(8, 8), components=2).to(DOUBLE)
    x = torch.randn(6, 3, dtype=DOUBLE)
    loose = SolverSettings("dopri5", rtol=1e-2, atol=1e-2)
    gradients = []
    for name in ("backprop", gradient):
        torch.manual_seed(7)
        loss = -flow.log_prob(x, integrator(name, loose)).mean()
        gradients.append(torch.autograd.grad(loss, list(flow.parameters())))
    for expected, ours in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-11, atol=1e-13)


def test_costs_of_a_linear_flow_are_their_integrals() -> None:
    """Along x(t) = exp(tA) x the kinetic cost is an integral, by Gauss' rule, and J = T |A|^2."""
    network, T = Linear(), 0.7
    flow = ContinuousFlow([network, network], trace="exact", T=T)
    x = torch.randn(5, 3, dtype=DOUBLE)
    nodes, weights = np.polynomial.legendre.leggauss(20)
    with torch.no_grad():
        z, (delta_logp, kinetic, jacobian) = flow.carry(x, integrator(), ("kinetic", "jacobian"))
        plain_z, plain_delta = flow(x, integrator())
        speeds = [x @ torch.linalg.matrix_exp(T * (s + 1) * network.matrix).T for s in nodes]
        squares = [(v @ network.matrix.T).square().sum(-1) for v in speeds]
    expected = sum((T * w * q for w, q in zip(weights, squares, strict=True)), torch.zeros(5))
    torch.testing.assert_close(kinetic, expected, rtol=1e-7, atol=0)
    norm = 2 * T * network.matrix.detach().square().sum()
    torch.testing.assert_close(jacobian, norm.expand(5), rtol=1e-9, atol=0)
    torch.testing.assert_close(z, plain_z, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(delta_logp, plain_delta, rtol=1e-7, atol=1e-7)


def test_costs_come_in_the_order_asked_for_and_change_nothing_else() -> None:
    flow, x = CNF(3, hidden=(8,), components=2, batch_norm=True).to(DOUBLE), torch.randn(6, 3)
    flow, x = flow.eval(), x.to(DOUBLE)
    fixed = integrator(solver=FIXED)

    def carried(*costs: str) -> list[Tensor]:
        z, totals = flow.carry(x, fixed, costs, generator=torch.Generator().manual_seed(1))
        return [z, *totals]

    z, delta_logp, kinetic, jacobian = carried("kinetic", "jacobian")
    for ours, expected in (
        (carried(), [z, delta_logp]),
        (carried("kinetic"), [z, delta_logp, kinetic]),
        (carried("jacobian", "kinetic"), [z, delta_logp, jacobian, kinetic]),
    ):
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-14)
    with pytest.raises(InputError, match="Did you mean 'kinetic'"):
        carried("kinetik")


def test_two_solves_before_one_backward_keep_their_own_noise() -> None:
    """The replay of the first solve must not see the second one's noise."""
    flow = CNF(3, hidden=(8,)).to(DOUBLE)
    x = torch.randn(6, 3, dtype=DOUBLE)
    solver = SolverSettings("dopri5", rtol=1e-2, atol=1e-2)

    def total(name: str) -> Tensor:
        torch.manual_seed(7)
        return sum((flow.log_prob(x, integrator(name, solver)).sum() for _ in range(2)), x.sum())

    parameters = list(flow.parameters())
    expected = torch.autograd.grad(total("backprop"), parameters)
    ours = torch.autograd.grad(total("symplectic"), parameters)
    torch.testing.assert_close(ours, expected, rtol=1e-11, atol=1e-13)


def test_a_network_without_tangent_gives_the_same_loss_and_gradients() -> None:
    networks = [MLP(3, (8, 8)).to(DOUBLE) for _ in range(2)]
    x = torch.randn(6, 3, dtype=DOUBLE)
    solver = SolverSettings("rk4", num_steps=3)
    results = []
    for flow in (ContinuousFlow(networks), ContinuousFlow(map(Opaque, networks))):
        torch.manual_seed(7)
        loss = -flow.log_prob(x, integrator(solver=solver)).mean()
        results.append((loss, *torch.autograd.grad(loss, list(flow.parameters()))))
    torch.testing.assert_close(results[1], results[0], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("noise", ["gaussian", "rademacher"])
def test_noise_follows_the_generator_and_is_new_in_every_solve(noise: str) -> None:
    flow = CNF(3, hidden=(8,), noise=noise)
    x = torch.randn(6, 3)
    rk4 = integrator(solver=SolverSettings("rk4", num_steps=2))

    def delta(seed: int) -> list[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        return [flow(x, rk4, generator=generator)[1] for _ in range(2)]

    first, again, other = delta(1), delta(1), delta(2)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], other[0])


def test_rademacher_noise_is_exact_for_a_diagonal_jacobian() -> None:
    class Shrink(nn.Module):
        def forward(self, t: Tensor, z: Tensor) -> Tensor:
            return -z + 0.1 * z.sin()

    flow = ContinuousFlow([Shrink()], noise="rademacher")
    x = torch.randn(6, 3, dtype=DOUBLE)
    with torch.no_grad():
        _, estimated = flow(x, integrator())
        _, exact = flow(x, integrator(), exact=True)
    torch.testing.assert_close(estimated, exact, rtol=0, atol=1e-9)


def test_standard_normal_logprob() -> None:
    z = torch.tensor([[0.0, 0.0], [1.0, -2.0]])
    expected = torch.tensor([-math.log(2 * math.pi), -math.log(2 * math.pi) - 2.5])
    torch.testing.assert_close(standard_normal_logprob(z), expected)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"trace": "hutchison"}, "Did you mean 'hutchinson'"),
        ({"noise": "gausian"}, "Did you mean 'gaussian'"),
        ({"components": 0}, "components=0.* from 1 to"),
        ({"T": 0.0}, "T=0.0.* from 1e-09"),
        ({"T": math.nan}, "T=nan.* from 1e-09"),
    ],
)
def test_bad_settings_are_refused(arguments: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        CNF(2, **arguments)
