"""Runs in the simulator: is it there, is it what was asked for, and does it know what it does not know."""

import json
import os

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp, AxiStreamBus, AxiStreamSink, AxiStreamSource

from spiccato.config import Config
from spiccato.isa.registers import IDENTITY, REGISTERS, VERSION
from spiccato.rtl.sequencer import Sequencer

CONFIG = Config.from_dict(json.loads(os.environ["SPICCATO_CONFIG"]))


async def start(dut):
    """Clock, drivers on all ports, and a reset; returns the AXI-Lite master and the streams' source and sink."""
    Clock(dut.clk, 10, "ns").start()
    control = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
    source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis_input"), dut.clk, dut.rst)
    sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis_output"), dut.clk, dut.rst)
    dut.rst.value = 1
    await ClockCycles(dut.clk, 4)
    dut.rst.value = 0
    return control, source, sink


@cocotb.test
async def identity(dut):
    """The read-only registers tell what was built; nothing has happened yet, and nothing comes out."""
    control, _, sink = await start(dut)
    # For so long after a reset the pipeline counts as busy.
    await ClockCycles(dut.clk, Sequencer.drain_cycles + 2)

    async def read(name):
        return await control.read_dword(REGISTERS[name].offset)

    assert await read("identity") == IDENTITY
    assert await read("version") == VERSION
    assert REGISTERS["configuration"].unpack(await read("configuration")) == {
        "cores": CONFIG.cores,
        "block": CONFIG.block,
        "float32": CONFIG.io_format == "float32",
        "keep_h": CONFIG.keep_h,
        "columns": CONFIG.columns,
    }
    assert f"{await read('digest_high'):08x}{await read('digest_low'):08x}" == CONFIG.digest
    status = REGISTERS["status"]
    assert status.unpack(await read("status")) == dict.fromkeys(status.fields, 0) | {"idle": 1}
    for name in ("errors", "inferences", "stall_cycles", "latency"):
        assert await read(name) == 0, name
    assert sink.empty()


@cocotb.test
async def refusals(dut):
    """Addresses without a register, writes to read-only registers and partial writes answer with an error."""
    control, _, _ = await start(dut)
    free = next(address for address in range(0, 256, 4) if address not in [r.offset for r in REGISTERS.values()])
    identity, errors = REGISTERS["identity"].offset, REGISTERS["errors"].offset
    assert (await control.read(free, 4)).resp == AxiResp.SLVERR
    assert (await control.write(free, bytes(4))).resp == AxiResp.SLVERR
    assert (await control.write(identity, bytes(4))).resp == AxiResp.SLVERR
    assert (await control.write(errors, bytes(2))).resp == AxiResp.SLVERR
    assert (await control.write(errors, bytes(4))).resp == AxiResp.OKAY
    assert (await control.read(identity, 4)).resp == AxiResp.OKAY


@cocotb.test
async def not_ready_without_program(dut):
    """Input is held, not lost: nothing is computed before a program has been loaded."""
    _, source, sink = await start(dut)
    await source.send(bytes(CONFIG.beat_bits // 8))
    await ClockCycles(dut.clk, 100)
    assert sink.empty()
