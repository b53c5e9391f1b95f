"""The ECP5 library: its primitives behave as the portable parts, in every cycle."""

import os
import re
import subprocess

import pytest
from amaranth.hdl import signed, unsigned
from amaranth.lib import wiring

from spiccato.rtl.activation import ActivationTable
from spiccato.rtl.dsp import Multiply, Registers
from spiccato.rtl.memory import Ram, Rom
from spiccato.verilog.ecp5 import Ecp5Library
from spiccato.verilog.library import VerilogLibrary
from spiccato_sim.benches.gates import ECP5_BLOCKS
from spiccato_sim.benches.simulators import verilator_executable

#: Compared after so many cycles: memories are filled first.
FILL, CYCLES = 4096, 20_000

PARTS = [
    # As the rows and the cell units have them, and the other combinations of signs.
    Multiply(signed(16), signed(18), registers=Registers(operands=True)),
    Multiply(unsigned(17), unsigned(13)),
    Multiply(unsigned(18), signed(18)),
    Multiply(unsigned(18), signed(27), registers=Registers(product=True)),
    Multiply(signed(27), signed(18), registers=Registers(operands=True, product=True)),
    Multiply(signed(18), signed(36)),
    Multiply(unsigned(36), unsigned(18), registers=Registers(product=True)),
    Multiply(signed(9), signed(9), registers=Registers(product=True)),
    Ram("ram_wide", width=48, depth=192, banks=2),
    Ram("ram_shared", width=20, depth=1024, banks=3, shared_data=True, preload="weights"),
    Ram("ram_deep", width=19, depth=2048),
    Ram("ram_odd", width=7, depth=1300),
    ActivationTable("tanh", 2),
    ActivationTable("sigmoid", 1),
    Rom("rom_deep", contents=range(3, 3 + 5 * 1500, 5), width=13, ports=2),
]


