"""Time the kernels: on a GPU against the project's promises and every rival that is there, on a CPU against the loop.

    python kernels/bench.py --csv kernels/results/h100.csv          every promise, on the GPU
    python kernels/bench.py --only B8_T2048 --backend triton        some cases, by one back-end
    python kernels/bench.py --cpu --threads 1 --csv cpu.csv         on the CPU, back-ends taking turns
    python kernels/bench.py --model --csv model.csv                 whole models; needs PYTHONPATH=.:kernels:datasets
    python kernels/bench.py --table h100.csv cpu.csv model.csv      write the tables of README.md and the picture anew

How time is taken stands in `bench/watch.py`; floors in `bench/work.py`; promises in `bench/bars.py`.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import torch

from bench import cpu, gpu, model, pages
from bench.ceilings import machine
from bench.plan import explanations, promises
from bench.row import Book
from bench.table import render
from bench.watch import CpuWatch, GpuWatch
from mambats_kernels.backend import explain_backend, use_backend

HERE = Path(__file__).resolve().parent


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description="Time the kernels' benchmark cases.")
    made.add_argument("--cpu", action="store_true", help="time on the CPU even where there is a GPU")
    made.add_argument("--threads", type=int, default=1, help="CPU threads")
    made.add_argument("--rounds", type=int, default=5, help="CPU: timed calls of each kind; the median counts")
    made.add_argument("--bf16", action="store_true", help="CPU: sequences in bfloat16 instead of float32")
    made.add_argument("--only", default="", help="only cases whose name holds one of these words, parted by commas")
    made.add_argument("--section", default="", help="GPU: only these sections, parted by commas: scan, extras, ...")
    made.add_argument("--backend", help="force this back-end of ours")
    made.add_argument("--csv", type=Path, help="write the rows to this file")
    made.add_argument("--quick", action="store_true", help="promises only, fewer replays, no attention, no rivals")
    made.add_argument("--tiny", action="store_true", help="a few tokens instead of the real shapes, on any device")
    made.add_argument("--bars", action="store_true", help="the GPU's jobs on whatever device there is")
    made.add_argument("--model", action="store_true", help="whole models: training and streaming")
    made.add_argument("--seconds", type=float, default=210, help="GPU: start no job after this time")
    made.add_argument("--table", type=Path, nargs="+", help="write README.md's tables from these files; time nothing")
    made.add_argument("--page", type=Path, default=HERE / "README.md", help="the page that --table writes into")
    return made


def chooser(words: str) -> Callable[[str], bool]:
    """Whether a name holds one of the words; none: every name."""
    parts = [part for part in words.split(",") if part]
    return lambda name: not parts or any(part in name for part in parts)


def bars(given: argparse.Namespace, book: Book, device: torch.device) -> None:
    """Run the GPU's jobs and print the tables."""
    wanted, sections = chooser(given.only), chooser(given.section)
    jobs = promises(device, given.backend, given.tiny)
    if not given.quick:
        jobs = chain(jobs, explanations(device, given.tiny))
    watch = CpuWatch(2)
    if device.type == "cuda":
        watch = GpuWatch(device, 0.05, 10) if given.quick else GpuWatch(device)
    chosen = (job for job in jobs if wanted(job.case) and sections(job.section))
    gpu.run(chosen, book, watch, device, given.seconds)
    print("\n" + render(book.machine, book.rows))


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, time, print, write."""
    given = parser().parse_args(arguments)
    if given.table:
        pages.write(given.table, given.page)
        return
    torch.set_num_threads(given.threads)
    cuda = torch.cuda.is_available() and not given.cpu
    device = torch.device("cuda", torch.cuda.current_device()) if cuda else torch.device("cpu")
    on_bars = given.bars or device.type == "cuda"
    where = machine(device, ceilings=on_bars and not given.model)
    print(f"{where.device}, {given.threads} CPU thread(s), load {os.getloadavg()[0]:.1f}\n{explain_backend()}\n")
    book = Book(where, given.csv)
    if given.model:
        model.run(book, device, chooser(given.only), 0.5 if given.quick else 3.0, given.tiny)
    elif on_bars:
        with use_backend(given.backend):
            bars(given, book, device)
    else:
        dtype = torch.bfloat16 if given.bf16 else torch.float32
        cpu.run(book, dtype, 1 if given.quick else given.rounds, chooser(given.only), given.backend, given.tiny)


if __name__ == "__main__":
    main()
