"""Buffers and copies on an NVIDIA GPU, through the driver's own library and nothing else.

TensorRT's bindings bring no memory of their own, and torch or ``cuda-python`` would be a second
package in a worker that needs three calls. The driver's API lies in ``libcuda``, which is there
wherever a GPU can be used, a Jetson too, and works on the primary context that TensorRT's runtime
API shares (CUDA C++ Programming Guide, "Interoperability between Runtime and Driver APIs").

The calls were tried against a stand-in for that library that keeps its buffers in main memory,
compiled from the prototypes in ``cuda.h``; they were not run on a GPU.
"""

from __future__ import annotations

import ctypes
import math
import platform
from typing import TYPE_CHECKING, Any

from deploymark.backends.base import LoadError, UnavailableError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

LIBRARIES = {"Windows": "nvcuda.dll"}
LINUX_LIBRARY = "libcuda.so.1"

_HANDLE = ctypes.c_void_p
_ADDRESS = ctypes.c_uint64
_SIZE = ctypes.c_size_t

PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "cuInit": (ctypes.c_uint,),
    "cuGetErrorString": (ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)),
    "cuDeviceGet": (ctypes.POINTER(ctypes.c_int), ctypes.c_int),
    "cuDevicePrimaryCtxRetain": (ctypes.POINTER(_HANDLE), ctypes.c_int),
    "cuCtxSetCurrent": (_HANDLE,),
    "cuMemGetInfo_v2": (ctypes.POINTER(_SIZE), ctypes.POINTER(_SIZE)),
    "cuMemAlloc_v2": (ctypes.POINTER(_ADDRESS), _SIZE),
    "cuMemAllocHost_v2": (ctypes.POINTER(_HANDLE), _SIZE),
    "cuMemcpyHtoDAsync_v2": (_ADDRESS, _HANDLE, _SIZE, _HANDLE),
    "cuMemcpyDtoHAsync_v2": (_HANDLE, _ADDRESS, _SIZE, _HANDLE),
    "cuStreamCreate": (ctypes.POINTER(_HANDLE), ctypes.c_uint),
    "cuStreamSynchronize": (_HANDLE,),
}
"""The functions used and the types of their arguments (``cuda.h``); all give a ``CUresult``. The
suffix is that of the 64-bit versions, to which the header's macros lead."""

NON_BLOCKING = 1
"""``CU_STREAM_NON_BLOCKING``: no implicit waiting for the legacy default stream."""


class Cuda:
    """The first GPU, made current for the calling thread.

    Raises UnavailableError where there is no driver or no GPU. Buffers live as long as the process:
    a worker loads one model.
    """

    def __init__(self, library: str | None = None) -> None:
        name = library or LIBRARIES.get(platform.system(), LINUX_LIBRARY)
        try:
            self._library = ctypes.CDLL(name)
            for function, types in PROTOTYPES.items():
                entry = getattr(self._library, function)
                entry.argtypes, entry.restype = types, ctypes.c_int
        except (OSError, AttributeError) as error:
            raise UnavailableError(
                f"no NVIDIA driver: {error}", remedy="Check the driver with nvidia-smi."
            ) from error
        try:
            self._call("cuInit", 0)
            device, context = ctypes.c_int(), _HANDLE()
            self._call("cuDeviceGet", ctypes.byref(device), 0)
            self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
            self._call("cuCtxSetCurrent", context)
        except LoadError as error:
            raise UnavailableError(
                f"the NVIDIA driver offers no GPU: {error.message}",
                remedy="Check the driver with nvidia-smi.",
            ) from error

    def _call(self, function: str, *arguments: Any) -> None:
        code = getattr(self._library, function)(*arguments)
        if code:
            text = ctypes.c_char_p()
            self._library.cuGetErrorString(code, ctypes.byref(text))
            told = (text.value or b"unknown error").decode(errors="replace")
            raise LoadError(f"{function} failed with {code}: {told}")

    def free_bytes(self) -> int:
        """Memory of the GPU that no process holds."""
        free, total = _SIZE(), _SIZE()
        self._call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value

    def stream(self) -> int:
        """Handle of a new stream."""
        stream = _HANDLE()
        self._call("cuStreamCreate", ctypes.byref(stream), NON_BLOCKING)
        return stream.value or 0

    def allocate(self, size_bytes: int) -> int:
        """Address of a new buffer on the GPU."""
        address = _ADDRESS()
        self._call("cuMemAlloc_v2", ctypes.byref(address), size_bytes)
        return address.value

    def pinned(self, shape: tuple[int, ...], dtype: type[np.generic]) -> npt.NDArray[Any]:
        """A new array in page-locked memory, which the GPU copies without a detour."""
        import numpy as np

        size_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        address = _HANDLE()
        self._call("cuMemAllocHost_v2", ctypes.byref(address), size_bytes)
        buffer = (ctypes.c_byte * size_bytes).from_address(address.value or 0)
        return np.ndarray(shape, dtype, buffer=memoryview(buffer))

    def upload(self, array: npt.NDArray[Any], address: int, stream: int) -> None:
        """Queue a copy of a contiguous array to the GPU."""
        self._call("cuMemcpyHtoDAsync_v2", address, array.ctypes.data, array.nbytes, stream)

    def download(self, address: int, array: npt.NDArray[Any], stream: int) -> None:
        """Queue a copy from the GPU into a contiguous array."""
        self._call("cuMemcpyDtoHAsync_v2", array.ctypes.data, address, array.nbytes, stream)

    def wait(self, stream: int) -> None:
        """Wait until all that was queued on the stream is done."""
        self._call("cuStreamSynchronize", stream)
