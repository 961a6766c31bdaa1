"""Table 2 of the paper: likelihood, peak memory and time of continuous normalizing flows.

    python experiments/table2.py --preset cpu      run what is missing, write results/table2
    python experiments/table2.py --only train      the trainings alone, which nobody times
    python experiments/table2.py --only bench      memory and time alone, on a quiet machine
    python experiments/table2.py --preset paper    the paper's; needs: symadj-data fetch maf
    python experiments/table2.py --dry-run         the commands and how long they take
    python experiments/table2.py --redraw          table and figures from the saved records

The likelihood is that of trainings, memory and time are those of benchmarks of one iteration.

The cpu preset keeps the paper's networks and tolerances and reduces iterations, seeds and two
batches. Real rows of the archive's data are taken from those who have them (--miniboone FILE,
--bsds-images DIRECTORY); else what comes with Python packages stands in, under its own name. NLLs
cannot be compared with the paper's; memory and time depend on sizes alone.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness import Command, Drawn, Experiment, Preset, Results, Sheet, main
from harness.command import quoted
from symadj.data.bsds_images import KEY, VERSION, build
from symadj.data.prepared import is_prepared, prepared_path
from symadj.report.bars import cost_bars
from symadj.report.frames import column, where
from symadj.report.frontier import frontier
from symadj.report.tables import pivot, side_by_side

GRADS = ("backprop", "checkpoint", "aca", "adjoint", "symplectic")
COMMON = (
    "model=cnf",
    "model.noise=gaussian",
    "solver=dopri5",
    "solver.rtol=1e-6",
    "solver.atol=1e-8",
    "task.exact_test=true",
)
TRAINED = ("train.figures=false", "train.max_seconds=null", "measure=none")
IMAGE_FLOW = "symadj.models.multiscale.MultiscaleCNF"
BUDGET = "measure.memory_budget=6GiB"
BATCH, PAPER_SEEDS, PAPER_STEPS = 1_000, 3, 10_000
# Evaluations of a benchmark's row that are not timed, and seconds that starting a process takes.
UNTIMED, STARTS = 2, 5.0


@dataclass(frozen=True)
class Net:
    """A flow of the paper.

    Attributes:
        hidden: widths.
        components: M.
        activation: between the layers.
    """

    hidden: tuple[int, ...]
    components: int
    activation: str

    def overrides(self, batch: int) -> tuple[str, ...]:
        """Of a run."""
        widths = ",".join(map(str, self.hidden))
        return (
            f"model.hidden=[{widths}]",
            f"model.components={self.components}",
            f"model.activation={self.activation}",
            f"train.batch_size={batch}",
        )


NETS = {
    "POWER": Net((60, 60, 60), 5, "tanh"),
    "GAS": Net((160, 160, 160), 5, "tanh"),
    "HEPMASS": Net((210, 210), 10, "softplus"),
    "MINIBOONE": Net((860, 860), 1, "softplus"),
    "BSDS300": Net((1260, 1260, 1260), 2, "softplus"),
}


@dataclass(frozen=True)
class Row:
    """A data set of the cpu preset.

    Attributes:
        label: its name in the table.
        data: overrides.
        net: whose network is trained.
        iterations: of training.
        iteration: seconds of one, about, one thread.
        testing: seconds of the test, about.
        batch: of training.
        seeds: how many trainings.
        lr: learning rate.
    """

    label: str
    data: tuple[str, ...]
    net: str
    iterations: int
    iteration: float
    testing: float
    batch: int = BATCH
    seeds: int = 1
    lr: float = 1e-3

    @property
    def settings(self) -> tuple[str, ...]:
        """Overrides that trainings and benchmarks share."""
        return (*self.data, *COMMON, *NETS[self.net].overrides(self.batch))


def mixture(dim: int) -> tuple[str, ...]:
    """Synthetic data of some dimension, with test sets that two cores can carry."""
    return ("data=mixture", f"data.dim={dim}", "data.size=500")


SMALL = (
    Row("POWER-sized mixture, 6-d", mixture(6), "POWER", 20, 1.1, 6.0, seeds=2, lr=1e-2),
    Row("GAS-sized mixture, 8-d", mixture(8), "GAS", 8, 3.3, 6.0, lr=1e-2),
    Row("HEPMASS-sized mixture, 21-d", mixture(21), "HEPMASS", 4, 6.7, 12.0),
    Row("shuttle, 9-d", ("data=shuttle",), "POWER", 20, 0.7, 12.0, seeds=2, lr=1e-2),
)
STANDINS = (
    "Synthetic mixtures have the dimension of the data set that they are named after, and its "
    "network; shuttle (real) has POWER's network; patches stand in for BSDS300 and have its "
    "network. NLLs cannot be compared with the paper's."
)


def training(
    data: str, grad: str, seed: int, overrides: Sequence[str], seconds: float | None = None
) -> Command:
    """A training: the table's likelihood."""
    labels = {"part": "train", "data": data, "grad": grad, "seed": seed}
    return Command("train", (*overrides, f"grad={grad}", f"seed={seed}"), labels, seconds)


