"""Check of a schedule against the rules of the hardware, independent of how it was made."""

from ..isa.issue import Source
from ..rtl.accelerator import Timing
from .layout import Layout
from .schedule import Schedule

__all__ = ["check_schedule"]

_NEVER = 1 << 60


def check_schedule(result: Schedule, layout: Layout, timing: Timing, repeats: int = 2) -> None:
    """Check ``repeats`` inferences in a row against every rule of the hardware; independent of how they were made.

    Raises
    ------
    AssertionError
        With the rule and the cycle; a defect of the scheduler, never of the user's input.
    """
    matrices = layout.matrices
    length = len(result.matrix)
    done: set[tuple[int, int, int, int]] = set()
    h_at: dict[tuple[int, int, int], int] = {}
    stored_at: dict[int, int] = {}
    finished_at: dict[int, int] = {}
    file_owner: dict[int, tuple[int, int]] = {}
    sent: list[int] = []
    h_there: set[int] = set()
    capacity, packet = layout.config.output_beats, layout.output_beats
    register: tuple[int, int] | None = None
    output_free, output_slot = 0, 0

    def rule(condition, text, cycle):
        if not condition:
            raise AssertionError(f"schedule, cycle {cycle}: {text}")

    for step in range(repeats):
        done.clear()
        open_chains: dict[tuple[int, int], bool] = {}
        issued: dict[tuple[int, int], int] = {}
        output_slot, x_blocks = 0, 0
        needed = packet * (step + 1) - capacity
        rule(
            needed <= 0 or packet > capacity or step * length >= sent[needed - 1] + timing.room,
            "the output queue has no room",
            step * length,
        )
        for position in range(length):
            cycle = step * length + position
            number = int(result.matrix[position])
            if number < 0:
                continue
            matrix = matrices[number]
            slot, block = int(result.slot[position]), int(result.block[position])
            chain, accumulator = (number, slot), matrix.first_slot + slot
            tile = (number, slot, block, int(result.multiplied[position]))
            rule(tile not in done, f"tile {tile} is issued twice", cycle)
            done.add(tile)
            issued[chain] = issued.get(chain, 0) + 1
            if (owner := layout.owner(matrix, block)) is not None:
                layer, own_block = owner
                first, last = layout.turns_of_block(layer, own_block)
                for part in range(first, last + 1):
                    rule(h_at.get((step, layer.number, part), _NEVER) <= cycle, f"tile {tile} reads h too early", cycle)
            if not matrix.producers:
                rule(block <= x_blocks, "blocks of x are first used out of order", cycle)
                x_blocks = max(x_blocks, block + 1)
            if not matrix.producers and step == 0:
                arrival = (block + 1) * layout.config.beats_per_block - 1 + timing.input
                rule(arrival <= cycle + result.first_cycle, f"tile {tile} reads x too early", cycle)
            source = Source(int(result.source[position]))
            if chain not in open_chains:
                rule(source is matrix.starts_from, f"slot {chain} starts from {source}", cycle)
            elif register == chain:
                rule(source is Source.CONTINUE, f"slot {chain} does not go on", cycle)
            else:
                rule(
                    source is Source.STORED and open_chains[chain] and file_owner[accumulator] == chain,
                    f"slot {chain} was not stored",
                    cycle,
                )
            if source in (Source.PREVIOUS, Source.STORED) and accumulator in stored_at:
                rule(cycle >= stored_at[accumulator] + timing.reload, f"slot {chain} is reloaded too early", cycle)
            register = chain
            open_chains[chain] = bool(result.store[position])
            if result.store[position]:
                stored_at[accumulator], file_owner[accumulator] = cycle, chain
            if result.finish[position]:
                rule(issued[chain] == matrix.slot_words, f"slot {chain} is finished with tiles missing", cycle)
                register = None
                if matrix.sends_output:
                    rule(slot == output_slot, "output slots are out of order", cycle)
                    rule(cycle >= output_free, "output slots are too close", cycle)
                    output_slot += 1
                    output_free = cycle + layout.slot_output_beats(slot)
                    sent += [cycle + timing.output + beat for beat in range(layout.slot_output_beats(slot))]
                elif matrix.writes_vectors:
                    layer = layout.layers[matrix.layer]
                    epilogue = layer.kind.epilogue
                    assert epilogue is not None
                    for turn in range(layer.turns):
                        there = cycle + timing.h_of[epilogue] + turn
                        rule(there not in h_there, f"h of slot {chain} is there together with another slot's", cycle)
                        h_there.add(there)
                        readable = cycle + timing.dependency_of[epilogue] + turn
                        h_at[step, matrix.layer, slot * layer.turns + turn] = readable
                    rule(
                        cycle >= finished_at.get(accumulator, -_NEVER) + timing.c_reuse,
                        f"c of slot {chain} is read too early",
                        cycle,
                    )
                    finished_at[accumulator] = cycle
                else:
                    rule(result.store[position], f"recurrent half of slot {chain} is not stored", cycle)
        expected = {
            (n, s, b, which)
            for n, m in enumerate(matrices)
            for s in range(m.slots)
            for b in range(m.blocks)
            for which in m.passes
        }
        rule(done == expected, "tiles are missing", (step + 1) * length)
