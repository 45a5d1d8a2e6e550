"""Published models by name: downloaded and converted once, then read from the cache."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import Run, names, record
from local_hub import Fault, LocalHub, local_hub, use
from released import Release
from released_clapsep import release_into, small_clap  # noqa: F401
from released_flowsep import original_flowsep, releaser, small_text_folder  # noqa: F401
from released_resunet30 import (  # noqa: F401
    audiosep,
    stub_clap,
    uss,
)
from tiny import noise, weights_of

from qsep.separation.api import Model, load
from qsep.separation.published.download import local_copy
from qsep.separation.published.installed import get_model, is_local, models_folder
from qsep.separation.published.reader import load_published
from qsep.separation.published.registry import REGISTRY, PublishedFile, published_models
from qsep.separation.published.removal import remove_model
from qsep.separation.published.transfer import DownloadError
from qsep.separation.storage.checkpoint import load_checkpoint
from qsep.separation.storage.model_card import licence_of
from qsep.separation.storage.results import LISTING


@pytest.fixture
def clapsep(tmp_path: Path, clap: dict[str, torch.Tensor]) -> Release:
    return release_into(tmp_path, clap)


@pytest.fixture
def registry(tmp_path: Path) -> str:
    """A registry in which uss has no hash: a tiny checkpoint cannot have the published one."""
    (table,) = re.findall(
        r"^\[uss\]\n.*?(?=^\[)", REGISTRY.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    path = tmp_path / "registry.toml"
    path.write_text(re.sub(r', sha256 = "\w+"', "", table), "utf-8")
    return str(path)


@pytest.fixture(name="hub")
def hub_for_this_process(
    tmp_path: Path, registry: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LocalHub]:
    monkeypatch.setenv("QSEP_REGISTRY", registry)
    with local_hub() as hub:
        use(hub, tmp_path / "caches", monkeypatch)
        yield hub


def path_of(file: PublishedFile) -> str:
    if file.zenodo:
        return f"/records/{file.zenodo}/files/{file.file}"
    return (
        f"{'/spaces' if file.space else ''}/{file.repository}/resolve/{file.revision}/{file.file}"
    )


def packed(weights: Any, folder: Path) -> bytes:
    """As Lightning writes a checkpoint."""
    path = folder / "packed.ckpt"
    torch.save({"epoch": 3, "pytorch-lightning_version": "1.9.1", "state_dict": weights}, path)
    return path.read_bytes()


def publish(hub: LocalHub, name: str, content: bytes) -> str:
    """Its first file, and whatever its encoder needs; returns the file's path."""
    model = published_models()[name]
    for need in model.needs:
        for item in need.files:
            hub.put(f"/{need.hub}/resolve/main/{item}", f"{item} of {need.hub}".encode())
    path = path_of(model.files[0])
    hub.put(path, content)
    return path


