from pathlib import Path

from deepsal.sweeps import optuna_search


def test_only_a_search_that_goes_on_has_new_names(tmp_path: Path) -> None:
    given = ["-m", "hydra/sweeper=search", f"hydra.sweep.dir={tmp_path}"]
    assert optuna_search.trial_folder_prefix(given) == ""
    for number in range(3):
        (tmp_path / f"{number}-a").mkdir()
        (tmp_path / f"{number}-a" / "config.yaml").touch()
    assert optuna_search.trial_folder_prefix(given) == "after3-"
    assert (
        optuna_search.trial_folder_prefix([given[0], given[2]]) == ""
    )  # a grid skips what is done


def test_an_unknown_metric_is_left_to_the_run_to_refuse() -> None:
    assert optuna_search.optuna_direction("val/bleu") == "maximize"


def test_the_folder_of_the_database_exists_before_the_search_opens_it(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "search"
    assert optuna_search.optuna_storage(str(folder)) == f"sqlite:///{folder}/optuna.db"
    assert folder.is_dir()
