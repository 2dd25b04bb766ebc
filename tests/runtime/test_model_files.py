"""One digest over a model's files: whatever is changed about them changes it; what MLflow writes itself does not."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.errors import DataError
from fds_mlflow.runtime import model_files
from tests.support.effort import at_most

NAMES = st.text(st.characters(categories=("L", "N", "P", "S"), exclude_characters="/\\"), min_size=1, max_size=12)
FILES = st.dictionaries(
    NAMES.filter(lambda name: name not in {".", "..", "__pycache__", *model_files.LEFT_OUT}),
    st.binary(max_size=40),
    min_size=1,
    max_size=5,
)


def put(folder: Path, files: Mapping[str, bytes]) -> Path:
    """A folder with these files, half of them in a folder inside."""
    shutil.rmtree(folder, ignore_errors=True)
    for place, (name, content) in enumerate(files.items()):
        path = folder / ("inner" if place % 2 else ".") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@at_most(60)
@given(files=FILES, data=st.data())
def test_any_change_changes_it(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes], data: st.DataObject
) -> None:
    """A bit more, a bit less, another name, a file more or less: the digest is another one, and else the same."""
    folder = put(tmp_path_factory.getbasetemp() / "changed", files)
    before = model_files.digest(folder)
    assert model_files.digest(put(folder, dict(reversed(list(files.items()))) if len(files) < 2 else files)) == before
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    path = data.draw(st.sampled_from(paths))
    content = path.read_bytes()
    how = data.draw(st.sampled_from(["more", "less", "other", "gone", "renamed", "added", "moved"]))
    if how == "more":
        path.write_bytes(content + b"\0")
    elif how == "less" and content:
        path.write_bytes(content[:-1])
    elif how == "other" and content:
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    elif how == "gone":
        path.unlink()
    elif how == "renamed":
        path.rename(path.with_name("renamed to"))
    elif how == "moved":
        (folder / "another").mkdir()
        path.rename(folder / "another" / path.name)
    else:
        (folder / "one more").write_bytes(b"")
    assert model_files.digest(folder) != before


@at_most(40)
@given(files=FILES)
def test_a_copy_has_the_same(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]) -> None:
    """What is copied is what was looked at: the copy, its digest, and the digest that copying gives are one."""
    base = tmp_path_factory.getbasetemp()
    folder, copy = put(base / "copied from", files), base / "copied to"
    shutil.rmtree(copy, ignore_errors=True)
    assert model_files.copied(folder, copy) == model_files.digest(folder) == model_files.digest(copy)


def test_what_mlflow_and_python_write_does_not_count(tmp_path: Path) -> None:
    """Loading a model by its registered name, or running its code, leaves files behind; they are not read either."""
    folder = put(tmp_path / "model", {"MLmodel": b"flavors: {}", "code.py": b"1"})
    before = model_files.digest(folder)
    (folder / "registered_model_meta").write_text("model_name: fraud")
    (folder / "inner" / "__pycache__").mkdir()
    (folder / "inner" / "__pycache__" / "code.cpython-311.pyc").write_bytes(b"\0")
    assert model_files.digest(folder) == before
    assert model_files.copied(folder, tmp_path / "copy") == before
    assert sorted(path.name for path in (tmp_path / "copy").rglob("*")) == ["MLmodel", "code.py", "inner"]
    (folder / "inner" / "registered_model_meta").write_text("deeper it is a file like any other")
    assert model_files.digest(folder) != before


def test_a_person_can_check_it(tmp_path: Path) -> None:
    """The command in docs/security.md gives the same digest."""
    folder = put(tmp_path / "model", {"MLmodel": b"a", "b c": b"d", "ä": b"", "0": b"x" * 3_000_000})
    (folder / "registered_model_meta").write_text("model_name: fraud")
    documented = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")
    (command,) = [line for line in documented.splitlines() if line.strip().startswith("find ")]
    said = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, check=True, text=True)
    assert f"sha256:{said.stdout.split()[0]}" == model_files.digest(folder)


def test_a_link_to_a_file_stands_for_it_and_nothing_else_is_followed(tmp_path: Path) -> None:
    """A link counts by what it leads to; links to folders, pipes and devices are refused before they are read."""
    folder = put(tmp_path / "model", {"MLmodel": b"a"})
    (tmp_path / "elsewhere").write_bytes(b"b")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    before = model_files.digest(folder)
    (tmp_path / "elsewhere").write_bytes(b"c")
    assert model_files.digest(folder) != before
    for number, make in enumerate(
        (lambda place: place.symlink_to("/dev/zero"), lambda place: place.symlink_to(tmp_path), os.mkfifo)
    ):
        place = folder / f"odd {number}"
        make(place)
        for read in (lambda: model_files.digest(folder), lambda: model_files.copied(folder, tmp_path / "to")):
            with pytest.raises(DataError, match=f"odd {number}.*neither a file nor a folder"):
                read()
        place.unlink()


def test_a_file_that_claims_more_than_fits_is_not_copied(tmp_path: Path) -> None:
    """A file with holes takes no room where it is, and would fill the disk of whoever copies it."""
    folder = put(tmp_path / "model", {"MLmodel": b"a", "holes": b""})
    os.truncate(folder / "inner" / "holes", 1 << 42)
    with pytest.raises(DataError, match=r"4,398,046,511,105 bytes.*are free") as caught:
        model_files.copied(folder, tmp_path / "copy")
    assert "TMPDIR" in caught.value.fix


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    """A folder that is missing, and a name that no list can hold, are errors that say so."""
    with pytest.raises(DataError, match="cannot be read"):
        model_files.digest(tmp_path / "nowhere")
    folder = put(tmp_path / "model", {"line\nbreak": b""})
    with pytest.raises(DataError, match="line break"):
        model_files.digest(folder)
