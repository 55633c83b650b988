#!/usr/bin/env python3
"""A trainer for Penstock in plain Python: no packages, no GPU, one file.

The members of the gang fit one bigram model, a table of logits for the next character given the last
one, to real text by stochastic gradient descent on the cross-entropy. Each member works on its own part
of every batch; member 0 sums their gradients over local TCP sockets (MASTER_ADDR, MASTER_PORT, as
PyTorch would), updates the table, reports progress, evaluates at gates and writes checkpoints.

What it takes to be a trainer, all of it here:
  * where it is in the gang:   RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT
  * where to write:            PENSTOCK_DIR, the run's own directory
  * where to go on:            PENSTOCK_RESUME, a checkpoint's path, or empty
  * which gates lie ahead:     PENSTOCK_GATES, "name@step name@step"
  * how to say what happened:  JSON lines, appended to the file that PENSTOCK_EVENTS names
  * how it is asked to end:    SIGTERM: write a checkpoint and exit with 0

It also runs by hand: python3 command.py
"""

import array
import json
import math
import os
import random
import signal
import socket
import struct
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TEXTS = [
    os.environ.get("TEXT", ""),
    os.path.join(HERE, "..", "..", "build", "quickstart", "kjv.txt"),
    "/usr/share/common-licenses/GPL-3",
]
LETTERS = " abcdefghijklmnopqrstuvwxyz.,:;'\n"
BATCH = 4096  # characters of the whole gang in a step
LEARNING_RATE = 20.0
EVAL_CHARS = 20000
CHECKPOINT_EVERY = 20

RANK = int(os.environ.get("RANK", "0"))
WORLD = int(os.environ.get("WORLD_SIZE", "1"))
STEPS = int(os.environ.get("STEPS", "160"))
CRASH_AT = int(os.environ.get("CRASH_AT", "0"))
RUN_DIR = os.environ.get("PENSTOCK_DIR", ".")

stop_asked = False


def ask_to_stop(_signal, _frame):
    global stop_asked
    stop_asked = True


# ---- the text ---------------------------------------------------------------------------------------


def read_text():
    """The text as indices into LETTERS; what is not among them becomes a blank."""
    for path in TEXTS:
        if path and os.path.isfile(path):
            with open(path, encoding="utf-8", errors="replace") as file:
                text = file.read(2_000_000).lower()
            index = {letter: i for i, letter in enumerate(LETTERS)}
            return array.array("B", (index.get(letter, 0) for letter in text))
    sys.exit("command.py: found no text to learn from; name a file in TEXT")


# ---- the model --------------------------------------------------------------------------------------


class Bigrams:
    """logits[a * V + b]: how likely letter b is to follow letter a."""

    def __init__(self):
        self.size = len(LETTERS)
        self.logits = array.array("d", [0.0]) * (self.size * self.size)

    def losses(self, text, places, gradient=None):
        """Sum of the cross-entropies at `places`; adds to the gradient where one is given."""
        size, logits, total = self.size, self.logits, 0.0
        for place in places:
            row = text[place] * size
            after = text[place + 1]
            highest = max(logits[row : row + size])
            powers = [math.exp(x - highest) for x in logits[row : row + size]]
            norm = sum(powers)
            total += math.log(norm) + highest - logits[row + after]
            if gradient is not None:
                for i, power in enumerate(powers):
                    gradient[row + i] += power / norm
                gradient[row + after] -= 1.0
        return total


# ---- the gang ---------------------------------------------------------------------------------------


class PeerGone(Exception):
    pass


class Gang:
    """Sums arrays of doubles over the members: everybody sends to member 0, which sends the sum back."""

    def __init__(self):
        self.peers = []
        address = (os.environ.get("MASTER_ADDR", "127.0.0.1"), int(os.environ.get("MASTER_PORT", "0")))
        if WORLD == 1:
            return
        deadline = time.monotonic() + 60
        if RANK == 0:
            with socket.create_server(("", address[1])) as listener:
                listener.settimeout(0.2)
                while len(self.peers) < WORLD - 1 and not stop_asked and time.monotonic() < deadline:
                    try:
                        self.peers.append(listener.accept()[0])
                    except TimeoutError:
                        pass
        while RANK > 0 and not self.peers and not stop_asked and time.monotonic() < deadline:
            try:
                self.peers.append(socket.create_connection(address, timeout=60))
            except OSError:
                time.sleep(0.1)
        if not stop_asked and len(self.peers) < (WORLD - 1 if RANK == 0 else 1):
            sys.exit("command.py: the gang did not come together at %s:%d" % address)
        for peer in self.peers:
            peer.settimeout(None)

    @staticmethod
    def send(peer, values):
        data = values.tobytes()
        try:
            peer.sendall(struct.pack("<I", len(data)) + data)
        except OSError as error:
            raise PeerGone from error

    @staticmethod
    def receive(peer):
        def take(count):
            data = b""
            while len(data) < count:
                try:
                    piece = peer.recv(count - len(data))
                except OSError as error:
                    raise PeerGone from error
                if not piece:
                    raise PeerGone
                data += piece
            return data

        values = array.array("d")
        values.frombytes(take(struct.unpack("<I", take(4))[0]))
        return values

    def sum(self, values):
        if RANK > 0:
            self.send(self.peers[0], values)
            return self.receive(self.peers[0])
        for peer in self.peers:
            for i, value in enumerate(self.receive(peer)):
                values[i] += value
        for peer in self.peers:
            self.send(peer, values)
        return values


