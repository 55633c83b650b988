#!/bin/sh
# run.sh - the proof on a machine with a GPU, in one command. It needs the CUDA toolkit, NCCL, CMake and
# a C compiler; no MPI, no other library. What it does is the list below, in this order; where there is no
# GPU, or something that a step needs is missing, the step says `skipped:` and why.
#
#     tests/gpu/run.sh [--peak FLOPS] [--batch ROWS] [--steps N] [-o FILE]
#
# --peak   what the chip's vendor says of dense bf16 products, FLOP/s, for the MFU (default: by the name
#          of the card, from worker/agent/chips.c; unknown cards have no MFU)
# --batch  sequences of a GPT-2 step (default 32)
# --steps  steps of the GPT-2 runs (default 60)
# -o       also writes the table, for docs/gpu.md
#
# Exit: 0 all that could run passed, 1 something failed, 77 there is no GPU.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$root/build/gpu
peak= batch=32 steps=60 out=
while [ $# -gt 0 ]; do
    case $1 in
    --peak) peak=${2:?} ;;
    --batch) batch=${2:?} ;;
    --steps) steps=${2:?} ;;
    -o) out=${2:?} ;;
    *)
        sed -n '2,/^set -u/p' "$0" | sed -e '/^set -u/d' -e 's/^# \{0,1\}//' >&2
        exit 2
        ;;
    esac
    shift 2
done

work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
failed=
table=$work/table
: >"$table"

say() { printf '%s\n' "$*" | tee -a "$table"; }

# step NAME: prints the name of what comes; the names are those of list.txt.
step() { printf '\n== %s\n' "$1"; }

# judged NAME STATUS: remembers a failure.
judged()
{
    if [ "$2" = 0 ]; then say "ok      $1"
    elif [ "$2" = 77 ]; then say "skipped $1"
    else
        say "FAILED  $1 ($2)"
        failed="$failed $1"
    fi
}

# ---- is there a GPU? ----

if ! command -v nvidia-smi >/dev/null 2>&1 || ! nvidia-smi -L 2>/dev/null | grep -q GPU; then
    while read -r name; do echo "skipped: no GPU: $name"; done <"$root/tests/gpu/list.txt"
    exit 77
fi
card=$(nvidia-smi --query-gpu=name --format=csv,noheader -i 0)
chip=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader -i 0 | tr -d .)
driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader -i 0)
say "card $card, sm_$chip, driver $driver, $(uname -m), $(date -u +%F)"

# ---- build ----

step build
generator=
if command -v ninja >/dev/null 2>&1; then generator="-G Ninja"; fi
# shellcheck disable=SC2086 # two words, or none
if cmake -S "$root" -B "$build" $generator -DPENSTOCK_TRAINER_ONLY=ON -DPENSTOCK_CUDA=ON \
    -DCMAKE_BUILD_TYPE=Release -DCMAKE_CUDA_ARCHITECTURES="$chip" >"$work/build.log" 2>&1 &&
    cmake --build "$build" -j "$(nproc)" >>"$work/build.log" 2>&1; then
    judged build 0
else
    tail -n 40 "$work/build.log"
    judged build 1
    exit 1
fi
train=$build/penstock-train

# ---- kernels against their CPU twins ----

step kernels
ctest --test-dir "$build" -L kernels --output-on-failure >"$work/kernels.log" 2>&1
status=$?
[ $status = 0 ] || cat "$work/kernels.log"
sed -n '/tests passed/p' "$work/kernels.log"
judged kernels $status

step sanitizer
if command -v compute-sanitizer >/dev/null 2>&1; then
    status=0
    for test in "$build"/gpu_*_test; do
        for tool in memcheck racecheck; do
            # Calls that fail are no errors here: libraries ask the driver for symbols it may lack, and
            # what our own calls return is looked at.
            if ! PENSTOCK_SHAPES=small compute-sanitizer --tool $tool --report-api-errors no \
                --error-exitcode 9 "$test" >"$work/sanitizer.log" 2>&1; then
                printf '%s under %s:\n' "${test##*/}" $tool
                grep -E '=====|FAILED' "$work/sanitizer.log" | head -n 20
                status=1
            fi
        done
    done
    judged sanitizer $status
else
    echo "skipped: no compute-sanitizer"
    judged sanitizer 77
fi

# ---- training ----

# field FILE KEY: the number behind "KEY": in each JSON line that has it.
field() { sed -n 's/.*"'"$2"'":\(-\{0,1\}[0-9.eE+-]*\).*/\1/p' "$1"; }

