"""Comparison of the paper in one table: its variant, ours, cINN, motion transfer, x0 repeated, pixel diffusion.

    python -m benchmarks.paper --config config/paper/phantom.yaml
    python -m benchmarks.paper --config config/paper/busv_busi.yaml --ours config/paper/ours_busv_busi.yaml --data-root FOLDER

Runs the workflow with the paper's variant and with our method on the same data, trains LDDM and cINN again with other seeds
on the same stage 1, scores them like the rule `score`, and writes results/<experiment>/study/: table.md, quality.csv,
differences.csv, classification.csv. Finished parts are not repeated, so the same command resumes after a kill.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
import yaml
from snakemake.utils import update_config

from benchmarks.paper_table import Sources, write_tables
from lddm.data.frames import FrameStore
from lddm.errors import LddmError
from lddm.files import atomic_path, read_json, sha256, write_json
from lddm.generators.sampling import SamplingOptions
from lddm.metrics.present import present
from lddm.metrics.score import score
from lddm.settings import Settings, build
from lddm.synthesis.animate import Animator
from lddm.synthesis.synthesize import first_frames, synthesize
from lddm.synthesis.train_generator import train_generator
from lddm.training.identity import code_hash, content_hash
from lddm.training.weights import count_parameters

ROOT = Path(__file__).resolve().parents[1]
# sections that must be equal in both experiments
SHARED = ("seed", "index", "preprocess", "split", "quality", "domain_network")
AGAIN = {"paper": ("lddm", "cinn"), "ours": ("lddm",)}  # generators trained with further seeds
TIMED = 8  # number of stills for measuring the seconds per video


def merged(paths: list[Path]) -> dict[str, Any]:
    """Merge configs section by section, as Snakemake does; later ones take precedence."""
    raw: dict[str, Any] = {}
    for path in paths:
        update_config(raw, yaml.safe_load(path.read_text()) or {})
    return raw


def our_config(paper: dict[str, Any]) -> dict[str, Any]:
    """Config of our method: default networks, data of the paper's variant, and only the classifiers shown in the table."""
    classification = dict(paper.get("classification", {})) | {
        "regimes": ["real", "real+lddm"],
        "regimes_by_classifier": {},
    }
    samples = {"samples": paper["synthesis"]["samples"]} if "samples" in paper.get("synthesis", {}) else {}
    return {
        **{key: paper[key] for key in (*SHARED, "data_root", "weights_dir", "tracking") if key in paper},
        "experiment": f"{paper.get('experiment', 'phantom')}_ours",
        "classification": classification,
        "synthesis": {"generators": ["lddm", "static"], **samples},
        "report": {"title": "LDDM, our method"},
    }


def check_same_data(paper: Settings, ours: Settings) -> None:
    """Raise LddmError unless both experiments use the same clips and the same scoring."""
    differing = [name for name in SHARED if getattr(paper, name) != getattr(ours, name)]
    if differing:
        raise LddmError(
            f"the two experiments differ in {', '.join(differing)}, so their scores cannot be compared",
            "make these sections the same in both configs",
        )


