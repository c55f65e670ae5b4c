from deepsal.rf.claims.change_rules import field_similarities
from tests.rf.claims.support import network, noisy_blocks, planted


def test_noise_is_taken_out_of_a_similarity_and_its_ceiling_is_stated() -> None:
    fields = planted(["gaussian", "0.9"] * 6, 0)
    one, other = (network({"conv5": noisy_blocks(fields, seed, 0.1)}) for seed in (1, 2))
    of = field_similarities([one], [other], "conv5/natural")
    assert of.ceiling.max() < 0.8
    interval = of.median().interval
    assert interval.low < 1 < interval.high
    assert interval.count == 12