# tokens_per_s FILE: of the second half of the progress events, by the trainer's own clock.
tokens_per_s()
{
    grep '"busy_ns":' "$1" | sed 's/.*"tokens":\([0-9]*\).*"busy_ns":\([0-9]*\),"wait_ns":\([0-9]*\).*/\1 \2 \3/' |
        awk '{ tokens[NR] = $1; ns[NR] = $2 + $3 }
             END { h = int((NR + 1) / 2); if (ns[NR] > ns[h]) printf "%.0f\n", (tokens[NR] - tokens[h]) / (ns[NR] - ns[h]) * 1e9 }'
}

# train NAME FLAGS...: a standalone gang of one over NCCL; its events go to $work/NAME.json.
train()
{
    name=$1
    shift
    mkdir -p "$work/$name"
    : >"$work/$name.json"
    PENSTOCK_EVENTS=$work/$name.json "$train" --backend cuda --dir "$work/$name" --eval-every 0 \
        --checkpoint-every 0 "$@" >"$work/$name.log" 2>&1
    status=$?
    [ $status = 0 ] || tail -n 20 "$work/$name.log"
    return $status
}

# Real English text: the project's own documents.
cat "$root"/README.md "$root"/docs/*.md "$root"/docs/*/*.md >"$work/text"
"$build/random_tokens" 4000000 50304 >"$work/tokens" || exit 1

step quickstart
for dtype in fp32 bf16; do
    train "quickstart-$dtype" --data "$work/text" --dtype $dtype --steps 200
    status=$?
    judged "quickstart $dtype" $status
    [ $status = 0 ] && say "        $(tokens_per_s "$work/quickstart-$dtype.json") tokens/s, loss $(field "$work/quickstart-$dtype.json" loss | tail -n 1)"
done

# The same checkpoint goes on where the CPU stopped, and the other way round.
step exchange
status=0
"$train" --backend cpu --data "$work/text" --steps 20 --dir "$work/there" >/dev/null 2>&1 || status=1
"$train" --backend cuda --data "$work/text" --steps 40 --dir "$work/there" \
    --resume "$work/there/checkpoints/step-00000020.safetensors" >"$work/exchange.log" 2>&1 || status=1
"$train" --backend cpu --data "$work/text" --steps 60 --dir "$work/there" \
    --resume "$work/there/checkpoints/step-00000040.safetensors" >>"$work/exchange.log" 2>&1 || status=1
[ $status = 0 ] || tail -n 20 "$work/exchange.log"
judged exchange $status

step gpt2
shapes="--layers 12 --width 768 --heads 12 --context 1024 --vocab 50304"
# shellcheck disable=SC2086 # one word a shape
train gpt2 --data "$work/tokens" --data-format u16 --dtype bf16 --batch "$batch" --steps "$steps" --lr 3e-4 $shapes
status=$?
judged "gpt2 124M bf16, random tokens" $status
if [ $status = 0 ]; then
    rate=$(tokens_per_s "$work/gpt2.json")
    [ -n "$peak" ] || peak=$("$build/chip_peak" "$card" bf16)
    mfu=$(awk -v r="$rate" -v f="$(field "$work/gpt2.json" flops_per_token | head -n 1)" -v p="${peak:-0}" \
        'BEGIN { if (p > 0) printf "%.1f %% MFU of %.0f TFLOP/s", 100 * r * f / p, p / 1e12; else print "MFU unknown" }')
    say "        $rate tokens/s, $mfu, loss $(field "$work/gpt2.json" loss | tail -n 1)"
fi
# Text is bytes: of the vocabulary only 256 occur, the shapes are the same.
# shellcheck disable=SC2086
train gpt2-text --data "$work/text" --dtype bf16 --batch "$batch" --steps "$steps" --lr 3e-4 $shapes
status=$?
judged "gpt2 124M bf16, text" $status
[ $status = 0 ] && say "        $(tokens_per_s "$work/gpt2-text.json") tokens/s, loss $(field "$work/gpt2-text.json" loss | tail -n 1)"

step torch
if command -v python3 >/dev/null 2>&1; then
    for mode in eager compile; do
        line=$(python3 "$root/tests/gpu/torch_gpt2.py" $mode --batch "$batch" --steps "$steps" 2>"$work/torch.log" | tail -n 1)
        say "        PyTorch $mode: ${line:-$(tail -n 1 "$work/torch.log")}"
    done
else
    echo "skipped: no python3"
fi

# ---- kernels against their floors ----

step times
for dtype in bf16 fp32; do
    "$build/kernel_times" cuda $dtype "$batch" 1024 >"$work/times" 2>&1
    status=$?
    judged "times $dtype" $status
    cat "$work/times" | tee -a "$table"
done

printf '\n'
[ -z "$out" ] || cp "$table" "$out"
if [ -n "$failed" ]; then
    echo "run.sh: FAILED:$failed" >&2
    exit 1
fi
echo "run.sh: all passed"
