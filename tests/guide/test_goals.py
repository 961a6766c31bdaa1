from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from symadj import InputError
from symadj.guide.goals import Classify, Deblur, Function, Goal, Inpaint, Subject, SuperRes, Target
from symadj.guide.goals.base import Measurement

HEIGHT, WIDTH = 6, 8
MEASUREMENTS: list[Measurement] = [
    Inpaint("random", 0.5),
    SuperRes(2),
    Deblur(0.8),
]


def pictures(x: Tensor) -> Tensor:
    return (x / 4 + 0.5).reshape(-1, HEIGHT, WIDTH)


def subject(n: int = 3, classes: int = 0, images: bool = True) -> Subject:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(n, HEIGHT * WIDTH, generator=generator, dtype=torch.float64)
    return Subject(HEIGHT * WIDTH, rows, "made up", classes, pictures if images else None)


@pytest.mark.parametrize("goal", MEASUREMENTS, ids=lambda goal: goal.name)
def test_a_reference_has_no_loss_and_another_image_has(goal: Measurement) -> None:
    goal.bind(subject())
    at = subject().references.requires_grad_()
    assert torch.equal(goal(at), torch.zeros(3).double())
    assert (goal(at + 0.1) > 0).all()
    [gradient] = torch.autograd.grad(goal(at + torch.randn_like(at)).sum(), [at])
    assert gradient.shape == at.shape
    assert (gradient != 0).any(dim=1).all()
    assert (goal.metrics(at)["psnr"] > 100).all()
    given = goal.target()
    assert given is not None
    assert given.shape == (3, HEIGHT, WIDTH)


@pytest.mark.parametrize("goal", MEASUREMENTS, ids=lambda goal: goal.name)
def test_measurements_are_linear_and_noise_has_its_deviation(goal: Measurement) -> None:
    goal.bind(subject())
    a, b = pictures(subject().references), torch.rand(3, HEIGHT, WIDTH).double()
    torch.testing.assert_close(goal.measure(2 * a - b), 2 * goal.measure(a) - goal.measure(b))
    noisy = type(goal)(noise=0.1)
    noisy.bind(subject(500))
    assert (noisy.y - noisy.measure(noisy.reference)).std() == pytest.approx(0.1, rel=0.05)


def test_psnr_is_that_of_the_mean_square() -> None:
    goal = SuperRes()
    goal.bind(subject())
    pixel = subject().references.clone()
    inside = pictures(pixel).reshape(3, -1)[:, 0].sub(0.5).abs() < 0.3
    pixel[:, 0] += 4 * 0.1
    expected = -10 * torch.tensor(0.1**2 / (HEIGHT * WIDTH)).log10()
    torch.testing.assert_close(
        goal.metrics(pixel)["psnr"][inside], expected.double().expand(int(inside.sum()))
    )


@pytest.mark.parametrize(
    ("mask", "known"),
    [("upper", HEIGHT * WIDTH // 2), ("left", HEIGHT * WIDTH // 2), ("frame", 48 - 4 * 4)],
)
def test_masks_know_what_they_say(mask: str, known: int) -> None:
    goal = Inpaint(mask)
    goal.bind(subject())
    seen = goal.target()
    assert seen is not None
    assert int(seen[0].isfinite().sum()) == known
    assert torch.equal(seen[seen.isfinite()], pictures(subject().references)[seen.isfinite()])


def test_a_mask_may_be_a_file_or_a_tensor(tmp_path: Path) -> None:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[1, 2] = True
    np.save(tmp_path / "mask.npy", mask)
    from_file, given = Inpaint(str(tmp_path / "mask.npy")), Inpaint(torch.from_numpy(mask))
    for goal in (from_file, given):
        goal.bind(subject())
    assert torch.equal(from_file.y, given.y)
    assert from_file.y.shape == (3, 1)


def test_means_and_blurs_are_what_they_say() -> None:
    coarse, blurred = SuperRes(2), Deblur(1.0)
    image = torch.zeros(1, HEIGHT, WIDTH).double()
    image[0, 3, 4] = 1
    assert coarse.measure(image)[0, 1, 2] == 0.25
    spread = blurred.measure(image)
    assert float(spread.max()) == float(spread[0, 3, 4])
    assert float(spread[0, 3, 5] / spread[0, 3, 4]) == pytest.approx(np.exp(-0.5))
    assert float(blurred.measure(torch.ones(1, 15, 15).double())[0, 7, 7]) == pytest.approx(1)


def test_a_point_and_a_function() -> None:
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    target = Target([0, 0])
    assert target(x).tolist() == [25, 0]
    assert target.metrics(x)["distance"].tolist() == [5, 0]
    assert Function(lambda x: x[:, 0])(x).tolist() == [3, 0]
    assert Function("torch.linalg.vector_norm")(x).item() == 5


class Sees(nn.Module):
    """The class is the place of the largest of the first entries."""

    def forward(self, x: Tensor) -> Tensor:
        return 9 * x[:, :3]


def test_a_class_is_seen() -> None:
    goal = Classify(Sees(), judge=Sees())
    goal.bind(subject(4, classes=3))
    assert goal.wanted.tolist() == [0, 1, 2, 0]
    x = nn.functional.one_hot(torch.tensor([0, 1, 1, 0]), HEIGHT * WIDTH).double()
    assert (goal(x) < 1e-3).tolist() == [True, True, False, True]
    assert goal.metrics(x)["success"].tolist() == [1, 1, 0, 1]
    assert goal.metrics(x)["judged"].tolist() == [1, 1, 0, 1]
    one = Classify(Sees(), label=2)
    one.bind(subject(4, classes=3))
    assert one.wanted.tolist() == [2, 2, 2, 2]


@pytest.mark.parametrize(
    ("goal", "about", "said"),
    [
        (Inpaint(), subject(images=False), "goal=inpaint is for images, and data=made up are none"),
        (Inpaint(torch.ones(3, 3).bool()), subject(), r"need booleans of shape \(6, 8\)"),
        (Inpaint(torch.ones(6, 8)), subject(), "mask: torch.float32 of shape"),
        (Inpaint(torch.zeros(6, 8).bool()), subject(), "no pixel is known"),
        (Inpaint("nowhere.npy"), subject(), "cannot be read as an array"),
        (SuperRes(4), subject(), "factor=4 does not divide images of 6x8"),
        (Target([0, 0]), subject(), r"has 2 entries, and a sample of made up has 48"),
        (Classify(Sees()), subject(), "goal=classify needs classes"),
        (Classify(Sees(), label=3), subject(classes=3), "the classes 0 to 2"),
        (Classify(Sees()), subject(classes=4), "gives logits of shape"),
        (Classify(nn.Linear(5, 3)), subject(classes=3), "does not take samples of 48"),
        (Classify("results/runs/x"), subject(classes=3), "give a module instead"),
    ],
)
def test_a_goal_that_does_not_fit(goal: Goal, about: Subject, said: str) -> None:
    with pytest.raises(InputError, match=said):
        goal.bind(about)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Inpaint("uper"), "Did you mean 'upper'"),
        (lambda: Inpaint(fraction=0.0), "fraction=0.0; the fraction of pixels"),
        (lambda: SuperRes(1), "factor=1; the factor"),
        (lambda: Deblur(0.0), "width=0.0"),
        (lambda: Target([float("nan"), 0]), "point="),
        (lambda: Function("torch.nothing"), "function=torch.nothing: cannot be imported"),
        (lambda: Function("torch.pi"), "is no class or function"),
    ],
)
def test_arguments_that_cannot_be_used(make: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()  # pyright: ignore[reportCallIssue]
