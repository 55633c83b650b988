#!/usr/bin/env -S python3 -B
"""Plants bugs in the GPU code and demands that its tests find each of them.

Usage: planted.py LINK [NAME...]. LINK is a file that CMake writes, see CMakeLists.txt; NAME is a
patch of planted/, without its suffix; all of them where none is given.

A patch begins with one line, TEST HOW: what is wrong. TEST is the program that must fail, for
layernorm the one of layernorm_test.c with layernorm.cu compiled anew. HOW is how it is run:
  plain    with the threads of a block in three orders, of which one must fail
  address  under the sanitizer of addresses, and of alignment and bounds
  thread   under the sanitizer of threads, on small shapes, with neighbouring blocks at once
Behind it stands a unified diff of files below kernels/cuda. Where a hunk belongs is found by its
text, which must occur once; line numbers mean nothing. Each TEST must pass in the same way without
a patch: the programs that CMake built do, and for addresses one built here. Status 0: every bug was found; 1: one was not, or a patch does not fit.
"""
import os
import shutil
import subprocess
import sys
import tempfile

FOLDER = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.normpath(os.path.join(FOLDER, "../../.."))
FLAGS = {
    "plain": ["-O0"],
    "address": ["-O0", "-fsanitize=address,alignment,bounds", "-fno-sanitize-recover=all"],
    "thread": ["-O1", "-g1", "-fsanitize=thread"],
}
TIMEOUT_S = 120


class Bad(Exception):
    pass


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def read_link(path):
    """What CMake wrote: lines of a word and a value; `objects` values begin with a test's name."""
    link = {"objects": {}}
    for line in read(path).splitlines():
        word, _, value = line.partition(" ")
        if word == "objects":
            test, _, files = value.partition(" ")
            link["objects"][test] = files.split(";")
        else:
            link[word] = value.split(";")
    return link


def read_patch(path):
    """(test, how, what, [(file, old text, new text)])"""
    lines = read(path).split("\n")
    head, colon, what = lines[0].partition(":")
    words = head.split()
    if len(words) != 2 or not colon or words[1] not in FLAGS:
        raise Bad(f"its first line is not TEST HOW: what, but {lines[0]}")
    hunks, file = [], None
    for line in lines[1:]:
        if line.startswith("+++ "):
            file = line[4:].split("\t")[0].removeprefix("b/")
        elif line.startswith("@@"):
            hunks.append((file, [], []))
        elif hunks and line[:1] in ("+", "-", " ") and not line.startswith("--- "):
            if line[0] != "+":
                hunks[-1][1].append(line[1:])
            if line[0] != "-":
                hunks[-1][2].append(line[1:])
    if not hunks:
        raise Bad("it has no hunk")
    texts = [(file, "\n".join(old) + "\n", "\n".join(new) + "\n") for file, old, new in hunks]
    return words[0], words[1], what.strip(), texts


def copy_sources(work, hunks):
    shutil.copytree(os.path.join(ROOT, "kernels/cuda"), os.path.join(work, "kernels/cuda"))
    for file, old, new in hunks:
        path = os.path.join(work, file)
        text = read(path)
        if not file.startswith("kernels/cuda/") or text.count(old) != 1 or old == new:
            raise Bad(f"a hunk of {file} fits {text.count(old)} times")
        with open(path, "w", encoding="utf-8") as out:
            out.write(text.replace(old, new))


def compile_flags(link, how):
    flags = link["cxx"] + ["-std=c++17", "-w", "-fno-strict-aliasing"] + FLAGS[how]
    return flags + [word for folder in link["headers"] for word in ("-isystem", folder)]


def harness(link, shared, how):
    """The harness, precompiled once for each way: it is most of what the compiler reads."""
    header = os.path.join(shared, how, "cuda_emu.h")
    if not os.path.exists(header):
        os.mkdir(os.path.dirname(header))
        shutil.copy(os.path.join(ROOT, "tests/support/cuda_emu.h"), header)
        run_tool(compile_flags(link, how) + ["-x", "c++-header", header, "-o", header + ".gch"])
    return header


def build(link, shared, work, test, how):
    """The test's program with its .cu file compiled anew. It comes first, so that what it shares
    with other objects is taken from it."""
    source, program = os.path.join(work, "kernels/cuda", test + ".cu"), os.path.join(work, "test")
    compile_it = compile_flags(link, how) + ["-include", harness(link, shared, how)]
    compile_it += [f"-I{work}", f"-I{ROOT}", "-x", "c++", "-c", source, "-o", program + ".o"]
    run_tool(compile_it)
    library = link["thread" if how == "thread" else "plain"]
    parts = link["objects"][test] + ["-Wl,--start-group"] + library + link["libraries"]
    run_tool(link["cxx"] + FLAGS[how] + ["-o", program, program + ".o"] + parts
             + ["-Wl,--end-group", "-ldl", "-lm", "-pthread"])
    return program


def run_tool(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Bad(f"{' '.join(command[:1])} says\n{done.stderr[-3000:]}")


def passes(program, how):
    for order in ("0", "1", "2") if how == "plain" else ("0",):
        environment = dict(os.environ, EMU_ORDER=order, TSAN_OPTIONS="halt_on_error=1",
                           ASAN_OPTIONS="detect_leaks=0",
                           EMU_THREADS="2" if how == "thread" else "1",
                           PENSTOCK_SHAPES="" if how == "plain" else "small")
        done = subprocess.run([program], env=environment, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, timeout=TIMEOUT_S, check=False)
        if done.returncode != 0:
            return False
    return True


def verdict(link, shared, test, how, hunks):
    with tempfile.TemporaryDirectory(dir=shared) as work:
        copy_sources(work, hunks)
        return passes(build(link, shared, work, test, how), how)


def passes_clean(link, shared, test, how):
    if how == "address":
        return verdict(link, shared, test, how, [])
    suffix = "_tsan_test" if how == "thread" else "_test"
    return passes(os.path.join(link["programs"][0], f"kernels_cuda_{test}{suffix}"), how)


def run_all(link, shared, names):
    """Whether all of them were found."""
    clean, well = {}, True
    for name in names:
        try:
            test, how, what, hunks = read_patch(os.path.join(FOLDER, "planted", name + ".patch"))
            if test not in link["objects"]:
                raise Bad(f"there is no test {test}")
            if (test, how) not in clean:
                clean[test, how] = passes_clean(link, shared, test, how)
            if not clean[test, how]:
                raise Bad(f"{test} fails without it, {how}")
            if verdict(link, shared, test, how, hunks):
                raise Bad(f"nobody noticed: {what}")
            print(f"found {name}: {what}", flush=True)
        except (Bad, OSError, subprocess.TimeoutExpired) as problem:
            print(f"planted: {name}: {problem}", file=sys.stderr, flush=True)
            well = False
    return well


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    link, folder = read_link(sys.argv[1]), os.path.join(FOLDER, "planted")
    names = sorted(name[:-6] for name in os.listdir(folder) if name.endswith(".patch"))
    with tempfile.TemporaryDirectory(prefix="penstock-planted-") as shared:
        if not names or not run_all(link, shared, sys.argv[2:] or names):
            sys.exit(1)


main()
