# Tables and figures.


rule aggregate:
    input:
        code=code("aggregate"),
        summaries=rules.evaluate.input,
        # The script reads these beside the summaries.
        per_image=[
            str(path).replace("summary.json", "per_image.csv")
            for path in rules.evaluate.input
        ],
    output:
        rd=report(
            f"{EXPERIMENT}/rd.csv",
            caption="../report/rd.rst",
            category="Tables",
        ),
        bd_rate=report(
            f"{EXPERIMENT}/bd_rate.csv",
            caption="../report/bd_rate.rst",
            category="Tables",
        ),
        per_image=f"{EXPERIMENT}/per_image.csv",
        bd_rate_per_image=f"{EXPERIMENT}/bd_rate_per_image.csv",
        seeds=f"{EXPERIMENT}/seeds.csv",
        bd_rate_seeds=f"{EXPERIMENT}/bd_rate_seeds.csv",
        text=f"{EXPERIMENT}/summary.txt",
    log:
        f"{LOGS}/aggregate.log",
    conda:
        "../../envs/tables.yaml"
    params:
        out=subpath(output.rd, parent=True),
    message:
        "Collect the results in {output.rd}; log: {log}"
    shell:
        "python {input.code[0]} {input.summaries} --out {params.out} > {log} 2>&1"


if PUBLISHED:

    # It depends on no other job, so that a mistake in a file is found at once.
    rule collect_curves:
        input:
            code=code("collect_curves"),
            record=recorded([Path(file) for file, _ in CURVES]),
            files=ancient([file for file, _ in CURVES]),
        output:
            PUBLISHED,
        log:
            f"{LOGS}/collect_curves.log",
        localrule: True
        conda:
            "../../envs/tables.yaml"
        params:
            flags=experiment.flags({"source": [source for _, source in CURVES]}),
        message:
            "Collect the published curves; log: {log}"
        shell:
            "python {input.code[0]} {input.files:q} {params.flags} --out {output} > {log} 2>&1"

    rule compare_published:
        input:
            code=code("compare_published"),
            rd=rules.aggregate.output.rd,
            published=PUBLISHED,
        output:
            calibration=f"{EXPERIMENT}/calibration.csv",
            bd_rate=f"{EXPERIMENT}/bd_rate_published.csv",
            text=f"{EXPERIMENT}/published.txt",
        log:
            f"{LOGS}/compare_published.log",
        localrule: True
        conda:
            "../../envs/tables.yaml"
        params:
            out=subpath(output.text, parent=True),
        message:
            "Compare the results with published curves; log: {log}"
        shell:
            "python {input.code[0]} --rd {input.rd} --published {input.published}"
            " --out {params.out} > {log} 2>&1"


rule export_curves:
    input:
        code=code("export_curves"),
        rd=rules.aggregate.output.rd,
    output:
        directory(f"{EXPERIMENT}/compressai"),
    log:
        f"{LOGS}/export_curves.log",
    conda:
        "../../envs/tables.yaml"
    message:
        "Write the curves in the format of CompressAI; log: {log}"
    shell:
        "python {input.code[0]} --rd {input.rd} --out {output} > {log} 2>&1"


rule plot:
    input:
        code=code("plot"),
        rd=rules.aggregate.output.rd,
        images=rules.aggregate.output.per_image,
        published=PUBLISHED,
    output:
        f"{EXPERIMENT}/rd_curve.png",
        report(
            f"{EXPERIMENT}/rd_curve.svg",
            caption="../report/rd_curve.rst",
            category="Curves",
        ),
        f"{EXPERIMENT}/rd_curve.pdf",
        f"{EXPERIMENT}/rd_per_image.png",
        report(
            f"{EXPERIMENT}/rd_per_image.svg",
            caption="../report/rd_per_image.rst",
            category="Curves",
        ),
    log:
        f"{LOGS}/plot.log",
    conda:
        "../../envs/tables.yaml"
    params:
        flags=experiment.flags(config["plot"] | {"published": PUBLISHED or None}),
        out=subpath(output[0], parent=True),
    message:
        "Draw the rate-distortion curves; log: {log}"
    shell:
        "python {input.code[0]} --rd {input.rd} --images {input.images} --out {params.out}"
        " {params.flags} > {log} 2>&1"


rule plot_training:
    input:
        code=code("plot_training"),
        histories=expand(f"{MODELS_FOLDER}/{{model}}/history.csv", model=MODELS),
    output:
        f"{EXPERIMENT}/training_curves.png",
        report(
            f"{EXPERIMENT}/training_curves.svg",
            caption="../report/training_curves.rst",
            category="Training",
        ),
    log:
        f"{LOGS}/plot_training.log",
    conda:
        "../../envs/tables.yaml"
    params:
        out=subpath(output[0], parent=True),
    message:
        "Draw the training curves; log: {log}"
    shell:
        "python {input.code[0]} {input.histories} --out {params.out} > {log} 2>&1"


rule compare_images:
    input:
        code=code("compare_images"),
        images=ancient(TEST.folder),
        test_record=TEST.record,
        rd=rules.aggregate.output.rd,
        bd=rules.aggregate.output.bd_rate_per_image,
        summary=f"{SHOWN}/summary.json",
        # It has the hashes of the reconstructions.
        per_image=f"{SHOWN}/per_image.csv",
        reconstructions=ancient(f"{SHOWN}/reconstructions"),
    output:
        report(
            directory(f"{EXPERIMENT}/comparisons"),
            patterns=["{image}.png"],
            caption="../report/comparisons.rst",
            category="Pictures",
        ),
    log:
        f"{LOGS}/compare_images.log",
    conda:
        "../../envs/tables.yaml"
    params:
        evaluation=subpath(input.summary, parent=True),
    message:
        "Draw images beside those of other codecs; log: {log}"
    shell:
        "python {input.code[0]} --images {input.images:q} --evaluation {params.evaluation}"
        " --rd {input.rd} --bd {input.bd} --out {output} > {log} 2>&1"


rule report:
    input:
        code=code("report", "workflow/report/report.html.j2"),
        template=ancient("workflow/report/report.html.j2"),
        tables=rules.aggregate.output,
        figures=[rules.plot.output, rules.plot_training.output],
        published=PUBLISHED,
        published_tables=rules.compare_published.output if PUBLISHED else [],
        images=ancient(TEST.folder),
        test_record=TEST.record,
        summary=rules.compare_images.input.summary,
        evaluated=rules.compare_images.input.per_image,
        reconstructions=ancient(f"{SHOWN}/reconstructions"),
        runs=expand(f"{MODELS_FOLDER}/{{model}}/run.json", model=MODELS),
    output:
        report(
            f"{EXPERIMENT}/report.html",
            caption="../report/page.rst",
            category="Report",
        ),
    log:
        f"{LOGS}/report.log",
    conda:
        "../../envs/tables.yaml"
    params:
        results=subpath(output[0], parent=True),
        evaluation=subpath(input.summary, parent=True),
        config=whole_config,
        flags=experiment.flags({"published": PUBLISHED or None}),
    message:
        "Write {output}; log: {log}"
    shell:
        "python {input.code[0]} --results {params.results} --images {input.images:q}"
        " --evaluation {params.evaluation} --runs {input.runs} --template {input.template}"
        " --config {params.config:q} {params.flags} > {log} 2>&1"
