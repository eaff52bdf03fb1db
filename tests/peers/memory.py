"""Memory for the binding: of the host, or of a GPU by the calls of its driver."""

import ctypes
from array import array

I64, F32 = "q", "f"


class Host:
    """Keeps what it gives addresses of."""

    stream = None

    def __init__(self):
        self.arrays = {}

    def put(self, code, numbers):
        made = array(code, numbers)
        address = made.buffer_info()[0]
        self.arrays[address] = made
        return address

    def get(self, address):
        return self.arrays[address].tolist()


class Gpu:
    """The primary context of the first GPU, and a stream of it."""

    def __init__(self):
        self.driver = ctypes.CDLL("libcuda.so.1")
        self.blocks = {}
        self.call("cuInit", 0)
        context, self.stream_handle = ctypes.c_void_p(), ctypes.c_void_p()
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
        self.call("cuCtxSetCurrent", context)
        self.call("cuStreamCreate", ctypes.byref(self.stream_handle), 1)  # waits for no other

    @property
    def stream(self):
        return self.stream_handle.value

    def call(self, name, *arguments):
        result = getattr(self.driver, name)(*arguments)
        assert result == 0, f"{name}: {result}"

    def put(self, code, numbers):
        made, pointer = array(code, numbers), ctypes.c_uint64()
        size = len(made) * made.itemsize
        self.call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(size))
        self.blocks[pointer.value] = made
        address = ctypes.c_void_p(made.buffer_info()[0])
        self.call("cuMemcpyHtoD_v2", pointer, address, ctypes.c_size_t(size))
        return pointer.value

    def get(self, address):
        self.call("cuStreamSynchronize", self.stream_handle)
        copy = array(self.blocks[address].typecode, self.blocks[address])
        to, size = ctypes.c_void_p(copy.buffer_info()[0]), ctypes.c_size_t(len(copy) * copy.itemsize)
        self.call("cuMemcpyDtoH_v2", to, ctypes.c_uint64(address), size)
        return copy.tolist()

    def close(self):
        for address in self.blocks:
            self.call("cuMemFree_v2", ctypes.c_uint64(address))
        self.call("cuStreamDestroy_v2", self.stream_handle)
        self.call("cuCtxSetCurrent", None)
        self.call("cuDevicePrimaryCtxRelease_v2", 0)
