"""Every warning points at the user's own line, whichever way into the library it took."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from symadj import Integrator, SolverSettings, odeint, odeint_adjoint, solve, torchdiffeq
from symadj.models.cnf import CNF
from symadj.run.train import train
from tests.standins import standin_config

T = torch.tensor([0.0, 1.0])
Y0 = torch.ones(2)
TIGHT = SolverSettings(rtol=1e-9)
ODD: dict[str, Any] = {"odd": 1}
STEPS: dict[str, Any] = {"num_steps": 2}


def decay(t: Tensor, y: Tensor) -> Tensor:
    return -y


def noisy(t: Tensor, y: Tensor) -> Tensor:
    return -y * torch.rand_like(y)


class Watched(nn.Module):
    """Has a callback that fixed steps do not call."""

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return -y

    def callback_accept_step(self, t: Tensor, y: Tensor, dt: Tensor) -> None: ...


def flow() -> CNF:
    return CNF(dim=2, hidden=[4])


def leaf() -> Tensor:
    return torch.ones(2, requires_grad=True)


# A lambda's only line is the user's.
WAYS: dict[str, tuple[str, Callable[[], object]]] = {
    "odeint": ("rtol", lambda: odeint(decay, Y0, T)),
    "odeint_adjoint": ("rtol", lambda: odeint_adjoint(decay, Y0, T)),
    "solve": ("rtol", lambda: solve(decay, Y0, T)),
    "an Integrator": ("rtol", lambda: Integrator(TIGHT).solve(decay, Y0, T)),
    "a model": ("rtol", lambda: flow().log_prob(torch.ones(3, 2), Integrator(TIGHT))),
    "a model, called": ("rtol", lambda: nn.Module.__call__(flow(), Y0[None], Integrator(TIGHT))),
    "vmap": ("rtol", lambda: torch.func.vmap(lambda y: odeint(decay, y, T))(torch.ones(3, 2))),
    "callbacks": ("callback", lambda: odeint(Watched(), Y0, T, rtol=1e-3, options=STEPS)),
    "noise": ("random", lambda: odeint(noisy, leaf(), T, rtol=1e-3, gradient="adjoint")),
    "a constant": ("zero", lambda: odeint(lambda t, y: y.detach(), leaf(), T, rtol=1e-3)),
    "compile": ("no torch", lambda: odeint(decay, Y0, T, rtol=1e-3, options={"compile": True})),
    "drop-in": ("odd", lambda: torchdiffeq.odeint(decay, Y0, T, options=ODD)),
    "drop-in, adjoint": ("odd", lambda: torchdiffeq.odeint_adjoint(decay, leaf(), T, options=ODD)),
    "drop-in, of the adjoint": (
        "odd",
        lambda: torchdiffeq.odeint_adjoint(Watched(), leaf(), T, adjoint_options=ODD),
    ),
    "drop-in, dense": ("odd", lambda: torchdiffeq.odeint_dense(decay, Y0, 0.0, 1.0, options=ODD)),
    "drop-in, callbacks": ("callback", lambda: torchdiffeq.odeint(Watched(), Y0, T, method="rk4")),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_warning_points_at_the_line_of_the_call(way: str) -> None:
    words, call = WAYS[way]
    with pytest.warns(UserWarning, match=words) as caught:
        call()
    places = {(w.filename, w.lineno) for w in caught}
    line = call.__code__.co_firstlineno
    assert places == {(__file__, line)}


def test_a_training_on_built_in_parts_warns_at_the_line_that_trains(tmp_path: Path) -> None:
    small = ("data=toy2d", "data.size=40", "task=density", "model=cnf", "model.hidden=[4]")
    config = standin_config(tmp_path, *small, "solver.rtol=1e-9", "train.steps=2", "seed=0")
    with pytest.warns(UserWarning, match="rtol") as caught:
        train(config, small)
    line = test_a_training_on_built_in_parts_warns_at_the_line_that_trains.__code__.co_firstlineno
    assert {(w.filename, w.lineno) for w in caught} == {(__file__, line + 4)}


def test_a_warning_is_shown_once_a_line() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            odeint(decay, Y0, T)
        odeint(decay, Y0, T)
    assert len(caught) == 2
