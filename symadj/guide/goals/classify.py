"""A class is wanted."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from symadj.errors import InputError
from symadj.guide.goals.base import Goal, Subject
from symadj.guide.sampler import frozen
from symadj.ranges import require


class Classify(Goal):
    """A classifier is to see a class: loss(x) = -log p(label | x), in nats.

    Args:
        classifier: the directory of a run of task=classify on the same data; in Python a module
            that gives logits [B, classes] of samples [B, dim], in evaluation mode.
        label: the class that is wanted; None: class i mod classes of sample i.
        judge: a further such run, which guides nothing and says whether it sees the class too;
            None: there is none.

    Raises:
        InputError: a label out of its range.
    """

    def __init__(
        self,
        classifier: str | nn.Module,
        label: int | None = None,
        judge: str | nn.Module | None = None,
    ) -> None:
        require("goal", label=label)
        self.classifier, self.label, self.judge = classifier, label, judge
        self.description = "classify"

    def bind(self, subject: Subject) -> None:
        """`Goal.bind`."""
        if not subject.classes:
            raise InputError(
                f"goal=classify needs classes, and data={subject.name} have none. Take a run on "
                "data with labels (data=digits, data=mnist5k), or another goal."
            )
        if self.label is not None and self.label >= subject.classes:
            raise InputError(
                f"label={self.label}; data={subject.name} have the classes 0 to "
                f"{subject.classes - 1}."
            )
        self._sees = _module(self.classifier, "classifier", subject)
        self._judges = None if self.judge is None else _module(self.judge, "judge", subject)
        like, count = subject.references, len(subject.references)
        wanted = torch.arange(count, device=like.device) % subject.classes
        self.wanted = wanted if self.label is None else torch.full_like(wanted, self.label)
        what = "every class in turn" if self.label is None else f"class {self.label}"
        self.description = f"classify: {what}"

    def __call__(self, x: Tensor) -> Tensor:
        """`Goal.__call__`; as many samples as there are references."""
        with frozen(self._sees):
            return F.cross_entropy(self._sees(x), self.wanted, reduction="none")

    def metrics(self, x: Tensor) -> dict[str, Tensor]:
        """ "success", and "judged" where there is a judge: 1 where the class is seen, else 0."""
        seen = {"success": self._right(self._sees, x)}
        return seen if self._judges is None else seen | {"judged": self._right(self._judges, x)}

    def _right(self, module: nn.Module, x: Tensor) -> Tensor:
        return (module(x).argmax(1) == self.wanted).to(x.dtype)


def _module(given: str | nn.Module, setting: str, subject: Subject) -> nn.Module:
    """The classifier that is given, or that of the run that is.

    Raises:
        InputError: it does not take these samples, or knows other classes.
    """
    module = subject.classifier(given, setting) if isinstance(given, str) else given
    with torch.no_grad():
        try:
            logits = module(subject.references[:1])
        except (RuntimeError, ValueError) as error:
            raise InputError(
                f"{setting}={given} does not take samples of {subject.dim} entries ({error}). "
                "Take a classifier of the same data."
            ) from error
    if logits.shape != (1, subject.classes):
        raise InputError(
            f"{setting}={given} gives logits of shape {tuple(logits.shape[1:])}; data="
            f"{subject.name} have {subject.classes} classes."
        )
    return module
