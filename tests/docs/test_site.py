"""The documentation site leaves no public name out, and its links lead where those of the repository lead."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

pytest.importorskip("griffe", reason="the tools of the documentation site are not installed: make venv")

ROOT = Path(__file__).resolve().parents[2]


def loaded() -> ModuleType:
    """What the site does beside MkDocs, as a module of its own."""
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs" / "site_hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    """It, on this package: reading that takes seconds."""
    return loaded()


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The same on a small package of its own, with a page of reference."""
    module = loaded()
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "PACKAGE", "planted")
    monkeypatch.setattr(module, "public_names", lambda: ["planted.Shop"])
    (tmp_path / "planted").mkdir()
    (tmp_path / "docs" / "reference").mkdir(parents=True)
    return module


def plant(root: Path, *, page: str = "::: planted.Shop\n", shop: str) -> None:
    """Write the package and its page."""
    (root / "docs" / "reference" / "shop.md").write_text(page)
    (root / "planted" / "shop.py").write_text(shop)
    (root / "planted" / "__init__.py").write_text('"""Planted."""\nfrom planted.shop import Shop as Shop\n')


DESCRIBED = '''
class Shop:
    """A shop.

    Args:
        name: Of the shop.

    Attributes:
        open: Whether it is.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.open = True

    def sell(self) -> None:
        """Sell."""

    def _count(self) -> None: ...
'''


@pytest.mark.slow
def test_the_reference_holds_every_public_name(hooks: ModuleType) -> None:
    """What `fds_mlflow` exports is in the Python reference, and has a docstring, and so do all its public members."""
    assert hooks.problems() == []


def test_a_class_that_is_described_has_no_problems(planted: ModuleType, tmp_path: Path) -> None:
    """A field may be described in the class's lists of arguments and attributes; private members need nothing."""
    plant(tmp_path, shop=DESCRIBED)
    assert planted.problems() == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"""Sell."""', "...", "planted.Shop.sell is public and has no docstring"),
        ("open: Whether it is.", "closed: Whether it is.", "planted.Shop.open is public and has no docstring"),
        ("self.name = name", "self.code = name", "planted.Shop.code is public and has no docstring"),
    ],
)
def test_a_member_without_a_description_is_found(
    planted: ModuleType, tmp_path: Path, old: str, new: str, problem: str
) -> None:
    """A public method or field that nobody described fails the build, by name."""
    plant(tmp_path, shop=DESCRIBED.replace(old, new))
    assert planted.problems() == [problem]


def test_a_name_that_is_in_no_page_or_nowhere_is_found(planted: ModuleType, tmp_path: Path) -> None:
    """A public name that the reference leaves out fails the build, and so does a name that has moved away."""
    plant(tmp_path, page="::: planted.shop.Stall\n", shop=DESCRIBED)
    assert planted.problems() == [
        "planted.Shop is public: add `::: planted.Shop` to docs/reference/",
        "planted.shop.Stall is in docs/reference/ and does not exist",
    ]


@pytest.mark.parametrize(
    ("link", "page", "expected"),
    [
        ("docs/plans.md#guardrails", "README.md", "plans.md#guardrails"),
        ("CHANGELOG.md", "README.md", "CHANGELOG.md"),
        ("README.md", "CONTRIBUTING.md", "index.md"),
        ("../README.md", "docs/cli.md", "index.md"),
        ("plans.md", "docs/cli.md", "plans.md"),
        ("../../SECURITY.md", "docs/decisions/index.md", "../SECURITY.md"),
        ("../plans.md#guardrails", "docs/decisions/index.md", "../plans.md#guardrails"),
        ("#here", "README.md", "#here"),
        ("/absolute.md", "README.md", "/absolute.md"),
        ("https://mlflow.org/docs/x.md", "README.md", "https://mlflow.org/docs/x.md"),
    ],
)
def test_a_link_leads_to_the_same_page(hooks: ModuleType, link: str, page: str, expected: str) -> None:
    """A link that works in the repository works on the site; fenced code is left alone."""
    root = not page.startswith("docs/")
    where = hooks.HOME.get(page, page.removeprefix("docs/"))
    file = SimpleNamespace(src_uri=where, generated_by="hooks" if root else None)
    code = f"\n```\n[code]({link})\n```\n"
    text = f"See [it]({link}).{code}"
    assert hooks.on_page_markdown(text, page=SimpleNamespace(file=file)) == f"See [it]({expected}).{code}"


def test_the_site_fetches_nothing() -> None:
    """The pages use no fonts, scripts or styles of other hosts."""
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "font: false" in settings
    assert "://" not in settings
    assert "://" not in (ROOT / "docs" / "site.css").read_text(encoding="utf-8")
