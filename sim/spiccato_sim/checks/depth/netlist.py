"""From Verilog to the mapped netlist on which paths are measured, with yosys."""

import graphlib
import json
import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from spiccato.errors import SpiccatoError
from spiccato_boards.flows.tools import tool_command

from .rules import Rules

__all__ = ["TimingError", "in_luts", "is_dsp", "ram_styles", "source_name", "synthesise"]

#: The vendors' attributes, and their values for blocks.
_RAM_STYLES = ("ram_style", "ramstyle", "rom_style", "romstyle", "syn_ramstyle")
_BLOCK_RAMS = ("block", "ultra", "m20k", "m144k", "m10k", "m9k")

#: Arithmetic that stays a cell, and that no path may hold.
_DIVIDERS = ("$div", "$mod", "$divfloor", "$modfloor", "$pow")

# Wide reductions and comparisons as trees of LUTs; trees of two-input gates would map one level deeper.
_WIDE_MAP = """\
(* techmap_celltype = "$reduce_and $reduce_or $reduce_bool $reduce_xor $logic_not" *)
module wide_reduction (A, Y);
  parameter _TECHMAP_CELLTYPE_ = "";
  parameter A_SIGNED = 0, A_WIDTH = 1, Y_WIDTH = 1;
  input [A_WIDTH-1:0] A;
  output [Y_WIDTH-1:0] Y;
  localparam K = {lut_inputs};
  localparam N = (A_WIDTH + K - 1) / K;
  wire _TECHMAP_FAIL_ = A_WIDTH <= K;
  wire [N-1:0] part;
  genvar i;
  generate
    for (i = 0; i < N; i = i + 1) begin
      localparam W = A_WIDTH - K*i < K ? A_WIDTH - K*i : K;
      if (_TECHMAP_CELLTYPE_ == "$reduce_and") assign part[i] = &A[K*i +: W];
      else if (_TECHMAP_CELLTYPE_ == "$reduce_xor") assign part[i] = ^A[K*i +: W];
      else assign part[i] = |A[K*i +: W];
    end
    if (_TECHMAP_CELLTYPE_ == "$reduce_and") assign Y = &part;
    else if (_TECHMAP_CELLTYPE_ == "$reduce_xor") assign Y = ^part;
    else if (_TECHMAP_CELLTYPE_ == "$logic_not") assign Y = !part;
    else assign Y = |part;
  endgenerate
endmodule

(* techmap_celltype = "$eq $ne" *)
module wide_comparison (A, B, Y);
  parameter _TECHMAP_CELLTYPE_ = "";
  parameter A_SIGNED = 0, B_SIGNED = 0, A_WIDTH = 1, B_WIDTH = 1, Y_WIDTH = 1;
  input [A_WIDTH-1:0] A;
  input [B_WIDTH-1:0] B;
  output [Y_WIDTH-1:0] Y;
  localparam K = {lut_inputs} / 2;
  localparam N = (A_WIDTH + K - 1) / K;
  wire _TECHMAP_FAIL_ = A_WIDTH != B_WIDTH || A_WIDTH <= K;
  wire [N-1:0] same;
  genvar i;
  generate
    for (i = 0; i < N; i = i + 1) begin
      localparam W = A_WIDTH - K*i < K ? A_WIDTH - K*i : K;
      assign same[i] = &(A[K*i +: W] ~^ B[K*i +: W]);
    end
    if (_TECHMAP_CELLTYPE_ == "$eq") assign Y = &same;
    else assign Y = !(&same);
  endgenerate
endmodule
"""

# The least depth of several structures of the same logic, which ABC takes as choices (fraig_store). Its
# mapper "if" runs without area recovery, which would make paths off the longest one deeper than need be. Among many
# choices it misses wide ORs that are of the right structure already: hence a second try with few, and of each module
# the better one.
_ABC = (
    "strash;fraig_store;balance;fraig_store;dc2;balance;fraig_store;"
    "if,-g,-K,{lut_inputs};strash;fraig_store;dch,-f;if,-g,-K,{lut_inputs};strash;fraig_store;"
    "fraig_restore;if,-q,-F,0,-A,0",
    "strash;fraig_store;dch,-f;if,-K,{lut_inputs};strash;fraig_store;fraig_restore;if,-q,-F,0,-A,0",
)

_SYNTHESIS = """\
read_rtlil kept.il
flatten -noscopeinfo
opt_clean
chformal -remove
opt
wreduce
opt_clean
memory_dff
opt_clean
memory_collect
opt -mux_undef -undriven -fine
select -set adders t:$add t:$sub %u t:$neg %u r:Y_WIDTH<={lut_adder_bits} %d
select -set narrow r:A_WIDTH<={lut_adder_bits} r:B_WIDTH<={lut_adder_bits} %i
select -set comparators t:$lt t:$le %u t:$gt %u t:$ge %u @narrow %d
select -set words @adders @comparators t:$mul {dividers} t:$mem* t:$*dff* t:$*latch* t:$ff t:$sr
pmux2shiftx -norange
techmap -map wide.v
techmap * @words %d
opt -fast -nodffe -nosdff
design -save unmapped
"""

_MAPPING = """\
design -load unmapped
abc -lut {lut_inputs} -script +{abc}
opt_clean
write_json netlist_{number}.json
"""


class TimingError(SpiccatoError):
    """The Verilog could not be turned into a netlist; the message is yosys' own error line."""


