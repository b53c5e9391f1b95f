"""Proof that the generated Verilog is what Amaranth's netlist says, module by module, by yosys.

Each module's Verilog is compared with the RTLIL that it was written from. Instances are taken out, their ports made
ports of the module, so that every module is proven by itself; registers are matched by name. What yosys then has to
show is that all of them get the same next value, and all outputs the same value, whatever the inputs are.
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from spiccato.registry import configuration
from spiccato.rtl.serial.system import SerialSystem
from spiccato.verilog.library import VerilogLibrary
from spiccato.verilog.text import module_name, write_module
from spiccato_boards.flows.tools import tool_command

__all__ = ["NOT_PROVEN", "Recorder", "difference", "differences", "serial_system"]

#: Modules that are too large to be proven within an hour, by configuration.
NOT_PROVEN: dict[str, set[str]] = {}

_MODULE = re.compile(r"^module \\(\S+)\n.*?^end$", re.M | re.S)


class Recorder(VerilogLibrary):
    """A library that remembers what the modules were written from.

    Attributes
    ----------
    netlists : dict
        RTLIL by module name, with the names of the Verilog.
    """

    def __init__(self, family="portable"):
        super().__init__(family)
        self.netlists = {}

    def netlist(self, part):
        netlist = super().netlist(part)
        self.netlists |= {module_name(found[1]): found[0] for found in _MODULE.finditer(netlist)}
        return netlist

    def text(self, module, port_names=()):
        kinds = {cell.type for cell in module.cells if cell.is_instance}
        original = module.name
        text, names = write_module(module, port_names)
        names = {old.removeprefix("\\"): new for old, new in names.items()}
        names |= {kind.removeprefix("\\"): module_name(kind) for kind in (*kinds, original)}
        taken = set(names.values())

        def renamed(found):
            # A cell's port or parameter keeps its name.
            old = found[2]
            return found[1] or "\\" + (names.get(old) or (f"{old}_unused" if old in taken else old))

        lines = [
            re.sub(r"(^    (?:connect|parameter(?: \w+)?) \\\S+ )|\\(\S+)", renamed, line)
            for line in self.netlists[module_name(original)].splitlines()
        ]
        netlist = "\n".join(lines) + "\n"
        # Amaranth's way to put an assignment behind a switch; yosys 0.70 would take it for one before.
        self.netlists[module_name(original)] = re.sub(r"switch \{\}\n( *)case\n", r"switch 1'1\n\1case 1'1\n", netlist)
        return text


_PROOF = """\
read_verilog {others} ours.v
{black_boxes}
rename {module} ours
read_rtlil theirs.il
rename {module} theirs
proc -norom
opt_clean
expose -shared -evert ours theirs
equiv_make ours theirs both
hierarchy -top both
opt_clean
equiv_simple -undef
equiv_induct -undef
equiv_status -assert
"""


def difference(netlist, text, others=()):
    """Compare a module with its netlist.

    Parameters
    ----------
    netlist : str
        RTLIL of the module, as :class:`Recorder` has it.
    text : str
        Its Verilog.
    others : iterable of str
        Verilog of the modules that it places.

    Returns
    -------
    str or None
        What yosys says if it cannot show that they are equal.
    """
    (module,) = _MODULE.findall(netlist)[:1]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "ours.v").write_text(text)
        (work / "theirs.il").write_text(netlist)
        names = []
        for number, other in enumerate(others):
            (work / f"other_{number}.v").write_text(other)
            names += re.findall(r"^module (\w+)", other, re.M)
        (work / "proof.ys").write_text(
            _PROOF.format(
                module=module,
                others=" ".join(f"other_{number}.v" for number in range(len(names))),
                black_boxes=f"blackbox {' '.join(names)}" if names else "",
            )
        )
        done = subprocess.run(
            [*tool_command("yosys"), "-q", "proof.ys"],
            cwd=work,
            text=True,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        return (done.stdout.strip() or f"yosys ended with status {done.returncode}") if done.returncode else None


def differences(recorder, modules=None):
    """Compare modules of a library with their netlists.

    Parameters
    ----------
    recorder : Recorder
        That parts were added to.
    modules : iterable of str, optional
        Some of its modules. [default: all]

    Yields
    ------
    (str, str or None)
        A module's name, and how it differs; see :func:`difference`.
    """
    for name in modules or recorder.netlists:
        text = recorder.modules[name]
        placed = set(re.findall(r"^  (spiccato_\w+)", text, re.M))
        yield name, difference(recorder.netlists[name], text, [recorder.modules[kind] for kind in sorted(placed)])


def serial_system(config):
    """A recorder with all modules that there are: those of the accelerator and those around it."""
    recorder = Recorder()
    recorder.add(SerialSystem(config, clocks_per_bit=100))
    return recorder


def main(name, profile=None):
    """Prove all modules of a preset but :data:`NOT_PROVEN`; print each. Exit status 1 if one differs."""
    recorder, failed = serial_system(configuration(name, profile=profile)), False
    too_large = NOT_PROVEN.get(name, set())
    for module in sorted(recorder.netlists, key=lambda module: len(recorder.netlists[module])):
        if module in too_large:
            print(f"{module}: too large to be proven", flush=True)
            continue
        start = time.monotonic()
        ((_, found),) = differences(recorder, [module])
        failed |= found is not None
        print(f"{module}: {'equal' if found is None else found} ({time.monotonic() - start:.0f} s)", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
