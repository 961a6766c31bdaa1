"""Four programs as users of torchdiffeq write them, small: the calls stand as they would there."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from symadj.torchdiffeq import odeint, odeint_adjoint

EACH = pytest.mark.parametrize(
    "solve",
    [odeint, odeint_adjoint, functools.partial(odeint_adjoint, gradient="symplectic")],
    ids=["backprop", "adjoint", "symplectic"],
)


def losses(
    steps: int, parameters: list[nn.Parameter], loss_of: Callable[[], Tensor], lr: float = 0.02
) -> list[float]:
    optimiser = torch.optim.Adam(parameters, lr=lr)
    values = []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = loss_of()
        loss.backward()
        optimiser.step()
        values.append(float(loss.detach()))
    return values


@EACH
def test_a_network_learns_a_spirals_field_from_windows_of_it(solve) -> None:
    torch.manual_seed(0)
    turn = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]])

    class Spiral(nn.Module):
        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return y**3 @ turn

    class Learned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return self.net(y**3)

    t = torch.linspace(0.0, 5.0, 100)
    with torch.no_grad():
        truth = odeint(Spiral(), torch.tensor([[2.0, 0.0]]), t, method="dopri5")
    assert truth.shape == (100, 1, 2)
    starts = torch.randperm(90)[:8]
    windows = torch.stack([truth[starts + i] for i in range(8)])
    func = Learned()

    def loss_of() -> Tensor:
        return (solve(func, truth[starts], t[:8]) - windows).abs().mean()

    values = losses(8, list(func.parameters()), loss_of)
    assert values[-1] < 0.8 * values[0]


@EACH
def test_a_classifier_with_a_block_that_is_a_solve(solve) -> None:
    torch.manual_seed(0)

    class Field(nn.Module):
        """Convolutions that see the time as one more channel."""

        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.GroupNorm(2, 4)
            self.conv = nn.Conv2d(5, 4, 3, padding=1)
            self.nfe = 0

        def forward(self, t: Tensor, x: Tensor) -> Tensor:
            self.nfe += 1
            time = torch.ones_like(x[:, :1]) * t
            return self.conv(torch.cat([time, torch.relu(self.norm(x))], 1))

    class Block(nn.Module):
        def __init__(self, field: Field) -> None:
            super().__init__()
            self.field = field
            self.ends = torch.tensor([0, 1]).float()

        def forward(self, x: Tensor) -> Tensor:
            ends = self.ends.type_as(x)
            return solve(self.field, x, ends, rtol=1e-3, atol=1e-3)[1]

    field = Field()
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), Block(field), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, 2),
    )  # fmt: skip
    labels = torch.arange(16) % 2
    x = torch.randn(16, 1, 8, 8) * (1 + 2 * labels.reshape(-1, 1, 1, 1))
    values = losses(
        12, list(model.parameters()), lambda: functional.cross_entropy(model(x), labels), lr=0.05
    )
    assert values[-1] < 0.8 * values[0]
    forward, field.nfe = field.nfe, 0
    model(x).sum().backward()
    assert forward > 12 * field.nfe / 4 > 0


@EACH
def test_a_latent_path_decoded_at_many_times_and_continued_both_ways(solve) -> None:
    torch.manual_seed(0)

    class Latent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(4, 12), nn.Linear(12, 4)

        def forward(self, t: Tensor, x: Tensor) -> Tensor:
            return self.last(functional.elu(self.first(x)))

    func, encoder, decoder = Latent(), nn.GRU(2, 8, batch_first=True), nn.Linear(4, 2)
    times = torch.linspace(0.0, 2.0, 10)
    phase = torch.rand(6, 1) * math.tau
    paths = torch.stack([torch.cos(times + phase), torch.sin(times + phase)], -1)

    def loss_of() -> Tensor:
        mean, logvar = encoder(paths.flip(1))[1][0].chunk(2, -1)
        z0 = mean + torch.randn_like(mean) * (0.5 * logvar).exp()
        zs = solve(func, z0, times).permute(1, 0, 2)
        divergence = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum(-1)
        return ((decoder(zs) - paths) ** 2).sum((1, 2)).mean() + 0.01 * divergence.mean()

    modules = nn.ModuleList([func, encoder, decoder])
    values = losses(10, list(modules.parameters()), loss_of)
    assert values[-1] < 0.9 * values[0]
    with torch.no_grad():
        z0 = encoder(paths.flip(1))[1][0][0, :4]
        later, earlier = (solve(func, z0, torch.linspace(0, end, 9)) for end in (1.5, -1.5))
        back = solve(func, later[-1], torch.linspace(1.5, 0, 9))
    assert decoder(torch.cat([earlier.flip(0), later])).shape == (18, 2)
    assert float((back[-1] - z0).abs().max()) < 1e-4


@EACH
def test_a_flow_of_densities_with_its_trace_taken_by_autograd_in_the_field(solve) -> None:
    torch.manual_seed(0)

    class Flow(nn.Module):
        """dz/dt by a small network of (z, t), dlogp/dt minus its trace."""

        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 2))

        def forward(self, t: Tensor, states: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            z = states[0]
            with torch.set_grad_enabled(True):
                z.requires_grad_(True)
                dz = self.net(torch.cat([z, t.expand(len(z), 1)], 1))
                trace = sum(
                    torch.autograd.grad(dz[:, i].sum(), z, create_graph=True)[0][:, i]
                    for i in range(2)
                )
            assert isinstance(trace, Tensor)
            return dz, -trace.reshape(len(z), 1)

    flow, base = Flow(), torch.distributions.MultivariateNormal(torch.zeros(2), 0.1 * torch.eye(2))
    angle = torch.rand(48) * math.tau
    data = torch.stack([angle.cos(), angle.sin()], -1) + 0.05 * torch.randn(48, 2)
    ends = torch.tensor([1.0, 0.0])

    def loss_of() -> Tensor:
        z, logp = solve(
            flow, (data, torch.zeros(48, 1)), ends, atol=1e-4, rtol=1e-4, method="dopri5"
        )
        return -(base.log_prob(z[-1]) - logp[-1].view(-1)).mean()

    values = losses(8, list(flow.parameters()), loss_of, lr=0.05)
    assert values[-1] < values[0] - 0.5
    with torch.no_grad():
        samples, gained = solve(flow, (base.sample((64,)), torch.zeros(64, 1)), ends.flip(0))
        z, lost = solve(flow, (samples[-1], gained[-1]), ends)
    assert float((z[-1] - samples[0]).abs().max()) < 1e-3
    assert float(lost[-1].abs().max()) < 1e-3
