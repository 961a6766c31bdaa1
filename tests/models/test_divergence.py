"""Divergences: tangents and autograd agree, and the estimate is unbiased."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from symadj.models import divergence
from symadj.models.mlp import MLP

DOUBLE = torch.float64
T = torch.tensor(0.4, dtype=DOUBLE)


class Opaque(nn.Module):
    """Hides a network's `tangent`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        return self.network(t, z)


def network(activation: str = "tanh", hidden: tuple[int, ...] = (8, 8)) -> MLP:
    return MLP(3, hidden, activation).to(DOUBLE)


@pytest.mark.parametrize("hidden", [(), (8,), (8, 8)])
@pytest.mark.parametrize("activation", ["tanh", "softplus"])
def test_the_exact_trace_equals_autograds(activation: str, hidden: tuple[int, ...]) -> None:
    net, z = network(activation, hidden), torch.randn(6, 3, dtype=DOUBLE)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: net(T, row)))(z)
    expected = jacobian.diagonal(dim1=-2, dim2=-1).sum(-1)
    for net_used in (net, Opaque(net)):
        f, trace = divergence.exact(net_used, T, z)
        torch.testing.assert_close(f, net(T, z), rtol=0, atol=1e-12)
        torch.testing.assert_close(trace, expected, rtol=0, atol=1e-12)


def test_the_estimate_is_the_quadratic_form_of_the_jacobian() -> None:
    net, z, noise = network(), *torch.randn(2, 6, 3, dtype=DOUBLE)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: net(T, row)))(z)
    expected = torch.einsum("bi,bij,bj->b", noise, jacobian, noise)
    for net_used in (net, Opaque(net)):
        f, estimate = divergence.hutchinson(net_used, T, z, noise)
        torch.testing.assert_close(f, net(T, z), rtol=0, atol=1e-12)
        torch.testing.assert_close(estimate, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("exact", [True, False])
def test_tangents_and_autograd_have_the_same_gradients(exact: bool) -> None:
    net, z = network(), torch.randn(6, 3, dtype=DOUBLE, requires_grad=True)
    noise = torch.randn(6, 3, dtype=DOUBLE)
    gradients = []
    for used in (net, Opaque(net)):
        f, trace = (
            divergence.exact(used, T, z) if exact else divergence.hutchinson(used, T, z, noise)
        )
        loss = (f.sin().sum(-1) * trace).sum()
        gradients.append(torch.autograd.grad(loss, [z, *net.parameters()]))
    for ours, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("exact", [True, False])
def test_any_network_works_where_no_graph_is_kept(exact: bool) -> None:
    net, z, noise = network(), *torch.randn(2, 6, 3, dtype=DOUBLE)
    used = Opaque(net)
    with torch.no_grad():
        _, hidden_from = (
            divergence.exact(used, T, z) if exact else divergence.hutchinson(used, T, z, noise)
        )
        _, carried = (
            divergence.exact(net, T, z) if exact else divergence.hutchinson(net, T, z, noise)
        )
    torch.testing.assert_close(hidden_from, carried, rtol=0, atol=1e-12)


def test_the_estimates_mean_is_the_exact_trace() -> None:
    net, z = network(), torch.randn(1, 3, dtype=DOUBLE)
    n = 20_000
    noise = torch.randn(n, 3, dtype=DOUBLE)
    _, estimates = divergence.hutchinson(net, T, z.expand(n, 3), noise)
    _, exact = divergence.exact(net, T, z)
    error = (estimates.mean() - exact).abs().item()
    assert error < 5 * estimates.std().item() / n**0.5


def test_the_exact_norm_is_that_of_autograds_jacobian(monkeypatch: pytest.MonkeyPatch) -> None:
    net, z = network(), torch.randn(6, 3, dtype=DOUBLE)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: net(T, row)))(z)
    expected = jacobian.square().sum((1, 2))
    for together in (divergence.TOGETHER, 40):  # all directions at once, and in turns
        monkeypatch.setattr(divergence, "TOGETHER", together)
        for used in (net, Opaque(net)):
            f, trace, norm = divergence.exact_with_norm(used, T, z)
            plain_f, plain_trace = divergence.exact(used, T, z)
            assert torch.equal(f, plain_f)
            assert torch.equal(trace, plain_trace)
            torch.testing.assert_close(norm, expected, rtol=0, atol=1e-12)


def test_the_estimated_norm_is_the_exact_one_in_the_mean() -> None:
    """Over all signs E[e e^T] = I, so that the mean is no estimate."""
    net, z = network(), torch.randn(6, 3, dtype=DOUBLE)
    _, _, exact = divergence.exact_with_norm(net, T, z)
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=DOUBLE)] * 3)
    for used in (net, Opaque(net)):
        norms = []
        for e in signs:
            noise = e.expand(6, 3)
            f, trace, norm = divergence.hutchinson_with_norm(used, T, z, noise)
            plain_f, plain_trace = divergence.hutchinson(used, T, z, noise)
            assert torch.equal(f, plain_f)
            assert torch.equal(trace, plain_trace)
            norms.append(norm)
        assert ((norms[0] - norms[1]).abs() > 1e-2 * exact).any()
        torch.testing.assert_close(torch.stack(norms).mean(0), exact, rtol=0, atol=1e-12)
