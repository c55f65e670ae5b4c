import pytest
import torch
from torch import nn
from torchvision.models import vgg16

from deepsal.rf import memory
from deepsal.rf.memory import batch_size, is_out_of_memory, run_in_batches, saved_tensor_bytes


@pytest.mark.parametrize("room", [1, 3, 8, 99])
def test_what_does_not_fit_is_run_in_halves_and_nothing_twice(room: int) -> None:
    done: list[int] = []

    def run(part: slice) -> None:
        if part.stop - part.start > room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        done.extend(range(part.start, part.stop))

    assert run_in_batches(21, 16, run) <= max(room, 1)
    assert done == list(range(21))


def test_memory_for_less_than_one_sample_and_other_errors_are_raised() -> None:
    def scarce(part: slice) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    def broken(part: slice) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(torch.OutOfMemoryError):
        run_in_batches(4, 4, scarce)
    with pytest.raises(RuntimeError, match="shapes"):
        run_in_batches(4, 4, broken)
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: not enough memory"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes do not match"))


def test_what_a_pass_keeps_is_counted_without_the_weights() -> None:
    relu, image = nn.ReLU(), torch.ones(1, 3, 8, 8)
    chain = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), relu).requires_grad_(False)
    output = 4 * 8 * 8 * 4
    assert saved_tensor_bytes(chain, chain, image) == image.nbytes + output
    network = vgg16(weights=None).features[:16].requires_grad_(False)
    one = saved_tensor_bytes(network, network, torch.rand(1, 3, 32, 32))
    assert saved_tensor_bytes(network, network, torch.rand(1, 3, 64, 64)) == 4 * one


def test_batches_follow_the_free_memory_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()).requires_grad_(False)
    needed = memory.BYTES_PER_SAVED_BYTE * saved_tensor_bytes(chain, chain, torch.ones(1, 3, 8, 8))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: needed)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 0)
    for free, expected in ((79 * needed, 32), (0, 1)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 0))
        assert memory.samples_that_fit(needed, torch.device("cuda")) == expected
    assert batch_size(chain, chain, torch.ones(1, 3, 192, 256)) == 16
