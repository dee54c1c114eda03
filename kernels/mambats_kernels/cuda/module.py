"""A kernel in a device's memory, and launches of it that cost little on the host."""

import ctypes
from collections.abc import Callable

import torch

from mambats_kernels.cuda import driver

LIMIT = 48 * 1024  # bytes of dynamic shared memory that need no permission
STREAMS = 64  # prepared launches kept per launcher: torch has 32 streams a priority and device
_FOREIGN = (201, 400)  # invalid context, invalid handle: this thread has no context yet, or another device's


class Kernel:
    """A loaded kernel; `mambats_kernels.cuda.load` makes it.

    Args:
        image: Binary or PTX.
        name: The kernel's function in it.
        device: Index of the device it is loaded on.
        shared: Dynamic shared memory of every launch, bytes.

    Attributes:
        registers: Per thread.
        spilled: Local memory per thread, bytes: registers that did not fit, and arrays indexed at run time.
        threads: The most that a block may have.
        size: Of the kernel's one parameter, bytes; None where the driver is older than 12.4 and cannot tell.

    Raises:
        RuntimeError: If the driver refuses it; says why.
    """

    def __init__(self, image: bytes, name: str, device: int, shared: int) -> None:
        self.name, self.device, self.shared = name, device, shared
        self._module, self._function = ctypes.c_void_p(), ctypes.c_void_p()
        with driver.context(device), driver.capture_allowed():
            driver.call("cuModuleLoadData", ctypes.byref(self._module), image)
            driver.call("cuModuleGetFunction", ctypes.byref(self._function), self._module, name.encode())
            if shared > LIMIT:
                driver.call("cuFuncSetAttribute", self._function, driver.DYNAMIC, shared)
            self.registers = self._attribute(driver.REGISTERS)
            self.spilled = self._attribute(driver.LOCAL)
            self.threads = self._attribute(driver.THREADS)
            self.size = self._parameter()

    def launcher(
        self, grid: tuple[int, int, int], threads: int, cluster: int = 1
    ) -> Callable[[ctypes.Structure, int], None]:
        """Prepare a launch of one geometry.

        Args:
            grid: Blocks along x, y, z, each at least 1.
            threads: Per block, along x.
            cluster: Blocks along x that form a cluster, a divisor of grid[0]; above 1 needs compute capability 9.0.

        Returns:
            A function of the kernel's argument (handed over by value) and a raw stream. It returns once the launch is
            queued and may be called from several threads at once. It raises RuntimeError if the driver refuses the
            launch, and TypeError if the argument hasn't the size of the kernel's parameter.

        Raises:
            ValueError: If the geometry is not possible.
        """
        self._check(grid, threads, cluster)
        device, function, configs = self.device, self._function, dict[int, object]()
        launch_on, current = driver.library().cuLaunchKernelEx, torch._C._cuda_getDevice
        reference, pointer, address = ctypes.byref, ctypes.c_void_p, ctypes.addressof

        def launch(arguments: ctypes.Structure, stream: int) -> None:
            # One immutable configuration a stream: a shared one whose stream is set at each call would need a lock.
            config = configs.get(stream)
            if config is None:
                config = prepare(arguments, stream)
            parameters = reference(pointer(address(arguments)))  # the driver copies what it points to
            if current() == device:
                code = launch_on(config, function, parameters, None)
                if not code:
                    return
                if code not in _FOREIGN:
                    raise RuntimeError(self._refused(grid, threads, cluster, code))
            with driver.context(device):
                if code := launch_on(config, function, parameters, None):
                    raise RuntimeError(self._refused(grid, threads, cluster, code))

        def prepare(arguments: ctypes.Structure, stream: int) -> object:
            if self.size not in (None, ctypes.sizeof(arguments)):
                raise TypeError(
                    f"{self.name} takes {self.size} bytes, {type(arguments).__name__} has {ctypes.sizeof(arguments)}: "
                    "its fields must mirror the kernel's struct."
                )
            if len(configs) >= STREAMS:
                configs.clear()
            found = configs[stream] = reference(self._config(grid, threads, cluster, stream))
            return found

        return launch

    def _config(self, grid: tuple[int, int, int], threads: int, cluster: int, stream: int) -> driver.Config:
        made = driver.Config(grid, (threads, 1, 1), self.shared, stream)
        if cluster > 1:
            sizes = (cluster, 1, 1)
            made.attributes = ctypes.pointer(driver.Attribute(driver.CLUSTER, sizes))
            made.count = 1
        return made

    def _check(self, grid: tuple[int, int, int], threads: int, cluster: int) -> None:
        if not (0 < grid[0] < 2**31 and 0 < grid[1] < 2**16 and 0 < grid[2] < 2**16):
            raise ValueError(f"{self.name}'s grid is {grid}: it needs 1 to 2^31 - 1, 65535 and 65535 blocks.")
        if not 0 < threads <= self.threads:
            raise ValueError(f"{self.name} gets {threads} threads a block: it was built for 1 to {self.threads}.")
        if cluster < 1 or grid[0] % cluster:
            raise ValueError(f"{self.name} gets clusters of {cluster} on a grid of {grid}: grid[0] must be a multiple.")
        if cluster > 1 and torch.cuda.get_device_capability(self.device) < (9, 0):
            raise ValueError(f"{self.name} gets clusters of {cluster}: they need compute capability 9.0 or newer.")

    def _attribute(self, kind: int) -> int:
        value = ctypes.c_int()
        driver.call("cuFuncGetAttribute", ctypes.byref(value), kind, self._function)
        return value.value

    def _parameter(self) -> int | None:
        offset, size = ctypes.c_size_t(), ctypes.c_size_t()
        if not hasattr(driver.library(), "cuFuncGetParamInfo"):
            return None
        places = ctypes.byref(offset), ctypes.byref(size)
        return None if driver.library().cuFuncGetParamInfo(self._function, ctypes.c_size_t(0), *places) else size.value

    def _refused(self, grid: tuple[int, int, int], threads: int, cluster: int, code: int) -> str:
        return (
            f"{self.name} on cuda:{self.device} could not be launched: {driver.told(code)}. Grid {grid}, "
            f"{threads} threads, cluster {cluster}, {self.shared} bytes of shared memory, {self.registers} registers."
        )
