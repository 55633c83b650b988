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
done
# One rank crashes first; the other is told to stop, and may make a checkpoint where it stands.
start=$(sed -n 's/.* attempt 2 rank 0 .* start \(.*\)/\1/p' "$state/runs/pair/work.log")
case $start in 10 | 11 | 12) ;; *) die "rank 0 was restarted at \"$start\"" ;; esac
grep -q "attempt 2 rank 1 .* start $start\$" "$state/runs/pair/work.log" || die "rank 1 was not restarted at $start"
