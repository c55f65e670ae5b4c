"""Batch sizes that fit a device's memory, and smaller ones after a failure."""

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
"""Phrases in errors of torch, CUDA, cuBLAS and cuDNN for a lack of memory."""
BYTES_PER_SAVED_BYTE = 3
"""Bytes that a pass needs, per byte that it saves for the backward pass."""


def batch_size(network: nn.Module, run: Callable[[Tensor], Tensor], sample: Tensor) -> int:
    """Return the number of samples to run forward and backward at a time.

    On a CPU this depends on the size of a sample only. On a GPU it is the largest power of two
    that fits half of the free memory.

    Args:
        network: the module that `run` runs; its weights are not counted.
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
        device: a CUDA device; bytes that torch has reserved but not used count as free.
    """
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = int(torch.cuda.mem_get_info(device)[0]) + unused
    return 1 << max(0, (free // 2 // needed).bit_length() - 1)


def saved_tensor_bytes(network: nn.Module, run: Callable[[Tensor], Tensor], sample: Tensor) -> int:
    """Return the bytes that the forward pass of one sample saves for its backward pass.

    The sample itself counts, the network's weights do not.

    >>> relu = nn.ReLU()
    >>> saved_tensor_bytes(relu, relu, torch.ones(1, 3, 4, 4))
    384
    """
    weights = {t.data_ptr() for t in [*network.parameters(), *network.buffers()]}
    copy = sample.clone().requires_grad_()
    saved = {copy.data_ptr(): copy.nbytes}

    def record(tensor: Tensor) -> Tensor:
        saved[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(record, lambda t: t):
        run(copy)
    return sum(size for address, size in saved.items() if address not in weights)


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error is a lack of memory, of a GPU or of the machine.

    >>> is_out_of_memory(RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"))
    True
    """
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        phrase in str(error) for phrase in OUT_OF_MEMORY_PHRASES
    )


def run_in_batches(count: int, size: int, run: Callable[[slice], None]) -> int:
    """Run over `count` samples in batches, and in smaller ones after a lack of memory.

    Args:
        count: number of samples.
        size: samples per batch at the start.
        run: runs one batch; if it fails for lack of memory it must have changed nothing.

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
