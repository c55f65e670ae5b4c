import pytest
import torch

from tests.conftest import datamodule


@pytest.mark.parametrize("workers", [0, 2])
def test_a_cut_epoch_goes_on_with_its_next_batch(workers: int) -> None:
    torch.manual_seed(0)
    data = datamodule((16, 1, 1), workers)
    loader = data.train_dataloader()
    batches = iter(loader)
    for _ in range(3):
        next(batches)
    between, expected = torch.get_rng_state(), next(batches).image
    assert loader.began is not None
    data.taken = loader.began, 3
    torch.manual_seed(1)
    taken = data.train_dataloader()
    torch.set_rng_state(between)
    (rest,) = (batch.image for batch in taken)
    assert torch.equal(rest, expected)
    assert taken.began is not None
    assert torch.equal(taken.began, loader.began), "it may be cut again"
    assert len([*taken]) == 4, "the next epoch is whole"
    assert data.train_dataloader().taken is None
