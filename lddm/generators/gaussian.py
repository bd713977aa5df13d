"""Conditional Gaussian: p(z | x0, label) with a linear mean and one covariance; a baseline without deep networks."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn.covariance import ledoit_wolf
from sklearn.linear_model import Ridge
from torch import Tensor, nn
from torch.nn import functional as F

from lddm.data.frames import FrameStore
from lddm.generators.base import LatentGenerator
from lddm.generators.sampling import Rng, SamplingOptions, integers, normal
from lddm.latent.dataset import LatentDataset, LatentSet
from lddm.latent.spec import LatentSpec
from lddm.nn.condition import LabelSpec, is_known
from lddm.settings.models import GaussianSettings

POWERS = 3  # 1, u, u^2
VALUES = 101  # stored quantiles of the target values of the training latents
PENALTIES = 10.0 ** np.arange(-2, 3.5, 0.5)  # ridge penalties per training latent; features have unit variance


class ConditionalGaussian(LatentGenerator):
    """Linear-Gaussian model of normalised z: p(z | x0, y) = N(mu_z(y) + (f(x0) - mu_f(y)) @ slope, covariance).

    The features f are the mean and standard deviation of x0 in each cell of a grid. Slope and covariance are shared by
    all labels. For a numeric label, mu_z and mu_f are quadratic functions fitted by least squares. Arguments as in
    `LatentGenerator`.
    """

    name = "gaussian"
    settings_type = GaussianSettings
    feature_scale: Tensor  # float (F,), standard deviation of each feature
    label_count: Tensor  # int64 (classes,), number of training latents per label

    label_value: Tensor  # float (VALUES,), quantiles of the target values of the training latents; empty for classes

    def __init__(
        self,
        settings: GaussianSettings,
        spec: LatentSpec,
        size: int,
        labels: LabelSpec,
    ):
        super().__init__(settings, spec, size, labels)
        features = 2 * settings.grid**2
        if labels.target_range is not None:
            self.register_buffer("label_value", torch.full((VALUES,), math.nan))
        self.register_buffer("feature_scale", torch.ones(features))
        self.register_buffer("label_count", torch.zeros(labels.classes, dtype=torch.int64))
        # One row per class (or polynomial coefficient of a target); the last row, for unknown labels, holds the overall mean.
        self.rows = labels.classes if labels.target_range is None else POWERS
        self.feature_mean = _fitted(self.rows + 1, features)
        size = spec.normalised_size
        self.z_mean = _fitted(self.rows + 1, size)
        self.slope = _fitted(features, size)
        self.factor = _fitted(size, size)  # lower triangular; covariance = factor @ factor.T

    @torch.no_grad()
    def predict(self, x0: Tensor, label: Tensor) -> Tensor:
        """Conditional mean of normalised z given x0 float (B, 1, S, S) and label (B,): float (B, N)."""
        feature_mean, z_mean = self._means(label)
        features = (self._pool(x0) - feature_mean) / self.feature_scale
        return z_mean + features @ self.slope

    def draw(self, x0: Tensor, label: Tensor, rng: Rng, options: SamplingOptions) -> Tensor:
        """As `LatentGenerator.draw`; the diffusion options are ignored.

        Unknown labels are sampled from the label distribution of the training latents.
        """
        noise = normal(rng, (len(x0), self.spec.normalised_size)).to(x0)
        total = int(self.label_count.sum())
        if total:
            place = torch.tensor(integers(rng, [total] * len(x0)), device=label.device)
            label = torch.where(label < 0, torch.searchsorted(self.label_count.cumsum(0), place, right=True), label)
        elif self.labels.target_range is not None and torch.isfinite(self.label_value).all():
            place = torch.tensor(integers(rng, [VALUES] * len(x0)), device=label.device)
            label = torch.where(is_known(label), label, self.label_value[place])
        return self.transform.invert(self.predict(x0, label) + noise @ self.factor.T)

    @torch.no_grad()
    def fit(self, dataset: LatentDataset, val_dataset: LatentDataset) -> dict[str, float]:
        """Fit to the training latents; the ridge penalty minimises the error on the validation latents.

        Returns:
            The penalty per training latent, the mean squared error on normalised validation z, the same error of the overall
            training mean, and the shrinkage intensity of the covariance (weight of the diagonal).
        """
        train, val = (
            part.read(np.arange(len(part)), torch.Generator().manual_seed(0)) for part in (dataset, val_dataset)
        )
        self._fit_means(*train)
        inputs, target = self._centred(*train)
        val_inputs, val_target = self._centred(*val)
        models = [Ridge(alpha=penalty * len(target), fit_intercept=False).fit(inputs, target) for penalty in PENALTIES]
        errors = [float(np.square(val_target - model.predict(val_inputs)).mean()) for model in models]
        best = int(np.argmin(errors))
        covariance, shrinkage = self._covariance(models[best].predict(inputs), target)
        self.slope.copy_(torch.from_numpy(models[best].coef_.T))
        self.factor.copy_(torch.from_numpy(np.linalg.cholesky(covariance)))
        constant = (val[1] - self.z_mean[-1]).square().mean()
        return {
            "penalty": float(PENALTIES[best]),
            "val/error": errors[best],
            "val/error_of_mean": float(constant),
            "shrinkage": shrinkage,
        }

    def _fit_means(self, x0: Tensor, z: Tensor, label: Tensor) -> None:
        """Means of features and of z per label; the overall means for a label without training latents."""
        features = self._pool(x0)
        self.feature_scale.copy_(features.std(dim=0, correction=0).clamp_min(1e-4))  # (guards constant features)
        if self.labels.target_range is not None:
            self._fit_numbers(features, z, label)
            return
        self.label_count.copy_(torch.bincount(label[label >= 0], minlength=self.labels.classes))
        for row in range(self.labels.classes + 1):
            of_label = label == row
            chosen = of_label if of_label.any() else torch.ones_like(of_label)
            self.feature_mean[row] = features[chosen].mean(dim=0)
            self.z_mean[row] = z[chosen].mean(dim=0)

    def _fit_numbers(self, features: Tensor, z: Tensor, label: Tensor) -> None:
        """Fit features and z as quadratic functions of the target; the overall means if too few targets are known."""
        known = is_known(label)
        enough = len(label[known].unique()) > POWERS
        if enough:
            self.label_value.copy_(torch.quantile(label[known], torch.linspace(0, 1, VALUES).to(label)))
        for mean, values in ((self.feature_mean, features), (self.z_mean, z)):
            mean[-1] = values.mean(dim=0)
            mean[0] = mean[-1]
            if enough:
                powers = self._powers(label[known]).double()
                mean[:-1] = torch.linalg.lstsq(powers, values[known].double()).solution.to(mean)

    def _powers(self, label: Tensor) -> Tensor:
        """Powers 1, u, u^2 of targets (B,), rescaled to u in [-1, 1]: float (B, POWERS)."""
        assert self.labels.target_range is not None
        low, high = self.labels.target_range
        place = 2 * (label - low) / (high - low) - 1
        return torch.stack([place**power for power in range(POWERS)], dim=1)

    def _covariance(self, predicted: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, float]:
        """Covariance of z given x0 and label, chosen so that samples for training stills vary as the training latents do.

        It is the covariance of the training latents minus that of their predictions. The residual part is shrunk towards
        its diagonal in the basis of the principal axes of maps and coefficient rows (Ledoit and Wolf 2004). It is then
        invertible even with fewer latents than dimensions, and the variance along these axes is unchanged.

        Args:
            predicted, target: float64 (n, N), centred per label.

        Returns:
            float64 (N, N), and the shrinkage intensity.
        """
        residual = target - predicted
        axes = self._axes()
        scale = np.sqrt(np.square(residual @ axes).mean(axis=0)).clip(1e-6)
        correlation, shrinkage = ledoit_wolf(residual @ axes / scale, assume_centered=True)
        root = axes * scale
        # Ridge predictions are shrunken and correlate with their residuals, so that
        # cov(target) = cov(predicted) + cov(residual) + shared + shared.T; shared is positive semidefinite.
        shared = predicted.T @ residual / len(target)
        jitter = 1e-6 * np.eye(len(root))
        return root @ correlation @ root.T + shared + shared.T + jitter, float(shrinkage)

    def _centred(self, x0: Tensor, z: Tensor, label: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Scaled features (n, F) and z (n, N), both centred per label; float64."""
        feature_mean, z_mean = self._means(label)
        features = (self._pool(x0) - feature_mean) / self.feature_scale
        return features.double().cpu().numpy(), (z - z_mean).double().cpu().numpy()

    def _axes(self) -> np.ndarray:
        """Orthogonal basis float64 (N, N), one axis per column: principal axes of maps and rows, and the log-amplitudes."""
        whitening = self.transform.whitening
        parts = (whitening.get_buffer(f"cov_sqrt_{name}").double() for name in ("maps", "rows"))
        turns = [torch.linalg.eigh(part)[1].transpose(1, 2) for part in parts]
        axes = np.eye(self.spec.normalised_size)
        size = self.spec.size
        axes[:size, :size] = self.spec.apply(torch.eye(size).to(turns[0]), *turns).cpu().numpy()
        return axes

    def _means(self, label: Tensor) -> tuple[Tensor, Tensor]:
        """Means of features (B, F) and of z (B, N) for labels (B,)."""
        if self.labels.target_range is None:
            row = self._row(label)
            return self.feature_mean[row], self.z_mean[row]
        known = (is_known(label) & self.settings.use_label)[:, None]
        powers = self._powers(torch.nan_to_num(label).to(self.z_mean))
        return (
            torch.where(known, powers @ self.feature_mean[:-1], self.feature_mean[-1]),
            torch.where(known, powers @ self.z_mean[:-1], self.z_mean[-1]),
        )

    def _row(self, label: Tensor) -> Tensor:
        """Row of the table of means for each label; the last row for -1, or for all if labels are not used."""
        return torch.where((label < 0) | (not self.settings.use_label), self.labels.classes, label)

    def _pool(self, x0: Tensor) -> Tensor:
        """Features of x0: mean and standard deviation in each grid cell, float (B, 1, S, S) -> (B, F)."""
        mean = F.adaptive_avg_pool2d(x0, self.settings.grid)
        variance = F.adaptive_avg_pool2d(x0.square(), self.settings.grid) - mean.square()
        return torch.cat([mean, variance.clamp_min(0).sqrt()], dim=1).flatten(1)


def _fitted(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(shape), requires_grad=False)


def fit_gaussian(
    settings: GaussianSettings,
    latents: LatentSet,
    store: FrameStore,
    seed: int,
    state_dir: Path,
    out: Path,
    on_log: Callable[[int, dict[str, float]], None],
    keep_state: bool = False,
) -> None:
    """Fit in closed form and write the weights. Arguments as `LatentTrainer.fit`; seed and state are not used."""
    labels = LabelSpec.of_meta(store.meta)
    model = ConditionalGaussian(settings, latents.spec, store.size, labels)
    model.transform.load_state_dict(latents.transform.state_dict())
    dataset, val_dataset = (LatentDataset(latents, store, part, torch.device("cpu")) for part in (True, False))
    on_log(0, model.fit(dataset, val_dataset))
    model.save(out, seed=seed, latents=len(dataset))
