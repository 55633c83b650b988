#!/usr/bin/env bash
# A gang on CPUs whose rank 1 is stopped in the middle: the incident names that rank, whichever agent noticed the
# hang first, and the gang goes on from its checkpoint.
workers=2
. "$(dirname "$0")/lib.sh"

write_campaign
sed -i 's|^timing:|timing:\n  step_deadline: 3s|; s|lease: 4s|lease: 20s|; s|worker_timeout: 4s|worker_timeout: 20s|' "$campaign"
for i in $(seq 2000); do echo "line $i of a text that is learnt by nobody"; done >"$work/text.txt"
cat >>"$campaign" <<END
  data: $work/text.txt
  model: {layers: 1, width: 16, heads: 2, context: 16}
  train: {batch: 2, warmup: 2, eval_every: 100, checkpoint_every: 50, backend: cpu}
runs:
  - {name: pair, ranks: 2, steps: 20000}
END

rank_one() {
    for pid in $(trainers); do
        tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | grep -q '^RANK=1$' && echo "$pid"
    done
}
has_saved() { [ -s "$state/runs/pair/checkpoint.latest" ]; }
has_incident() { has_line "$out" "pair: incident"; }
goes_on() { has_line "$out" "pair: attempt 2 starts"; }

start
until_true 40 has_saved || die "no checkpoint"
record_pids
late=$(rank_one)
[ -n "$late" ] || die "rank 1 is not known"
kill -STOP "$late" || die "rank 1 is gone"
until_true 40 has_incident || die "no incident"
until_true 40 goes_on || die "it does not go on"
record_pids
kill -TERM "$(mpirun_pid)" || die "no mpirun"
finish 75
expect_verified
expect_text "$out" "pair: incident: hang; rank 1 never arrived; rank [01]: no step after"
grep -q "pair: attempt 2 starts on workers .* from step [1-9]" "$out" || die "it did not go on from its checkpoint"
