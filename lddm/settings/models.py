"""Settings of the networks and of their training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, model_validator

from lddm.settings.base import Section


class Training(Section):
    """One training run. Budgets are optimiser steps, never wall time, so that results are reproducible."""

    steps: int = Field(1000, ge=1, description="optimiser steps")
    batch_size: int = Field(8, ge=1, description="clips or latents per batch of one process")
    accumulation: int = Field(1, ge=1, description="gradient accumulation: batches per step of one process")
    processes: int = Field(1, ge=1, description="data-parallel processes (GPUs), each with its own batches")
    learning_rate: float = Field(1e-3, gt=0, description="peak of the cosine schedule (AdamW)")
    adam_beta1: float = Field(
        0.9, ge=0, lt=1, description="AdamW beta1, decay of the mean gradient (0.5 in the cINN release)"
    )
    adam_beta2: float = Field(0.999, ge=0, lt=1, description="AdamW beta2, decay of the squared gradient (0.9 there)")
    weight_decay: float = Field(1e-4, ge=0, description="AdamW weight decay")
    warmup_steps: int = Field(50, ge=0, description="steps of the linear warm-up")
    grad_clip: float | None = Field(
        1.0, gt=0, description="maximum gradient norm; null = no clipping (the cINN release)"
    )
    ema_decay: float = Field(
        0.99, ge=0, lt=1, description="decay of the exponential moving average of the weights, which is saved; 0 = off"
    )
    log_every: int = Field(50, ge=1, description="steps between two log lines")
    val_every: int = Field(250, ge=1, description="steps between two validation runs")
    checkpoint_every: int = Field(250, ge=1, description="steps between two resumable states")
    precision: Literal["no", "bf16"] = Field("no", description="mixed precision (torch.autocast); no = float32")
    compile: bool = Field(False, description="use torch.compile: slow start, faster steps on a GPU")


class AutoencoderSettings(Section):
    """Stage 1: encoder E: video -> z, and decoder D: (x0, z) -> video."""

    decoder: Literal["warp", "spade"] = Field(
        "warp",
        description="warp: x0 is warped by a low-rank motion field and multiplied by a learned gain (cheap); spade: every "
        "frame is synthesised, conditioned on z by AdaIN and on x0 by SPADE at every scale (the paper)",
    )
    latent: Literal["low_rank", "vector", "grid"] = Field(
        "low_rank",
        description="low_rank: motion maps aligned with x0, times temporal coefficients (preserves local strain); "
        "vector: one global vector (the paper); grid: a small spatio-temporal grid",
    )
    networks: Literal["small", "published"] = Field(
        "small",
        description="published: encoder, decoder and discriminators layer by layer as in the cINN release (for decoder spade "
        "with latent vector); small: fewer layers",
    )
    width: int = Field(16, ge=4, description="channels of the first level")
    decoder_width: int | None = Field(
        None, ge=4, description="channels of the first level of the decoder; null = width"
    )
    motion_rank: int = Field(2, ge=1, description="K: number of motion maps of decoder warp")
    flow_passes: int = Field(
        2,
        ge=1,
        description="passes of optical flow: each further pass measures the residual motion of the previous one; a strain "
        "classifier keeps 0.94 of its AUC on clips warped by one pass, 0.98 with two",
    )
    gain_rank: int = Field(2, ge=1, description="R: number of gain maps of decoder warp")
    map_size: int = Field(8, ge=2, description="height and width of the maps, or of the grid")
    grid_channels: int = Field(4, ge=1, description="channels of z for latent grid")
    grid_frames: int = Field(4, ge=1, description="time steps of z for latent grid")
    vector_dim: int = Field(
        64, ge=2, description="dimensions of z for latent vector (64 in the cINN code; ASSUME the same)"
    )
    reconstruction_weight: float = Field(1.0, gt=0, description="weight of L1 between decoded and real frames")
    kl_weight: float = Field(1e-5, ge=0, description="weight of KL(q(z|x) || N(0, I)), see kl_reduction")
    kl_reduction: Literal["mean", "sum"] = Field(
        "mean", description="reduction of the KL over the dimensions of z: mean, or sum as in the cINN release"
    )
    temporal_weight: float = Field(0.5, ge=0, description="weight of L1 between frame differences")
    flow_supervision_weight: float = Field(
        0.1,
        ge=0,
        description="weight of L1 (px) between decoded and measured motion, for decoder warp with latent vector or grid; "
        "decays to 0 at 60 % of the run",
    )
    perceptual_weight: float = Field(
        0.0,
        ge=0,
        description="weight of the perceptual loss: LPIPS-VGG if its weights are present, else EfficientNet-Lite0 features",
    )
    perceptual_frames: int = Field(4, ge=1, description="random frames per clip on which image losses are computed")
    time_reversal: bool = Field(
        True,
        description="augment with time-reversed clips in both stages, for motion that is plausible in both directions",
    )
    gradient_checkpointing: bool = Field(
        False, description="recompute activations to save memory at the cost of time (decoder spade)"
    )
    adversarial_weight: float = Field(0.0, ge=0, description="weight of the spatial and temporal hinge losses; 0 = off")
    feature_matching_weight: float = Field(
        10.0, ge=0, description="weight of feature matching, relative to the adversarial losses"
    )
    r1_weight: float = Field(
        10.0, ge=0, description="weight of the R1 penalty of the temporal discriminator, see r1_form"
    )
    r1_form: Literal["per_clip", "batch_mean"] = Field(
        "per_clip",
        description="gradient penalised by R1: of each clip's logit (Mescheder et al. 2018), or of the batch mean as in the "
        "cINN release, smaller by the square of the batch size",
    )
    adversarial_start: int = Field(500, ge=0, description="step at which the adversarial losses start")
    discriminator_width: int = Field(32, ge=4, description="channels of the first level of both discriminators")
    discriminator_learning_rate: float | None = Field(
        None,
        gt=0,
        description="peak learning rate of both discriminators; null = training.learning_rate (the cINN release)",
    )
    discriminator_frames: int | None = Field(
        None,
        ge=1,
        description="frames per batch for the spatial discriminator, sampled from all clips with replacement (20 in the "
        "cINN release); null = perceptual_frames of each clip",
    )
    discriminator_window: int | None = Field(
        None,
        ge=2,
        description="consecutive frames for the temporal discriminator, from a random start (12 in the cINN release); "
        "null = all",
    )
    training: Training = Training(steps=500)

    @property
    def uses_perceptual_network(self) -> bool:
        """Whether stage 1 needs a perceptual network: as a loss, or to select weights in adversarial training."""
        return self.perceptual_weight > 0 or self.uses_adversarial_losses

    @property
    def uses_adversarial_losses(self) -> bool:
        """Whether the adversarial losses start before the training ends."""
        return self.adversarial_weight > 0 and self.adversarial_start < self.training.steps

    @model_validator(mode="after")
    def _known_pair(self):
        if (self.decoder, self.latent) == ("spade", "low_rank"):
            raise ValueError("latent 'low_rank' requires decoder 'warp'; decoder 'spade' takes 'vector' or 'grid'")
        if self.networks == "published" and (self.decoder, self.latent) != ("spade", "vector"):
            raise ValueError("networks 'published' require decoder 'spade' and latent 'vector'")
        return self


class DenoiserSettings(Section):
    """Settings shared by latent diffusion and pixel diffusion."""

    width: int = Field(
        24,
        ge=8,
        multiple_of=4,
        description="channels of the denoiser; the denoiser of a vector has 4 times as many hidden units",
    )
    depth: int = Field(2, ge=1, description="residual blocks")
    prediction_type: Literal["v_prediction", "epsilon", "flow_prediction"] = Field(
        "v_prediction",
        description="prediction target of the denoiser; flow_prediction = the velocity of flow matching (no schedule)",
    )
    num_train_timesteps: int = Field(1000, ge=10, description="steps of the forward (noising) process")
    beta_schedule: Literal["squaredcos_cap_v2", "linear"] = Field(
        "squaredcos_cap_v2", description="noise schedule (diffusers)"
    )
    min_snr_gamma: float | None = Field(
        5.0, gt=0, description="gamma of min-SNR weighting (Hang et al. 2023); null = unweighted loss"
    )
    use_label: bool = Field(True, description="condition on the class label of the still")
    label_dropout: float = Field(0.1, ge=0, lt=1, description="share of training examples whose label is dropped")
    image_dropout: float = Field(0.05, ge=0, lt=1, description="share of training examples whose image is dropped")
    training: Training = Training(steps=1600, batch_size=32, learning_rate=1e-3, ema_decay=0.995)


class DistillationSettings(Section):
    """Distillation of the trained denoiser into a student that reproduces the sampler's output in one step."""

    num_pairs: int = Field(
        2048, ge=1, description="training pairs of noise and the UniPC sample from it, for an x0 of the training set"
    )
    num_inference_steps: int = Field(10, ge=2, description="UniPC steps of each pair")
    max_guidance_scale: float = Field(
        4.0, ge=1, description="the student learns all guidance scales from 1 to this one"
    )
    guidance_target: Literal["label", "image+label"] = Field("label", description="condition that guidance amplifies")
    steps: int = Field(600, ge=1, description="optimiser steps; all other training settings are the denoiser's")

    def supports(self, guidance_scale: float, guidance_target: str) -> bool:
        """Whether the student is trained for this guidance."""
        return guidance_target == self.guidance_target and 1 <= guidance_scale <= self.max_guidance_scale


