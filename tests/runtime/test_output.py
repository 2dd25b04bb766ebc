"""An output has a place, takes nothing away that it is made of, and replaces what was there whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from fds_mlflow.errors import ConfigError, RefusedError
from fds_mlflow.runtime.output import put, require_folder, require_place


def test_an_output_is_no_input(tmp_path: Path) -> None:
    """Neither the same path however it is written, nor one in the other; beside it, and hidden in it, is fine."""
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(folder)
    for target, source in (
        (folder, folder),
        (tmp_path / "link" / "x", folder),
        (folder / "deep" / "x", str(folder)),
        (folder, folder / "deep" / "x"),
    ):
        with pytest.raises(RefusedError, match="is the input"):
            require_place(target, source)
    for target in (tmp_path / "input", folder / "_made", folder / ".made" / "x", tmp_path / "in.parquet"):
        target.parent.mkdir(exist_ok=True)
        require_place(target, folder)
    require_place(folder, "sqlite:///fraud.db")
    with pytest.raises(ConfigError, match="no folder"):
        require_place(tmp_path / "not" / "there", folder)


@pytest.mark.parametrize("before", ["nothing", "a file", "a folder"])
def test_what_was_there_goes_aside(tmp_path: Path, before: str) -> None:
    """What is complete takes the place of a file or of a folder that is not empty."""
    made, target, aside = (tmp_path / name for name in ("made", "target", "aside"))
    made.mkdir()
    (made / "new").touch()
    if before == "a file":
        target.touch()
    elif before == "a folder":
        target.mkdir()
        (target / "old").touch()
    put(made, target, aside)
    assert [path.name for path in target.iterdir()] == ["new"]
    assert aside.exists() == (before != "nothing")


@pytest.mark.parametrize(
    ("names", "is_output"),
    [
        ((), True),
        (("part-000000000000000.parquet",), True),
        (("_SUCCESS", "._SUCCESS.crc", "part-0-a.snappy.parquet", ".part-0-a.snappy.parquet.crc"), True),
        (("_SUCCESS", "notes.txt"), False),
        (("_SUCCESS", "day=1/part-0.parquet"), False),
        (("part-0.parquet/x",), False),
        ((".git",), False),
    ],
)
def test_only_a_folder_of_an_output_is_replaced_by_one(tmp_path: Path, names: tuple[str, ...], is_output: bool) -> None:
    """Rows, the mark that all are there and their checksums may go; what anybody else put there stays."""
    target = tmp_path / "out"
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).touch()
    target.mkdir(exist_ok=True)
    if is_output:
        require_folder(target, "in.parquet")
    else:
        with pytest.raises(RefusedError, match="no folder of Parquet files that was written as an output"):
            require_folder(target, "in.parquet")
