"""WavCaps (Mei et al. 2023): json_files/PART/*_final.json with id and caption, and recordings ID.flac in
folders named by part: AudioSet_SL, BBC_Sound_Effects, FreeSound and SoundBible. All are train.

The setting parts names the parts to read, separated by commas. Recordings in two of the publisher's
blacklists are left out: the test sets of AudioCaps and Clotho, and UrbanSound8K, ESC-50 and VGGSound, on
which AudioSep is evaluated. The third blacklist, all of AudioCaps and Clotho, can be given with --exclude.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qsep.evaluation.items.published import choose
from qsep.queries.files.json_files import json_content

from ..listing import Listed, Listing
from ..overlaps import read_origins
from ..tree import Tree

LISTS = {
    "AudioSet_SL": "as_final.json",
    "BBC_Sound_Effects": "bbc_final.json",
    "FreeSound": "fsd_final.json",
    "SoundBible": "sb_final.json",
}
ORIGINS = {"BBC_Sound_Effects": "bbc", "FreeSound": "freesound", "SoundBible": "soundbible"}
SHARED = {"AudioSet_SL", "FreeSound"}  # parts with recordings that other data sets share
BLACKLISTS = (
    ("blacklist_exclude_test_ac.json",),
    ("blacklist_exclude_ub8k_esc50_vggsound.json", "blacklist_exclude_ubs8k_esc50_vggsound.json"),
)


def read(tree: Tree, parts: str = "") -> Listing:
    """See sources. parts: keys of LISTS, separated by commas; default: those whose lists are present."""
    chosen = [choose("parts", part, tuple(LISTS)) for part in parts.split(",") if part]
    lists = {part: path for part, name in LISTS.items() if (path := tree.find_list(name))}
    wanted = chosen or list(lists)
    for part in wanted or LISTS:
        tree.need_list(LISTS[part])
    clips = [listed(part, item, lists[part]) for part in wanted for item in read_items(lists[part])]
    excluded: dict[str, str] = {}
    for names in BLACKLISTS if SHARED.intersection(wanted) else ():
        blacklist = tree.need_list(*names)
        excluded |= dict.fromkeys(read_origins(blacklist), f"named in {blacklist.name}")
    return Listing(clips, excluded, tuple(LISTS.keys() - set(wanted)))


def read_items(path: Path) -> list[dict[str, Any]]:
    """The items of a JSON list; ValueError if it is not one."""
    try:
        items: list[dict[str, Any]] = json_content(path)["data"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected data with id and caption each ({error!r})") from error
    return items


def listed(part: str, item: dict[str, Any], path: Path) -> Listed:
    """The entry of an item. Ids of AudioSet are file names, YID.wav; those of Freesound may be numbers."""
    try:
        name, caption = str(item["id"]), str(item["caption"]).strip()
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected data with id and caption each ({error!r})") from error
    if part == "AudioSet_SL":
        name = name.removesuffix(".wav").removeprefix("Y")
        return Listed("train", name, (caption,), f"youtube:{name}", part=part)
    return Listed("train", name, (caption,), f"{ORIGINS[part]}:{name}", part=part)
