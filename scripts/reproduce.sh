#!/usr/bin/env bash
# Makes everything under results/ anew, at one commit.
#
#   scripts/reproduce.sh --dry-run     what there is to run, and the time it takes
#   scripts/reproduce.sh               run what is missing; the same command goes on
#   scripts/reproduce.sh --install     copy what is finished over results/; run nothing
#   scripts/reproduce.sh --install --partial     what has begun too: what one sitting has done
#
#   --only NAME,...     of the results: table1, bench (all of bench/), bench/traces, digits, ...
#   --keep              go on from what results/ has of this very commit, such as another machine's
#   --results DIR       where that lies, and where --install copies to (default: results)
#   --max-minutes N     start nothing that would end later; without an estimate: while time is left
#   --out DIR           where (default: results/runs/reproduce-COMMIT, which git ignores)
#   --miniboone FILE        real data for the likelihoods (experiments/likelihood.py --help)
#   --allow-dirty       run with changes that are not committed, or outside of git
#   PYTHON=PROGRAM      the Python to run with (default: that of make, .venv)
#
# Several machines or sittings, one commit: git worktree add ../measured COMMIT, and in there
#   scripts/reproduce.sh --keep --results ../symadj/results; then the same with --install --partial
# and what has come to ../symadj/results is committed. python experiments/gallery.py then writes
# results/README.md anew.
#
# Times are those of the committed results, on the machine that they are from; what nobody has timed
# is counted and adds nothing. Rows of torchdiffeq and diffrax need the extra symadj[peers].
#
# Exit status: 0 all is there; 1 something is missing or failed; 2 bad input; 130 Ctrl-C.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/common.sh

ALL=(table1 table2 table3 table4 tolerance likelihood times rounding steps peers controllers
  stiff events zoo guidance bench/traces digits gallery/checkerboard mnist5k_flow superres
  stiff_training/van_der_pol stiff_training/robertson)
PEERS='peers=[torchdiffeq,diffrax]'

main() {
  local dry=false install=false dirty=false only='' minutes='' out='' item
  data=() KEEP=() PARTIAL=false RESULTS=results
  while (($#)); do
    case $1 in
      -h | --help) usage; exit 0 ;;
      --dry-run) dry=true ;;
      --install) install=true ;;
      --partial) PARTIAL=true ;;
      --keep) KEEP=(--keep) ;;
      --allow-dirty) dirty=true ;;
      --only | --max-minutes | --out | --results | --miniboone)
        (($# > 1)) || die "$1 needs a value; --help says which."
        case $1 in
          --only) only=$2 ;;
          --max-minutes) minutes=$2 ;;
          --out) out=$2 ;;
          --results) RESULTS=$2 ;;
          *) data+=("$1" "$2") ;;
        esac
        shift ;;
      *) die "unknown argument $1; --help lists them." ;;
    esac
    shift
  done
  [[ -z $minutes || $minutes =~ ^[0-9]+$ ]] || die "--max-minutes $minutes: a whole number is needed."
  ! $PARTIAL || $install || die "--partial is for --install: what has begun is copied too."
  [[ -d $RESULTS ]] || die "--results $RESULTS: no such directory."
  choose "$only"
  check_commit "$dirty"
  OUT=${out:-results/runs/reproduce-$COMMIT}
  [[ $OUT =~ ^[A-Za-z0-9._/~-]+$ ]] || die "--out $OUT: take letters, digits and ._/~- alone."
  DEADLINE=${minutes:+$((SECONDS + 60 * minutes))}
  use_python
  if ((${#KEEP[@]})); then
    for item in "${CHOSEN[@]}"; do keep_result "$item"; done
  fi
  if $install; then
    for item in "${CHOSEN[@]}"; do install_result "$item"; done
  elif $dry; then
    tell
  else
    run_all
  fi
}

# Sets CHOSEN to the results of these names.
choose() {
  local name item found
  CHOSEN=("${ALL[@]}")
  [[ -n $1 ]] || return 0
  CHOSEN=()
  for name in ${1//,/ }; do
    found=false
    for item in "${ALL[@]}"; do
      if [[ $item == "$name" || $item == "$name"/* ]]; then
        CHOSEN+=("$item")
        found=true
      fi
    done
    $found || die "--only $name: no such result; there are ${ALL[*]}."
  done
}

# Sets COMMIT, or refuses what nobody could check out again.
check_commit() {
  local changed
  if ! COMMIT=$(git rev-parse --verify --short=12 HEAD 2>/dev/null); then
    $1 || die "this is no commit of git, so nobody could repeat it; --allow-dirty runs all the same."
    COMMIT=no-commit
    return
  fi
  changed=$(git status --porcelain)
  [[ -n $changed ]] || return 0
  $1 || die "$(printf '%s\n' "changes that are not committed, so nobody could repeat it:" "$changed" \
    "Commit or stash them; --allow-dirty runs all the same.")"
  COMMIT+=-dirty
}

# Sets COMMAND to what makes a result, less where it goes.
command_of() {
  case $1 in
    bench/traces)
      COMMAND=(bench experiment=gas_sized threads=2 repeats=7 isolate=false
        'traces=[tangent,autograd]' 'grads=[symplectic,symplectic_stages,backprop,adjoint]') ;;
    digits) COMMAND=(train solver=dopri5 grad=symplectic train.max_seconds=null) ;;
    gallery/checkerboard)
      COMMAND=(train data=toy2d data.name=checkerboard optim=adam optim.lr=5e-3 train.ema=0.995
        train.steps=4000 train.max_seconds=null) ;;
    mnist5k_flow | stiff_training/*) COMMAND=(train "experiment=${1##*/}" threads=1) ;;
    superres)
      COMMAND=(guide "$OUT/mnist5k_flow" goal=superres goal.factor=4 n=20 way.evaluations=80
        solver=heun solver.num_steps=20 grad=symplectic threads=1) ;;
    likelihood) COMMAND=("experiments/likelihood.py" --out "$OUT/likelihood" "${data[@]}") ;;
    table4) COMMAND=("experiments/table4.py" --out "$OUT/table4" --full) ;;
    *) COMMAND=("experiments/$1.py" --out "$OUT/$1") ;;
  esac
  case ${COMMAND[0]} in
    bench | train) COMMAND+=("name=${1##*/}" "out=$(dirname "$OUT/$1")") ;;
    guide) COMMAND+=("out=$OUT/$1") ;;
    *) at_once "$1" || COMMAND+=("${KEEP[@]}") ;;
  esac
}

