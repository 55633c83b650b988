#!/usr/bin/env python3
"""A trainer for the end-to-end tests: the contract of docs/formats/trainer.md and nothing else.

It counts steps instead of training. Its loss falls as LOSS0 / (1 + step / 20), its checkpoints hold their
step, and work.log in the run's directory tells where each attempt began and what it made durable.
"""
import argparse
import json
import os
import signal
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=40)
parser.add_argument("--step-ms", type=float, default=20)
parser.add_argument("--every", type=int, default=10, help="steps between checkpoints")
parser.add_argument("--loss", type=float, default=4.0)
parser.add_argument("--crash-at", type=int, default=-1)
parser.add_argument("--crash-attempts", type=int, default=1)
parser.add_argument("--hang-at", type=int, default=-1)
parser.add_argument("--flops-per-token", type=float, default=0)
options = parser.parse_args()

home = os.environ["PENSTOCK_DIR"]
attempt = int(os.environ["PENSTOCK_ATTEMPT"])
rank = int(os.environ["RANK"])
events = open(os.environ["PENSTOCK_EVENTS"], "a", buffering=1)
stop = False


def on_term(number, frame):
    global stop
    stop = True


signal.signal(signal.SIGTERM, on_term)


def log(text):
    with open(os.path.join(home, "work.log"), "a") as file:
        file.write(f"{time.time_ns()} attempt {attempt} rank {rank} pid {os.getpid()} {text}\n")


def say(**event):
    if rank == 0:
        events.write(json.dumps(event) + "\n")


def write_checkpoint(step):
    os.makedirs(os.path.join(home, "checkpoints"), exist_ok=True)
    name = f"checkpoints/step-{step:08d}.json"
    if rank != 0:
        return name
    path = os.path.join(home, name)
    with open(path + ".part", "w") as file:
        json.dump({"step": step}, file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(path + ".part", path)
    log(f"checkpoint {step}")
    return name


def resumed_step():
    path = os.environ["PENSTOCK_RESUME"]
    if not path:
        return 0
    with open(os.path.join(home, path)) as file:
        return json.load(file)["step"]


def due_gates():
    gates = []
    for word in os.environ["PENSTOCK_GATES"].split():
        name, point = word.rsplit("@", 1)
        gates.append((name, int(point)))
    return gates


def loss_at(step):
    return options.loss / (1 + step / 20)


def reach_gates(step, gates):
    while gates and step >= gates[0][1]:
        name, _ = gates.pop(0)
        say(gate=name, step=step, tokens=step * 1000, val_loss=loss_at(step), checkpoint=write_checkpoint(step))


step = resumed_step()
gates = due_gates()
log(f"start {step}")
ready = {"ready": True, "step": step, "backend": "cpu", "detail": "test trainer"}
if options.flops_per_token > 0:
    ready["flops_per_token"] = options.flops_per_token
say(**ready)
reach_gates(step, gates)
while step < options.steps and not stop:
    if step == options.crash_at and attempt <= options.crash_attempts:
        print("the test asked for a crash", file=sys.stderr)
        log("crash")
        sys.exit(9)
    while step == options.hang_at:
        time.sleep(1)
    time.sleep(options.step_ms / 1000)
    step += 1
    say(step=step, loss=loss_at(step), tokens=step * 1000)
    reach_gates(step, gates)
    if step % options.every == 0 and step < options.steps:
        say(checkpoint=write_checkpoint(step), step=step, tokens=step * 1000)
say(checkpoint=write_checkpoint(step), step=step, tokens=step * 1000)
log(f"{'stopped' if stop else 'done'} {step}")
