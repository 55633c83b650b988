#!/bin/sh
# run.sh BUILD [RANKS] [BYTES]: both figures and their ratio, in one run. The goal is a ratio >= 0.8 at 3 MB.
set -eu
build=$1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
exec mpirun -n "${2:-2}" --oversubscribe --bind-to none --mca mpi_yield_when_idle 1 \
    "$build/tests/bench/allreduce/allreduce_bench" "${3:-3000000}"
