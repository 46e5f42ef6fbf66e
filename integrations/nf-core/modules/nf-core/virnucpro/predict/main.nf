process VIRNUCPRO_PREDICT {
    tag "$meta.id"
    label 'process_medium'

    conda "${ task.accelerator ? "${moduleDir}/environment.gpu.yml" : "${moduleDir}/environment.yml" }"
    container "${ workflow.containerEngine in ['singularity', 'apptainer'] && !task.ext.singularity_pull_docker_container ?
        (task.accelerator ? 'https://community-cr-prod.seqera.io/docker/registry/v2/blobs/sha256/GPU_IMAGE/data' : 'https://depot.galaxyproject.org/singularity/virnucpro:0.1.0--pyhdfd78af_0') :
        (task.accelerator ? 'community.wave.seqera.io/library/virnucpro_cuda-version_pytorch-gpu:GPU_IMAGE' : 'quay.io/biocontainers/virnucpro:0.1.0--pyhdfd78af_0') }"

    input:
    tuple val(meta), path(reads)
    path model

    output:
    tuple val(meta), path("${prefix}.records.tsv.gz")                , emit: records
    tuple val(meta), path("${prefix}.chunks.tsv.gz")                 , emit: chunks
    tuple val(meta), path("${prefix}.frames.tsv.gz")                 , emit: frames
    tuple val(meta), path("${prefix}.viral*.fasta.gz")               , emit: fasta
    tuple val(meta), path("${prefix}.viral*.fastq.gz")               , emit: fastq, optional: true
    tuple val(meta), path("${prefix}.*.parquet")                     , emit: parquet, optional: true
    tuple val(meta), path("${prefix}.report.html")                   , emit: report
    tuple val(meta), path("${prefix}.run.json")                      , emit: run
    tuple val(meta), path("${prefix}.virnucpro_mqc.json")            , emit: multiqc
    tuple val(meta), path("${prefix}.virnucpro_composition_mqc.json"), emit: composition
    tuple val("${task.process}"), val('virnucpro'), eval("virnucpro --version"), topic: versions, emit: versions_virnucpro
    tuple val("${task.process}"), val('cuda'), eval('python -c "import torch; print(torch.version.cuda or \'no CUDA available\')"'), topic: versions, emit: versions_cuda

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}"
    def paired = reads instanceof List && meta.single_end == false ? '--paired' : ''
    def chosen = model ? "--model ${model}" : ''
    def device = task.accelerator ? 'cuda' : 'cpu'
    // Nextflow escapes only some of the characters that have a meaning for the shell, and none of a sample's name.
    if (!(prefix ==~ /\w[\w.+=-]*/)) {
        error("The name of a sample has letters, digits and _ . + = - alone, got: ${prefix}")
    }
    def unsafe = [reads, model].flatten().findAll { name -> !("${name}" ==~ /(?:[\w.+=,@%:\/-]|\\[^\n])+/) }
    if (unsafe) {
        error("Rename the input, the shell would read its name as a command or pattern: ${unsafe.join(', ')}")
    }
    if ([reads].flatten().any { name -> "${name}".startsWith("${prefix}.viral") }) {
        error("An input has the name of an output, ${prefix}.viral...; set another ext.prefix")
    }
    """
    virnucpro predict \\
        --device $device \\
        --threads $task.cpus \\
        --sample $prefix \\
        $paired \\
        $chosen \\
        $args \\
        --resume \\
        --output run \\
        -- \\
        $reads

    for file in run/*; do
        case "\$file" in
            *.tsv | *.fasta | *.fastq) gzip --no-name < "\$file" >| "${prefix}.\${file##*/}.gz" ;;
            *.html | *.json | *.parquet) cp "\$file" "${prefix}.\${file##*/}" ;;
        esac
    done
    """

    stub:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}"
    if (!(prefix ==~ /\w[\w.+=-]*/)) {
        error("The name of a sample has letters, digits and _ . + = - alone, got: ${prefix}")
    }
    def mates = reads instanceof List && meta.single_end == false ? ['_1', '_2'] : ['']
    """
    echo $args
    for name in records.tsv chunks.tsv frames.tsv${mates.collect { " viral${it}.fasta viral${it}.fastq" }.join('')}; do
        echo "" | gzip > "${prefix}.\$name.gz"
    done
    touch ${prefix}.records.parquet ${prefix}.chunks.parquet ${prefix}.frames.parquet
    touch ${prefix}.report.html ${prefix}.run.json ${prefix}.virnucpro_mqc.json ${prefix}.virnucpro_composition_mqc.json
    """
}
