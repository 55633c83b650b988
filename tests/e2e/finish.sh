#!/usr/bin/env bash
# A small campaign runs to its end: one run finishes, a gate stops another, the rest of the verbs agree.
. "$(dirname "$0")/lib.sh"

write_campaign
cat >>"$campaign" <<END
gates:
  - name: half
    at: {steps: 20}
    rule: {milestone: {loss: 2.5}}
    owner: ada
    releases: 40%
END
write_runs
add_run good --steps 40
add_run bad --steps 40 --loss 9
run_to 0

expect_state good finished
expect_state bad stopped
expect_verified
[ "$(cat "$state/exit")" = 0 ] || die "STATE/exit says $(cat "$state/exit")"
expect_text "$out" "good/half: GO (milestone: loss 2.0000 against 2.5000)"
expect_text "$out" "bad/half: NO-GO"
expect_text "$out" "closed with status 0"
grep -q "checkpoint 40" "$state/runs/good/work.log" || die "good did not do its 40 steps"

"$penstock" report "$state" >"$out.report" || die "report: status $?"
expect_text "$out.report" good
"$penstock" report "$state" --format html -o "$work/report.html" || die "report to a file: status $?"
[ -s "$work/report.html" ] || die "no HTML report"
"$penstock" explain "$state" bad >"$out.explain" || die "explain: status $?"
expect_text "$out.explain" half
for format in json csv openmetrics; do
    "$penstock" export "$state" --format "$format" >"$out.$format" || die "export $format: status $?"
    [ -s "$out.$format" ] || die "export $format gave nothing"
done
ls "$state"/runs/good/events.out.tfevents.* >/dev/null || die "no TensorBoard file"

# The same command again: done, at once, and nothing is started.
before=$(wc -c <"$state/ledger.pnk")
run_to 0
expect_text "$out" "is done (status 0)"
[ "$(wc -c <"$state/ledger.pnk")" = "$before" ] || die "a finished campaign was written to"
