"""What a refusal prints of the part that would run, taken at its word."""

import re
import shlex

__all__ = ["told_cut"]


def told_cut(message):
    """The part that a message names, as arguments of ``load_network``; its options of the command line say the same."""
    found = re.search(r"; the part (.*) would run: (.*) \(in Python (.*)\)$", message)
    assert found is not None, message
    words, options, arguments = found.groups()
    cut = eval(f"dict({arguments})")  # as a user would type it
    names = {"from_": "--from", "to": "--to"}
    assert shlex.split(options) == [text for key, name in cut.items() for text in (names[key], name)]
    assert words == " ".join(f"{names[key].removeprefix('--')} {name!r}" for key, name in cut.items())
    return cut