class EmbedderSettings(Section):
    """A frozen embedding of x0 as the condition of a generator with latent vector, as in the cINN release."""

    kind: Literal["autoencoder", "efficientnet"] = Field(
        "autoencoder",
        description="autoencoder: trained on the x0 of training clips before the generator (the release); efficientnet: "
        "features of EfficientNet-Lite0 (ImageNet)",
    )
    dim: int = Field(
        128, ge=2, description="dimensions of the autoencoder's embedding (128 in the release, 64 for BAIR)"
    )
    kl_weight: float = Field(
        1e-5,
        ge=0,
        description="weight of the autoencoder's KL (sum over dimensions), relative to L1 summed over pixels",
    )
    steps: int = Field(2000, ge=1, description="optimiser steps of the autoencoder")
    batch_size: int = Field(32, ge=1, description="frames per batch (30 in the release)")
    learning_rate: float = Field(2e-4, gt=0, description="peak of its cosine schedule (2e-4 in the release)")


class DiffusionSettings(DenoiserSettings):
    """Stage 2, the method: p(z | x0) by diffusion."""

    image_embedder: EmbedderSettings | None = Field(
        None,
        description="frozen embedding of x0 as the condition, for latent vector; null = features trained with the denoiser",
    )

    min_snr_gamma: float | None = Field(
        None, gt=0, description="gamma of min-SNR weighting (Hang et al. 2023); null = unweighted loss"
    )
    distillation: DistillationSettings | None = Field(
        DistillationSettings(), description="distillation for one-step sampling, a tenth of the time; null = none"
    )


