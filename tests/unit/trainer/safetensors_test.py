#!/usr/bin/env python3
"""Checkpoints as the safetensors package reads them: of a training on the CPU and, where a second
program is given, of one in bf16 on the (stand-in) GPU.

Usage: safetensors_test.py CPU_TRAINER [GPU_TRAINER]. Exit 77: the package is not installed.
"""
import array
import json
import math
import os
import struct
import subprocess
import sys
import tempfile

try:
    import numpy
    from safetensors import safe_open
except ImportError as missing:
    print(f"skipped: no Python package {missing.name}")
    sys.exit(77)

LAYERS, WIDTH, CONTEXT, VOCAB, STEPS = 2, 16, 16, 256, 2


def expected_shapes():
    shapes = {"wte.weight": (VOCAB, WIDTH), "wpe.weight": (CONTEXT, WIDTH),
              "ln_f.weight": (WIDTH,), "ln_f.bias": (WIDTH,)}
    for layer in range(LAYERS):
        h = f"h.{layer}."
        for norm in ("ln_1", "ln_2"):
            shapes[h + norm + ".weight"] = shapes[h + norm + ".bias"] = (WIDTH,)
        for name, rows, columns in (("attn.qkv", 3, 1), ("attn.proj", 1, 1),
                                    ("mlp.fc", 4, 1), ("mlp.proj", 1, 4)):
            shapes[f"{h}{name}.weight"] = (rows * WIDTH, columns * WIDTH)
            shapes[f"{h}{name}.bias"] = (rows * WIDTH,)
    return {prefix + name: shape for name, shape in shapes.items()
            for prefix in ("", "optim.m.", "optim.v.")}


def train(program, folder, flags):
    data = os.path.join(folder, "data.txt")
    with open(data, "w", encoding="ascii") as file:
        file.write("the quick brown fox jumps over the lazy dog. " * 100)
    words = [program, "--data", data, "--dir", folder, "--layers", str(LAYERS), "--width",
             str(WIDTH), "--heads", "2", "--context", str(CONTEXT), "--batch", "2", "--steps",
             str(STEPS), "--warmup", "1", "--threads", "1", "--eval-batches", "1", *flags]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, timeout=120)
    return os.path.join(folder, "checkpoints", f"step-{STEPS:08d}.safetensors")


def raw_numbers(path):
    """The file by its format alone: 8 bytes of length, JSON, numbers."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    for name, tensor in header.items():
        if name != "__metadata__":
            begin, end = tensor["data_offsets"]
            yield name, array.array("f", data[begin:end])


def check(path, dtype):
    shapes = expected_shapes()
    with safe_open(path, framework="np") as file:
        metadata = file.metadata()
        names = set(file.keys())
        assert names == set(shapes), names ^ set(shapes)
        assert metadata["format"] == "penstock-checkpoint-1", metadata
        assert metadata["step"] == str(STEPS), metadata
        assert metadata["train.dtype"] == dtype, metadata
        for name, numbers in raw_numbers(path):
            tensor = file.get_tensor(name)
            assert tensor.dtype == numpy.float32, (name, tensor.dtype)
            assert tensor.shape == shapes[name], (name, tensor.shape)
            assert tensor.flatten().tolist() == numbers.tolist(), name
            assert all(math.isfinite(number) for number in numbers), name
        assert file.get_tensor("optim.v.wte.weight").min() >= 0
        moved = file.get_tensor("optim.m.h.1.mlp.fc.weight")
        assert numpy.abs(moved).max() > 0
    print(f"{os.path.basename(path)} in {dtype}: {len(shapes)} tensors as they should be")


def main():
    runs = [(sys.argv[1], ["--backend", "cpu"], "fp32")]
    runs += [(program, ["--backend", "cuda", "--dtype", "bf16"], "bf16") for program in sys.argv[2:]]
    for program, flags, dtype in runs:
        with tempfile.TemporaryDirectory(prefix="penstock-") as folder:
            check(train(program, folder, flags), dtype)


main()
