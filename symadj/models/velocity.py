"""Velocity fields that carry noise to data: what they are conditioned on, and their guidance."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from symadj.calls.integrator import Integrator
from symadj.errors import InputError
from symadj.models.cnf import ContinuousFlow
from symadj.ranges import require

FREQUENCIES = 16
"""Pairs of cos(w t), sin(w t) that a network is given for the time."""

FASTEST = 30.0
"""The largest w, in radians per unit of t: faster ones make the field stiff for a solver."""


class Velocity(nn.Module):
    """A network v(t, x | label) of which dx/dt = v carries noise at t = 0 to data at t = 1.

    It is conditioned by a vector c = A s(B e(t)) + E[label], where e(t) are cosines and sines of
    the time, s is SiLU and E has a row for every class and one more for none of them, the null
    class of classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598). A subclass says with
    `velocity` what it makes of x and c.

    Args:
        data_shape: of one sample.
        classes: of which a sample may have one; 0 or None: unconditional.
        condition: entries of c.

    Attributes:
        data_shape, classes: as given.

    Raises:
        InputError: a number out of its range.
    """

    frequencies: Tensor

    def __init__(self, data_shape: Sequence[int], classes: int | None, condition: int) -> None:
        super().__init__()
        require("model", classes=classes)
        self.data_shape = tuple(data_shape)
        self.classes = classes or 0
        frequencies = [FASTEST ** (k / (FREQUENCIES - 1)) for k in range(FREQUENCIES)]
        self.register_buffer("frequencies", torch.tensor(frequencies), persistent=False)
        self.of_time = nn.Sequential(
            nn.Linear(2 * FREQUENCIES, condition), nn.SiLU(), nn.Linear(condition, condition)
        )
        self.of_label = nn.Embedding(classes + 1, condition) if classes else None

    def forward(self, t: Tensor | float, x: Tensor, label: Tensor | None = None) -> Tensor:
        """The velocity, of x's shape.

        Args:
            t: the time, one for all samples or one for each, [B].
            x: [B, *data_shape], or flattened, [B, d].
            label: of every sample, whole numbers [B]; `classes` stands for none. None: none.

        Raises:
            InputError: samples of another size, labels for a network without classes, or another
                number of labels or times than samples.
        """
        if math.prod(x.shape[1:]) != math.prod(self.data_shape) or x.dim() < 2:
            raise InputError(
                f"x has the shape {tuple(x.shape)}; samples of shape {self.data_shape}, "
                f"[B, {', '.join(map(str, self.data_shape))}] or flattened, are needed."
            )
        condition = self._condition(t, x, label)
        return self.velocity(x.reshape(-1, *self.data_shape), condition).reshape(x.shape)

    def velocity(self, x: Tensor, condition: Tensor) -> Tensor:
        """The velocity at x [B, *data_shape] under conditions s(c) [B, or 1 for all, width]."""
        raise NotImplementedError

    def _condition(self, t: Tensor | float, x: Tensor, label: Tensor | None) -> Tensor:
        t = torch.as_tensor(t, dtype=x.dtype, device=x.device).reshape(-1, 1)
        if len(t) not in (1, len(x)):
            raise InputError(f"{len(t)} times for {len(x)} samples; give one, or one for each.")
        angles = t * self.frequencies
        condition = self.of_time(torch.cat([angles.cos(), angles.sin()], dim=-1))
        if self.of_label is None:
            if label is not None:
                raise InputError(
                    "label is given to a velocity without classes; leave it out, or train on data "
                    "with labels (data=digits, data=mnist5k)."
                )
        elif label is None:
            condition = condition + self.of_label.weight[-1]
        else:
            if label.shape != x.shape[:1] or label.is_floating_point():
                raise InputError(
                    f"label is {label.dtype} of shape {tuple(label.shape)} for {len(x)} samples; "
                    "one whole number for each is needed."
                )
            condition = condition + self.of_label(label)
        return F.silu(condition)


class FiLM(nn.Module):
    """(1 + g(c)) a + b(c), entry by entry or channel by channel, with g and b linear in c.

    Perez et al. 2018 (arXiv:1709.07871).

    Args:
        condition: entries of c.
        channels: of a.
    """

    def __init__(self, condition: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(condition, 2 * channels)

    def forward(self, a: Tensor, condition: Tensor) -> Tensor:
        """a [B, channels, ...] under conditions [B or 1, condition]."""
        moved = self.linear(condition)
        scale, shift = moved.reshape(*moved.shape, *(1,) * (a.dim() - 2)).chunk(2, dim=1)
        return torch.addcmul(shift, 1 + scale, a)


class GuidedVelocity(nn.Module):
    """A velocity under classifier-free guidance, as a field f(t, x) for a solve.

        f(t, x) = v(t, x | none) + guidance * (v(t, x | label) - v(t, x | none))

    (Ho & Salimans 2022, arXiv:2207.12598, with guidance = 1 + w). Both velocities come from one
    pass with the batch twice; with no label, or a guidance of 0 or 1, one of them is left out.

    Args:
        model: v.
        label: a class for all samples, or whole numbers [B] with one for each; None: no class.
        guidance: 0 ignores the label, 1 is the velocity of the class; more exaggerates it.

    Raises:
        InputError: a label that is no class of the model, or a guidance without classes.
    """

    label: Tensor | None

    def __init__(
        self, model: Velocity, label: Tensor | int | None = None, guidance: float = 1.0
    ) -> None:
        super().__init__()
        require("task", guidance=guidance)
        self.model = model
        self.guidance = float(guidance)
        self.register_buffer("label", None if label is None else self._checked(label))
        if label is None and guidance != 1:
            raise InputError(
                f"guidance={guidance:g} without a class: it is a way from no class to one. "
                + ("Give a class." if model.classes else "The model was trained without classes.")
            )

    def forward(self, t: Tensor | float, x: Tensor) -> Tensor:
        """f(t, x), of x's shape: [B, *data_shape], or flattened."""
        if self.label is None or self.guidance == 0:
            return self.model(t, x)
        label = self.label.expand(len(x)) if self.label.dim() == 0 else self.label
        if self.guidance == 1:
            return self.model(t, x, label)
        if isinstance(t, Tensor) and t.dim():
            t = torch.cat([t, t])
        labels = torch.cat([torch.full_like(label, self.model.classes), label])
        without, within = self.model(t, torch.cat([x, x]), labels).chunk(2)
        return torch.lerp(without, within, self.guidance)

    def _checked(self, label: Tensor | int) -> Tensor:
        given = torch.as_tensor(label)
        device = next(self.model.parameters()).device
        if not self.model.classes:
            raise InputError(
                f"class={label}: the model was trained without classes. Leave it out, or train on "
                "data with labels (data=digits, data=mnist5k)."
            )
        whole = given.dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
        if given.dim() > 1 or not whole:
            raise InputError(
                f"label is {given.dtype} of shape {tuple(given.shape)}; a class, or one for each "
                "sample as whole numbers [B], is needed."
            )
        outside = given[(given < 0) | (given >= self.model.classes)]
        if outside.numel():
            raise InputError(
                f"class={int(outside.flatten()[0])}; the classes are 0 to {self.model.classes - 1}."
            )
        return given.to(device=device, dtype=torch.int64)


