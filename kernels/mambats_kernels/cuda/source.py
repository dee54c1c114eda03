"""What is compiled: files of this package, joined behind their constants."""

from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Source:
    """One kernel: where its text stands, which constants it is built with, and how it is called.

    Args:
        files: Paths relative to the package mambats_kernels, joined in this order.
        defines: Pairs of name and value, written as `#define` lines before the files. Not handed over as -D: NVRTC's
            own header comes after those, and short names would clash with it.
        name: The `extern "C" __global__` function.

    Example:
        Source(("cuda/device.cuh", "selective_scan/cuda/forward.cu"), (("STATES", 16),), "scan_forward")
    """

    files: tuple[str, ...]
    defines: tuple[tuple[str, int | str], ...]
    name: str

    def text(self) -> str:
        """Join constants and files; `#line` lets the compiler's messages name a file and its own line.

        Raises:
            FileNotFoundError: If a file is not there.
        """
        parts = [f"#define {name} {value}" for name, value in self.defines]
        for file in self.files:
            path = PACKAGE / file
            if not path.is_file():
                raise FileNotFoundError(f"{path} is not there: the package is not whole, install it again.")
            parts += [f'#line 1 "{file}"', path.read_text(encoding="utf-8")]
        return "\n".join(parts) + "\n"
