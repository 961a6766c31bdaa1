#!/usr/bin/env bash
# A sweep whose every job is a job of SLURM; this one submits them, waits, and prints the table.
#
#   sbatch scripts/slurm.sh [NAME=VALUE ...]        on a cluster, in the root of the checkout
#   scripts/slurm.sh [NAME=VALUE ...]               on its login node
#   scripts/slurm.sh --local [NAME=VALUE ...]       on this machine, without SLURM, to try it out
#
#   NAME=VALUE          of symadj-train -m, in place of the example's
#   PYTHON=PROGRAM      the Python to run with (default: that of make, .venv, made if missing)
#
# What to set: below, in the lines #SBATCH, what this job may use, which only waits; in LAUNCHER,
# what each job of the sweep may use. All machines have to see this directory by the same path. The
# same line again runs only what is missing. Exit status: as symadj-train's.
#
#SBATCH --job-name=symadj-sweep
#SBATCH --time=24:00:00
#SBATCH --cpus-per-task=1
#SBATCH --mem=4G
#SBATCH --output=symadj-sweep-%j.log
#SBATCH --signal=B:TERM@60
set -euo pipefail
# sbatch runs a copy of this file, in the directory that it was submitted in.
if [[ -z ${SLURM_JOB_ID:-} ]]; then cd "$(dirname "${BASH_SOURCE[0]}")/.."; fi
. scripts/common.sh

LAUNCHER=(
  launcher=slurm
  launcher.partition=null  # null: the cluster's default
  launcher.time=60         # minutes of a job; what takes longer is queued again and goes on
  launcher.cpus=4          # of a job
  launcher.gpus=0          # of a job
  launcher.memory=8GiB     # of a job
  launcher.workers=20      # jobs in the queue at once
  # whatever else sbatch wants: +launcher.options.account=MINE
)
SWEEP=(solver=dopri5 grad=symplectic,aca seed=0,1)

case ${1:-} in
  -h | --help) usage; exit 0 ;;
  --local) LAUNCHER=(launcher=slurm launcher.cluster=local launcher.workers=1); shift ;;
  -*) die "unknown argument $1; --help says which there are." ;;
esac
if (($#)); then SWEEP=("$@"); fi
use_python
# What this job was given is not what the jobs of the sweep are to ask for.
for name in $(compgen -e | grep -E '^(SLURM|SBATCH)_' | grep -vx SLURM_CONF || true); do
  unset "$name"
done
exec "$PY" -m symadj.cli.train -m "${LAUNCHER[@]}" "${SWEEP[@]}"
