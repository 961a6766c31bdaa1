"""The paper's baseline scheme: one checkpoint per solve, then backpropagation through all of it."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from symadj.grad.base import Replay, ReplayMethod
from symadj.grad.stores import Store
from symadj.ode.problem import Problem


class Checkpoint(ReplayMethod):
    """Keeps y0 and the accepted grid; backward, integrates again on that grid with the whole graph.

    Memory: one state, and in the backward pass the graphs of N s network uses. With several solves
    in a row (a flow of M components) only one of them has its graph at a time.
    """

    name = "checkpoint"
    per_sample = True

    def open_store(self, problem: Problem) -> Store:
        """The grid alone: y0 of the whole solve is kept anyway."""
        return Store(problem)

    def pull_solve(self, replay: Replay, y0: Tensor, cotangents: Tensor) -> Tensor:
        """The whole solve with graph on its frozen grid, then one call of autograd."""
        problem, field = replay.problem, replay.field
        leaf = y0.detach().requires_grad_()
        before = dataclasses.replace(field.stats)
        with torch.enable_grad():
            outputs = problem.trace(leaf, steps=replay.steps)
        field.stats.accepted = before.accepted
        field.stats.vjps += field.stats.with_graph - before.with_graph
        of_start, *of_params = field.pull(outputs, [leaf], list(cotangents))
        replay.gradients.add(of_params)
        assert of_start is not None
        return of_start
