#!/usr/bin/env bash
# A job that has nothing to do costs nothing: coordinator and agents each stay under 2 % of a core while the
# only trainer sleeps.
. "$(dirname "$0")/lib.sh"

write_campaign
write_runs
cat >>"$campaign" <<END
  - {name: sleeper, steps: 1000, command: ["python3", "$here/trainer.py", "--hang-at", "0"]}
END
start
until_true 20 trains sleeper || die "nothing trains"
record_pids
coordinator=$(coordinator_pid)
ranks=$(cat "/proc/$(parent_of "$coordinator")/task"/*/children)
[ "$(echo "$ranks" | wc -w)" -ge 3 ] || die "ranks: $ranks"
ticks() { for pid in $ranks; do sed 's/.*) //' "/proc/$pid/stat" | awk -v pid="$pid" '{ print pid, $12 + $13 }'; done; }
# Let the start pass; then what a rank uses in so many seconds is what idling costs.
sleep 2
before=$(ticks)
sleep 6
after=$(ticks)
limit=$(($(getconf CLK_TCK) * 6 * 2 / 100))
echo "$after" | while read -r pid used; do
    was=$(echo "$before" | sed -n "s/^$pid //p")
    [ $((used - was)) -le "$limit" ] || { echo "rank process $pid used $((used - was)) ticks of $limit" && exit 1; }
done || die "a rank is busy while idle"
kill -USR1 "$job"
finish 75
