"""Velocity fields: what they depend on, their guidance, and the flow that they make."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor, nn

from symadj import Integrator, SolverSettings
from symadj.errors import InputError
from symadj.models.velocity import GuidedVelocity, Velocity, flow_of, transport
from symadj.models.velocity_mlp import VelocityMLP
from symadj.models.velocity_unet import VelocityUNet
from tests.grad.variants import GENERAL

DOUBLE = torch.float64
RK4 = SolverSettings("rk4", num_steps=3)


def shaken(model: Velocity) -> Velocity:
    """The model in float64 with weights that leave nothing at zero."""
    torch.manual_seed(0)
    model = model.double()
    for p in model.parameters():
        nn.init.normal_(p, std=0.3)
    return model


def mlp(classes: int = 3) -> Velocity:
    return shaken(VelocityMLP(5, classes, width=8, blocks=2))


def unet(classes: int = 3, attention: int = 2, side: int = 5) -> Velocity:
    return shaken(VelocityUNet((side, side + 1), classes, [4, 6], 1, attention, width=8))


MODELS = {"mlp": mlp, "unet": unet}


def batch(model: Velocity, n: int = 4) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(n, *model.data_shape, dtype=DOUBLE)


@pytest.mark.parametrize("name", MODELS)
def test_samples_do_not_look_at_each_other_and_may_have_times_and_labels_of_their_own(
    name: str,
) -> None:
    model = MODELS[name]()
    x, t = batch(model), torch.tensor([0.0, 0.3, 0.3, 1.0], dtype=DOUBLE)
    labels = torch.tensor([0, 2, 1, model.classes])
    whole = model(t, x, labels)
    assert whole.shape == x.shape
    for i in range(len(x)):
        label = None if i == 3 else labels[i : i + 1]
        alone = model(float(t[i]), x[i : i + 1], label)
        torch.testing.assert_close(alone[0], whole[i], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(model(t, x.flatten(1), labels), whole.flatten(1), rtol=0, atol=0)
    same = model(0.3, x[:1].expand(3, *model.data_shape), torch.tensor([0, 1, 2]))
    assert len(torch.unique(same.flatten(1), dim=0)) == 3, "every class has a velocity of its own"
    assert not torch.equal(model(0.3, x), model(0.4, x))


@pytest.mark.parametrize("name", MODELS)
def test_a_fresh_model_moves_nothing(name: str) -> None:
    fresh = {"mlp": VelocityMLP(5), "unet": VelocityUNet((8, 8), channels=[4])}[name]
    assert fresh.classes == 0
    assert torch.equal(
        fresh(0.5, torch.randn(2, *fresh.data_shape)), torch.zeros(2, *fresh.data_shape)
    )


@pytest.mark.parametrize("side", [4, 5, 7])
def test_a_u_net_takes_sides_that_cannot_be_halved(side: int) -> None:
    model = unet(0, 0, side)
    x = batch(model)
    moved = x.clone()
    moved[..., -1, -1] += 1
    difference = (model(0.5, moved) - model(0.5, x)).abs()
    assert difference[..., 0, 0].min() > 0, "the far corner is seen"


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("guidance", [0.0, 0.5, 1.0, 2.5])
def test_guidance_is_a_line_from_no_class_through_the_class(name: str, guidance: float) -> None:
    model = MODELS[name]()
    x, labels = batch(model), torch.tensor([0, 1, 2, 1])
    without, within = model(0.4, x), model(0.4, x, labels)
    expected = without + guidance * (within - without)
    field = GuidedVelocity(model, labels, guidance)
    torch.testing.assert_close(field(0.4, x), expected, rtol=1e-12, atol=1e-12)
    each = field(torch.full((4,), 0.4, dtype=DOUBLE), x.flatten(1))
    torch.testing.assert_close(each, expected.flatten(1), rtol=1e-12, atol=1e-12)
    one = GuidedVelocity(model, 2, guidance)(0.4, x)
    torch.testing.assert_close(one[2], expected[2], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("guidance", "passes"), [(0.0, 4), (1.0, 4), (2.0, 8)])
def test_one_pass_is_enough_where_one_velocity_is(guidance: float, passes: int) -> None:
    model, seen = mlp(), []
    model.register_forward_hook(lambda module, given, out: seen.append(len(out)))
    GuidedVelocity(model, 1, guidance)(0.4, batch(model))
    assert seen == [passes]


def test_what_no_velocity_can_follow_is_refused() -> None:
    model, plain = mlp(), mlp(0)
    x, labels = batch(model), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(InputError, match=r"class=3; the classes are 0 to 2"):
        GuidedVelocity(model, 3)
    with pytest.raises(InputError, match=r"class=-1; the classes"):
        GuidedVelocity(model, torch.tensor([0, -1]))
    with pytest.raises(InputError, match=r"class=0: the model was trained without classes"):
        GuidedVelocity(plain, 0)
    with pytest.raises(InputError, match=r"guidance=2 without a class.*Give a class"):
        GuidedVelocity(model, guidance=2.0)
    with pytest.raises(InputError, match=r"guidance=2 without a class.*without classes"):
        GuidedVelocity(plain, guidance=2.0)
    with pytest.raises(InputError, match="guidance=-1"):
        GuidedVelocity(model, 0, -1.0)
    with pytest.raises(InputError, match=r"float64 of shape \(4,\)"):
        GuidedVelocity(model, labels.double())
    with pytest.raises(InputError, match="velocity without classes"):
        plain(0.5, x, labels)
    with pytest.raises(InputError, match=r"one whole number for each"):
        model(0.5, x, labels[:2])
    with pytest.raises(InputError, match=r"2 times for 4 samples"):
        model(torch.zeros(2), x)
    with pytest.raises(InputError, match=r"shape \(4, 6\); samples of shape \(5,\)"):
        model(0.5, torch.zeros(4, 6, dtype=DOUBLE))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image_shape": None}, "no images.*model=velocity_mlp"),
        ({"image_shape": (4,)}, r"image_shape=\[4\]; it must be"),
        ({"channels": []}, "channels=\\[\\]"),
        ({"channels": [4, 4, 4, 4]}, "4 resolutions, and images of 4x5 pixels have 3"),
        ({"attention": 4}, "attention=4 heads do not divide the 6 channels"),
        ({"classes": -1}, "classes=-1"),
        ({"blocks": 0}, "blocks=0"),
    ],
)
def test_a_u_net_that_cannot_be_made_is_refused(wrong: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        VelocityUNet(**{"image_shape": (4, 5), "channels": [4, 6], **wrong})


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("gradient", sorted(set(GENERAL) - {"adjoint", "auto", "backprop"}))
def test_gradients_through_a_guided_sampler_are_those_of_backprop(name: str, gradient: str) -> None:
    model = MODELS[name]()
    wanted = [torch.randn_like(batch(model)).requires_grad_(), *model.parameters()]

    def through(method: str) -> tuple[Tensor, ...]:
        field = GuidedVelocity(model, torch.tensor([0, 1, 2, 1]), 2.0)
        loose = Integrator(SolverSettings("dopri5", rtol=1e-1, atol=1e-1), method)
        x1 = transport(field, wanted[0], loose)
        return torch.autograd.grad(x1.sin().sum(), wanted)

    torch.testing.assert_close(through(gradient), through("backprop"), rtol=1e-10, atol=1e-10)


class Shrink(nn.Module):
    """v(t, x) = x d/dt log s(t) with s(t) = 1 - t + t / 2: N(0, I) goes to N(0, I / 4)."""

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return -0.5 * x / (1 - 0.5 * t)


def test_the_flow_of_a_velocity_has_its_samples_and_their_density() -> None:
    tight = Integrator(SolverSettings("dopri5", rtol=1e-9, atol=1e-9))
    z = torch.randn(6, 3, dtype=DOUBLE)
    flow = flow_of(Shrink())
    torch.testing.assert_close(transport(Shrink(), z, tight), z / 2, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(flow.inverse(z, tight), z / 2, rtol=1e-7, atol=1e-7)
    normal = torch.distributions.Normal(0.0, 0.5)
    for exact in (True, False):  # the Jacobian is a multiple of I: the estimate has no variance
        log_prob = flow.log_prob(z / 2, tight, exact)
        torch.testing.assert_close(log_prob, normal.log_prob(z / 2).sum(-1), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", MODELS)
def test_the_likelihood_of_a_velocity_is_that_of_its_jacobian(name: str) -> None:
    """log p(x) - log N(z) is log |det dz/dx| of the map from data to noise."""
    model = mlp() if name == "mlp" else unet(side=2)
    for p in model.parameters():  # smooth enough for a few steps
        nn.init.normal_(p, std=0.1)
    flow = flow_of(GuidedVelocity(model, 1, 1.5))
    x = batch(model, 1).flatten(1)
    fine = Integrator(SolverSettings("dop853", num_steps=6), "backprop")
    with torch.no_grad():
        z, delta_logp = flow(x, fine, exact=True)

    def back(x: Tensor) -> Tensor:
        return transport(flow.networks[0], x, fine)[0]

    jacobian = cast("Tensor", torch.autograd.functional.jacobian(back, x))[:, 0]
    expected = -torch.linalg.slogdet(jacobian).logabsdet
    torch.testing.assert_close(delta_logp[0], expected, rtol=1e-6, atol=1e-6)
    with torch.no_grad():
        torch.testing.assert_close(flow.inverse(z, fine), x, rtol=1e-6, atol=1e-6)
