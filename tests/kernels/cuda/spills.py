#!/usr/bin/env -S python3 -B
"""Compiles the GPU's kernels for every architecture and checks what the compiler says of them.

Usage: spills.py [--update] [--cache FILE] [SOURCE.cu ...]
Without sources: all of kernels/cuda and kernels/table_cuda.cu. Warnings are errors. For sm_80 and
sm_90 no kernel may spill, and each must keep to its row in spills.txt: registers of a thread, and
bytes of static shared memory, at most. --update writes the rows anew from what was seen.
With --cache, sources that passed before, with the same headers, rows and compiler, are not compiled
again. Status 0: all well; 1: findings, one a line; 77: no nvcc here.
"""
import concurrent.futures
import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
ROWS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "spills.txt")
CHECKED = ("80", "90")
OTHERS = ("100", "120")
FLAGS = ["-std=c++17", "-O3", "--Werror", "all-warnings", "-Xcompiler=-Wall,-Wextra"]
ENTRY = re.compile(r"Compiling entry function '(\w+)' for 'sm_(\d+)'")
SPILL = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")


def find_nvcc():
    for home in (os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"):
        if home and os.access(os.path.join(home, "bin", "nvcc"), os.X_OK):
            return os.path.join(home, "bin", "nvcc")
    return shutil.which("nvcc")


def toolkit_flags(nvcc):
    """The toolkit's headers may lie elsewhere than nvcc looks first."""
    include = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(nvcc))), "include")
    return ["-isystem", include] if os.path.isdir(include) else []


def compile_one(nvcc, source):
    """(source, status, everything that nvcc said)."""
    codes = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in CHECKED + OTHERS]
    with tempfile.TemporaryDirectory() as folder:
        command = [nvcc, *FLAGS, *codes, "-Xptxas", "-v", "-I", ROOT, *toolkit_flags(nvcc)]
        command += ["-c", source, "-o", os.path.join(folder, "out.o")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    return source, done.returncode, done.stdout + done.stderr


def bare_name(mangled):
    """The kernel's name without parameters and template arguments: namespaces stay."""
    full = subprocess.run(["c++filt", mangled], capture_output=True, text=True, check=True).stdout
    name = re.sub(r"^(void|static) ", "", full.strip())
    return re.split(r"[<(]", name.replace("(anonymous namespace)::", ""), maxsplit=1)[0]


def kernels(output):
    """(name, architecture, registers, static shared bytes, spilled bytes) of each kernel."""
    found, current, spilled = [], None, 0
    for line in output.split("\n"):
        if match := ENTRY.search(line):
            current, spilled = match.groups(), 0
        elif match := SPILL.search(line):
            spilled = int(match.group(1)) + int(match.group(2))
        elif current and (match := USED.search(line)):
            shared = SHARED.search(line)
            found.append((*current, int(match.group(1)), int(shared.group(1)) if shared else 0, spilled))
            current = None
    return found


def read_rows():
    rows = {}
    if os.path.exists(ROWS):
        with open(ROWS, encoding="utf-8") as file:
            for line in file:
                if words := line.split("#")[0].split():
                    rows[words[0]] = (int(words[1]), int(words[2]))
    return rows


def write_rows(seen):
    with open(ROWS, "w", encoding="utf-8") as file:
        file.write("# What each kernel may use on sm_80 and sm_90: registers of a thread, and bytes of static\n")
        file.write("# shared memory. Of all types and widths of a kernel the largest counts. Nothing may be\n")
        file.write("# spilled. Written by spills.py --update.\n")
        for name in sorted(seen):
            file.write(f"{name} {seen[name][0]} {seen[name][1]}\n")


def check(source, output, rows, seen):
    path, names = os.path.relpath(source, ROOT), {}
    for mangled, arch, registers, shared, spilled in kernels(output):
        if arch not in CHECKED:
            continue
        name = names.setdefault(mangled, bare_name(mangled))
        most = seen.get(name, (0, 0))
        seen[name] = (max(most[0], registers), max(most[1], shared))
        what = f"{path}: {name} on sm_{arch}"
        if spilled:
            yield f"{what} spills {spilled} bytes ({mangled})"
        if name not in rows:
            yield f"{what} has no row in spills.txt: run spills.py --update"
        elif registers > rows[name][0] or shared > rows[name][1]:
            yield (f"{what} uses {registers} registers and {shared} bytes of shared memory; its row "
                   f"allows {rows[name][0]} and {rows[name][1]}")


def fingerprint(nvcc, source):
    """Of all that the result depends on."""
    version = subprocess.run([nvcc, "--version"], capture_output=True, check=True).stdout
    digest = hashlib.sha256(version + " ".join(FLAGS).encode())
    headers = glob.glob(ROOT + "/kernels/cuda/*.h") + glob.glob(ROOT + "/kernels/cuda/*.cuh")
    for path in sorted(headers) + [ROOT + "/kernels/kernels.h", ROWS, os.path.abspath(__file__), source]:
        if os.path.exists(path):
            with open(path, "rb") as file:
                digest.update(path.encode() + b"\0" + file.read())
    return digest.hexdigest()


def main():
    arguments = sys.argv[1:]
    update = "--update" in arguments
    cache = arguments[arguments.index("--cache") + 1] if "--cache" in arguments else None
    sources = [os.path.abspath(a) for a in arguments if a.endswith(".cu")]
    sources = sources or sorted(glob.glob(ROOT + "/kernels/cuda/*.cu")) + [ROOT + "/kernels/table_cuda.cu"]
    nvcc = find_nvcc()
    if nvcc is None:
        print("skipped: no nvcc")
        sys.exit(77)
    passed = set()
    if cache and os.path.exists(cache):
        with open(cache, encoding="utf-8") as file:
            passed = set(file.read().split())
    prints = {source: fingerprint(nvcc, source) for source in sources}
    wanted = [s for s in sources if update or prints[s] not in passed]
    rows, seen, findings = read_rows(), {}, []
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for source, status, output in pool.map(lambda s: compile_one(nvcc, s), wanted):
            if status != 0:
                said = [line for line in output.split("\n") if "error" in line or "warning" in line]
                findings += said or [f"{os.path.relpath(source, ROOT)}: nvcc ends with {status}: {output}"]
                continue
            found = list(check(source, output, rows, seen))
            findings += found
            if not found:
                passed.add(prints[source])
    if update:
        write_rows(seen)
        findings = [f for f in findings if "spills.txt" not in f and "its row" not in f]
    print(f"compiled {len(wanted)} of {len(sources)} files for sm_{', sm_'.join(CHECKED + OTHERS)}")
    for name in sorted(seen):
        print(f"  {name}: {seen[name][0]} registers, {seen[name][1]} bytes shared")
    if cache:
        with open(cache, "w", encoding="utf-8") as file:
            file.write("\n".join(sorted(passed & set(prints.values()))) + "\n")
    for finding in findings:
        print(finding)
    sys.exit(1 if findings else 0)


main()
