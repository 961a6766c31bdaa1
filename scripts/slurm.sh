#!/usr/bin/env bash
# A sweep on a SLURM cluster: one small job that submits the others, waits for them and prints the table.
#
# Set the lines below as `sinfo` and your site's pages say; they are for the job that waits. What the
# jobs of the sweep themselves may use is LAUNCHER, further below.
#SBATCH --job-name=symadj-sweep
#SBATCH --time=24:00:00
#SBATCH --cpus-per-task=1
#SBATCH --mem=4G
#SBATCH --output=symadj-sweep-%j.log
# Told a minute before its end, it cancels what is left; the same line goes on.
#SBATCH --signal=B:TERM@60
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: sbatch scripts/slurm.sh [NAME=VALUE ...]        on a cluster
       bash scripts/slurm.sh [NAME=VALUE ...]          on its login node
       bash scripts/slurm.sh --local [NAME=VALUE ...]  on this machine, without SLURM, to try it out

Runs a sweep of symadj-train whose every job is a job of SLURM, from this directory, which all
machines have to see. NAME=VALUE are those of symadj-train -m and replace the example's. The same
line again runs only what is missing.

Environment:
  SYMADJ_PARTITION  of the jobs (default: the cluster's)
  SYMADJ_BIN        where symadj-train is (default: .venv/bin, else the PATH)
TEXT
}

LAUNCHER=(
    launcher=slurm
    launcher.partition="${SYMADJ_PARTITION:-null}"
    launcher.time=60      # minutes of a job; what takes longer is queued again and goes on
    launcher.cpus=4       # of a job
    launcher.gpus=0       # of a job; with 1, device=cuda below
    launcher.memory=8GiB  # of a job
    launcher.workers=20   # jobs in the queue at once
    # Whatever else sbatch wants from you: +launcher.options.account=MINE
)
SWEEP=(solver=dopri5 grad=symplectic,aca seed=0,1)

for word in "$@"; do
    case $word in
        -h | --help) usage; exit 0 ;;
    esac
done
if [[ ${1:-} == --local ]]; then
    shift
    LAUNCHER=(launcher=slurm launcher.cluster=local launcher.workers=1)
fi
if (($#)); then SWEEP=("$@"); fi

BIN=${SYMADJ_BIN:-}
if [[ -z $BIN && -x .venv/bin/symadj-train ]]; then BIN=$PWD/.venv/bin; fi
# The jobs ask for their own place: what this one was given is nothing to them.
for name in $(compgen -e | grep -E '^(SLURM|SBATCH)_' | grep -vx SLURM_CONF || true); do unset "$name"; done
exec "${BIN:+$BIN/}symadj-train" -m "${LAUNCHER[@]}" "${SWEEP[@]}"
