#!/usr/bin/env bash
# The built-in trainer's data file vanishes between two attempts: the run fails with what is wrong, the
# other goes on.
. "$(dirname "$0")/lib.sh"

for i in 1 2 3 4 5 6 7 8; do cat "$here"/*.sh; done >"$work/data.txt"
cp "$work/data.txt" "$work/gone.txt"
write_campaign
cat >>"$campaign" <<END
  model: {layers: 1, width: 32, heads: 2, context: 32}
  train: {batch: 4, warmup: 2, eval_every: 20, eval_batches: 1, checkpoint_every: 20}
runs:
  - {name: stays, steps: 60, data: $work/data.txt}
  - {name: vanishes, steps: 100000000, data: $work/gone.txt}
END
start
step_made() { ls "$state"/runs/vanishes/checkpoints/*.safetensors >/dev/null 2>&1; }
until_true 30 step_made || die "the built-in trainer makes no checkpoint"
kill -USR1 "$job"
finish 75
rm "$work/gone.txt"
start
finish 1
expect_state stays finished
expect_state vanishes failed
"$penstock" explain "$state" vanishes >"$out.explain" || die "explain: status $?"
"$penstock" report "$state" | grep -q "gone.txt" || die "the report does not name the file"
expect_verified
