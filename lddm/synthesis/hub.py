"""Models on the Hugging Face Hub: upload and download with huggingface_hub.

huggingface_hub reads $HF_ENDPOINT and $HF_TOKEN. Only the files of a model package are downloaded, and they are read without
pickle.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lddm.errors import LddmError

HUB = "hf:"
PARTS = ("bundle.json", "autoencoder.safetensors", "generator.safetensors", "MODEL_CARD.md")  # files of a model package
CARD = """---
library_name: lddm
license: {licence}
pipeline_tag: image-to-video
tags: [ultrasound, medical-imaging, synthetic-data, image-to-video]
---
{text}
## Use

```sh
lddm animate still.png --model {hub}{repo}
```
"""


def pull(address: str) -> Path:
    """Download a model; later calls use the cache of huggingface_hub.

    Args:
        address: hf:OWNER/NAME, or hf:OWNER/NAME@REVISION.

    Returns:
        The folder with bundle.json.

    Raises:
        LddmError: no such repository or revision, no connection, or no model in the repository.
    """
    repo, _, revision = address.removeprefix(HUB).partition("@")
    with _readable(repo):
        from huggingface_hub import snapshot_download

        patterns = [*PARTS, *(f"*/{part}" for part in PARTS)]
        folder = snapshot_download(
            repo, revision=revision or None, allow_patterns=patterns, endpoint=os.environ.get("HF_ENDPOINT")
        )
    if not (Path(folder) / "bundle.json").is_file():
        raise LddmError(f"{HUB}{repo} contains no lddm model (no bundle.json)", "check the name of the repository")
    return Path(folder)


def push(folder: Path, repo: str, about: dict[str, Any], private: bool = False) -> str:
    """Upload a model with its model card as README.md.

    Args:
        folder: folder of the model.
        repo: OWNER/NAME; created if it does not exist.
        about: content of bundle.json.
        private: whether a new repository is private.

    Returns:
        The URL of the repository.

    Raises:
        LddmError: no token, no permission, an invalid name, or no connection.
    """
    with _readable(repo), tempfile.TemporaryDirectory() as scratch:
        from huggingface_hub import HfApi

        made = Path(scratch)
        for path in sorted(folder.rglob("*")):
            if path.name in PARTS and len(path.relative_to(folder).parts) <= 2:
                target = made / path.relative_to(folder)
                target.parent.mkdir(exist_ok=True)
                shutil.copyfile(path, target)
        text = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
        card = CARD.format(licence=licence_of(about), text=text, hub=HUB, repo=repo)
        (made / "README.md").write_text(card, encoding="utf-8")
        api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
        address = api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(repo_id=repo, folder_path=made, commit_message=f"lddm {about.get('lddm', '')}".strip())
    return str(address)


def licence_of(about: dict[str, Any]) -> str:
    """Licence for the model card: Apache-2.0 if the training data impose no licence, else `other`."""
    free = [str(licence).upper().startswith("CC0") for licence in about.get("licences") or ["not stated"]]
    return "apache-2.0" if all(free) else "other"


@contextmanager
def _readable(repo: str) -> Iterator[None]:
    """Convert the errors of huggingface_hub to an LddmError with a hint."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        from huggingface_hub import errors
    except ImportError as error:
        raise LddmError(
            f"{HUB}{repo}: huggingface_hub cannot be imported: {error}", "pip install huggingface_hub"
        ) from None
    try:
        yield
    except LddmError:
        raise
    except (errors.HFValidationError, ValueError) as error:
        raise LddmError(
            f"{HUB}{repo}: {_first_line(error)}", f"expected {HUB}OWNER/NAME or {HUB}OWNER/NAME@REVISION"
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        hint = "check the name; a private repository needs a token in $HF_TOKEN"
        raise LddmError(f"{HUB}{repo} was not found: {_first_line(error)}", hint) from error
    except errors.LocalTokenNotFoundError as error:
        raise LddmError(f"{HUB}{repo}: {_first_line(error)}", "set $HF_TOKEN to a token that may write") from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        refused = "the token in $HF_TOKEN may not do this" if status in (401, 403) else "try again later"
        raise LddmError(f"{HUB}{repo}: the server answered: {_first_line(error)}", refused) from error
    except OSError as error:  # no connection and nothing in the cache, or a full disk
        hint = "check the connection, or download the files elsewhere and pass their folder"
        raise LddmError(f"{HUB}{repo} cannot be reached: {_first_line(error)}", hint) from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
