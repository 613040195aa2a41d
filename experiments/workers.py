"""Work in several processes, none of which outlives the command that started it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from typing import Any

import torch
from tqdm import tqdm

__all__ = ["side_by_side"]


@contextmanager
def side_by_side(
    processes: int, work: Callable[..., Any], calls: Sequence[tuple[Any, ...]]
) -> Iterator[set[Future[Any]]]:
    """Start ``work(*call)`` for every call, ``processes`` at a time; the futures, in a block.

    Whatever leaves the block early — an error of a call, a Ctrl-C — ends the processes at once.

    Raises:
        ChildProcessError: a process was killed.
    """
    threads = max(1, torch.get_num_threads() // processes)
    with ProcessPoolExecutor(
        processes, get_context("spawn"), initializer=_start, initargs=(threads,)
    ) as pool:
        try:
            with _interrupts_ignored():  # by the processes started here, for good
                futures = {pool.submit(work, *call) for call in calls}
            yield futures
        except BrokenProcessPool as error:
            raise ChildProcessError(
                "a process was killed, perhaps for want of memory. The same command goes on from "
                "the last checkpoints; try it with fewer --jobs."
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in active_children():
                process.terminate()
            raise


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _start(threads: int) -> None:
    torch.set_num_threads(threads)
    # In place of tqdm's own, a semaphore that a process ended from outside leaks with a warning.
    tqdm.set_lock(threading.RLock())
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed parent cannot end its processes, which would go on writing into the run folder."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
