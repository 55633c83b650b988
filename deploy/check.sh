#!/bin/sh
# check.sh - every test and every check, from a clean clone: installs what is missing, builds, runs the
# whole of ctest, builds again under the address and undefined-behaviour sanitizers and runs that, and
# checks format, layers, words, documents, purity and clang-tidy. All parts run even when one fails.
#
#     deploy/check.sh            everything
#     PENSTOCK_JOBS=8 ...        jobs at once, instead of one a processor
set -u

penstock_root=$(cd "$(dirname "$0")/.." && pwd)
. "$penstock_root/deploy/install.sh"
cd "$penstock_root" || exit 2
jobs=${PENSTOCK_JOBS:-$(nproc)}
failed=
start=$(date +%s)

part()
{
    name=$1
    shift
    printf '\n== %s\n' "$name"
    part_start=$(date +%s)
    "$@"
    part_status=$?
    printf '== %s: %s, %d s\n' "$name" "$([ $part_status = 0 ] && echo ok || echo "FAILED ($part_status)")" \
        $(($(date +%s) - part_start))
    if [ $part_status != 0 ]; then failed="$failed $name"; fi
    return $part_status
}

# build PRESET: quiet unless it fails.
build()
{
    mkdir -p build
    if cmake --preset "$1" >"build/$1.log" 2>&1 &&
        cmake --build "build/$1" -j "$jobs" >>"build/$1.log" 2>&1; then
        return 0
    fi
    tail -n 60 "build/$1.log"
    return 1
}

# tests PRESET EXCLUDED-LABELS: ctest, with its closing lines; the rest where something failed.
tests()
{
    ctest --test-dir "build/$1" -LE "$2" --output-on-failure -j "$jobs" >"build/$1.tests.log" 2>&1
    tests_status=$?
    if [ $tests_status != 0 ]; then
        grep -vE '^ *[0-9]+/[0-9]+ Test .* Passed|^ *Start ' "build/$1.tests.log" | tail -n 200
    fi
    sed -n '/tests passed/,$p' "build/$1.tests.log"
    return $tests_status
}

if [ "$(id -u)" = 0 ]; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi

part install penstock_install build run examples test || exit 2
if part "build dev" build dev; then
    part "tests dev" tests dev gpu
    part checks .ci/checks.sh build/dev
fi
if part "build asan" build asan; then part "tests asan" tests asan 'gpu|slow'; fi

printf '\n%d s\n' $(($(date +%s) - start))
if [ -n "$failed" ]; then
    echo "check.sh: FAILED:$failed" >&2
    exit 1
fi
echo "check.sh: all passed"
