"""Flow matching: the loss and its coupling, likelihoods, samples by class, and that it learns."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from symadj import Integrator, SolverSettings
from symadj.data.base import VectorData, place_batch
from symadj.data.digits import Digits
from symadj.data.physics.oscillators import MassSpring
from symadj.data.toy2d import Toy2D
from symadj.errors import InputError
from symadj.models.cnf import CNF
from symadj.models.velocity import GuidedVelocity, Velocity, flow_of, transport
from symadj.models.velocity_mlp import VelocityMLP
from symadj.share import Share, sharing
from symadj.tasks.density import Density
from symadj.tasks.flow_matching import ASSIGNED, DRAWS, EXACT, FlowMatching, _assigned

RK4 = SolverSettings("rk4", num_steps=4)


def integrator() -> Integrator:
    return Integrator(RK4)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Seen(Velocity):
    """v = 3 everywhere; keeps what it was asked."""

    def __init__(self, dim: int, classes: int = 0) -> None:
        super().__init__((dim,), classes, 4)

    def forward(self, t: Any, x: Tensor, label: Tensor | None = None) -> Tensor:
        self.asked = t, x, label
        return torch.full_like(x, 3.0)


def labelled(dim: int = 2, classes: int = 3, n: int = 40) -> VectorData:
    train, val, test = (torch.randn(n, dim, generator=generator(i)) for i in range(3))
    data = VectorData("labelled", train, val, test)
    data.set_labels(*(torch.arange(n) % classes for _ in range(3)))
    return data


def bound(task: FlowMatching, data: VectorData, model: Velocity) -> FlowMatching:
    task.bind(data, model, integrator())
    return task


@pytest.mark.parametrize("sigma_min", [0.0, 0.25])
@pytest.mark.parametrize("times", ["uniform", "logit_normal"])
def test_the_loss_is_the_squared_distance_to_the_velocity_of_the_line(
    times: str, sigma_min: float
) -> None:
    model, x1 = Seen(4), torch.randn(6, 4)
    torch.manual_seed(3)
    loss = FlowMatching(times=times, sigma_min=sigma_min).loss(model, x1, integrator())
    torch.manual_seed(3)
    x0 = torch.randn(6, 4)
    t = torch.rand(6) if times == "uniform" else torch.randn(6).sigmoid()
    asked_t, asked_x, label = model.asked
    assert torch.equal(asked_t, t)
    assert label is None
    line = (1 - (1 - sigma_min) * t[:, None]) * x0 + t[:, None] * x1
    torch.testing.assert_close(asked_x, line)
    torch.testing.assert_close(loss, (3 - (x1 - (1 - sigma_min) * x0)).square().mean())


def test_no_solve_is_made_in_training() -> None:
    data, model, counted = Digits(), VelocityMLP(64, 10, width=8, blocks=1), integrator()
    task = bound(FlowMatching(), data, model)
    batch = place_batch(task.sample_batch(data, 16, generator()), torch.float32)
    task.loss(model, batch, counted).backward()
    assert counted.take_stats().forward == 0
    assert not task.solves


def test_labels_are_left_out_as_often_as_asked_for() -> None:
    model, labels = Seen(2, classes=3), torch.arange(4000) % 3
    for dropout in (0.0, 0.3):
        FlowMatching(class_dropout=dropout).loss(
            model, (torch.zeros(4000, 2), labels), integrator()
        )
        seen = model.asked[2]
        assert seen is not None
        left_out = seen == 3
        assert torch.equal(seen[~left_out], labels[~left_out])
        assert left_out.float().mean().item() == pytest.approx(dropout, abs=0.03)


def test_optimal_transport_pairs_at_the_least_cost_of_all_permutations() -> None:
    x0, x1 = torch.randn(6, 3, generator=generator()), torch.randn(6, 3, generator=generator(1))
    found = (_assigned(x0, x1, None) - x1).square().sum()
    costs = [(x0[list(p)] - x1).square().sum() for p in itertools.permutations(range(6))]
    torch.testing.assert_close(found, min(costs))


def test_optimal_transport_keeps_noise_within_the_class_that_it_was_drawn_for() -> None:
    x0, x1 = torch.randn(9, 3), torch.randn(9, 3)
    label = torch.tensor([0, 1, 2] * 3)
    found = _assigned(x0, x1, label)
    for one in range(3):
        mine = label == one
        assert sorted(found[mine].tolist()) == sorted(x0[mine].tolist())
        torch.testing.assert_close(found[mine], _assigned(x0[mine], x1[mine], None))
    assert not torch.equal(found, x0)


def test_the_shares_of_several_devices_add_up_to_the_loss_of_the_batch() -> None:
    model = VelocityMLP(3, 2, width=8, blocks=1)
    torch.nn.init.normal_(model.last.weight)
    x, labels = torch.randn(7, 3), torch.arange(7) % 2
    task, total = FlowMatching(class_dropout=0.5), torch.zeros(())
    for rank in range(3):
        share = Share.of(7, rank, 3)
        torch.manual_seed(1)
        with sharing(share):
            batch = share.cut(x), share.cut(labels)
            total = total + share.weight * task.loss(model, batch, integrator())
    torch.manual_seed(1)
    torch.testing.assert_close(total, task.loss(model, (x, labels), integrator()))


def test_optimal_transport_is_asked_for_by_name() -> None:
    model, x1 = Seen(3), torch.randn(20, 3)
    losses = []
    for coupling in ("independent", "optimal_transport"):
        torch.manual_seed(1)
        task = FlowMatching(coupling)
        losses.append(task.loss(model, x1, integrator()).item())
    torch.manual_seed(1)
    x0 = _assigned(torch.randn(20, 3), x1, None)
    assert losses[1] == pytest.approx((3 - (x1 - x0)).square().mean().item())
    assert losses[0] != losses[1]


def test_a_validation_draws_times_and_noise_for_every_row_whatever_the_batches_are() -> None:
    data, model = labelled(), VelocityMLP(2, 3, width=8, blocks=1)
    torch.nn.init.normal_(model.last.weight)
    task = bound(FlowMatching(class_dropout=0.9), data, model)
    seen = []
    model.register_forward_hook(lambda module, given, out: seen.append(given))
    x = task.split(data, "val")
    torch.manual_seed(2)
    loss = task.evaluate(model, x, data, integrator(), 16)["loss"]
    assert [len(given[1]) for given in seen] == [16, 16, 8] * DRAWS
    assert torch.equal(torch.cat([g[2] for g in seen]), data.labels["val"].repeat(DRAWS))
    torch.manual_seed(2)
    parts = [(data.val[i : i + 16], data.labels["val"][i : i + 16]) for i in (0, 16, 32)] * DRAWS
    whole = FlowMatching(class_dropout=0.0)
    expected = sum(whole.loss(model, p, integrator()).item() * len(p[0]) for p in parts)
    assert loss == pytest.approx(expected / (DRAWS * 40), rel=1e-5)


def test_a_validation_assigns_in_batches_of_training_size() -> None:
    model, x = Seen(2), torch.zeros(3 * ASSIGNED, 2)
    sizes = []
    model.register_forward_hook(lambda module, given, out: sizes.append(len(out)))
    FlowMatching("optimal_transport").evaluate(model, x, labelled(), integrator(), 1000)
    assert sizes == [ASSIGNED] * 3 * DRAWS


@pytest.mark.parametrize("exact", [True, False])
def test_the_likelihood_of_a_test_is_that_of_the_flow(exact: bool) -> None:
    data, model = labelled(), VelocityMLP(2, 3, width=8, blocks=1)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    task = bound(FlowMatching(exact_test=exact, likelihood_rows=30), data, model)
    assert task.test_notes() == {"test_trace": "exact" if exact else "estimate"}
    torch.manual_seed(4)
    found = task.test(model, task.split(data, "test"), data, integrator(), 40)
    torch.manual_seed(4)
    task.evaluate(model, task.split(data, "test"), data, integrator(), 40)
    x, labels = data.test[:30], data.labels["test"][:30]
    for prefix, label in (("", None), ("class_", labels)):
        flow = flow_of(GuidedVelocity(model, label))
        log_prob = flow.log_prob(x, integrator(), exact)
        assert found[f"{prefix}nll"] == pytest.approx(-log_prob.mean().item(), rel=1e-5)
        bits = data.bits_per_dim(x, log_prob).mean().item()
        assert found[f"{prefix}bits_per_dim"] == pytest.approx(bits, rel=1e-5)
    assert found["nll"] != found["class_nll"]


def test_what_a_velocity_has_no_likelihood_of_is_left_out() -> None:
    data, model = labelled(), VelocityMLP(2, 3, width=8, blocks=1)
    task = bound(FlowMatching(class_dropout=0.0, likelihood_rows=5), data, model)
    x = task.split(data, "test")
    scores = task.test(model, x, data, integrator(), 40)
    assert set(scores) == {"loss", "class_nll", "class_bits_per_dim"}
    none = bound(FlowMatching(likelihood_rows=0), data, model)
    assert set(none.test(model, x, data, integrator(), 40)) == {"loss"}
    plain = VelocityMLP(2, width=8, blocks=1)
    task = bound(FlowMatching(), data, plain)
    scores = task.test(plain, task.split(data, "test"), data, integrator(), 40)
    assert set(scores) == {"loss", "nll", "bits_per_dim"}


@pytest.mark.parametrize(("dim", "exact"), [(EXACT, True), (EXACT + 1, False)])
def test_the_tests_trace_is_exact_where_a_point_has_few_entries(dim: int, exact: bool) -> None:
    data = VectorData("x", torch.zeros(2, dim), torch.zeros(2, dim), torch.zeros(2, dim))
    model = VelocityMLP(dim, width=4, blocks=1)
    assert bound(FlowMatching(), data, model).exact_test is exact
    assert bound(FlowMatching(exact_test=not exact), data, model).exact_test is not exact


def test_samples_go_the_way_of_the_guided_velocity() -> None:
    model = VelocityMLP(2, 3, width=8, blocks=1)
    torch.nn.init.normal_(model.last.weight)
    z, labels = torch.randn(6, 2), torch.tensor([0, 1, 2, 0, 1, 2])
    task = FlowMatching(guidance=2.5)

    def expected(label: Tensor | None, guidance: float) -> Tensor:
        return flow_of(GuidedVelocity(model, label, guidance)).inverse(z, integrator())

    with torch.no_grad():
        for label, given, taken in ((labels, None, 2.5), (labels, 0.5, 0.5), (None, None, 1.0)):
            found = task.sample(model, z, integrator(), label, given)
            torch.testing.assert_close(found, expected(label, taken), rtol=1e-5, atol=1e-5)


def test_what_never_saw_no_class_samples_with_a_class_and_without_guidance() -> None:
    model = VelocityMLP(2, 3, width=8, blocks=1)
    torch.nn.init.normal_(model.last.weight)
    z, labels, task = torch.randn(4, 2), torch.tensor([0, 1, 2, 1]), FlowMatching(class_dropout=0.0)
    with torch.no_grad():
        found = task.sample(model, z, integrator(), labels)
        expected = transport(GuidedVelocity(model, labels), z, integrator())
    torch.testing.assert_close(found, expected)
    for label, guidance in ((None, None), (labels, 2.0)):
        with pytest.raises(InputError, match=r"task\.class_dropout=0.*no velocity of no class"):
            task.sample(model, z, integrator(), label, guidance)


def test_images_have_a_row_of_samples_for_each_class() -> None:
    data, model = Digits(), VelocityMLP(64, 10, width=8, blocks=1)
    task = bound(FlowMatching(), data, model)
    sheet = task.figures(model, data, integrator(), generator())["samples"]
    real, sampled = (np.asarray(ax.images[0].get_array()) for ax in sheet.axes)
    assert real.shape == sampled.shape == (91, 91)
    threes = data.to_images(data.test[data.labels["test"] == 3])
    np.testing.assert_allclose(real[28:36, 1:9], threes[0].numpy(), atol=1e-6)
    assert [text.get_text() for text in sheet.axes[0].get_yticklabels()] == list("0123456789")
    again = task.figures(model, data, integrator(), generator())["samples"]
    assert np.array_equal(sampled, np.asarray(again.axes[1].images[0].get_array()))
    plain = VelocityMLP(64, 0, width=8, blocks=1)
    square = bound(FlowMatching(), data, plain).figures(plain, data, integrator(), generator())
    assert np.asarray(square["samples"].axes[1].images[0].get_array()).shape == (73, 73)


def test_a_plane_shows_points_samples_and_density() -> None:
    data, model = Toy2D(size=50), VelocityMLP(2, width=8, blocks=1)
    task = bound(FlowMatching(), data, model)
    assert set(task.figures(model, data, integrator(), generator())) == {"density"}


def test_a_velocity_learns_the_scale_and_place_of_its_data() -> None:
    """The best NLL of N((2, -1), 0.5^2 I) is its entropy, 1 + log(2 pi 0.25) = 1.45 nats."""
    torch.manual_seed(0)
    place = torch.tensor([2.0, -1.0])
    model, task = VelocityMLP(2, width=32, blocks=1), FlowMatching()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(300):
        optimizer.zero_grad()
        task.loss(model, place + 0.5 * torch.randn(200, 2), integrator()).backward()
        optimizer.step()
    rows = place + 0.5 * torch.randn(500, 2)
    data = VectorData("normal", rows, rows, rows)
    bound(task, data, model)
    assert 1.3 < task.test(model, rows, data, integrator(), 500)["nll"] < 1.6
    with torch.no_grad():
        samples = task.sample(model, torch.randn(500, 2), integrator())
    torch.testing.assert_close(samples.mean(0), place, rtol=0, atol=0.15)
    torch.testing.assert_close(samples.std(0), torch.full((2,), 0.5), rtol=0.2, atol=0)


def test_what_cannot_be_learned_is_refused_before_any_training() -> None:
    digits, toy = Digits(), Toy2D(size=20)
    for data, model, message in (
        (toy, CNF(2, hidden=(4,)), r"trains a velocity field, and CNF is none.*velocity_mlp"),
        (MassSpring(samples=4), VelocityMLP(2), r"learns from points.*task=physics"),
        (toy, VelocityMLP(2, classes=3), r"model\.classes=3, and 8gaussians has no labels"),
        (digits, VelocityMLP(64, classes=3), r"model\.classes=3, and digits has 10 classes"),
        (digits, VelocityMLP(2), r"shape \(2,\), and those of digits have 64 entries"),
    ):
        with pytest.raises(InputError, match=message):
            FlowMatching().bind(data, model, integrator())
    with pytest.raises(InputError, match=r"density.*VelocityMLP has none.*task=flow_matching"):
        Density().bind(digits, VelocityMLP(64), integrator())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"coupling": "optimal"}, "coupling='optimal'.*optimal_transport"),
        ({"times": "normal"}, "times='normal'.*logit_normal"),
        ({"class_dropout": 1.0}, "^class_dropout=1.0"),
        ({"sigma_min": -0.1}, "^sigma_min=-0.1"),
        ({"guidance": -1.0}, "^guidance=-1.0"),
        ({"likelihood_rows": -1}, "^likelihood_rows=-1"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(wrong: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        FlowMatching(**wrong)
