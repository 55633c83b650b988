#!/bin/sh
# Runs clang-tidy 14 with the tree's .clang-tidy over our own sources of a configured build folder.
# Usage: tidy.sh [BUILD] (default build/dev). JOBS says how many at once (default 2).
# Status 0: no finding; 1: findings; 77: no clang-tidy 14 here.
set -eu
cd "$(dirname "$0")/.."

build=${1:-build/dev}
runner=$(command -v run-clang-tidy-14 || true)
if [ -z "$runner" ]; then
    echo "tidy: clang-tidy 14 is not installed" >&2
    exit 77
fi
if [ ! -f "$build/compile_commands.json" ]; then
    echo "tidy: no $build/compile_commands.json; configure first: cmake --preset dev" >&2
    exit 1
fi

# Generated protobuf-c code, and the kernels' second build for another instruction set, are not
# looked at: the former is not ours, the latter is the same text.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 - "$build/compile_commands.json" "$work/compile_commands.json" <<'PY'
import json, os, sys
root, seen, kept = os.getcwd() + "/", set(), []
for entry in json.load(open(sys.argv[1])):
    path = entry["file"]
    if path.startswith(root) and not path.startswith(root + "build/") and path not in seen:
        seen.add(path)
        kept.append(entry)
json.dump(kept, open(sys.argv[2], "w"))
PY
"$runner" -p "$work" -j "${JOBS:-2}" -quiet >"$work/coloured" 2>"$work/err" && status=0 || status=$?
sed 's/\x1b\[[0-9;]*m//g' "$work/coloured" >"$work/out"
grep -E '(warning|error):' "$work/out" | sort -u || true
if [ "$status" -ne 0 ] && ! grep -qE '(warning|error):' "$work/out"; then
    cat "$work/err" >&2
fi
exit "$status"
