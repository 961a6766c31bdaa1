#!/usr/bin/env bash
# A Ray cluster for one sweep: starts the head here and a worker on every host, runs it, stops them.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: bash scripts/ray_cluster.sh [--host HOST ...] [--local N] [--cpus N] [--port P] [--] [NAME=VALUE ...]

Runs a sweep of symadj-train on a Ray cluster that lives as long as the sweep.
  --host HOST   a worker there, started by ssh (without a password) in this directory, which all
                hosts have to see; as often as there are hosts
  --local N     N workers on this machine, to try it out (default: 1 where no host is given)
  --cpus N      processors of each worker (default: all of a host; 1 with --local)
  --port P      of the head (default: 6379)
NAME=VALUE are those of symadj-train -m and replace the example's. The same line again runs only what
is missing. The cluster has a password of its own, but what it sends is not encrypted.

Environment: SYMADJ_BIN  where symadj-train and ray are (default: .venv/bin, else the PATH)
TEXT
}

HOSTS=() LOCAL=0 CPUS= PORT=6379
SWEEP=(solver=dopri5 grad=symplectic,aca seed=0,1)
while (($#)); do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --host) HOSTS+=("$2"); shift 2 ;;
        --local) LOCAL=$2; shift 2 ;;
        --cpus) CPUS=$2; shift 2 ;;
        --port) PORT=$2; shift 2 ;;
        --) shift; break ;;
        -*) usage >&2; exit 2 ;;
        *) break ;;
    esac
done
if (($#)); then SWEEP=("$@"); fi
if ((${#HOSTS[@]} == 0 && LOCAL == 0)); then LOCAL=1; fi

BIN=${SYMADJ_BIN:-}
if [[ -z $BIN && -x .venv/bin/ray ]]; then BIN=$PWD/.venv/bin; fi
RAY=${BIN:+$BIN/}ray
export RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_TOKEN
LOGS=$(mktemp -d)
# A node runs in a process group of its own and ends with this script, whatever ends that. One after
# the other: nodes that start at once on one machine get in each other's way.
NODES=()
node() {
    local log=$LOGS/${#NODES[@]}
    setsid "$RAY" start --block --object-store-memory=83886080 "$@" \
        >"$log" 2>&1 &
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
    for host in "${HOSTS[@]}"; do ssh "$host" "'$RAY' stop" >/dev/null 2>&1 || true; done
    wait "${NODES[@]}" 2>/dev/null || true
    rm -rf "$LOGS"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

IP=$(hostname -I 2>/dev/null | cut -d' ' -f1)
ADDRESS=${IP:-127.0.0.1}:$PORT
# The head only leads: a sweep that takes its memory would take the cluster down.
node --head --node-ip-address="${ADDRESS%:*}" --port="$PORT" --num-cpus=0 --num-gpus=0 \
    --include-dashboard=false
for ((i = 0; i < LOCAL; i++)); do node --address="$ADDRESS" --num-cpus="${CPUS:-1}"; done
for host in "${HOSTS[@]}"; do
    # The password goes through the pipe: a command line is seen by everybody.
    ssh "$host" "cd '$PWD' && read -r RAY_AUTH_TOKEN &&
        export RAY_AUTH_TOKEN RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 &&
        '$RAY' start --object-store-memory=83886080 --address='$ADDRESS' ${CPUS:+--num-cpus=$CPUS}" \
        <<<"$RAY_AUTH_TOKEN" >"$LOGS/$host" 2>&1 ||
        { cat "$LOGS/$host" >&2; exit 1; }
done
"${BIN:+$BIN/}symadj-train" -m launcher=ray launcher.address="$ADDRESS" "${SWEEP[@]}" &
SWEEP_PID=$!
# What ends this script is passed on; the sweep saves first, and the nodes stay until it has.
trap 'kill -TERM "$SWEEP_PID" 2>/dev/null || true' INT TERM
status=0
wait "$SWEEP_PID" || status=$?
while kill -0 "$SWEEP_PID" 2>/dev/null; do
    status=0
    wait "$SWEEP_PID" || status=$?
done
exit "$status"
