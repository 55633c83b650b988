#!/usr/bin/env bash
# kill -9 of a trainer, an agent, the coordinator and mpirun: after the same command again every run has
# ended once, from its checkpoints.
. "$(dirname "$0")/lib.sh"

write_campaign
write_runs
add_run one --steps 200 --step-ms 40
add_run two --steps 200 --step-ms 40

lines() { cat "$state/runs/$1/work.log" 2>/dev/null | grep -c " $2"; }
more_checkpoints() { [ "$(lines "$1" checkpoint)" -gt "$2" ]; }
next_checkpoint() {
    until_true 20 more_checkpoints "$1" "$(lines "$1" checkpoint)" || die "run $1 makes no checkpoint"
}

# A trainer: the run is restarted in the same life.
start
next_checkpoint one
record_pids
kill -KILL "$(trainer_pid one)"
restarted() { [ "$(lines one start)" -ge 2 ]; }
until_true 20 restarted || die "a killed trainer was not restarted"
expect_verified

# An agent, the coordinator, mpirun: the job ends, resumable.
for victim in agent coordinator mpirun; do
    next_checkpoint one
    record_pids
    case $victim in
    agent) pid=$(agent_pid one) ;;
    coordinator) pid=$(coordinator_pid) ;;
    mpirun) pid=$(mpirun_pid) ;;
    esac
    [ -n "$pid" ] || die "no pid of the $victim"
    kill -KILL "$pid"
    finish 75
    expect_verified
    start
done
finish 0 60

for run in one two; do
    expect_state "$run" finished
    [ "$(lines "$run" "done 200")" = 1 ] || die "run $run was done $(lines "$run" "done 200") times"
done
expect_verified