def benchmark(
    data: str,
    overrides: Sequence[str],
    repeats: int,
    seconds: float | None = None,
    weights: Command | None = None,
) -> Command:
    """One iteration with every method: the table's memory and time."""
    measured = (f"grads=[{','.join(GRADS)}]", f"repeats={repeats}", "warmup=1", "compare=false")
    labels = {"part": "bench", "data": data}
    return Command("bench", (*overrides, *measured), labels, seconds, weights)


def trainings(row: Row, *more: str) -> list[Command]:
    """The five methods on a data set, for every seed."""
    overrides = (
        *row.settings,
        *TRAINED,
        "optim=adam",
        f"train.steps={row.iterations}",
        f"train.eval_every={row.iterations}",
        f"optim.lr={row.lr:g}",
        "threads=1",
        *more,
    )
    seconds = STARTS + row.testing + row.iterations * row.iteration
    pairs = [(seed, grad) for seed in range(row.seeds) for grad in GRADS]
    return [training(row.label, grad, seed, overrides, seconds) for seed, grad in pairs]


def cost(row: Row, *more: str, repeats: int = 3) -> Command:
    """Memory and time of an iteration on a data set, at initial weights."""
    seconds = len(GRADS) * (STARTS + (UNTIMED + repeats) * row.iteration)
    return benchmark(row.label, (*row.settings, "threads=1", BUDGET, *more), repeats, seconds)


def digits() -> Command:
    """Memory and time on MNIST's stand-in: training and testing take more than two cores have."""
    overrides = ("experiment=mnist5k", "train.batch_size=10", "threads=1", BUDGET)
    return benchmark("MNIST5k, 28x28", overrides, 1, 200.0)


def paper(_: Namespace) -> Preset:
    """The archive's data and FFJORD's settings."""
    fixed = (
        "optim=adam_plateau",
        f"train.steps={PAPER_STEPS}",
        "train.eval_every=200",
        "train.patience=31",
    )
    rows: dict[str, tuple[str, ...]] = {
        name: (f"data={name.lower()}", *COMMON, *net.overrides(BATCH)) for name, net in NETS.items()
    }
    rows["MNIST5k"] = ("experiment=mnist5k",)
    flows: list[Command] = []
    costs: list[Command] = []
    for name, settings in rows.items():
        how = (*TRAINED, *fixed) if name in NETS else TRAINED
        own = [
            training(name, grad, seed, (*settings, *how))
            for seed in range(PAPER_SEEDS)
            for grad in GRADS
        ]
        weights = next(command for command in own if command.labels["grad"] == GRADS[-1])
        flows += own
        costs.append(benchmark(name, settings, 5, weights=weights))
    return Preset(
        [*flows, *costs],
        [
            f"FFJORD's networks, batch {BATCH:,}, dopri5, atol 1e-8, rtol 1e-6, Adam 1e-3 "
            f"with FFJORD's drops of the rate, at most {PAPER_STEPS:,} iterations, {PAPER_SEEDS} "
            "seeds. MNIST5k, 5,000 of MNIST's digits, "
            "stands in for MNIST.",
            "Memory and time are those of an iteration at the weights that the first training with "
            f"{GRADS[-1]} has left, for all methods.",
        ],
    )


