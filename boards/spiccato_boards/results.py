"""What a vendor's tool reached: the JSON files that the projects' scripts write.

Schema 1, all members required::

    {
      "schema": 1,
      "board": "ia420f",                    name of the board
      "part": "AGFB014R24B2E2V",
      "configuration": "ia420f",            the configuration, in another profile "ia420f.conservative",
      "digest": "0123456789abcdef",         and the digest that programs carry
      "tool": "Quartus Prime Pro",
      "tool_version": "...",
      "target": "out_of_context",           what was compiled
      "clock": {
        "target_mhz": 320.0,
        "period_ns": 3.125,                 as constrained
        "setup_slack_ns": 0.05,             worst of all corners; null if nothing was timed
        "hold_slack_ns": 0.01,
        "fmax_mhz": 325.2,                  1000 / (period - setup slack)
        "met": true                         no slack is negative
      },
      "resources": {
        "logic": 1, "registers": 1,         of the family's logic cells; null where the report
        "dsp": 1,                           has no such row
        "memory": {"m20k": 1}               the family's kinds
      }
    }
"""

import json
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

import spiccato_boards
from spiccato.errors import SpiccatoError

from .board import Resources
from .resources import estimate

__all__ = ["Result", "ResultError", "compare", "read_result"]

SCHEMA = 1
_OPTIONAL = (Real, type(None))
_MEMBERS = {
    "board": str,
    "part": str,
    "configuration": str,
    "digest": str,
    "tool": str,
    "tool_version": str,
    "target": str,
    "clock": {
        "target_mhz": Real,
        "period_ns": Real,
        "setup_slack_ns": _OPTIONAL,
        "hold_slack_ns": _OPTIONAL,
        "fmax_mhz": _OPTIONAL,
        "met": bool,
    },
    "resources": {"logic": _OPTIONAL, "registers": _OPTIONAL, "dsp": _OPTIONAL, "memory": dict},
}


class ResultError(SpiccatoError):
    """A result file that is damaged, or does not belong to what it is compared with."""


@dataclass(frozen=True)
class Result:
    """One result file; the members are those of the schema, ``clock`` as plain data."""

    board: str
    part: str
    configuration: str
    digest: str
    tool: str
    tool_version: str
    target: str
    clock: dict
    resources: Resources


def _check(data, members, where):
    if not isinstance(data, dict):
        raise ResultError(f"{where} is not an object")
    for name, kind in members.items():
        if name not in data:
            raise ResultError(f"{where}: {name} is missing")
        if isinstance(kind, dict):
            _check(data[name], kind, f"{where}: {name}")
        elif not isinstance(data[name], kind) or (isinstance(data[name], bool) and kind is not bool):
            raise ResultError(f"{where}: {name} must not be {json.dumps(data[name])}")
    unknown = sorted(set(data) - set(members))
    if unknown:
        raise ResultError(f"{where}: unknown member {unknown[0]}")


def read_result(path):
    """Read and check a result file.

    Returns
    -------
    Result

    Raises
    ------
    ResultError
        If the file is missing, damaged, of another schema, or its board is unknown or of another part.
    """
    path = Path(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ResultError(f"{path}: not JSON: {error}") from None
    if not isinstance(data, dict) or data.pop("schema", None) != SCHEMA:
        raise ResultError(f"{path}: not a result of schema {SCHEMA}")
    _check(data, _MEMBERS, str(path))
    # By name: a result file cannot make anybody run a board file.
    known = spiccato_boards.boards()
    if data["board"] not in known:
        raise ResultError(f"{path}: unknown board {data['board']!r}; known: {', '.join(known)}")
    board = known[data["board"]]
    if data["part"] != board.part:
        raise ResultError(f"{path}: the part of {board.name} is {board.part}, not {data['part']}")
    _check(data["resources"]["memory"], dict.fromkeys(board.family.memory, _OPTIONAL), f"{path}: memory")
    return Result(**data | {"resources": Resources(**data["resources"])})


def compare(result, board, config=None):
    """Lay a result beside what was expected.

    Parameters
    ----------
    result : Result
    board : Board
    config : Config, optional
        Other than the board's own.

    Returns
    -------
    list of (str, number or None, number or None, number or None)
        Rows: what, reached, expected, what the device has.

    Raises
    ------
    ResultError
        If the result is another board's or another configuration's.
    """
    config = config or board.config
    if result.board != board.name:
        raise ResultError(f"the result is for {result.board}, not for {board.name}")
    if result.digest != config.digest:
        raise ResultError(
            f"the result is for configuration {result.configuration} ({result.digest}), "
            f"not for {config.label} ({config.digest})"
        )
    expected, device = estimate(config, board), board.resources
    rows = [
        ("clock, MHz", result.clock["fmax_mhz"], result.clock["target_mhz"], None),
        (f"{board.family.logic_unit}s", result.resources.logic, expected.logic, device.logic),
        ("registers", result.resources.registers, expected.registers, None),
        ("DSP blocks", result.resources.dsp, expected.dsp, device.dsp),
    ]
    return rows + [
        (kind.upper(), result.resources.memory[kind], expected.memory[kind], device.memory[kind])
        for kind in expected.memory
    ]
