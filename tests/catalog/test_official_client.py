"""The stand-in is a Hub to the official client too, so what is proven against it holds for the real one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hub_standin import TOKEN, StandInHub
from lerobot_files import contents

from worldflux.catalog.importer import bring

huggingface_hub = pytest.importorskip("huggingface_hub", "2.4")


@pytest.fixture
def api(hub: StandInHub, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    return huggingface_hub.HfApi(endpoint=hub.url, token=False)


def test_snapshot_and_import_agree(
    hub: StandInHub, act: dict[str, bytes], api: object, tmp_path: Path
) -> None:
    """The official snapshot of a repo and our import hold the same files, byte for byte."""
    hub.page = 3
    hub.add("me/act", act)
    folder = api.snapshot_download("me/act", cache_dir=tmp_path / "cache")  # type: ignore[attr-defined]
    assert contents(Path(folder)) == act == contents(bring("lerobot:me/act", home=tmp_path).folder)


def test_info_refs_and_listing(hub: StandInHub, pusht: dict[str, bytes], api: object) -> None:
    """Commit, tags and sizes are read by the official client as by ours."""
    repo = hub.add("me/pusht", pusht, "dataset", refs={"v3.0": ""}, card={"license": "mit"})
    info = api.dataset_info("me/pusht", revision="v3.0")  # type: ignore[attr-defined]
    assert info.sha == repo.commit and "license:mit" in info.tags
    refs = api.list_repo_refs("me/pusht", repo_type="dataset")  # type: ignore[attr-defined]
    assert [tag.name for tag in refs.tags] == ["v3.0"]
    tree = api.list_repo_tree("me/pusht", repo_type="dataset", recursive=True)  # type: ignore[attr-defined]
    assert {item.path: item.size for item in tree} == {path: len(data) for path, data in pusht.items()}


def test_refusals_have_the_types_of_the_official_client(
    hub: StandInHub, act: dict[str, bytes], api: object, tmp_path: Path
) -> None:
    """Gated, missing repo, missing revision and missing file are what the official client takes them for."""
    errors = huggingface_hub.errors
    hub.add("me/act", act)
    hub.add("me/gated", act, gated=True)
    download = api.hf_hub_download  # type: ignore[attr-defined]
    with pytest.raises(errors.RepositoryNotFoundError):
        api.model_info("me/nothing")  # type: ignore[attr-defined]
    with pytest.raises(errors.RevisionNotFoundError):
        api.model_info("me/act", revision="nothing")  # type: ignore[attr-defined]
    with pytest.raises(errors.EntryNotFoundError):
        download("me/act", "nothing", cache_dir=tmp_path)
    with pytest.raises(errors.GatedRepoError):
        download("me/gated", "config.json", cache_dir=tmp_path)
    path = download("me/gated", "model.safetensors", cache_dir=tmp_path, token=TOKEN)
    assert Path(path).read_bytes() == act["model.safetensors"]
    stores = [request.authorization for request in hub.requests if request.host == "store"]
    assert stores == [None]
