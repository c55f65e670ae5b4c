from pathlib import Path

from deepsal.runs import run_text
from deepsal.runs.run_list import list_runs
from tests.runs.support import write_small_run


def test_a_list_has_80_columns_and_whole_names(tmp_path: Path) -> None:
    long = tmp_path / ("long-" * 20 + "name")
    words = {"loss": {"name": "kl_cc_nss"}, "finetune": {"name": "conv4"}, "control": "other_task"}
    write_small_run(tmp_path / "a", nss=2.5, hour=1)
    write_small_run(long, "failed: ValueError: " + "because " * 30, hour=2, seed=12345, **words)
    lines = run_text.run_lines(list_runs([tmp_path]), "nss")
    assert lines[0] == str(tmp_path / "a")
    assert lines[1].split()[:5] == ["done", "nss", "2.500", "test", "osie"]
    assert str(long) in lines
    others = [line for line in lines if not line.startswith(str(tmp_path))]
    assert max(map(len, others)) <= 80
    assert "seed=12345" in " ".join(others)
    assert lines[-1].startswith("  ValueError: because")
    assert lines[-1].endswith("…")


def option_lines(lines: list[str]) -> list[str]:
    return [line.strip() for line in lines if line.startswith("    ")]


def test_a_list_has_only_options_that_a_command_line_set(tmp_path: Path) -> None:
    network = {"name": "saliency", "backbone": {"name": "alexnet"}}
    write_small_run(tmp_path / "trained", hour=1, data={"name": "popout"}, network=network)
    write_small_run(tmp_path / "baseline", hour=3, network={"name": "human"})
    write_small_run(tmp_path / "longer", hour=4, trainer={"name": "long", "max_epochs": 9})
    folder = write_small_run(
        tmp_path / "test",
        hour=2,
        do=["test"],
        ckpt=str(tmp_path / "trained" / "checkpoints" / "best.ckpt"),
        network=network,
        optim={"lr": 0.004},
        finetune={"name": "all"},
        data={"name": "popout", "dataset": {"data_dir": {"data_dir": "/data"}}},
        tested={"name": "osie"},
        trained={"seed": 3, "dataset": "pop-out"},
    )
    (folder / "overrides.txt").write_text("do=[test]\nckpt=trained\ndata@tested=osie\n")
    assert option_lines(run_text.run_lines(list_runs([tmp_path]), "nss")) == [
        "network=saliency",
        "do=[test] ckpt=trained",
        "network=human",
        "trainer=long",
    ]


def test_the_options_of_a_run_are_two_lines_of_whole_words(tmp_path: Path) -> None:
    options = {f"long_option_{number}": "of-some-value" for number in range(20)}
    write_small_run(tmp_path / "a", path="x" * 200)
    write_small_run(tmp_path / "b", hour=2, **options)
    lines = run_text.run_lines(list_runs([tmp_path]), "nss")
    path, *words = option_lines(lines)
    assert len(words) == 2
    assert path.endswith("x…")
    assert " ".join(words).endswith("of-some-value …")
    assert {*" ".join(words).split()} - {"…"} <= {f"{k}={v}" for k, v in options.items()}
    assert all(len(line) <= 80 for line in lines if line.startswith(" "))


def test_without_a_recorded_command_line_all_options_that_differ_are_listed(tmp_path: Path) -> None:
    for seed in (0, 1):
        (write_small_run(tmp_path / str(seed), seed=seed) / "overrides.txt").unlink()
    assert option_lines(run_text.run_lines(list_runs([tmp_path]), "nss")) == ["seed=0", "seed=1"]


def test_a_run_is_described_with_options_intervals_commit_and_checkpoints(tmp_path: Path) -> None:
    folder = write_small_run(tmp_path / "a", nss=2.5, val=3.0, seed=1, loss="kl")
    (record,) = list_runs([folder])
    text = "\n".join(run_text.description_lines(record))
    for phrase in (
        "  options    seed=1 loss=kl",
        "  commit     abcdef0123 with changes",
        "  time       2026-11-26T01:00:00+00:00, took",
        "NSS               2.500  [2.400, 2.600]  test",
        "KL                0.250  val",
        "best.ckpt               2.0 kB",
    ):
        assert phrase in text
    about = run_text.describe_run(record)
    assert about["commit"] == "abcdef0123456789"
    assert about["overrides"] == ["seed=1", "loss=kl"]
    assert about["scores"]["nss"]["high"] == 2.6
    assert about["checkpoints"][0]["bytes"] == 2000


def test_a_run_without_any_record_is_described(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("failed: OSError: no space\n")
    (record,) = list_runs([tmp_path])
    text = "\n".join(run_text.description_lines(record))
    assert "  state      failed: OSError: no space" in text
    assert "  commit     unknown" in text


def test_runs_to_remove_are_listed_with_their_size(tmp_path: Path) -> None:
    folder = write_small_run(tmp_path / "a")
    name, facts = run_text.removal_lines(list_runs([folder]))
    assert name == str(folder)
    assert "kB" in facts
    assert facts.endswith("has a checkpoint")


def test_an_age_is_never_negative() -> None:
    assert run_text.format_age(-5.0) == "0 s"
    assert run_text.format_age(3600.0) == "1 h"
