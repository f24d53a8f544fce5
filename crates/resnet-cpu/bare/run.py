#!/usr/bin/env python3
"""Runs a static Linux program on an emulated processor with AMX, without an operating system.

    python run.py [--bochs COMMAND] [--display LIBRARY] [--env NAME=VALUE]... PROGRAM [ARGUMENT]...

Needs Bochs from version 3.0 on, built with AMX, its BIOS, and a C compiler. Exits as the program does.
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SECTOR = 512
KERNEL_SECTORS = 16  # as in boot.s
ARGUMENTS = 4096  # as in kernel.c
CYLINDER = 16 * 63 * SECTOR

SETTINGS = """\
display_library: {display}
cpu: model=sapphire_rapids, count=1, ips=40000000, reset_on_triple_fault=0, ignore_bad_msrs=1
memory: guest=1536, host=1536
romimage: file={share}/BIOS-bochs-legacy
vgaromimage: file={share}/VGABIOS-lgpl-latest
plugin_ctrl: unmapped=1, biosdev=1, speaker=0
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=disk, path={disk}, mode=flat
boot: disk
port_e9_hack: enabled=1
clock: sync=none, time0=1
log: {log}
panic: action=fatal
"""


def build(folder):
    """The boot sector and the kernel."""

    def at(name):
        return os.path.join(folder, name)

    def source(name):
        return os.path.join(HERE, name)

    cc = shlex.split(os.environ.get("CC", "cc"))
    flags = "-O1 -ffreestanding -mgeneral-regs-only -fno-stack-protector -fno-pic -mno-red-zone -fcf-protection=none -Wall"
    run = subprocess.check_call
    run([*cc, "-c", source("boot.s"), "-o", at("boot.o")])
    run(["ld", "-Ttext", "0x7c00", "--oformat", "binary", at("boot.o"), "-o", at("boot.bin")])
    run([*cc, *flags.split(), "-c", source("kernel.c"), "-o", at("kernel.o")])
    run([*cc, "-c", source("entry.s"), "-o", at("entry.o")])
    run(["ld", "--no-warn-rwx-segments", "-z", "noexecstack", "-T", source("kernel.ld"), at("entry.o"), at("kernel.o"), "-o", at("kernel.elf")])
    everything = ["objcopy", "-O", "binary", "--set-section-flags", ".bss=alloc,load,contents"]
    run([*everything, at("kernel.elf"), at("kernel.bin")])
    return [open(at(name), "rb").read() for name in ("boot.bin", "kernel.bin")]


def disk(boot, kernel, program, arguments, environment):
    """Boot sector, kernel, arguments and program, up to a whole cylinder."""
    if len(kernel) > KERNEL_SECTORS * SECTOR:
        sys.exit(f"the kernel has {len(kernel)} bytes; {KERNEL_SECTORS} sectors are loaded")

    def strings(values):
        return b"".join(value.encode() + b"\0" for value in values) + b"\0"

    head = strings([program, *arguments]) + strings(environment)
    if len(head) > ARGUMENTS:
        sys.exit(f"arguments and environment have {len(head)} bytes; at most {ARGUMENTS} fit")
    image = head.ljust(ARGUMENTS, b"\0") + open(program, "rb").read()
    sectors = -(-len(image) // SECTOR)
    boot = boot[:500] + sectors.to_bytes(4, "little") + boot[504:]
    whole = boot + kernel.ljust(KERNEL_SECTORS * SECTOR, b"\0") + image
    return whole.ljust(-(-len(whole) // CYLINDER) * CYLINDER, b"\0")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bochs", default="bochs", help="the command that starts Bochs")
    parser.add_argument("--share", default=os.environ.get("BXSHARE", "/usr/share/bochs"), help="the folder of its BIOS")
    parser.add_argument("--display", default='rfb, options="timeout=0"', help="its display library; nothing is displayed")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="environment of the program")
    parser.add_argument("program", help="a static program; without symbols it is read faster")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        boot, kernel = build(folder)
        paths = {name: os.path.join(folder, name) for name in ("disk", "log")}
        with open(paths["disk"], "wb") as out:
            out.write(disk(boot, kernel, args.program, args.arguments, args.env))
        settings = os.path.join(folder, "settings")
        with open(settings, "w") as out:
            out.write(SETTINGS.format(display=args.display, share=args.share, **paths))
        command = [*shlex.split(args.bochs), "-q", "-unlock", "-f", settings]
        bochs = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    text = bochs.stdout.decode(errors="replace")
    program = re.search(r"\[start\]\n(.*)\n\[exit ([0-9a-f]+)\]", text, re.DOTALL)
    if program is None:
        sys.exit(f"{text}\nthe program did not end by itself")
    print(program.group(1), end="")
    sys.exit(int(program.group(2), 16))


if __name__ == "__main__":
    main()
