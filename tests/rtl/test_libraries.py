"""The families' libraries: their primitives behave as the portable parts, in every cycle."""

import dataclasses
import functools
import os
import re
import subprocess

import pytest
from amaranth.hdl import signed, unsigned
from amaranth.lib import wiring

from paths import DATA
from spiccato.families import FAMILIES
from spiccato.registry import configuration
from spiccato.rtl.activation import ActivationTable
from spiccato.rtl.dsp import DspStage, Multiply, MultiplyAdd, MultiplyPair, MultiplyQuad, MultiplyTriple, Registers
from spiccato.rtl.memory import Ram, Rom
from spiccato.verilog.agilex import AgilexLibrary
from spiccato.verilog.ecp5 import Ecp5Library
from spiccato.verilog.library import VerilogLibrary
from spiccato.verilog.xilinx import UltraScalePlusLibrary, VersalLibrary
from spiccato_boards import boards
from spiccato_boards.resources import census
from spiccato_sim.benches.gates import ECP5_BLOCKS
from spiccato_sim.benches.simulators import verilator_executable

#: Compared after so many cycles: memories are filled first.
FILL, CYCLES = 4096, 20_000

MODELS = [ECP5_BLOCKS, DATA / "agilex_blocks.v", DATA / "xilinx_blocks.v"]
LIBRARIES = {
    "agilex7": AgilexLibrary,
    "ecp5": Ecp5Library,
    "ultrascaleplus": UltraScalePlusLibrary,
    "versal": VersalLibrary,
}
#: The primitives of each.
PRIMITIVE = {"agilex7": "tennm_mac", "ecp5": "MULT18X18D", "ultrascaleplus": "DSP48E2", "versal": "DSP58"}
#: The stages that the tool is left to infer: what is added to a product is no input of Agilex' block outside a chain.
INFERRED = {
    *(
        ("agilex7", f"dsp_{name}")
        for name in ("interpolate_line", "dense_line", "dense_product", "output_sum", "update_product")
    ),
    ("ultrascaleplus", "dsp_multiply_u18_s27"),
}

_BOTH = Registers(operands=True, product=True)
#: Beyond what the boards have: other combinations of signs, of registers, of widths at their ends.
FURTHER = {
    "ecp5": [
        Multiply(unsigned(17), unsigned(13)),
        Multiply(unsigned(18), signed(18)),
        Multiply(signed(27), signed(18), registers=_BOTH),
        Multiply(signed(18), signed(36)),
        Multiply(unsigned(36), unsigned(18), registers=Registers(product=True)),
        Multiply(signed(9), signed(9), registers=Registers(product=True)),
        MultiplyAdd("wide", a=signed(18), b=signed(30), c=signed(20), p_shift=3, p_bits=40, registers=_BOTH),
        Ram("ram_wide", width=48, depth=192, banks=2),
        Ram("ram_shared", width=20, depth=1024, banks=3, shared_data=True, preload="weights"),
        Ram("ram_deep", width=19, depth=2048),
        Ram("ram_odd", width=7, depth=1300),
        ActivationTable("tanh", 2),
        ActivationTable("sigmoid", 1),
        Rom("rom_deep", contents=range(3, 3 + 5 * 1500, 5), width=13, ports=2),
    ],
    "agilex7": [
        Multiply(signed(27), signed(27), registers=_BOTH),
        Multiply(unsigned(26), signed(20), registers=Registers(operands=True)),
        MultiplyPair(signed(18), signed(18)),
        MultiplyPair(unsigned(18), unsigned(17), registers=_BOTH),
        MultiplyQuad(signed(9), signed(9)),
        MultiplyQuad(unsigned(8), signed(7), registers=_BOTH),
        MultiplyAdd("rounded", a=signed(17), b=unsigned(18), c_shift=2, c_const=8, p_shift=6, p_bits=29),
    ],
    "ultrascaleplus": [Multiply(signed(18), signed(27)), Multiply(unsigned(17), unsigned(26), registers=_BOTH)],
    "versal": [
        Multiply(signed(24), signed(27), registers=Registers(product=True)),
        Multiply(unsigned(26), unsigned(23)),
        MultiplyAdd("late", a=signed(20), b=signed(24), c=signed(30), p_shift=9, p_bits=37, registers=_BOTH),
        MultiplyAdd("early", a=signed(20), b=signed(24), c=unsigned(30), c_shift=4, p_shift=0, p_bits=46),
        MultiplyAdd(
            "odd", a=signed(20), b=signed(24), c=signed(30), p_shift=0, p_bits=46, registers=Registers(operands=True)
        ),
        MultiplyTriple(signed(8), signed(9)),
        MultiplyTriple(unsigned(7), unsigned(8), registers=_BOTH),
    ],
}


