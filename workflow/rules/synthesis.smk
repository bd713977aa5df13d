"""Animation of first frames: of held-out videos (for scores) and of labelled stills (for training classifiers).

Needs: fold-k/generators/<name>/bundle/, data/frames/, data/splits.parquet.
Makes: fold-k/synthetic/<generator>/<source>/shard-<i>.npy with a manifest shard-<i>.parquet beside it.
Settings: synthesis.
"""


rule synthesize:
    """Animate one shard of a source's first frames with one generator, on one leased GPU if available."""
    input:
        settings=settings_file("synthesis"),
        bundle=bundle_of,
        frames=rules.preprocess.output,
        splits=rules.split.output,
        motion=motion_of_reconstructions,
    output:
        videos=f"{FOLD}/synthetic/{{generator}}/{{source}}/shard-{{shard}}.npy",
        manifest=f"{FOLD}/synthetic/{{generator}}/{{source}}/shard-{{shard}}.parquet",
    log:
        f"{LOGS}/synthesize/fold-{{fold}}_{{generator}}_{{source}}_shard-{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/synthesize/fold-{{fold}}_{{generator}}_{{source}}_shard-{{shard}}.tsv"
    priority: 30
    conda:
        "../envs/lddm.yaml"
    threads: 1
    resources:
        mem_mb=memory(6000),
        runtime=minutes(120),
        gpu=1,
    params:
        job=job,
        bundle=lambda wildcards, input: str(Path(input.bundle[0]).parent),
        frames=frames_folder,
        shards=len(SHARDS),
        motion=motion_option,
        record=below("records"),
    shell:
        "{params.job} lddm synthesize --settings {input.settings:q} --generator {wildcards.generator}"
        " --bundle {params.bundle:q} --frames {params.frames:q} --splits {input.splits:q}"
        " --fold {wildcards.fold} --source {wildcards.source} --shard {wildcards.shard} --shards {params.shards}"
        " --out {output.videos:q} {params.motion} --record {params.record:q} > {log:q} 2>&1"
