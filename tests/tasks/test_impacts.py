"""A ball's gravity, restitution and drag are learnt from its impacts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from symadj import InputError, Integrator, NoEventError, SolverSettings
from symadj.config.compose import compose
from symadj.data.physics.bouncing_ball import BouncingBallData, impacts_of
from symadj.data.toy2d import Toy2D
from symadj.models.bouncing_ball import BouncingBall
from symadj.models.node_mlp import NodeMLP
from symadj.run.train import train
from symadj.tasks.impacts import Impacts, without_drag

INTEGRATOR = Integrator(SolverSettings(rtol=1e-9, atol=1e-11))


def test_the_model_has_the_impacts_of_the_data_and_their_gradients() -> None:
    """Against the flights in closed form, differentiated through Newton's last step."""
    data = BouncingBallData(50)
    start = data.parts(data.test)[0]
    model = BouncingBall(7.0, 0.6, 0.3).double()
    times, places = model.impacts(start, 3, INTEGRATOR)
    gravity, restitution, drag = model.learnt.values()
    exact = impacts_of(start, 3, gravity, restitution, drag)  # type: ignore[arg-type]
    weights = torch.rand(2, *times.shape, dtype=torch.float64)
    gradients = []
    for of_times, of_places in ((times, places), exact):
        assert (of_times - exact[0]).abs().max() < 1e-8
        assert (of_places - exact[1]).abs().max() < 1e-8
        loss = (weights[0] * of_times + weights[1] * of_places).sum()
        gradients.append(torch.stack(torch.autograd.grad(loss, list(model.parameters()))))
    assert (gradients[0] - gradients[1]).norm() < 1e-7 * gradients[1].norm()


def test_a_loss_at_the_truth_is_that_of_the_noise() -> None:
    data, task = BouncingBallData(60, noise=0.01), Impacts()
    truth = BouncingBall(*data.truth.values()).double()
    task.bind(data, truth, INTEGRATOR)
    scores = task.test(truth, data.test, data, INTEGRATOR, 4)
    # The model's numbers begin in single precision.
    assert scores["loss"] < 1e-12
    assert scores["time_rmse"] < 1e-6
    assert scores["gravity_error"] < 1e-5
    assert scores["restitution_error"] < 1e-6
    assert 0.5 < scores["loss_mean"] < 4
    assert 0.05 < scores["gravity_error_vacuum"] < 1
    noisy = float(task.loss(truth, data.train, INTEGRATOR).detach())
    _, times, places = data.parts(data.train)
    wanted = 1e-4 / times.var() + 1e-4 / places.var()
    assert 0.7 < noisy / float(wanted) < 1.3


def test_without_drag_the_formulas_are_exact() -> None:
    data = BouncingBallData(20, drag=0.0, noise=0.0, gravity=3.7, restitution=0.6)
    gravity, restitution = without_drag(data.train)
    assert abs(gravity - 3.7) < 1e-10
    assert abs(restitution - 0.6) < 1e-10


def test_what_does_not_go_together() -> None:
    data, model = BouncingBallData(20), BouncingBall()
    with pytest.raises(InputError, match="data=bouncing_ball"):
        Impacts().bind(Toy2D("moons", 20), model, INTEGRATOR)
    with pytest.raises(InputError, match="model=bouncing_ball"):
        Impacts().bind(data, NodeMLP(10, [4]), INTEGRATOR)
    with pytest.raises(InputError, match=r"task\.bind"):
        Impacts().loss(model, data.train, INTEGRATOR)
    with pytest.raises(InputError, match="restitution=1"):
        BouncingBall(restitution=1.0)


def test_a_ball_that_does_not_come_down_has_no_impact() -> None:
    """Not in ten times the time that it would take without drag, that is."""
    model = BouncingBall(gravity=1e-3, drag=1.0).double()
    start = torch.tensor([[0.0, 1.0, 0.0, 0.0]], dtype=torch.float64)
    with pytest.raises(NoEventError, match="no event before"):
        model.impacts(start, 1, Integrator(SolverSettings(rtol=1e-3, atol=1e-3)))


def test_a_training_learns_gravity_and_restitution_in_seconds(tmp_path: Path) -> None:
    settings = [
        "experiment=bouncing_ball", f"out={tmp_path}", "data.samples=40", "data.impacts=2",
        "data.noise=0.001", "data.drag=0", "model.drag=1e-4", "train.steps=50", "optim.lr=0.1",
        "model.gravity=7", "model.restitution=0.6", "train.batch_size=4", "train.eval_every=25",
        "measure.iterations=1", "measure.warmup=0",
    ]  # fmt: skip
    record = train(compose("train", settings))
    assert record.status == "ok"
    # Off by 2.8 and 0.2 at the start.
    assert record.metrics["test/gravity_error"] < 0.4
    assert record.metrics["test/restitution_error"] < 0.03
    [run] = tmp_path.glob("*/plots/impacts.png")
    history = (run.parents[1] / "history.csv").read_text()
    assert "gravity_error" in history.splitlines()[0]
