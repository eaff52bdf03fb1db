"""The C ABI of the library, by ctypes: include/xent.h has what every name means.

    context = xent.Context("cpu")
    plan = xent.Plan(context, classes=32000, logits_dtype=xent.BF16, outputs=xent.LOSS | xent.DLOGITS)
    workspace = plan.workspace(rows)
    plan.run(rows, workspace, logits=x.data_ptr(), targets=y.data_ptr(), loss=..., dlogits=...)

Buffers are addresses: of host memory on the CPU, of the GPU's on a GPU, whoever allocated it. Needs
nothing but Python; the library is that of XENT_LIBRARY, else the one of cargo build --release."""

import ctypes
import functools
import os
import sys
from ctypes import c_char_p, c_double, c_int32, c_int64, c_size_t, c_uint32, c_void_p
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VERSION = (0, 1)  # of the header that this was written after: what has to be the same in 0.x

AUTO, CPU, CUDA = range(3)
F32, F16, BF16, F64 = range(1, 5)
I64, I32, U32, U8 = range(4)
MEAN, NONE, SUM, BATCH_MEAN = range(4)
LOSS, LSE, STATS, DLOGITS, ARGMAX, CORRECT, ENTROPY, OUTPUT = (1 << bit for bit in range(8))
IGNORE_INDEX, EMPTY_MEAN_ZERO, IN_PLACE, CLASS_WEIGHTS, ROW_WEIGHTS = (1 << bit for bit in range(5))

STRIDES = c_int64 * 3
BUFFERS = [
    ("outer", c_int64), ("inner", c_int64),
    ("logits", c_void_p), ("logits_strides", STRIDES),
    ("targets", c_void_p), ("target_strides", STRIDES),
    ("class_weights", c_void_p), ("class_weights_count", c_int64), ("row_weights", c_void_p),
    ("dloss", c_void_p), ("dloss_stride", c_int64),
    ("denominator_kind", c_int32), ("reserved", c_uint32),
    ("denominator_value", c_double), ("denominator_pointer", c_void_p)]
SCRATCH = [
    ("report", c_void_p), ("workspace", c_void_p), ("workspace_size", c_size_t), ("stream", c_void_p)]


class Struct(ctypes.Structure):
    """Begins as xent_..._default() of the header: zeros, and its own size."""

    def __init__(self, **fields):
        super().__init__(struct_size=ctypes.sizeof(self))
        known = {name for name, _ in self._fields_}
        for name, value in fields.items():
            if name not in known:  # Python would take it as an attribute of its own
                raise TypeError(f"{type(self).__name__} has no field {name}")
            setattr(self, name, value)


class ContextOptions(Struct):
    _fields_ = [
        ("struct_size", c_size_t), ("device", c_int32), ("ordinal", c_int32), ("threads", c_uint32),
        ("reserved", c_uint32), ("parallel_for", c_void_p), ("parallel_for_user", c_void_p),
        ("cache_directory", c_char_p)]


class Problem(Struct):
    _fields_ = [
        ("struct_size", c_size_t), ("classes", c_int64), ("logits_dtype", c_int32),
        ("dlogits_dtype", c_int32), ("target_type", c_int32), ("reduction", c_int32),
        ("outputs", c_uint32), ("flags", c_uint32), ("ignore_index", c_int64),
        ("label_smoothing", c_double), ("logit_scale", c_double), ("softcap", c_double),
        ("z_loss", c_double), ("expected_rows", c_int64), ("alignment", c_int64), ("operation", c_int32),
        ("input", c_int32), ("clip", c_int32), ("renormalise", c_int32), ("clip_value", c_double),
        ("unit", c_int32), ("output_dtype", c_int32)]


class Args(Struct):
    _fields_ = [
        ("struct_size", c_size_t), *BUFFERS,
        ("loss", c_void_p), ("lse", c_void_p), ("stats", c_void_p),
        ("dlogits", c_void_p), ("dlogits_strides", STRIDES),
        ("argmax", c_void_p), ("correct", c_void_p), ("entropy", c_void_p), *SCRATCH,
        ("element_weights", c_void_p), ("element_weights_strides", STRIDES), ("pos_weights", c_void_p),
        ("output", c_void_p), ("output_strides", STRIDES)]


class BackwardArgs(Struct):
    _fields_ = [
        ("struct_size", c_size_t), *BUFFERS,
        ("stats", c_void_p), ("dlogits", c_void_p), ("dlogits_strides", STRIDES), *SCRATCH,
        ("output", c_void_p), ("output_strides", STRIDES), ("doutput", c_void_p),
        ("doutput_strides", STRIDES), ("ddlogits", c_void_p), ("ddlogits_strides", STRIDES)]


