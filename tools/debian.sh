# Sourced by the other scripts here: install Debian packages without asking anything and without starting a service.

say() { printf '· %s\n' "$*" >&2; }
die() { printf '✗ %s\n' "$*" >&2; exit 1; }

# Only root may install. `sudo -n` never prompts: a build that waits for a password looks like one that hangs.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

# debian_install WHY PACKAGE…
debian_install() {
  local why=$1; shift
  local remedy="$why: install $* and run the same command again (Debian: sudo apt-get install $*)"
  command -v apt-get >/dev/null || die "$remedy"
  if [ "$(id -u)" -ne 0 ] && ! sudo -n true 2>/dev/null; then die "$remedy"; fi

  say "$why: installing $*"
  local log; log=$(mktemp)
  local -a install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends
                    -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold "$@")
  # The lists may be missing or old, so a refused install is tried once more with fresh ones.
  if ! as_root "${install[@]}" >"$log" 2>&1; then
    if ! { as_root apt-get -o DPkg::Lock::Timeout=300 update && as_root "${install[@]}"; } >"$log" 2>&1; then
      tail -n 20 "$log" >&2
      rm -f "$log"
      die "$remedy"
    fi
  fi
  rm -f "$log"
}
