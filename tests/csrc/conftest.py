"""The ops with their CUDA kernels, compiled for the CPU: see host_cuda/cuda_runtime.h."""

import sys
import warnings

import pytest
import torch

from uner3d.ops import _native, _views

from host_cuda_build import build  # isort: skip

OPS = ("composite", "fuse_views", "patch_match", "patch_ncc", "sample_views", "view_weights")


@pytest.fixture(scope="session")
def host_cuda_module(tmp_path_factory):
    return build(tmp_path_factory.mktemp("host_cuda"))


@pytest.fixture(scope="module")
def host_cuda(host_cuda_module):
    """Sends CPU tensors to the CUDA implementations of the ops, and these to the kernels compiled for the host."""
    python = {name: sys.modules[f"uner3d.ops.{name}"] for name in OPS}
    library = torch.library.Library("uner3d", "IMPL")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that kernels are overridden is the point
        patch.setattr(_native, "cuda", host_cuda_module)
        patch.setattr(_views, "cuda_stream", lambda like: (0, 0))
        for name, source in python.items():
            if hasattr(source, "cuda_stream"):
                patch.setattr(source, "cuda_stream", lambda like: (0, 0))
            library.impl(name, source._cuda, "CPU", allow_override=True)
            if hasattr(source, "_backward_cuda"):
                library.impl(f"{name}_backward", source._backward_cuda, "CPU", allow_override=True)
        yield host_cuda_module
        library._destroy()
