# One training job for each lambda, width and seed.


rule train_model:
    input:
        code=code("train"),
        split=f"{EXPERIMENT}/split/split.json",
        train=ancient(f"{EXPERIMENT}/split/train.csv"),
        val=ancient(f"{EXPERIMENT}/split/val.csv"),
        images=ancient(f"{DATASET}/images"),
        init_from=starting_model,
        test_pictures=TRAINING_TEST_RECORD,
    output:
        config=f"{MODEL_FOLDER}/model/config.json",
        weights=f"{MODEL_FOLDER}/model/model.safetensors",
        history=f"{MODEL_FOLDER}/history.csv",
        run=f"{MODEL_FOLDER}/run.json",
    log:
        f"{LOGS}/train_model/{MODEL}.log",
    benchmark:
        f"{LOGS}/benchmarks/train_model/{MODEL}.tsv"
    # An interrupted run continues from its last checkpoint; one that diverged fails at once.
    # A job on a cluster does not retry: the next job has its own time and memory.
    retries: 2 if MAIN_PROCESS else 0
    conda:
        "../../envs/tensorflow.yaml"
    threads: config["training"]["threads"]
    resources:
        gpu=int(bool(GPUS) or config["training"]["device"] == "gpu"),
    params:
        flags=train_flags,
        init=init_flag,
        save_dir=subpath(output.run, parent=True),
        # Not an output: Snakemake would delete it when a job fails, and the
        # next attempt must find its checkpoints.
        checkpoints=f"work/train/{config['experiment']}/{MODEL}",
    message:
        "Train {params.save_dir} with {threads} core(s), gpu={resources.gpu}; to watch: tail -f {log}"
    shell:
        "python {input.code[0]} --train_list {input.train} --val_list {input.val}"
        " --save_dir {params.save_dir} --checkpoint_dir {params.checkpoints}"
        " --restart_stale --clear_checkpoints {params.init} {params.flags} > {log} 2>&1"


rule train:
    input:
        expand(
            f"{MODELS_FOLDER}/{{model}}/{{file}}",
            model=MODELS,
            file=[
                "model/config.json",
                "model/model.safetensors",
                "history.csv",
                "run.json",
            ],
        ),
