"""Report: tables, figures, a page that opens from disk, and a machine-readable summary.

Needs: result files only: fold-k/quality/, fold-k/classification/, fold-k/synthetic/, records/.
Makes: tables/, figures/, report.html, scorecard.html, summary.json, provenance.json.
Settings: split, synthesis, classification, sweep for the tables; all for the report.
"""

HELD_OUT_VIDEOS = [path for fold in FOLDS for name in SCORED[1:] for path in manifests(name, ["heldout"], fold)]


rule tabulate:
    """Collect all scores and predictions in tables, with intervals and differences from `real`."""
    input:
        settings=settings_file("tables"),
        quality=expand(f"{FOLD}/quality/{{generator}}.json", fold=FOLDS, generator=SCORED),
        classification=[
            path
            for classifier, regime in SETTINGS.classification.cells()
            for path in expand(rules.classify.output, fold=FOLDS, classifier=classifier, regime=regime)
        ],
        sweep=expand(
            rules.classify_sweep.output,
            fold=FOLDS,
            classifier=SETTINGS.sweep.classifiers,
            regime=SETTINGS.sweep.regimes,
            point=POINTS,
        ),
        code=code("report", "classification", "metrics", "statistics"),
    output:
        quality=report(
            f"{RESULTS}/tables/quality.csv",
            caption="../report/quality.rst",
            category="Quality",
            labels={"what": "scores", "kind": "table"},
        ),
        quality_comparisons=report(
            f"{RESULTS}/tables/quality_comparisons.csv",
            caption="../report/quality_comparisons.rst",
            category="Quality",
            labels={"what": "differences between generators", "kind": "table"},
        ),
        memorisation=report(
            f"{RESULTS}/tables/memorisation.csv",
            caption="../report/memorisation.rst",
            category="Quality",
            labels={"what": "memorisation, with controls", "kind": "table"},
        ),
        classification=report(
            f"{RESULTS}/tables/classification.csv",
            caption="../report/classification.rst",
            category="Classification",
            labels={"what": "ablation", "kind": "table"},
        ),
        comparisons=report(
            f"{RESULTS}/tables/comparisons.csv",
            caption="../report/comparisons.rst",
            category="Classification",
            labels={"what": "comparisons", "kind": "table"},
        ),
        transfer=report(
            f"{RESULTS}/tables/transfer.csv",
            caption="../report/transfer.rst",
            category="Classification",
            labels={"what": "real and synthetic, trained and tested", "kind": "table"},
        ),
        sweep=report(
            f"{RESULTS}/tables/sweep.csv",
            caption="../report/sweep.rst",
            category="Sweep",
            labels={"what": "ablation at other settings", "kind": "table"},
        ),
        sweep_comparisons=report(
            f"{RESULTS}/tables/sweep_comparisons.csv",
            caption="../report/sweep.rst",
            category="Sweep",
            labels={"what": "comparisons at other settings", "kind": "table"},
        ),
        confusion=(
            report(
                f"{RESULTS}/tables/confusion.csv",
                caption="../report/confusion.rst",
                category="Classification",
                labels={"what": "confusion matrices", "kind": "table"},
            )
            if SEVERAL_CLASSES
            else []
        ),
    log:
        f"{LOGS}/tabulate.log",
    benchmark:
        f"{BENCHMARKS}/tabulate.tsv"
    group:
        "report"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=minutes(30),
    params:
        job=job,
        results=results_folder,
        out_dir=output_folder,
        record=below("records"),
    shell:
        "{params.job} lddm tabulate --settings {input.settings:q} --results {params.results:q} --out-dir {params.out_dir:q}"
        " --record {params.record:q} > {log:q} 2>&1"


