"""Room in the output queue: beats that are free, packet by packet, against a count by hand."""

import numpy as np
import pytest

from rtl_bench import make_config, simulate
from spiccato.rtl.output_room import OutputRoom
from spiccato.rtl.sequencer import Sequencer

pytestmark = pytest.mark.fast

#: Of two inferences, from start to start.
LEAST = Sequencer.head_words + Sequencer.least_tail


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("models, output_beats", [(1, 8), (2, 2), (4, 11), (16, 64)])
def test_room(models, output_beats, seed):
    """``room`` of both packets in every cycle: what started ``latency`` cycles ago is charged, what left is free.

    Packets of all models, quiet ones and such of unknown contexts; beats that leave in the cycle of a start.
    """
    rng = np.random.default_rng(seed)
    config = make_config(models=models, output_beats=output_beats)
    part = OutputRoom(config)
    beats = [int(n) for n in rng.integers(1, output_beats + 1, models)]
    if models > 1:
        beats[:2] = [output_beats, 1]
    charged = {"none": 0, "one": 0, "full": 0}
    refused = 0

    async def testbench(ctx):
        nonlocal refused
        for port, number in zip(part.models, beats):
            ctx.set(port, {"output_beats": number, "last_input_beat": int(rng.integers(128))})
        await ctx.tick().repeat(part.latency)

        def new_packet():
            return {
                "model": int(rng.integers(models)),
                "quiet": int(rng.random() < 0.3),
                "unknown": int(rng.random() < 0.3),
            }

        packets, since = [new_packet(), new_packet()], [0, 0]
        in_queue, side, next_start = 0, 0, 5
        free, rooms = [output_beats] * part.latency, []  # as of each of the last cycles
        charge = 0
        for cycle in range(1500):
            for s, packet in enumerate(packets):
                for name, value in packet.items():
                    # Unknown is known later than the rest.
                    late = name == "unknown" and cycle < since[s] + Sequencer.announce_to_issue
                    port = getattr(part, name)
                    if name == "model":
                        ctx.set(port[s], value)
                    else:
                        ctx.set(port[s], int(rng.integers(2)) if late else value)
            # A beat can leave that was charged before.
            leaves = int(in_queue > 0 and rng.random() < [0.1, 0.9][cycle // 200 % 2])
            for s, packet in enumerate(packets):
                expected = packet["quiet"] or free[-part.latency] >= beats[packet["model"]]
                assert ctx.get(part.room) >> s & 1 == expected, cycle
            rooms.append(ctx.get(part.room))
            ready = cycle >= max(next_start, since[side] + Sequencer.announce_to_issue)
            # The sequencer's own cycles are between the room and the start that it tells of.
            room = cycle >= Sequencer.room_to_issue and rooms[cycle - Sequencer.room_to_issue] >> side & 1
            starts = int(ready and room and rng.random() < 0.7)
            refused += ready and not room
            ctx.set(part.started, starts)
            ctx.set(part.side, side if starts else int(rng.integers(2)))
            ctx.set(part.taken, leaves)
            # What started in the cycle before.
            change, charge = leaves - charge, 0
            in_queue -= leaves
            if starts:
                packet = packets[side]
                charge = 0 if packet["quiet"] else 1 if packet["unknown"] else beats[packet["model"]]
                charged["none" if packet["quiet"] else "one" if packet["unknown"] else "full"] += 1
                in_queue += charge
                next_start = cycle + LEAST
                assert in_queue <= output_beats, "more than the queue holds"
            free.append(free[-1] + change)
            await ctx.tick()
            if starts:
                # Its place is another packet's when its last word has gone, at the earliest.
                packets[side], since[side] = new_packet(), cycle + 1
                next_start = max(next_start, since[1 - side] + Sequencer.announce_to_issue)
                side = 1 - side

    simulate(part, testbench)
    assert min(charged.values()) > 5 and refused > 20


def test_latency():
    """From a start, and from a beat that has left, to ``room``: as many cycles as the part says."""
    part = OutputRoom(make_config(output_beats=4))
    seen = []

    async def testbench(ctx):
        ctx.set(part.models[0], {"output_beats": 3})
        await ctx.tick().repeat(part.latency)
        for cycle in range(24):
            ctx.set(part.started, cycle == 3)
            ctx.set(part.taken, cycle in (12, 13))
            seen.append(ctx.get(part.room))
            await ctx.tick()

    simulate(part, testbench)
    edges = [cycle for cycle in range(1, len(seen)) if seen[cycle] != seen[cycle - 1]]
    assert edges == [3 + part.charge_latency, 13 + part.latency]
    assert [seen[cycle] for cycle in (0, edges[0], edges[1])] == [3, 0, 3]
