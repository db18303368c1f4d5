#!/usr/bin/env bash
# The programs of PostgreSQL and Redis, a browser and text recognition, for the tests to start on ports and folders of their own.
# Nothing is started or enabled here, and nothing ever listens on 5432 or 6379.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/debian.sh

have_postgres() { compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null; }
# Debian ships one Redis binary under several names; the package `redis-tools` has it as redis-check-rdb, and the
# package `redis-server` adds only a name and a system service. The tests want no service, so redis-tools is enough.
have_redis() { command -v redis-server >/dev/null || command -v redis-check-rdb >/dev/null; }

# Chromium for the pages, its WebDriver, and a face with Hangul so that a picture of a page shows what a person would see.
have_browser() { command -v chromium >/dev/null && command -v chromedriver >/dev/null; }

# Text recognition with Korean, for pictures among attachments. The gateway itself does without where it is missing.
have_recognition() { command -v tesseract >/dev/null && tesseract --list-langs 2>/dev/null | grep -x kor >/dev/null; }

packages=()
if [ -z "${HAECHI_TEST_POSTGRES_URL:-}" ] && ! have_postgres; then packages+=(postgresql); fi
if [ -z "${HAECHI_TEST_REDIS_URL:-}" ] && ! have_redis; then packages+=(redis-tools); fi
if ! have_browser; then packages+=(chromium chromium-driver fonts-nanum); fi
if ! have_recognition; then packages+=(tesseract-ocr tesseract-ocr-kor); fi
if [ ${#packages[@]} -eq 0 ]; then exit 0; fi

# Debian's package would make a cluster of its own and start it on 5432. This says no for the length of the install.
drop_in=/etc/postgresql-common/createcluster.d/haechi-tests.conf
cleanup() { as_root rm -f "$drop_in" 2>/dev/null || true; }
if [[ " ${packages[*]} " == *" postgresql "* ]] && command -v apt-get >/dev/null && as_root true 2>/dev/null; then
  trap cleanup EXIT
  as_root mkdir -p "${drop_in%/*}"
  echo 'create_main_cluster = false' | as_root tee "$drop_in" >/dev/null
fi
debian_install "the tests run against real servers, a real browser and real text recognition" "${packages[@]}"
