from __future__ import annotations

import pytest
import torch

from symadj import InputError
from symadj.models.classifier import ClassifierConv, ClassifierMLP


def test_logits_have_a_column_for_each_class() -> None:
    x = torch.randn(5, 54)
    for model in (ClassifierMLP(54, 7, (8,)), ClassifierConv((9, 6), 7, (4, 8))):
        assert model(x).shape == (5, 7)


def test_a_sample_is_seen_as_it_would_be_alone() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 64, dtype=torch.float64)
    for model in (ClassifierMLP(64, 3), ClassifierConv((8, 8), 3)):
        model.double()
        alone = torch.cat([model(row[None]) for row in x])
        torch.testing.assert_close(model(x), alone)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ClassifierMLP(4), "the data have no classes"),
        (lambda: ClassifierMLP(4, 3, (0,)), "hidden="),
        (lambda: ClassifierConv((8, 8)), "the data have no classes"),
        (lambda: ClassifierConv(None, 3), "Take model=classifier_mlp"),
        (lambda: ClassifierConv((8, 8), 3, (0,)), "channels="),
    ],
)
def test_what_cannot_be_classified(make: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()  # pyright: ignore[reportCallIssue]
