#!/usr/bin/env bash
# A gang of two is placed whole, sees one another in its environment, and ends whole when one crashes.
workers=2
. "$(dirname "$0")/lib.sh"

write_campaign
write_runs
cat >>"$campaign" <<END
  - {name: pair, ranks: 2, steps: 1000, command: ["python3", "$here/trainer.py", "--steps", "20", "--crash-at", "12"]}
END
run_to 0

expect_state pair finished
expect_verified
for rank in 0 1; do
    grep -q "attempt 1 rank $rank .* start 0" "$state/runs/pair/work.log" || die "rank $rank did not start"
    grep -q "attempt 2 rank $rank .* start 10" "$state/runs/pair/work.log" || die "rank $rank was not restarted"
done
