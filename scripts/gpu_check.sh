#!/usr/bin/env bash
# Checks symadj on a machine with a GPU and writes one report to send back.
#
#   scripts/gpu_check.sh                     about half an hour; the set-up of .venv comes on top
#   scripts/gpu_check.sh --quick             a few minutes, on small problems
#   scripts/gpu_check.sh --cpu --quick       a rehearsal without a GPU, which says nothing of one
#
#   --report FILE       the report (default: results/runs/gpu_check.md)
#   --tests PATH        run the GPU's tests of this file or folder alone (default: tests)
#   PYTHON=PROGRAM      the Python to run with (default: that of make, .venv, made if missing)
#
# It runs the tests marked gpu, the default training, the benchmark of the five gradient methods,
# compiled and in bfloat16 too, and compares their memory with what the CPU's meter says of the same
# problem. Every step has a time limit, and a step that fails or is cut off ends no other.
#
# Exit status: 0 all passed; 1 a step failed; 2 bad input; 3 there is no GPU that torch can use.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/common.sh

QUICK=false DEVICE=cuda REPORT=results/runs/gpu_check.md TESTS=tests
while (($#)); do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --quick) QUICK=true ;;
    --cpu) DEVICE=cpu ;;
    --report | --tests)
      (($# > 1)) || die "$1 needs a value; --help says which."
      if [[ $1 == --report ]]; then REPORT=$2; else TESTS=$2; fi
      shift ;;
    *) die "unknown argument $1; --help lists them." ;;
  esac
  shift
done

main() {
  local train=() bench=(experiment=gas_sized)
  WORK=$(mktemp -d) FAILED=0
  trap 'rm -rf "$WORK"' EXIT
  mkdir -p "$(dirname "$REPORT")"
  : >"$REPORT" || die "--report $REPORT cannot be written."
  use_python .venv/.installed-dev
  "$PY" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null && GPU=true || GPU=false
  if $QUICK; then
    train=(experiment=quick)
    bench=(experiment=toy_sized train.batch_size=32 'model.hidden=[16]' repeats=1 compare=false)
  fi
  local grads=(threads=1 time_limit=300)
  local compiled="rows={compiled:['grad=symplectic','compile=true']}"

  step 120 versions versions
  step 60 nvidia-smi nvidia-smi
  # On a GPU alone: without one, a list of what was skipped and why.
  step 1800 tests "$PY" -m pytest -q -rs -p no:cacheprovider -m gpu "$TESTS"
  on_device 900 training "$PY" -m symadj.cli.train solver=dopri5 grad=symplectic "${train[@]}" \
    train.steps=200 "device=$DEVICE" "out=$WORK" name=training
  on_device 1800 benchmark "$PY" -m symadj.cli.bench "${bench[@]}" "${grads[@]}" \
    "device=$DEVICE" "out=$WORK" name=benchmark
  on_device 900 compiled "$PY" -m symadj.cli.bench "${bench[@]}" "${grads[@]}" 'grads=[symplectic]' \
    "$compiled" "device=$DEVICE" "out=$WORK" name=compiled
  on_device 900 bfloat16 "$PY" -m symadj.cli.bench "${bench[@]}" "${grads[@]}" autocast=bfloat16 \
    solver=rk4 solver.num_steps=10 \
    "device=$DEVICE" "out=$WORK" name=bfloat16
  on_device 1800 meter "$PY" -m symadj.cli.bench "${bench[@]}" "${grads[@]}" device=cpu \
    measure.memory=dispatch "out=$WORK" name=meter
  report >"$REPORT"
  echo "report: $REPORT"
  ((FAILED == 0)) || exit 1
  $GPU || { echo "no GPU that torch can use: nothing is said about one"; exit 3; }
}

# Runs a command within a limit of seconds; its end goes to the table, what it said to a log.
step() {
  local limit=$1 name=$2 status=0 begun=$SECONDS word
  shift 2
  echo "$name ..."
  if [[ $(type -t "$1") == function ]]; then
    "$1" >"$WORK/$name.log" 2>&1 || status=$?
  else
    timeout --kill-after=30 "$limit" "$@" >"$WORK/$name.log" 2>&1 || status=$?
  fi
  case $status in
    0) word=passed ;;
    124 | 137) word="cut off after $limit s" ;;
    127) word="skipped: $1 is not there" status=0 ;;
    *) word="FAILED, exit status $status" ;;
  esac
  # Pytest's status for "nothing was collected but skipped modules".
  if [[ $name == tests && $status == 5 ]]; then word="skipped: no test was selected" status=0; fi
  if [[ $name == tests && $status == 0 ]] && ! $GPU; then word="skipped: no GPU"; fi
  ((status == 0)) || FAILED=$((FAILED + 1))
  row "$name" "$word" "$((SECONDS - begun))"
}

