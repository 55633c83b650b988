#!/usr/bin/env bash
# Seeded random kills (-9) of trainers, agents, the coordinator and mpirun, round after round, over one
# campaign (and another, when one ends before all rounds are done); in the end every run has ended exactly once, no gate was passed without GO, no work that was
# checkpointed on record was lost, and verify passed after every round.
#
#     chaos.sh PENSTOCK [--rounds N] [--seed S] [--campaign FILE] [--workers W] [--last SECONDS]
penstock=$1
shift
rounds=3 seed=1 given= last=120 workers=2
while [ $# -gt 0 ]; do
    case $1 in
    --rounds) rounds=$2 ;;
    --seed) seed=$2 ;;
    --campaign) given=$2 ;;
    --workers) workers=$2 ;;
    --last) last=$2 ;;
    *) echo "chaos: unknown argument $1" >&2 && exit 2 ;;
    esac
    shift 2
done
set -- "$penstock"
. "$(dirname "$0")/lib.sh"
RANDOM=$seed
echo "chaos: to repeat: $0 $penstock --rounds $rounds --seed $seed${given:+ --campaign $given} --workers $workers"

if [ -n "$given" ]; then
    campaign=$given
else
    write_campaign
    cat >>"$campaign" <<END
gates:
  - name: early
    at: {steps: 40}
    rule: {milestone: {loss: 1.6}}
    owner: ada
    releases: 30%
  - name: late
    at: {steps: 80}
    rule: {rank: {eta: 2, siblings_min: 1, margin: 0.05}}
    owner: ada
    releases: 30%
END
    write_runs
    add_run alpha --steps 120 --step-ms 25
    add_run beta --steps 120 --step-ms 25 --loss 4.4
    add_run gamma --steps 120 --step-ms 25 --loss 6
    cat >>"$campaign" <<END
  - {name: pair, ranks: 2, steps: 1000, command: ["python3", "$here/trainer.py", "--steps", "90", "--step-ms", "25", "--loss", "4.2"]}
END
fi

# One victim: a trainer, the agent above one, the coordinator or mpirun. Empty when it is gone already.
choose_victim() {
    kind=$((RANDOM % 4)) pick=$RANDOM
    pid=
    case $kind in
    0 | 1)
        set -- $(trainers)
        [ $# -gt 0 ] || return 0
        shift $((pick % $#))
        pid=$1
        what=trainer
        [ $kind = 1 ] && what=agent && pid=$(parent_of "${pid:-0}") && pid=$(parent_of "${pid:-0}")
        ;;
    2) what=coordinator pid=$(coordinator_pid) ;;
    3) what=mpirun pid=$(mpirun_pid) ;;
    esac
}

# Whether the job lives, and its coordinator is of this life.
begun() { [ "$(coordinator_pid)" != "$before" ] && [ -n "$(coordinator_pid)" ]; }

# Every promise about a campaign that has ended.
conclude() {
    expect_verified
    "$penstock" export "$state" --format json >"$out.json" || die "export: status $?"
    python3 "$here/ledger_facts.py" check <"$out.json" || die "the ledger breaks a promise"
}

round=0
finished=
while [ $round -lt "$rounds" ]; do
    round=$((round + 1))
    before=$(coordinator_pid)
    start "$workers"
    begun_or_over() { begun || job_over; }
    until_true 20 begun_or_over || die "round $round: no coordinator"
    # Somewhere between the very start and well into the work.
    wait_ms=$((RANDOM % 4000))
    waited=0
    while [ $waited -lt $wait_ms ] && ! job_over; do
        sleep 0.1
        waited=$((waited + 100))
    done
    record_pids
    if ! job_over; then
        choose_victim
        if [ -n "$pid" ]; then
            echo "chaos: round $round after ${wait_ms} ms: kill -9 of $what $pid"
            kill -KILL "$pid" 2>/dev/null
        fi
        # A killed trainer does not end the job: the next round does.
        if [ "$what" = trainer ] || [ -z "$pid" ]; then
            record_pids
            sleep 1
            pid=$(coordinator_pid)
            job_over || { echo "chaos: round $round ends with kill -9 of coordinator $pid" && kill -KILL "$pid" 2>/dev/null; }
        fi
    fi
    until_true 60 job_over || die "round $round: the job does not end"
    wait "$job"
    got=$?
    job=
    [ -f "$state/ledger.pnk" ] && expect_verified
    case $got in
    75) ;;
    0 | 1)
        conclude
        finished=1
        if [ $round -lt "$rounds" ]; then
            echo "chaos: the campaign ends in round $round; another begins"
            state=$state.again finished=
        fi
        ;;
    2) [ ! -s "$state/ledger.pnk" ] || die "round $round: status 2" ;;
    *) die "round $round: status $got" ;;
    esac
done

if [ -z "$finished" ]; then
    start "$workers"
    until_true "$last" job_over || die "the last life does not end"
    wait "$job"
    got=$?
    job=
    case $got in 0 | 1) ;; *) die "the last life ended with status $got" ;; esac
fi
[ -n "$finished" ] || conclude
