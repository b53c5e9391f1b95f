"""One model on one board as a self-contained HTML page: ``spiccato report``.

:mod:`.content` works out everything the page says, :mod:`.tables` and :mod:`.instructions` put it in words,
:mod:`.charts` draws it with Bokeh, ``page.html`` is the template.
(The benchmark's tables and pictures are :mod:`spiccato_sim.analysis.plots`.)
"""

import importlib.resources
import importlib.util
import shlex

from spiccato.compiler import quantised_network
from spiccato.config import shape_text
from spiccato.errors import SpiccatoError
from spiccato.files import write_whole
from spiccato.importers import WHOLE_MODEL

from ...models import series, zoo
from .. import published

__all__ = ["STEPS", "ReportError", "page", "write_report"]

#: Timesteps of random inputs.
STEPS = 300

_NEEDED = ("bokeh", "jinja2")


class ReportError(SpiccatoError):
    """A page that cannot be made or written; the message says what is missing."""


def page(shown):
    """The page as text, the same for the same :class:`.content.Content`.

    Raises
    ------
    ReportError
        If Bokeh or Jinja2 is not installed.
    """
    _require_extra()
    import jinja2
    from bokeh.resources import Resources

    from .charts import charts

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True
    )
    # Bokeh wants models defined before they are referred to, so keys keep their order.
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}
    environment.filters["count"] = "{:,}".format
    template = environment.from_string(
        importlib.resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    )
    return template.render(
        content=shown,
        shape=shape_text(shown.program.config),
        charts=charts(shown),
        bokeh="\n".join(Resources("inline", components=["bokeh"], log_level="warn").js_raw),
        sources=f"{published.source()} {published.source('published_io.csv')}",
    )


def _require_extra():
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ReportError(f"the report needs {' and '.join(missing)}: pip install 'spiccato[report]'")


def write_report(
    path,
    model,
    program,
    network=None,
    *,
    board=None,
    weights="auto",
    calibration=None,
    inputs=None,
    steps=None,
    seed=0,
    reading=WHOLE_MODEL,
    track=iter,
):
    """Write the page on ``program`` to ``path``, all or nothing; what ``spiccato report`` does.

    Parameters
    ----------
    path : str
    model : str
        What the user named: a benchmark or example, or a file of a network or program.
    program : spiccato.program.Program
        With one model.
    network : spiccato.network.Network or None
        What it was compiled from. Without it the page has no errors of weights and no bfloat16 pipeline.
    board : str, optional
        Board that the user named, perhaps a file. Default: the name of the program's configuration.
    weights : str
        Weight format that the user named.
    calibration : str, optional
        The file of calibration inputs that the user named.
    inputs : str, optional
        A .npy file of inputs. Default: an example's own series, or random ones.
    steps : int, optional
        Number of timesteps. Default: all of the file or series, or ``STEPS``.
    seed : int
        Of random weights and inputs.
    reading : Reading
        How the user said that the model's file is to be read.
    track : function
        Wraps the list of steps, to show progress.

    Returns
    -------
    Content
        What the page says.

    Raises
    ------
    ReportError
        If Bokeh or Jinja2 is not installed, or the file cannot be written. Nothing is written then.
    SpiccatoError
        If the inputs cannot be used. Likewise.
    """
    _require_extra()
    from .content import content

    shape = network or quantised_network(program.model)
    if inputs is not None:
        xs, what = zoo.load_inputs(inputs, program.model.input_size), f"file {inputs}"
    elif model in series.TASKS:
        task = series.load(model)
        xs, what = task.inputs, f"the series of {task.title}"
    else:
        xs = zoo.inputs(shape, steps or STEPS, seed)
        what = f"normally distributed random numbers, seed {seed}"
    if steps is not None and steps > len(xs):
        raise ReportError(f"{what}: has {len(xs)} timesteps; {steps} were asked for")
    xs = xs[:steps]
    shown = content(
        program,
        network,
        xs,
        inputs=what,
        track=track,
        commands=_commands(
            model, program, network, board or program.config.name, weights, calibration, inputs, len(xs), seed, reading
        ),
    )
    text = page(shown)
    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise ReportError(f"{path}: cannot be written: {error.strerror}") from None
    return shown


def _commands(model, program, network, board, weights, calibration, inputs, steps, seed, reading):
    """(what for, command line) of everything on the page. Where it was written does not matter."""
    compiled = (
        []
        if network is None
        else [
            "--board",
            board,
            "--profile",
            program.config.profile,
            "--weights",
            weights,
            "--format",
            program.config.io_format,
            *(["--calibration", calibration] if calibration else []),
            *(text for option in reading.options() for text in option),
        ]
    )
    drawn = ["--input", inputs] if inputs else []
    report = ["spiccato", "report", model, *compiled, *drawn, "--steps", str(steps), "--seed", str(seed)]
    options = compiled or ["--board", board, "--profile", program.config.profile, "--format", program.config.io_format]
    check = ["spiccato", "sim", model, *options, "--seed", str(seed)]
    return [
        ("This page:", shlex.join(report)),
        ("The same program on the RTL, in simulation, with inputs of its own:", shlex.join(check)),
    ]
