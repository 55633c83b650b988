#!/usr/bin/env bash
# run.sh BUILD [RUNS] [WORKERS] - how fast no-op runs are started, ended and recorded, ledger syncs included,
# against bare posix_spawn with as many in flight, and against the trainer contract alone; and how long a
# message takes to become a command. All figures come from one call, so that their ratios mean something. On a
# machine that others use too, rates say how the kernel shares it: there, compare CPU times.
set -eu
build=$(cd "$1" && pwd)
runs=${2:-1000}
workers=${3:-8}
bench=$build/tests/bench/dispatch/dispatch_bench
work=$(mktemp -d "${TMPDIR:-/tmp}/penstock-bench.XXXXXX")
memory=$(mktemp -d /dev/shm/penstock-bench.XXXXXX)
trap 'rm -rf "$work" "$memory"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 PENSTOCK_LOG=error

# campaign FILE COUNT RANKS COMMAND [GATES]
campaign() {
    cat >"$1" <<END
campaign: bench
currency: USD
budget: 1000000.00 USD
prices: {cpu: 1.00 USD}
timing: {heartbeat: 500ms, lease: 60s, stop_grace: 5s, worker_timeout: 30s}
${5:-}
defaults: {class: cpu, budget: 1.00 USD, ranks: $3, steps: 10, command: ["$4"], threads: 1}
runs:
END
    for i in $(seq "$2"); do echo "  - {name: r$i}"; done >>"$1"
}

# Runs per second between the first placement and the last end, by the ledger.
rate() {
    "$build/penstock" export "$1" --format json | python3 -c '
import json, sys
records = json.load(sys.stdin)["records"]
placed = [r["at_ns"] for r in records if r["kind"] == "placed"]
ended = [r["at_ns"] for r in records if r["kind"] == "attempt ended"]
assert len(ended) == int(sys.argv[1]), f"{len(ended)} runs ended"
print(f"{len(ended) * 1e9 / (max(ended) - min(placed)):.1f}")' "$2"
}

# Runs a command and prints the microseconds of CPU time of all its processes.
cpu() {
    python3 -c '
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=sys.stderr)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(round((used.ru_utime + used.ru_stime) * 1e6))' "$@"
}

# dispatch NAME COUNT RANKS: runs per second, and CPU time of a run. START runs come first, so that what a
# campaign costs as a whole (MPI, how fast a slot is) can be told apart.
START=100
dispatch() {
    campaign "$work/$1.yaml" "$2" "$3" true
    campaign "$work/$1-start.yaml" "$START" "$3" true
    for name in "$1-start" "$1"; do
        cpu "$build/penstock" run "$work/$name.yaml" --dir "$work/$name" --workers "$workers" --progress none
    done >"$work/$1.cpu"
    echo "$(rate "$work/$1" "$2") $(($(tail -n 1 "$work/$1.cpu") - $(head -n 1 "$work/$1.cpu"))) $(($2 - START))"
}

mkdir "$work/contract"
bare=$("$bench" spawn "$((runs * 4))" "$workers")
contract=$("$bench" contract "$runs" "$workers" "$work/contract" "$build/penstock-launch")
single=$(dispatch single "$runs" 1)
gangs=$(dispatch gangs "$((runs / 2))" 2)
again=$("$bench" spawn "$((runs * 4))" "$workers")

gate='gates: [{name: g, at: {steps: 1}, rule: {milestone: {loss: 1.0}}, releases: 10%}]'
campaign "$work/latency.yaml" 500 1 true "$gate"
latency() {
    mpirun -n 2 --quiet --oversubscribe --bind-to none --mca mpi_yield_when_idle 1 \
        "$bench" latency "$work/latency.yaml" "$1/latency"
}
synced=$(latency "$work")
unsynced=$(latency "$memory")

python3 - "$bare" "$again" "$contract" "$single" "$gangs" "$synced" "$unsynced" "$workers" <<'END'
import sys
(bare, bare_us), (again, again_us), (contract, contract_us), (single, single_us, single_count), (
    gangs, gangs_us, gangs_count) = ([float(word) for word in words.split()] for words in sys.argv[1:6])
base, base_us = (bare + again) / 2, (bare_us + again_us) / 2
single_us /= single_count
gangs_us /= gangs_count
print(f"bare posix_spawn, {sys.argv[8]} in flight: {base:.0f} a second ({bare:.0f} before, {again:.0f} after), "
      f"{base_us:.0f} us of CPU time each")
print(f"the trainer contract alone: {contract:.0f} a second, {contract / base:.2f} of bare; {contract_us:.0f} us, "
      f"{base_us / contract_us:.2f} of bare by CPU time")
print(f"no-op runs of 1 rank: {single:.0f} a second, {single / base:.2f} of bare; {single_us:.0f} us, "
      f"{base_us / single_us:.2f} of bare by CPU time")
print(f"no-op gangs of 2 ranks: {gangs:.0f} a second, their processes {2 * gangs / base:.2f} of bare; "
      f"{gangs_us:.0f} us, {2 * base_us / gangs_us:.2f} of bare by CPU time")
for name, words in (("with sync", sys.argv[6]), ("on a memory file system", sys.argv[7])):
    count, p50, p99 = words.split()
    print(f"message to command, {name}: p50 {p50} ms, p99 {p99} ms ({count} decisions)")
END
