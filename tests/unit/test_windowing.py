"""Sliding windows in cycles; ``tests/system/test_transfers.py`` has them on the RTL."""

import pytest

from programs import CONFIG, network
from spiccato.compiler import compile_program
from spiccato.errors import ProgramError
from spiccato_sim.models.timeline import Packet, Timeline
from spiccato_sim.models.windowing import Windowing

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("length", [1, 2, 7])
def test_inputs_that_come_as_close_as_that(seed, length):
    """In the long run there is no idle cycle left between them: as far apart as packets that always wait."""
    program = compile_program([network(seed), network(seed + 10)], CONFIG, contexts=8)
    for number, model in enumerate(program.models):
        found = Windowing.of(program, length, number)
        assert found.latency == model.spaced_latency
        packets = [Packet(number, quiet=k % length > 0) for k in range(6 * length)]
        due = Timeline(program).stream(packets)[::length]
        assert found.distance == due[-1].finished - due[-2].finished


def test_windows_that_there_are_not():
    program = compile_program([network(1)], CONFIG, contexts=3)
    for length, model, text in ((4, 0, "no stream 3"), (1, 1, "no model 1"), (0, 0, "no stream -1")):
        with pytest.raises(ProgramError, match=text):
            Windowing.of(program, length, model)
