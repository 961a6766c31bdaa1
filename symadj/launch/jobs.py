"""The training jobs of a sweep: finished ones are skipped, cut-off ones go on, others start."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from symadj.config.compose import run_settings
from symadj.config.roles import leaves, role
from symadj.config.saved import saved_config
from symadj.config.schema import RunSettings
from symadj.errors import InputError
from symadj.files import CHECKPOINT, RECORD
from symadj.launch.isolate import Ending, run_isolated
from symadj.launch.sweep import Job, Outcome
from symadj.records.record import RunRecord, now, strict
from symadj.records.status import Status
from symadj.run.checkpoint import load_checkpoint
from symadj.run.directory import in_use, sole_worker
from symadj.run.train import never_saved, run_directory, train


@dataclass(frozen=True)
class FormerRun:
    """A run of the same configuration.

    Attributes:
        directory: of the run.
        state: "ok"; "running"; "cut off" (interrupted or failed, and it can go on); or "failed".
    """

    directory: Path
    state: str


def train_job(job: Job) -> Outcome:
    """Does one training of a sweep, where it is not done already and no other process is at it.

    A run of the same resolved configuration below `out` counts: a finished one is skipped, one that
    was cut off or failed goes on from its checkpoint, one that another process is at is left to it.
    One that failed without a checkpoint is run anew, in a directory of its own, and so is
    everything with `fresh=true`. With `isolate=true` the training has a process of its own, whose
    death is this job's failure and nothing more.

    Raises:
        InputError: a setting that cannot be used.
    """
    settings = run_settings(job.config)
    if settings.resume is not None:
        raise InputError("resume goes on with one run; a sweep goes on with its own by itself.")
    wanted = identity(OmegaConf.to_container(job.config, resolve=True))
    with sole_worker(Path(settings.out), wanted) as mine:
        if not mine:
            return Outcome(Status.RUNNING, note="another process is at it")
        return _train_job(job, settings)


def _train_job(job: Job, settings: RunSettings) -> Outcome:
    config, note = job.config, ""
    former = None if settings.fresh else former_run(config, Path(settings.out))
    if former is not None and former.state == "ok":
        return Outcome(Status.OK, note=f"finished before: {former.directory}")
    if former is not None and former.state == "running":
        return Outcome(Status.RUNNING, note=f"another process is at it, in {former.directory}")
    if former is not None and former.state == "cut off":
        config = OmegaConf.merge(config, {"resume": str(former.directory)})
        assert isinstance(config, DictConfig)
        note = f"resumed: {former.directory}"
    directory = run_directory(config, run_settings(config), job.overrides)
    if settings.isolate:
        outcome = _isolated(config, directory)
    else:
        outcome = outcome_of(train(config, directory=directory))
    return replace(outcome, note=note)


def former_run(config: DictConfig, out: Path) -> FormerRun | None:
    """The most useful run below `out` of this configuration and this record schema, or None."""
    wanted = identity(OmegaConf.to_container(config, resolve=True))
    found: dict[str, FormerRun] = {}
    for directory, record in _records(out):
        if record.kind == "train" and identity(record.config) == wanted:
            state = _state(directory, record)
            found[state] = FormerRun(directory, state)
    for state in ("ok", "running", "cut off"):
        if state in found:
            return found[state]
    return None


def identity(config: Any) -> str:
    """A configuration as one text, equal for runs that are the same experiment.

    Where files are and how the run is started is no part of it (`symadj.config.roles`), nor is what
    the solver says of compilation, where the run says the same.
    """
    kept = {key: value for key, value in leaves(config).items() if role(key).tells_runs_apart}
    if kept.get("solver.compile") == kept.get("compile"):
        kept.pop("solver.compile", None)
    return json.dumps(strict(kept), sort_keys=True)


def _records(out: Path) -> Iterator[tuple[Path, RunRecord]]:
    for path in sorted(out.glob(f"*/{RECORD}")):
        try:
            yield path.parent, RunRecord.load(path)
        except InputError:
            # Another schema, or a file that some crash has spoilt: no run to build on.
            continue


def _state(directory: Path, record: RunRecord) -> str:
    if record.status == "ok":
        return "ok"
    if in_use(directory):
        return "running"
    if never_saved(directory):
        return "cut off"
    try:
        load_checkpoint(directory / CHECKPOINT)
        saved_config(directory)
    except InputError:
        return "failed"
    return "cut off"


def outcome_of(record: RunRecord) -> Outcome:
    """How a run ended, by its record."""
    return Outcome(record.status, "" if record.error is None else str(record.error["message"]))


def _isolated(config: DictConfig, directory: Path) -> Outcome:
    argument = {"config": OmegaConf.to_container(config), "directory": str(directory)}
    ending = run_isolated(isolated_training, argument)
    if ending.status == "ok":
        return Outcome(Status(ending.value["status"]), ending.value["message"])
    assert ending.error is not None
    close_record(directory, config, ending)
    return Outcome(ending.status, f"{ending.error['type']}: {ending.error['message']}")


def isolated_training(argument: dict[str, Any]) -> dict[str, str]:
    """What the process of an isolated job runs; see `run_isolated`."""
    config = OmegaConf.create(argument["config"])
    assert isinstance(config, DictConfig)
    outcome = outcome_of(train(config, directory=Path(argument["directory"])))
    return {"status": outcome.status, "message": outcome.message}


def close_record(directory: Path, config: DictConfig, ending: Ending) -> None:
    """Writes down how a process ended that could not do so itself."""
    path = directory / RECORD
    try:
        record = RunRecord.load(path)
    except InputError:
        plain = OmegaConf.to_container(config, resolve=True)
        assert isinstance(plain, dict)
        named = {str(key): value for key, value in plain.items()}
        record = RunRecord(name=directory.name, config=named, seed=config.seed, started=now())
    if record.finished is None:
        record.status, record.error, record.finished = ending.status, ending.error, now()
        record.save(path)
