"""Whatever a setting is given: it is refused by its full key with status 2, or the run finishes."""

from __future__ import annotations

import contextlib
import io
import re
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from symadj.cli import bench, evaluate, guide, sample, train
from symadj.config.build import locate
from symadj.config.compose import compose
from symadj.config.groups import GUIDE_GROUPS, composed, group_options
from tests.faults.numbers import (
    ELSEWHERE,
    GROUPS,
    GUIDE_OPTIONS,
    LOOKED_AT,
    OPTIONS,
    TINY,
    VALUES,
    Field,
    fields,
    looked_at,
    write_inputs,
)

FIELDS = fields()
HANG = 30
"""Seconds after which a case counts as one that does not end."""

MEMORY = 16 * 2**30
"""Bytes of addresses that a case may take: one that asks for more must end no other process."""

MAINS: dict[str, Callable[[Sequence[str]], int]] = {
    "train": train.main,
    "bench": bench.main,
    "sample": sample.main,
    "eval": evaluate.main,
    "guide": guide.main,
}


class Hang(BaseException):
    """A case has not ended."""


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    write_inputs(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextlib.contextmanager
def _bounded(seconds: int) -> Iterator[None]:
    def stop(signum: int, frame: object) -> None:
        raise Hang(f"not ended after {seconds} s")

    former = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former)


def outcome(field: Field, value: str) -> str:
    """How a case ends: "refused" or "finished" as they should be, else what happened instead."""
    argv = [*field.base, field.override(value)]
    out, err = io.StringIO(), io.StringIO()
    for run in looked_at(field):
        if not Path(run).is_dir():
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                assert train.main([*TINY, *LOOKED_AT[run], f"name={run}", "out=."]) == 0
    try:
        with _bounded(HANG), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = MAINS[field.command](argv)
    except (Exception, Hang, SystemExit) as error:
        return f"{type(error).__name__}: {error}"
    if status == 0:
        return "finished"
    said = err.getvalue().strip()
    named = re.search(rf"(?<![\w.]){re.escape(field.key)}(?![\w])", said)
    return "refused" if status == 2 and named else f"status {status}: {said[-500:]}"


def wrong(field: Field, values: Sequence[str]) -> list[str]:
    """The cases that end otherwise than they should."""
    ends = {field.override(value): outcome(field, value) for value in values}
    return [f"{given}: {end}" for given, end in ends.items() if end not in ("refused", "finished")]


def test_every_constructor_of_every_group_is_walked() -> None:
    for group in GROUPS:
        bases = OPTIONS[group].values()
        walked = {compose("train", base)[group]["_target_"] for base in bases}
        for option in group_options()[group]:
            if option not in ELSEWHERE:
                target = composed("train", [f"{group}={option}"])[group]._target_
                assert target in walked, f"{group}={option}"
                assert locate(target, group)
    for group in GUIDE_GROUPS:
        assert list(GUIDE_OPTIONS[group]) == group_options()[group]


@pytest.mark.parametrize("start", range(6))
def test_a_sample_of_all_settings_and_values(start: int) -> None:
    # Another value for every setting; together they are a tenth of what the whole walk takes.
    chosen = list(enumerate(FIELDS))[start::12]
    failures = [line for i, field in chosen for line in wrong(field, [VALUES[i % len(VALUES)]])]
    assert not failures, "\n".join(failures)


@pytest.mark.faults
@pytest.mark.parametrize("field", FIELDS, ids=str)
def test_a_setting_is_refused_by_its_full_key_or_the_run_finishes(field: Field) -> None:
    assert not (failures := wrong(field, VALUES)), "\n".join(failures)
