#!/usr/bin/env bash
# A gang of two on GPUs, over the stand-ins for CUDA and NCCL: each way in which its first attempt can go wrong
# ends in the right incident, with the right exit code, and the gang goes on under a new attempt. One that hangs
# in a collective is ended by its deadline, its incident names the rank that never arrived, and it is restarted
# from its checkpoint: where NCCL knows it (hang), and where nobody answers but the trainers have said who
# waits (stall, of a kernel that never ends). Nothing is left behind.
workers=2
[ -e "$(dirname "${1:?usage: $0 PATH-OF-PENSTOCK}")/penstock_cuda.so" ] || {
    echo "gpu_gang: skipped: no CUDA headers, so no stand-in was built"
    exit 77
}
. "$(dirname "$0")/lib.sh"
unset CUDA_VISIBLE_DEVICES SLURM_GPUS_ON_NODE
export NCCL_HOSTID=shared # to be cleared

# The stand-ins are told to fail by variables, which neither a campaign nor a job may pass to the built-in
# trainer. So it is started by a script that sets them for the first attempt of each run.
standin=$(cd "$(dirname "$penstock")" && pwd)
mkdir "$work/bin"
cp "$standin/penstock" "$standin/penstock-launch" "$work/bin/"
penstock=$work/bin/penstock
cat >"$work/bin/penstock-train" <<END
#!/bin/sh
fault() { if [ "\$PENSTOCK_ATTEMPT" = 1 ] && [ "\${3:-\$RANK}" = "\$RANK" ]; then export "PENSTOCK_FAKE_\$1=\$2"; fi; }
case \${PENSTOCK_RUN-} in
hang) fault NCCL_HANG 30 1 ;;
stall) fault STALL 400 1 ;;
remote) fault NCCL_REMOTE 30 ;;
never-met) fault NCCL_INIT hang 1 ;;
memory) fault ALLOC 3 0 ;;
sticky) fault LAUNCH 200 1 ;;
no-gpu) fault GPUS 0 ;;
esac
exec "$standin/penstock-train" "\$@"
END
chmod +x "$work/bin/penstock-train"

write_campaign
sed -i 's|^  cpu: .*|  stand-in-gpu: 1.00 USD|; s|^  class: cpu|  class: stand-in-gpu|' "$campaign"
sed -i 's|^timing:|timing:\n  start_deadline: 6s\n  step_deadline: 4s|' "$campaign"
sed -i 's|lease: 4s|lease: 20s|; s|worker_timeout: 4s|worker_timeout: 20s|' "$campaign"
for i in $(seq 2000); do echo "line $i of a text that is learnt by nobody"; done >"$work/text.txt"
cat >>"$campaign" <<END
  data: $work/text.txt
  steps: 24
  ranks: 2
  model: {layers: 1, width: 16, heads: 2, context: 16}
  train: {batch: 2, warmup: 2, eval_every: 12, checkpoint_every: 4, backend: cuda}
  env: {NCCL_SOCKET_IFNAME: lo}
runs:
  - {name: well}
  - {name: hang}
  - {name: stall}
  - {name: remote}
  - {name: never-met}
  - {name: memory}
  - {name: sticky}
  - {name: no-gpu}
END

variable_of() { tr '\0' '\n' <"/proc/$1/environ" 2>/dev/null | sed -n "s/^$2=//p"; }

# What NCCL would say to the agents of the gang that hangs.
ras=
answer_for_hang() {
    [ -n "$ras" ] && return
    for pid in $(trainers); do
        [ "$(variable_of "$pid" PENSTOCK_RUN)" = hang ] || continue
        address=$(variable_of "$pid" NCCL_RAS_ADDR)
        [ -n "$address" ] || die "the trainer knows no address for RAS"
        [ -z "$(variable_of "$pid" NCCL_HOSTID)" ] || die "NCCL_HOSTID was passed on"
        python3 "$here/fake_ras.py" "$address" 1 "$work/asked" 2>"$out.ras" &
        ras=$!
        echo "$ras $(start_time "$ras")" >>"$pids"
        return
    done
}

start
tries=0
while ! job_over; do
    record_pids
    answer_for_hang
    [ -n "$ras" ] && has_line "$out" "hang: incident" && is_alive "$ras" && kill -TERM "$ras"
    tries=$((tries + 1))
    [ "$tries" -lt 400 ] || die "still running"
    sleep 0.2
done
finish 1 # no-gpu fails: nothing in a restart would help

expect_verified
expect_text "$out.err" "NCCL_HOSTID is cleared"
expect_text "$work/asked" "VERBOSE STATUS"
for run in well hang stall remote never-met memory sticky; do expect_state "$run" finished; done
expect_state no-gpu failed

"$penstock" export "$state" --format json >"$out.json" || die "no export"
python3 - "$out.json" <<'END' || die "the facts are not as they should be"
import json
import sys

with open(sys.argv[1]) as file:
    facts = json.load(file)
wrong = []
due = {
    # run: incident, exit code, members to blame, exits with step > 0 to resume from
    "hang": ("hang", None, {1}, True),
    "stall": ("hang", None, {1}, True),
    "remote": ("trainer failed", 6, {0, 1}, True),
    "never-met": ("start time-out", None, {0, 1}, False),
    "memory": ("trainer failed", 9, {0}, False),
    "sticky": ("trainer failed", 10, {1}, None),
    "no-gpu": ("trainer failed", 7, {0, 1}, None),
}
attempts = {}
for attempt in facts["attempts"]:
    attempts.setdefault(attempt["run"], []).append(attempt)
for run, (kind, code, members, resumed) in due.items():
    incidents = [i for i in facts["incidents"] if i["run"] == run]
    if len(incidents) != 1:
        wrong.append(f"{run}: {len(incidents)} incidents: {incidents}")
        continue
    incident = incidents[0]
    if incident["incident"] != kind or incident["attempt"] != 1:
        wrong.append(f"{run}: {incident}")
    if code is not None and incident["exit_code"] != code:
        wrong.append(f"{run}: exit code {incident['exit_code']}, not {code}: {incident}")
    if incident["member"] not in members:
        wrong.append(f"{run}: member {incident['member']}, not of {members}: {incident}")
    last = attempts[run][-1]
    if len(attempts[run]) != (1 if run == "no-gpu" else 2):
        wrong.append(f"{run}: {len(attempts[run])} attempts")
    if resumed is not None and (last["resume_step"] > 0) != resumed:
        wrong.append(f"{run}: resumed at {last['resume_step']}")
for run in ("hang", "stall"):
    hang = [i for i in facts["incidents"] if i["run"] == run]
    for word in ("rank 1 never arrived", "no step after"):
        if hang and word not in hang[0]["detail"]:
            wrong.append(f"{run}: its detail does not say {word!r}: {hang[0]}")
stall = [i for i in facts["incidents"] if i["run"] == "stall"]
if stall and "(no answer: " not in stall[0]["ras"]:
    wrong.append(f"stall: it was to be known without RAS: {stall[0]}")
hang = [i for i in facts["incidents"] if i["run"] == "hang"]
if hang and "launched up to operation 29" not in hang[0]["ras"]:
    wrong.append(f"hang: without what RAS said: {hang[0]}")
met = [i for i in facts["incidents"] if i["run"] == "never-met"]
if met and "(no answer: " not in met[0]["ras"]:
    wrong.append(f"never-met: nobody answered, and that is not said: {met[0]}")
if [i for i in facts["incidents"] if i["run"] == "well"] or len(attempts["well"]) != 1:
    wrong.append("well: had incidents")
print("\n".join(wrong))
sys.exit(bool(wrong))
END
