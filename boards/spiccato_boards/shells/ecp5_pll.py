"""The clock of a design on an ECP5, from the device's own PLL."""

from amaranth.hdl import ClockDomain, ClockSignal, Instance, Module, Signal
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer

__all__ = ["add_pll", "pll_dividers"]


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


def add_pll(m: Module, platform, output_hz: int):
    """Make the clock domain "sync" of ``m`` from the platform's default clock; raises as :func:`pll_dividers`.

    It is in reset until the PLL has locked.
    """
    board_clock = platform.request(platform.default_clk, dir="-")
    m.submodules.clock = clock = io.Buffer("i", board_clock)
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
