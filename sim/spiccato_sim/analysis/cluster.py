"""Work side by side: processes of this machine, or those of a Dask scheduler somewhere else."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from spiccato.errors import SpiccatoError

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["cluster", "run_all"]

#: Seconds in which a scheduler has to answer, and to have a worker.
_ANSWER = 5
_INSTALL = "install this version of Spiccato there (pip install 'spiccato[explore]')"


@contextlib.contextmanager
def cluster(scheduler: str | None = None, workers: int | None = None) -> Iterator["Client"]:
    """Context with a client of a scheduler.

    Parameters
    ----------
    scheduler : str, optional
        Address of one that runs, as ``tcp://host:8786``. [default: one of this machine, which ends with the context]
    workers : int, optional
        Processes of this machine's. [default: one a processor]

    Raises
    ------
    SpiccatoError
        If Dask is not installed, or no scheduler answers within seconds, or it has no worker.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise SpiccatoError("exploring needs Dask: pip install 'spiccato[explore]'") from None
    # What matters of its messages comes as an error.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with contextlib.ExitStack() as stack:
        if scheduler is None:
            local = LocalCluster(
                n_workers=workers or os.cpu_count(),
                threads_per_worker=1,
                dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": False},
                memory_limit=None,
                silence_logs=logging.CRITICAL,
            )
            client = stack.enter_context(Client(stack.enter_context(local)))
        else:
            try:
                client = stack.enter_context(Client(scheduler, timeout=_ANSWER))
            except (OSError, ValueError, AssertionError):  # the last of an address without a host
                raise SpiccatoError(
                    f"{scheduler}: no Dask scheduler answers there; expected the address of one, as tcp://host:8786"
                ) from None
            try:
                client.wait_for_workers(1, timeout=_ANSWER)
            except TimeoutError:
                raise SpiccatoError(f"{scheduler}: the scheduler has no worker (dask worker {scheduler})") from None
        yield client


def run_all(
    client: "Client",
    function: Callable,
    tasks: Sequence[tuple],
    shared: Sequence[Any],
    code: str,
    on_result: Callable[[tuple, Any], None],
) -> None:
    """Call ``function(*task, *shared)`` for each task, in whatever order.

    Parameters
    ----------
    client : distributed.Client
    function : function of a module
        Returns the digest of the code that it ran, and its result.
    shared : sequence
        Sent to every worker once.
    code : str
        What the digest has to be.
    on_result : function
        Called here with each task and its result, as soon as it is there. If it raises, the tasks left are given up.

    Raises
    ------
    SpiccatoError
        If a worker has another version of this package, or lacks it, or dies.
    """
    from distributed import as_completed

    if not tasks:
        return
    assert client.scheduler is not None  # it is connected
    where = str(client.scheduler.address)
    common = client.scatter(list(shared), broadcast=True, hash=False)
    futures = {client.submit(function, *task, *common, pure=False): task for task in tasks}
    try:
        for future in as_completed(futures):
            ran, result = _result(future, where)
            if ran != code:
                raise SpiccatoError(f"{where}: a worker has another version of Spiccato than this one")
            on_result(futures[future], result)
    finally:
        client.cancel(list(futures))


def _result(future: "Future", where: str) -> Any:
    """What a future holds; what is wrong with the machines is told in one line."""
    from distributed import KilledWorker

    try:
        return future.result()
    except ModuleNotFoundError as error:
        raise SpiccatoError(f"{where}: a worker has no {error.name}: {_INSTALL}") from None
    except RuntimeError as error:
        # Dask's own, of a scheduler that cannot read what is sent through it.
        if "deserialization" not in str(error):
            raise
        raise SpiccatoError(f"{where}: the scheduler cannot read the tasks: {_INSTALL}") from None
    except KilledWorker:
        raise SpiccatoError(f"{where}: workers die of a task, for want of memory perhaps: fewer take less") from None