def test_a_name_is_enough_from_the_first_use_on(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = publish(hub, "uss", packed(uss(), tmp_path))
    recording = noise(1, 16000).numpy()
    assert not is_local(published_models()["uss"])
    first = load("uss", "cpu")
    assert (first.name, first.separator.sample_rate) == ("uss", 16000)
    assert is_local(published_models()["uss"])
    assert len(hub.gets(path)) == 1
    hub.seen.clear()
    again = load("uss", "cpu")
    assert hub.seen == []  # no request
    results = [model.separate(recording, "Speech", 16000).target for model in (first, again)]
    np.testing.assert_array_equal(results[0], results[1])
    assert np.abs(results[0]).max() > 1e-4


def test_concurrent_loads_download_and_convert_once(hub: LocalHub, tmp_path: Path) -> None:
    path = publish(hub, "uss", packed(uss(), tmp_path))
    with ThreadPoolExecutor(4) as pool:
        folders = {*pool.map(get_model, ["uss"] * 4)}
    assert folders == {models_folder() / "uss"}
    assert len(hub.gets(path)) == 1
    (converted,) = models_folder().iterdir()
    assert load_checkpoint(converted)[2]["provenance"]["published"] == "uss"


def test_the_converted_model_is_a_checkpoint_folder_with_its_card(
    hub: LocalHub, tmp_path: Path
) -> None:
    publish(hub, "uss", packed(uss(), tmp_path))
    folder = get_model("uss")
    assert folder == models_folder() / "uss"
    expected = {"README.md", "config.json", "model.safetensors", "encoder/cnn14.safetensors"}
    assert names(folder) - {LISTING} == expected
    assert [path.name for path in models_folder().iterdir()] == ["uss"]  # no scratch left
    card = (folder / "README.md").read_text()
    assert licence_of(card) == "apache-2.0"
    assert "arXiv 2305.07447" in card
    assert "## Use" in card
    assert "library_name: qsep" in card
    provenance = load_checkpoint(folder)[2]["provenance"]
    assert (provenance["published"], provenance["licence"]) == ("uss", "Apache-2.0")


def test_an_encoder_beside_is_fetched_only_where_the_checkpoint_lacks_it(
    hub: LocalHub, tmp_path: Path
) -> None:
    """The panns entry has a hash, which a tiny tagger cannot have: it is requested, and refused."""
    weights = {key: value for key, value in uss().items() if not key.startswith("query_net")}
    publish(hub, "uss", packed(weights, tmp_path))
    tagger = path_of(published_models()["panns"].files[0])
    hub.put(tagger, b"x" * 3000)
    with pytest.raises(DownloadError, match=r"Cnn14_mAP=0\.431\.pth: SHA-256 is "):
        load("uss", "cpu")
    assert len(hub.gets(tagger)) == 1
    assert not is_local(published_models()["uss"])


def test_zenodos_checkpoint_and_its_tokenizer_come_by_one_name(
    hub: LocalHub, tmp_path: Path
) -> None:
    path = publish(hub, "dcase2024-baseline", packed(audiosep(), tmp_path))
    model = load("dcase2024-baseline", "cpu")
    assert (model.name, model.separator.sample_rate) == ("dcase2024-baseline", 16000)
    assert len(hub.gets(path)) == 1
    tokenizer = {
        item.path for item in hub.seen if item.path.startswith("/roberta-base/resolve/main")
    }
    assert {name.rsplit("/", 1)[1] for name in tokenizer} == {
        *published_models()["dcase2024-baseline"].needs[0].files
    }


def test_flowsep_comes_by_its_name(hub: LocalHub, release: Any) -> None:
    path = publish(hub, "flowsep", release().read_bytes())
    separator, _, config = load_checkpoint(get_model("flowsep"))
    assert config["separator"]["kind"] == "flowsep"
    assert separator.config.unet.channels == (32, 64)
    assert len(hub.gets(path)) == 1
    # The vae is in the first.
    assert hub.gets(path_of(published_models()["flowsep"].files[1])) == []


def test_clapsep_comes_by_its_name_from_a_space(
    hub: LocalHub, clapsep: Release, tmp_path: Path
) -> None:
    """Its space has the checkpoint with the CLAP of its queries in it: LAION's file is not fetched."""
    path = publish(hub, "clapsep", clapsep().read_bytes())
    separator, _, config = load_checkpoint(get_model("clapsep"))
    assert config["separator"]["kind"] == "clapsep"
    expected = weights_of(load_published(tmp_path / "best_model.ckpt")[0])
    weights = weights_of(separator)
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[key], value) for key, value in expected.items())
    assert len(hub.gets(path)) == 1
    assert hub.gets(path_of(published_models()["laion-clap-music"].files[0])) == []


@pytest.mark.parametrize(
    "fault", [Fault(status=500), Fault(cut_after=500), Fault(content=b"x" * 9)]
)
def test_a_download_that_fails_leaves_no_model(fault: Fault, hub: LocalHub, tmp_path: Path) -> None:
    path = publish(hub, "uss", packed(uss(), tmp_path))
    hub.faults[path] = fault
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z"):
        load("uss", "cpu")
    assert not models_folder().exists() or list(models_folder().iterdir()) == []
    del hub.faults[path]
    assert load("uss", "cpu").name == "uss"


