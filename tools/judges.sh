#!/usr/bin/env bash
# The official OpenAI SDK's own tests, to be run against this gateway: the SDK in .venv-sdk, and the source archive of
# the same version (the archive has the tests, the wheel does not) unpacked in .cache. Prints that folder's path.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/debian.sh

tools/environment.sh sdk
exec 9>.cache/judges.lock
flock 9

version=$(sed -n 's/^openai==\([^ ]*\).*/\1/p' requirements-sdk.lock)
folder=.cache/openai-$version
if [ ! -e "$folder/.complete" ]; then
  say "fetching the OpenAI SDK's own tests ($version)"
  rm -rf "$folder" .cache/openai-source
  mkdir -p .cache/openai-source
  # The one requirement with its hashes, as the lock has it.
  awk '/^[^ ]/ { wanted = /^openai==/ } wanted' requirements-sdk.lock >.cache/openai-source/requirement.txt
  .venv-sdk/bin/python -m pip download --quiet --disable-pip-version-check --dest .cache/openai-source \
    --no-deps --no-binary openai --no-build-isolation --require-hashes -r .cache/openai-source/requirement.txt
  tar -xzf ".cache/openai-source/openai-$version.tar.gz" -C .cache
  rm -rf .cache/openai-source
  touch "$folder/.complete"
fi
printf '%s\n' "$PWD/$folder"
