"""Buffers and copies, against a driver library that keeps them in main memory.

The stand-in is compiled from the prototypes of ``cuda.h``, so that arguments of another size or
order would show; what a GPU does with them is not tried here.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from deploymark.backends.base import LoadError, UnavailableError
from deploymark.backends.hardware.cuda_memory import Cuda

DRIVER = """
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
typedef int CUresult; typedef int CUdevice; typedef uint64_t CUdeviceptr;
typedef struct context *CUcontext; typedef struct stream *CUstream;
static size_t taken = 0; static int current = 0; static int queued = 0;
CUresult cuInit(unsigned int flags) { return getenv("NO_GPU") ? 100 : flags; }
CUresult cuGetErrorString(CUresult error, const char **text) {
  *text = error == 100 ? "no CUDA-capable device is detected" : "invalid argument"; return 0; }
CUresult cuDeviceGet(CUdevice *device, int ordinal) { *device = ordinal; return 0; }
CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
  *context = (CUcontext)(uintptr_t)(0x123456789abc + device); return 0; }
CUresult cuCtxSetCurrent(CUcontext context) {
  current = context == (CUcontext)0x123456789abc; return current ? 0 : 201; }
CUresult cuMemGetInfo_v2(size_t *free, size_t *total) {
  *total = (size_t)1 << 34; *free = *total - taken; return current ? 0 : 201; }
CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t size) {
  taken += size; *address = (CUdeviceptr)(uintptr_t)malloc(size); return size ? 0 : 1; }
CUresult cuMemAllocHost_v2(void **address, size_t size) {
  *address = malloc(size); return size ? 0 : 1; }
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t size, CUstream stream) {
  memcpy((void *)(uintptr_t)to, from, size); queued = 1;
  return stream == (CUstream)0xfedcba987654 ? 0 : 1; }
CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t size, CUstream stream) {
  memcpy(to, (void *)(uintptr_t)from, size);
  return stream == (CUstream)0xfedcba987654 ? 0 : 1; }
CUresult cuStreamCreate(CUstream *stream, unsigned int flags) {
  *stream = (CUstream)0xfedcba987654; return flags == 1 ? 0 : 1; }
CUresult cuStreamSynchronize(CUstream stream) {
  return queued && stream == (CUstream)0xfedcba987654 ? 0 : 1; }
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of the stand-in's library."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("driver")
    source, library = folder / "cuda.c", folder / "libcuda.so"
    source.write_text(DRIVER)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    return str(library)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_what_goes_up_comes_down(driver: str, dtype: type[np.floating]) -> None:
    cuda = Cuda(driver)
    stream = cuda.stream()
    given, taken = cuda.pinned((2, 3, 5), dtype), cuda.pinned((2, 3, 5), dtype)
    assert given.dtype == dtype
    assert given.flags.c_contiguous
    assert given.flags.writeable
    given[:] = np.arange(30).reshape(2, 3, 5)
    taken[:] = -1
    address = cuda.allocate(given.nbytes)
    cuda.upload(given, address, stream)
    given[:] = 0
    cuda.download(address, taken, stream)
    cuda.wait(stream)
    np.testing.assert_array_equal(taken, np.arange(30).reshape(2, 3, 5))


def test_free_memory_shrinks_by_what_is_allocated(driver: str) -> None:
    cuda = Cuda(driver)
    before = cuda.free_bytes()
    cuda.allocate(1 << 20)
    assert before - cuda.free_bytes() == 1 << 20


def test_a_failing_call_is_told_by_name_and_reason(driver: str) -> None:
    with pytest.raises(LoadError, match=r"cuMemAlloc_v2 failed with 1: invalid argument"):
        Cuda(driver).allocate(0)


def test_a_driver_without_a_gpu_is_unavailable(
    driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_GPU", "1")
    with pytest.raises(UnavailableError, match="no CUDA-capable device"):
        Cuda(driver)


def test_no_driver_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no NVIDIA driver"):
        Cuda(str(tmp_path / "libcuda.so.1"))
