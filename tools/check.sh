#!/usr/bin/env bash
# Linters, types and import rules. Each runs even when one before it failed, and only what fails is shown in full.
set -euo pipefail
cd "$(dirname "$0")/.."

status=0
step() { # step NAME COMMAND…
  local name=$1 out; shift
  if out=$("$@" 2>&1); then printf '✓ %s\n' "$name"; else printf '%s\n✗ %s\n' "$out" "$name"; status=1; fi
}
step 'ruff check'   .venv/bin/ruff check .
step 'ruff format'  .venv/bin/ruff format --check .
step 'mypy'         .venv/bin/mypy
step 'import rules' .venv/bin/lint-imports
exit $status
