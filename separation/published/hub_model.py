"""Models on the Hugging Face hub: save_pretrained, from_pretrained, and publishing a checkpoint folder."""

from __future__ import annotations

import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, ModelCard, ModelHubMixin

from ..api import Model, load
from ..storage.checkpoint import CHECKPOINT, ENCODER_FOLDER, read_config
from ..storage.model_card import named, with_header
from ..storage.results import Results
from .reader import convert_to_folder
from .transfer import DownloadError, explained

PARTS = ("config.json", "model.safetensors", "README.md")


class HubModel(ModelHubMixin, Model):
    """A Model with the methods of huggingface_hub's ModelHubMixin.

    What is saved is the checkpoint that the model was read from: its networks may have been rewritten for
    use since.
    """

    @classmethod
    def of(cls, model: Model) -> HubModel:
        return cls(model.separator, model.encoder, model.name, model.fingerprint, model.source)

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        # The mixin begins by deleting config.json, which may be another model's.
        Results(Path(save_directory), CHECKPOINT, shared=True).claim(*PARTS)
        address: str | None = super().save_pretrained(save_directory, **options)
        return address

    def _save_pretrained(self, save_directory: Path) -> None:
        if self.source is None:
            raise ValueError(
                "this model was made of parts and not loaded: write it with "
                "qsep.separation.storage.checkpoint.save_checkpoint"
            )
        with tempfile.TemporaryDirectory() as scratch:
            folder = self.source
            if folder.is_file():
                folder = Path(scratch) / "converted"
                convert_to_folder(self.source, folder)
            copy_checkpoint(folder, save_directory)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        device: str = "auto",
        runtime: str = "torch",
        precision: str = "fp32",
        **options: Any,
    ) -> HubModel:
        """model_id: a folder or a released file, for `Model.from_pretrained` has found it by then. The
        other options are those of the mixin's own download, which has nothing to do."""
        return cls.of(load(model_id, device, runtime, precision))

    def generate_model_card(self, *arguments: Any, **options: Any) -> ModelCard:
        """The checkpoint's own card."""
        if self.source is None or not (self.source / "README.md").is_file():
            return ModelCard(with_header("# A model of qsep\n", licence=""))
        return ModelCard((self.source / "README.md").read_text("utf-8"))

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Publish as ORG/NAME; options: private, commit_message, token, branch. Returns the address."""
        with tempfile.TemporaryDirectory() as scratch:
            self._save_pretrained(Path(scratch))
            allowed = ("private", "commit_message", "token", "branch")
            return push(Path(scratch), repo_id, **{k: options[k] for k in allowed if k in options})


def copy_checkpoint(source: Path, target: Path) -> None:
    """The files of a checkpoint into a folder, which keeps what else it holds.

    Raises ValueError if one would take the place of a file that is none of an earlier checkpoint.
    """
    read_config(source)  # refuses what is none
    names = [name for name in PARTS if (source / name).is_file()]
    inner = source / ENCODER_FOLDER
    names += [
        path.relative_to(source).as_posix() for path in sorted(inner.rglob("*")) if path.is_file()
    ]
    results = Results(target, CHECKPOINT, shared=True)
    results.claim(*names)
    for name in names:
        results.write(name, partial(shutil.copyfile, source / name))


def push(
    folder: Path,
    name: str,
    private: bool | None = None,
    commit_message: str = "A checkpoint of qsep",
    token: str | None = None,
    branch: str | None = None,
) -> str:
    """Publish a checkpoint folder as ORG/NAME on the hub; returns the address of the commit.

    Sent are the checkpoint's parts alone, its card with the hub's header; no state of a training.
    """
    config = read_config(folder)
    if name.count("/") != 1:
        raise ValueError(f"{name!r}: the hub's names are ORG/NAME, as my-group/street-sounds")
    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as scratch:
        copy_checkpoint(folder, Path(scratch))
        card = Path(scratch) / "README.md"
        body = card.read_text("utf-8") if card.is_file() else f"# {name}\n"
        licence = str(config.get("provenance", {}).get("licence", ""))
        card.write_text(named(with_header(body, licence), name), "utf-8")
        try:
            api.create_repo(name, private=private, exist_ok=True)
            done = api.upload_folder(
                repo_id=name,
                folder_path=scratch,
                allow_patterns=[*PARTS, f"{ENCODER_FOLDER}/*"],
                commit_message=commit_message,
                revision=branch,
            )
        except Exception as error:  # whatever the libraries under it raise
            reason = explained(error, name, f"https://huggingface.co/{name}")
            raise DownloadError(f"not published: {reason}") from error
    return str(getattr(done, "commit_url", done))
