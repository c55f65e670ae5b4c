import json
import re
from pathlib import Path

import pytest

from deepsal.report.page import field_data, run_page
from deepsal.rf import store
from deepsal.runs import score_files
from tests.report.support import (
    CLAIM_ROW,
    HOSTILE_NAME,
    POWER_ROW,
    write_fields,
    write_noise_checkpoints,
    write_run,
)


def test_one_file_shows_everything_and_asks_for_nothing(tmp_path: Path) -> None:
    file = run_page.write_run_page(write_run(tmp_path / "run"))
    text = file.read_text()
    assert file == tmp_path / "run" / "report.html"
    parts = re.findall(r'<section id="(\w+)"', text)
    assert parts == ["scores", "fields", "claims", "training", "predictions", "options"]
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    assert "url(http" not in text
    assert "default-src &#39;none&#39;" in text or "default-src 'none'" in text
    assert text.count('class="unit"') == 8
    assert "<b>2.000</b>" in text
    assert "not reliable from conv3 on" in text.split('id="fields"')[1].split("</section>")[0]
    claims = text.split('id="claims"')[1].split("</section>")[0]
    for shown in ("seen with power", "0.95", "shuffled_fixations", "0.91", "0.02"):
        assert shown in claims
    assert not list((tmp_path / "run").glob(".report*")), "nothing half-written stays"


@pytest.mark.parametrize(
    ("row", "said", "unsaid"),
    [
        (
            {"claim": "P5", "measure": "own unit", "background": ""},
            ["units that prefer their own pattern;"],
            ["noise", "eliability", "rule calls", "similarity", "p: of a difference"],
        ),
        (
            {"claim": "P4", "measure": "spread", "background": "", "p": 0.5},
            ["widths of patterns", "p: of a difference"],
            ["noise", "eliability", "rule calls", "similarity"],
        ),
        (
            {"claim": "P1", "measure": "similarity", "background": "grey"},
            ["noise on grey.", "a similarity is corrected for noise", "Reliability: median"],
            ["natural images", "rule calls", "power of the rule", "their own pattern"],
        ),
        (
            {"claim": "P3", "measure": "found", "background": "natural"},
            ["noise on natural images.", "rule calls", "power of the rule"],
            ["on grey", "a similarity is corrected"],
        ),
    ],
)
def test_the_claims_speak_of_what_was_measured(
    tmp_path: Path, row: dict[str, object], said: list[str], unsaid: list[str]
) -> None:
    folder = write_run(tmp_path / "run")
    network = {**POWER_ROW, "background": row["background"]}
    networks = {"P1": [{**network, "found": None, "rule": None}], "P3": [network]}
    verdict = {"rows": [{**CLAIM_ROW, **row}], "networks": networks.get(str(row["claim"]), [])}
    (folder / "verdict.json").write_text(json.dumps(verdict))
    text = run_page.write_run_page(folder).read_text()
    claims = text.split('id="claims"')[1].split("</section>")[0]
    claims = re.sub(r'src="data:[^"]*"', "", claims)
    for words in said:
        assert words in claims
    for words in unsaid:
        assert words not in claims


def test_hostile_names_are_text(tmp_path: Path) -> None:
    text = run_page.write_run_page(write_run(tmp_path / "run", HOSTILE_NAME)).read_text()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text
    assert "{{ 7*7 }}" in text
    assert text.count("<script") == 2, "the data and the code"


def test_the_scripts_data_are_what_was_stored(tmp_path: Path) -> None:
    text = run_page.write_run_page(write_run(tmp_path / "run")).read_text()
    match = re.search(r'id="data">(.*?)</script>', text, re.S)
    assert match
    data = json.loads(match.group(1))
    assert data["checkpoints"] == ["epoch 0", "epoch 1", "epoch 2"]
    stage = data["stages"][0]
    assert stage["units"] == [0, 1, 2, 3]
    assert stage["peak"][0][3] is None, "the dead unit"
    assert len(stage["measures"]["csi"]) == 3
    assert max(max(map(abs, unit)) for row in stage["profile"]["y"] for unit in row[:3]) == 1.0
    disks = stage["size_tuning"]["disks"]
    assert disks["x"] == [1, 3, 9]
    assert disks["y"][0][0] == [0.25, 1, 0.25]
    assert stage["size_tuning"]["gratings"]["y"][0][0] == [0.5, 1, 0.5]
    assert next(iter(data["measures"])) == "correlation"


