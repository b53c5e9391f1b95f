"""Faults put into the hardware by hand, each with the test that has to notice it; ``make mutate`` tries them all.

A mutation is made in a copy of the package, on which its test then has to fail; on the copy without a mutation all
these tests have to pass. ``tests/unit/test_mutations.py`` sees to it that the list fits the sources.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from paths import ROOT

SOURCES = ROOT / "hdl" / "spiccato" / "rtl"


@dataclass(frozen=True)
class Mutation:
    """In file ``source`` of the hardware, ``text`` (there once) becomes ``replacement``; ``test`` has to fail."""

    source: str
    text: str
    replacement: str
    test: str

    def apply(self):
        """The mutated source; raises ValueError if the text is not there exactly once."""
        source = (SOURCES / self.source).read_text()
        if source.count(self.text) != 1:
            raise ValueError(f"{self.source} has {source.count(self.text)} times {self.text!r}")
        return source.replace(self.text, self.replacement)


_BUS = "rtl/test_control.py::test_several_requests_outstanding"
_DROP = "rtl/test_ingress.py::test_drop_at_any_cycle"
_FEATURES = "rtl/test_features.py::test_every_pair"
_QUEUE = "system/test_end_to_end.py::test_host_that_does_not_take_outputs"
_POWER_UP = "system/test_end_to_end.py::test_power_up[1]"
_CELL = "rtl/test_cell.py::test_cell_is_its_model"
_ROW = "rtl/test_row.py::test_the_conservative_profile_adds_a_cycle"
_HALVES = "rtl/test_alignment.py::test_alignment[4-4-aggressive]"
_START = "rtl/test_core.py::test_core[ecp5-aggressive-sums]"
_KEPT = "rtl/test_core.py::test_core[portable-aggressive-h]"
_MOVES = "rtl/test_transfers.py::test_an_element_moves"
_FUZZ = "system/test_fuzz.py::test_random_contexts[odd-1]"
_KIND = "system/test_layer_kind.py::test_every_bit_and_every_cycle[between]"

MUTATIONS = [
    # DSP stages.
    Mutation("dsp.py", "at(self.registers.addend_latency)", "at(self.registers.product)", _CELL),
    Mutation("dsp.py", "return self.operands + self.product", "return int(self.operands)", _CELL),
    Mutation("row.py", "product=config.stages.row_product_register", "product=False", _ROW),
    # What is read a cycle earlier for a register behind it.
    Mutation("row.py", ".at(self.weight_lead)", ".at(0)", _START),
    Mutation("core.py", "select = t.weights - ", "select = t.row - ", _START),
    Mutation("accumulator_file.py", "operand.at(config.stages.start_register)", "operand.at(0)", _START),
    # Sums shifted in two steps.
    Mutation("sum_shift.py", "[Mux(bit, upper, lower) for", "[Mux(bit, lower, upper) for", _START),
    Mutation("core.py", "t.shift - 1, self._copies", "t.sum - 1, self._copies", _START),
    Mutation("core_timing.py", "self.sum - bool(SumShift(config).coarse_bits)", "self.sum", _START),
    # Halves of elements.
    Mutation("alignment.py", "self.mantissa[p - 1] & ~down", "self.mantissa[p - 1]", _HALVES),
    Mutation("alignment.py", "max(0, p - LOW_BITS) : p", "0:p", _HALVES),
    Mutation("alignment.py", "bits | (both << len(rest))", "bits", _HALVES),
    Mutation("alignment.py", "(1 << EXPONENT_BITS) - 1, total[:-1]", "total[:-1], total[:-1]", _HALVES),
    # Several epilogues.
    Mutation("core.py", "self._is(states) if len(states) < len(units) else ", "", _KIND),
    Mutation("core.py", "with m.Switch(number):", "with m.Switch(~number):", _KIND),
    Mutation("core.py", "t.h_of[name] - 1 + turn", "t.h_of[name] + turn", _KIND),
    # h that contexts keep.
    Mutation("core.py", "self.h[lane], cycle).at(t.h_kept)", "self.h[lane], cycle).at(cycle)", _KEPT),
    Mutation("control/transfers.py", "m.Elif(end | (showing", "m.Elif(read | (showing", _MOVES),
    # AXI4-Lite.
    Mutation("control/bus.py", "arready.eq(~reading & ~chosen & ~axil.rvalid)", "arready.eq(~reading & ~chosen)", _BUS),
    Mutation("control/bus.py", "have_addr & have_data & ~axil.bvalid", "have_addr & have_data", _BUS),
    Mutation("control/bus.py", "with m.If(~have_addr):", "with m.If(axil.awvalid | ~have_addr):", _BUS),
    Mutation("control/bus.py", "with m.If(~holds):", "with m.If(axil.wvalid | ~holds):", _BUS),
    Mutation(
        "control/bus.py", "m.d.sync += axil.bvalid.eq(0)", "m.d.sync += [axil.bvalid.eq(0), have_addr.eq(0)]", _BUS
    ),
    Mutation("control/bus.py", "with m.Elif(axil.rready):", "with m.Else():", _BUS),
    Mutation(
        "control/counters.py",
        "(self.errors & ~Mux(self.clear, self.value, 0)) | raised",
        "(self.errors | raised) & ~Mux(self.clear, self.value, 0)",
        _BUS,
    ),
    Mutation("control/counters.py", "mark: flag & self.inference for", "mark: flag for", _BUS),
    # What a load forgets.
    Mutation(
        "control/loader.py",
        "~loaded & closed & self.idle",
        "self.loading & ~loaded & closed & self.idle & ~self.word",
        "rtl/test_control.py::test_drop_lasts_long_enough",
    ),
    Mutation("ingress.py", "inside)) & ~(accept & self.axis.tlast))", "inside)))", _DROP),
    Mutation("ingress.py", "discarding | Mux(filling, overlong, inside)", "Mux(filling, overlong, inside)", _DROP),
    Mutation("ingress.py", "discarding | Mux(filling, overlong, inside)", "discarding | inside", _DROP),
    Mutation("ingress.py", "self.drop_cycles = self.ready_cycle + 1", "self.drop_cycles = self.ready_cycle", _DROP),
    Mutation("ingress.py", "[beat.eq(0), filling.eq(0)", "[beat.eq(0)", _DROP),
    Mutation("ingress.py", "[next_occupied.eq(0), next_inside", "[next_inside", _DROP),
    # Room in the output queue.
    Mutation("output_room.py", "free >= number", "free + 1 >= number", f"{_QUEUE}[1]"),
    Mutation("output_room.py", "free >= number", "free + 2 >= number", f"{_QUEUE}[3]"),
    Mutation("output_room.py", "free >= number", "free > number", f"{_QUEUE}[1]"),
    Mutation(
        "sequencer/sequencer.py",
        "watching.have_block, self.enable, ~room",
        "self.enable, ~room",
        "rtl/test_sequencer.py::test_stalled_counts_missing_room",
    ),
    Mutation("output_queue.py", "(level[0] & ~pop))", "level[0])", "rtl/test_egress.py::test_queue"),
    Mutation("features.py", "fetched & inside", "fetched", _FEATURES),
    Mutation("features.py", "(inner | (take & inside)) & goes_on", "inside & goes_on", _FEATURES),
    Mutation("ingress.py", "follow & ~full", "follow", "rtl/test_ingress.py::test_models"),
    # States that move.
    Mutation("contexts.py", "Mux(asked_flags.side, side_1, 0)", "Mux(asked_flags.side, 0, side_1)", _FUZZ),
    Mutation("contexts.py", "marked.side.eq(asked_flags.side & self.alive)", "marked.side.eq(0)", _FUZZ),
    Mutation("contexts.py", "marked.alive.eq(self.alive)", "marked.alive.eq(self.alive | asked_flags.side)", _FUZZ),
    Mutation("contexts.py", "moves.eq(self.move & ~valid)", "moves.eq(self.move)", _FUZZ),
    # What the reset has to reset.
    Mutation("egress.py", "queue.clear.eq(asleep.any())", "queue.clear.eq(0)", _POWER_UP),
]


class Copy:
    """The packages and the tests in a folder of their own."""

    def __init__(self, folder):
        self.folder = Path(folder)
        ignored = shutil.ignore_patterns("__pycache__")
        for name in ("hdl", "sim", "boards", "tests"):
            shutil.copytree(ROOT / name, self.folder / name, ignore=ignored)
        shutil.copy(ROOT / "pyproject.toml", self.folder)

    def passes(self, *tests):
        """Whether the tests pass; raises RuntimeError if that cannot be told."""
        paths = os.pathsep.join(str(self.folder / name) for name in ("hdl", "sim", "boards"))
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", *tests],
            cwd=self.folder / "tests",
            env=os.environ | {"PYTHONPATH": paths},
            text=True,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if done.returncode not in (0, 1):
            raise RuntimeError(done.stdout)
        return done.returncode == 0

    def mutate(self, mutation):
        """Make a mutation in the copy; None undoes the one before."""
        shutil.copytree(SOURCES, self.folder / SOURCES.relative_to(ROOT), dirs_exist_ok=True)
        if mutation is not None:
            (self.folder / SOURCES.relative_to(ROOT) / mutation.source).write_text(mutation.apply())


def main():
    """Try all mutations; returns the number of those that no test has noticed."""
    survivors = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Copy(folder)
        if not copy.passes(*sorted({mutation.test for mutation in MUTATIONS})):
            sys.exit("error: a test fails without any mutation")
        for mutation in MUTATIONS:
            copy.mutate(mutation)
            noticed = not copy.passes(mutation.test)
            survivors += not noticed
            print(f"{'noticed ' if noticed else 'SURVIVED'}  {mutation.source}: {mutation.replacement}", flush=True)
    print(f"{len(MUTATIONS) - survivors} of {len(MUTATIONS)} mutations noticed")
    return survivors


if __name__ == "__main__":
    sys.exit(min(main(), 1))
