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
export JOBS="$jobs" # for the checks
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

# tests PRESET CTEST-ARGUMENTS...: ctest, with its closing lines; the rest where something failed.
tests()
{
    tests_log=build/$1.tests.log
    shift
    ctest "$@" --output-on-failure -j "$jobs" >"$tests_log" 2>&1
    tests_status=$?
    if [ $tests_status != 0 ]; then
        grep -vE '^ *[0-9]+/[0-9]+ Test .* Passed|^ *Start ' "$tests_log" | tail -n 200
    fi
    sed -n '/tests passed/,$p' "$tests_log"
    return $tests_status
}

# What needs a GPU: runs where there is one, else says of each part that it was skipped.
gpu()
{
    tests/gpu/run.sh
    gpu_status=$?
    [ $gpu_status = 77 ] && return 0
    return $gpu_status
}

if [ "$(id -u)" = 0 ]; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi

part install penstock_install build run examples test || exit 2
if part "build dev" build dev; then
    part "tests dev" tests dev --test-dir build/dev -LE gpu
    part checks .ci/checks.sh build/dev
fi
part gpu gpu
if part "build asan" build asan; then part "tests asan" tests asan --preset asan; fi

printf '\n%d s\n' $(($(date +%s) - start))
if [ -n "$failed" ]; then
    echo "check.sh: FAILED:$failed" >&2
    exit 1
fi
echo "check.sh: all passed"