def renamed(part, prefix):
    """A part of another kind, so that both may stand beside each other."""
    part = type(part)(**part.arguments)
    part.kind = f"{prefix}_{part.kind}"
    return part


@functools.cache
def all_stages():
    """(family, stage, its kind in the board) of all boards in all profiles, each once."""
    configs = [board.config for board in boards().values()]
    configs += [dataclasses.replace(configuration(name), family="ultrascaleplus") for name in ("v80", "v80-kinds")]
    found = {}
    for config in configs:
        for profile in FAMILIES[config.family].profiles:
            for kind, (part, _, _) in census(dataclasses.replace(config, profile=profile)).items():
                if isinstance(part, DspStage):
                    known = config.family, profile, kind
                    found[known] = config.family, renamed(part, f"{config.family}_{profile}"), kind
    return list(found.values())


def all_parts():
    """(family, part): all that are compared."""
    found = [(family, part) for family, part, _ in all_stages()]
    return found + [(family, renamed(part, family)) for family, parts in FURTHER.items() for part in parts]


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
    if isinstance(part, DspStage):
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
            *map(str, MODELS),
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
    assert "no model" not in output, output
    return {
        kind: (int(compared), int(wrong))
        for kind, compared, wrong in re.findall(r"^RESULT (\w+) (\d+) (\d+)$", output, re.M)
    }


#: Faults of libraries: family, part, and what is replaced by what.
FAULTS = {
    "sign": ("ecp5", Multiply(unsigned(18), signed(18)), ".SIGNEDA(1'b0)", ".SIGNEDA(1'b1)"),
    "output": ("ecp5", Ram("ram_deep", width=19, depth=2048), '"OUTREG"', '"NOREG"'),
    "table": ("ecp5", ActivationTable("tanh", 2), '"OUTREG"', '"NOREG"'),
    "pipeline": (
        "agilex7",
        MultiplyPair(signed(16), signed(18), registers=_BOTH),
        '.second_pipeline_clken("0")',
        '.second_pipeline_clken("no_reg")',
    ),
    "format": ("agilex7", Multiply(unsigned(18), signed(27)), '.signed_may("true")', '.signed_may("false")'),
    "product": ("versal", Multiply(signed(16), signed(18), registers=_BOTH), ".MREG(1)", ".MREG(0)"),
    "addend": ("versal", FURTHER["versal"][2], ".CREG(1)", ".CREG(0)"),
    "rounding": (
        "ultrascaleplus",
        MultiplyAdd("r", a=signed(9), b=signed(9), c_const=4, p_shift=3, p_bits=14),
        "'d4",
        "'d8",
    ),
}


