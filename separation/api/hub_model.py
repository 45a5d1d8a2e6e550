"""Models on the Hugging Face hub: save_pretrained, from_pretrained, and publishing a checkpoint folder."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, ModelCard, ModelHubMixin

from ..published.reader import convert_to_folder
from ..published.transfer import DownloadError, explained
from ..storage.checkpoint import CHECKPOINT
from ..storage.config import ENCODER_FOLDER, encoder_owner, read_config, shared_weights
from ..storage.model_card import named, with_header
from ..storage.results import Results
from ..storage.temporary import scratch_folder
from ..storage.weights import stored_weights, write_weights
from .loading import load
from .model import Model

PARTS = ("config.json", "model.safetensors", "README.md")


class HubModel(ModelHubMixin, Model):
    """A Model with the methods of huggingface_hub's ModelHubMixin.

    It saves the checkpoint from which the model was loaded, since the networks may have been rewritten
    for inference.
    """

    @classmethod
    def of(cls, model: Model) -> HubModel:
        """A copy of the model as a HubModel."""
        return cls(model.separator, model.encoder, model.name, model.fingerprint, model.source)

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Writes the checkpoint into a folder, and with push_to_hub=True publishes it; returns the
        address then.

        ValueError if a file of another model would be overwritten.
        """
        # The mixin first deletes config.json, which may be another model's.
        Results(Path(save_directory), CHECKPOINT, shared=True).claim(*PARTS)
        address: str | None = super().save_pretrained(save_directory, **options)
        return address

    def _save_pretrained(self, save_directory: Path) -> None:
        if self.source is None:
            raise ValueError(
                "this model was not loaded from a checkpoint: write it with "
                "qsep.separation.storage.checkpoint.save_checkpoint"
            )
        with scratch_folder() as scratch:
            folder = self.source
            if folder.is_file():
                folder = scratch / "converted"
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
        """model_id: a folder or a released file, already located by `Model.from_pretrained`. The other
        options concern the mixin's own download, which is not used."""
        return cls.of(load(model_id, device, runtime, precision))

    def generate_model_card(self, *arguments: Any, **options: Any) -> ModelCard:
        """The checkpoint's own card."""
        if self.source is None or not (self.source / "README.md").is_file():
            return ModelCard(with_header("# A model of qsep\n", licence=""))
        return ModelCard((self.source / "README.md").read_text("utf-8"))

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Publishes the checkpoint as ORG/NAME and returns the commit's address. options: private,
        commit_message, token, branch."""
        with scratch_folder() as scratch:
            self._save_pretrained(scratch)
            allowed = ("private", "commit_message", "token", "branch")
            return push(scratch, repo_id, **{k: options[k] for k in allowed if k in options})


def copy_checkpoint(source: Path, target: Path) -> None:
    """Copies a checkpoint's files into a folder, where other files are kept.

    ValueError if `source` is no checkpoint, or if a file would be overwritten that is not part of an
    earlier one.
    """
    owner = encoder_owner(source, read_config(source))
    if shared_weights(source) or owner != source:  # elsewhere it needs all of its weights and files
        with scratch_folder() as scratch:
            whole = Path(shutil.copytree(source, scratch / source.name))
            if shared_weights(source):
                write_weights(whole, stored_weights(source))
            if owner != source and (owner / ENCODER_FOLDER).is_dir():
                shutil.copytree(owner / ENCODER_FOLDER, whole / ENCODER_FOLDER)
            return copy_checkpoint(whole, target)
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
    """Publishes a checkpoint folder as ORG/NAME on the hub; returns the commit's address.

    Only the checkpoint's parts are sent, with the hub's header on the card, and no training state.
    ValueError for a wrong name, DownloadError if the hub refuses.
    """
    config = read_config(folder)
    if name.count("/") != 1:
        raise ValueError(f"{name!r}: the hub's names are ORG/NAME, as my-group/street-sounds")
    api = HfApi(token=token)
    with scratch_folder() as scratch:
        copy_checkpoint(folder, scratch)
        card = scratch / "README.md"
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
        except Exception as error:  # of huggingface_hub or the HTTP library below it
            reason = explained(error, name, f"https://huggingface.co/{name}")
            raise DownloadError(f"not published: {reason}") from error
    return str(getattr(done, "commit_url", done))