class WorkspaceMemory(ctypes.Structure):
    _fields_ = [("data", c_void_p), ("size", c_size_t)]


class Error(Exception):
    """A status other than XENT_STATUS_OK, in the words of the library."""

    def __init__(self, status):
        self.status = status
        self.name = library().xent_status_string(status).decode()
        super().__init__(f"{self.name}: {library().xent_last_error().decode()}")


def check(status):
    if status != 0:
        raise Error(status)


def signatures():
    """Of the functions that are used here: what they return, and what they take."""
    handle, made = c_void_p, ctypes.POINTER(c_void_p)
    pointer = ctypes.POINTER
    return {
        "xent_version": (c_uint32, []),
        "xent_version_string": (c_char_p, []),
        "xent_status_string": (c_char_p, [c_int32]),
        "xent_last_error": (c_char_p, []),
        "xent_context_create": (c_int32, [pointer(ContextOptions), made]),
        "xent_context_destroy": (None, [handle]),
        "xent_context_describe": (c_char_p, [handle]),
        "xent_plan_create": (c_int32, [handle, pointer(Problem), made]),
        "xent_plan_destroy": (None, [handle]),
        "xent_plan_workspace_size": (c_int32, [handle, c_int64, pointer(c_size_t)]),
        "xent_plan_kernel_name": (c_char_p, [handle]),
        "xent_workspace_create": (c_int32, [handle, c_int64, pointer(pointer(WorkspaceMemory))]),
        "xent_workspace_destroy": (None, [pointer(WorkspaceMemory)]),
        "xent_run": (c_int32, [handle, pointer(Args)]),
        "xent_backward": (c_int32, [handle, pointer(BackwardArgs)]),
    }


@functools.cache
def library():
    """Loads it when it is first asked for."""
    suffix = "dylib" if sys.platform == "darwin" else "so"
    path = os.environ.get("XENT_LIBRARY") or ROOT / f"target/release/libxent.{suffix}"
    found = ctypes.CDLL(str(path))
    for name, (result, arguments) in signatures().items():
        function = getattr(found, name)
        function.restype, function.argtypes = result, arguments
    major, minor = divmod(found.xent_version() // 1000, 1000)
    if (major, minor) != VERSION:
        raise ImportError(f"{path} is version {major}.{minor}, not {VERSION[0]}.{VERSION[1]}")
    return found


def version():
    return library().xent_version_string().decode()


class Context:
    """A device: "auto", "cpu" or "cuda"."""

    def __init__(self, device="auto", ordinal=0, threads=0):
        self.handle = c_void_p()
        number = {"auto": AUTO, "cpu": CPU, "cuda": CUDA}[device]
        options = ContextOptions(device=number, ordinal=ordinal, threads=threads)
        check(library().xent_context_create(options, self.handle))

    def __del__(self):
        if self.handle:
            library().xent_context_destroy(self.handle)

    def __str__(self):
        return library().xent_context_describe(self.handle).decode()


class Plan:
    """A problem, given by the fields of xent_problem, that is ready to run."""

    def __init__(self, context, **problem):
        self.handle = c_void_p()
        check(library().xent_plan_create(context.handle, Problem(**problem), self.handle))

    def __del__(self):
        if self.handle:
            library().xent_plan_destroy(self.handle)

    def kernel_name(self):
        return library().xent_plan_kernel_name(self.handle).decode()

    def workspace_size(self, rows):
        size = c_size_t()
        check(library().xent_plan_workspace_size(self.handle, rows, size))
        return size.value

    def workspace(self, rows):
        return Workspace(self, rows)

    def run(self, rows, workspace, stream=None, **fields):
        """Computes the outputs: fields are those of xent_args, addresses above all."""
        check(library().xent_run(self.handle, workspace.given(Args(outer=rows, stream=stream, **fields))))

    def backward(self, rows, workspace, stream=None, **fields):
        """Computes the gradient from the statistics of a run: fields are those of xent_backward_args."""
        args = workspace.given(BackwardArgs(outer=rows, stream=stream, **fields))
        check(library().xent_backward(self.handle, args))


class Workspace:
    """Scratch memory on the device of a plan, for runs of up to so many rows."""

    def __init__(self, plan, rows):
        self.memory = ctypes.POINTER(WorkspaceMemory)()
        check(library().xent_workspace_create(plan.handle, rows, self.memory))

    def __del__(self):
        if self.memory:
            library().xent_workspace_destroy(self.memory)

    def given(self, args):
        args.workspace, args.workspace_size = self.memory.contents.data, self.memory.contents.size
        return args
