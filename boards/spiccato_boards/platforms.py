"""Amaranth's platforms for device families that it does not know, in the style of amaranth-boards.

A board's module subclasses one of them with the ordering part, the known pins as ``resources`` and the settings
of the vendor's tool; both Amaranth's own build and the project writer take these facts from there.
"""

from abc import abstractmethod

from amaranth.build import Connector, Resource
from amaranth.hdl import ClockDomain, ClockSignal, Instance, Module, Signal
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.vendor import AlteraPlatform, XilinxPlatform

__all__ = ["AgilexPlatform", "VersalPlatform"]


class AgilexPlatform(AlteraPlatform):
    """Agilex 7 with Quartus Prime Pro.

    Corrections of Amaranth's platform, which is Quartus Prime Standard's: synthesis is ``quartus_syn``, I/O
    buffers are inferred (the ``altiobuf`` megafunctions do not exist for the family), and reset waits until the
    whole device is configured.

    Attributes
    ----------
    part : str
        Ordering part.
    settings : dict
        Global assignments of this board: configuration and power management.
    """

    settings: dict[str, str] = {}
    resources: list[Resource] = []
    connectors: list[Connector] = []
    package = speed = ""

    @property
    @abstractmethod
    def part(self) -> str:
        """Ordering part."""

    @property
    def device(self):
        """The whole part; ``package`` and ``speed`` are in it."""
        return self.part

    @classmethod
    def assignments(cls):
        """Global assignments that every project for this part has: {name: value}."""
        return {
            "FAMILY": "Agilex 7",
            "DEVICE": cls.part,
            # Memories are arrays within generate loops.
            "VERILOG_ALLOW_RAM_INFERRED_IN_GENERATE_LOOP": "ON",
            "OPTIMIZATION_MODE": "HIGH PERFORMANCE EFFORT",
            # Registers in a row carry signals from place to place; a memory in their stead would not.
            "AUTO_SHIFT_REGISTER_RECOGNITION": "OFF",
            **cls.settings,
        }

    quartus_required_tools = ["quartus_syn", *AlteraPlatform.quartus_required_tools[1:]]
    quartus_command_templates = [
        AlteraPlatform.quartus_command_templates[0].replace("quartus_map", "quartus_syn"),
        *AlteraPlatform.quartus_command_templates[1:],
    ]
    quartus_file_templates = AlteraPlatform.quartus_file_templates | {
        "{{name}}.qsf": AlteraPlatform.quartus_file_templates["{{name}}.qsf"].replace(
            "set_global_assignment -name DEVICE "
            "{{platform.device}}{{platform.package}}{{platform.speed}}{{platform.suffix}}",
            """{% for name, value in platform.assignments().items() -%}
                set_global_assignment -name {{name}} {{value|tcl_quote}}
            {% endfor %}""",
        )
    }

    def create_missing_domain(self, name):
        """The default clock as domain "sync"; its reset ends when the device has entered user mode."""
        if name != "sync" or self.default_clk is None:
            return super().create_missing_domain(name)
        m = Module()
        starting = Signal()
        m.submodules.clock = clock = io.Buffer("i", self.request(self.default_clk, dir="-"))
        # What the vendor's Reset Release IP is made of.
        m.submodules.release = Instance("altera_agilex_config_reset_release_endpoint", o_conf_reset=starting)
        m.domains += ClockDomain("sync")
        m.d.comb += ClockSignal("sync").eq(clock.i)
        m.submodules.reset = ResetSynchronizer(starting, domain="sync")
        return m

    def get_io_buffer(self, buffer):
        """Amaranth's portable buffers; raises NotImplementedError for DDR, which has none."""
        return buffer.elaborate(None)


class VersalPlatform(XilinxPlatform):
    """Versal with Vivado.

    Amaranth's platform takes these parts for an early Virtex: family, toolchain and part are set here, and the
    flow ends in a device image, not in a bit stream. A device image needs the processor system's block design;
    without one, as here, Vivado gets no further than the routed checkpoint.

    Attributes
    ----------
    part : str
        Ordering part.
    """

    resources: list[Resource] = []
    connectors: list[Connector] = []
    package = speed = ""

    @property
    @abstractmethod
    def part(self) -> str:
        """Ordering part."""

    def __init__(self):
        # Not XilinxPlatform's, which refuses Vivado for what it takes for a Virtex.
        super(XilinxPlatform, self).__init__()
        self.family, self.toolchain = "versal", "Vivado"

    @property
    def device(self):
        """The whole part; ``package`` and ``speed`` are in it."""
        return self.part

    @property
    def _part(self):
        return self.part

    _vivado_file_templates = XilinxPlatform._vivado_file_templates | {
        "{{name}}.tcl": XilinxPlatform._vivado_file_templates["{{name}}.tcl"].replace(
            "write_bitstream -force -bin_file {{name}}.bit", "write_device_image -force {{name}}.pdi"
        )
    }
