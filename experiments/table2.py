"""Table 2 of the paper: likelihood, peak memory and time of continuous normalizing flows.

    python experiments/table2.py --preset cpu      train what is missing, write results/table2
    python experiments/table2.py --preset paper    the paper's; needs: symadj-data fetch maf
    python experiments/table2.py --dry-run         the commands and how long they take
    python experiments/table2.py --redraw          table and figures from the saved records

The cpu preset keeps the paper's networks and tolerances and reduces iterations, seeds and batches.
Its data are what comes with Python packages, each under its own name; NLLs cannot be compared with
the paper's, memory and time depend on sizes alone. Real rows of the archive's data, for those who
have them: --miniboone FILE, --bsds-images DIRECTORY.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass, replace
from pathlib import Path

from harness import Cell, Drawn, Experiment, Preset, Results, Sheet, main
from harness.cell import quoted
from symadj.data.bsds_images import KEY, VERSION, build
from symadj.data.prepared import is_prepared, prepared_path
from symadj.report.bars import cost_bars
from symadj.report.frontier import frontier
from symadj.report.tables import pivot

GRADS = ("backprop", "checkpoint", "aca", "adjoint", "symplectic")
COMMON = (
    "model=cnf",
    "model.noise=gaussian",
    "solver=dopri5",
    "solver.rtol=1e-6",
    "solver.atol=1e-8",
    "optim=adam",
    "train.figures=false",
    "train.max_seconds=null",
)
PAPER_SEEDS, PAPER_STEPS = 3, 10_000


@dataclass(frozen=True)
class Net:
    """A flow of the paper.

    Attributes:
        hidden: widths.
        components: M.
        activation: between the layers.
        batch: of FFJORD's training.
    """

    hidden: tuple[int, ...]
    components: int
    activation: str
    batch: int

    def overrides(self, batch: int | None = None) -> tuple[str, ...]:
        """Of a run; another batch is one that is said to be reduced."""
        widths = ",".join(map(str, self.hidden))
        return (
            f"model.hidden=[{widths}]",
            f"model.components={self.components}",
            f"model.activation={self.activation}",
            f"train.batch_size={batch or self.batch}",
        )


NETS = {
    "POWER": Net((60, 60, 60), 5, "tanh", 10_000),
    "GAS": Net((160, 160, 160), 5, "tanh", 1_000),
    "HEPMASS": Net((210, 210), 10, "softplus", 10_000),
    "MINIBOONE": Net((860, 860), 1, "softplus", 1_000),
    "BSDS300": Net((1260, 1260, 1260), 2, "softplus", 10_000),
}


@dataclass(frozen=True)
class Row:
    """A data set of the cpu preset.

    Attributes:
        label: its name in the table.
        data: overrides.
        net: whose network is trained.
        batch: of training.
        iterations: of training.
        iteration: seconds of one, symplectic, one thread.
        seeds: how many trainings.
        lr: learning rate.
    """

    label: str
    data: tuple[str, ...]
    net: str
    batch: int
    iterations: int
    iteration: float
    seeds: int = 1
    lr: float = 1e-3


def mixture(dim: int) -> tuple[str, ...]:
    """Synthetic data of some dimension, with test sets that two cores can carry."""
    return ("data=mixture", f"data.dim={dim}", "data.size=500")


CPU = (
    Row("POWER-sized mixture, 6-d", mixture(6), "POWER", 1000, 20, 1.1, seeds=2, lr=1e-2),
    Row("GAS-sized mixture, 8-d", mixture(8), "GAS", 1000, 10, 3.3, lr=1e-2),
    Row("HEPMASS-sized mixture, 21-d", mixture(21), "HEPMASS", 1000, 5, 6.7),
    Row("shuttle, 9-d", ("data=shuttle",), "POWER", 1000, 20, 0.7, seeds=2, lr=1e-2),
    Row(
        "patches, 63-d",
        ("data=patches", "data.train=20000", "data.val=100", "data.test=20"),
        "BSDS300",
        100,
        5,
        4.8,
    ),
)
STANDINS = (
    "Synthetic mixtures have the dimension of the data set that they are named after, and its "
    "network; shuttle (real) has POWER's network; patches (63-d, of other photographs) stand in "
    "for BSDS300 and have its network. NLLs cannot be compared with the paper's."
)


def trainings(row: Row, *more: str) -> list[Cell]:
    """The five methods on a data set, for every seed."""
    return [
        Cell(
            "train",
            (
                *row.data,
                *COMMON,
                *NETS[row.net].overrides(row.batch),
                f"grad={grad}",
                f"seed={seed}",
                f"train.steps={row.iterations}",
                f"train.eval_every={row.iterations}",
                "measure.iterations=1",
                "measure.warmup=0",
                "measure.memory_budget=6GiB",
                f"optim.lr={row.lr:g}",
                "threads=1",
                *more,
            ),
            {"data": row.label, "grad": grad, "seed": seed},
            20.0 + row.iterations * row.iteration,
        )
        for seed in range(row.seeds)
        for grad in GRADS
    ]


def digits() -> Cell:
    """Memory and time on MNIST's stand-in: training and testing take more than two cores have."""
    settings = (f"grads=[{','.join(GRADS)}]", "repeats=1", "compare=false", "threads=1")
    return Cell(
        "bench",
        ("experiment=mnist5k", "train.batch_size=10", *settings, "measure.memory_budget=6GiB"),
        {"data": "MNIST5k, 28x28"},
        200.0,
    )