def cpu(arguments: Namespace) -> Preset:
    """What two cores can carry."""
    rows = [*SMALL, miniboone(arguments), bsds(arguments)]
    flows = [command for row in rows for command in trainings(row)]
    counts = "; ".join(f"{row.label}: {row.iterations}" for row in rows)
    return Preset(
        [*flows, *(cost(row) for row in rows), digits()],
        [
            STANDINS,
            "NLL: after few iterations. The paper's networks, M, batch 1,000, dopri5, atol 1e-8, "
            f"rtol 1e-6, on one thread. Reduced for two cores: iterations ({counts}), BSDS300's "
            "batch (100), seeds (1; 2 for POWER-sized and shuttle), test sets (500 points of a "
            "mixture, 20 patches). The "
            "learning rate is 1e-2 for POWER's and GAS's networks, as iterations are few, and the "
            "paper's 1e-3 for the wide ones. So an NLL says whether methods agree, not what the "
            "flow can reach.",
            "Memory and time: of an iteration at initial weights and the same batches, one thread, "
            "the median of 3. A method that needs more than 6 GiB is out of memory.",
            "MNIST5k stands in for MNIST: FFJORD's convolutional flow at batch 10 in place of 200, "
            "one timed iteration; its training takes more than two cores have, so it has no NLL.",
        ],
    )


def miniboone(arguments: Namespace) -> Row:
    """The rows of MINIBOONE that the user has, else points of its dimension."""
    if arguments.miniboone is None:
        return Row("MINIBOONE-sized mixture, 43-d", mixture(43), "MINIBOONE", 4, 7.6, 20.0)
    file = ("data=csv", f"data.path={quoted(arguments.miniboone.absolute())}")
    return Row("MINIBOONE's first rows, 43-d", file, "MINIBOONE", 4, 7.6, 15.0)


def bsds(arguments: Namespace) -> Row:
    """Patches of BSDS300's photographs where the user has them, else of other photographs."""
    if arguments.bsds_images is None:
        sizes = ("data.train=20000", "data.val=100", "data.test=20")
        data, label = ("data=patches", *sizes), "patches, 63-d"
    else:
        data = ("data=bsds300_images", f"data.data_dir={quoted(built(arguments))}")
        label = "patches drawn from the BSDS300 photographs, 63-d"
    return Row(label, data, "BSDS300", 4, 4.8, 15.0, batch=100)


def built(arguments: Namespace) -> Path:
    """The data directory with few patches of the photographs; they are drawn once."""
    out = arguments.out or Path("results/table2")
    root = (out / "runs" / "data").absolute()
    if not (arguments.dry_run or is_prepared(prepared_path(root, KEY, VERSION))):
        build(arguments.bsds_images, root, counts=(20_000, 100, 20))
    return root


def smoke(_: Namespace) -> Preset:
    """Seconds: to see that it works, a method out of memory among them."""
    data = ("data=mixture", "data.dim=2", "data.size=20")
    row = Row("mixture, 2-d", data, "POWER", 2, 0.1, 0.1, batch=8)
    small = ("model.hidden=[4]", "solver.rtol=1e-2", "solver.atol=1e-2", "train.eval_batch_size=20")
    tight = "measure.memory_budget=20KiB"
    commands = [*trainings(row, *small), cost(row, *small, tight, repeats=1)]
    tiny = [replace(command, isolate=False) for command in commands]
    return Preset(tiny, ["A tiny flow; no result."])


def options(parser: ArgumentParser) -> None:
    """Where data lie that are not symadj's to give."""
    parser.add_argument("--miniboone", type=Path, help="rows of MINIBOONE, .npy or .csv")
    parser.add_argument("--bsds-images", type=Path, help="BSDS300's photographs (train/, test/)")


def report(results: Results) -> Drawn:
    """NLL of the trainings, memory and time of the benchmarks; the frontier of both; bars."""
    runs = results.runs
    trained, measured = (where(runs, runs["part"] == part) for part in ("train", "bench"))
    tables = [
        pivot(part, ["data", "grad"], [], cells, counts=False)
        for part, cells in ((trained, ["nll"]), (measured, ["memory", "time"]))
        if len(part)
    ]
    title = "Test NLL (nats), peak memory and seconds per iteration"
    sheets = [Sheet("table2", side_by_side(tables), title, mark_best=False)]
    images = where(trained, column(trained, "config.model._target_").isin([IMAGE_FLOW]))
    if len(images):
        bits = pivot(images, ["data", "grad"], [], ["bits_per_dim"], counts=False)
        sheets.append(Sheet("images", bits, "Bits per dimension of images", mark_best=False))
    figures = {} if measured.empty else {"table2": frontier(measured), "bars": cost_bars(measured)}
    return Drawn(sheets, figures)


EXPERIMENT = Experiment(
    name="table2",
    purpose="Likelihood, peak memory and time of continuous normalizing flows.",
    presets={"paper": paper, "cpu": cpu, "smoke": smoke},
    report=report,
    arguments=options,
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
