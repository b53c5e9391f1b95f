"""Sliding windows in cycles; ``tests/system/test_transfers.py`` has them on the RTL."""

import pytest

from programs import CONFIG, network
from spiccato.compiler import compile_program
from spiccato_sim.models.timeline import Packet, Timeline
from spiccato_sim.models.windows import windows

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("contexts", [1, 2, 7])
def test_inputs_that_come_as_close_as_that(seed, contexts):
    """In the long run there is no idle cycle left between them: as far apart as packets that always wait."""
    program = compile_program([network(seed)], CONFIG, contexts=contexts)
    found = windows(program)
    assert (found.contexts, found.latency) == (contexts, program.model.spaced_latency)
    packets = [Packet(quiet=k % contexts > 0) for k in range(6 * contexts)]
    due = Timeline(program).stream(packets)[::contexts]
    assert found.distance == due[-1].finished - due[-2].finished
