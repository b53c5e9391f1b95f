"""A board that is a simulation: the serial system's RTL, its pins behind a pseudo-terminal.

A program opens :attr:`SimulatedBoard.port` as it would open the serial port of a real board, at any baud rate. While
nobody talks to it the simulated time stands still, and the process sleeps.

Three processes: the user's; one that builds and runs the simulator; and the simulator, which holds the
pseudo-terminal. The first and the last are connected by a socket: it tells the port's name, carries commands, and ends
the simulation when the user's process closes it or is gone.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from spiccato.config import Config
from spiccato.rtl.serial.system import SerialSystem
from spiccato.rtl.serial.uart import LEAST_CLOCKS_PER_BIT

from . import runner
from .simulators import SimulationError

__all__ = ["SimulatedBoard"]

#: Cycles that the simulated link waits for its accelerator, which never takes so long.
WATCHDOG = 5_000
#: Environment of the simulation: its own settings as JSON.
SETTINGS = "SPICCATO_SERIAL"
RESET = b"reset\n"
#: A simulator that takes longer to build, in seconds, never will be.
_BUILD_LIMIT_S = 1800
#: Nor does a simulation end that has not done so, since it was told to, on however busy a machine.
_END_LIMIT_S = 300


class SimulatedBoard:
    """Runs until it is closed; use it as a context manager.

    Parameters
    ----------
    config : Config
    clocks_per_bit : int
        Of the UART; fewer make a faster simulation.
    watchdog : int
        Of the link, in cycles. So many cycles are simulated, too, before a quiet board goes to sleep.
    build_folder : path
        Where simulators are kept.
    netlist : path, optional
        Simulate this netlist (see :func:`.runner.build`), whose other parameters have to be the ones given here.
    time_limit : float
        Seconds after which the simulation ends by itself.

    Attributes
    ----------
    port : str
        Name of the serial port.

    Raises
    ------
    SimulationError
        When entered, if the simulator cannot be built or does not start; when left, if it has failed.
    """

    def __init__(
        self,
        config,
        *,
        clocks_per_bit=LEAST_CLOCKS_PER_BIT,
        watchdog=WATCHDOG,
        build_folder="build",
        netlist=None,
        time_limit=3600.0,
    ):
        self._settings = {
            "config": config.to_dict(),
            "clocks_per_bit": clocks_per_bit,
            "watchdog": watchdog,
            "build_folder": str(Path(build_folder).absolute()),
            "time_limit": time_limit,
            "netlist": netlist and str(Path(netlist).absolute()),
        }
        self.port: str | None = None
        self._process: subprocess.Popen | None = None
        self._control: socket.socket | None = None

    def __enter__(self):
        runs = Path(self._settings["build_folder"]) / "runs"
        runs.mkdir(parents=True, exist_ok=True)
        self._folder: Path = Path(tempfile.mkdtemp(dir=runs, prefix="serial_"))
        # In the system's folder for such things: the name of a socket has to be short.
        with tempfile.TemporaryDirectory() as sockets, socket.socket(socket.AF_UNIX) as listener:
            address = str(Path(sockets) / "control")
            listener.bind(address)
            listener.listen(1)
            listener.settimeout(0.2)
            settings = {**self._settings, "control": address, "folder": str(self._folder)}
            with (self._folder / "board.log").open("w") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", __name__, json.dumps(settings)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                )
            try:
                self._control = self._accept(listener, self._process)
                self.port = self._control.makefile().readline().strip()
                if not self.port:
                    raise self._failure()
            except BaseException:
                self._stop(self._process)
                raise
        return self

    def _accept(self, listener, process):
        """The simulation's connection, once it has been built."""
        for _ in range(int(_BUILD_LIMIT_S / listener.gettimeout())):
            try:
                connection, _ = listener.accept()
                connection.settimeout(_BUILD_LIMIT_S)
                return connection
            except TimeoutError:
                if process.poll() is not None:
                    raise self._failure() from None
        raise self._failure()

    def _failure(self):
        """Why the simulation is not there."""
        log = self._folder / "board.log"
        lines = log.read_text(errors="replace").strip().splitlines()
        return SimulationError(f"the simulated board failed: {lines[-1] if lines else 'no message'}; log: {log}")

    def running(self):
        """Whether the simulation goes on."""
        return self._process is not None and self._process.poll() is None

    def press_reset(self):
        """Reset the whole board, as a button would, in whatever it is doing. Has happened on return."""
        if self._control is None:
            raise runner.SimulationError("the simulated board has not been started")
        self._control.sendall(RESET)
        if self._control.recv(len(RESET)) != RESET:
            raise self._failure()

    def _stop(self, process):
        """End the simulation; its exit status."""
        if self._control is not None:
            # At once, also if a file made from it is still open.
            self._control.shutdown(socket.SHUT_RDWR)
            self._control.close()
        try:
            return process.wait(timeout=_END_LIMIT_S if self._control is not None else 0)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def __exit__(self, kind, *_):
        status = self._stop(self._process)
        if kind is None and status:
            raise self._failure()
        if not status:
            shutil.rmtree(self._folder)


def system(settings):
    """The design that is simulated."""
    return SerialSystem(
        Config.from_dict(settings["config"]), clocks_per_bit=settings["clocks_per_bit"], watchdog=settings["watchdog"]
    )


def _main(settings):
    """Build and run the simulation; ends when it does."""
    config = Config.from_dict(settings["config"])
    build = runner.build(config, folder=settings["build_folder"], top=system(settings), netlist=settings["netlist"])
    runner.run(
        build, "spiccato_sim.benches.tb_serial", results_dir=settings["folder"], env={SETTINGS: json.dumps(settings)}
    )


if __name__ == "__main__":
    try:
        _main(json.loads(sys.argv[1]))
    except SimulationError as problem:
        print(problem)
        sys.exit(1)
