#!/usr/bin/env bash
# Compiles every lock again. What a lock already pins stays, unless arguments ask for more, such as
#   tools/lock.sh --upgrade-package redis
# The files carry versions and hashes and no addresses: where packages come from is the site's business.
set -euo pipefail
cd "$(dirname "$0")/.."

compile() { # compile LOCK ARGUMENTS…
  local lock=$1; shift
  .venv/bin/uv pip compile --quiet --generate-hashes --no-header --no-annotate --no-emit-index-url --python-version 3.11 \
    --output-file "$lock" "$@" >/dev/null
  printf '✓ %s: %s packages\n' "$lock" "$(grep -c '==' "$lock")"
}
compile requirements.lock       pyproject.toml --group build "$@"
compile requirements-dev.lock   pyproject.toml --group build --group test "$@"
compile requirements-sdk.lock   --group sdk "$@"
compile requirements-local.lock --group local "$@"
