"""How good the videos are: distances of distributions, paired and no-reference measures, motion, novelty.

Needs: fold-k/synthetic/, data/frames/, data/splits.parquet; pretrained networks in weights_dir where there are any.
Makes: fold-k/domain_network/model.safetensors, fold-k/quality/<generator>.json, <generator>_copies.csv, cache/features/.
Settings: domain_network, quality.
"""


rule train_domain_network:
    """Train the video network whose features carry a Frechet distance of the domain, on real training videos."""
    input:
        frames=rules.preprocess.output,
        splits=rules.split.output,
    output:
        f"{FOLD}/domain_network/model.safetensors",
    log:
        f"{LOGS}/train_domain_network/fold-{{fold}}.log",
    conda:
        "../envs/lddm.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=minutes(6 * 60),
        gpu=processes("domain_network"),
    params:
        launch=launcher("domain_network"),
        settings=stage("domain_network"),
        frames=frames_folder,
        state=f"{FOLD}/state/domain_network",
        record=RECORDS,
    shell:
        "{params.launch}lddm train-domain-network --settings {params.settings:q} --frames {params.frames:q}"
        " --splits {input.splits:q} --fold {wildcards.fold} --state {params.state:q} --out {output:q}"
        " --record {params.record:q} > {log:q} 2>&1"


rule score:
    """Score the videos of one generator (or the real ones: the upper bound) against the real test videos."""
    input:
        domain_network=rules.train_domain_network.output,
        frames=rules.preprocess.output,
        splits=rules.split.output,
        synthetic=scored_manifests,
        code=code("metrics"),
    output:
        scores=f"{FOLD}/quality/{{generator}}.json",
        copies=f"{FOLD}/quality/{{generator}}_copies.csv",
    log:
        f"{LOGS}/score/fold-{{fold}}_{{generator}}.log",
    conda:
        "../envs/lddm.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=minutes(4 * 60),
        gpu=1,
    params:
        settings=stage("quality"),
        frames=frames_folder,
        weights_dir=SETTINGS.weights_dir,
        cache=f"{RESULTS}/cache/features",
        synthetic=lambda wildcards, input: flag("synthetic", input.synthetic),
        record=RECORDS,
    shell:
        "lddm score --settings {params.settings:q} --generator {wildcards.generator} --frames {params.frames:q}"
        " --splits {input.splits:q} --fold {wildcards.fold} --domain-network {input.domain_network:q}"
        " --weights-dir {params.weights_dir:q} {params.synthetic} --out {output.scores:q}"
        " --copies {output.copies:q} --cache {params.cache:q} --record {params.record:q} > {log:q} 2>&1"
