"""Samples per pass that a device's memory has room for, and what to do where it has not."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

CPU_PIXELS_PER_PASS = 16 * 192 * 256
"""Pixels per pass on a CPU: its caches hold no more, and more is not faster."""
OUT_OF_MEMORY_PHRASES = (
    "DefaultCPUAllocator",
    "out of memory",
    "ALLOC_FAILED",
    "ALLOCATION_FAILED",
)
"""What errors of torch, CUDA, cuBLAS and cuDNN say where memory does not suffice."""
BYTES_PER_SAVED_BYTE = 3
"""Bytes that a pass needs, per byte that it keeps for the backward pass."""


def batch_size(network: nn.Module, run: Callable[[Tensor], Tensor], sample: Tensor) -> int:
    """Return how many samples can be run forward and backward at a time.

    On a CPU this depends on the size of a sample only. On a GPU it is the largest power of two
    that half of the free memory has room for.

    Args:
        network: what `run` runs; its weights are not counted.
        run: forward pass.
        sample: (1, 3, h, w), on the device.
    """
    area = sample.shape[-2] * sample.shape[-1]
    if sample.device.type != "cuda":
        return max(1, CPU_PIXELS_PER_PASS // area)
    return samples_that_fit(
        BYTES_PER_SAVED_BYTE * saved_tensor_bytes(network, run, sample), sample.device
    )


def samples_that_fit(needed: int, device: torch.device) -> int:
    """Return the largest power of two of samples for half of a GPU's free memory, at least 1.

    Args:
        needed: bytes per sample.
        device: a CUDA device.
    """
    return 1 << max(0, (free_device_bytes(device) // 2 // needed).bit_length() - 1)


def saved_tensor_bytes(network: nn.Module, run: Callable[[Tensor], Tensor], sample: Tensor) -> int:
    """Return the bytes that the forward pass of one sample keeps for its backward pass.

    The sample itself counts, the network's weights do not.

    >>> relu = nn.ReLU()
    >>> saved_tensor_bytes(relu, relu, torch.ones(1, 3, 4, 4))
    384
    """
    weights = {t.data_ptr() for t in [*network.parameters(), *network.buffers()]}
    copy = sample.clone().requires_grad_()
    kept = {copy.data_ptr(): copy.nbytes}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        run(copy)
    return sum(size for place, size in kept.items() if place not in weights)


def free_device_bytes(device: torch.device) -> int:
    """Return the free memory of a CUDA device, with what torch holds there unused."""
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + unused


def is_out_of_memory(error: Exception) -> bool:
    """Tell a lack of memory, of a GPU's or the machine's, from other errors of torch.

    >>> is_out_of_memory(RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"))
    True
    """
    named = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return named or any(words in str(error) for words in OUT_OF_MEMORY_PHRASES)


def run_in_batches(count: int, size: int, run: Callable[[slice], None]) -> int:
    """Run over `count` samples in batches; where memory does not suffice, in smaller ones.

    Args:
        count: how many samples there are.
        size: samples per batch, to begin with.
        run: does one batch; where it fails for lack of memory it must have changed nothing.

    Returns:
        The samples per batch at the end.

    Raises:
        RuntimeError: memory does not suffice for one sample; the error is torch's.
    """
    start = 0
    while start < count:
        try:
            run(slice(start, min(start + size, count)))
            start += size
            continue
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or size == 1:
                raise
        size = max(1, size // 2)  # outside the handler, which holds on to the failed batch
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return size
