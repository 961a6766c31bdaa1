"""What a solve did, counted: steps, evaluations of the field, bytes kept."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class SolveStats:
    """Counts of one solve (or a sum of several, by `+`).

    The gradient method goes on counting in the same object while it works backward, so the figures
    of the backward pass are there once `backward()` has run (twice, after a second backward).

    Attributes:
        accepted: accepted steps, forward and (adjoint method) backward.
        rejected: rejected steps, likewise.
        forward: evaluations of the field in the forward pass.
        recomputed: evaluations in the backward pass that build no graph.
        with_graph: evaluations that build the graph of a vector-Jacobian product. With
            `gradient="backprop"` these are the forward ones, counted in both places.
        vjps: uses of the field through which a cotangent was pulled back.
        output_bytes: bytes of the returned states.
        checkpoint_bytes: bytes of what is kept between forward and backward in the memory of the
            state's device; what `offload` moved elsewhere is not in it.
        newton_iterations: of implicit methods: iterations of Newton's method.
        jacobians: Jacobians (of linear_solver=gmres: linearisations) that were made for them.
        factorisations: LU factorisations, a batch of them counted once.
        linear_products: products with a Jacobian or its transpose, made to solve linear systems.
        reversal_error: of `gradient="reversible"`: how far the start that the backward pass came
            back to lies from y0, relative to y0; of several solves the largest.
    """

    accepted: int = 0
    rejected: int = 0
    forward: int = 0
    recomputed: int = 0
    with_graph: int = 0
    vjps: int = 0
    output_bytes: int = 0
    checkpoint_bytes: int = 0
    newton_iterations: int = 0
    jacobians: int = 0
    factorisations: int = 0
    linear_products: int = 0
    reversal_error: float = 0.0

    def __add__(self, other: SolveStats) -> SolveStats:
        mine, theirs = self.as_dict(), other.as_dict()
        error = max(self.reversal_error, other.reversal_error)
        return SolveStats(
            **{name: mine[name] + theirs[name] for name in mine}, reversal_error=error
        )

    def as_dict(self) -> dict[str, int]:
        """The counts by name."""
        return {name: n for name, n in vars(self).items() if name != "reversal_error"}
