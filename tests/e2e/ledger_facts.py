#!/usr/bin/env python3
"""Facts about a campaign, from `penstock export --format json` on stdin.

    ledger_facts.py trainers   process ids of the trainers that run, as far as the ledger knows
    ledger_facts.py check      what must hold whatever was killed: prints what does not, status 1
"""
import json
import sys

ENDED = ("finished", "stopped", "failed")


def trainers(export):
    running = {}
    for record in export["records"]:
        kind = record["kind"]
        if kind == "epoch":
            running = {}
        elif kind == "member started":
            running[(record["run"], record["attempt"], record["member"])] = record["pid"]
        elif kind == "member ended":
            running.pop((record["run"], record["attempt"], record["member"]), None)
    print(" ".join(str(pid) for pid in running.values()))


def check(export):
    """Each promise is followed along the records; nothing here trusts the report's own figures."""
    broken = []
    names = {}
    ends, verdicts, durable, tokens_due = {}, {}, {}, {}
    attempt_of, gates_of = {}, {}

    def complain(record, text):
        broken.append(f"record {record['seq']} ({record['kind']}): {text}")

    for record in export["records"]:
        kind, run = record["kind"], record.get("run")
        if kind == "run":
            index = len(names)
            names[index] = record["name"]
            gates_of[index] = len(record.get("gates") or [])
            ends[index] = 0
            durable[index] = (0, None)
        elif kind == "placed":
            if ends[run]:
                complain(record, f"run {names[run]} starts again after its end")
            step, pinned = durable[run]
            if pinned is not None:
                if record["resume_step"] != pinned:
                    complain(record, f"run {names[run]} starts at {record['resume_step']}, not at its gate's {pinned}")
            elif record["resume_step"] < step:
                complain(record, f"run {names[run]} starts at {record['resume_step']}, though {step} was durable")
            durable[run] = (step, None)
            attempt_of[run] = record["attempt"]
        elif kind == "checkpoint":
            step, pinned = durable[run]
            if pinned is None:
                durable[run] = (max(step, record["step"]), None)
        elif kind == "stopping" and record["pinned"]:
            durable[run] = (record["resume_step"], record["resume_step"])
        elif kind == "decision" and record["subject"] == "gate":
            key = (run, record["slot"])
            if verdicts.get(key) in ("GO", "NO-GO"):
                complain(record, f"gate {record['slot']} of {names[run]} has a second final verdict")
            verdicts[key] = record["verdict"]
        elif kind == "tranche" and record["number"] > 0:
            if verdicts.get((run, record["number"] - 1)) != "GO":
                complain(record, f"tranche {record['number']} of {names[run]} without GO")
        elif kind in ("attempt ended", "run state") and record["state"] in ENDED:
            ends[run] += 1
            if record["state"] == "finished":
                missing = [slot for slot in range(gates_of[run]) if verdicts.get((run, slot)) != "GO"]
                if missing:
                    complain(record, f"run {names[run]} finished without GO at gates {missing}")
    for run, count in ends.items():
        if count != 1:
            broken.append(f"run {names[run]} ended {count} times")
    for line in broken:
        print(line)
    return 1 if broken or not names else 0


if __name__ == "__main__":
    facts = json.load(sys.stdin)
    if sys.argv[1:] == ["trainers"]:
        trainers(facts)
    elif sys.argv[1:] == ["check"]:
        sys.exit(check(facts))
    else:
        sys.exit(__doc__)
