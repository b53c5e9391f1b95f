"""What the boards are to reach with the benchmark's models: the reference design's figures."""

from dataclasses import dataclass

__all__ = ["REQUIRED", "Requirement", "required_interval"]


@dataclass(frozen=True)
class Requirement:
    """What a board is to reach with a model: spaced latency in cycles, and what would be excellent, if that was set."""

    spaced_cycles: int
    excellent_cycles: int | None = None


_SIX_BY_32 = {
    "lstm_tiny": Requirement(114, 85),
    "lstm_small": Requirement(230, 189),
    "lstm_med": Requirement(516, 496),
    "lstm_med_deep": Requirement(488, 465),
    "lstm_large": Requirement(1860, 1851),
}
_THREE_BY_64 = {
    "lstm_tiny": Requirement(108, 79),
    "lstm_small": Requirement(186, 142),
    "lstm_med": Requirement(306, 287),
    "lstm_med_deep": Requirement(362, 282),
    "lstm_large": Requirement(966, 946),
}
_SIX_BY_32_CONSERVATIVE = {
    "lstm_tiny": Requirement(113),
    "lstm_small": Requirement(222),
    "lstm_med": Requirement(512),
    "lstm_med_deep": Requirement(481),
    "lstm_large": Requirement(1862),
}
#: Four 9x9 multipliers where two of 18x19 are, or three of 9x8 where one of 27x24 is.
_FAST_SIX_BY_32 = {
    "lstm_tiny": Requirement(85, 82),
    "lstm_small": Requirement(146, 142),
    "lstm_med": Requirement(292, 289),
    "lstm_med_deep": Requirement(288, 281),
}
_FAST_THREE_BY_64 = {
    "lstm_tiny": Requirement(82, 79),
    "lstm_small": Requirement(127, 123),
    "lstm_med": Requirement(183, 179),
    "lstm_med_deep": Requirement(255, 248),
    "lstm_large": Requirement(533, 530),
}
_FAST_TWELVE_BY_32 = {"lstm_large": Requirement(505, 501)}
#: The reference design's figures by profile and configuration. Aggressive: from its section on the schedule, what beats
#: the published latencies with the presets' multipliers, from simulating the list scheduler with pipelines of 36
#: (required) and 24 stages (excellent); of fast configurations, from the same scheduler with four cycles more than
#: today's (one of slack) and with three. Conservative: from its second section on the clock, what the registers may
#: cost.
REQUIRED = {
    "aggressive": {
        "v80": _SIX_BY_32,
        "ia420f": _SIX_BY_32,
        "ia840f": _THREE_BY_64,
        "v80-fast": _FAST_TWELVE_BY_32,
        "ia420f-fast": _FAST_SIX_BY_32,
        "ia840f-fast": _FAST_THREE_BY_64,
    },
    "conservative": {"v80": _SIX_BY_32_CONSERVATIVE, "ia420f": _SIX_BY_32_CONSERVATIVE},
}


def required_interval(spaced_cycles, full_mac_bound):
    """Of a preset: the initiation interval that a spaced latency and the MAC bound of all multiplications allow."""
    return max(spaced_cycles + 8, int(1.05 * full_mac_bound + 40))
