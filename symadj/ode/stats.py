"""What a solve did, counted: steps, evaluations of the field, bytes kept."""

from __future__ import annotations

import dataclasses
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
    """

    accepted: int = 0
    rejected: int = 0
    forward: int = 0
    recomputed: int = 0
    with_graph: int = 0
    vjps: int = 0
    output_bytes: int = 0
    checkpoint_bytes: int = 0

    def __add__(self, other: SolveStats) -> SolveStats:
        mine, theirs = self.as_dict(), other.as_dict()
        return SolveStats(**{name: mine[name] + theirs[name] for name in mine})

    def as_dict(self) -> dict[str, int]:
        """The counts by name."""
        return dataclasses.asdict(self)
