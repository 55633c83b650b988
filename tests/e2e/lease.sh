#!/usr/bin/env bash
# SIGSTOP of the coordinator for longer than a lease: every trainer has checkpointed and stopped by its
# deadline, by its agent's own clock; after SIGCONT all runs finish.
. "$(dirname "$0")/lib.sh"

write_campaign
write_runs
add_run one --steps 250 --step-ms 40
add_run two --steps 250 --step-ms 40

start
until_true 20 has_checkpoint one || die "one makes no checkpoint"
until_true 20 has_checkpoint two || die "two makes no checkpoint"
record_pids
pid=$(coordinator_pid)
one=$(trainer_pid one)
two=$(trainer_pid two)
kill -STOP "$pid"
trap 'kill -CONT "$pid" 2>/dev/null; leave' EXIT
gone() { ! is_alive "$one" && ! is_alive "$two"; }
# A lease of 4 s and a grace of 3 s; a trainer that obeys needs no grace.
until_true 7 gone || die "trainers outlived their lease"
for run in one two; do
    has_line "$state/runs/$run/work.log" " attempt 1 .* stopped" || die "$run did not stop in order"
done
kill -CONT "$pid"
trap leave EXIT
finish 0 60
for run in one two; do
    expect_state "$run" finished
    [ "$(grep -c "done 250" "$state/runs/$run/work.log")" = 1 ] || die "$run was not done once"
    stopped=$(sed -n 's/.* attempt 1 .* stopped \([0-9]*\)$/\1/p' "$state/runs/$run/work.log")
    grep -q " attempt 2 .* start $stopped\$" "$state/runs/$run/work.log" || die "$run lost work"
done
expect_verified
