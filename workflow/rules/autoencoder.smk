"""Stage 1 of the method: video -> z, and (x0, z) -> video.

Needs: data/frames/, data/splits.parquet.
Makes: data/motion.safetensors, fold-k/autoencoder/model.safetensors, fold-k/latents.safetensors.
Settings: autoencoder.
"""


rule measure_motion:
    """Measure the motion of all clips once for all folds: optical flow, reduced to a few maps."""
    input:
        settings=settings_file("motion"),
        frames=rules.preprocess.output,
    output:
        f"{RESULTS}/data/motion.safetensors",
    log:
        f"{LOGS}/measure_motion.log",
    benchmark:
        f"{BENCHMARKS}/measure_motion.tsv"
    # All cores: if shorter jobs went first, they would not be there to fill the second core during stage 1.
    priority: 60
    conda:
        "../envs/lddm.yaml"
    threads: motion_threads
    resources:
        mem_mb=memory(4000),
        runtime=minutes(120),
    params:
        job=job,
        frames=frames_folder,
        record=below("records"),
    shell:
        "{params.job} lddm measure-motion --settings {input.settings:q} --frames {params.frames:q} --workers {threads}"
        " --out {output:q} --record {params.record:q} > {log:q} 2>&1"


rule train_autoencoder:
    """Train encoder E and decoder D on the training clips of a fold; resumes from its state folder after a kill."""
    input:
        settings=settings_file("autoencoder"),
        frames=rules.preprocess.output,
        splits=rules.split.output,
        motion=measured_motion,
        weights=perceptual_weights,
    output:
        f"{FOLD}/autoencoder/model.safetensors",
    log:
        f"{LOGS}/train_autoencoder/fold-{{fold}}.log",
    benchmark:
        f"{BENCHMARKS}/train_autoencoder/fold-{{fold}}.tsv"
    priority: 50
    conda:
        "../envs/lddm.yaml"
    threads: stage1_threads
    resources:
        mem_mb=memory(8000),
        runtime=minutes(24 * 60),
        gpu=processes("autoencoder"),
    params:
        launch=launcher("autoencoder"),
        job=job,
        frames=frames_folder,
        state=below("fold-{fold}/state/autoencoder"),
        motion=motion_option,
        weights_dir=weights_folder,
        record=below("records"),
    shell:
        "{params.job} {params.launch}lddm train-autoencoder --settings {input.settings:q} --frames {params.frames:q} --splits {input.splits:q}"
        " --fold {wildcards.fold} --state {params.state:q} --out {output:q} {params.motion} --weights-dir {params.weights_dir:q}"
        " --record {params.record:q} > {log:q} 2>&1"


rule encode:
    """Encode all clips of a fold into z, with the statistics that standardise z."""
    input:
        settings=settings_file("seed"),
        autoencoder=rules.train_autoencoder.output,
        frames=rules.preprocess.output,
        splits=rules.split.output,
        motion=measured_motion,
    output:
        f"{FOLD}/latents.safetensors",
    log:
        f"{LOGS}/encode/fold-{{fold}}.log",
    benchmark:
        f"{BENCHMARKS}/encode/fold-{{fold}}.tsv"
    priority: 50
    conda:
        "../envs/lddm.yaml"
    threads: 2
    resources:
        mem_mb=memory(4000),
        runtime=minutes(60),
        gpu=1,
    params:
        job=job,
        frames=frames_folder,
        motion=motion_option,
        record=below("records"),
    shell:
        "{params.job} lddm encode --settings {input.settings:q} --autoencoder {input.autoencoder:q} --frames {params.frames:q}"
        " --splits {input.splits:q} --fold {wildcards.fold} --out {output:q} {params.motion}"
        " --record {params.record:q} > {log:q} 2>&1"
