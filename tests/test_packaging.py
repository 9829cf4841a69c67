"""Contents of the wheel and the source archive, and consistency of README, CI, doctor and package metadata."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import embedctl
from embedctl.commands.doctor import REQUIRED_PACKAGES

ROOT = Path(embedctl.__file__).parent.parent
NAME = f"embedctl-{embedctl.__version__}"
MARKS = ("ci: use", "ci: develop")
pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="no checkout")


def files_of(folder: str) -> set[str]:
    """Return the files of a folder of the checkout."""
    paths = (path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file())
    return {path.as_posix() for path in paths if "__pycache__" not in path.parts}


def build(kind: str, root: Path, folder: Path) -> Path:
    """Build a `wheel` or an `sdist` of a source tree, without a network or an isolated environment."""
    if kind == "wheel":
        from hatchling.builders.wheel import WheelBuilder as Builder
    else:
        from hatchling.builders.sdist import SdistBuilder as Builder
    return Path(next(iter(Builder(str(root)).build(directory=str(folder), versions=["standard"]))))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


def names_in_wheel(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_contains_only_the_package_and_its_data(wheel):
    inside = files_of("embedctl") | {f"embedctl/{name}" for name in files_of("example_data") | files_of("config")}
    info = {f"{NAME}.dist-info/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt")}
    assert names_in_wheel(wheel) == inside | info | {f"{NAME}.dist-info/licenses/LICENSE"}
    assert len(files_of("example_data")) > 5
    assert "config/default_fsdp.yaml" in files_of("config")


def test_the_source_archive_contains_the_files_for_development(sdist, wheel, tmp_path):
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    root = tmp_path / NAME
    for name in ("README.md", "README.zh.md", "LICENSE", "constraints.txt", "pyproject.toml", ".ci/run"):
        assert (root / name).is_file(), name
    for folder in ("embedctl", "example_data", "config", "docs", "tests"):
        assert {name for name in files_of(folder) if not (root / name).is_file()} == set()
    assert names_in_wheel(build("wheel", root, tmp_path / "second")) == names_in_wheel(wheel)


def test_an_installed_wheel_finds_its_own_files(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "from embedctl import config, resources\n"
        "print(resources.example_data('train.json'), resources.config_file('train.yaml'), config.TINY)"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        check=True,
    )
    inside = tmp_path / "site/embedctl"
    # In a wheel, the folder embedctl/config contains the modules of embedctl.config and the shipped files.
    shipped = [str(inside / name) for name in ("example_data/train.json", "config/train.yaml")]
    assert outcome.stdout.split() == [*shipped, "tiny"]


def test_doctor_requires_the_declared_versions():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {need.name: need.specifier for need in map(Requirement, project["dependencies"])}
    for package, (_module, oldest) in REQUIRED_PACKAGES.items():
        assert str(declared[package]) == f">={oldest}"


def test_the_constraint_is_a_supported_version_of_torch():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pinned = Requirement(lines[0])
    assert pinned.name == "torch"
    assert Version(str(pinned.specifier).removeprefix("==")) >= Version(REQUIRED_PACKAGES["torch"][1])


def marked_commands(readme: str) -> list[str]:
    """Return the code block after each mark of the CI script."""
    text = (ROOT / readme).read_text(encoding="utf-8")
    return [text.split(f"<!-- {mark} -->")[1].split("```")[1].partition("\n")[2].strip() for mark in MARKS]


def test_both_readmes_have_the_same_two_commands_for_ci():
    commands = marked_commands("README.md")
    assert commands == marked_commands("README.zh.md")
    assert all(command for command in commands)
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert all(f'"{mark}"' in script for mark in MARKS)
    assert os.access(ROOT / ".ci/run", os.X_OK)
