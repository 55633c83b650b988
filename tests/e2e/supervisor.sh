#!/usr/bin/env bash
# kill -9 of `penstock run` itself: the whole job ends with it, and nothing is lost.
. "$(dirname "$0")/lib.sh"

write_campaign
write_runs
add_run one --steps 60 --step-ms 40
start
until_true 20 has_checkpoint one || die "nothing trains"
record_pids
echo "$(mpirun_pid) $(start_time "$(mpirun_pid)")" >>"$pids"
kill -KILL "$job"
wait "$job" 2>/dev/null
job=
wait_all_gone 20 || die "alive after the supervisor: $(alive)"
expect_verified
run_to 0
expect_state one finished
expect_verified
