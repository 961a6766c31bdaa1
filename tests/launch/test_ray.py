"""launcher=ray: on a cluster of its own on this machine, and on two nodes of which one is lost."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from symadj.cli.train import main
from symadj.errors import InputError
from symadj.launch.launcher import Unusable
from symadj.launch.ray import RayLauncher
from tests.launch.gate import gated, meanwhile, processes, records, until, waiting
from tests.standins import losses, train_quietly


def test_without_ray_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'symadj\[ray\]'"):
        RayLauncher()


def nodes(*resources: Mapping[str, float]) -> Any:
    """As much of Ray as tells of nodes; the last one is gone."""
    found = [{"Alive": given is not resources[-1], "Resources": given} for given in resources]
    return SimpleNamespace(is_initialized=lambda: True, nodes=lambda: found, remote=lambda **_: id)


def test_as_many_jobs_at_once_as_the_nodes_have_room_for() -> None:
    launcher = RayLauncher(cpus=2, gpus=0.5, memory="3GiB")
    one = {"CPU": 9, "GPU": 1, "memory": 2**34}
    lost = {"CPU": 64, "GPU": 64, "memory": 2**40}
    launcher._ray = nodes(one, {**one, "memory": 2**32}, {"CPU": 64, "memory": 2**40}, lost)
    assert launcher.workers == 1, "nothing is asked of Ray before the first job"
    launcher.start()
    assert launcher.workers == 2 + 1 + 0
    launcher.close()


def test_a_job_that_no_node_has_room_for_ends_the_sweep() -> None:
    launcher = RayLauncher(cpus=64)
    launcher._ray = nodes({"CPU": 8}, {"CPU": 64})
    with pytest.raises(Unusable, match=r"64 CPU.*launcher\.cpus"):
        launcher.start()


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with no code of ours in it, so that jobs have to be told where that is."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def offspring(process: int) -> Iterator[str]:
    """The commands of the processes that a process has started."""
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            yield Path(f"/proc/{child}/cmdline").read_text()


@pytest.mark.heavy
def test_ctrl_c_saves_the_job_and_the_same_command_goes_on(
    elsewhere: Path, capsys: pytest.CaptureFixture
) -> None:
    words = gated(elsewhere, "launcher=ray", "threads=null")

    def stop() -> None:
        until(lambda: waiting(elsewhere))
        os.kill(os.getpid(), signal.SIGINT)

    meanwhile(elsewhere, stop)
    assert main(words) == 130
    assert not [command for command in offspring(os.getpid()) if "raylet" in command]
    assert "sweep: 1 jobs, 0 ok, 1 failed\n  interrupted" in capsys.readouterr().out
    assert [(r.status, r.iterations) for r in records(elsewhere)] == [("interrupted", 3)]
    assert waiting(elsewhere) == [{"folder": str(elsewhere), "argv": sys.argv, "threads": 1}]

    (elsewhere / "open").touch()
    assert main(words) == 0
    [record] = records(elsewhere)
    run = elsewhere / "out" / record.name
    assert f"(resumed: {run})" in capsys.readouterr().out
    _, straight = train_quietly(elsewhere / "straight")
    assert losses(run) == losses(straight)
    [printed] = (elsewhere / "out/.jobs").glob("*.out")
    assert "status             ok" in printed.read_text()


@pytest.fixture
def cluster() -> Iterator[tuple[Any, Any]]:
    """A cluster of a head and two nodes with room for a job each, and the node that is to die."""
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 * 2**20}
    made = Cluster(initialize_head=True, head_node_args={**small, "num_cpus": 0})
    try:
        made.add_node(**small)
        yield made, made.add_node(**small)
    finally:
        made.shutdown()


@pytest.mark.heavy
def test_a_node_that_dies_has_its_job_run_elsewhere_from_its_checkpoint(
    elsewhere: Path, cluster: tuple[Any, Any], capsys: pytest.CaptureFixture
) -> None:
    nodes, lost = cluster
    words = gated(elsewhere, "seed=0,1", "launcher=ray", f"launcher.address={nodes.address}")

    def lose() -> None:
        until(lambda: len(waiting(elsewhere)) == 2)
        nodes.remove_node(lost, allow_graceful=False)
        until(lambda: len(processes(elsewhere)) == 1)
        (elsewhere / "open").touch()

    meanwhile(elsewhere, lose)
    assert main(words) == 0
    table = capsys.readouterr().out.partition("sweep: 2 jobs, 2 ok, 0 failed")[2]
    assert table.count("(resumed: ") == 1
    for seed, record in enumerate(records(elsewhere)):
        _, straight = train_quietly(elsewhere / "straight", f"seed={seed}")
        assert (record.status, record.seed) == ("ok", seed)
        assert losses(elsewhere / "out" / record.name) == losses(straight)
