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
limit=$(($(getconf CLK_TCK) * 6 * 2 / 100))
# What the busiest rank used in six seconds, in ticks.
busiest() {
    before=$(ticks)
    sleep 6
    ticks | while read -r pid used; do echo $((used - $(echo "$before" | sed -n "s/^$pid //p"))); done | sort -n | tail -1
}
# Let the start pass. A rank that waits busily uses too much in every period; what else this machine does may
# make one or two look dear.
sleep 2
for period in 1 2 3 4; do
    used=$(busiest)
    [ "$used" -gt "$limit" ] || break
    echo "period $period: a rank used $used ticks of $limit"
done
[ "$used" -le "$limit" ] || die "a rank is busy while idle"
kill -USR1 "$job"
finish 75
