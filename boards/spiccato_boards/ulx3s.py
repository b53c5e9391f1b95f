"""Radiona ULX3S with the ECP5-85F: the board that open tools carry all the way to a bitstream."""

from amaranth.hdl import ClockDomain, ClockSignal, Elaboratable, Instance, Module, ResetSignal, Signal
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer
from amaranth_boards.ulx3s import ULX3S_85F_Platform

from spiccato.config import Config
from spiccato.rtl.part import module_instance
from spiccato.rtl.serial.system import SerialSystem
from spiccato.rtl.serial.uart import BAUD

from .board import Board, Resources

__all__ = ["ULX3SPlatform", "SerialBoard", "BOARD", "pll_dividers"]

_CHIP_DATABASE = "nextpnr-ecp5, its utilisation report for the device"


class ULX3SPlatform(ULX3S_85F_Platform):
    """amaranth-boards' platform with the name by which the device is ordered."""

    part = "LFE5U-85F-6BG381C"


def pll_dividers(input_hz, output_hz):
    """Dividers of an EHXPLLL whose feedback is its output: {parameter: value}.

    The oscillator has to run at 400 to 800 MHz (FPGA-DS-02012); of the rates that do, the one nearest the middle.

    Raises
    ------
    ValueError
        If no integers give exactly ``output_hz``.
    """
    found = []
    for reference in range(1, 129):
        for feedback in range(1, 81):
            if input_hz * feedback != output_hz * reference or input_hz < 10_000_000 * reference:
                continue
            found += [
                (abs(output_hz * divider - 600_000_000), reference, feedback, divider)
                for divider in range(1, 129)
                if 400_000_000 <= output_hz * divider <= 800_000_000
            ]
    if not found:
        raise ValueError(f"the PLL cannot make {output_hz} Hz of {input_hz} Hz")
    _, reference, feedback, divider = min(found)
    return {"CLKI_DIV": reference, "CLKFB_DIV": feedback, "CLKOP_DIV": divider}


class SerialBoard(Elaboratable):
    """The whole design: PLL, the serial system, the USB adapter's UART, and lights.

    Lights, from LED 0 on: the PLL's clock runs, a host has opened a session, a program is loaded, bytes come, bytes
    go, a frame was lost or a request refused.

    Parameters
    ----------
    config : Config
    baud : int
    """

    def __init__(self, config, baud=BAUD):
        self.config = config
        self.system = SerialSystem(config, clocks_per_bit=round(config.clock_mhz * 1e6 / baud))

    def elaborate(self, platform):
        m = Module()
        board_clock = platform.request(platform.default_clk, dir="-")
        m.submodules.clock = clock = io.Buffer("i", board_clock)
        output_hz = round(self.config.clock_mhz * 1e6)
        dividers = pll_dividers(round(platform.default_clk_frequency), output_hz)
        fast = Signal()
        locked = Signal()
        m.submodules.pll = Instance(
            "EHXPLLL",
            p_PLLRST_ENA="DISABLED",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA",
            p_CLKOP_ENABLE="ENABLED",
            p_FEEDBK_PATH="CLKOP",
            # The output's edges in the middle of the oscillator's count, as Lattice's own tool sets it.
            p_CLKOP_CPHASE=dividers["CLKOP_DIV"] // 2 - 1,
            p_CLKOP_FPHASE=0,
            **{f"p_{name}": value for name, value in dividers.items()},
            i_CLKI=clock.i,
            i_CLKFB=fast,
            o_CLKOP=fast,
            o_LOCK=locked,
            i_RST=0,
            i_STDBY=0,
            i_PHASESEL0=0,
            i_PHASESEL1=0,
            i_PHASEDIR=1,
            i_PHASESTEP=1,
            i_PHASELOADREG=1,
            i_PLLWAKESYNC=0,
            i_ENCLKOP=0,
        )
        platform.add_clock_constraint(fast, output_hz)
        m.domains += ClockDomain("sync")
        m.d.comb += ClockSignal("sync").eq(fast)
        m.submodules.reset = ResetSynchronizer(~locked, domain="sync")

        m.submodules.system = module_instance(self.system, reset=ResetSignal("sync"))
        uart = platform.request("uart", 0, dir={"rx": "-", "tx": "-", "rts": "-", "dtr": "-"})
        m.submodules.rx = rx = io.Buffer("i", uart.rx)
        m.submodules.tx = tx = io.Buffer("o", uart.tx)
        m.d.comb += [self.system.rx.eq(rx.i), tx.o.eq(self.system.tx)]
        # Counts 2**25 cycles: a third of a second at 100 MHz.
        alive = Signal(26)
        m.d.sync += alive.eq(alive + 1)
        lights = (
            alive[-1],
            self.system.led_opened,
            self.system.led_ready,
            self.system.led_rx,
            self.system.led_tx,
            self.system.led_fault,
        )
        for number, light in enumerate(lights):
            m.submodules[f"led_{number}"] = led = io.Buffer("o", platform.request("led", number, dir="-"))
            m.d.comb += led.o.eq(light)
        return m


BOARD = Board(
    config=Config(
        name="ulx3s",
        family="ecp5",
        cores=1,
        block=8,
        weight_depth=1024,
        slots=64,
        vector_blocks=32,
        input_blocks=16,
        program_depth=2048,
        output_beats=16,
        clock_mhz=100.0,
    ),
    title="Radiona ULX3S 85F",
    device="ECP5 LFE5U-85F",
    platform=ULX3SPlatform,
    resources=Resources(logic=83_640, dsp=156, memory={"dp16kd": 208}),
    sources={
        "part": "amaranth_boards.ulx3s",
        "pins": "amaranth_boards.ulx3s",
        "logic": _CHIP_DATABASE,
        "dsp": _CHIP_DATABASE,
        "dp16kd": _CHIP_DATABASE,
    },
)
