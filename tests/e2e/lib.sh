# lib.sh - what the end-to-end scripts share. Sourced with the path of `penstock` as $1:
#
#     . "$(dirname "$0")/lib.sh"
#
# A script makes a campaign, runs it, breaks something, and says what must hold. Nothing is waited for by
# sleeping: until_true polls with a deadline. Only processes whose ids come from files that the program
# under test writes are ever signalled. At the end no recorded process may be alive.
set -u

penstock=${1:?usage: $0 PATH-OF-PENSTOCK}
here=$(cd "$(dirname "$0")" && pwd)
name=$(basename "$0" .sh)
work=$(mktemp -d "${TMPDIR:-/tmp}/penstock-e2e-$name.XXXXXX")
state=$work/state
campaign=$work/campaign.yaml
out=$work/out
pids=$work/pids
: >"$pids"
job=

export PENSTOCK_LOG=${PENSTOCK_LOG:-warn}
unset PENSTOCK_PROGRESS OMPI_COMM_WORLD_RANK PMIX_RANK

die() {
    echo "$name: FAILED: $*" >&2
    for file in "$out"*; do
        [ -s "$file" ] && sed "s|^|  $(basename "$file"): |" "$file" | tail -60 >&2
    done
    echo "  kept: $work" >&2
    keep=1
    exit 1
}

keep=
leave() {
    status=$?
    trap - EXIT
    [ -n "$job" ] && kill -TERM "$job" 2>/dev/null
    record_pids
    wait_all_gone 15 || {
        echo "$name: processes were left behind: $(alive)" >&2
        for pid in $(alive); do kill -KILL "$pid"; done
        status=1
    }
    [ -z "$keep" ] && [ "$status" -eq 0 ] && rm -rf "$work"
    exit "$status"
}
trap leave EXIT
trap 'exit 1' INT TERM

# until_true SECONDS COMMAND...: polls ten times a second.
until_true() {
    tries=$(($1 * 10))
    shift
    while ! "$@"; do
        tries=$((tries - 1))
        [ "$tries" -le 0 ] && return 1
        sleep 0.1
    done
}

# ---- processes ------------------------------------------------------------------------------------

is_alive() {
    [ -r "/proc/$1/stat" ] && ! grep -q '^State:[[:space:]]*Z' "/proc/$1/status" 2>/dev/null
}

parent_of() { sed -n 's/^PPid:[[:space:]]*//p' "/proc/$1/status" 2>/dev/null; }

coordinator_pid() { cut -d' ' -f2 "$state/coordinator" 2>/dev/null; }

mpirun_pid() {
    pid=$(coordinator_pid)
    [ -n "$pid" ] && parent_of "$pid"
}

# The newest trainer process of a run, as the trainer itself logged it.
trainer_pid() { sed -n 's/.* pid \([0-9]*\) start .*/\1/p' "$state/runs/$1/work.log" 2>/dev/null | tail -1; }

# The agent above a run's newest trainer: trainer -> launcher -> agent.
agent_pid() {
    pid=$(trainer_pid "$1")
    [ -n "$pid" ] && pid=$(parent_of "$pid") && [ -n "$pid" ] && parent_of "$pid"
}

# Ids of all trainers that the ledger says are running, where they are still what it says.
trainers() {
    for pid in $("$penstock" export "$state" --format json 2>/dev/null | python3 "$here/ledger_facts.py" trainers 2>/dev/null); do
        is_alive "$pid" && grep -qa PENSTOCK_RUN "/proc/$pid/environ" 2>/dev/null && echo "$pid"
    done
}

# Every process that the state directory's files name, and the launchers and agents above its trainers,
# with their start times, so that a reused id is not taken for it.
record_pids() {
    for pid in $(coordinator_pid) $(trainers) $(sed -n 's/.* pid \([0-9]*\) start .*/\1/p' "$state"/runs/*/work.log 2>/dev/null); do
        is_alive "$pid" || continue
        echo "$pid $(start_time "$pid")" >>"$pids"
        above=$(parent_of "$pid")
        for _ in 1 2; do
            [ -n "$above" ] && grep -qa '^penstock$\|mpirun' "/proc/$above/comm" 2>/dev/null || break
            echo "$above $(start_time "$above")" >>"$pids"
            above=$(parent_of "$above")
        done
    done
}

start_time() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

alive() {
    sort -u "$pids" | while read -r pid started; do
        [ -n "$started" ] && is_alive "$pid" && [ "$(start_time "$pid")" = "$started" ] && echo "$pid"
    done
}

none_alive() { [ -z "$(alive)" ]; }
wait_all_gone() { until_true "$1" none_alive; }

# ---- campaigns ------------------------------------------------------------------------------------

# write_campaign: the head of a campaign; gates, runs and more are appended by the script.
write_campaign() {
    cat >"$campaign" <<END
campaign: $name
currency: USD
budget: 10.00 USD
prices:
  cpu: 1.00 USD
owners:
  - {name: ada, role: research}
timing:
  heartbeat: 200ms
  lease: 4s
  stop_grace: 3s
  worker_timeout: 4s
  restart_backoff: 100ms
  restart_backoff_max: 200ms
guardrails:
  window: 2s
  utilization: {warn_after: never, park_after: never, stop_after: never}
defaults:
  class: cpu
  budget: 1.00 USD
  threads: 1
END
}

# add_run NAME [TRAINER FLAGS...]: a run of trainer.py; after write_runs.
write_runs() { echo "runs:" >>"$campaign"; }
add_run() {
    run=$1
    shift
    words=
    for word in "$@"; do words="$words, \"$word\""; done
    echo "  - {name: $run, steps: 1000, command: [\"python3\", \"$here/trainer.py\"$words]}" >>"$campaign"
}

# ---- running --------------------------------------------------------------------------------------

workers=${workers:-2}

# start [WORKERS]: in the background; $job is its id.
start() {
    "$penstock" run "$campaign" --dir "$state" --workers "${1:-$workers}" >>"$out" 2>>"$out.err" &
    job=$!
}

# finish STATUS [SECONDS]: waits for the job that start began, and for its exit status.
finish() {
    until_true "${2:-40}" job_over || die "still running after ${2:-40} s"
    wait "$job"
    got=$?
    job=
    [ "$got" -eq "$1" ] || die "exit status $got, not $1"
}
job_over() { ! is_alive "$job"; }

# run_to STATUS: start and finish.
run_to() {
    start
    finish "$1"
}

run_state() {
    "$penstock" status "$state" --json 2>/dev/null | python3 -c '
import json, sys
for run in json.load(sys.stdin)["runs"]:
    if run["run"] == sys.argv[1]:
        print(run["state"])' "$1" 2>/dev/null
}

expect_state() {
    got=$(run_state "$1")
    [ "$got" = "$2" ] || die "run $1 is \"$got\", not \"$2\""
}

expect_verified() { "$penstock" verify "$state" >"$out.verify" 2>&1 || die "verify: $(cat "$out.verify")"; }
expect_text() { grep -q -- "$2" "$1" || die "$1 does not say \"$2\""; }

has_line() { grep -q -- "$2" "$1" 2>/dev/null; }
trains() { has_line "$state/runs/$1/work.log" " start "; }
has_checkpoint() { has_line "$state/runs/$1/work.log" " checkpoint "; }
