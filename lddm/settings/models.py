"""Settings of the networks and of their training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, model_validator

from lddm.settings.base import Section


class Training(Section):
    """One training run; budgets are steps, never wall time, so that results repeat."""

    steps: int = Field(1000, ge=1, description="optimiser steps")
    batch_size: int = Field(8, ge=1, description="clips or latents that a process holds at a time")
    accumulation: int = Field(1, ge=1, description="batches of a process that make one step together")
    processes: int = Field(1, ge=1, description="processes (GPUs) that train together, each with its own batches")
    learning_rate: float = Field(1e-3, gt=0, description="peak of the cosine schedule (AdamW)")
    adam_beta1: float = Field(0.9, ge=0, lt=1, description="AdamW decay of the mean gradient (0.5 in the cINN release)")
    adam_beta2: float = Field(0.999, ge=0, lt=1, description="AdamW decay of the squared gradient (0.9 there)")
    weight_decay: float = Field(1e-4, ge=0, description="AdamW weight decay")
    warmup_steps: int = Field(50, ge=0, description="linear warm-up")
    grad_clip: float | None = Field(1.0, gt=0, description="largest gradient norm; null = any (the cINN release)")
    ema_decay: float = Field(
        0.99, ge=0, lt=1, description="decay of the averaged weights that are kept; 0 switches it off"
    )
    log_every: int = Field(50, ge=1, description="steps between two lines of the log")
    val_every: int = Field(250, ge=1, description="steps between two validations")
    checkpoint_every: int = Field(250, ge=1, description="steps between two resumable states")
    precision: Literal["no", "bf16"] = Field("no", description="mixed precision (torch.autocast); no = float32")
    compile: bool = Field(False, description="torch.compile: slow start, faster steps on a GPU")


class AutoencoderSettings(Section):
    """Stage 1: E: video -> z and D: (x0, z) -> video."""

    decoder: Literal["warp", "spade"] = Field(
        "warp",
        description="warp: low-rank motion field moves x0, times a learned gain (frugal); spade: every frame is "
        "synthesised, z by AdaIN and x0 by SPADE at every scale (the paper)",
    )
    latent: Literal["low_rank", "vector", "grid"] = Field(
        "low_rank",
        description="low_rank: motion maps aligned with x0 times temporal coefficients (keeps local strain); "
        "vector: one global vector (the paper); grid: a small grid of space and time",
    )
    networks: Literal["small", "published"] = Field(
        "small",
        description="published: encoder, decoder and discriminators layer by layer as in the cINN release (for decoder spade "
        "from a vector); small: fewer layers",
    )
    width: int = Field(16, ge=4, description="channels of the first level")
    decoder_width: int | None = Field(None, ge=4, description="the same for the decoder alone; null = width")
    motion_rank: int = Field(2, ge=1, description="K: motion maps of decoder warp")
    flow_passes: int = Field(
        2,
        ge=1,
        description="passes of optical flow: each further one measures what the last one left; a classifier of strain keeps "
        "0.94 of its AUC on clips moved by one pass, 0.98 with two",
    )
    gain_rank: int = Field(2, ge=1, description="R: gain maps of decoder warp")
    map_size: int = Field(8, ge=2, description="height and width of the maps, or of the grid")
    grid_channels: int = Field(4, ge=1, description="numbers of a cell when latent is grid")
    grid_frames: int = Field(4, ge=1, description="steps of time when latent is grid")
    vector_dim: int = Field(
        64, ge=2, description="size of z when latent is vector (64 in the cINN code; ASSUME the same)"
    )
    reconstruction_weight: float = Field(1.0, gt=0, description="weight of L1 between decoded and real frames")
    kl_weight: float = Field(1e-5, ge=0, description="weight of KL(q(z|x) || N(0, I)), see kl_reduction")
    kl_reduction: Literal["mean", "sum"] = Field(
        "mean", description="KL over the dimensions of z: their mean, or their sum as in the cINN release"
    )
    temporal_weight: float = Field(0.5, ge=0, description="weight of L1 between frame differences")
    flow_supervision_weight: float = Field(
        0.1,
        ge=0,
        description="weight of L1 (px) between decoded and measured motion, for decoder warp from a vector or a grid; "
        "falls to 0 at 60 % of the run",
    )
    perceptual_weight: float = Field(
        0.0,
        ge=0,
        description="weight of the perceptual loss: LPIPS-VGG if its weights are there, else EfficientNet-Lite0 features",
    )
    perceptual_frames: int = Field(4, ge=1, description="random frames of a clip that image losses look at")
    time_reversal: bool = Field(
        True, description="learn each clip backwards too, in both stages: twice the clips where motion may turn around"
    )
    gradient_checkpointing: bool = Field(
        False, description="less memory, more time: recompute activations (decoder spade)"
    )
    adversarial_weight: float = Field(0.0, ge=0, description="weight of the hinge losses in space and in time; 0 = off")
    feature_matching_weight: float = Field(
        10.0, ge=0, description="weight of feature matching, relative to the adversarial losses"
    )
    r1_weight: float = Field(10.0, ge=0, description="R1 penalty of the temporal discriminator, see r1_form")
    r1_form: Literal["per_clip", "batch_mean"] = Field(
        "per_clip",
        description="gradient that R1 penalises: of each clip's logit (Mescheder et al. 2018), or of the batch mean as in the "
        "cINN release, smaller by the square of the batch size",
    )
    adversarial_start: int = Field(500, ge=0, description="step from which the adversarial losses act")
    discriminator_width: int = Field(32, ge=4, description="channels of the first level of both discriminators")
    discriminator_learning_rate: float | None = Field(
        None,
        gt=0,
        description="peak learning rate of both discriminators; null = training.learning_rate (the cINN release)",
    )
    discriminator_frames: int | None = Field(
        None,
        ge=1,
        description="frames of a batch that the spatial discriminator sees, drawn from all clips with replacement (20 in the "
        "cINN release); null = perceptual_frames of each clip",
    )
    discriminator_window: int | None = Field(
        None,
        ge=2,
        description="frames in a row, from a random one on, that the temporal discriminator sees (12 in the cINN release); "
        "null = all",
    )
    training: Training = Training(steps=500)

    @property
    def uses_perceptual_network(self) -> bool:
        """Whether stage 1 needs one: as a loss, or to choose weights where adversarial losses act."""
        return self.perceptual_weight > 0 or self.uses_adversarial_losses

    @property
    def uses_adversarial_losses(self) -> bool:
        """Whether the adversarial losses act before the training ends."""
        return self.adversarial_weight > 0 and self.adversarial_start < self.training.steps

    @model_validator(mode="after")
    def _known_pair(self):
        if (self.decoder, self.latent) == ("spade", "low_rank"):
            raise ValueError("latent 'low_rank' is the motion of decoder 'warp'; 'spade' takes 'vector' or 'grid'")
        if self.networks == "published" and (self.decoder, self.latent) != ("spade", "vector"):
            raise ValueError("networks 'published' are those of decoder 'spade' from latent 'vector'")
        return self


class DenoiserSettings(Section):
    """What diffusion of latents and of pixels have in common."""

    width: int = Field(
        24,
        ge=8,
        multiple_of=4,
        description="channels of the denoiser; that of a vector has 4 times as many hidden units",
    )
    depth: int = Field(2, ge=1, description="residual blocks")
    prediction_type: Literal["v_prediction", "epsilon", "flow_prediction"] = Field(
        "v_prediction",
        description="what the denoiser predicts; flow_prediction = the velocity of flow matching (no schedule)",
    )
    num_train_timesteps: int = Field(1000, ge=10, description="steps of the noising process in training")
    beta_schedule: Literal["squaredcos_cap_v2", "linear"] = Field(
        "squaredcos_cap_v2", description="noise schedule (diffusers)"
    )
    min_snr_gamma: float | None = Field(
        5.0, gt=0, description="gamma of min-SNR weighting; null = off (Hang et al. 2023)"
    )
    use_label: bool = Field(True, description="condition on the class label of the still")
    label_dropout: float = Field(0.1, ge=0, lt=1, description="share of training examples without label")
    image_dropout: float = Field(0.05, ge=0, lt=1, description="share of training examples without image")
    training: Training = Training(steps=1600, batch_size=32, learning_rate=1e-3, ema_decay=0.995)


class DistillationSettings(Section):
    """A student of the trained denoiser: it makes in one step what the sampler makes of the same noise in many."""

    num_pairs: int = Field(2048, ge=1, description="examples: noise, and what UniPC makes of it for an x0 of training")
    num_inference_steps: int = Field(10, ge=2, description="UniPC steps of each")
    max_guidance_scale: float = Field(4.0, ge=1, description="it learns all guidance scales from 1 to this one")
    guidance_target: Literal["label", "image+label"] = Field("label", description="what guidance sharpens")
    steps: int = Field(600, ge=1, description="optimiser steps; all else of its training is as the denoiser's")

    def supports(self, guidance_scale: float, guidance_target: str) -> bool:
        """Whether the student learns this guidance."""
        return guidance_target == self.guidance_target and 1 <= guidance_scale <= self.max_guidance_scale


class EmbedderSettings(Section):
    """A frozen embedding of x0 as the condition of a generator of vectors, as in the release of the cINN code."""

    kind: Literal["autoencoder", "efficientnet"] = Field(
        "autoencoder",
        description="autoencoder: trained on the x0 of training clips before the generator (the release); efficientnet: "
        "features of EfficientNet-Lite0 (ImageNet)",
    )
    dim: int = Field(128, ge=2, description="numbers of the autoencoder's embedding (128 in the release, 64 for BAIR)")
    kl_weight: float = Field(
        1e-5, ge=0, description="weight of the autoencoder's KL, sum over its dimensions, against L1 summed over pixels"
    )
    steps: int = Field(2000, ge=1, description="optimiser steps of the autoencoder")
    batch_size: int = Field(32, ge=1, description="frames at a time (30 in the release)")
    learning_rate: float = Field(2e-4, gt=0, description="peak of its cosine schedule (2e-4 in the release)")


class DiffusionSettings(DenoiserSettings):
    """Stage 2, the method: p(z | x0) by diffusion."""

    image_embedder: EmbedderSettings | None = Field(
        None,
        description="frozen embedding of x0 as the condition, for latent vector; null = features that are learnt with the "
        "denoiser",
    )

    min_snr_gamma: float | None = Field(
        None, gt=0, description="gamma of min-SNR weighting; null = the plain loss (Hang et al. 2023)"
    )
    distillation: DistillationSettings | None = Field(
        DistillationSettings(), description="sampling in one step, a tenth of the time; null = without"
    )


class PixelSettings(DenoiserSettings):
    """The reference without a latent: video diffusion in pixels (diffusers' 3-D U-Net); slow."""

    sampler: Literal["unipc", "ddim", "ddpm"] | None = Field(
        None, description="sampler of this generator alone; null = synthesis.sampler"
    )
    num_inference_steps: int | None = Field(
        None, ge=1, description="denoising steps of this generator alone; null = synthesis.num_inference_steps"
    )

    width: int = Field(32, ge=8, multiple_of=8, description="channels of the first level")
    depth: int = Field(1, ge=1, description="residual layers of each level")
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
        None, description="frozen embedding of x0 as the condition, as of the diffusion model"
    )
    use_label: bool = Field(True, description="condition on the class label, as the diffusion model does")
    label_dropout: float = Field(0.1, ge=0, lt=1, description="share of training examples without label")
    training: Training = Training(steps=500, batch_size=32, learning_rate=5e-4, ema_decay=0.995, val_every=50)