class _Broken:
    """A library with one of the faults."""

    def __init__(self, fault):
        family, self.part, self.right, self.wrong = FAULTS[fault]
        self.part = renamed(self.part, f"broken_{fault}")
        self.library = LIBRARIES[family](family)

    def convert(self, part):
        text = self.library.convert(part)
        assert self.right in text
        return text.replace(self.right, self.wrong)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What came of the comparison of all parts, and of those with faults, in one simulator."""
    broken = list(map(_Broken, FAULTS))
    parts = [part for _, part in all_parts()] + [library.part for library in broken]
    libraries = [LIBRARIES[family](family) for family, _ in all_parts()] + broken
    return compare(parts, libraries, tmp_path_factory.mktemp("libraries"))


@pytest.mark.long
@pytest.mark.simulates
def test_primitives_behave_as_the_portable_parts(results):
    """Random inputs and the extremes; memories after they have been filled."""
    good = {kind: counts for kind, counts in results.items() if not kind.startswith("broken_")}
    assert good == {part.kind: (CYCLES - 8, 0) for _, part in all_parts()}


@pytest.mark.simulates
def test_the_comparison_notices(results):
    wrong = {kind: wrong for kind, (_, wrong) in results.items() if kind.startswith("broken_")}
    assert len(wrong) == len(FAULTS) and all(wrong.values()), wrong


def test_every_family_has_its_library():
    assert {name for name, family in FAMILIES.items() if family.library != FAMILIES["portable"].library} == set(
        LIBRARIES
    )
    for name, library in LIBRARIES.items():
        module, _, cls = FAMILIES[name].library.partition(":")
        assert (module, cls) == (library.__module__, library.__name__)


@pytest.mark.parametrize("family", LIBRARIES)
def test_stages_are_blocks(family):
    """Of the boards' stages, all but those that are known to be inferred hold the family's block, once or twice."""
    stages = [(part, kind) for name, part, kind in all_stages() if name == family]
    # In each profile: one of rows, another of the fast configurations' rows, four of LSTM units, four more of what does
    # other kinds.
    assert len(stages) == 2 * (9 + (family != "ultrascaleplus"))
    for part, kind in stages:
        text = LIBRARIES[family](family).convert(part)
        inferred = any(kind.startswith(left) for name, left in INFERRED if name == family)
        assert (PRIMITIVE[family] in text) != inferred, kind
        # The result register, and those that the profile asks for.
        if family in ("versal", "ultrascaleplus") and not inferred:
            found = {name: int(value) for name, value in re.findall(r"\.([ABMP]REG)\((\d)\)", text)}
            operands, product = part.registers
            assert found == {"AREG": operands, "BREG": operands, "MREG": product, "PREG": 1}


@pytest.mark.parametrize(
    "part, message",
    [
        (Multiply(signed(19), signed(19)), "19x19 does not fit two MULT18X18D"),
        (Multiply(signed(18), signed(37)), "18x37 does not fit two MULT18X18D"),
        (Ram("ram_huge", width=4, depth=2049), "2049 words is deeper than a DP16KD"),
    ],
)
def test_what_does_not_fit_the_blocks_of_an_ecp5_is_refused(part, message):
    with pytest.raises(ValueError, match=message):
        Ecp5Library("ecp5").convert(part)


@pytest.mark.parametrize(
    "family, part",
    [
        # The second pipeline register of a tennm_mac without its input registers.
        ("agilex7", Multiply(unsigned(18), signed(27), registers=Registers(product=True))),
        ("agilex7", Multiply(signed(16), signed(18))),
        ("agilex7", Multiply(signed(28), signed(18))),
        ("agilex7", MultiplyPair(signed(19), signed(18))),
        ("agilex7", MultiplyPair(signed(18), signed(19))),
        ("agilex7", MultiplyQuad(signed(9), unsigned(9))),
        ("agilex7", MultiplyTriple(signed(8), signed(9))),
        ("versal", MultiplyTriple(signed(9), signed(9))),
        ("versal", MultiplyQuad(signed(8), signed(9))),
        ("agilex7", MultiplyAdd("rounded", a=signed(9), b=signed(9), c_const=12, p_shift=0, p_bits=20)),
        ("versal", Multiply(signed(25), signed(25))),
        ("ultrascaleplus", MultiplyPair(signed(16), signed(18))),
        ("ecp5", MultiplyAdd("rounded", a=signed(9), b=signed(9), c_const=4, p_shift=0, p_bits=20)),
    ],
)
def test_what_is_left_to_the_tool(family, part):
    assert LIBRARIES[family](family).primitives(part) is None
