"""Learning gravity, restitution and drag from the impacts of a bouncing ball."""

from __future__ import annotations

from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from symadj.calls.integrator import Integrator
from symadj.data.physics.bouncing_ball import BouncingBallData
from symadj.errors import InputError
from symadj.figures.physics import scatter_pairs
from symadj.models.bouncing_ball import BouncingBall
from symadj.tasks.base import Task


class Impacts(Task):
    """The impacts of balls from their starts.

    The loss is the mean over balls and impacts of

        ((t_model - t) / s_t)^2 + ((x_model - x) / s_x)^2

    with the deviations s_t, s_x of all times and all places in the training split. Each t_model is
    the time of an event of a solve, and x_model is a part of the state there, which begins where
    the event before has left it: the gradient goes through all of them.

    Attributes:
        monitor: the metric whose minimum on the validation split chooses the weights.
        tracked: the errors of what is learnt, which history.csv has.
    """

    monitor = "loss"
    tracked = ("gravity_error", "restitution_error")

    def __init__(self) -> None:
        self.scales: tuple[float, float] | None = None

    def bind(self, data: Any, model: nn.Module, integrator: Integrator) -> None:
        """Takes the deviations of times and places from the data.

        Raises:
            InputError: data or a model of another kind, or a single ball to train on.
        """
        if not isinstance(data, BouncingBallData):
            raise InputError(
                f"task=impacts learns from impacts, and data={getattr(data, 'name', data)} has "
                "none. Take data=bouncing_ball."
            )
        if not isinstance(model, BouncingBall):
            raise InputError(
                f"task=impacts needs a model that bounces, and {type(model).__name__} does not. "
                "Take model=bouncing_ball."
            )
        _, times, places = data.parts(data.train)
        self.scales = float(times.std()), float(places.std())

    def loss(self, model: BouncingBall, batch: Tensor, integrator: Integrator) -> Tensor:
        """The loss of rows [B, 4 + 2 impacts], a scalar.

        Raises:
            InputError: `bind` was not called.
        """
        start, times, places = BouncingBallData.parts(batch)
        return self._loss(*self._errors(model, start, times, places, integrator))

    def evaluate(
        self,
        model: BouncingBall,
        x: Tensor,
        data: BouncingBallData,
        integrator: Integrator,
        batch_size: int,
    ) -> dict[str, float]:
        """Scores of rows, without gradients.

        Returns:
            "loss"; "time_rmse" in seconds and "place_rmse" in metres; "gravity_error" in m/s^2,
            "restitution_error" and "drag_error" in 1/s, what is learnt less the truth, absolute.
        """
        with torch.no_grad():
            errors = [
                self._errors(model, *data.parts(rows), integrator) for rows in x.split(batch_size)
            ]
        of_times, of_places = (torch.cat(part) for part in zip(*errors, strict=True))
        learnt = {name: float(value.detach()) for name, value in model.learnt.items()}
        return {
            "loss": float(self._loss(of_times, of_places)),
            "time_rmse": float(of_times.square().mean().sqrt()),
            "place_rmse": float(of_places.square().mean().sqrt()),
            **{f"{name}_error": abs(learnt[name] - true) for name, true in data.truth.items()},
        }

    def test(
        self,
        model: BouncingBall,
        x: Tensor,
        data: BouncingBallData,
        integrator: Integrator,
        batch_size: int,
    ) -> dict[str, float]:
        """As `evaluate`, beside two baselines.

        Returns:
            Those of `evaluate`; "loss_mean", where every ball has the mean times and places of the
            training split; "gravity_error_vacuum" and "restitution_error_vacuum", of what the
            formulas without drag make of the training split (`without_drag`).
        """
        scores = self.evaluate(model, x, data, integrator, batch_size)
        _, times, places = data.parts(x.double().cpu())
        _, seen_times, seen_places = data.parts(data.train.double())
        mean = self._loss(seen_times.mean(0) - times, seen_places.mean(0) - places)
        gravity, restitution = without_drag(data.train.double())
        return {
            **scores,
            "loss_mean": float(mean),
            "gravity_error_vacuum": abs(gravity - data.truth["gravity"]),
            "restitution_error_vacuum": abs(restitution - data.truth["restitution"]),
        }

    def figures(
        self,
        model: BouncingBall,
        data: BouncingBallData,
        integrator: Integrator,
        generator: torch.Generator,
    ) -> dict[str, Figure]:
        """ "impacts": predicted times and places of the test split over the true ones."""
        x = data.test.to(model.log_gravity)
        start, times, places = data.parts(x)
        with torch.no_grad():
            found = model.impacts(start, data.impacts, integrator)
        pairs = {
            name: (true.flatten().cpu().numpy(), mine.flatten().cpu().numpy())
            for name, true, mine in zip(
                ("time of the impact (s)", "place of the impact (m)"),
                (times, places),
                found,
                strict=True,
            )
        }
        return {"impacts": scatter_pairs(pairs, data.name)}

    def _errors(
        self,
        model: BouncingBall,
        start: Tensor,
        times: Tensor,
        places: Tensor,
        integrator: Integrator,
    ) -> tuple[Tensor, Tensor]:
        found_times, found_places = model.impacts(start, times.shape[1], integrator)
        return found_times - times, found_places - places

    def _loss(self, of_times: Tensor, of_places: Tensor) -> Tensor:
        if self.scales is None:
            raise InputError("the scales of times and places are not known; call task.bind first.")
        of_time, of_place = self.scales
        return ((of_times / of_time).square() + (of_places / of_place).square()).mean()


def without_drag(rows: Tensor) -> tuple[float, float]:
    """Gravity and restitution as observed impacts have them where there is no drag.

    A ball that starts at height z with the velocity v and meets the ground at t_1 and t_2 has

        g = 2 (z + v t_1) / t_1^2,    e = g (t_2 - t_1) / (2 (g t_1 - v)).

    Of many balls the medians.
    """
    start, times, _ = BouncingBallData.parts(rows)
    z, v = start[:, 1], start[:, 3]
    first, second = times[:, 0], times[:, 1]
    gravity = float((2 * (z + v * first) / first**2).median())
    return gravity, float((gravity * (second - first) / (2 * (gravity * first - v))).median())
