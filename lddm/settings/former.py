"""Keys and values of earlier versions with their replacements, checked before any spelling suggestion.

Add a line here in the same commit that renames or removes a key.
"""

from __future__ import annotations

# Key path -> its replacement.
KEYS: dict[str, str] = {
    "preprocess.duplicate_distance": "replaced by preprocess.duplicate_frames, on another scale (matching frames)",
    "preprocess.cut_threshold": "replaced by preprocess.scene_cut_correlation, on another scale (a correlation, 1 = the same)",
    "autoencoder.flow_weight": "renamed autoencoder.flow_supervision_weight",
    "autoencoder.teacher_weight": "renamed autoencoder.flow_supervision_weight",
    "autoencoder.feature_weight": "renamed autoencoder.feature_matching_weight",
    "autoencoder.gradient_penalty": "renamed autoencoder.r1_weight",
    "autoencoder.checkpointing": "renamed autoencoder.gradient_checkpointing",
    "autoencoder.residual_rank": "renamed autoencoder.gain_rank",
    "autoencoder.reversal": "renamed autoencoder.time_reversal",
    **{
        f"{section}.{old}": f"renamed {section}.{new}"
        for section in ("diffusion", "pixel")
        for old, new in (
            ("prediction", "prediction_type"),
            ("noise_steps", "num_train_timesteps"),
            ("schedule", "beta_schedule"),
        )
    },
    "diffusion.distillation.pairs": "renamed diffusion.distillation.num_pairs",
    "diffusion.distillation.sampler_steps": "renamed diffusion.distillation.num_inference_steps",
    "diffusion.distillation.highest_guidance": "renamed diffusion.distillation.max_guidance_scale",
    "diffusion.distillation.guide_by": "renamed diffusion.distillation.guidance_target",
    "preprocess.cut_likeness": "renamed preprocess.scene_cut_correlation",
    "preprocess.view_likeness": "renamed preprocess.view_change_correlation",
    "split.run_folds": "renamed split.folds_to_run",
    "split.labelled_videos": "renamed split.max_labelled_videos",
    "quality.max_slow": "renamed quality.max_videos_expensive",
    "classification.training_of": "renamed classification.training_overrides",
    "classification.only": "renamed classification.regimes_by_classifier",
    "guess": "renamed pseudo_labels, and its members ensemble_size",
    "synthesis.steps": "renamed synthesis.num_inference_steps",
    "synthesis.guidance": "renamed synthesis.guidance_scale",
    "synthesis.guide_by": "renamed synthesis.guidance_target",
    "diffusion.match_moments": "removed without replacement: delete this key",
    "autoencoder.energy_weight": "removed without replacement: delete this key",
}
# Key path -> former value -> its replacement.
VALUES: dict[str, dict[str, str]] = {
    "synthesis.sampler": {"dpmsolver++": "replaced by 'unipc'"},
    "autoencoder.decoder": {"paint": "renamed 'spade'"},
    "classification.regimes": {"real+guessed": "renamed 'real+pseudo'"},
    "sweep.regimes": {"real+guessed": "renamed 'real+pseudo'"},
    "autoencoder.latent": {"factorised": "renamed 'low_rank'"},
    "diffusion.prediction_type": {"flow": "renamed 'flow_prediction', as in diffusers"},
    "pixel.prediction_type": {"flow": "renamed 'flow_prediction', as in diffusers"},
}
