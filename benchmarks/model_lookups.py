"""The contenders of `model_inspection`: `python -m benchmarks.model_lookups {ours|peer} URL REPOSITORY ROUNDS`.

Prints the seconds of every lookup as JSON. Ours makes its connections anew for every lookup, as they are made for each
caller's token; the peer keeps its own, as it does by itself. It fetches what it takes to tell what the model is: the
repository with its files' sizes, its `config.json`, and the headers of its weights.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import Callable, Mapping
from time import perf_counter

from huggingface_hub import HfApi, constants

from mistudio_hub.lookup import HubLookup
from mistudio_models.service.hub_source import find_on_hub
from mistudio_models.service.selection import EVERYTHING


def _ours(url: str, repo_id: str) -> None:
    asyncio.run(_find(url, repo_id))


async def _find(url: str, repo_id: str) -> None:
    async with HubLookup(url, find_on_hub) as hub:
        await hub.find("", repo_id, "", EVERYTHING)


def _peer(url: str, repo_id: str) -> None:
    hub = HfApi(endpoint=url, token=False)
    found = hub.model_info(repo_id, files_metadata=True)
    hub.hf_hub_download(repo_id, "config.json", revision=found.sha)
    hub.get_safetensors_metadata(repo_id, revision=found.sha)


_CONTENDERS: Mapping[str, Callable[[str, str], None]] = {"ours": _ours, "peer": _peer}


def _seconds(contender: str, url: str, repo_id: str) -> float:
    shutil.rmtree(constants.HF_HUB_CACHE, ignore_errors=True)
    begun = perf_counter()
    _CONTENDERS[contender](url, repo_id)
    return perf_counter() - begun


if __name__ == "__main__":
    print(json.dumps([_seconds(*sys.argv[1:4]) for _ in range(int(sys.argv[4]))]))
