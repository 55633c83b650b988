#!/usr/bin/env bash
# run.sh BUILD [RUNS] [WORKERS] - how fast no-op runs are started, ended and recorded, ledger syncs included,
# against bare posix_spawn with as many in flight; and how long a message takes to become a command.
# All figures come from one call, so that their ratios mean something.
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

dispatch() {
    campaign "$work/$1.yaml" "$2" "$3" true
    "$build/penstock" run "$work/$1.yaml" --dir "$work/$1" --workers "$workers" --progress none
    rate "$work/$1" "$2"
}

bare=$("$bench" spawn "$((runs * 4))" "$workers")
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

python3 - "$bare" "$again" "$single" "$gangs" "$synced" "$unsynced" "$workers" <<'END'
import sys
bare, again, single, gangs = (float(word) for word in sys.argv[1:5])
base = (bare + again) / 2
print(f"bare posix_spawn, {sys.argv[7]} in flight: {base:.0f} a second ({bare:.0f} before, {again:.0f} after)")
print(f"no-op runs of 1 rank: {single:.0f} a second, {single / base:.2f} of bare")
print(f"no-op gangs of 2 ranks: {gangs:.0f} a second, their processes {2 * gangs / base:.2f} of bare")
for name, words in (("with sync", sys.argv[5]), ("on a memory file system", sys.argv[6])):
    count, p50, p99 = words.split()
    print(f"message to command, {name}: p50 {p50} ms, p99 {p99} ms ({count} decisions)")
END
