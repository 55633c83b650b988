#!/usr/bin/env bash
# A sign-off gate holds its run, gives its slot back, ends the job with status 4, and takes answers: wrong
# ones are refused, the right one resumes the run; an answer is taken while a campaign runs, too.
. "$(dirname "$0")/lib.sh"

write_campaign
cat >>"$campaign" <<END
  owner: ada
gates:
  - name: ask
    at: {steps: 10}
    rule: sign-off
    owner: ada
    releases: 40%
END
sed -i '/^  - {name: ada/a\  - {name: bob, role: spend}' "$campaign"
write_runs
add_run held --steps 30
decide() { "$penstock" decide "$state" "$@" >"$out.decide" 2>&1; }
refused() {
    says=$1
    shift
    decide "$@" && die "decide $* was taken"
    expect_text "$out.decide" "$says"
}

run_to 4
expect_state held held
expect_verified
expect_text "$out" "penstock decide $state held/ask go|no-go --as ada"
run_to 4

refused "bob" held/ask go --as bob --reason "let it"
refused "no owner" held/ask go --as eve --reason "let it"
refused "go or no-go" held/ask maybe --as ada --reason "let it"
refused "waiting now: held/ask" held/other go --as ada --reason "let it"
refused "waiting now: held/ask" nobody go --as ada --reason "let it"
refused "reason" held/ask go --as ada --reason "  "
refused "reason" held/ask go --as ada
refused "as" held/ask go --reason "let it"

decide held/ask go --as ada --reason "loss still falls" || die "decide: $(cat "$out.decide")"
# Garbage beside it is put aside with its reason.
echo "nonsense" >"$state/inbox/0-bad.decision"
run_to 0
expect_state held finished
expect_text "$out" "held/ask: GO by ada: loss still falls"
[ -f "$state/inbox/refused/0-bad.decision.reason" ] || die "garbage was not refused"
[ -z "$(ls "$state"/inbox/*.decision 2>/dev/null)" ] || die "the inbox was not emptied"
[ "$(ls "$state"/inbox/done/*.decision | wc -l)" = 1 ] || die "the decision was not kept"
grep -q " attempt 2 .* start 10" "$state/runs/held/work.log" || die "not resumed from the gate's checkpoint"
expect_verified
refused "waiting now: nothing" held/ask go --as ada --reason "again"

# While a campaign runs: a second campaign whose other run trains on.
state=$work/state2
echo "  - {name: long, gates: [], steps: 1000, command: [\"python3\", \"$here/trainer.py\", \"--steps\", \"1000\"]}" >>"$campaign"
start
asked() { [ "$(run_state held)" = held ]; }
until_true 20 asked || die "held is not held"
decide held no-go --as ada --reason "stop it" || die "decide: $(cat "$out.decide")"
answered() { [ "$(run_state held)" = stopped ]; }
until_true 5 answered || die "a running coordinator did not take the decision"
record_pids
kill -USR1 "$job"
finish 75
expect_verified