# Whether an experiment is measured in one process, which goes on where it was interrupted.
at_once() {
  [[ " table1 controllers stiff events zoo guidance " == *" $1 "* ]]
}

# Whether a result is one run, with its own directory.
one_run() {
  [[ " digits mnist5k_flow superres " == *" $1 "* || $1 == gallery/* || $1 == stiff_training/* ]]
}

# Whether a result is finished.
finished() {
  if one_run "$1"; then
    grep -qs '"status": "ok"' "$OUT/$1/record.json"
  elif [[ $1 == bench/* ]]; then
    [[ -f $OUT/$1/records.json ]]
  else
    grep -qs '"missing": 0,' "$OUT/$1/records.json"
  fi
}

# Sets COST to the seconds of what is left of a result, UNKNOWN to the commands that nobody has timed.
estimate() {
  local line
  COST=0 UNKNOWN=0
  if finished "$1"; then return; fi
  command_of "$1"
  case ${COMMAND[0]} in
    bench | train | guide) read -r COST UNKNOWN < <("$PY" - "$RESULTS/$1" <<'PYTHON'
import json, pathlib, sys

folder = pathlib.Path(sys.argv[1])
try:
    [file] = folder.glob("record*.json")
    found = json.loads(file.read_text())
    total = 0.0
    for record in found if isinstance(found, list) else [found]:
        # A training that was cut off took its share of the iterations.
        train = record["kind"] == "train"
        share = record["iterations"] / record["config"]["train"]["steps"] if train else 1.0
        total += record["seconds"].get("total", 0.0) / share
    print(round(total), int(total == 0))
except (ArithmeticError, KeyError, OSError, TypeError, ValueError):
    print(0, 1)
PYTHON
    ) ;;
    *)
      line=$("$PY" "${COMMAND[@]}" --dry-run | tail -n 1)
      [[ $line =~ \(([0-9]+)\ s\) ]] && COST=${BASH_REMATCH[1]}
      [[ $line =~ ([0-9]+)\ commands?\ that\ nobody ]] && UNKNOWN=${BASH_REMATCH[1]}
      return 0 ;;
  esac
}

tell() {
  local item total=0 unknown=0 left=0 words
  for item in "${CHOSEN[@]}"; do
    estimate "$item"
    words=finished
    if ! finished "$item"; then
      left=$((left + 1))
      words=$(in_all "$COST" "$UNKNOWN")
    fi
    total=$((total + COST)) unknown=$((unknown + UNKNOWN))
    printf '%-22s %s\n' "$item" "$words"
  done
  printf 'in all: %s, for %d of %d results; in %s\n' \
    "$(in_all "$total" "$unknown")" "$left" "${#CHOSEN[@]}" "$OUT"
  tell_peers
}

# Seconds and a number of commands without any, in words.
in_all() {
  local more="$2 commands that nobody has timed"
  (($2 != 1)) || more="1 command that nobody has timed"
  if (($1 == 0 && $2 == 0)); then echo nothing
  elif (($2 == 0)); then duration "$1"
  elif (($1 == 0)); then echo "time unknown: $more"
  else echo "$(duration "$1"), and $more"; fi
}

tell_peers() {
  "$PY" -c 'import torchdiffeq, diffrax' 2>/dev/null \
    || echo "note: torchdiffeq or diffrax is not installed, so their rows will be empty:" \
      "$PY -m pip install 'symadj[peers]'"
}

run_all() {
  local item status missing=()
  mkdir -p "$OUT"
  tell_peers
  for item in "${CHOSEN[@]}"; do
    if finished "$item"; then continue; fi
    status=0
    run_one "$item" || status=$?
    if ((status == 130)); then exit 130; fi
    finished "$item" || missing+=("$item")
  done
  if ((${#missing[@]})); then
    echo "not done: ${missing[*]}; the same command goes on."
    exit 1
  fi
  echo "all is in $OUT; scripts/reproduce.sh --install copies it over results/."
}

# Runs one result as far as the time allows.
run_one() {
  local rest='' bound=()
  command_of "$1"
  if [[ -n $DEADLINE ]]; then
    rest=$((DEADLINE - SECONDS))
    if ((rest <= 0)); then return 1; fi
    bound=(timeout --foreground --signal=INT "$rest")
  fi
  echo "== $1 (after $(duration "$SECONDS"))"
  case ${COMMAND[0]} in
    train) run_training "$1" ;;
    guide)
      finished mnist5k_flow && fits "$1" || return 1
      rm -rf "${OUT:?}/$1"
      "$PY" -m symadj.cli.guide "${COMMAND[@]:1}" ;;
    experiments/*)
      if at_once "$1"; then
        fits "$1" && "$PY" "${COMMAND[@]}"
        return
      fi
      "$PY" "${COMMAND[@]}" ${rest:+--max-minutes "$((rest / 60))"} ;;
    bench)
      fits "$1" || return 1
      rm -rf "${OUT:?}/$1"
      "$PY" -m symadj.cli.bench "${COMMAND[@]:1}" && gather "$OUT/$1" ;;
  esac
}

# A training goes on from its checkpoint, and saves one where the time is up.
run_training() {
  local folder=$OUT/$1
  if [[ -f $folder/checkpoint.pt ]]; then
    "${bound[@]}" "$PY" -m symadj.cli.train "resume=$folder"
  else
    rm -rf "${folder:?}"
    "${bound[@]}" "$PY" -m symadj.cli.train "${COMMAND[@]:1}"
  fi
}

# Whether a result that cannot be cut in two ends in time.
fits() {
  [[ -n $DEADLINE ]] || return 0
  estimate "$1"
  command_of "$1"
  ((SECONDS + COST <= DEADLINE)) || { echo "left for another time"; return 1; }
}

# One file of all records of a benchmark.
gather() {
  "$PY" - "$1" <<'PYTHON'
import json, pathlib, sys

folder = pathlib.Path(sys.argv[1])
records = [json.loads(path.read_text()) for path in sorted(folder.glob("*/record.json"))]
(folder / "records.json").write_text(json.dumps(records, indent=1) + "\n")
PYTHON
}

# Takes over what the results folder has, where that is of this commit and nothing is here yet.
keep_result() {
  local from=$RESULTS/$1 to=$OUT/$1 file commits
  if compgen -G "$to/record*.json" >/dev/null || ! file=$(compgen -G "$from/record*.json"); then
    return 0
  fi
  commits=$(grep -ho '"commit": *"[^"]*"' "$file" | sed 's/.*"\([^"]*\)"$/\1/' | sort -u) || true
  if [[ $commits != "$COMMIT" ]]; then
    echo "$1: $file is of commit ${commits//$'\n'/, }, this is $COMMIT; not kept"
    return 0
  fi
  mkdir -p "$to"
  find "$from" -maxdepth 1 -type f -exec cp {} "$to" \;
}

# Copies the files of a finished result over those of the results folder.
install_result() {
  local from=$OUT/$1 to=$RESULTS/$1 how=copied
  if ! finished "$1"; then
    if ! $PARTIAL || [[ ! -f $from/records.json ]]; then
      echo "$1 is not finished"
      return
    fi
    how='not finished, copied'
  fi
  mkdir -p "$to"
  if one_run "$1"; then copy_run "$from" "$to"
  else find "$from" -maxdepth 1 -type f -exec cp {} "$to" \;; fi
  echo "$1: $how to $to"
  [[ $1 != table4 ]] || install_published "$from/runs"
}

# The published trainings of table4, results of their own: symadj-eval scores their weights again.
install_published() {
  local label from to
  for label in KdV Cahn-Hilliard; do
    from=$1/full-$label-symplectic-seed-0
    to=${label,,} to=$RESULTS/${to//-/_}_training
    grep -qs '"status": "ok"' "$from/record.json" || continue
    mkdir -p "$to"
    copy_run "$from" "$to"
    cp "$from/config.yaml" "$from/best.pt" "$to"
    echo "table4: the published training on $label copied to $to"
  done
}

# What a run's directory has, of the files that are there already; and its record and history.
copy_run() {
  local file name
  cp "$1/record.json" "$1/history.csv" "$2"
  for file in "$2"/*; do
    name=${file##*/}
    if [[ -f $1/$name ]]; then cp "$1/$name" "$file"; fi
    if [[ -f $1/plots/$name ]]; then cp "$1/plots/$name" "$file"; fi
  done
}

main "$@"