def synthesise(verilog_files, top: str, rules: Rules = Rules()) -> dict:
    """The modules of the mapped netlist, as in the JSON of yosys; parameters and errors as of :func:`check`."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        names = []
        for number, file in enumerate(map(Path, verilog_files)):
            # Copies, because the sandbox of yowasp sees nothing of the host's /tmp; without memory contents,
            # which do not matter here and may be large.
            text = re.sub(r"\$readmem[hb]\s*\([^;]*\)\s*;", ";", file.read_text())
            names.append(f"{number}_{file.name}")
            (work / names[-1]).write_text(text)
        # "proc -norom": a case statement is logic here, not a memory.
        sources = " ".join(f'"{name}"' for name in names)
        _yosys(
            work,
            f"read_verilog -sv {sources}\nhierarchy -check -top {top}\nproc -norom\nopt_clean\nwrite_rtlil design.il\n",
        )
        (work / "kept.il").write_text(_mark_kept((work / "design.il").read_text(), rules.flatten_cells))
        values = {
            "lut_inputs": rules.lut_inputs,
            "lut_adder_bits": rules.lut_adder_bits,
            "dividers": " ".join(f"t:{cell}" for cell in _DIVIDERS),
        }
        (work / "wide.v").write_text(_WIDE_MAP.replace("{lut_inputs}", str(rules.lut_inputs)))
        mappings = [
            _MAPPING.format(**values, abc=abc.format(**values), number=number) for number, abc in enumerate(_ABC)
        ]
        _yosys(work, _SYNTHESIS.format(**values) + "".join(mappings))
        first, *others = (
            json.loads((work / f"netlist_{number}.json").read_text())["modules"] for number in range(len(_ABC))
        )
        return {name: min([module, *(other[name] for other in others)], key=_levels) for name, module in first.items()}


def _levels(module: dict) -> int:
    """The most LUTs in a row in a module of a netlist."""
    made_of = {
        cell["connections"]["Y"][0]: cell["connections"]["A"]
        for cell in module["cells"].values()
        if cell["type"] == "$lut"
    }
    levels: dict = {}
    try:
        order = list(
            graphlib.TopologicalSorter({bit: made_of.keys() & bits for bit, bits in made_of.items()}).static_order()
        )
    except graphlib.CycleError:
        return 0  # The judge tells.
    for bit in order:
        levels[bit] = 1 + max((levels.get(other, 0) for other in made_of[bit]), default=0)
    return max(levels.values(), default=0)


def _yosys(work: Path, script: str):
    """Run a script in a folder."""
    (work / "script.ys").write_text(script)
    # A process of its own, so that its memory is given back. Its log is a file: once ABC has run within
    # yosys, standard output is lost.
    run = subprocess.run(
        [*tool_command("yosys"), "-q", "-l", "yosys.log", "script.ys"],
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        log = work / "yosys.log"
        lines = (run.stderr + (log.read_text() if log.exists() else "")).splitlines()
        errors = [line for line in lines if "ERROR" in line]
        raise TimingError(errors[-1] if errors else f"yosys ended with status {run.returncode}")


def _mark_kept(rtlil: str, flatten_cells: int) -> str:
    """Set ``keep_hierarchy`` on DSP and memory modules, and on large ones placed more than once."""
    cells: dict[str, list[str]] = {}
    for line in rtlil.splitlines():
        if match := re.match(r"module (\S+)", line):
            inside = cells[match[1]] = []
        elif match := re.match(r"  cell (\S+)", line):
            inside.append(match[1])
    placed = Counter(kind for kinds in cells.values() for kind in kinds)
    sizes: dict[str, int] = {}
    kept = set()

    def visit(name):
        for kind in cells[name]:
            if kind in cells and kind not in sizes:
                visit(kind)
        sizes[name] = sum(1 if kind in kept else sizes.get(kind, 1) for kind in cells[name])
        many = placed[name] > 1 and placed[name] * sizes[name] > flatten_cells
        if many or source_name(name).removeprefix("spiccato_").startswith(("dsp_", "ram_")):
            kept.add(name)

    for name in cells:
        if name not in sizes:
            visit(name)

    def mark(match):
        return "attribute \\keep_hierarchy 1\n" * (match[1] in kept) + match[0]

    return re.sub(r"^module (\S+)", mark, rtlil, flags=re.MULTILINE)


def source_name(name: str) -> str:
    """Last part of a module's name in the source: without parameters and without the names of its parents."""
    name = re.sub(r"^\$paramod[^\\]*(?=\\)", "", name).removeprefix("\\")
    return name.split("\\")[0].split(".")[-1]


def is_dsp(name: str) -> bool:
    """Whether a module is a DSP stage, by its name in the source."""
    return source_name(name).removeprefix("spiccato_").startswith("dsp_")


def ram_styles(cell: dict) -> list[str]:
    """What a memory is asked to be made of, by the vendors' attributes."""
    return [str(value).lower() for key, value in cell["attributes"].items() if key.lower() in _RAM_STYLES]


def in_luts(cell: dict, rules: Rules) -> bool:
    """Whether a memory is LUT RAM: small, and not asked to be a block."""
    words = int(cell["parameters"]["SIZE"], 2)
    return words <= rules.small_words and not any(style.startswith(_BLOCK_RAMS) for style in ram_styles(cell))
