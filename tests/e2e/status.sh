#!/usr/bin/env bash
# mpirun hands over the coordinator's exit status, whatever it is, also without the supervisor.
. "$(dirname "$0")/lib.sh"

export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
direct() {
    mpirun -n 2 --oversubscribe --mca mpi_yield_when_idle 1 "$penstock" run "$campaign" --dir "$state" >>"$out" 2>>"$out.err" </dev/null
    got=$?
    [ "$got" -eq "$1" ] || die "mpirun gave $got, not $1"
}

# 2: the campaign file is bad.
echo "campaign: x" >"$campaign"
direct 2

# 3: the budget is used up before the run is done.
write_campaign
sed -i 's/^  budget: 1.00 USD/  budget: 0.0025 USD/' "$campaign"
write_runs
add_run costly --steps 100000 --step-ms 20
direct 3
expect_state costly stopped
expect_verified

# 1: a run fails. 0: the same command again would change nothing, so another directory.
state=$work/state1
write_campaign
write_runs
add_run broken --steps 10 --crash-at 5 --crash-attempts 99
direct 1
direct 1
state=$work/state0
write_campaign
write_runs
add_run fine --steps 5 --step-ms 5
direct 0
direct 0

# 4: waits for a sign-off.
state=$work/state4
write_campaign
cat >>"$campaign" <<END
gates:
  - {name: ask, at: {steps: 3}, rule: sign-off, owner: ada, releases: 40%}
END
write_runs
add_run held --steps 10
direct 4
[ "$(cat "$state/exit")" = 4 ] || die "STATE/exit says $(cat "$state/exit")"

# 5: the ledger is damaged.
printf 'X' | dd of="$state/ledger.pnk" bs=1 seek=200 conv=notrunc 2>/dev/null
direct 5