def test_a_page_shrinks_its_pictures_until_it_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_run(tmp_path / "run")
    whole = run_page.write_run_page(folder).stat().st_size
    monkeypatch.setattr(run_page, "SPRITE_CELL_SIDES", (9, 5, 2))
    monkeypatch.setattr(run_page, "MAX_PAGE_BYTES", whole - 200)
    assert run_page.write_run_page(folder).stat().st_size <= whole - 200


def test_what_a_run_does_not_have_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("name: bare\n")
    text = run_page.write_run_page(tmp_path).read_text()
    assert re.findall(r'<section id="(\w+)"', text) == ["options"]
    assert "<script" not in text
    with pytest.raises(FileNotFoundError, match="no run folder"):
        run_page.write_run_page(tmp_path / "nowhere")


def test_baselines_scored_alike_are_rows_below_the_run(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "runs" / "own")
    rows = [{"name": str(i), "nss": 1.25} for i in range(3)]
    for place, name, data in [
        ("runs/a", "itti", "data of a run"),
        ("runs/b", "human", "other data"),
        ("runs/c", "centre", "data of a run"),
        ("far", "human", "data of a run"),
    ]:
        (tmp_path / place).mkdir()
        score_files.write_scores(tmp_path / place, rows, data)
        config = {"name": name, "network": {"name": name}}
        (tmp_path / place / "config.yaml").write_text(json.dumps(config))
    assert [*run_page.baseline_scores(folder)] == ["itti"]
    text = run_page.write_run_page(folder, [tmp_path / "far"]).read_text()
    assert re.findall(r'<th scope="row">(\w+)</th>', text)[:4] == ["run", "centre", "itti", "human"]
    assert "<b>1.250</b>" in text
    assert "AUC-Borji" not in text, "nobody was scored by it"
    with pytest.raises(ValueError, match="b was not scored as"):
        run_page.write_run_page(folder, [tmp_path / "runs" / "b"])


@pytest.mark.parametrize("damage", ["{", '{"scores": 1, ', "\0"])
def test_an_unreadable_neighbour_is_a_warning(damage: str, tmp_path: Path) -> None:
    folder, other = write_run(tmp_path / "own"), write_run(tmp_path / "other")
    (other / "config.yaml").write_text("network: {name: itti}\nname: itti")
    text = (folder / "scores.json").read_text().replace('"scores": {', '"other": {')
    (other / "scores.json").write_text(text.replace("{", damage, 1))
    with pytest.warns(UserWarning, match="other is unreadable and left out"):
        assert run_page.baseline_scores(folder) == {}


def test_fields_measured_with_noise_have_their_reliability(tmp_path: Path) -> None:
    write_noise_checkpoints(tmp_path)
    text = run_page.write_run_page(tmp_path).read_text()
    section = text.split('id="fields"')[1].split("</section>")[0]
    assert "noise on natural images" in section
    assert "A field below .5 is faded" in section
    assert "not reliable from conv3 on" not in section
    assert "512 pairs of noise images" in section
    match = re.search(r'id="data">(.*?)</script>', text, re.S)
    assert match
    (stage,) = json.loads(match.group(1))["stages"]
    assert stage["units"] == [0, 1, 2, 3], "the watched ones"
    of = stage["reliability"]
    assert of["short"] == [[".97", ".80", ".40", "-.02"]] * 2
    assert of["faded"] == [[False, False, True, True]] * 2
    assert of["words"][0][2] == "unreliable: 512 pairs; about 6,900 needed (reliability .40)"
    assert stage["measures"]["reliability"][1] == [0.97, 0.8, 0.4, -0.02]


def test_gradients_have_their_reliability_over_patches(tmp_path: Path) -> None:
    write_fields(tmp_path, stages=("conv1",), epochs=1)
    text = run_page.write_run_page(tmp_path).read_text()
    assert "2 patches</small>" in text
    (stage,) = field_data.read_stage_fields(tmp_path)
    of = run_page.stage_as_json(stage, 32)["reliability"]
    assert of["short"][0] == [".95", ".80", ".20", "unknown"]
    assert of["faded"][0] == [False, False, True, False]
    assert of["words"][0][2] == "unreliable: 2 patches; about 72 needed (reliability .20)"


def test_a_checkpoint_without_fields_is_named_with_the_reason(tmp_path: Path) -> None:
    write_fields(tmp_path, stages=("conv1",), epochs=1)
    store.mark_missing(tmp_path / "fields", "epoch=004", "conv3 gives <values>")
    text = run_page.write_run_page(tmp_path).read_text()
    assert "<b>No receptive fields of epoch 004:</b> conv3 gives &lt;values&gt;." in text
