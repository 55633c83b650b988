#!/bin/sh
# quickstart.sh [STATE] - from a clean clone to a first campaign, its report, and nothing else to do.
#
# Installs what is missing, builds into build/release, makes the text, and runs deploy/examples/first.yaml
# with three workers in the state directory STATE (default: build/quickstart/state). Run again, it resumes
# the campaign, or shows the report of a finished one.
set -eu

penstock_root=$(cd "$(dirname "$0")/.." && pwd)
state=${1:-$penstock_root/build/quickstart/state}
case $state in
/*) ;;
*) state=$PWD/$state ;;
esac
. "$penstock_root/deploy/install.sh"
cd "$penstock_root"

say()
{
    printf '%s\n' "penstock: $*"
}

penstock_install build run examples || exit 2

if [ ! -f build/release/build.ninja ]; then
    say "configures build/release"
    cmake --preset release -DPENSTOCK_TESTS=OFF >/dev/null
fi
say "builds (the log is build/release.log)"
if ! cmake --build build/release >build/release.log 2>&1; then
    tail -n 40 build/release.log >&2
    say "the build failed; see build/release.log" >&2
    exit 2
fi

# The King James Bible, a verse a line: 4.4 MB of English.
text=build/quickstart/kjv.txt
if [ ! -s "$text" ]; then
    mkdir -p build/quickstart
    PATH=$PATH:/usr/games bible -f gen1:1-rev22:21 >"$text.new"
    mv "$text.new" "$text"
fi

# One line for each change; PENSTOCK_LOG=info shows what agents and trainers do, too.
export PENSTOCK_LOG="${PENSTOCK_LOG:-warn}"

# Open MPI wants to be told that root is meant.
if [ "$(id -u)" = 0 ]; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi

penstock=build/release/penstock
status=0
"$penstock" run deploy/examples/first.yaml --dir "$state" --workers 3 || status=$?
if [ ! -f "$state/ledger.pnk" ]; then exit "$status"; fi
"$penstock" report "$state" --format html -o "$state/report.html"
"$penstock" report "$state" --format text
say "the same with its charts: $state/report.html"
exit "$status"
