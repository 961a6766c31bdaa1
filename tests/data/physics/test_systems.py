"""Systems with few degrees of freedom: their equations, and the data made from them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from symadj.data.physics.double_pendulum import DoublePendulum, DoublePendulumSystem
from symadj.data.physics.lorenz63 import Lorenz63, Lorenz63System
from symadj.data.physics.orbits import legacy_random, orbits
from symadj.data.physics.oscillators import (
    MassSpring,
    MassSpringSystem,
    Pendulum,
    PendulumSystem,
)
from symadj.data.physics.system import HamiltonianSystem, System
from symadj.data.physics.two_body import TwoBody, TwoBodySystem, near_circles
from symadj.errors import InputError

HAMILTONIAN = [
    (MassSpringSystem(), 2),
    (PendulumSystem(), 2),
    (TwoBodySystem(), 8),
    (DoublePendulumSystem(), 4),
]


@pytest.mark.parametrize(("system", "dim"), HAMILTONIAN, ids=lambda v: type(v).__name__)
def test_the_derivative_is_the_symplectic_gradient_of_the_energy(
    system: HamiltonianSystem, dim: int
) -> None:
    u = torch.randn(20, dim, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(system.energy(u).sum(), u)
    of_q, of_p = gradient.chunk(2, dim=-1)
    expected = torch.cat([of_p, -of_q], dim=-1)
    scale = expected.abs().amax(-1, keepdim=True).clamp_min(1)
    assert ((system.derivative(u) - expected) / scale).abs().max() < 1e-13


def test_lorenz_at_a_known_point_and_its_fixed_point() -> None:
    system = Lorenz63System()
    u = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    assert torch.allclose(system.derivative(u), u.new_tensor([10.0, 23.0, -6.0]))
    c = (8 / 3 * 27) ** 0.5
    assert system.derivative(u.new_tensor([c, c, 27.0])).abs().max() < 1e-12
    assert system.invariants(u) == {}


def test_double_pendulum_swings_like_two_coupled_oscillators_when_small() -> None:
    """omega^2 = g (2 -+ sqrt 2) for unit lengths and masses, modes q2 = +- sqrt 2 q1."""
    system = DoublePendulumSystem()
    for sign in (1, -1):
        q = 1e-6 * torch.tensor([1.0, sign * 2**0.5], dtype=torch.float64)
        u = torch.cat([q, torch.zeros(2, dtype=torch.float64)])
        torque = system.derivative(u)[2:]
        mass = torch.tensor([[2.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
        acceleration = torch.linalg.solve(mass, torque)
        omega2 = 9.81 * (2 - sign * 2**0.5)
        assert torch.allclose(acceleration, -omega2 * q, rtol=1e-6)


@pytest.mark.parametrize(
    ("system", "start"),
    [
        (PendulumSystem(), [1.1, 0.4]),
        (TwoBodySystem(), near_circles(1, 0)[0].tolist()),
        (DoublePendulumSystem(), [0.5, -0.9, 0.0, 0.0]),
        (Lorenz63System(), [1.0, 3.0, 20.0]),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, System) else "",
)
def test_orbits_are_those_of_scipy(system: System, start: list[float]) -> None:
    ours = orbits(system, torch.tensor([start, start], dtype=torch.float64), 1.5, 6)
    assert ours.shape == (2, 6, len(start))
    theirs = solve_ivp(
        lambda t, u: system.derivative(torch.from_numpy(u)).numpy(),
        (0, 1.5),
        start,
        method="DOP853",
        t_eval=np.linspace(0, 1.5, 6),
        rtol=1e-12,
        atol=1e-12,
    ).y.T
    assert np.abs(ours[0].numpy() - theirs).max() < 1e-7


@pytest.mark.parametrize(("kind", "low", "high"), [(MassSpring, 0.1, 1.0), (Pendulum, 1.3, 2.3)])
def test_oscillators_are_drawn_in_the_published_order(kind, low: float, high: float) -> None:
    data = kind(samples=4, seed=5)
    clean = kind(samples=4, seed=5, noise=0.0)
    random = np.random.RandomState(5)
    for i in range(4):
        y0 = random.rand(2) * 2 - 1
        y0 = y0 / np.sqrt((y0**2).sum()) * (random.rand() * (high - low) + low)
        noise = np.stack([random.randn(100), random.randn(100)]).T * 0.1
        source = clean.train[i] if i < 2 else clean.test[i - 2]
        assert np.allclose(source[0], y0, rtol=0, atol=1e-14)
        if i < 2:
            assert np.allclose(data.train[i] - clean.train[i], noise, rtol=0, atol=1e-14)
    assert torch.equal(data.test, clean.test), "scored without noise"
    assert torch.equal(data.val, clean.val)
    assert data.val.shape == (10, 100, 2)
    assert data.dt == pytest.approx(20 / 99)


def test_mass_spring_is_a_circle_of_frequency_two() -> None:
    data = MassSpring(samples=2, noise=0.0)
    t = data.dt * torch.arange(100, dtype=torch.float64)
    q, p = data.test[0, 0]
    assert torch.allclose(data.test[0, :, 0], q * torch.cos(2 * t) + p * torch.sin(2 * t))


def test_two_body_orbits_as_published() -> None:
    data = TwoBody(samples=10)
    assert [len(s) for s in (data.train, data.val, data.test)] == [8, 10, 2]
    assert data.test.shape[1:] == (500, 8)
    assert data.dt == pytest.approx(25 / 499)
    random = np.random.RandomState(0)
    for orbit in data.test:
        pos = random.rand(2) + 0.5
        r = np.sqrt((pos**2).sum())
        vel = np.flipud(pos) / (2 * r**1.5)
        vel[0] *= -1
        vel *= 1 + 0.05 * random.randn()
        state = np.array([[*pos, *vel], [*-pos, *-vel]])
        assert np.allclose(orbit[0], state.T.flatten(), rtol=0, atol=1e-14)
    kept = data.system.invariants(data.test)
    assert set(kept) == {"energy", "momentum", "angular_momentum"}
    for value in kept.values():
        assert (value - value[:, :1]).abs().max() < 1e-8
    assert kept["momentum"].max() < 1e-8
    # Both bodies turn alike: twice x vy - y vx of the first.
    x, y, vx, vy = data.test[:, 0, [0, 2, 4, 6]].unbind(-1)
    assert torch.allclose(kept["angular_momentum"][:, 0], 2 * (x * vy - y * vx), rtol=1e-12)
    assert (data.test[..., 0::2] + data.test[..., 1::2]).abs().max() < 1e-7, "centre of mass"


def test_the_momentum_of_two_bodies_is_that_of_both() -> None:
    u = torch.tensor([0.0, 0, 0, 0, 1, 2, 3, 1], dtype=torch.float64)
    u[0] = 1.0
    with_distance = TwoBodySystem().invariants(u)
    assert with_distance["momentum"].item() == pytest.approx(5.0)
    assert with_distance["angular_momentum"].item() == pytest.approx(3.0)


def test_double_pendulums_keep_their_energy() -> None:
    data = DoublePendulum(samples=4)
    assert [len(s) for s in (data.train, data.val, data.test)] == [2, 1, 1]
    energy = data.system.invariants(data.train)["energy"]
    assert (energy - energy[:, :1]).abs().max() < 1e-6
    assert data.train[:, 0, :2].abs().max() <= 1
    assert (data.train[:, 0, 2:] == 0).all()


def test_lorenz_starts_on_the_attractor() -> None:
    data = Lorenz63(samples=3)
    assert data.train.shape == (1, 501, 3)
    assert (data.train[..., 2] > 0).all()
    assert data.train.abs().max() < 60


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (MassSpring, {"samples": 1}),
        (MassSpring, {"noise": -0.1}),
        (TwoBody, {"samples": 0}),
        (DoublePendulum, {"samples": 2}),
        (DoublePendulum, {"angle": float("nan")}),
        (Lorenz63, {"samples": 2}),
    ],
)
def test_numbers_out_of_range(kind, given: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(given))):
        kind(**given)


def test_seeds_beyond_32_bits_are_seeds_of_their_own() -> None:
    known = np.random.RandomState(7).rand(3)
    assert (legacy_random(7).rand(3) == known).all()
    larger = [legacy_random(seed).rand(3) for seed in (2**32, 2**32 + 7, 2**33 + 7, 2**63 - 1)]
    assert len({tuple(draw) for draw in (*larger, known)}) == 5
