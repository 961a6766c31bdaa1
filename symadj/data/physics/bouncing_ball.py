"""Where and when a bouncing ball meets the ground."""

from __future__ import annotations

import torch
from torch import Tensor

from symadj.data.base import VectorData, split_rows
from symadj.errors import InputError
from symadj.memory import require_memory
from symadj.ranges import require

START = ("x", "z", "vx", "vz")


class BouncingBallData(VectorData):
    """Impacts of balls that fly over level ground, with drag, and bounce.

        dx/dt = v,   dv/dt = -g e_z - c v;    where z = 0:  v_z becomes -e v_z

    in metres and seconds, x along the ground and z the height. A ball starts at x = 0 with z from
    U(1, 3), v_x from U(-2, 2) and v_z from U(-2, 2). A row of the data is its start, x, z, v_x and
    v_z, and then t and x of its first impacts, one after the other. Flights are known in closed
    form but for the time of the impact, which Newton's method finds to rounding.

    The rows are split 80/10/10. Those to train on are observed with noise; the starts are exact.

    Args:
        samples: number of balls, at least 10.
        impacts: of each, at least 2.
        gravity: g, in m/s^2.
        restitution: e, above 0 and at most 1.
        drag: c, in 1/s.
        noise: the deviation of a training observation, in seconds and metres.
        seed: of the starts, the split and the noise.

    Raises:
        InputError: a number out of its range.
    """

    def __init__(
        self,
        samples: int = 300,
        impacts: int = 3,
        gravity: float = 9.81,
        restitution: float = 0.8,
        drag: float = 0.1,
        noise: float = 0.01,
        seed: int = 0,
    ) -> None:
        self.truth = {"gravity": gravity, "restitution": restitution, "drag": drag}
        require("data", samples=samples, impacts=impacts, noise=noise, seed=seed, **self.truth)
        if samples < 10:
            raise InputError(f"samples={samples}; three splits of 80/10/10 need at least 10 balls.")
        entries = len(START) + 2 * impacts
        require_memory(
            24 * samples * entries, f"samples={samples}, impacts={impacts}", "take fewer"
        )
        self.impacts = impacts
        generator = torch.Generator().manual_seed(seed)
        low = torch.tensor([0.0, 1.0, -2.0, -2.0], dtype=torch.float64)
        high = torch.tensor([0.0, 3.0, 2.0, 2.0], dtype=torch.float64)
        draws = torch.rand(samples, len(START), generator=generator, dtype=torch.float64)
        starts = low + (high - low) * draws
        times, places = impacts_of(starts, impacts, gravity, restitution, drag)
        rows = torch.cat([starts, torch.stack([times, places], dim=-1).flatten(1)], dim=1)
        train, val, test = split_rows(rows, seed)
        observed = train[:, len(START) :]
        observed += noise * torch.randn(observed.shape, generator=generator, dtype=torch.float64)
        columns = (*START, *(f"{name}{k + 1}" for k in range(impacts) for name in ("t", "x")))
        note = f"{impacts} impacts of a ball, g {gravity:g}, restitution {restitution:g}"
        super().__init__("bouncing_ball", train, val, test, f"{note}, drag {drag:g}", columns)

    @staticmethod
    def parts(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The starts [B, 4], and the times and the places of the impacts, [B, impacts] each."""
        observed = rows[:, len(START) :].unflatten(1, (-1, 2))
        return rows[:, : len(START)], observed[..., 0], observed[..., 1]


def impacts_of(
    starts: Tensor, impacts: int, gravity: float, restitution: float, drag: float
) -> tuple[Tensor, Tensor]:
    """The times and the places of the first impacts, [B, impacts] each.

    Args:
        starts: (x, z, v_x, v_z), float64 [B, 4].
        impacts: how many.
        gravity: g.
        restitution: e.
        drag: c.
    """
    x, z, vx, vz = starts.unbind(1)
    t = torch.zeros_like(x)
    times, places = [], []
    for _ in range(impacts):
        flight = _flight(z, vz, gravity, drag)
        reach, _ = _travel(flight, drag)
        t, x = t + flight, x + vx * reach
        slowed = torch.exp(-drag * flight)
        vx, vz = vx * slowed, -restitution * (vz * slowed - gravity * reach)
        z = torch.zeros_like(z)
        times.append(t)
        places.append(x)
    return torch.stack(times, 1), torch.stack(places, 1)


def _travel(t: Tensor, drag: float) -> tuple[Tensor, Tensor]:
    """How far a unit of velocity gets in t, and how far a unit of gravity."""
    if drag == 0:
        return t, t * t / 2
    reach = -torch.expm1(-drag * t) / drag
    return reach, (t - reach) / drag


def _flight(z: Tensor, vz: Tensor, gravity: float, drag: float) -> Tensor:
    """The time until the ground, by Newton's method.

    The height is a concave function of the time, so that from a time after the impact every step
    lands between the last one and the impact.
    """

    def height(t: Tensor) -> tuple[Tensor, Tensor]:
        reach, fallen = _travel(t, drag)
        return z + vz * reach - gravity * fallen, vz * torch.exp(-drag * t) - gravity * reach

    t = (vz + torch.sqrt(vz**2 + 2 * gravity * z)) / gravity
    while bool((height(t)[0] > 0).any()):
        t = torch.where(height(t)[0] > 0, 2 * t, t)
    for _ in range(50):
        value, rate = height(t)
        t = t - value / rate
    return t
