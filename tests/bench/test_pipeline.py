from tests.bench.pipeline import pipeline_rate, step_rate


def test_both_rates_are_measured_on_a_small_case() -> None:
    case = "resnet18", (32, 32), 2, "cpu"
    assert step_rate(*case, steps=1) > 0
    for cached in (False, True):
        assert pipeline_rate(*case, device_cache=cached, epochs=2) > 0
