#!/bin/sh
# All checks of the texts, on a laptop as in continuous integration: format, layers, words, docs,
# purity and tidy. Usage: checks.sh [BUILD], a folder that is configured and built (default
# build/dev). Runs all of them even when one fails; a tool that is not installed is said, not failed.
set -u
cd "$(dirname "$0")/.." || exit 1

build=${1:-build/dev}
failed=
check()
{
    name=$1
    shift
    printf '== %s\n' "$name"
    "$@"
    case $? in
    0 | 77) ;;
    *) failed="$failed $name" ;;
    esac
}

check format .ci/format.sh
check layers python3 -B .ci/layers.py
check words python3 -B .ci/words.py
check docs python3 -B .ci/docs.py
check purity python3 -B .ci/purity.py "$build/scheduler/policy/libpolicy.a" \
    "$build/scheduler/core/libcore.a"
check tidy .ci/tidy.sh "$build"

if [ -n "$failed" ]; then
    echo "checks failed:$failed" >&2
    exit 1
fi
echo "all checks passed"