def test_a_file_that_is_no_checkpoint_leaves_no_model(hub: LocalHub) -> None:
    publish(hub, "uss", b"<html>" * 1000)
    with pytest.raises(ValueError, match=r"\A[^\n]*cannot be read as weights alone[^\n]*\Z"):
        load("uss", "cpu")
    assert not models_folder().exists() or list(models_folder().iterdir()) == []


def test_what_is_unconfirmed_is_said_before_the_download_and_where_the_conversion_fails(
    qsep: Run,
    hub: LocalHub,
    registry: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    doubt = "that its weights have USS's names"
    doubtful = tmp_path / "doubtful.toml"
    doubtful.write_text(
        Path(registry).read_text().replace("[uss]\n", f'[uss]\nunconfirmed = "{doubt}"\n')
    )
    monkeypatch.setenv("QSEP_REGISTRY", str(doubtful))
    assert f"unconfirmed: {doubt}" in qsep("models", "info", "uss").out.splitlines()
    path = publish(hub, "uss", packed({"other": torch.ones(1)}, tmp_path))
    failed = qsep("models", "get", "uss")
    assert failed.code == 2
    assert caplog.messages[1] == f"uss: unconfirmed: {doubt}"
    assert failed.err.endswith(
        f"not the weights of a system that qsep can convert (unconfirmed before: {doubt})\n"
    )
    assert not models_folder().exists()
    assert {item.path for item in hub.seen} == {path}  # the encoder beside it is not fetched


def test_a_model_fetched_by_hand_is_taken_from_its_folder(
    qsep: Run, hub: LocalHub, tmp_path: Path
) -> None:
    failed = qsep("separate", record(tmp_path / "a.wav"), "-q", "rain", "-m", "clipsep-nit")
    assert failed.code == 2
    assert "open https://drive.google.com/" in failed.error
    assert "run 'qsep models get clipsep-nit --from FOLDER'" in failed.error
    (tmp_path / "empty").mkdir()
    failed = qsep("models", "get", "clipsep-nit", "--from", tmp_path / "empty")
    assert (
        "best_model.pt: cannot be downloaded automatically; open https://drive.google.com/"
        in failed.error
    )
    assert "the source of best_model.pt, train-args.json could not be confirmed" in failed.error
    assert qsep("models", "get", "uss", "--from", tmp_path / "none").code == 2


def test_get_prints_files_origins_and_licences(
    qsep: Run, hub: LocalHub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish(hub, "uss", packed(uss(), tmp_path))
    done = qsep("models", "get", "uss")
    assert done.code == 0, done.err
    assert done.out == f"uss: {models_folder() / 'uss'}\n"
    assert caplog.messages == [
        "uss: fetching 1.1 GB from https://huggingface.co/RSNuts/Universal_Source_Separation "
        "(Apache-2.0)"
    ]
    again = qsep("models", "get", "uss")
    assert (again.out, again.err) == (done.out, "")


def test_the_list_shows_queries_size_licence_and_whether_it_is_downloaded(
    qsep: Run, hub: LocalHub, tmp_path: Path
) -> None:
    publish(hub, "uss", packed(uss(), tmp_path))
    get_model("uss")
    hub.seen.clear()
    rows = qsep("models", "list").out.splitlines()
    assert rows[0].split() == ["name", "here", "size", "licence", "knows"]
    shown = {row.split()[0]: row for row in rows[1:]}
    assert shown["sounds21"].split()[1:3] == ["yes", "8"]
    assert shown["flow-small"].split()[1:4] == ["yes", "0.7", "MB"]
    assert shown["sounds21"].endswith("21 kinds of sound")
    assert shown["audiosep-hive"].split()[1:5] == ["no", "1.3", "GB", "Apache-2.0"]
    assert shown["uss"].split()[1] == "yes"
    published = json.loads(qsep("models", "list", "--published", "--json").out)
    assert [item["name"] for item in published] == list(published_models())
    assert {item["name"] for item in published if item["here"]} == {"uss"}
    assert hub.seen == []


def test_info_describes_a_published_model_without_downloading_it(qsep: Run, hub: LocalHub) -> None:
    done = qsep("models", "info", "audiosep-hive")
    assert done.code == 0, done.err
    for fact in (
        "audiosep-hive: AudioSep, 32000 Hz, 1.3 GB to download",
        "licence: Apache-2.0",
        "arXiv 2601.22599",
        "SHA-256: a13fff5fa4ece1a8bc13e42e1c7b8d90e21603075302ca89e4339c9471973300",
        "of roberta-base on the Hugging Face hub",
        "not downloaded: 'qsep models get audiosep-hive' fetches it",
    ):
        assert fact in done.out
    doubtful = qsep("models", "info", "flowsep").out
    assert "file: vae.ckpt from https://zenodo.org/records/13869712" in doubtful
    assert "(unconfirmed)" in doubtful
    assert json.loads(qsep("models", "info", "clipsep-nit", "--json").out)["here"] is None
    assert hub.seen == []


@pytest.mark.slow
def test_a_fresh_process_fetches_and_the_next_needs_no_network(
    tmp_path: Path, registry: str
) -> None:
    """By what users set alone: HF_ENDPOINT, HF_HOME, HF_HUB_OFFLINE, QSEP_CACHE."""
    recording = record(tmp_path / "in.wav")
    settings = os.environ | {
        "HF_HOME": str(tmp_path / "home"),
        "QSEP_CACHE": str(tmp_path / "cache"),
        "QSEP_REGISTRY": registry,
    }
    command = [sys.executable, "-m", "qsep.recipes", "separate", str(recording), "-q", "Speech"]
    command += ["-m", "uss", "--overwrite", "-o", str(tmp_path / "out")]
    with local_hub() as hub:
        path = publish(hub, "uss", packed(uss(), tmp_path))
        settings["HF_ENDPOINT"] = hub.address
        done = subprocess.run(command, env=settings, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert len(hub.gets(path)) == 1
    first = (tmp_path / "out" / "in.speech.wav").read_bytes()
    settings["HF_HUB_OFFLINE"] = "1"
    done = subprocess.run(command, env=settings, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out" / "in.speech.wav").read_bytes() == first
    assert (tmp_path / "home" / "hub").is_dir()
    assert (tmp_path / "cache" / "models" / "uss" / "config.json").is_file()


def test_a_loaded_model_is_a_model(hub: LocalHub, tmp_path: Path) -> None:
    publish(hub, "uss", packed(uss(), tmp_path))
    actual = Model.from_pretrained("uss", device="cpu")
    assert (actual.name, actual.source) == ("uss", models_folder() / "uss")


@pytest.mark.parametrize("name", ["uss", "dcase2024-baseline"])  # on the hub, and on Zenodo
def test_remove_deletes_a_model_and_its_download(
    qsep: Run, hub: LocalHub, tmp_path: Path, name: str
) -> None:
    weights = uss() if name == "uss" else audiosep()
    path = publish(hub, name, packed(weights, tmp_path))
    folder = get_model(name)
    download = local_copy(published_models()[name].files[0])
    assert download is not None
    size = download.stat().st_size + sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    assert remove_model(name) == size
    assert not folder.exists()
    assert not download.exists()
    assert not download.resolve().exists()
    assert f"{name} is not downloaded" in qsep("models", "remove", name).error
    assert get_model(name) == folder
    assert len(hub.gets(path)) == 2
    done = qsep("models", "remove", name)
    assert (done.code, done.out.startswith(f"{name}: removed, ")) == (0, True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sounds150", "sounds150 comes with the package: it is not removed"),
        ("uss", "uss is not downloaded"),
        ("nope", "nope is not downloaded: 'qsep models list' shows which models are"),
        ("org/name", "org/name is not downloaded"),
    ],
)
def test_remove_refuses_what_is_not_downloaded(
    qsep: Run, hub: LocalHub, name: str, message: str
) -> None:
    done = qsep("models", "remove", name)
    assert (done.code, done.error) == (2, message)
    assert hub.seen == []
