"""A worker without Optuna takes it from the environment of training, and nothing else of it."""

from pathlib import Path

from infra.training.optimiser import BORROWED, _Lender


def test_what_lies_beside_the_borrowed_packages_stays_out_of_sight(tmp_path: Path) -> None:
    for name in (*BORROWED, "trl"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    lender = _Lender([str(tmp_path)])
    found = [lender.find_spec(name, None) for name in BORROWED]
    assert [spec and spec.origin for spec in found] == [str(tmp_path / name / "__init__.py") for name in BORROWED]
    assert lender.find_spec("trl", None) is None