class FromData(nn.Module):
    """The same way backward, g(s, x) = -f(1 - s, x): data at s = 0, noise at s = 1.

    Args:
        field: f, from noise at t = 0 to data at t = 1.
    """

    def __init__(self, field: nn.Module) -> None:
        super().__init__()
        self.field = field

    def forward(self, s: Tensor, x: Tensor) -> Tensor:
        """g(s, x), of x's shape."""
        return -self.field(1 - s, x)


def flow_of(
    field: nn.Module, trace: str = "hutchinson", noise: str = "rademacher"
) -> ContinuousFlow:
    """The continuous normalizing flow whose samples a velocity field makes.

    With x(1) = x and dx/dt = f(t, x), log p(x) = log N(x(0); 0, I) - integral over t of
    tr(df/dx) (instantaneous change of variables, Chen et al. 2018, arXiv:1806.07366).

    Args:
        field: f(t, x), such as a `GuidedVelocity`; x is [B, d].
        trace, noise: as in `ContinuousFlow`.
    """
    return ContinuousFlow([FromData(field)], trace, noise)


def transport(field: nn.Module, x0: Tensor, integrator: Integrator) -> Tensor:
    """x(1) of dx/dt = f(t, x) from x(0) = x0, differentiable by the integrator's own method."""
    times = torch.tensor([0.0, 1.0], dtype=torch.float64, device=x0.device)
    return integrator.solve(field, x0, times).ys[-1]
