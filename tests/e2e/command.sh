#!/usr/bin/env bash
# A user's command crashes once and is restarted from its checkpoint; another crashes for ever and fails.
. "$(dirname "$0")/lib.sh"

write_campaign
write_runs
add_run shaky --steps 30 --crash-at 15
add_run broken --steps 30 --crash-at 5 --crash-attempts 99
run_to 1

expect_state shaky finished
expect_state broken failed
expect_verified
grep -q " attempt 1 .* crash" "$state/runs/shaky/work.log" || die "shaky did not crash"
grep -q " attempt 2 .* start 10" "$state/runs/shaky/work.log" || die "shaky was not restarted from step 10"
grep -q "the test asked for a crash" "$state/runs/shaky/attempt-0001.rank-0.err" || die "stderr was not kept"
"$penstock" report "$state" | grep -q "the test asked for a crash" || die "the report does not show stderr"