def stimulus(part):
    """Verilog that sets the inputs of a memory's or multiplication's two copies, after each clock edge."""
    inputs = [(path[0], len(value)) for path, member, value in part.signature.flatten(part) if member.flow is wiring.In]
    lines = []
    for name, bits in inputs:
        words = ", ".join(["$urandom"] * -(-bits // 32))
        lines.append(f"{part.kind}_{name} <= {{{words}}};")
    if isinstance(part, Ram):
        # Fill, then never read what is being written: what that returns is left open.
        lines.append(
            f"if (cycle < {FILL}) begin {part.kind}_w_addr <= cycle % {part.depth}; "
            f"{part.kind}_w_en <= {{{part.banks}{{1'b1}}}}; end"
        )
        lines.append(
            f"else begin address = $urandom % {part.depth}; {part.kind}_w_addr <= address; "
            f"{part.kind}_r_addr <= (address + 1 + $urandom % {part.depth - 1}) % {part.depth}; end"
        )
    if isinstance(part, Rom):
        lines += [f"{part.kind}_addr{i} <= $urandom % {len(part.contents)};" for i in range(part.ports)]
    # The largest magnitudes of both signs.
    if isinstance(part, Multiply):
        for name, bits in inputs:
            lines.append(
                f"if ($urandom % 8 == 0) {part.kind}_{name} <= "
                f"$urandom % 2 ? {{1'b1, {bits - 1}'d0}} : {{1'b0, {{{bits - 1}{{1'b1}}}}}};"
            )
    return "\n    ".join(lines)


def bench_of(parts):
    """One module that holds a portable and a primitive copy of each part, and counts cycles in which they differ."""
    declarations, copies, drive, check, report = [], [], [], [], []
    for part in parts:
        kind, outputs = part.kind, []
        pins = {"portable_": [".clk(clk)"], "": [".clk(clk)"]}
        for path, member, value in part.signature.flatten(part):
            name, bits = path[0], len(value)
            if member.flow is wiring.In:
                declarations.append(f"reg [{bits - 1}:0] {kind}_{name} = 0;")
                for copy in pins.values():
                    copy.append(f".{name}({kind}_{name})")
            else:
                outputs.append(name)
                for prefix, copy in pins.items():
                    declarations.append(f"wire [{bits - 1}:0] {prefix}{kind}_{name};")
                    copy.append(f".{name}({prefix}{kind}_{name})")
        declarations.append(f"integer {kind}_compared = 0, {kind}_wrong = 0;")
        copies += [f"{prefix}{part.module} {prefix}copy_of_{kind}({', '.join(copy)});" for prefix, copy in pins.items()]
        drive.append(stimulus(part))
        differs = " || ".join(f"{kind}_{name} !== portable_{kind}_{name}" for name in outputs)
        check.append(f"{kind}_compared = {kind}_compared + 1; if ({differs}) {kind}_wrong = {kind}_wrong + 1;")
        report.append(f'$display("RESULT {kind} %0d %0d", {kind}_compared, {kind}_wrong);')
    new_line = "\n  "
    return f"""
module compare;
  reg clk = 0;
  integer cycle = 0, address = 0;
  {new_line.join(declarations)}
  {new_line.join(copies)}
  always #1 clk = ~clk;
  always @(posedge clk) begin
    {new_line.join(drive)}
    cycle <= cycle + 1;
    if (cycle > {FILL + 8}) begin
      {new_line.join(check)}
    end
    if (cycle == {FILL + CYCLES}) begin
      {new_line.join(report)}
      $finish;
    end
  end
endmodule
"""


def compare(parts, libraries, folder):
    """{kind: (compared cycles, cycles with a difference)} of parts, each converted by its own library."""
    portable, text = VerilogLibrary(), ""
    for part, library in zip(parts, libraries, strict=True):
        text += re.sub(
            rf"^module {part.module}\b", f"module portable_{part.module}", portable.convert(part), flags=re.M
        )
        text += library.convert(part)
    (folder / "compare.sv").write_text(text + bench_of(parts))
    environment = {**os.environ, "MAKEFLAGS": "CFG_CXXFLAGS_PCH_I=-include OPT_FAST=-O0 VM_PARALLEL_BUILDS=0"}
    subprocess.run(
        [
            verilator_executable(),
            "--binary",
            "-CFLAGS",
            "-std=c++20",
            "-Wno-fatal",
            "-Wno-lint",
            "-Wno-style",
            "-Wno-MULTITOP",
            "--top-module",
            "compare",
            "--Mdir",
            "build",
            str(ECP5_BLOCKS),
            "compare.sv",
        ],
        cwd=folder,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    output = subprocess.run(
        [folder / "build" / "Vcompare"], cwd=folder, text=True, check=True, stdout=subprocess.PIPE
    ).stdout
    return {
        kind: (int(compared), int(wrong))
        for kind, compared, wrong in re.findall(r"^RESULT (\w+) (\d+) (\d+)$", output, re.M)
    }


class _Broken(Ecp5Library):
    """Without output registers in the memories, and with a multiplier that takes both operands for signed."""

    def convert(self, part):
        return super().convert(part).replace('"OUTREG"', '"NOREG"').replace(".SIGNEDA(1'b0)", ".SIGNEDA(1'b1)")


def renamed(part):
    """A part under another name, next to which the first may stand."""
    part.kind = f"broken_{part.kind}"
    return part


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What came of the comparison of all parts, and of some from a library with faults, in one simulator."""
    broken = [
        renamed(part)
        for part in (
            Multiply(unsigned(18), signed(18)),
            Ram("ram_deep", width=19, depth=2048),
            ActivationTable("tanh", 2),
        )
    ]
    libraries = [Ecp5Library("ecp5")] * len(PARTS) + [_Broken("ecp5")] * len(broken)
    return compare(PARTS + broken, libraries, tmp_path_factory.mktemp("ecp5"))


@pytest.mark.simulates
def test_primitives_behave_as_the_portable_parts(results):
    """Random inputs and the extremes; memories after they have been filled."""
    good = {kind: counts for kind, counts in results.items() if not kind.startswith("broken_")}
    assert good == {part.kind: (CYCLES - 8, 0) for part in PARTS}


@pytest.mark.simulates
def test_the_comparison_notices(results):
    wrong = [wrong for kind, (_, wrong) in results.items() if kind.startswith("broken_")]
    assert len(wrong) == 3 and all(wrong)


@pytest.mark.parametrize(
    "part, message",
    [
        (Multiply(signed(19), signed(19)), "19x19 does not fit two MULT18X18D"),
        (Multiply(signed(18), signed(37)), "18x37 does not fit two MULT18X18D"),
        (Ram("ram_huge", width=4, depth=2049), "2049 words is deeper than a DP16KD"),
    ],
)
def test_what_does_not_fit_the_blocks_is_refused(part, message):
    with pytest.raises(ValueError, match=message):
        Ecp5Library("ecp5").convert(part)
