"""Study of a diagnosis encoded in motion: reduced contraction in CAMUS, end-diastole (ED) to end-systole (ES).

    python -m benchmarks.camus DATA/camus-pairs --out results/camus

Five-fold cross-validation over patients. Of the training patients, one half is the pool on which the generators are trained; the
other half contributes stills: labelled ED frames, which are animated. A reader is trained on N labelled pairs of the pool
alone (`real`), or together with animated stills. The labelled patients are balanced over classes and sampled several times.
Guidance 1, map size and steps were fixed beforehand.

Settings: `open`: the generators know the labels of all patients of the pool, and the ventricle mask guides the measured flow.
`strict`: they know only the N labels, and no mask is used.

Controls: `true motion`: each still warped by its own measured motion, the upper bound for this decoder; `true pairs`: the real
pairs of the same patients, the upper bound for any generator. The readers `ED` and `ES` use a single frame.

Writes cells/*.json (resumable), tables quality.csv and readers.csv, and prints them. Licence of the data: CC BY-NC-SA 4.0; no
picture is written.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
import typer
from torch import Tensor

from benchmarks.camus_generators import draw, fit, latent_set, store_of
from benchmarks.camus_pairs import Pairs, animated, measured_motion, mosaics, moved_share, read_pairs, small
from benchmarks.camus_readers import READERS, read_by, train_reader
from lddm.files import atomic_path, read_json, write_json, write_table
from lddm.statistics.auc import area_under_curve, weighted_auc
from lddm.statistics.estimate import RESAMPLES, Estimate, Run, of_runs
from lddm.statistics.p_values import holm
from lddm.statistics.resampling import PatientDraws

logger = logging.getLogger(__name__)
FOLDS, VIDEOS = 5, 3  # videos per still
LABELLED = [16, 32, 64]
GENERATORS = {  # regime -> generator and guidance
    "motion transfer": ("motion_transfer", 1.0),
    "Gaussian": ("gaussian", 1.0),
    "cINN": ("cinn", 1.0),
    "LDDM": ("lddm", 1.0),
    "LDDM, guidance 2": ("lddm", 2.0),
}
STATIC, REAL, CONTROLS = "repeated stills", "real", ("true motion", "true pairs")
REGIMES = (REAL, STATIC, *GENERATORS, *CONTROLS)
Setting = Literal["open", "strict"]


class Study:
    """Data and models shared by the runs of a fold.

    Args:
        pairs: pairs of all patients.
        setting: "open" or "strict".
        out: folder of results.
    """

    def __init__(self, pairs: Pairs, setting: Setting, out: Path):
        self.pairs, self.setting, self.out = pairs, setting, out
        self.label = pairs.label
        self.first, self.second = (small(pairs.frames[:, :, phase]) for phase in (0, 1))
        self.z = self._motion(out / f"motion-{'guided' if setting == 'open' else 'image'}.npy")
        self.store = store_of(mosaics(pairs.frames[:, :, 0]))

    def _motion(self, path: Path) -> Tensor:
        if not path.is_file():
            save_array(path, measured_motion(self.pairs, guided=self.setting == "open").numpy())
        return torch.from_numpy(np.load(path))

    def parts(self, fold: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Indices of the test patients, the pool and the stills of a fold, stratified by class."""
        rng = np.random.default_rng([2024, 1])
        order = rng.permutation(len(self.label))
        order = order[np.argsort(self.label[order], kind="stable")]
        test = order[fold::FOLDS]
        rest = np.setdiff1d(order, test, assume_unique=True)
        rest = np.random.default_rng([2024, 2, fold]).permutation(rest)
        rest = rest[np.argsort(self.label[rest], kind="stable")]
        return test, rest[::2], rest[1::2]

    def labelled(self, pool: np.ndarray, fold: int, count: int, run: int) -> np.ndarray:
        """The N patients of the pool whose pairs and labels are known, balanced over classes."""
        rng = np.random.default_rng([2024, 3, fold, run])  # selections are nested over N
        return np.concatenate([rng.permutation(pool[self.label[pool] == value])[: count // 2] for value in (0, 1)])

    def scope(self, regime: str, fold: int, count: int, run: int) -> str:
        """Name of what the generators of a regime may know; equal names have equal motion."""
        strict = self.setting == "strict" and regime in GENERATORS
        return f"fold-{fold}-{count}-{run}" if strict else f"fold-{fold}"

    def motion_of(self, regime: str, fold: int, count: int, run: int) -> Tensor:
        """z of all videos of the stills of a fold, ordered by video index: float (VIDEOS n, D)."""
        _, pool, stills = self.parts(fold)
        if regime == "true motion":
            return self.z[stills]
        name, scale = GENERATORS[regime]
        labels, folder = self.label, self.out / self.setting / self.scope(regime, fold, count, run)
        if self.setting == "strict":
            known = np.isin(np.arange(len(labels)), self.labelled(pool, fold, count, run))
            labels = np.where(known, labels, -1)
        generator = fit(name, latent_set(self.z, labels, pool, fold), self.store, fold, folder)
        videos = [draw(generator, self.store, stills, self.label[stills], scale, 100 * fold + i) for i in range(VIDEOS)]
        return torch.cat(videos)

    def added(self, regime: str, reader: str, fold: int, count: int, run: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Inputs and labels that a regime adds to the real pairs; None for `real`."""
        if regime == REAL:
            return None
        stills = self.parts(fold)[2]
        if regime in (STATIC, "true pairs"):
            second = self.first if regime == STATIC else self.second
            return READERS[reader](self.first[stills], second[stills]), self.label[stills]
        path = self.out / self.setting / "added" / f"{reader}-{regime}-{self.scope(regime, fold, count, run)}.npy"
        if not path.is_file():
            z = self.motion_of(regime, fold, count, run)
            first = np.tile(self.first[stills], (len(z) // len(stills), 1, 1, 1))
            save_array(path, READERS[reader](first, animated(first, z)))
        inputs = np.load(path)
        return inputs, np.tile(self.label[stills], len(inputs) // len(stills))

    def cell(self, regime: str, reader: str, fold: int, count: int, run: int) -> None:
        """Train one reader and write its logits on the test patients; no-op if they exist."""
        out = self.out / self.setting / "cells" / f"{reader}-{regime}-{count}-{fold}-{run}.json"
        if out.is_file():
            return
        test, pool, _ = self.parts(fold)
        chosen = self.labelled(pool, fold, count, run)
        real = READERS[reader](self.first[chosen], self.second[chosen]), self.label[chosen]
        network = train_reader(reader, real, self.added(regime, reader, fold, count, run), 1000 * fold + run)
        logits = read_by(network, READERS[reader](self.first[test], self.second[test]))
        about = {"reader": reader, "regime": regime, "count": count, "fold": fold, "run": run}
        out.parent.mkdir(parents=True, exist_ok=True)
        write_json(out, about | {"patients": self.pairs.patient[test].tolist(), "logits": logits.tolist()})
        logger.info("%s, %s: AUC %.3f", out.stem, self.setting, area_under_curve(self.label[test], logits))

    def quality(self, count: int) -> pd.DataFrame:
        """Fidelity of sampled motion to the label: AUC of the area fraction change of the warped mask, and its mean by class."""
        rows = []
        for fold in range(FOLDS):
            stills = self.parts(fold)[2]
            label = self.label[stills]
            own = self.pairs.of(stills)
            for regime in (*GENERATORS, "true motion"):
                z = self.motion_of(regime, fold, count, 0)[: len(stills)]
                change = moved_share(own, z)
                means = {
                    f"change, {name}": change[label == value].mean()
                    for value, name in enumerate(("preserved", "reduced"))
                }
                rows.append({"regime": regime, "fold": fold, "auc": area_under_curve(label, -change)} | means)
        table = pd.DataFrame(rows)
        write_table(table, self.out / self.setting / "quality.csv")
        return table.drop(columns="fold").groupby("regime", sort=False).mean()


def save_array(path: Path, values: np.ndarray) -> None:
    """Write a .npy file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        np.save(temporary, values, allow_pickle=False)


def readers_table(folder: Path, label_of: dict[str, int], resamples: int = RESAMPLES) -> pd.DataFrame:
    """AUC per regime and differences of LDDM to the others, with intervals over patients and selections of labelled patients.

    All differences of the table are one family for Holm's correction.

    Args:
        folder: folder cells/ of a setting.
        label_of: patient -> 1 if contraction is reduced.
    """
    cells = [read_json(path) for path in sorted(folder.glob("*.json"))]
    draws = PatientDraws(resamples, 0)
    runs: dict[tuple[str, int, str], dict[Run, np.ndarray]] = {}
    for cell in cells:
        labels = np.array([label_of[name] for name in cell["patients"]])
        weights = draws.weights(cell["fold"], cell["patients"], np.array(cell["patients"]), labels)
        auc = weighted_auc(labels == 1, np.array(cell["logits"]), weights)
        runs.setdefault((cell["reader"], cell["count"], cell["regime"]), {})[cell["fold"], cell["run"]] = auc
    estimates: dict[tuple[str, int, str], Estimate] = {key: of_runs(values) for key, values in runs.items()}
    rows = [_row(*key, "", value, sum(len(fold[0]) for fold in value.folds)) for key, value in estimates.items()]
    for reader, count, regime in list(estimates):
        mine = estimates.get((reader, count, "LDDM"))
        if mine is None or regime == "LDDM":
            continue
        common = runs[reader, count, regime].keys() & runs[reader, count, "LDDM"].keys()
        pair = [of_runs({run: runs[reader, count, name][run] for run in common}) for name in ("LDDM", regime)]
        difference = pair[0].minus(pair[1])
        rows.append(_row(reader, count, "LDDM", regime, difference, len(common)) | {"p": difference.p_value()})
    table = pd.DataFrame(rows)
    if "p" in table:
        tested = table["p"].notna()
        table.loc[tested, "p_holm"] = holm(table.loc[tested, "p"].to_numpy())
    return table


def _row(reader: str, count: int, regime: str, minus: str, value: Estimate, runs: int) -> dict:
    low, high = value.interval(-1.0 if minus else 0.0, 1.0)
    about = {"reader": reader, "labelled": count, "regime": regime, "minus": minus, "runs": runs}
    return about | {"auc": value.value, "ci_low": low, "ci_high": high}


def main(
    data: Annotated[Path, typer.Argument(help="folder with areas.csv, images/ and masks/")],
    out: Annotated[Path, typer.Option(help="folder of results")] = Path("results/camus"),
    setting: Annotated[str, typer.Option(help="open or strict")] = "open",
    labelled: Annotated[
        list[int], typer.Option(help="labelled patients, validation included (there is none)")
    ] = LABELLED,
    runs: Annotated[int, typer.Option(help="draws of the labelled patients of each fold")] = 5,
    folds: Annotated[int, typer.Option(help=f"how many of the {FOLDS} folds are tested")] = FOLDS,
    readers: Annotated[list[str], typer.Option(help=f"of {', '.join(READERS)}")] = list(READERS)[:2],
) -> None:
    """Run the cells that are missing, and write the tables."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if setting not in ("open", "strict"):
        raise typer.BadParameter(f"expected open or strict, got {setting}")
    if unknown := set(readers) - set(READERS):
        raise typer.BadParameter(f"expected readers of {', '.join(READERS)}, got {', '.join(sorted(unknown))}")
    out.mkdir(parents=True, exist_ok=True)
    study = Study(read_pairs(data), "open" if setting == "open" else "strict", out)
    for run in range(runs):  # all regimes of a selection before the next, so that an unfinished study is balanced
        for count in labelled:
            for fold in range(folds):
                for reader in readers:
                    for regime in REGIMES:
                        study.cell(regime, reader, fold, count, run)
                if run == 0:
                    for control in ("ED", "ES"):
                        study.cell(REAL, control, fold, count, run)
    label_of = dict(zip(study.pairs.patient.tolist(), study.label.tolist(), strict=True))
    table = readers_table(out / setting / "cells", label_of)
    write_table(table, out / setting / "readers.csv")
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    if folds == FOLDS:
        print(study.quality(labelled[0]).to_string(float_format=lambda value: f"{value:.3f}"))


if __name__ == "__main__":
    typer.run(main)
