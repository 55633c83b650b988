"""What the checks share: the files of the tree, and C sources without comments and strings."""
import os
import re
import subprocess
import sys

BUILD_FOLDERS = ("build", ".git")


def root_of_arguments():
    """The tree to check: the argument of --root, or the one that this file lies in."""
    if "--root" in sys.argv:
        return os.path.abspath(sys.argv[sys.argv.index("--root") + 1])
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def files(root, *suffixes):
    """Paths relative to root, sorted: what git tracks or would track; without git, all but builds."""
    git = subprocess.run(
        ["git", "-C", root, "ls-files", "-co", "--exclude-standard", "-z"],
        capture_output=True,
        check=False,
    )
    if git.returncode == 0 and os.path.exists(os.path.join(root, ".git")):
        names = git.stdout.decode().split("\0")
    else:
        names = []
        for folder, subfolders, leaves in os.walk(root):
            subfolders[:] = [s for s in subfolders if s not in BUILD_FOLDERS]
            names += [os.path.relpath(os.path.join(folder, leaf), root) for leaf in leaves]
    kept = {n for n in names if n and (not suffixes or n.endswith(suffixes))}
    return sorted(n for n in kept if os.path.isfile(os.path.join(root, n)))


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
        return file.read()


TOKEN = re.compile(
    r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.DOTALL
)


def without_comments(text, strings=True):
    """Comments become blanks, line ends stay; so do the contents of strings if strings is False."""

    def blank(match):
        token = match.group(0)
        if token[0] in "\"'":
            return token if strings else token[0] + token[-1]
        return " " + "\n" * token.count("\n")

    return TOKEN.sub(blank, text)


def report(name, findings):
    """Prints the findings and ends: status 0 when there are none."""
    for finding in findings:
        print(finding)
    if findings:
        print(f"{name}: {len(findings)} finding{'s' if len(findings) > 1 else ''}")
    sys.exit(1 if findings else 0)
