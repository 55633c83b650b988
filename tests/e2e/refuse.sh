#!/usr/bin/env bash
# What is wrong is said before anything starts, with the right exit status.
. "$(dirname "$0")/lib.sh"

# expect STATUS TEXT COMMAND...
expect() {
    want=$1
    says=$2
    shift 2
    "$@" >"$out.said" 2>&1
    got=$?
    [ "$got" -eq "$want" ] || die "\"$*\" gave $got, not $want: $(cat "$out.said")"
    expect_text "$out.said" "$says"
}
run() { "$penstock" run "$campaign" --dir "$state" "$@"; }

# The command line.
expect 2 "usage:" "$penstock"
expect 0 "usage:" "$penstock" --help
expect 0 "penstock [0-9]" "$penstock" --version
expect 2 "did you mean status" "$penstock" statsu
expect 2 "there is no verb" "$penstock" frobnicate
for verb in run plan status explain decide report verify export simulate; do
    expect 0 "example:" "$penstock" "$verb" --help
    expect 0 "usage: penstock $verb" "$penstock" help "$verb"
    expect 2 "$verb" "$penstock" "$verb"
    expect 2 "unknown flag --colour" "$penstock" "$verb" --colour
done
expect 2 "did you mean --workers" "$penstock" run x --dir y --worker 2
expect 2 "a whole number from 1" "$penstock" run "$campaign" --dir "$state" --workers 0
expect 2 "a whole number from 1" "$penstock" run "$campaign" --dir "$state" --workers two
expect 2 "--dir STATE is missing" "$penstock" run "$campaign"
expect 2 "is given twice" "$penstock" run x --dir a --dir b
expect 2 "auto, table, lines or none" "$penstock" run "$campaign" --dir "$state" --progress blue
expect 2 "text, md, html or json" "$penstock" report "$state" --format pdf
expect 2 "an age such as" "$penstock" report "$state" --since soon

# The campaign file and the state directory.
expect 2 "$campaign" run
expect 2 "$state" "$penstock" status "$state"
expect 2 "$state" "$penstock" verify "$state"
echo "campaign: x" >"$campaign"
expect 2 "$campaign:" run
write_campaign
write_runs
add_run only --steps 5 --step-ms 5
cp "$campaign" "$work/good.yaml"
echo "colour: red" >>"$campaign"
expect 2 "colour" run
[ ! -e "$state" ] || die "a bad campaign made a state directory"
cp "$work/good.yaml" "$campaign"
expect 0 "spend is at most" "$penstock" plan "$campaign"
expect 2 "$work/none/state" "$penstock" run "$campaign" --dir "$work/none/state" --workers 1
echo "a file" >"$work/plain"
expect 2 "$work/plain" "$penstock" run "$campaign" --dir "$work/plain" --workers 1

# No mpirun: a clear error.
expect 2 "mpirun cannot be started" env PATH=/nowhere "$penstock" run "$campaign" --dir "$state" --workers 1
[ ! -e "$state/ledger.pnk" ] || die "a ledger was begun without mpirun"

# A campaign that runs refuses a second coordinator, and goes on.
write_campaign
write_runs
add_run only --steps 2000 --step-ms 40
start 1
until_true 20 trains only || die "nothing trains"
record_pids
first=$(coordinator_pid)
expect 2 "$state" run --workers 1
[ "$(coordinator_pid)" = "$first" ] || die "the second coordinator left its mark"
kill -USR1 "$job"
finish 75

# Another campaign file for the same directory is refused; damage is refused with its own status.
echo "# a remark" >>"$campaign"
expect 2 "begun with another campaign file" run
cp "$state/campaign.yaml" "$campaign"
cp "$state/ledger.pnk" "$work/ledger.pnk"
printf 'X' | dd of="$state/ledger.pnk" bs=1 seek=200 conv=notrunc 2>/dev/null
expect 5 "offset" run
expect 5 "offset" "$penstock" verify "$state"
cp "$work/ledger.pnk" "$state/ledger.pnk"
expect 0 "ledger ok" "$penstock" verify "$state"
