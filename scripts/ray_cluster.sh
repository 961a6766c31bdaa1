#!/usr/bin/env bash
# A Ray cluster for one sweep: starts the head here and the workers, runs the sweep, stops them.
#
#   scripts/ray_cluster.sh --host node1 --host node2 seed=0,1,2,3
#   scripts/ray_cluster.sh --local 2 seed=0,1,2,3     two workers on this machine, to try it out
#
#   --host HOST         a worker there, started by ssh, which must ask for no password
#   --local N           N workers on this machine (default: 1 where no host is given)
#   --cpus N            processors of each worker (default: all of a host; 1 with --local)
#   --port P            of the head (default: 6379)
#   NAME=VALUE          of symadj-train -m, in place of the example's
#   PYTHON=PROGRAM      the Python to run with (default: that of make, .venv, made if missing)
#
# All hosts have to see this directory by the same path. The cluster has a password of its own; what
# it sends is not encrypted. On a host every Ray of the user is stopped at the end. The same line
# again runs only what is missing. Exit status: as symadj-train's.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/common.sh

HOSTS=() LOCAL='' CPUS='' PORT=6379
SWEEP=(solver=dopri5 grad=symplectic,aca seed=0,1)
while (($#)); do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --host | --local | --cpus | --port)
      (($# > 1)) || die "$1 needs a value; --help says which."
      case $1 in
        --host) HOSTS+=("$2") ;;
        --local) LOCAL=$2 ;;
        --cpus) CPUS=$2 ;;
        --port) PORT=$2 ;;
      esac
      shift 2 ;;
    -*) die "unknown argument $1; --help says which there are." ;;
    *) break ;;
  esac
done
for number in "$LOCAL" "$CPUS" "$PORT"; do
  [[ $number =~ ^[0-9]*$ ]] || die "$number is no number."
done
if (($#)); then SWEEP=("$@"); fi
if [[ -z $LOCAL ]]; then LOCAL=$((${#HOSTS[@]} == 0)); fi
use_python
if [[ $PY != /* ]]; then PY=$PWD/$PY; fi

START=(-m ray.scripts.scripts start --object-store-memory=83886080)
export RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_TOKEN

LOGS=$(mktemp -d)
NODES=()
# Starts a node in a process group of its own, which ends with this script, whatever ends that. One
# after the other: nodes that start at once on one machine get in each other's way.
node() {
  local log=$LOGS/${#NODES[@]}
  : >"$log"
  setsid "$PY" "${START[@]}" --block "$@" >"$log" 2>&1 &
  NODES+=($!)
  while ! grep -q "Ray runtime started" "$log"; do
    kill -0 $! 2>/dev/null || { cat "$log" >&2; exit 1; }
    sleep 0.2
  done
}
finish() {
  local status=$?
  trap '' INT TERM
  trap - EXIT
  for pid in "${NODES[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
  for host in "${HOSTS[@]}"; do
    ssh "$host" "'$PY' -m ray.scripts.scripts stop" >/dev/null 2>&1 || true
  done
  wait "${NODES[@]}" 2>/dev/null || true
  rm -rf "$LOGS"
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

IP=$(hostname -I 2>/dev/null | cut -d' ' -f1)
ADDRESS=${IP:-127.0.0.1}:$PORT
# The head only leads: a job that takes its memory would take the cluster down.
node --head --node-ip-address="${ADDRESS%:*}" --port="$PORT" --num-cpus=0 --num-gpus=0 \
  --include-dashboard=false
for ((i = 0; i < LOCAL; i++)); do node --address="$ADDRESS" --num-cpus="${CPUS:-1}"; done
for host in "${HOSTS[@]}"; do
  # The password goes through the pipe: a command line is seen by everybody.
  ssh "$host" "cd '$PWD' && read -r RAY_AUTH_TOKEN && export RAY_AUTH_TOKEN &&
    export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 &&
    '$PY' ${START[*]} --address='$ADDRESS' ${CPUS:+--num-cpus=$CPUS}" \
    <<<"$RAY_AUTH_TOKEN" >"$LOGS/$host" 2>&1 || { cat "$LOGS/$host" >&2; exit 1; }
done

# In a group of its own, so that what is to end this script comes to the sweep once: passed on, while
# the nodes stay until it has saved.
setsid "$PY" -m symadj.cli.train -m launcher=ray launcher.address="$ADDRESS" "${SWEEP[@]}" &
SWEEP_PID=$!
trap 'trap "" INT TERM; kill -TERM "$SWEEP_PID" 2>/dev/null || true' INT TERM
status=0
wait "$SWEEP_PID" || status=$?
while kill -0 "$SWEEP_PID" 2>/dev/null; do
  status=0
  wait "$SWEEP_PID" || status=$?
done
exit "$status"
