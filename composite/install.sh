#!/bin/bash
# Puts Signalbox into a venv of its own, which goes with the job. What it needs is locked by hash.
set -euo pipefail
home=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$RUNNER_TEMP/signalbox
[[ ! -x $venv/bin/signalbox ]] || exit 0 # used twice in a job
if [[ $(uname -s) != Linux ]] || ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "::error::Signalbox runs on Linux and needs Python 3.11 or newer: add actions/setup-python before it"
  exit 4
fi
# The pip that is there, which saves making another: 5 s.
pip=python3
python3 -m pip --version > /dev/null 2>&1 || { python3 -m venv "$venv-pip"; pip=$venv-pip/bin/python; }
python3 -m venv --without-pip "$venv"
"$pip" -m pip --python "$venv/bin/python" install --quiet --disable-pip-version-check --no-input \
  --require-hashes --only-binary :all: -r "$home/requirements/run.txt"
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
printf '%s\n' "$home" > "$site/signalbox.pth"
printf '#!/bin/bash\nexec %q -I -m runner "$@"\n' "$venv/bin/python" > "$venv/bin/signalbox.new"
chmod 0755 "$venv/bin/signalbox.new"
mv "$venv/bin/signalbox.new" "$venv/bin/signalbox"
