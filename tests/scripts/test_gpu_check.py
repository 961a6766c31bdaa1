"""scripts/gpu_check.sh, over stand-ins for torch and for what it runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.scripts.stand_in import Checkout

TORCH = """
__version__ = "0"
class version:
    cuda = None
class backends:
    class cudnn:
        version = staticmethod(lambda: None)
class cuda:
    is_available = staticmethod(lambda: {available})
    device_count = staticmethod(lambda: 0)
"""
BENCH = """
import json
for grad, peak in (("aca", 3), ("symplectic", 2)):
    row = folder / grad
    row.mkdir(parents=True)
    size = peak * (1 if named["device"] == "cpu" else 2) * 2**20
    memory = {"peak_bytes": size, "meter": named["device"]}
    record = {"grad": grad, "status": "ok", "memory": memory}
    record["seconds"] = {"iteration": {"median": 0.5}}
    (row / "record.json").write_text(json.dumps(record))
print("measured")
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    made = Checkout(tmp_path / "checkout")
    made.command("pytest.py")
    made.command("symadj/cli/train.py")
    made.command("symadj/cli/bench.py", BENCH)
    made.write("torch.py", TORCH.format(available=False))
    return made


def report(checkout: Checkout) -> str:
    return (checkout.path / "results/runs/gpu_check.md").read_text()


def test_without_a_gpu_the_report_and_the_status_say_so(checkout: Checkout) -> None:
    done = checkout.run("gpu_check.sh")
    assert done.returncode == 3, done.stderr
    assert "There is no GPU that torch can use" in report(checkout)
    for step in ("tests", "training", "benchmark", "compiled", "bfloat16", "meter"):
        assert f"| {step} | skipped: no GPU |" in report(checkout)
    assert [call.split()[0] for call in checkout.calls] == ["pytest"]


def test_a_failing_step_ends_no_other_and_is_told(checkout: Checkout) -> None:
    checkout.write("torch.py", TORCH.format(available=True))
    checkout.command("symadj/cli/train.py", "print('what went wrong')\nsys.exit(1)\n")
    done = checkout.run("gpu_check.sh")
    assert done.returncode == 1, done.stderr
    told = report(checkout)
    assert "| training | FAILED, exit status 1 |" in told
    assert "what went wrong" in told
    assert "no GPU" not in told
    for step in ("versions", "tests", "benchmark", "compiled", "bfloat16", "meter"):
        assert f"| {step} | passed |" in told
    assert "| aca | ok | 6 | 3 | 2.000 | 0.5 | 0.5 |" in told
    assert "| symplectic | ok | 4 | 2 | 2.000 | 0.5 | 0.5 |" in told
    benches = [call for call in checkout.calls if call.startswith("bench ")]
    assert ["device=cuda" in call for call in benches] == [True, True, True, False]


def test_a_rehearsal_runs_every_step_on_the_cpu_and_claims_nothing(checkout: Checkout) -> None:
    done = checkout.run("gpu_check.sh", "--cpu", "--quick", "--report", "here.md")
    assert done.returncode == 3, done.stderr
    told = (checkout.path / "here.md").read_text()
    assert "says anything about one" in told
    assert "A rehearsal on the CPU" in told
    assert told.count("| passed |") == 6
    assert not any("device=cuda" in call for call in checkout.calls)
    assert all(not Path(call.split("out=")[1].split()[0]).exists()
               for call in checkout.calls if "out=" in call)  # fmt: skip


def test_a_step_without_an_end_is_cut_off(checkout: Checkout) -> None:
    script = checkout.path / "scripts/gpu_check.sh"
    script.write_text(script.read_text().replace("on_device 900 training", "on_device 1 training"))
    checkout.command("symadj/cli/train.py", "import time\ntime.sleep(60)\n")
    done = checkout.run("gpu_check.sh", "--cpu")
    assert done.returncode == 1, done.stderr
    assert "| training | cut off after 1 s |" in report(checkout)
    assert "| meter | passed |" in report(checkout)


def test_help_is_the_comment_at_the_head(checkout: Checkout) -> None:
    for script in ("gpu_check.sh", "ray_cluster.sh", "reproduce.sh", "slurm.sh"):
        told = checkout.run(script, "--help")
        assert told.returncode == 0
        assert f"scripts/{script}" in told.stdout
        assert "set -euo" not in told.stdout
        assert os.access(checkout.path / "scripts" / script, os.X_OK)
    refused = checkout.run("gpu_check.sh", "--gpus")
    assert refused.returncode == 2
    assert "unknown argument --gpus" in refused.stderr