class PixelSettings(DenoiserSettings):
    """Baseline without a latent: video diffusion in pixels (3-D U-Net of diffusers); slow."""

    sampler: Literal["unipc", "ddim", "ddpm"] | None = Field(
        None, description="sampler of this generator only; null = synthesis.sampler"
    )
    num_inference_steps: int | None = Field(
        None, ge=1, description="denoising steps of this generator only; null = synthesis.num_inference_steps"
    )

    width: int = Field(32, ge=8, multiple_of=8, description="channels of the first level")
    depth: int = Field(1, ge=1, description="residual layers per level")
    training: Training = Training(steps=1000, batch_size=8, learning_rate=2e-4, ema_decay=0.995)


class CinnSettings(Section):
    """Stage 2, the baseline: p(z | x0) by a conditional normalising flow (Dorkenwald et al. 2021)."""

    coupling: Literal["clamped", "published"] = Field(
        "clamped",
        description="published: ActNorm, leaky ReLU, double coupling with unbounded log-scale, permutation; clamped: "
        "FrEIA's block with bounded log-scale and soft permutation",
    )
    blocks: int = Field(8, ge=1, description="coupling blocks (20 in the paper)")
    width: int = Field(256, ge=8, description="hidden units of the coupling networks")
    image_embedder: EmbedderSettings | None = Field(
        None, description="frozen embedding of x0 as the condition, as for the diffusion model"
    )
    use_label: bool = Field(True, description="condition on the class label, as the diffusion model does")
    label_dropout: float = Field(0.1, ge=0, lt=1, description="share of training examples whose label is dropped")
    training: Training = Training(steps=500, batch_size=32, learning_rate=5e-4, ema_decay=0.995, val_every=50)


class GaussianSettings(Section):
    """Stage 2, simplest baseline: p(z | x0) as ridge regression with one covariance, fitted in a second."""

    grid: int = Field(
        8, ge=1, le=16, description="x0 is reduced to the mean and standard deviation of grid x grid cells"
    )
    use_label: bool = Field(True, description="condition on the class label, as the diffusion model does")


class SynthesisSettings(Section):
    """Synthesis of videos from model bundles."""

    generators: list[Literal["lddm", "cinn", "gaussian", "static", "motion_transfer", "pixel"]] = Field(
        ["lddm", "cinn", "static", "motion_transfer"],
        min_length=1,
        description="generators that are run and scored, each once",
    )
    shards: int = Field(
        1, ge=1, description="parts into which a source's first frames are split, one job and one GPU each"
    )
    samples: dict[Literal["heldout", "stills"], NonNegativeInt] = Field(
        {"heldout": 2, "stills": 1}, description="videos per first frame, by source"
    )
    sampler: Literal["distilled", "unipc", "ddim", "ddpm"] = Field(
        "distilled",
        description="sampler of the diffusion models; distilled = one step of lddm's student (pixel, which has no student, "
        "then uses unipc); ddpm = ancestral sampling (Ho et al. 2020), best with all training steps",
    )
    num_inference_steps: int = Field(10, ge=1, description="denoising steps of unipc, ddim and ddpm")
    guidance_scale: float = Field(2.0, ge=0, description="classifier-free guidance scale; 1 = off")
    guidance_target: Literal["label", "image+label"] = Field(
        "label", description="condition that guidance amplifies; label alone preserves the learned amplitude of motion"
    )
    batch_size: int = Field(
        16, ge=1, description="videos per batch; on a GPU this is the size of the first batch, later ones are larger"
    )

    @model_validator(mode="after")
    def _possible(self):
        twice = sorted({name for name in self.generators if self.generators.count(name) > 1})
        if twice:
            raise ValueError(f"generators: {', '.join(twice)} is listed twice")
        return self
