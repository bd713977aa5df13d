"""Entry point: the workflow lives in workflow/Snakefile."""


include: "workflow/Snakefile"


# An include does not pass on its default target, so it is restated here.
rule default:
    default_target: True
    input:
        rules.all.input,
    localrule: True
