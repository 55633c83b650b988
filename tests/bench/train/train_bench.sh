#!/bin/sh
# Builds and runs train_bench: the built-in trainer's step against the products it is made of.
# Usage: tests/bench/train/train_bench.sh [BUILD_DIR [ROUNDS]]
#
# A build of type Release or RelWithDebInfo; by default one of its own in build/bench-train. Other
# load on the machine lowers both numbers: look at the ratio, and at the best rounds.
set -eu
root=$(cd "$(dirname "$0")/../../.." && pwd)
build=${1:-$root/build/bench-train}
rounds=${2:-25}
if [ ! -e "$build/CMakeCache.txt" ]; then
    cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release >/dev/null
fi
ninja -C "$build" train_bench >/dev/null
# One thread each, as an agent sets it: OpenBLAS would start its own threads before our pool.
export OPENBLAS_NUM_THREADS=1
exec "$build/tests/bench/train/train_bench" "$rounds"
