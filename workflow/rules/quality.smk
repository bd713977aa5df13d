"""Quality of the videos: distances of distributions, paired and no-reference measures, motion, novelty.

Needs: fold-k/synthetic/, data/frames/, data/splits.parquet; pretrained networks in weights_dir, if any.
Makes: data/weights.json, fold-k/domain_network/model.safetensors, fold-k/quality/<generator>.json, <generator>_copies.csv, cache/features/.
Settings: domain_network, quality.
"""


rule fetch_weights:
    """Download available pretrained networks and record which are present; a metric without its network is absent."""
    output:
        f"{RESULTS}/data/weights.json",
    log:
        f"{LOGS}/fetch_weights.log",
    benchmark:
        f"{BENCHMARKS}/fetch_weights.tsv"
    localrule: True
    conda:
        "../envs/lddm.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=minutes(60),
    params:
        job=job,
        planned=weights_there,
        weights_dir=weights_folder,
        record=lambda wildcards, output: str(Path(output[0]).parents[1] / "records"),
    shell:
        "{params.job} lddm fetch-weights --weights-dir {params.weights_dir:q} --planned {params.planned}"
        " --out {output:q} --record {params.record:q} > {log:q} 2>&1"


rule train_domain_network:
    """Train the video network for the Frechet distance in domain features, on real training videos."""
    input:
        settings=settings_file("domain_network"),
        frames=rules.preprocess.output,
        splits=rules.split.output,
    output:
        f"{FOLD}/domain_network/model.safetensors",
    log:
        f"{LOGS}/train_domain_network/fold-{{fold}}.log",
    benchmark:
        f"{BENCHMARKS}/train_domain_network/fold-{{fold}}.tsv"
    priority: 20
    conda:
        "../envs/lddm.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=minutes(6 * 60),
        gpu=processes("domain_network"),
    params:
        launch=launcher("domain_network"),
        job=job,
        frames=frames_folder,
        state=below("fold-{fold}/state/domain_network"),
        record=below("records"),
    shell:
        "{params.job} {params.launch}lddm train-domain-network --settings {input.settings:q} --frames {params.frames:q}"
        " --splits {input.splits:q} --fold {wildcards.fold} --state {params.state:q} --out {output:q}"
        " --record {params.record:q} > {log:q} 2>&1"


rule score:
    """Score the videos of one generator (or real ones, as the upper bound) against the real test videos."""
    input:
        settings=settings_file("quality"),
        weights=rules.fetch_weights.output,
        domain_network=rules.train_domain_network.output,
        frames=rules.preprocess.output,
        splits=rules.split.output,
        synthetic=scored_manifests,
        bundle=scored_bundle,
        motion=motion_of_scores,
        code=code(
            "metrics",
            "statistics",
            "motion",
            "nn/perceptual.py",
            "nn/precision.py",
            "data/cache.py",
            "data/frames.py",
            "data/ranges.py",
            "data/synthetic.py",
            "synthesis/membership.py",
            "synthesis/memorised.py",
        ),
    output:
        scores=f"{FOLD}/quality/{{generator}}.json",
        copies=f"{FOLD}/quality/{{generator}}_copies.csv",
    log:
        f"{LOGS}/score/fold-{{fold}}_{{generator}}.log",
    benchmark:
        f"{BENCHMARKS}/score/fold-{{fold}}_{{generator}}.tsv"
    priority: 10
    conda:
        "../envs/lddm.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=minutes(4 * 60),
        gpu=1,
    params:
        job=job,
        frames=frames_folder,
        weights_dir=weights_folder,
        cache=below("cache/features"),
        synthetic=synthetic_option,
        bundle=bundle_option,
        motion=motion_option,
        record=below("records"),
    shell:
        "{params.job} lddm score --settings {input.settings:q} --generator {wildcards.generator} --frames {params.frames:q}"
        " --splits {input.splits:q} --fold {wildcards.fold} --domain-network {input.domain_network:q}"
        " --weights-dir {params.weights_dir:q} {params.synthetic} {params.bundle} {params.motion} --out {output.scores:q}"
        " --copies {output.copies:q} --cache {params.cache:q} --record {params.record:q} > {log:q} 2>&1"
