"""What is installed is what the repository holds, pinned, and tied to no machine or host."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from repository import ROOT

FOLDERS = ["evaluation", "qsep", "queries", "recipes", "separation"]
PINNED = ["main", "serve", "test"]
NOT_SHIPPED = {".pyc", ".pt", ".tmp"}  # caches, optimiser states, unfinished files
# The light way of installing takes less than 200 MB, of which code, also others', needs 160: docs/export.md.
MAX_DATA_BYTES = 38e6
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def shipped_files() -> list[Path]:
    """Every file below the five folders that users should get."""
    return sorted(
        path.relative_to(ROOT)
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.is_file()
        and path.suffix not in NOT_SHIPPED
        and not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
    )


def installed_as(path: Path) -> str:
    """Where a file or folder of the repository lies in the installed package, with slashes."""
    return path.as_posix() if path.parts[0] == "qsep" else f"qsep/{path.as_posix()}"


def pins(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9._-]+)==([^ ]+)", text, re.MULTILINE))


def ranges() -> list[Requirement]:
    extras = PROJECT["project"]["optional-dependencies"].values()
    lines = [*PROJECT["project"]["dependencies"], *(line for extra in extras for line in extra)]
    requirements = [Requirement(line) for line in lines]
    return [item for item in requirements if item.name != PROJECT["project"]["name"]]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from a copy so that the repository stays as it is."""
    copy = tmp_path_factory.mktemp("copy")
    for name in ["pyproject.toml", "README.md", "LICENSE"]:
        shutil.copy(ROOT / name, copy)
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    program = "from setuptools import build_meta; build_meta.build_wheel('dist')"
    done = subprocess.run([sys.executable, "-c", program], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(next((copy / "dist").glob("qsep-*.whl")))


def test_every_folder_of_python_files_is_a_listed_package() -> None:
    folders = {path.parent for path in shipped_files() if path.suffix == ".py"}
    expected = sorted(installed_as(folder).replace("/", ".") for folder in folders)
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == expected


def test_the_wheel_holds_every_file_below_the_five_folders_and_nothing_else(
    wheel: zipfile.ZipFile,
) -> None:
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert packed == {installed_as(path) for path in shipped_files()}


def test_models_and_other_data_leave_the_light_way_below_200_mb(wheel: zipfile.ZipFile) -> None:
    sizes = [item.file_size for item in wheel.infolist() if not item.filename.endswith(".py")]
    assert sum(sizes) < MAX_DATA_BYTES


def test_the_wheel_names_its_licence_and_its_command(wheel: zipfile.ZipFile) -> None:
    (folder,) = {name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    metadata = wheel.read(f"{folder}/METADATA").decode()
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert f"{folder}/licenses/LICENSE" in wheel.namelist()
    entry_points = wheel.read(f"{folder}/entry_points.txt").decode()
    assert "qsep = qsep.recipes.cli.main:main" in entry_points


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_folder_has_py_typed(folder: str) -> None:
    assert (ROOT / folder / "py.typed").is_file()


@pytest.mark.parametrize("name", PINNED)
def test_every_requirement_has_a_pinned_version_and_a_sha256(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    entries = re.split(r"\n(?=[a-z])", re.sub(r"(?m)^ *#.*\n", "", text).strip())
    for entry in entries:
        assert re.match(r"[a-z0-9._-]+==\S+( ;[^\\]+)? \\\n +--hash=sha256:[0-9a-f]{64}", entry)


@pytest.mark.parametrize("name", PINNED)
def test_torch_is_pinned_to_the_release_that_was_tested(name: str) -> None:
    assert pins(name)["torch"] == "2.11.0"
    assert pins(name)["torchaudio"] == "2.11.0"


def test_the_demos_requirements_are_a_subset_of_the_tests() -> None:
    assert pins("main").items() <= pins("test").items()


@pytest.mark.parametrize("requirement", ranges(), ids=str)
def test_the_pinned_version_lies_in_the_declared_range(requirement: Requirement) -> None:
    assert requirement.specifier.contains(pins("test")[canonicalize_name(requirement.name)])


def test_the_main_requirements_are_ranges_and_not_pins() -> None:
    fixed = [line for line in PROJECT["project"]["dependencies"] if "==" in line]
    assert fixed == []


@pytest.mark.parametrize(
    "path",
    [
        "pyproject.toml",
        "Makefile",
        ".ci/run",
        "requirements/constraints.txt",
        *(f"requirements/{name}.txt" for name in PINNED),
    ],
)
def test_no_registry_and_no_local_path_is_named(path: str) -> None:
    text = (ROOT / path).read_text()
    named = re.findall(r"\S*://\S*|\b[\w-]+\.(?:org|com|io|net)\b|--\S*index\S* \S+", text)
    named += re.findall(r"(?<![\w.])/(?:home|root|tmp|work|Users|opt)/\S*", text)
    assert [word for word in named if not word.startswith("--no-emit-index-url")] == []


def test_the_citation_and_the_changelog_have_the_packages_version() -> None:
    version = PROJECT["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == version