def run_workflow(raw: dict[str, Any], folder: Path, cores: str, arguments: list[str]) -> None:
    """Run the complete workflow of one experiment; finished jobs are not repeated."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{raw['experiment']}.yaml"
    with atomic_path(path) as temporary:
        temporary.write_text(yaml.safe_dump(raw, sort_keys=False))
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", cores]
    done = subprocess.run([*command, "--configfile", str(path), *arguments])
    if done.returncode:
        raise LddmError(f"the workflow of {raw['experiment']} failed", "its log is above; run the same command again")


def train_again(settings: Settings, results: Path, fold: int, name: str, number: int, out: Path) -> None:
    """Train a generator on the stage 1 of a fold with another seed, score its held-out videos and write a JSON file.

    The noise of the videos and the halves of patients in the scores are those of the first training.

    Args:
        number: index of the training, which determines its seed.
    """
    section = getattr(settings, {"lddm": "diffusion"}.get(name, name))
    latents = results / f"fold-{fold}/latents.safetensors"
    training = {
        "settings": content_hash([section, settings.synthesis]),
        "latents": sha256(latents),
        "code": code_hash("generators", "latent", "nn", "training"),
    }
    scores = {
        "settings": content_hash(settings.quality),
        "weights": present(settings.weights_dir),
        "code": code_hash("metrics"),
    }
    if out.is_file() and read_json(out)["identity"] == [training, scores]:
        return
    store, splits = FrameStore.open(results / "data/frames"), pd.read_parquet(results / "data/splits.parquet")
    work = out.with_suffix("")
    made, manifest = work / "made.json", work / "heldout.npy"
    if not made.is_file() or read_json(made)["identity"] != training:  # otherwise only the scores are outdated
        stage1, bundle = results / f"fold-{fold}/autoencoder/model.safetensors", work / "generators" / name / "bundle"
        seed, began = settings.seed + 1000 * number, time.monotonic()
        train_generator(name, section, stage1, latents, store, fold, seed, work / "state", bundle, lambda *_: None)
        seconds = time.monotonic() - began
        synthesize(settings.synthesis, name, bundle, store, splits, fold, "heldout", 0, 1, settings.seed, manifest)
        write_json(made, {"identity": training, "training_s": seconds})
    domain = results / f"fold-{fold}/domain_network/model.safetensors"
    rows, _ = score(
        settings.quality, name, store, splits, fold, domain, Path(settings.weights_dir), [manifest], settings.seed,
        results / "cache/features",
    )  # fmt: skip
    write_json(out, {"identity": [training, scores], "rows": rows})


def measure_costs(settings: Settings, results: Path, fold: int, name: str, out: Path) -> None:
    """Number of parameters of stage 1 and of the generator, and seconds per still (in a batch of `TIMED`) on this machine."""
    bundle = results / f"fold-{fold}/generators/{name}/bundle"
    identity = content_hash([sha256(bundle / "bundle.json"), settings.synthesis])
    if out.is_file() and read_json(out)["identity"] == identity:
        return
    store, splits = FrameStore.open(results / "data/frames"), pd.read_parquet(results / "data/splits.parquet")
    table, x0 = first_frames(store, splits, fold, "heldout")
    animator = Animator.load(bundle)
    wanted = settings.synthesis
    options = SamplingOptions(wanted.sampler, wanted.num_inference_steps, wanted.guidance_scale, wanted.guidance_target)
    count = min(TIMED, len(x0))
    began = time.monotonic()
    animator.animate_batch(x0[:count], table["label"].to_numpy()[:count], list(range(count)), options, count)
    uses_stage1 = name not in ("pixel", "static")
    parameters = {
        "generator": count_parameters(animator.generator),
        "stage 1": count_parameters(animator.autoencoder) if uses_stage1 else 0,
    }
    seconds = (time.monotonic() - began) / count
    threads = torch.get_num_threads()
    write_json(out, {"identity": identity, "seconds_a_video": seconds, "threads": threads, "parameters": parameters})


def study(kind: str, settings: Settings, trainings: int) -> None:
    """Run further trainings and cost measurements of one experiment."""
    results = Path("results") / settings.experiment
    for fold in range(settings.split.folds_to_run):
        for name in AGAIN[kind]:
            for number in range(1, trainings):
                out = results / f"study/trainings/fold-{fold}/{name}-{number}.json"
                print(f"{settings.experiment}, fold {fold}: training {number + 1} of {trainings} of {name}", flush=True)
                train_again(settings, results, fold, name, number, out)
    for name in settings.synthesis.generators:
        measure_costs(settings, results, 0, name, results / f"study/costs/{name}.json")


def main(
    config: Annotated[list[Path], typer.Option(help="config of the paper's variant; several are merged")],
    ours: Annotated[
        list[Path] | None, typer.Option(help="config of our method; none = its defaults on the same data")
    ] = None,
    trainings: Annotated[int, typer.Option(min=1, help="number of trainings of LDDM and cINN per stage 1")] = 3,
    trainings_ours: Annotated[
        int | None, typer.Option(min=1, help="number of trainings of our LDDM; none = as for the paper's variant")
    ] = None,
    data_root: Annotated[str, typer.Option(help="folder of the raw data, if the config needs one")] = "",
    cores: Annotated[str, typer.Option(help="number of cores for the workflow")] = "all",
    snakemake: Annotated[str, typer.Option(help="further arguments for Snakemake, in one string")] = "",
) -> None:
    """Run the workflows, train again, score, and write the table."""
    raw = merged(config)
    if data_root:
        raw["data_root"] = data_root
    other = (merged(ours) | ({"data_root": data_root} if data_root else {})) if ours else our_config(raw)
    both = {"paper": build.load(raw), "ours": build.load(other)}
    check_same_data(both["paper"], both["ours"])
    place = Path("results") / both["paper"].experiment / "study"
    for kind, given in (("paper", raw), ("ours", other)):
        run_workflow(given | {"experiment": both[kind].experiment}, place / "configs", cores, snakemake.split())
        study(kind, both[kind], trainings_ours or trainings if kind == "ours" else trainings)
    sources = {kind: Sources(Path("results") / s.experiment, s) for kind, s in both.items()}
    print(write_tables(sources, place))


if __name__ == "__main__":
    try:
        typer.run(main)
    except LddmError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