rule figures:
    """Draw the film strips, training curves, quality chart and ablation chart from the result files."""
    input:
        settings=settings_file("whole"),
        tables=rules.tabulate.output,
        frames=rules.preprocess.output,
        splits=rules.split.output,
        synthetic=HELD_OUT_VIDEOS,
        code=code("report"),
    output:
        strips=report(
            f"{RESULTS}/figures/strips.png",
            caption="../report/strips.rst",
            category="Videos",
            labels={"what": "real and synthetic", "kind": "strips"},
        ),
        failures=report(
            f"{RESULTS}/figures/failures.png",
            caption="../report/failures.rst",
            category="Videos",
            labels={"what": "failures, selected by rule", "kind": "strips"},
        ),
        curves=report(
            f"{RESULTS}/figures/curves.png",
            caption="../report/curves.rst",
            category="Training",
            labels={"what": "losses", "kind": "chart"},
        ),
        quality=report(
            f"{RESULTS}/figures/quality.png",
            caption="../report/quality.rst",
            category="Quality",
            labels={"what": "scores", "kind": "chart"},
        ),
        ablation=report(
            f"{RESULTS}/figures/ablation.png",
            caption="../report/classification.rst",
            category="Classification",
            labels={"what": "ablation", "kind": "chart"},
        ),
        loops=directory(f"{RESULTS}/figures/loops"),
        sweep=(
            report(
                f"{RESULTS}/figures/sweep.png",
                caption="../report/sweep.rst",
                category="Sweep",
                labels={"what": "ablation at other settings", "kind": "chart"},
            )
            if POINTS
            else []
        ),
        predictions=(
            report(
                f"{RESULTS}/figures/{'agreement' if SETTINGS.index.labels.is_regression else 'confusion'}.png",
                caption="../report/confusion.rst",
                category="Classification",
                labels={"what": "predictions of test videos", "kind": "chart"},
            )
            if SEVERAL_CLASSES or SETTINGS.index.labels.is_regression
            else []
        ),
    log:
        f"{LOGS}/figures.log",
    benchmark:
        f"{BENCHMARKS}/figures.tsv"
    group:
        "report"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=minutes(30),
    params:
        job=job,
        results=results_folder,
        out_dir=output_folder,
        record=below("records"),
    shell:
        "{params.job} lddm figures --settings {input.settings:q} --results {params.results:q} --out-dir {params.out_dir:q}"
        " --record {params.record:q} > {log:q} 2>&1"


rule page:
    """Write the report page with embedded tables, figures and videos; it needs no network."""
    input:
        settings=settings_file("whole"),
        tables=rules.tabulate.output,
        figures=rules.figures.output,
        frames=rules.preprocess.output,
        splits=rules.split.output,
        synthetic=HELD_OUT_VIDEOS,
        code=code("report", "data/leaks.py"),
    output:
        f"{RESULTS}/report.html",
    log:
        f"{LOGS}/page.log",
    benchmark:
        f"{BENCHMARKS}/page.tsv"
    group:
        "report"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=minutes(10),
    params:
        job=job,
        results=results_folder,
        record=below("records"),
    shell:
        "{params.job} lddm page --settings {input.settings:q} --results {params.results:q} --out {output:q}"
        " --record {params.record:q} > {log:q} 2>&1"


rule summarize:
    """Write machine-readable headline numbers, which MLflow shows as the summary run of this pipeline."""
    input:
        settings=settings_file("whole"),
        tables=rules.tabulate.output,
        page=rules.page.output,
        code=code("report"),
    output:
        summary=f"{RESULTS}/summary.json",
        provenance=f"{RESULTS}/provenance.json",
        scorecard=f"{RESULTS}/scorecard.html",
    log:
        f"{LOGS}/summarize.log",
    benchmark:
        f"{BENCHMARKS}/summarize.tsv"
    group:
        "report"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=memory(2000),
        runtime=minutes(10),
    params:
        job=job,
        results=results_folder,
        record=below("records"),
    shell:
        "{params.job} lddm summarize --settings {input.settings:q} --results {params.results:q} --out {output.summary:q}"
        " --record {params.record:q} > {log:q} 2>&1"
