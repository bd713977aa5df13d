"""Stage 2 of the method: p(z | x0) by diffusion (`lddm`), and the generators it is compared with.

Needs: fold-k/autoencoder/, fold-k/latents.safetensors, data/frames/, data/splits.parquet.
Makes: fold-k/generators/<name>/bundle/, which holds all that `lddm animate` needs; fold-k/pseudo_labels.parquet where
labels are hidden and pseudo_labels.classifier is set; fold-k/attribute.json where condition.attribute is set.
Settings: diffusion for `lddm`, and a section of the same name for `cinn`, `gaussian` and `pixel`; `static` and
`motion_transfer` have none; pseudo_labels, condition.
"""


rule pseudo_label:
    """Predict pseudo-labels of unlabelled training videos from the labelled ones, for all generators."""
    input:
        settings=settings_file("pseudo_labels"),
        frames=rules.preprocess.output,
        splits=rules.split.output,
    output:
        f"{FOLD}/pseudo_labels.parquet",
    log:
        f"{LOGS}/pseudo_label/fold-{{fold}}.log",
    benchmark:
        f"{BENCHMARKS}/pseudo_label/fold-{{fold}}.tsv"
    conda:
        "../envs/lddm.yaml"
    threads: 1
    resources:
        mem_mb=memory(6000),
        runtime=minutes(4 * 60),
        gpu=1,
    params:
        job=job,
        frames=frames_folder,
        state=below("fold-{fold}/state/pseudo_label"),
        record=below("records"),
    shell:
        "{params.job} lddm pseudo-label --settings {input.settings:q} --frames {params.frames:q} --splits {input.splits:q}"
        " --fold {wildcards.fold} --state {params.state:q} --out {output:q} --record {params.record:q} > {log:q} 2>&1"


rule measure_attribute:
    """Measure the attribute that the generators are conditioned on, and estimate its distribution given the label."""
    input:
        settings=settings_file("condition"),
        frames=rules.preprocess.output,
        splits=rules.split.output,
        motion=measured_from("divergence", f"{RESULTS}/data/motion.safetensors"),
        domain_network=measured_from("features", f"{FOLD}/domain_network/model.safetensors"),
        pseudo_labels=measured_from("soft_label", f"{FOLD}/pseudo_labels.parquet"),
    output:
        f"{FOLD}/attribute.json",
    log:
        f"{LOGS}/measure_attribute/fold-{{fold}}.log",
    benchmark:
        f"{BENCHMARKS}/measure_attribute/fold-{{fold}}.tsv"
    conda:
        "../envs/lddm.yaml"
    threads: 1
    resources:
        mem_mb=memory(6000),
        runtime=minutes(4 * 60),
        gpu=1,
    params:
        job=job,
        frames=frames_folder,
        motion=option("motion"),
        domain_network=option("domain_network"),
        pseudo_labels=option("pseudo_labels"),
        state=below("fold-{fold}/state/measure_attribute"),
        record=below("records"),
    shell:
        "{params.job} lddm measure-attribute --settings {input.settings:q} --frames {params.frames:q} --splits {input.splits:q}"
        " --fold {wildcards.fold} --state {params.state:q} {params.motion} {params.domain_network} {params.pseudo_labels}"
        " --out {output:q} --record {params.record:q} > {log:q} 2>&1"


rule train_generator:
    """Train one generator of z given x0 and package it with the autoencoder; resumes from its state after a kill."""
    input:
        settings=generator_settings,
        autoencoder=rules.train_autoencoder.output,
        latents=rules.encode.output,
        pseudo_labels=pseudo_labels,
        attribute=attribute,
        frames=rules.preprocess.output,
        splits=rules.split.output,
    output:
        expand(f"{FOLD}/generators/{{generator}}/bundle/{{part}}", part=BUNDLE, allow_missing=True),
    log:
        f"{LOGS}/train_generator/fold-{{fold}}_{{generator}}.log",
    benchmark:
        f"{BENCHMARKS}/train_generator/fold-{{fold}}_{{generator}}.tsv"
    priority: 40
    conda:
        "../envs/lddm.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=minutes(24 * 60),
        gpu=lambda wildcards: processes(*generator_section(wildcards)),
    params:
        launch=lambda wildcards: launcher(*generator_section(wildcards)),
        job=job,
        frames=frames_folder,
        pseudo_labels=option("pseudo_labels"),
        attribute=option("attribute"),
        state=below("fold-{fold}/state/{generator}"),
        out_dir=output_folder,
        record=below("records"),
    shell:
        "{params.job} {params.launch}lddm train-generator {wildcards.generator} --settings {input.settings:q}"
        " --autoencoder {input.autoencoder:q} --latents {input.latents:q} --frames {params.frames:q}"
        " --splits {input.splits:q} --fold {wildcards.fold} --state {params.state:q} {params.pseudo_labels} {params.attribute}"
        " --out-dir {params.out_dir:q} --record {params.record:q} > {log:q} 2>&1"
