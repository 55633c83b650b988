#!/bin/sh
# run.sh BUILD [RANKS] [SECONDS]: idle cost (goal: < 2 % of a core) and round trip of the link over MPI.
set -eu
build=$1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
exec mpirun -n "${2:-3}" --oversubscribe --bind-to none --mca mpi_yield_when_idle 1 \
    "$build/tests/bench/link/link_bench" "${3:-5}"