# A step that needs the device.
on_device() {
  if $GPU || [[ $DEVICE == cpu ]]; then step "$@"; else row "$2" "skipped: no GPU" 0; fi
}

row() {
  printf '| %s | %s | %s |\n' "$@" >>"$WORK/steps"
  echo "  $2"
}

versions() {
  timeout 100 "$PY" - <<'PYTHON'
import os, platform, sys, torch, symadj

print("symadj", symadj.__file__)
print("python", sys.version.split()[0], "torch", torch.__version__, "on", platform.platform())
print("CPUs", os.cpu_count())
print("CUDA of torch", torch.version.cuda, "cuDNN", torch.backends.cudnn.version())
for i in range(torch.cuda.device_count()):
    p = torch.cuda.get_device_properties(i)
    print(f"cuda:{i}", p.name, f"{p.total_memory / 2**30:.1f} GiB", f"compute {p.major}.{p.minor}")
if not torch.cuda.is_available():
    print("no CUDA device that torch can use")
PYTHON
  git describe --always --dirty --abbrev=12 2>/dev/null || echo "no commit of git"
}

report() {
  local log
  echo "# symadj: GPU check"
  echo
  date -u '+%Y-%m-%d %H:%M UTC'
  echo
  if ! $GPU; then
    echo "**There is no GPU that torch can use: nothing here says anything about one.**"
    echo
  fi
  if [[ $DEVICE == cpu ]]; then
    echo "**A rehearsal on the CPU: device=cpu stands in for the GPU.**"
    echo
  fi
  echo '| step | end | seconds |'
  echo '|---|---|---:|'
  cat "$WORK/steps"
  echo
  memory
  for log in versions nvidia-smi tests training benchmark compiled bfloat16 meter; do
    [[ -f $WORK/$log.log ]] || continue
    printf '\n## %s\n\n```\n' "$log"
    # shellcheck disable=SC2016  # backquotes that would end the block
    tail -n 60 "$WORK/$log.log" | tr -d '\r\033' | sed 's/```/` ` `/g'
    echo '```'
  done
}

# Peak memory by the device's own counters, beside what the CPU's meter counts.
memory() {
  timeout 100 "$PY" - "$WORK" <<'PYTHON'
import json, pathlib, sys

work = pathlib.Path(sys.argv[1])


def records(name):
    files = sorted((work / name).glob("*/record.json"))
    return {r["grad"]: r for r in (json.loads(file.read_text()) for file in files)}


def mib(record):
    return record["memory"]["peak_bytes"] / 2**20 if record and record["memory"] else None


def seconds(record):
    return record["seconds"].get("iteration", {}).get("median") if record else None


def cell(value, form):
    return "–" if value is None else format(value, form)


device, meter = records("benchmark"), records("meter")
print("## Memory: the device's counters and the CPU's meter, same problem\n")
if not device or not meter:
    print("Not compared: a benchmark is missing.")
    sys.exit()
print("| method | status | device (MiB) | CPU's meter (MiB) | ratio | device (s) | CPU (s) |")
print("|---|---|---:|---:|---:|---:|---:|")
for grad in sorted({*device, *meter}):
    ours, theirs = device.get(grad), meter.get(grad)
    a, b = mib(ours), mib(theirs)
    ratio = a / b if a is not None and b else None
    numbers = (a, ".4g"), (b, ".4g"), (ratio, ".3f"), (seconds(ours), ".3g"), (seconds(theirs), ".3g")
    status = ours["status"] if ours else "missing"
    print("|", " | ".join([grad, status, *(cell(*number) for number in numbers)]), "|")
meters = {r["memory"]["meter"] for r in device.values() if r["memory"]}
print(f"\nThe device's figures are those of the meter {', '.join(sorted(meters)) or 'none'}: peak of a "
      "forward and backward pass less what was live before. A GPU's allocator hands out multiples of "
      "512 bytes and libraries take work space, so that small problems have ratios above 1; on a CPU "
      "a flow is pulled back in blocks of rows, which a GPU does in others.")
PYTHON
}

main