class GaussianSettings(Section):
    """Stage 2, the simplest baseline: p(z | x0) by ridge regression and one covariance; fitted in a second."""

    grid: int = Field(
        8, ge=1, le=16, description="x0 is pooled to the mean and standard deviation of grid x grid cells"
    )
    use_label: bool = Field(True, description="condition on the class label, as the diffusion model does")


class SynthesisSettings(Section):
    """From bundles to videos."""

    generators: list[Literal["lddm", "cinn", "gaussian", "static", "motion_transfer", "pixel"]] = Field(
        ["lddm", "cinn", "static", "motion_transfer"],
        min_length=1,
        description="generators whose videos are made and scored, each once",
    )
    shards: int = Field(1, ge=1, description="parts of a source's first frames, one job and one GPU each")
    samples: dict[Literal["heldout", "stills"], NonNegativeInt] = Field(
        {"heldout": 2, "stills": 1}, description="videos for each first frame, by source"
    )
    sampler: Literal["distilled", "unipc", "ddim", "ddpm"] = Field(
        "distilled",
        description="sampler of the diffusion model; distilled = one step of lddm's student; pixel, which has none, then "
        "takes unipc; ddpm = ancestral sampling (Ho et al. 2020), best with all steps of training",
    )
    num_inference_steps: int = Field(10, ge=1, description="denoising steps of unipc, ddim and ddpm")
    guidance_scale: float = Field(2.0, ge=0, description="classifier-free guidance scale; 1 = off")
    guidance_target: Literal["label", "image+label"] = Field(
        "label", description="what guidance sharpens; with label alone, how much things move stays as it was learnt"
    )
    batch_size: int = Field(
        16, ge=1, description="videos at a time; on a GPU those of the first batch, which then grows"
    )

    @model_validator(mode="after")
    def _possible(self):
        twice = sorted({name for name in self.generators if self.generators.count(name) > 1})
        if twice:
            raise ValueError(f"generators: {', '.join(twice)} is named twice")
        return self
