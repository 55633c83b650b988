#!/bin/sh
# run.sh - model-checks lease.pml with Spin: the proof for any number of workers, the cap with two
# workers, and every deliberate bug, which must be found.
#
#     run.sh           some 20 s of one core
#     run.sh --long    more messages in flight, longer leases, more money: minutes, and some 8 GiB
#
# Exit 77 where Spin is not installed.
set -u
model=$(cd "$(dirname "$0")" && pwd)/lease.pml
command -v spin >/dev/null 2>&1 || { echo "skipped: no spin"; exit 77; }
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 2
failed=0

# search FLAGS...: prints "errors states"; "unfinished" in place of errors where the search did not end.
search()
{
    spin -a "$@" "$model" >spin.log 2>&1 || { cat spin.log >&2; return 1; }
    ${CC:-cc} -O2 -w -DSAFETY -DVECTORSZ=1024 -DMEMLIM=8000 -o pan pan.c || return 1
    timeout 900 ./pan -m20000000 -w24 >pan.log 2>&1
    if grep -qE 'depth too small|out of memory|Search not completed' pan.log &&
        ! grep -q 'assertion violated' pan.log; then
        echo "unfinished 0"
    else
        sed -n 's/.*errors: \([0-9]*\).*/\1/p; s/ *\([0-9.e+]*\) states, stored.*/\1/p' pan.log | tr '\n' ' '
    fi
}

# holds NAME FLAGS...: the whole of the states is searched and nothing is wrong.
holds()
{
    name=$1
    shift
    found=$(search "$@")
    case $found in
    "0 "*) echo "ok     $name: no error in ${found#0 }states" ;;
    *)
        echo "FAILED $name: errors and states: ${found:-none}"
        grep -E 'assert|pan:' pan.log
        failed=1
        ;;
    esac
}

# breaks BUG FLAGS...: the deliberate bug is found.
breaks()
{
    name=$1
    shift
    found=$(search "$@" "-DBUG_$name")
    if [ "${found%% *}" = 1 ] && grep -q 'assertion violated' pan.log; then
        echo "ok     $name is found"
    else
        echo "FAILED $name is not found: ${found:-no search}"
        failed=1
    fi
}

holds "any number of workers" -DONE_WORKER
holds "two workers under a cap" -DWORKERS=2 -DRELEASED=4
if [ "${1:-}" = --long ]; then
    holds "any number of workers, three messages" -DONE_WORKER -DSLOTS=3
    holds "any number of workers, longer lease and grace" -DONE_WORKER -DLEASE=4 -DGRACE=2
    holds "two workers under a larger cap" -DWORKERS=2 -DRELEASED=7
fi

for bug in SILENCE_IS_FREE LEASE_FROM_RECEIPT NO_GRACE_RESERVED STOP_WITHOUT_ATTEMPT REFUND_TWICE \
    LAUNCH_WITHOUT_ATTEMPT GRANT_BEFORE_DURABLE LEDGER_NOT_FENCED; do
    breaks $bug -DONE_WORKER
done
breaks CAP_FORGETS_RESERVED -DWORKERS=2
exit $failed
