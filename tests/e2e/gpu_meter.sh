#!/usr/bin/env bash
# A slot on a GPU is judged by what its device did: honest work goes on, with or without a power limit; a trainer
# that sleeps while the device reads 100 % busy is stopped, and so is one that reports tokens which its device
# did not train on; where nothing can be told, nothing is held against a run, nor for it.
# $2 is a libnvidia-ml.so.1 that plays a script.
. "$(dirname "$0")/lib.sh"

fake=${2:?usage: $0 PATH-OF-PENSTOCK PATH-OF-FAKE-NVML}
export LD_LIBRARY_PATH="$(dirname "$fake")${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export PENSTOCK_FAKE_NVML=$work/nvml
unset CUDA_VISIBLE_DEVICES
gates=

# scenario NAME LINES FLAGS...: one run on a GPU of which the lines tell; every step is 1000 tokens in 20 ms.
scenario() {
    run=$1
    lines=$2
    shift 2
    state=$work/$run
    {
        echo "device 00000000:3B:00.0"
        echo "name NVIDIA H100 80GB HBM3"
        echo "memory 85520809984"
        printf 'limit 700000\ndefault 700000\nclock 1980\nclock_max 1980\nbusy 100\nsm 95\nfp32 0\n'
        echo "$lines"
    } >"$PENSTOCK_FAKE_NVML"
    write_campaign
    sed -i -e 's/^  cpu: 1.00 USD/  cpu: 1.00 USD\n  h100: 3.00 USD/' -e 's/^  class: cpu/  class: h100/' \
        -e '/^  window: 2s/,/^  utilization:/d' "$campaign"
    sed -i 's/^guardrails:/guardrails:\n  window: 1s\n  grace: 0s\n  utilization: {floor: 30%, clear: 30%, warn_after: never, park_after: never, stop_after: 4}\n  idle: {below: 5%, start_warn: never, start_stop: 4s, again_warn: never, again_stop: 4s}/' "$campaign"
    [ -z "$gates" ] || printf 'gates:\n%s\n' "$gates" >>"$campaign"
    write_runs
    add_run "$run" --step-ms 20 --every 1000 "$@"
    start 1
    finish 0 60
    expect_verified
    "$penstock" explain "$state" "$run" >"$out.explain" 2>&1 || die "explain failed"
    "$penstock" export "$state" --format json >"$out.records" 2>/dev/null || die "export failed"
    "$penstock" report "$state" >"$out.report" 2>&1 || die "report failed"
}

# windows EXPRESSION: must be true of the list `w` of the run's windows (after the first, which has the start in it).
windows() {
    python3 - "$1" "$out.records" <<'END' || die "not so: $1"
import json, sys
w = [r for r in json.load(open(sys.argv[2]))["records"] if r["kind"] == "window"][1:]
print(*((r["util_ppm"], r["util_by"], r.get("flags")) for r in w), sep="\n", file=sys.stderr)
sys.exit(not (len(w) > 0 and eval(sys.argv[1])))
END
}

# tranches EXPRESSION: must be true of the list `t` of the numbers of the run's tranches.
tranches() {
    python3 - "$1" "$out.records" <<'END' || die "not so: $1"
import json, sys
t = [r["number"] for r in json.load(open(sys.argv[2]))["records"] if r["kind"] == "tranche"]
print(t, file=sys.stderr)
sys.exit(not eval(sys.argv[1]))
END
}

pipes="model FLOPs over peak, checked by pipe activity"
work_done=$'power 650000\ntensor 70'
waiting=$'power 90000\ntensor 0'
# 50 steps a second of 1000 tokens: 1.4e10 FLOPs each are 70 % of the peak, 4e9 are 20 %.

gates='  - {name: midway, at: {steps: 20}, rule: {milestone: {loss: 100}}}'
scenario honest "$work_done" --steps 250 --flops-per-token 1.4e10 2>>"$out.err"
expect_state honest finished
windows "all(r['util_by'] == '$pipes' and not r.get('flags') for r in w)" 2>>"$out.err"
windows "all(r['device']['power_limit_mw'] == 700000 for r in w)" 2>>"$out.err"

tranches "t == [0, 1]" 2>>"$out.err"

gates=
scenario asleep "$waiting" --steps 1000 --hang-at 30 --flops-per-token 1.4e10
expect_state asleep stopped
windows "w[-1]['util_ppm'] == 0 and w[-1]['flags'] == 'device busy, no step'" 2>>"$out.err"
expect_text "$out.explain" "stopped, guardrail"
expect_text "$out.explain" "device busy, no step"
expect_text "$out.report" "run asleep: device busy, no step in"

scenario liar "$waiting" --steps 1000 --flops-per-token 1.4e10
expect_state liar stopped
windows "any('reported more than the device did' in r.get('flags', '') for r in w)" 2>>"$out.err"
windows "max(r['util_ppm'] for r in w) < 50000" 2>>"$out.err"

scenario capped $'power 200000\ntensor 60\nclock 330\nreasons 4' --steps 300 --flops-per-token 4e9
expect_state capped finished
windows "any('slowed by a power limit' in r.get('flags', '') for r in w)" 2>>"$out.err"
windows "all(r['util_ppm'] < 300000 for r in w)" 2>>"$out.err"

# The driver answers nothing about the device, and the trainer declares nothing: its gate says GO, and its
# tranche stays closed all the same.
blind=$(for f in energy power clock utilization reasons gpm_sample ecc; do echo "fail $f 999"; done)
gates='  - {name: midway, at: {steps: 100}, rule: {milestone: {loss: 100}}}'
scenario blind "$blind" --steps 300
expect_state blind finished
tranches "t == [0]" 2>>"$out.err"
expect_text "$out.explain" "its tranche of .* is not released: its utilization is unknown"
windows "all(r['util_ppm'] is None for r in w)" 2>>"$out.err"
expect_text "$out.report" "run blind: .* have no utilization"
