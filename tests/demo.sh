#!/bin/bash
# `make demo` as a newcomer meets it: a fresh clone, an empty home, no setting of ours; then a look
# at what it printed.
set -euo pipefail
cd "$(dirname "$0")/.."
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
mkdir "$place/home"
git clone --quiet --no-local . "$place/clone"

settings=()
while IFS= read -r name; do settings+=(-u "$name"); done \
  < <(compgen -e | grep -E '^(DD|DATADOG|SIGNALBOX|MAKE|MFLAGS|VIRTUAL_ENV|GITHUB|INPUT)' || true)
if ! env "${settings[@]}" HOME="$place/home" make -C "$place/clone" demo > "$place/printed" 2>&1; then
  cat "$place/printed"
  echo "demo: it failed" >&2
  exit 1
fi
cat "$place/printed"

while IFS= read -r line; do
  grep -Eq -- "$line" "$place/printed" || { echo "demo: nothing it printed matches: $line" >&2; exit 1; }
done <<'EOF'
Demo
Count the sources
digest \(sha256\)
digest \(blake2b\)
Fetch, at the second attempt
Write the summary
[0-9]+(\.[0-9]+)? ?m?s
Look further
EOF
[[ -z "$(git -C "$place/clone" status --porcelain)" ]] || { echo "demo: it left files in the tree" >&2; exit 1; }
echo "demo: printed what it should"
