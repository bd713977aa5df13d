"""Conversion of raw files to clips and folds.

Needs: raw data below data_root (the phantom needs none).
Makes: settings/<stage>.yaml, data/index.parquet, data/frames/ (memory-mapped frames, clips), data/splits.parquet.
Settings: index, preprocess, split.
"""


rule settings:
    """Write the settings of one stage to a small file, from which its jobs read them."""
    output:
        f"{RESULTS}/settings/{{stage}}.yaml",
    log:
        f"{LOGS}/settings/{{stage}}.log",
    localrule: True
    conda:
        "../envs/lddm.yaml"
    params:
        text=lambda wildcards: settings_text(wildcards.stage),
    # Not `run:`, for which a Snakemake of its own starts: two and a half seconds for each stage.
    shell:
        "printf %s {params.text:q} > {output:q} 2> {log:q}"


rule index:
    """List every video and still image of the configured sources, with label, patient, licence and checksum."""
    input:
        raw_data,
        settings=settings_file("index"),
    output:
        f"{RESULTS}/data/index.parquet",
    log:
        f"{LOGS}/index.log",
    benchmark:
        f"{BENCHMARKS}/index.tsv"
    conda:
        "../envs/lddm.yaml"
    threads: 2
    resources:
        mem_mb=memory(2000),
        runtime=minutes(60),
    params:
        job=job,
        data_root=data_root,
        patients=patients_digests,
        record=below("records"),
    shell:
        "{params.job} lddm index --settings {input.settings:q} --data-root {params.data_root:q}"
        " --out {output:q} --record {params.record:q} > {log:q} 2>&1"


rule preprocess:
    """Decode, resample and fit frames into squares; cut clips; exclude damaged files and duplicates, with a reason."""
    input:
        settings=settings_file("preprocess"),
        index=rules.index.output,
    output:
        frames=f"{FRAMES}/frames.npy",
        videos=f"{FRAMES}/videos.parquet",
        clips=f"{FRAMES}/clips.parquet",
        meta=f"{FRAMES}/meta.json",
    log:
        f"{LOGS}/preprocess.log",
    benchmark:
        f"{BENCHMARKS}/preprocess.tsv"
    conda:
        "../envs/lddm.yaml"
    threads: 2
    resources:
        mem_mb=memory(4000),
        runtime=minutes(120),
    params:
        job=job,
        data_root=data_root,
        out_dir=output_folder,
        record=below("records"),
    shell:
        "{params.job} lddm preprocess --settings {input.settings:q} --index {input.index:q} --data-root {params.data_root:q}"
        " --out-dir {params.out_dir:q} --workers {threads} --record {params.record:q} > {log:q} 2>&1"


rule split:
    """Assign patients and clusters of duplicates to stratified folds; fail on a leak."""
    input:
        settings=settings_file("split"),
        frames=rules.preprocess.output,
    output:
        f"{RESULTS}/data/splits.parquet",
    log:
        f"{LOGS}/split.log",
    benchmark:
        f"{BENCHMARKS}/split.tsv"
    conda:
        "../envs/lddm.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=minutes(10),
    params:
        job=job,
        frames=frames_folder,
        stills="--stills" if "stills" in SOURCES else "",
        record=below("records"),
    shell:
        "{params.job} lddm split --settings {input.settings:q} --frames {params.frames:q} {params.stills}"
        " --out {output:q} --record {params.record:q} > {log:q} 2>&1"