def paper(arguments: Namespace) -> Preset:
    """The archive's data and FFJORD's settings."""
    cells = [
        Cell(
            "train",
            (
                f"data={name.lower()}",
                *COMMON,
                *net.overrides(),
                f"grad={grad}",
                f"seed={seed}",
                "optim.lr=1e-3",
                "optim.weight_decay=1e-6",
                f"train.steps={PAPER_STEPS}",
                "train.eval_every=200",
                "train.patience=30",
            ),
            {"data": name, "grad": grad, "seed": seed},
        )
        for name, net in NETS.items()
        for seed in range(PAPER_SEEDS)
        for grad in GRADS
    ]
    images = [
        Cell(
            "train",
            ("experiment=mnist5k", f"grad={grad}", f"seed={seed}", "train.figures=false"),
            {"data": "MNIST5k", "grad": grad, "seed": seed},
        )
        for seed in range(PAPER_SEEDS)
        for grad in GRADS
    ]
    return Preset(
        [*cells, *images],
        [
            f"FFJORD's networks and batches, dopri5, atol 1e-8, rtol 1e-6, Adam 1e-3, at most "
            f"{PAPER_STEPS:,} iterations, {PAPER_SEEDS} seeds. MNIST5k, 5,000 of MNIST's digits, "
            "stands in for MNIST."
        ],
    )


def cpu(arguments: Namespace) -> Preset:
    """What two cores can carry."""
    rows = [*CPU, *given(arguments)]
    cells = [cell for row in rows for cell in trainings(row)]
    counts = "; ".join(f"{r.label}: {r.iterations} at batch {r.batch:,}" for r in rows)
    return Preset(
        [*cells, digits()],
        [
            STANDINS,
            "The paper's networks, M, dopri5, atol 1e-8, rtol 1e-6. Reduced for two cores: "
            f"iterations and batches ({counts}), seeds (1; 2 for POWER-sized and shuttle), test "
            "sets (500 points of a mixture, 20 patches). The learning rate is 1e-2 for POWER's and "
            "GAS's networks, as iterations are few, and the paper's 1e-3 for the wide ones. So an "
            "NLL says whether methods agree, not what the flow can reach.",
            "MNIST5k stands in for MNIST: FFJORD's convolutional flow at batch 10 in place of 200, "
            "memory and time of an iteration at initial weights, without NLL.",
            "A method that needs more than 6 GiB is out of memory.",
        ],
    )


def given(arguments: Namespace) -> list[Row]:
    """The data that the user has."""
    rows = []
    if arguments.miniboone:
        file = ("data=csv", f"data.path={quoted(arguments.miniboone.absolute())}")
        rows.append(Row("MINIBOONE's first rows, 43-d", file, "MINIBOONE", 1000, 4, 7.6))
    if arguments.bsds_images:
        root = built(arguments)
        data = ("data=bsds300_images", f"data.data_dir={quoted(root)}")
        rows.append(Row("patches of the BSDS300 photographs, 63-d", data, "BSDS300", 100, 5, 4.8))
    return rows


def built(arguments: Namespace) -> Path:
    """The data directory with few patches of the photographs; they are drawn once."""
    out = arguments.out or Path("results/table2")
    root = (out / "runs" / "data").absolute()
    if not (arguments.dry_run or is_prepared(prepared_path(root, KEY, VERSION))):
        build(arguments.bsds_images, root, counts=(20_000, 100, 20))
    return root


def smoke(_: Namespace) -> Preset:
    """Seconds: to see that it works, a method out of memory among them."""
    row = Row("mixture, 2-d", ("data=mixture", "data.dim=2", "data.size=20"), "POWER", 8, 2, 0.1)
    small = ("model.hidden=[4]", "solver.rtol=1e-2", "solver.atol=1e-2", "train.eval_batch_size=20")
    cells = trainings(row, *small, "measure.memory_budget=20KiB")
    return Preset([replace(cell, isolate=False) for cell in cells], ["A tiny flow; no result."])


def options(parser: ArgumentParser) -> None:
    """Where data lie that are not symadj's to give."""
    parser.add_argument("--miniboone", type=Path, help="rows of MINIBOONE, .npy or .csv")
    parser.add_argument("--bsds-images", type=Path, help="BSDS300's photographs (train/, test/)")


def report(results: Results) -> Drawn:
    """NLL, memory and time; the frontier of both; bars."""
    runs = results.runs
    table = pivot(runs, ["grad"], ["data"], ["nll", "memory", "time"], counts=False)
    title = "Test NLL (nats), peak memory and seconds per iteration"
    figures = {"table2": frontier(runs), "bars": cost_bars(runs)}
    return Drawn([Sheet("table2", table, title)], figures)


EXPERIMENT = Experiment(
    name="table2",
    purpose="Likelihood, peak memory and time of continuous normalizing flows.",
    presets={"paper": paper, "cpu": cpu, "smoke": smoke},
    report=report,
    arguments=options,
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
