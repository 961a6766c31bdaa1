# shellcheck shell=bash
# What the scripts share; sourced by them, in the root of the checkout.

usage() {  # the comment at the head of the calling script
  sed -n '2,/^[^#]/ { s/^# \{0,1\}//p }' "$0"
}

die() {
  echo "${0##*/}: $*" >&2
  exit 2
}

# Sets PY: the Python given by PYTHON, else make's own, which is made where it is missing.
use_python() {
  local version
  if [[ -n ${PYTHON:-} ]]; then
    PY=$(command -v "$PYTHON") || die "PYTHON=$PYTHON: no such program."
  else
    PY=.venv/bin/python
    [[ -x $PY ]] || make --no-print-directory "${1:-.venv/.installed}" >&2
  fi
  version=$("$PY" -c 'import os, symadj; print(os.path.dirname(os.path.dirname(symadj.__file__)))') \
    || die "$PY cannot import symadj: $PY -m pip install -e '.[dev]', or leave PYTHON out."
  [[ $version -ef . ]] || die "$PY imports symadj from $version, which is not this checkout ($PWD)."
}

# Seconds in words.
duration() {
  awk -v s="$1" 'BEGIN {
    if (s < 90) printf "about %d s", s < 1 ? 1 : s
    else if (s < 5400) printf "about %d min", s / 60 + 0.5
    else printf "about %.1f h", s / 3600 }'
}
