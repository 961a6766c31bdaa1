"""The multiscale flow: its log-determinant, its inverse, what is factored out, its gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from symadj import Integrator, SolverSettings
from symadj.errors import InputError
from symadj.models.cnf import ContinuousFlow, standard_normal_logprob
from symadj.models.conv_net import ConvNet
from symadj.models.multiscale import MultiscaleCNF

DOUBLE = torch.float64
LOOSE = SolverSettings("dopri5", rtol=1e-2, atol=1e-2)


def flow(*shape: int, hidden: tuple[int, ...] = (3,), **settings: object) -> MultiscaleCNF:
    model = MultiscaleCNF(shape, hidden=hidden, **settings).to(DOUBLE)  # type: ignore[arg-type]
    for parameter in model.parameters():
        parameter.data *= 1.5  # far enough from the identity for a wrong sign to show
    return model


def integrator(gradient: str = "symplectic", solver: SolverSettings = LOOSE) -> Integrator:
    return Integrator(solver, gradient)


@pytest.mark.parametrize("layer", ["concat", "concatsquash"])
def test_the_log_determinant_is_that_of_the_whole_jacobian(layer: str) -> None:
    """Both approximate the continuous flow's, here to rounding: 6 steps of order 8."""
    model = flow(4, 4, scales=3, layer=layer)
    fine = integrator("backprop", SolverSettings("dop853", num_steps=6))
    x = torch.randn(1, 16, dtype=DOUBLE)
    columns = torch.autograd.functional.jacobian(lambda y: model(y[None], fine)[0][0], x[0])
    assert isinstance(columns, Tensor)
    sign, log_det = torch.linalg.slogdet(columns)
    z, delta_logp = model(x, fine, exact=True)
    assert sign == 1
    assert abs(log_det) > 0.1
    assert -delta_logp.item() == pytest.approx(log_det.item(), rel=0, abs=1e-13)
    expected = standard_normal_logprob(z) + log_det
    torch.testing.assert_close(model.log_prob(x, fine, exact=True), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("shape", "scales"), [((8, 4), 3), ((4, 4), 1), ((8, 8), None)])
def test_inverse_undoes_forward(shape: tuple[int, int], scales: int | None) -> None:
    model = flow(*shape, scales=scales, components=2)
    tight = integrator(solver=SolverSettings("dopri5", rtol=1e-10, atol=1e-10))
    x = torch.randn(3, shape[0] * shape[1], dtype=DOUBLE)
    with torch.no_grad():
        z, _ = model(x, tight)
        assert (z - x).abs().max() > 0.1
        torch.testing.assert_close(model.inverse(z, tight), x, rtol=0, atol=1e-8)
        y = model.inverse(x, tight)
        torch.testing.assert_close(model(y, tight)[0], x, rtol=0, atol=1e-8)


def test_the_flow_is_its_stacks_with_squeezes_between_them() -> None:
    model = flow(4, 4, scales=2)
    rk4 = integrator(solver=SolverSettings("rk4", num_steps=2))
    x = torch.randn(3, 16, dtype=DOUBLE)
    first, last = model.flows
    (middle,) = model.squeezed
    a, of_a = first(x.view(3, 1, 4, 4), rk4, exact=True)
    blocks = a.view(3, 2, 2, 2, 2).permute(0, 2, 4, 1, 3).reshape(3, 4, 2, 2)
    b, of_b = middle(blocks, rk4, exact=True)
    c, of_c = last(b[:, :2], rk4, exact=True)
    z, delta_logp = model(x, rk4, exact=True)
    assert torch.equal(z, torch.cat([b[:, 2:].flatten(1), c.flatten(1)], dim=1))
    torch.testing.assert_close(delta_logp, of_a + of_b + of_c, rtol=0, atol=1e-13)


def test_every_component_is_a_solve_of_its_own() -> None:
    model = flow(8, 8, scales=3, components=2)
    counted = integrator(solver=SolverSettings("euler", num_steps=1))
    model(torch.randn(2, 64, dtype=DOUBLE), counted)
    assert counted.take_stats().accepted == 2 * (2 * 3 - 1)
    outputs = [p for name, p in model.named_parameters() if name.endswith("layers.1.bias")]
    channels = [len(bias) for bias in outputs]
    assert channels == [1, 1, 2, 2, 4, 4, 4, 4, 8, 8]


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("gradient", ["symplectic", "aca"])
def test_gradients_equal_backprops(gradient: str, exact: bool) -> None:
    model = flow(4, 4, scales=2, components=2)
    x = torch.randn(3, 16, dtype=DOUBLE)
    gradients = []
    for name in ("backprop", gradient):
        given, noise = x.clone().requires_grad_(), torch.Generator().manual_seed(7)
        loss = -model.log_prob(given, integrator(name), exact, noise).mean()
        gradients.append(torch.autograd.grad(loss, [given, *model.parameters()]))
    largest = max(g.abs().max().item() for g in gradients[0])
    for expected, ours in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12 * max(1, largest))


def test_a_state_of_images_is_one_of_vectors() -> None:
    """A 3x3 convolution over 1x1 pixels is a linear map of the channels by its middle."""

    class Flat(torch.nn.Module):
        def __init__(self, network: ConvNet) -> None:
            super().__init__()
            self.network = network

        def forward(self, t: Tensor, z: Tensor) -> Tensor:
            return self.network(t, z[..., None, None])[..., 0, 0]

    network = ConvNet(3, (4,)).to(DOUBLE)
    x = torch.randn(5, 3, dtype=DOUBLE)
    z, delta_logp = ContinuousFlow([Flat(network)], trace="exact")(x, integrator())
    y, change = ContinuousFlow([network], trace="exact")(x[..., None, None], integrator())
    torch.testing.assert_close(y[..., 0, 0], z, rtol=0, atol=1e-13)
    torch.testing.assert_close(change, delta_logp, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("shape", "scales"),
    [((28, 28), 3), ((8, 8), 2), ((32, 32), 4), ((9, 9), 1), ((4, 4), 1), ((8, 3), 1)],
)
def test_there_are_as_many_scales_as_make_sense(shape: tuple[int, int], scales: int) -> None:
    assert MultiscaleCNF(shape, hidden=(2,)).scales == scales


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"image_shape": None}, "hold no images.*data=mnist5k"),
        ({"image_shape": (8,)}, r"\[height, width\]"),
        ({"image_shape": (8, 0)}, r"image_shape=\[8, 0\].* from 1 to"),
        ({"scales": 4}, "28x28.*allowed: 1 to 3"),
        ({"scales": 0}, "allowed: 1 to 3"),
        ({"components": 0}, "components=0.* from 1 to"),
        ({"layer": "conv"}, "unknown layer="),
        ({"T": -1.0}, "T=-1.0.* from 1e-09"),
    ],
)
def test_bad_settings_are_refused(arguments: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        MultiscaleCNF(**{"image_shape": (28, 28), "hidden": (2,), **arguments})


def test_data_of_another_size_are_refused() -> None:
    with pytest.raises(InputError, match=r"\[B, 16\] is needed"):
        flow(4, 4)(torch.randn(2, 15, dtype=DOUBLE), integrator())
