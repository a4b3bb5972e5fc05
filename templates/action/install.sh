#!/usr/bin/env bash
# Installs the gate from the action's own checkout into a virtual environment of its own; everything it needs comes from the
# hash-pinned lock file beside this script. Says where its Python is as output `python`. Exit code 3 when it cannot.
set -euo pipefail

fail() {
  printf '::error title=provenance-gate::%s\n' "$1"
  exit 3
}

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=$(cd -- "$here/../.." && pwd)

# -I everywhere: the working folder holds the code under test, and must not be where Python finds its modules.
found=
for candidate in python3 python3.13 python3.12 python3.11 python3.10 python; do
  if "$candidate" -I -c 'import sys, venv; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; then
    found=$candidate
    break
  fi
done
[ -n "$found" ] || fail "Python 3.10 or newer is needed on the runner (actions/setup-python installs it)"

folder=$(mktemp -d "${RUNNER_TEMP:-${TMPDIR:-/tmp}}/provenance-gate-venv-XXXXXX")
"$found" -I -m venv "$folder" || fail "no virtual environment could be made with $found"
python=$folder/bin/python
[ -x "$python" ] || python=$folder/Scripts/python.exe

pip() {
  "$python" -I -m pip --disable-pip-version-check --no-input --quiet "$@"
}
pip install --require-hashes --only-binary :all: --requirement "$here/requirements.txt" ||
  fail "the packages in templates/action/requirements.txt could not be installed"
# Nothing is fetched here: the build tool is among the pinned packages.
pip install --no-index --no-deps --no-build-isolation "$root" || fail "the gate could not be installed"

printf 'python=%s\n' "$python" >>"$GITHUB_OUTPUT"
