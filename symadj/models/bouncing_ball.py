"""A bouncing ball whose gravity, restitution and drag are learnt."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from symadj.calls.integrator import Integrator
from symadj.ode.events import Event
from symadj.ranges import require

_LONG = 10.0


class BouncingBall(nn.Module):
    """Balls over level ground that fly by themselves and bounce:

        dx/dt = v,   dv/dt = -g e_z - c v;    where z = 0:  v_z becomes -e v_z.

    A state is (x, z, v_x, v_z). Learnt are log g, the logit of e, and log c.

    Args:
        gravity: g to begin with, in m/s^2.
        restitution: e, between 0 and 1.
        drag: c, in 1/s.

    Raises:
        InputError: a number out of its range.
    """

    def __init__(self, gravity: float = 5.0, restitution: float = 0.5, drag: float = 0.5) -> None:
        super().__init__()
        require("model", gravity=gravity, restitution=restitution, drag=drag)
        self.log_gravity = nn.Parameter(torch.tensor(math.log(gravity)))
        logit = math.log(restitution / (1 - restitution))
        self.logit_restitution = nn.Parameter(torch.tensor(logit))
        self.log_drag = nn.Parameter(torch.tensor(math.log(drag)))

    @property
    def learnt(self) -> dict[str, Tensor]:
        """g, e and c by the names of the constructor's arguments."""
        return {
            "gravity": self.log_gravity.exp(),
            "restitution": self.logit_restitution.sigmoid(),
            "drag": self.log_drag.exp(),
        }

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """dy/dt of balls in flight [B, 4]."""
        velocity = y[:, 2:]
        gravity = torch.stack([torch.zeros_like(self.log_gravity), self.log_gravity.exp()])
        return torch.cat([velocity, -gravity - self.log_drag.exp() * velocity], dim=1)

    def impacts(self, start: Tensor, count: int, integrator: Integrator) -> tuple[Tensor, Tensor]:
        """The times and the places of the first impacts, [B, count] each, differentiable.

        Between two impacts every ball has a clock of its own, so that one solve has a flight of all
        of them: each meets the ground at its own event of it, and the last one ends it.

        Args:
            start: [B, 4], above the ground, or on it and rising.
            count: how many.
            integrator: solver and gradient method.

        Raises:
            NoEventError: a ball that does not come down.
        """
        y, t = start, torch.zeros_like(start[:, 0])
        times, places = [], []
        for _ in range(count):
            flight, y = self._fly(y, integrator)
            t = t + flight
            times.append(t)
            places.append(y[:, 0])
            restitution = self.logit_restitution.sigmoid()
            y = torch.stack([y[:, 0], torch.zeros_like(t), y[:, 2], -restitution * y[:, 3]], dim=1)
        return torch.stack(times, 1), torch.stack(places, 1)

    def _fly(self, y: Tensor, integrator: Integrator) -> tuple[Tensor, Tensor]:
        """How long each ball is in the air, [B], and its state where it comes down, [B, 4]."""
        with torch.no_grad():
            g, z, v = self.log_gravity.exp(), y[:, 1], y[:, 3]
            without_drag = ((v + torch.sqrt(v**2 + 2 * g * z)) / g).amax()
            span = torch.stack([torch.zeros_like(without_drag), _LONG * without_drag])
        events = [Event(_heights, terminal=False, direction="falling"), Event(_highest)]
        found = integrator.solve(self, y, span, events=events).at_event()
        [of_balls] = torch.nonzero(found.event == 0, as_tuple=True)
        rows = of_balls[found.entry[of_balls].argsort()]
        balls = torch.arange(len(y))
        return found.t[rows].to(y.dtype), found.ys[rows, balls]


def _heights(t: Tensor, y: Tensor) -> Tensor:
    return y[:, 1]


def _highest(t: Tensor, y: Tensor) -> Tensor:
    return y[:, 1].amax()
