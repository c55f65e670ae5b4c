from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from deepsal.rf.claims.measurements import NetworkMeasurements, PatternMeasurements
from deepsal.rf.claims.rules import ClaimRow
from deepsal.rf.claims.verdict import decide_claims

STAGES = ("conv1", "conv2", "conv3", "conv4", "conv5")
UNITS = 20


def drawn(seed: int, centre_surround: float = 0.0, **more: Any) -> NetworkMeasurements:
    random = np.random.default_rng(seed)

    def field() -> Any:
        return random.normal(size=(UNITS, 3, 7, 7)).astype(np.float32)

    yes = (np.arange(UNITS) < centre_surround * UNITS).astype(float)
    numbers = {m: random.normal(size=UNITS) for m in ("csi", "ssi", "k")}
    return NetworkMeasurements(
        field={stage: field() for stage in STAGES},
        half_fields={},
        measures={stage: {"centre_surround": yes, **numbers} for stage in STAGES},
        activations={stage: random.normal(size=(90, 6)).astype(np.float32) for stage in STAGES},
        weights={f"{s}.weight": torch.tensor(random.normal(size=(2, 2))) for s in STAGES},
        units={stage: [*range(UNITS)] for stage in STAGES},
        **more,
    )


def learnt(before: NetworkMeasurements, share: float, **more: Any) -> NetworkMeasurements:
    """Return what the first three stages kept and the others changed."""
    other = drawn(99, share)
    kept = {s: (before if i < 3 else other).field[s] for i, s in enumerate(STAGES)}
    return replace(other, field=kept, **more)


CONTROLS = {"untrained/0": drawn(5), "untrained/1": drawn(6), "flat_kernels": drawn(7)}


def row(rows: list[ClaimRow], claim: str, stage: str, measure: str) -> ClaimRow:
    (match,) = (r for r in rows if r[:3] == (claim, stage, measure))
    return match


def test_what_hardly_changed_and_what_did_is_told_apart() -> None:
    before = drawn(0)
    rows = decide_claims(before, learnt(before, 0), CONTROLS)
    assert [row(rows, "P1", s, "cosine").outcome for s in STAGES[:3]] == ["supported"] * 3
    assert [row(rows, "P2", s, "cosine").outcome for s in STAGES[3:]] == ["supported"] * 2
    assert row(rows, "P2", "conv5", "cosine").reference == "untrained"
    other = decide_claims(before, drawn(3), CONTROLS)
    assert row(other, "P1", "conv1", "cosine").outcome == "not supported"
    assert (
        row(decide_claims(before, before, CONTROLS), "P2", "conv5", "cosine").outcome
        == "not supported"
    )


def test_displacement_and_cka_inform() -> None:
    before = drawn(0)
    moved = {key: 1.5 * value for key, value in before.weights.items()}
    rows = decide_claims(before, replace(before, weights=moved), CONTROLS)
    assert row(rows, "P1", "conv1", "displacement").effect.estimate == pytest.approx(0.5)
    assert row(rows, "P1", "conv1", "cka").effect.estimate == pytest.approx(1)
    assert row(rows, "P1", "conv1", "cka").outcome == ""


@pytest.mark.parametrize(
    ("before", "after", "control", "outcome"),
    [
        (0.0, 1.0, 0.0, "supported"),
        (0.0, 0.2, 0.0, "not supported"),  # far from all
        (1.0, 1.0, 0.0, "not supported"),  # it was so before
        (0.0, 1.0, 1.0, "not supported"),  # a control is so too
        (0.0, 0.5, 0.0, "undecided"),
    ],
)
def test_centre_surround_needs_most_units_and_more_than_before_and_controls(
    before: float, after: float, control: float, outcome: str
) -> None:
    rows = decide_claims(
        drawn(0, before), drawn(1, after), {**CONTROLS, "shuffled/0": drawn(8, control)}
    )
    decided = row(rows, "P3", "conv5", "centre-surround")
    assert decided.outcome == outcome
    assert decided.effect.estimate == pytest.approx(after)
    assert decided.reference_estimate == max(before, control)


def test_patterns_are_judged_where_all_networks_have_them() -> None:
    patterns = PatternMeasurements(
        units=[*range(UNITS)],
        pattern=np.zeros((UNITS, 3, 2, 2), np.float32),
        spread=np.ones(UNITS),
        reinjected_responses=np.eye(UNITS),
        reference_responses={n: np.ones((UNITS, UNITS)) for n in ("blank", "noise", "scrambled")},
    )
    after = drawn(1, patterns=patterns)
    rows = decide_claims(drawn(0, patterns=patterns), after, CONTROLS)
    assert {r.claim for r in rows} == {"P1", "P2", "P3", "P4", "P5"}
    assert not [r for r in decide_claims(drawn(0), after, CONTROLS) if r.claim in ("P4", "P5")]


def test_p_values_are_adjusted_over_all_measures() -> None:
    before, after = drawn(0), drawn(1)
    raised = {
        s: {m: v + 3 + np.arange(UNITS) for m, v in before.measures[s].items()} for s in STAGES
    }
    rows = decide_claims(before, replace(after, measures=raised), CONTROLS)
    ps = [r.p for r in rows if np.isfinite(r.p)]
    assert len(ps) == 6
    assert row(rows, "P3", "conv5", "csi").p == pytest.approx(6 * 2 / 2**UNITS)


def test_too_few_units_are_undecided() -> None:
    def few(measured: NetworkMeasurements) -> NetworkMeasurements:
        kept = np.where(np.arange(UNITS) < 5, 1, np.nan).astype(np.float32)
        gone = {s: f * kept[:, None, None, None] for s, f in measured.field.items()}
        return replace(measured, field=gone)

    rows = decide_claims(few(drawn(0)), few(drawn(0)), CONTROLS)
    decided = row(rows, "P1", "conv1", "cosine")
    assert decided.outcome == "undecided"
    assert decided.effect.count == 5


def test_measurements_of_other_units_are_refused() -> None:
    other = replace(drawn(1), units={"conv1": [0]})
    with pytest.raises(ValueError, match="'flat_kernels' was measured on other layers or units"):
        decide_claims(drawn(0), drawn(1), {"flat_kernels": other})
    with pytest.raises(ValueError, match="2 networks before and 3 after"):
        decide_claims([drawn(0)] * 2, [drawn(1)] * 3, CONTROLS)
