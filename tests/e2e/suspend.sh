#!/usr/bin/env bash
# SIGUSR1, SIGTERM and SIGINT suspend with status 75: every trainer has checkpointed; the same command
# resumes. A second SIGINT stops at once.
. "$(dirname "$0")/lib.sh"

write_campaign
write_runs
add_run one --steps 50 --step-ms 40
add_run two --steps 50 --step-ms 40
moves() { has_line "$state/runs/one/work.log" " attempt $attempt .* start" && has_line "$state/runs/two/work.log" " attempt $attempt .* start"; }

attempt=0
for signal in USR1 TERM; do
    attempt=$((attempt + 1))
    start
    until_true 20 moves || die "nothing trains"
    record_pids
    kill -"$signal" "$job"
    finish 75
    [ "$(cat "$state/exit")" = 75 ] || die "STATE/exit says $(cat "$state/exit")"
    wait_all_gone 5 || die "alive after $signal: $(alive)"
    for run in one two; do
        expect_state "$run" queued
        has_line "$state/runs/$run/work.log" " attempt $attempt .* stopped" || die "$run did not stop in order"
    done
    expect_verified
done
start
finish 0
for run in one two; do
    expect_state "$run" finished
    [ "$(grep -c "done 50" "$state/runs/$run/work.log")" = 1 ] || die "$run was not done once"
    # Each attempt began where the one before it stopped.
    awk '$10 == "start" || $0 ~ / start / { if ($NF != last) bad = 1 } / stopped / { last = $NF } BEGIN { last = 0 } END { exit bad }' \
        "$state/runs/$run/work.log" || die "$run lost work: $(cat "$state/runs/$run/work.log")"
done
expect_verified