# ---- telling Penstock -------------------------------------------------------------------------------


class Events:
    def __init__(self):
        path = os.environ.get("PENSTOCK_EVENTS")
        self.file = open(path, "a", encoding="utf-8") if path else sys.stdout

    def say(self, **event):
        self.file.write(json.dumps(event) + "\n")
        self.file.flush()


def gates_ahead():
    """[(step, name)], rising. A name may hold an @ of its own: the last one divides."""
    pairs = (word.rsplit("@", 1) for word in os.environ.get("PENSTOCK_GATES", "").split())
    return sorted((int(step), name) for name, step in pairs)


def write_checkpoint(model, step, tokens):
    """Complete under its final name, or not there at all."""
    path = os.path.join("checkpoints", "step-%08d.json" % step)
    whole = os.path.join(RUN_DIR, path)
    os.makedirs(os.path.dirname(whole), exist_ok=True)
    with open(whole + ".tmp", "w", encoding="utf-8") as file:
        json.dump({"step": step, "tokens": tokens, "logits": list(model.logits)}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(whole + ".tmp", whole)
    directory = os.open(os.path.dirname(whole), os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)
    return path


def crash_once(step):
    """Member 1 dies at step CRASH_AT, the first time; a file remembers that it has."""
    marker = os.path.join(RUN_DIR, "crashed")
    if RANK != 1 or step != CRASH_AT or os.path.exists(marker):
        return
    with open(marker, "w", encoding="utf-8") as file:
        file.write("at step %d\n" % step)
    sys.exit("command.py: crashes at step %d, on purpose" % step)


# ---- training ---------------------------------------------------------------------------------------


class Training:
    def __init__(self, text):
        self.text = text
        self.held_out = len(text) * 9 // 10  # the last tenth is for evaluation
        self.model = Bigrams()
        self.step = self.tokens = 0
        self.saved_step = 0

    def resume(self, path):
        with open(path, encoding="utf-8") as file:
            saved = json.load(file)
        self.step, self.tokens = saved["step"], saved["tokens"]
        self.model.logits = array.array("d", saved["logits"])
        self.saved_step = self.step

    def checkpoint(self):
        self.saved_step = self.step
        return write_checkpoint(self.model, self.step, self.tokens)

    def evaluate(self):
        every = max(1, (len(self.text) - self.held_out - 1) // EVAL_CHARS)
        places = range(self.held_out, len(self.text) - 1, every)
        return self.model.losses(self.text, places) / len(places)

    def pass_gates(self, gates, events):
        while gates and gates[0][0] <= self.step:
            loss = self.evaluate()
            events.say(gate=gates.pop(0)[1], step=self.step, tokens=self.tokens, val_loss=loss, checkpoint=self.checkpoint())

    def take_step(self, gang):
        """One step of the whole gang; its mean loss, or None when somebody was asked to stop."""
        size = len(self.model.logits)
        share = BATCH // WORLD
        sums = array.array("d", [0.0]) * (size + 2)  # the gradient, the loss, who was asked to stop
        rng = random.Random(self.step * 1000 + RANK)
        places = [rng.randrange(self.held_out - 1) for _ in range(share)]
        sums[size] = self.model.losses(self.text, places, sums)
        sums[size + 1] = 1.0 if stop_asked else 0.0
        sums = gang.sum(sums)
        if sums[size + 1] > 0:
            return None
        for i in range(size):
            self.model.logits[i] -= LEARNING_RATE * sums[i] / (share * WORLD)
        self.step += 1
        self.tokens += share * WORLD
        return sums[size] / (share * WORLD)


def train(training, gang, events, gates):
    while not stop_asked:
        if RANK == 0:
            training.pass_gates(gates, events)
        if training.step >= STEPS:
            return
        crash_once(training.step)
        loss = training.take_step(gang)
        if loss is None:
            return
        if RANK == 0:
            events.say(step=training.step, loss=loss, tokens=training.tokens)
            if training.step % CHECKPOINT_EVERY == 0:
                events.say(checkpoint=training.checkpoint(), step=training.step, tokens=training.tokens)


def main():
    signal.signal(signal.SIGTERM, ask_to_stop)
    training, events = Training(read_text()), Events()
    if os.environ.get("PENSTOCK_RESUME"):
        training.resume(os.environ["PENSTOCK_RESUME"])
    gang = Gang()
    events.say(ready=True, step=training.step, backend="python", detail="bigrams of %d letters" % len(LETTERS))
    try:
        train(training, gang, events, gates_ahead())
    except PeerGone:
        # The one that crashed is to blame, not this one: wait to be asked to stop.
        deadline = time.monotonic() + 60
        while not stop_asked:
            if time.monotonic() > deadline:
                sys.exit("command.py: another member of the gang is gone")
            time.sleep(0.05)
    if RANK == 0 and training.saved_step != training.step:
        events.say(checkpoint=training.checkpoint(), step=training.step, tokens=training.tokens)


if __name__ == "__main__":
    main()
